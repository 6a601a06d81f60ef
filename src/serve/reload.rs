//! SIGHUP: the configuration is read and checked again, and whatever needs no new socket takes effect at once.
//!
//! A broken file changes nothing and says why.

use std::path::Path;
use std::sync::Arc;

use log::{error, info, warn};
use tokio::sync::Semaphore;

use super::assemble::{health_settings, kib, ledger_settings, placer_settings};
use super::certificates;
use crate::config::{Config, environment};
use crate::process::Shared;

/// The new configuration, `None` if the old one stays.
pub fn reload(shared: &Shared, path: Option<&Path>) -> Option<Arc<Config>> {
    let config = match Config::load(path, environment()) {
        Ok(config) => Arc::new(config),
        Err(problems) => {
            for problem in &problems.0 {
                error!(problem:% = problem; "configuration not reloaded");
            }
            return None;
        }
    };
    let old = shared.config.swap(config.clone());
    // Compared with what runs and not with the last file: a key that was changed back needs no restart any more, and one
    // that still differs is told of each time.
    for key in shared.started_with.restart_needed(&config) {
        warn!(key = key; "changed in the file, takes effect at the next restart");
    }
    crate::log::change(&config.log);
    shared.placer.ledger.set_settings(ledger_settings(&config), shared.placer.clock.now());
    shared.placer.monitor.set_settings(health_settings(&config));
    shared.placer.settings.store(Arc::new(placer_settings(&config)));
    resize(&shared.body_memory, kib(old.api.max_buffered), kib(config.api.max_buffered));
    resize(&shared.creates, old.limits.concurrent_creates, config.limits.concurrent_creates);
    // A broken certificate does not keep the rest from taking effect: the old one stays, and the log says so.
    certificates::reload(shared);
    info!("configuration reloaded");
    Some(config)
}

/// Permits in use are taken away when they come back.
fn resize(semaphore: &Arc<Semaphore>, old: usize, new: usize) {
    if new >= old {
        semaphore.add_permits(new - old);
        return;
    }
    let semaphore = semaphore.clone();
    let surplus = u32::try_from(old - new).unwrap_or(u32::MAX);
    tokio::spawn(async move {
        if let Ok(permits) = semaphore.acquire_many(surplus).await {
            permits.forget();
        }
    });
}
