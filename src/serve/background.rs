//! What goes on beside the requests: the watch over the servers, the store's changes, the ledger's clock, reloads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::FutureExt;
use log::{error, info, warn};
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::upgrade::Succession;
use super::{certificates, reload, remind};
use crate::config::{Config, StoreUrl};
use crate::placement::{FOLLOW_EVERY, WatchSettings, watch_servers};
use crate::process::Shared;
use crate::restart::{Running, keep_running};

/// How often the ledger lets time pass for expected people.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked whether a claim would work, so that readiness knows before a front end does.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The same while it fails, so that it is in use again soon after its recovery.
const PING_FAILING_EVERY: Duration = Duration::from_millis(500);

pub struct Background(Arc<Beside>);

/// What all of it works with.
struct Beside {
    shared: Arc<Shared>,
    config_path: Option<PathBuf>,
    watch: Arc<ArcSwap<WatchSettings>>,
    succession: Arc<Succession>,
}

impl Background {
    pub fn new(shared: Arc<Shared>, config_path: Option<PathBuf>, succession: Arc<Succession>) -> Self {
        let watch = Arc::new(ArcSwap::from_pointee(watch_settings(&shared.config.load())));
        Self(Arc::new(Beside { shared, config_path, watch, succession }))
    }
}

impl Beside {
    /// Everything that goes on until the process ends, each alone: the failure of one is no other's.
    fn start(self: &Arc<Self>) -> Vec<Running> {
        vec![
            self.keep("servers", |beside| async move {
                watch_servers(beside.shared.placer.clone(), beside.watch.clone()).await
            }),
            self.keep("store_changes", |beside| async move { beside.follow_store().await }),
            self.keep("store_ping", |beside| async move { beside.ping_store().await }),
            self.keep("store_rebuild", |beside| async move { beside.rebuild_on_signal().await }),
            self.keep("ledger", |beside| async move { beside.tick_ledger().await }),
            self.keep("reload", |beside| async move { beside.reload_on_hangup().await }),
            self.keep("certificates", |beside| async move { certificates::watch(beside.shared.clone()).await }),
            self.keep("reminders", |beside| async move { remind::remind(beside.shared.clone()).await }),
            self.keep("upgrade_signal", |beside| async move { beside.succession.follow_signal().await }),
        ]
    }

    fn keep<F>(self: &Arc<Self>, name: &'static str, work: impl Fn(Arc<Self>) -> F + Send + 'static) -> Running
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let beside = self.clone();
        keep_running(&self.shared.metrics, name, String::new(), move || work(beside.clone()))
    }

    async fn follow_store(&self) {
        let mut ticks = interval(FOLLOW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            match self.shared.placer.follow().await {
                Ok(()) if failing => {
                    info!("the store answers again");
                    failing = false;
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    error!(error:% = error; "the store's changes cannot be read, the picture stays as it is");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn ping_store(&self) {
        let metrics = &self.shared.metrics;
        loop {
            self.shared.placer.ping_store().await;
            let pause = if metrics.store_up.get() == 1 { PING_EVERY } else { PING_FAILING_EVERY };
            tokio::time::sleep(pause).await;
        }
    }

    /// SIGUSR1: an operator who has lost the store's file wants what is known in a new one.
    async fn rebuild_on_signal(&self) {
        let Ok(mut asked) = signal(SignalKind::user_defined1()) else {
            warn!("SIGUSR1 cannot be caught, a lost store cannot be written anew");
            return std::future::pending().await;
        };
        while asked.recv().await.is_some() {
            match self.shared.placer.store.rebuild().await {
                Ok(()) => warn!("the store was written anew, into a new file at its place"),
                Err(error) => error!(error:% = error; "the store is not written anew"),
            }
            self.shared.placer.ping_store().await;
        }
    }

    async fn tick_ledger(&self) {
        let mut ticks = interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut had_carried = false;
        loop {
            ticks.tick().await;
            let carried = self.shared.process.carried.people();
            if had_carried || !carried.is_empty() {
                self.shared.placer.ledger.set_carried(&carried);
            }
            had_carried = !carried.is_empty();
            self.shared.placer.ledger.tick(self.shared.placer.clock.now());
        }
    }

    async fn reload_on_hangup(&self) {
        let Ok(mut hangups) = signal(SignalKind::hangup()) else {
            warn!("SIGHUP cannot be caught, the configuration will not be reloaded");
            return std::future::pending().await;
        };
        while hangups.recv().await.is_some() {
            if let Some(config) = reload::reload(&self.shared, self.config_path.as_deref()) {
                self.watch.store(Arc::new(watch_settings(&config)));
            }
        }
    }

    /// Lets the listeners take connections, and says so. They are bound since the start, so whoever came meanwhile waits.
    async fn open(&self, ready: ServiceReadyNotifier) {
        if self.succession.take_over().await.is_err() {
            return;
        }
        ready.notify_ready();
        let config = self.shared.config.load_full();
        let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let (http, https) = (list(&config.listen.http), list(&config.listen.https));
        let admin = config.admin.listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
        let l4 = config.l4.listeners.iter().map(|one| format!("{}={}", one.name, list(&one.listen)));
        let l4 = l4.collect::<Vec<_>>().join(" ");
        let file = self.config_path.as_deref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
        let StoreUrl::Sqlite(store) = &config.store.url;
        info!(http = http.as_str(), https = https.as_str(), admin = admin.as_str(), l4 = l4.as_str(),
            config = file.as_str(), store:% = store.display(), version = env!("CARGO_PKG_VERSION"); "serving");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}

#[async_trait]
impl BackgroundService for Background {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let _running = self.0.start();
        let opening = std::panic::AssertUnwindSafe(self.0.open(ready)).catch_unwind();
        let work = async {
            // It cannot be tried again: a half-done upgrade would leave two that serve.
            if opening.await.is_err() {
                error!("the start failed, this is a bug of Usher's; this process ends");
                self.0.succession.give_up();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => {}
            _ = shutdown.changed() => {}
        }
    }
}

fn watch_settings(config: &Config) -> WatchSettings {
    WatchSettings {
        interval: config.health.interval,
        poll_interval: config.health.poll_interval,
        timeout: config.health.timeout,
        max_backoff: config.health.max_backoff,
    }
}
