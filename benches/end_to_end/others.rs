//! nginx and HAProxy as they are compared with: one process, one thread, no access log, connections kept for ever.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::http::{self, free_address};
use crate::process::{self, Cores, Running};
use crate::{Bench, Failure};

const START: Duration = Duration::from_secs(10);

/// A running contestant.
pub struct Other {
    pub running: Running,
    pub address: SocketAddr,
}

/// nginx with these directives in its one server.
pub fn nginx(bench: &Bench, name: &str, directives: &str) -> Result<Other, Failure> {
    let dir = bench.new_dir(name)?;
    let address = free_address()?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|module| format!("    {module}_temp_path {}/{module};\n", dir.display()))
        .concat();
    // One process without a master is one worker, and one process id to measure.
    let config = format!(
        "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         events {{\n    worker_connections 4096;\n}}\n\
         http {{\n{temporary}    access_log off;\n    keepalive_timeout 75s;\n    keepalive_requests 1000000000;\n    \
         tcp_nodelay on;\n    default_type text/xml;\n    server {{\n        listen {address};\n{directives}\n    }}\n}}\n",
        dir = dir.display(),
    );
    let file = write(&dir, "nginx.conf", &config)?;
    let mut command = process::command(Cores::First, "nginx");
    command.args(["-e", "stderr", "-c", &file]);
    start("nginx", command, &dir, address)
}

/// HAProxy with these rules in its one front end.
pub fn haproxy(bench: &Bench, name: &str, rules: &str) -> Result<Other, Failure> {
    let dir = bench.new_dir(name)?;
    let address = free_address()?;
    let config = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout server 30s\n    timeout client 75s\n    \
         timeout http-keep-alive 75s\n\
         frontend bench\n    bind {address}\n{rules}\n"
    );
    let file = write(&dir, "haproxy.cfg", &config)?;
    let mut command = process::command(Cores::First, "haproxy");
    command.args(["-db", "-q", "-f", &file]);
    start("haproxy", command, &dir, address)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<String, Failure> {
    let file = dir.join(name);
    fs::write(&file, text).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    Ok(file.display().to_string())
}

fn start(name: &str, command: Command, dir: &Path, address: SocketAddr) -> Result<Other, Failure> {
    let mut running = Running::start(name, command, &dir.join(format!("{name}.log")))?;
    running.wait(START, || http::get(address, "/").is_some())?;
    Ok(Other { running, address })
}
