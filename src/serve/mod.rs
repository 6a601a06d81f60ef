//! From a checked configuration to a running process: the parts are put together here, once, and nowhere else.
//!
//! Pingora makes a runtime for each service and panics when it cannot bind, so the store is read and the addresses
//! are tried before it starts; whatever can fail fails here, in words.

mod assemble;
mod background;
mod reload;
mod stop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server as PingoraServer};
use pingora::services::background::background_service;
use pingora::services::listening::Service;

pub use stop::Stop;

use crate::admin::AdminApp;
use crate::config::Config;
use crate::process::Shared;
use crate::proxy::PublicApp;
use background::Background;

/// Why Usher did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {error}; stop what uses it, or change {key}")]
    Listen { key: &'static str, address: SocketAddr, error: std::io::Error },
    #[error("cannot open the store: {0}; `usher check --online` tests it alone")]
    Store(#[from] crate::store::StoreError),
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

        let mut public = Service::new("public".to_owned(), PublicApp::new(self.shared.clone()));
        for address in &config.listen.http {
            public.add_tcp(&address.to_string());
        }
        server.add_service(public);
        if let Some(address) = config.admin.listen {
            let mut admin = Service::new("admin".to_owned(), AdminApp::new(self.shared.clone()));
            admin.add_tcp(&address.to_string());
            admin.threads = Some(1);
            server.add_service(admin);
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
