//! Builds and runs "Usher with these servers".

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use tokio::net::TcpSocket;
use usher::ids::Secret;
use usher::sim::{SimOptions, SimServer, SimVersion};

use super::{FrontEnd, eventually};

const QUICK_BACKOFF: &str = "300ms";

/// Describes a pool; `start` makes it real.
pub struct Builder {
    servers: Vec<(SimOptions, Vec<String>)>,
    tenants: Vec<TenantBuilder>,
    config: String,
    env: Vec<(String, String)>,
    listen: std::net::IpAddr,
    also: Vec<std::net::IpAddr>,
}

/// A tenant and how it is added.
pub struct TenantBuilder {
    pub name: String,
    pub secret: String,
    /// Further words for `usher tenant add`.
    pub args: Vec<String>,
}

/// A running pool; everything ends with it.
pub struct Pool {
    pub servers: Vec<SimServer>,
    pub dir: tempfile::TempDir,
    pub http: String,
    pub admin: String,
    tenants: Vec<TenantBuilder>,
    env: Vec<(String, String)>,
    /// Words before `usher serve`, such as `ip netns exec NAME`.
    pub launcher: Vec<String>,
    process: Mutex<Option<Child>>,
    _ports: [TcpSocket; 2],
}

impl Builder {
    /// `count` servers named bbb1, bbb2, …, one default tenant called `main`, quick health checks.
    pub fn new(count: usize) -> Self {
        let servers = (1..=count).map(|number| {
            let mut options = SimOptions::new(Secret::new(format!("server-secret-{number}")));
            options.name = format!("bbb{number}");
            (options, Vec::new())
        });
        Self {
            servers: servers.collect(),
            tenants: vec![TenantBuilder::new("main", "tenant-secret-main", &[])],
            config: String::new(),
            env: Vec::new(),
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            also: Vec::new(),
        }
    }

    pub fn generation(mut self, generation: SimVersion) -> Self {
        for (options, _) in &mut self.servers {
            options.generation = generation;
        }
        self
    }

    /// Changes one server's simulation; `index` from 0.
    pub fn sim(mut self, index: usize, change: impl FnOnce(&mut SimOptions)) -> Self {
        change(&mut self.servers[index].0);
        self
    }

