//! nginx and HAProxy as they are compared with: one process, one thread, no access log, connections kept for ever.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::http::free_address;
use crate::process::{self, Cores, Running};
use crate::{Bench, Failure};

const START: Duration = Duration::from_secs(10);

/// A running contestant.
pub struct Other {
    pub running: Running,
    pub address: SocketAddr,
}

/// How a contestant is set up besides its rules.
#[derive(Default)]
pub struct Form<'a> {
    /// Where it runs, if not on the contestants' core.
    pub cores: Option<Cores>,
    /// Certificate with chain and key, in one file and apart; HTTPS then.
    pub tls: Option<&'a Files>,
    /// nginx: beside its one server, in `http`. HAProxy: beside its front end.
    pub beside: String,
    /// HAProxy: TCP as it is. nginx has no such form here.
    pub is_tcp: bool,
    /// With a master process, which can exchange its workers.
    pub has_master: bool,
}

/// A certificate's files.
pub struct Files {
    pub cert: String,
    pub key: String,
    /// Both in one, as HAProxy wants them.
    pub both: String,
}

/// nginx with these directives in its one server.
pub fn nginx(bench: &Bench, name: &str, directives: &str) -> Result<Other, Failure> {
    nginx_as(bench, name, directives, &Form::default())
}

pub fn nginx_as(bench: &Bench, name: &str, directives: &str, form: &Form<'_>) -> Result<Other, Failure> {
    let dir = bench.new_dir(name)?;
    let address = free_address()?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|module| format!("    {module}_temp_path {}/{module};\n", dir.display()))
        .concat();
    let (ssl, files) = match form.tls {
        Some(files) => (
            " ssl",
            format!(
                "        ssl_certificate {};\n        ssl_certificate_key {};\n        \
                 ssl_session_cache shared:bench:10m;\n        ssl_protocols TLSv1.2 TLSv1.3;\n",
                files.cert, files.key
            ),
        ),
        None => ("", String::new()),
    };
    // One process without a master is one worker, and one process id to measure.
    let master = if form.has_master { "worker_processes 1;" } else { "master_process off;" };
    let config = format!(
        "daemon off;\n{master}\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         events {{\n    worker_connections 20000;\n}}\n\
         http {{\n{temporary}    access_log off;\n    keepalive_timeout 75s;\n    keepalive_requests 1000000000;\n    \
         tcp_nodelay on;\n    default_type text/xml;\n{beside}\n    server {{\n        listen {address}{ssl};\n{files}\
         {directives}\n    }}\n}}\n",
        dir = dir.display(),
        beside = form.beside,
    );
    let file = write(&dir, "nginx.conf", &config)?;
    let mut command = process::command(form.cores.unwrap_or(Cores::First), "nginx");
    command.args(["-e", "stderr", "-c", &file]);
    start("nginx", command, &dir, address)
}

/// HAProxy with these rules in its one front end.
pub fn haproxy(bench: &Bench, name: &str, rules: &str) -> Result<Other, Failure> {
    haproxy_as(bench, name, rules, &Form::default())
}

pub fn haproxy_as(bench: &Bench, name: &str, rules: &str, form: &Form<'_>) -> Result<Other, Failure> {
    let dir = bench.new_dir(name)?;
    let address = free_address()?;
    let mode = if form.is_tcp { "tcp" } else { "http" };
    let ssl = form.tls.map_or_else(String::new, |files| format!(" ssl crt {} alpn http/1.1", files.both));
    let config = format!(
        "global\n    nbthread 1\n    maxconn 9600\n    maxpipes 64\n    tune.ssl.default-dh-param 2048\n\
         defaults\n    mode {mode}\n    timeout connect 5s\n    timeout server 300s\n    timeout client 300s\n    \
         timeout tunnel 1h\n    timeout http-keep-alive 75s\n\
         frontend bench\n    bind {address}{ssl}\n{rules}\n{}\n",
        form.beside
    );
    let file = write(&dir, "haproxy.cfg", &config)?;
    let mut command = process::command(form.cores.unwrap_or(Cores::First), "haproxy");
    command.args([if form.has_master { "-W" } else { "-db" }, "-q", "-f", &file]);
    start("haproxy", command, &dir, address)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<String, Failure> {
    let file = dir.join(name);
    fs::write(&file, text).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    Ok(file.display().to_string())
}

fn start(name: &str, command: Command, dir: &Path, address: SocketAddr) -> Result<Other, Failure> {
    let mut running = Running::start(name, command, &dir.join(format!("{name}.log")))?;
    running.wait(START, || TcpStream::connect(address).is_ok())?;
    Ok(Other { running, address })
}
