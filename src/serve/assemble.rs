//! The parts of a process, made from the configuration and tied together.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{ServeError, Start, certificates};
use crate::client::{BbbClient, ClientSettings, Said};
use crate::clock::{Clock, SteadyClock, SystemClock};
use crate::config::Config;
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::pacing::Pacer;
use crate::placement::{Ledger, LedgerSettings, Monitor, Placer, PlacerSettings};
use crate::pool::HealthSettings;
use crate::process::{Process, Shared};
use crate::store;
use crate::tls::Tls;

/// KiB that `bytes` take in the body memory.
pub fn kib(bytes: u64) -> usize {
    usize::try_from(bytes / 1024).unwrap_or(Semaphore::MAX_PERMITS).clamp(1, Semaphore::MAX_PERMITS)
}

pub fn ledger_settings(config: &Config) -> LedgerSettings {
    LedgerSettings {
        load: config.load,
        ended_grace: config.health.ended_grace,
        claim_timeout: config.api.request_timeout * 2 + config.health.ended_grace,
    }
}

pub fn health_settings(config: &Config) -> HealthSettings {
    HealthSettings {
        unhealthy_after: config.health.unhealthy_after,
        healthy_after: config.health.healthy_after,
        window: config.health.interval + config.health.timeout,
    }
}

pub fn placer_settings(config: &Config) -> PlacerSettings {
    PlacerSettings { failover_after: config.health.failover_after, create_attempt: config.api.create_attempt }
}

/// Reads the certificates; one that cannot be served ends the start.
fn load_tls(config: &Config, metrics: &Metrics) -> Result<Tls, ServeError> {
    let loaded = Tls::load(config, SystemClock.now());
    let (tls, outcome) = loaded.map_err(|error| ServeError::Start(format!("TLS does not work: {error}")))?;
    let unusable: Vec<String> = outcome.unusable().map(|trouble| trouble.problem.to_string()).collect();
    if !unusable.is_empty() {
        return Err(ServeError::Certificates(unusable.join("; ")));
    }
    certificates::tell(&outcome);
    metrics.set_certificates(&tls.expiries());
    Ok(tls)
}

/// Opens and reads the store and builds everything that requests share.
pub async fn assemble(config: Config, start: Start) -> Result<Arc<Shared>, ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SteadyClock);
    let metrics = Arc::new(Metrics::new().map_err(|error| ServeError::Start(error.to_string()))?);
    let store = match start {
        Start::Fresh => store::open(&config.store).await?,
        // One that is not there is not made: the running Usher would be replaced by an empty one.
        Start::Upgrade => store::open_existing(&config.store).await?,
    };
    let ledger = Arc::new(Ledger::new(ledger_settings(&config)));
    let tls = load_tls(&config, &metrics)?;
    let client_settings =
        ClientSettings { connect_timeout: config.api.connect_timeout, max_answer: config.api.max_answer };
    let client = BbbClient::new(&client_settings, tls.servers.clone()).map_err(ServeError::Start)?;
    let monitor = Arc::new(Monitor::new(health_settings(&config), ledger.clone(), metrics.clone(), clock.clone()));
    let placer =
        Arc::new(Placer::new(clock, ledger, store, client, monitor, metrics.clone(), placer_settings(&config)));
    placer.load().await?;
    let process = Arc::new(Process::new(super::worker_threads(config.process.threads)));
    process.set_loaded();
    let config = Arc::new(config);
    Ok(Arc::new(Shared {
        body_memory: Arc::new(Semaphore::new(kib(config.api.max_buffered))),
        creates: Arc::new(Semaphore::new(config.limits.concurrent_creates)),
        limiter: Limiter::new(&metrics),
        pacer: Pacer::default(),
        started_with: config.clone(),
        said: Said::default(),
        config: ArcSwap::new(config),
        placer,
        metrics,
        process,
        tls,
    }))
}
