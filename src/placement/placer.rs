//! The placer: ledger, store and servers held together, so that what one knows the others learn.
//!
//! `create.rs` places (with `try_server.rs` and `settle.rs`), `sweep.rs` learns from polls, `follow.rs` from the store,
//! `unwritten.rs` makes up for a store that failed; all are methods of this type and the only writers of placements.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use log::error;
use parking_lot::Mutex;

use super::look::Looks;
use super::twins::Condemned;
use super::unwritten::Unwritten;
use super::{CreateGate, Ledger, Monitor, Tombstones};
use crate::client::BbbClient;
use crate::clock::Clock;
use crate::ids::{MeetingKey, ServerId};
use crate::metrics::Metrics;
use crate::store::{Cursor, Eviction, Store, StoreError};
use crate::tenant::Tenants;

/// Settings that a reload may change.
#[derive(Clone, Debug)]
pub struct PlacerSettings {
    /// How long a server must stay `down` before its meetings may be created elsewhere.
    pub failover_after: Duration,
    /// How long one server may take for a create while another one could have it.
    pub create_attempt: Duration,
}

/// See the module's header.
pub struct Placer {
    pub clock: Arc<dyn Clock>,
    pub ledger: Arc<Ledger>,
    pub store: Arc<dyn Store>,
    pub client: BbbClient,
    pub monitor: Arc<Monitor>,
    pub metrics: Arc<Metrics>,
    pub tenants: ArcSwap<Tenants>,
    pub settings: ArcSwap<PlacerSettings>,
    pub(super) gate: CreateGate,
    /// What may still live on a server although it was placed elsewhere; a copy of the store's list.
    pub(super) evictions: ArcSwap<Vec<Eviction>>,
    /// Meetings known to have ended, so that a late poll cannot bring them back.
    pub(super) ended: Mutex<Tombstones>,
    /// Copies that their owner has ended.
    pub(super) condemned: Mutex<Condemned>,
    /// Twins that the log has told of.
    pub(super) twins_told: Mutex<Tombstones>,
    pub(super) cursor: Mutex<Cursor>,
    /// Which servers are to be polled before their time.
    pub(super) looks: Looks,
    /// Servers whose meetings have not been asked for since the start.
    pub(super) unseen: Mutex<HashSet<ServerId>>,
    /// Why the store fails, while it does; for readiness.
    store_trouble: Mutex<Option<String>>,
    /// What the store could not be told yet.
    pub(super) unwritten: Mutex<VecDeque<Unwritten>>,
    /// News of other processes about meetings that were being created here.
    pub(super) postponed: Mutex<HashSet<MeetingKey>>,
    /// How often that has begun.
    pub(super) follows: Mutex<u64>,
    /// One at a time takes in what other processes changed.
    pub(super) following: tokio::sync::Mutex<()>,
    /// Whole lists are read and taken over one at a time: an older one must not replace a newer one.
    pub(super) reading: tokio::sync::Mutex<()>,
}

impl Placer {
    #[allow(clippy::too_many_arguments)] // its parts, once, in `serve`
    pub fn new(
        clock: Arc<dyn Clock>,
        ledger: Arc<Ledger>,
        store: Arc<dyn Store>,
        client: BbbClient,
        monitor: Arc<Monitor>,
        metrics: Arc<Metrics>,
        settings: PlacerSettings,
    ) -> Self {
        Self {
            clock,
            ledger,
            store,
            client,
            monitor,
            metrics,
            tenants: ArcSwap::default(),
            settings: ArcSwap::from_pointee(settings),
            gate: CreateGate::default(),
            evictions: ArcSwap::default(),
            ended: Mutex::default(),
            condemned: Mutex::default(),
            twins_told: Mutex::default(),
            cursor: Mutex::default(),
            looks: Looks::default(),
            unseen: Mutex::default(),
            store_trouble: Mutex::default(),
            unwritten: Mutex::default(),
            postponed: Mutex::default(),
            follows: Mutex::default(),
            following: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Runs one store operation, timed, and keeps `usher_store_up` honest.
    pub(super) async fn timed_store<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let outcome = work.await;
        self.metrics.store_duration.with_label_values(&[operation]).observe(started.elapsed().as_secs_f64());
        let trouble = match &outcome {
            Err(StoreError::Failed(reason)) => Some(reason.clone()),
            Err(error @ StoreError::Busy) => Some(error.to_string()),
            _ => None,
        };
        let works = trouble.is_none();
        let worked = self.metrics.store_up.get() == 1;
        if worked && !works {
            error!(operation = operation, reason = trouble.as_deref().unwrap_or_default(); "the store fails");
        }
        // A store that can be read may still take no claim: only a write proves that it works again.
        let proves = !matches!(operation, "read" | "changes");
        if !worked && works && proves {
            log::info!(operation = operation; "the store works");
        }
        if !works || proves {
            *self.store_trouble.lock() = trouble;
            self.metrics.store_up.set(i64::from(works));
        }
        outcome
    }

    /// Why no claim would work now; `None` if one would.
    pub fn store_trouble(&self) -> Option<String> {
        let reason = self.store_trouble.lock().clone();
        (self.metrics.store_up.get() == 0).then(|| reason.unwrap_or_else(|| "not read yet".to_owned()))
    }

    /// The same for a write that a caller waits for, which another process's lock or a slow disk must not hold up for
    /// long. After a failure nobody knows for certain what the store has about `key`: it is read again when it works.
    pub(super) async fn placed_in_store<T>(
        &self,
        operation: &'static str,
        key: &MeetingKey,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = |_| Err(StoreError::Failed(format!("no answer within {} ms", limit.as_millis())));
        let bounded = async { tokio::time::timeout(limit, work).await.unwrap_or_else(late) };
        let outcome = self.timed_store(operation, bounded).await;
        if matches!(outcome, Err(StoreError::Failed(_))) {
            self.postponed.lock().insert(key.clone());
        }
        outcome
    }

    /// Takes what the store says about one meeting; used when this process lost a race.
    pub(super) async fn reread(&self, key: &MeetingKey) {
        match self.timed_store("read", self.store.placement(key)).await {
            Ok(Some(placement)) => self.ledger.put(placement, self.clock.now()),
            Ok(None) => self.ledger.forget(key, self.clock.now()),
            Err(_) => self.postponed.lock().insert(key.clone()), // until the store works again
        };
    }

    /// Asks whether a claim would work now; readiness shows the outcome.
    pub async fn ping_store(&self) {
        // The outcome is in the metric, and in the log when it changes.
        let _ = self.timed_store("ping", self.store.ping()).await;
    }

    pub(super) async fn reload_evictions(&self) {
        let _turn = self.reading.lock().await;
        if let Ok(evictions) = self.timed_store("read", self.store.evictions()).await {
            self.condemned.lock().keep(&evictions);
            self.evictions.store(Arc::new(evictions));
        }
    }
}
