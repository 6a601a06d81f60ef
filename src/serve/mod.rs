//! From a checked configuration to a running process: the parts are put together here, once, and nowhere else.
//!
//! Pingora makes a runtime for each service and panics when it cannot bind, so the store is read and the addresses
//! are tried before it starts; whatever can fail fails here, in words.

mod announced;
mod assemble;
mod background;
mod certificates;
mod door;
mod reload;
mod stop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as PingoraServer};
use pingora::services::background::background_service;
use pingora::services::listening::Service;

pub use stop::Stop;

use crate::admin::AdminApp;
use crate::config::{Config, L4Listener};
use crate::l4::{self, L4App};
use crate::process::Shared;
use crate::proxy::PublicApp;
use background::Background;
use door::{AdminDoor, PlainDoor, PublicDoor, listening};

/// Why Usher did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {error}; stop what uses it, or change {key}")]
    Listen { key: &'static str, address: SocketAddr, error: std::io::Error },
    #[error("cannot open the store: {0}; `usher check --online` tests it alone")]
    Store(#[from] crate::store::StoreError),
    #[error("cannot use the certificates: {0}; `usher check` lists everything")]
    Certificates(String),
    #[error("cannot start: {0}")]
    Start(String),
}

/// Everything that is needed to serve, not yet serving.
pub struct Server {
    shared: Arc<Shared>,
    config_path: Option<PathBuf>,
}

impl Server {
    /// Opens the store, reads it, and makes sure that the addresses are free. Must not be called inside a runtime.
    pub fn prepare(config: Config, config_path: Option<PathBuf>) -> Result<Self, ServeError> {
        for address in &config.listen.http {
            try_to_listen("listen.http", *address)?;
        }
        for address in &config.listen.https {
            try_to_listen("listen.https", *address)?;
        }
        for address in config.l4.addresses() {
            try_to_listen("l4.listener", address)?;
        }
        if let Some(address) = config.admin.listen {
            try_to_listen("admin.listen", address)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ServeError::Start(error.to_string()))?;
        let shared = runtime.block_on(assemble::assemble(config))?;
        Ok(Self { shared, config_path })
    }

    /// Serves until `stop` says otherwise, then returns.
    pub fn run(self, stop: Stop) {
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

        let public = Arc::new(PublicApp::new(self.shared.clone()));
        if !config.listen.http.is_empty() {
            server.add_service(listening(
                "public",
                PlainDoor::new(self.shared.clone(), public.clone()),
                &config.listen.http,
            ));
        }
        if !config.listen.https.is_empty() {
            let door = PublicDoor::new(self.shared.clone(), public);
            server.add_service(listening("https", door, &config.listen.https));
        }
        if let Some(address) = config.admin.listen {
            let admin = AdminApp::new(self.shared.clone());
            if config.admin.tls.is_some() {
                let mut service = listening("admin", AdminDoor::new(self.shared.clone(), admin), &[address]);
                service.threads = Some(1);
                server.add_service(service);
            } else {
                let mut service = listening("admin", admin, &[address]);
                service.threads = Some(1);
                server.add_service(service);
            }
        }
        for listener in &config.l4.listeners {
            server.add_service(l4_service(&self.shared, listener));
        }
        let background = Background::new(self.shared.clone(), self.config_path);
        server.add_service(background_service("background", background));

        let signal = stop.watch(self.shared.clone());
        server.run(RunArgs { shutdown_signal: Box::new(signal) });
        log::info!("stopped");
        crate::log::flush();
    }
}

/// `usher serve`: prepares, runs, and returns after SIGTERM or SIGINT.
pub fn run(config: Config, config_path: Option<PathBuf>) -> Result<(), ServeError> {
    run_until(Stop::on_signals(), config, config_path)
}

/// The same with another way to stop. Must not be called inside a runtime.
pub fn run_until(stop: Stop, config: Config, config_path: Option<PathBuf>) -> Result<(), ServeError> {
    crate::log::start(config.log.format, config.log.level);
    Server::prepare(config, config_path)?.run(stop);
    Ok(())
}

/// Pingora's buffers are left out: a relay has its own, and only while bytes flow.
fn l4_service(shared: &Arc<Shared>, listener: &L4Listener) -> Service<L4App> {
    let mut service = Service::new(format!("l4 {}", listener.name), L4App::new(shared.clone(), listener));
    for address in &listener.listen {
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(l4::keepalive());
        let endpoint = ListenerConfig::tcp(address.to_string()).tcp_socket_options(options);
        service.add_listener(endpoint.l4_buffer(L4BufferSettings::unbuffered()));
    }
    service
}

/// Pingora panics at 0, which is our word for one per core.
fn worker_threads(wished: usize) -> usize {
    match wished {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wished => wished,
    }
}

fn try_to_listen(key: &'static str, address: SocketAddr) -> Result<(), ServeError> {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(ServeError::Listen { key, address, error }),
    }
}
