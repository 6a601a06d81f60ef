//! From a checked configuration to a running process: the parts are put together here, once, and nowhere else.
//!
//! Pingora makes a runtime for each service and panics when it cannot bind, so the store is read and the addresses
//! are tried before it starts; whatever can fail fails here, in words.

mod announced;
mod assemble;
mod background;
mod certificates;
mod door;
mod listening;
mod reload;
mod remind;
mod sockets;
mod stop;
mod upgrade;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as PingoraServer};
use pingora::services::ServiceHandle;
use pingora::services::background::background_service;

pub use stop::Stop;
pub use upgrade::detach;

use crate::admin::AdminApp;
use crate::config::{self, Config};
use crate::l4::L4App;
use crate::process::Shared;
use crate::proxy::PublicApp;
use background::Background;
use door::{AdminDoor, PlainDoor, PublicDoor, TcpDoor};
use sockets::Sockets;
use upgrade::{Succession, Takeover, TakeoverError};

/// How long a stop waits for the store.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Why Usher did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {error}; stop what uses it, or change {key}")]
    Listen { key: &'static str, address: SocketAddr, error: std::io::Error },
    #[error("cannot open the store: {0}; `usher check --online` tests it alone")]
    Store(#[from] crate::store::StoreError),
    #[error("cannot use the certificates: {0}; `usher check` lists everything")]
    Certificates(String),
    #[error("the upgrade failed, the running Usher goes on: {0}")]
    Upgrade(#[from] TakeoverError),
    #[error("cannot start: {0}")]
    Start(String),
}

/// Where the listening sockets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// They are opened.
    Fresh,
    /// The running Usher hands them over.
    Upgrade,
}

/// Everything that is needed to serve, not yet serving.
pub struct Server {
    shared: Arc<Shared>,
    config_path: Option<PathBuf>,
    sockets: Arc<Sockets>,
    takeover: Option<Takeover>,
}

impl Server {
    /// Opens the addresses, opens and reads the store. Must not be called inside a runtime.
    pub fn prepare(config: Config, config_path: Option<PathBuf>, start: Start) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ServeError::Start(error.to_string()))?;
        match start {
            // An address that is taken says more than a store that another Usher uses.
            Start::Fresh => {
                let sockets = Arc::new(Sockets::open(&config, Vec::new())?);
                let shared = runtime.block_on(assemble::assemble(config, start))?;
                Ok(Self { shared, config_path, sockets, takeover: None })
            }
            // The running Usher is asked for nothing before all else is in order.
            Start::Upgrade => {
                let shared = runtime.block_on(assemble::assemble(config, start))?;
                let config = shared.config.load_full();
                let (takeover, inherited) = Takeover::begin(&config.upgrade_socket(), &shared.placer.store.identity())?;
                let sockets = Arc::new(Sockets::open(&config, inherited)?);
                Ok(Self { shared, config_path, sockets, takeover: Some(takeover) })
            }
        }
    }

    /// Serves until `stop` says otherwise, then returns. The error: the running Usher did not let go.
    pub fn run(self, stop: Stop) -> Result<(), ServeError> {
        let config = self.shared.config.load_full();
        let conf = ServerConf {
            threads: worker_threads(config.process.threads),
            // One worker has nobody to share with, and needs no locks then.
            work_stealing: worker_threads(config.process.threads) > 1,
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(1),
            ..ServerConf::default()
        };
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();

        let listeners =
            self.add_listeners(&mut server, &config).map_err(|error| ServeError::Start(error.to_string()))?;
        let succession = Arc::new(Succession::new(self.takeover, &stop, &self.sockets, &self.shared));
        let signal = stop.watch(self.shared.clone());
        let shared = self.shared.clone();
        let background = Background::new(self.shared, self.config_path, succession.clone());
        let background = server.add_service(background_service("background", background));
        for listener in listeners {
            listener.add_dependency(&background);
        }
        server.run(RunArgs { shutdown_signal: Box::new(signal) });
        let failure = succession.failure();
        settle(&shared);
        if failure.is_none() {
            log::info!("stopped");
        }
        crate::log::flush();
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn add_listeners(&self, server: &mut PingoraServer, config: &Config) -> std::io::Result<Vec<ServiceHandle>> {
        let (shared, sockets) = (&self.shared, &self.sockets);
        let dead_after = config.limits.dead_after;
        let mut added = Vec::new();
        let public = Arc::new(PublicApp::new(shared.clone()));
        if !config.listen.http.is_empty() {
            let door = PlainDoor::new(shared.clone(), public.clone());
            added.push(server.add_service(sockets.service("public", door, &config.listen.http, dead_after)?));
        }
        let secure = Arc::new(PublicDoor::new(shared.clone(), public.clone()));
        if !config.listen.https.is_empty() {
            let door = PublicDoor::new(shared.clone(), public);
            added.push(server.add_service(sockets.service("https", door, &config.listen.https, dead_after)?));
        }
        if let Some(address) = config.admin.listen {
            let admin = AdminApp::new(shared.clone());
            let door = AdminDoor::new(shared.clone(), admin, config.admin.tls.is_some());
            let mut listening = sockets.service("admin", door, &[address], dead_after)?;
            listening.threads = Some(1);
            added.push(server.add_service(listening));
        }
        for listener in &config.l4.listeners {
            let door = TcpDoor::new(L4App::new(shared.clone(), listener), secure.clone());
            let name = format!("l4 {}", listener.name);
            added.push(server.add_service(sockets.service(&name, door, &listener.listen, dead_after)?));
        }
        Ok(added)
    }
}

/// The last words to the store. Not after an upgrade: the other process uses it.
fn settle(shared: &Shared) {
    if shared.process.has_company() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let settled = runtime.block_on(async { tokio::time::timeout(SETTLE_LIMIT, shared.placer.store.settle()).await });
    match settled {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!(error:% = error; "the store's log is not merged into its file; nothing is lost"),
        Err(_) => log::warn!("the store is slow, its log is not merged into its file; nothing is lost"),
    }
}

/// `usher serve`: prepares, runs, and returns after SIGTERM or SIGINT.
pub fn run(config: Config, config_path: Option<PathBuf>, start: Start) -> Result<(), ServeError> {
    crate::log::start(&config.log, config::is_journal_reading());
    Server::prepare(config, config_path, start)?.run(Stop::on_signals())
}

/// The same inside another program, with another way to stop. Must not be called inside a runtime.
pub fn run_until(stop: Stop, config: Config, config_path: Option<PathBuf>) -> Result<(), ServeError> {
    crate::log::start(&config.log, config::is_journal_reading());
    Server::prepare(config, config_path, Start::Fresh)?.run(stop)
}

/// Pingora panics at 0, which is our word for one per core.
fn worker_threads(wished: usize) -> usize {
    match wished {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wished => wished,
    }
}
