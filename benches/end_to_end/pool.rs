//! Usher with its simulated servers, and nothing of an earlier run.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::http::{self, free_address};
use crate::process::{self, Cores, Running};
use crate::world::{Size, server_address};
use crate::{Bench, Failure};

/// Longest until the program takes connections; under an emulator a start takes half a minute.
const START: Duration = Duration::from_secs(120);
/// Longest until every server has been polled.
const FILL: Duration = Duration::from_secs(60);

/// How a pool is set up.
pub struct Plan {
    /// Also the name of its directory.
    pub name: &'static str,
    pub size: Size,
    /// Where Usher runs, with one worker thread for each of the cores.
    pub cores: Cores,
    /// Where the simulated servers run.
    pub stub_cores: Cores,
    /// Further settings, as `USHER_` variables without that prefix.
    pub settings: Vec<(&'static str, String)>,
    /// The configuration file; what can be said by a variable is better said there.
    pub config: String,
    /// Words before the program, for an emulator.
    pub under: Vec<String>,
    /// Only what a run on one core of this machine needs is set: addresses, the store, threads. Limits and log are as shipped.
    pub is_shipped: bool,
}

impl Plan {
    /// One core for Usher, the other for everything else; no access log, as with the other contestants.
    pub fn new(name: &'static str, size: Size) -> Self {
        let (cores, stub_cores) = (Cores::First, Cores::Second);
        Self {
            name,
            size,
            cores,
            stub_cores,
            settings: Vec::new(),
            config: String::new(),
            under: Vec::new(),
            is_shipped: false,
        }
    }

    /// As it is shipped.
    pub fn shipped(self) -> Self {
        Self { is_shipped: true, ..self }
    }

    pub fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    /// The picture is filled once and then left alone, so that requests can be measured without the polls.
    pub fn without_polls(self) -> Self {
        self.set("HEALTH__POLL_INTERVAL", "10h")
            .set("HEALTH__INTERVAL", "10h")
            .set("HEALTH__MAX_BACKOFF", "10h")
            .set("HEALTH__HEALTHY_AFTER", "1")
    }
}

/// A running pool.
pub struct Pool {
    pub usher: Running,
    pub stub: Running,
    pub address: SocketAddr,
    admin: SocketAddr,
    /// The first of the simulated servers.
    pub server: SocketAddr,
    /// From the start of the program until it said that it is ready.
    pub ready_after: Duration,
    pub dir: PathBuf,
}

impl Pool {
    /// Fills a store, starts servers and Usher, waits until the picture is complete.
    pub fn start(bench: &Bench, plan: &Plan) -> Result<Self, Failure> {
        let dir = bench.new_dir(plan.name)?;
        let port = free_address()?.port();
        plan.size.fill_store(&dir.join("usher.db"), port)?;
        let mut stub = process::command(plan.stub_cores, &bench.own);
        stub.args(["stub", &plan.size.servers.to_string(), &plan.size.meetings.to_string(), &port.to_string()]);
        let mut stub = Running::start("the simulated servers", stub, &dir.join("stub.log"))?;
        let last = SocketAddr::V4(server_address(plan.size.servers - 1, port));
        stub.wait(START, || http::get(last, "/bigbluebutton/api").is_some())?;
        Self::serve(bench, plan, dir, stub, port)
    }

    /// Usher alone, with an empty store and nobody to poll.
    pub fn start_empty(bench: &Bench, plan: &Plan) -> Result<Self, Failure> {
        let dir = bench.new_dir(plan.name)?;
        let (address, admin) = (free_address()?, free_address()?);
        let command = serve_command(bench, plan, &dir, address, admin, &["serve"])?;
        let mut usher = Running::start("usher serve", command, &dir.join("usher.log"))?;
        let ready_after =
            usher.wait(START, || http::get(address, "/livez").is_some_and(|answer| answer.status == 200))?;
        let stub = Running::nothing()?;
        Ok(Self { usher, stub, address, admin, server: address, ready_after, dir })
    }

    /// A new Usher that takes over from this one.
    pub fn upgrade(&self, bench: &Bench, plan: &Plan) -> Result<Running, Failure> {
        let command = serve_command(bench, plan, &self.dir, self.address, self.admin, &["serve", "--upgrade"])?;
        Running::start("usher serve --upgrade", command, &self.dir.join("upgrade.log"))
    }

