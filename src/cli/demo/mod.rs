//! `usher demo`: the whole product on loopback, for somebody who has seen none of it.
//!
//! Three simulated BBB servers, a temporary folder with a configuration and a store of its own, one tenant, and the
//! ordinary `serve` in the same process: nothing in the request path knows that it is a demo. When `serve` returns,
//! everything is dropped, the folder included. The simulated servers and the crowd run in a runtime beside Pingora's.

mod crowd;
mod front_end;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, fields, say};
use super::secret::new_secret;
use crate::config::Config;
use crate::ids::{Secret, TenantId};
use crate::serve::Stop;
use crate::sim::{SimOptions, SimServer, SimVersion};
use crate::store::{ServerRecord, TenantRecord, TenantSecret};
use crowd::{Crowd, LOBBY};
use front_end::FrontEnd;

const TENANT: &str = "demo";
/// Ports of the built-in defaults; taken if they are free.
const HTTP_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;
/// How often something happens in the meetings.
const STEP: Duration = Duration::from_millis(500);
/// Steps between two lines on the terminal.
const STEPS_PER_LINE: u64 = 20;

/// The simulated servers: name, BBB's generation, cores.
const SERVERS: [(&str, SimVersion, u32); 3] =
    [("bbb1", SimVersion::V3_0, 32), ("bbb2", SimVersion::V3_0, 48), ("bbb3", SimVersion::V2_7, 32)];

/// Everything that exists because of the demo; dropping it leaves nothing behind.
struct Playground {
    folder: tempfile::TempDir,
    config: Config,
    file: PathBuf,
    secret: Secret,
    servers: Arc<Vec<SimServer>>,
}

/// Runs until Ctrl-C or SIGTERM. Must not be called inside a runtime.
pub fn run(json: bool) -> Result<Report, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}; check the limits of this account")))?;
    // Before anything exists that would be left behind.
    let (stop, asked) = Stop::on_request();
    let signals = runtime.block_on(async { stop_signals() })?;
    runtime.spawn(pass_on(signals, asked));
    let playground = runtime.block_on(Playground::start())?;
    let front_end = playground.front_end()?;
    let crowd = Crowd::new(front_end.clone(), playground.servers.clone());
    say(&playground.welcome(&front_end, json))?;
    let meetings = runtime.spawn(live(crowd, !json));
    let outcome = crate::serve::run_until(stop, playground.config.clone(), Some(playground.file.clone()));
    meetings.abort();
    runtime.shutdown_timeout(Duration::from_secs(1));
    let removed = playground.folder.close();
    outcome.map_err(|error| CliError::Failed(error.to_string()))?;
    removed.map_err(|error| {
        CliError::Failed(format!("the demo's folder could not be removed: {error}; remove it by hand"))
    })?;
    Ok(Report::new("", json!({ "removed": true })))
}

/// Ctrl-C, a polite kill, and the terminal being closed.
fn stop_signals() -> Result<Vec<Signal>, CliError> {
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            CliError::Failed(format!("signals cannot be caught: {error}; check the limits of this account"))
        })
}

/// Each signal asks once; the second one makes the stop a fast one.
async fn pass_on(mut signals: Vec<Signal>, asked: Arc<Notify>) {
    loop {
        select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
        asked.notify_one();
    }
}

/// Lets meetings come and go for ever, and tells about it now and then.
async fn live(mut crowd: Crowd, is_talking: bool) {
    let mut clock = interval(STEP);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for step in 1u64.. {
        clock.tick().await;
        crowd.step().await;
        if is_talking && step.is_multiple_of(STEPS_PER_LINE) {
            // The demo goes on, whoever listens.
            let _ = say(&crowd.in_words());
        }
    }
}

impl Playground {
    async fn start() -> Result<Self, CliError> {
        let folder = tempfile::Builder::new()
            .prefix("usher-demo-")
            .tempdir()
            .map_err(|error| CliError::Failed(format!("no temporary folder: {error}; set TMPDIR to a writable one")))?;
        let http = port(HTTP_PORT)?;
        let admin = port(ADMIN_PORT)?;
        let file = folder.path().join("usher.toml");
        std::fs::write(&file, configuration(folder.path(), http, admin))
            .map_err(|error| CliError::Failed(format!("cannot write {}: {error}", file.display())))?;
        // The playground is the same wherever it runs: the environment has no say.
        let config = Config::load(Some(&file), std::iter::empty())
            .map_err(|problems| CliError::Failed(format!("the demo's configuration is wrong: {problems}")))?;
        let mut servers = Vec::new();
        for (name, generation, _) in SERVERS {
            let options = SimOptions {
                name: name.into(),
                generation,
                reveal_version: true,
                allow_requests_without_session: true,
                ..SimOptions::new(new_secret()?)
            };
            let server = SimServer::start(options)
                .await
                .map_err(|error| CliError::Failed(format!("a simulated server cannot listen: {error}")))?;
            servers.push(server);
        }
        let playground = Self { folder, config, file, secret: new_secret()?, servers: Arc::new(servers) };
        playground.fill_store().await?;
        Ok(playground)
    }