    /// Further words for `usher server add` of one server; `index` from 0.
    pub fn server_args(mut self, index: usize, args: &[&str]) -> Self {
        self.servers[index].1.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Replaces the tenants.
    pub fn tenants(mut self, tenants: Vec<TenantBuilder>) -> Self {
        self.tenants = tenants;
        self
    }

    /// An override as from the environment: `("USHER_HEALTH__INTERVAL", "1s")`. Wins over the harness's defaults.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The address Usher listens on, in a network of its own.
    pub fn listen(mut self, address: std::net::IpAddr) -> Self {
        self.listen = address;
        self
    }

    /// Further addresses with the same port.
    pub fn also_listen(mut self, addresses: &[std::net::IpAddr]) -> Self {
        self.also.extend(addresses);
        self
    }

    /// TOML appended to the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// Starts the servers, fills the store through the command line, starts `usher serve`, waits until it is ready.
    pub async fn start(self) -> Pool {
        let mut pool = self.prepare().await;
        pool.serve().await;
        pool
    }

    /// Everything but `usher serve`.
    pub async fn prepare(self) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let ((http, http_port), (admin, admin_port)) = (reserved_port(), reserved_port());
        let address = self.listen;
        let listeners = std::iter::once(&address).chain(&self.also);
        let listeners: Vec<String> = listeners.map(|address| format!("\"{address}:{http}\"")).collect();
        let listeners = listeners.join(", ");
        let config = format!(
            "[listen]\nhttp = [{listeners}]\npublic_url = \"http://{address}:{http}\"\n\
             [admin]\nlisten = \"{address}:{admin}\"\n\
             [store]\nurl = \"sqlite:{}\"\n\
             [process]\nthreads = 2\ngrace_stop = \"2s\"\n{}",
            dir.path().join("usher.db").display(),
            self.config,
        );
        std::fs::write(dir.path().join("usher.toml"), config).unwrap();
        let mut env: Vec<(String, String)> = [
            ("USHER_HEALTH__INTERVAL", "100ms"),
            ("USHER_HEALTH__POLL_INTERVAL", "150ms"),
            ("USHER_HEALTH__TIMEOUT", "1s"),
            ("USHER_HEALTH__MAX_BACKOFF", QUICK_BACKOFF),
            ("USHER_HEALTH__FAILOVER_AFTER", "1s"),
            ("USHER_HEALTH__ENDED_GRACE", "300ms"),
            ("USHER_API__CONNECT_TIMEOUT", "1s"),
            ("USHER_API__REQUEST_TIMEOUT", "5s"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        for (name, value) in self.env {
            // With the shipped interval the quick back-off would be shorter than it.
            let is_interval = name == "USHER_HEALTH__INTERVAL";
            env.retain(|(known, value)| {
                *known != name && !(is_interval && known == "USHER_HEALTH__MAX_BACKOFF" && value == QUICK_BACKOFF)
            });
            env.push((name, value));
        }
        let mut pool = Pool {
            servers: Vec::new(),
            dir,
            http: format!("http://{address}:{http}"),
            admin: format!("http://{address}:{admin}"),
            tenants: self.tenants,
            env,
            launcher: Vec::new(),
            process: Mutex::new(None),
            _ports: [http_port, admin_port],
        };
        for (options, args) in self.servers {
            let name = options.name.clone();
            let server = SimServer::start(options).await.unwrap();
            let mut words = vec!["server", "add", "", "--name", &name, "--secret", server.secret().reveal()];
            let url = server.url();
            words[2] = &url;
            words.extend(args.iter().map(String::as_str));
            pool.cli_ok(&words);
            pool.servers.push(server);
        }
        for tenant in &pool.tenants {
            let mut words = vec!["tenant", "add", &tenant.name, "--secret", &tenant.secret];
            words.extend(tenant.args.iter().map(String::as_str));
            pool.cli_ok(&words);
        }
        pool
    }
}

impl TenantBuilder {
    pub fn new(name: &str, secret: &str, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { name: name.to_owned(), secret: secret.to_owned(), args }
    }
}

impl Pool {
    /// Starts `usher serve` and waits until every server that answers is up.
    pub async fn serve(&mut self) {
        self.start_process();
        let client = FrontEnd::new(&self.http, "");
        eventually("usher serve listens", || async {
            for origin in [&self.admin, &self.http] {
                let answer = client.http.get(format!("{origin}/livez")).send().await.ok()?;
                (answer.status() == 200).then_some(())?;
            }
            Some(())
        })
        .await;
        if !self.servers.is_empty() {
            self.wait_ready().await;
        }
    }

    /// Starts `usher serve` and waits until it answers, whatever the servers do.
    pub async fn serve_unpolled(&self) {
        self.start_process();
        let front = self.front_end();
        eventually("usher serve answers", || async {
            let answer = front.http.get(front.url("getMeetings", "")).send().await.ok()?.text().await.ok()?;
            answer.contains("<returncode>SUCCESS").then_some(())
        })
        .await;
    }

    /// Another override as from the environment, from the next start or command on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Starts `usher serve` without waiting for anything.
    pub fn start_process(&self) {
        let child = self.spawn(&["serve"]);
        *self.process.lock().unwrap() = Some(child);
    }

    /// Starts `usher serve --upgrade` without waiting for anything: the pool's process from now on. The one before it.
    pub fn start_upgrade(&self) -> Predecessor {
        let child = self.spawn(&["serve", "--upgrade"]);
        Predecessor(self.process.lock().unwrap().replace(child))
    }

    /// What an upgrade failed to replace is the pool's process again.
    pub fn take_back(&self, old: Predecessor) {
        *self.process.lock().unwrap() = old.into_child();
    }

    /// A process that writes to the common log.
    fn spawn(&self, words: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        self.launched(words).stderr(log).stdout(Stdio::null()).spawn().unwrap()
    }

    /// Waits until no enabled server is in health `unknown` and readiness says yes.
    pub async fn wait_ready(&self) {
        let client = FrontEnd::new(&self.http, "");
        eventually("all servers are known", || async {
            let status = self.status().await?;
            let known = status["servers"].as_array()?.iter().all(|server| server["health"] != "unknown");
            let ready = client.fetch(&format!("{}/readyz", self.http)).await.status == 200;
            (known && ready).then_some(())
        })
        .await;
    }

    /// The admin listener's status; `None` while it does not answer.
    pub async fn status(&self) -> Option<serde_json::Value> {
        let client = FrontEnd::new(&self.http, "");
        let answer = client.http.get(format!("{}/api/v1/status", self.admin)).send().await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// One server's part of the status.
    pub async fn server_status(&self, name: &str) -> serde_json::Value {
        let status = self.status().await.expect("the admin listener answers");
        let servers = status["servers"].as_array().unwrap().clone();
        servers.into_iter().find(|server| server["name"] == name).unwrap_or_default()
    }

    /// Waits until a server's health is `word`.
    pub async fn wait_health(&self, name: &str, word: &str) {
        eventually(&format!("{name} is {word}"), || async {
            (self.server_status(name).await["health"] == word).then_some(())
        })
        .await;
    }

    /// Waits until every server has been polled again, twice, from now on.
    pub async fn wait_polls(&self) {
        let counts: Vec<u64> = self.servers.iter().map(|server| server.count_calls("getMeetings")).collect();
        eventually("two more polls of every server", || async {
            let polled = |(server, before): (&SimServer, &u64)| server.count_calls("getMeetings") >= before + 3;
            self.servers.iter().zip(&counts).all(polled).then_some(())
        })
        .await;
    }

    pub async fn metrics(&self) -> String {
        FrontEnd::new(&self.http, "").fetch(&format!("{}/metrics", self.admin)).await.body
    }

    /// The front end of the first tenant.
    pub fn front_end(&self) -> FrontEnd {
        self.front_end_of(0)
    }

    /// The front end of a tenant, by the common address.
    pub fn front_end_of(&self, index: usize) -> FrontEnd {
        FrontEnd::new(format!("{}/bigbluebutton/api", self.http), self.tenants[index].secret.clone())
    }

    /// The servers (by index) that have the meeting, by the id they know.
    pub fn holders(&self, bbb_id: &str) -> Vec<usize> {
        let has = |server: &SimServer| server.meeting(bbb_id).is_some();
        self.servers.iter().enumerate().filter(|(_, server)| has(server)).map(|(index, _)| index).collect()
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("usher.toml")
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("usher.log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `usher` with this pool's configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command.arg("--config").arg(self.config_path()).args(words).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same behind the launcher, if there is one.
    fn launched(&self, words: &[&str]) -> Command {
        let plain = self.command(words);
        let Some((program, rest)) = self.launcher.split_first() else { return plain };
        let mut command = Command::new(program);
        command.args(rest).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn cli(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A command that must work; its standard output.
    pub fn cli_ok(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "usher {words:?} failed: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().as_ref().expect("usher serve runs").id()
    }

    /// Sends a signal by name (`TERM`, `HUP`, `KILL`) to our own `usher serve`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// kill -9, and gone when this returns.
    pub fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for `usher serve` to end by itself; its exit code.
    pub async fn wait_exit(&self) -> Option<i32> {
        let exit = eventually("usher serve ends", || async {
            self.process.lock().unwrap().as_mut().and_then(|child| child.try_wait().ok().flatten())
        })
        .await;
        self.process.lock().unwrap().take();
        exit.code()
    }
}

/// A process that was taken over from; ends with this.
pub struct Predecessor(Option<Child>);

impl Predecessor {
    /// Whether it has ended by itself, and how.
    pub fn exit(&mut self) -> Option<Option<i32>> {
        self.0.as_mut().unwrap().try_wait().unwrap().map(|status| status.code())
    }

    pub async fn wait_exit(mut self) -> Option<i32> {
        let mut ended = || self.exit();
        eventually("the old usher ends", || std::future::ready(ended())).await
    }

    pub fn signal(&self, name: &str) {
        signal(self.0.as_ref().unwrap().id(), name);
    }

    fn into_child(mut self) -> Option<Child> {
        self.0.take()
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal by name to a process that this test has started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success());
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the last lines of usher's log ---");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// A port that nobody else gets as long as the socket lives: bound, but not listening, it lets `usher serve` listen
/// there, and again after a restart. (Linux allows the second bind.)
pub fn reserved_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

/// A port that was free a moment ago. Below the range from which the kernel serves connections and port 0, or the many
/// connections of the other tests would take it before `usher serve` does.
pub fn free_port() -> u16 {
    let ports = std::iter::repeat_with(|| rand::random_range(10_000..32_000));
    ports.into_iter().find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