    /// Waits until a path is carried to a server that was just added.
    pub fn wait_carried(&self, path: &str) -> Result<(), Failure> {
        let started = std::time::Instant::now();
        // Until then it is nobody's, which is said in Usher's own words.
        while http::get(self.address, path).is_none_or(|answer| answer.text().contains("Nothing here")) {
            if started.elapsed() > FILL {
                return Err(Failure(format!("{path} is not carried")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts Usher on a store that is there already.
    fn serve(bench: &Bench, plan: &Plan, dir: PathBuf, stub: Running, port: u16) -> Result<Self, Failure> {
        let (address, admin) = (free_address()?, free_address()?);
        let command = serve_command(bench, plan, &dir, address, admin, &["serve"])?;
        let mut usher = Running::start("usher serve", command, &dir.join("usher.log"))?;
        let is_ready = || http::get(admin, "/readyz").is_some_and(|answer| answer.status == 200);
        let ready_after = usher.wait(START, is_ready)?;
        usher.wait(FILL, || is_filled(admin, plan.size.servers))?;
        let server = SocketAddr::V4(server_address(0, port));
        Ok(Self { usher, stub, address, admin, server, ready_after, dir })
    }

    /// Adds a server that is reached at this address.
    pub fn add_server(&self, bench: &Bench, name: &str, address: SocketAddr) -> Result<(), Failure> {
        let mut command = process::command(Cores::Both, &bench.usher);
        command.arg("--config").arg(self.dir.join("usher.toml"));
        command.args(["server", "add", &format!("http://{address}"), "--name", name, "--secret", "s"]);
        command.env("USHER_STORE__URL", format!("sqlite:{}", self.dir.join("usher.db").display()));
        let output = command.output().map_err(|error| Failure(format!("usher server add: {error}")))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(Failure(format!("usher server add: {said}"))) }
    }

    /// Ends Usher and starts it again on the same store and servers.
    pub fn restart(self, bench: &Bench, plan: &Plan) -> Result<Self, Failure> {
        let Self { usher, stub, server, dir, .. } = self;
        usher.end_gently(Duration::from_secs(20))?;
        Self::serve(bench, plan, dir, stub, server.port())
    }
}

fn serve_command(
    bench: &Bench,
    plan: &Plan,
    dir: &Path,
    address: SocketAddr,
    admin: SocketAddr,
    words: &[&str],
) -> Result<std::process::Command, Failure> {
    // A file of its own, so that a configuration of this machine plays no part.
    let config = dir.join("usher.toml");
    fs::write(&config, &plan.config).map_err(|error| Failure(format!("{}: {error}", config.display())))?;
    let program = plan.under.first().map_or(bench.usher.as_os_str(), |first| first.as_ref());
    let mut command = process::command(plan.cores, program);
    if !plan.under.is_empty() {
        command.args(&plan.under[1..]).arg(&bench.usher);
    }
    command.arg("--config").arg(&config).args(words);
    let threads = if plan.cores == Cores::Both { "2" } else { "1" };
    for (name, value) in [
        ("LISTEN__HTTP", address.to_string()),
        ("LISTEN__PUBLIC_URL", format!("http://{address}")),
        ("ADMIN__LISTEN", admin.to_string()),
        ("STORE__URL", format!("sqlite:{}", dir.join("usher.db").display())),
        ("PROCESS__THREADS", threads.to_owned()),
    ] {
        command.env(format!("USHER_{name}"), value);
    }
    if !plan.is_shipped {
        command.env("USHER_LIMITS__REQUESTS_PER_CONNECTION", u32::MAX.to_string()).env("USHER_LOG__ACCESS", "false");
        command.envs(bench.unlimited.iter().map(|(name, value)| (format!("USHER_{name}"), value)));
    }
    for (name, value) in &plan.settings {
        command.env(format!("USHER_{name}"), value);
    }
    Ok(command)
}

/// True if every server is up and has been polled.
fn is_filled(admin: SocketAddr, servers: usize) -> bool {
    let Some(answer) = http::get(admin, "/api/v1/status") else { return false };
    let Ok(status) = serde_json::from_slice::<serde_json::Value>(&answer.body) else { return false };
    let known = status["servers"].as_array().map_or(&[][..], Vec::as_slice);
    known.len() == servers && known.iter().all(|server| server["health"] == "up" && !server["last_poll_ms"].is_null())
}

/// True if this binary knows a setting, given as for [`Plan::set`].
pub fn accepts(usher: &Path, dir: &Path, name: &str, value: &str) -> bool {
    let config = dir.join("empty.toml");
    let mut command = process::command(Cores::Both, usher);
    command.arg("--config").arg(&config).arg("check").env(format!("USHER_{name}"), value);
    fs::write(&config, "").is_ok() && command.output().is_ok_and(|output| output.status.success())
}