    /// What an operator would type: `usher server add` three times and `usher tenant add`.
    async fn fill_store(&self) -> Result<(), CliError> {
        let context = Context::open(self.config.clone()).await?;
        for (server, (name, _, cores)) in self.servers.iter().zip(SERVERS) {
            context
                .store
                .add_server(ServerRecord { cores, ..ServerRecord::new(name, server.url(), server.secret().clone()) })
                .await?;
        }
        let secret = TenantSecret { id: 0, secret: self.secret.clone(), created_at: context.now, retired_at: None };
        context
            .store
            .add_tenant(TenantRecord {
                id: TenantId(0),
                name: TENANT.into(),
                is_default: true,
                scope: None,
                hosts: Vec::new(),
                secrets: vec![secret],
                params: Vec::new(),
                max_meetings: None,
                max_people: None,
                max_requests: None,
                pool: Vec::new(),
                region: None,
            })
            .await?;
        Ok(())
    }

    fn front_end(&self) -> Result<FrontEnd, CliError> {
        FrontEnd::new(format!("{}/bigbluebutton/api/", self.config.listen.public_base()), self.secret.clone())
    }

    fn welcome(&self, front_end: &FrontEnd, json: bool) -> String {
        let api = format!("{}/bigbluebutton/api", self.config.listen.public_base());
        let metrics = self.config.admin.listen.map(|admin| format!("http://{admin}/metrics")).unwrap_or_default();
        let join = front_end.join_link(LOBBY, "Newcomer");
        let servers: Vec<String> = self.servers.iter().map(SimServer::url).collect();
        if json {
            let welcome = json!({
                "api_url": api,
                "secret": self.secret.reveal(),
                "tenant": TENANT,
                "metrics_url": metrics,
                "join_url": join,
                "config": self.file,
                "servers": servers,
            });
            return welcome.to_string();
        }
        let list = fields(&[
            ("API address", api),
            ("secret", self.secret.reveal().into()),
            ("metrics", metrics),
            ("join link", join),
            ("look around", format!("{} -c {} status", this_program(), self.file.display())),
        ]);
        format!(
            "Usher with three simulated BigBlueButton servers and meetings that come and go\n\n{list}\n\nCtrl-C ends it and removes everything.\n"
        )
    }
}

/// Calm logs, quick polls, and a stop that does not wait for anybody.
fn configuration(folder: &Path, http: SocketAddr, admin: SocketAddr) -> String {
    let store = folder.join("usher.db");
    format!(
        "[listen]\nhttp = [\"{http}\"]\npublic_url = \"http://{http}\"\n\
         [admin]\nlisten = \"{admin}\"\n\
         [store]\nurl = {store}\n\
         [health]\ninterval = \"2s\"\npoll_interval = \"2s\"\ntimeout = \"2s\"\n\
         [log]\nlevel = \"warn\"\naccess = false\n\
         [process]\ngrace_stop = \"1s\"\n",
        store = toml::Value::String(format!("sqlite:{}", store.display())),
    )
}

/// How this program is called from a shell that may not find it by its name.
fn this_program() -> String {
    let path = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_else(|_| "usher".to_owned());
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// The wished port of loopback, or any free one.
fn port(wished: u16) -> Result<SocketAddr, CliError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    bind(wished)
        .or_else(|_| bind(0))
        .map_err(|error| CliError::Failed(format!("no free port on loopback: {error}; close something that listens")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_valid_and_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let text = configuration(folder.path(), ([127, 0, 0, 1], 18080).into(), ([127, 0, 0, 1], 18081).into());
        let config = Config::parse(&text, std::iter::empty()).unwrap();
        assert_eq!(config.listen.public_base(), "http://127.0.0.1:18080");
        assert_eq!(config.admin.listen, Some(([127, 0, 0, 1], 18081).into()));
    }

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wished = taken.local_addr().unwrap().port();
        assert_ne!(port(wished).unwrap().port(), wished);
    }

    #[tokio::test]
    async fn the_playground_is_complete_and_leaves_nothing_behind() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let playground = Playground::start().await.unwrap();
        let context = Context::open(playground.config.clone()).await.unwrap();
        let mut urls: Vec<String> =
            context.store.servers().await.unwrap().into_iter().map(|server| server.url).collect();
        urls.sort();
        let mut simulated: Vec<String> = playground.servers.iter().map(SimServer::url).collect();
        simulated.sort();
        assert_eq!(urls, simulated);
        let tenant = context.tenant(TENANT).await.unwrap();
        assert!(tenant.is_default && tenant.scope.is_none() && tenant.secrets[0].secret == playground.secret);
        let front_end = playground.front_end().unwrap();
        let welcome: serde_json::Value = serde_json::from_str(&playground.welcome(&front_end, true)).unwrap();
        assert_eq!(welcome["secret"], playground.secret.reveal());
        assert!(welcome["join_url"].as_str().unwrap().contains("/bigbluebutton/api/join?"));
        let folder = playground.folder.path().to_path_buf();
        drop((context, playground));
        assert!(!folder.exists());
    }
}
