//! The placer: ledger, store and servers held together, so that what one knows the others learn.
//!
//! `create.rs` places, `sweep.rs` learns from polls, `follow.rs` from the store; all three are methods of this type
//! and are the only writers of placements.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use log::{error, warn};
use parking_lot::Mutex;

use super::{CreateGate, Ledger, Monitor, Tombstones};
use crate::client::BbbClient;
use crate::clock::Clock;
use crate::ids::{MeetingKey, ServerId};
use crate::metrics::Metrics;
use crate::store::{Confirmation, Cursor, Eviction, Store, StoreError};
use crate::tenant::Tenants;

/// Settings that a reload may change.
#[derive(Clone, Debug)]
pub struct PlacerSettings {
    /// How long a server must stay `down` before its meetings may be created elsewhere.
    pub failover_after: Duration,
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
    pub(super) cursor: Mutex<Cursor>,
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
            cursor: Mutex::default(),
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
        let works = !matches!(outcome, Err(StoreError::Failed(_) | StoreError::Busy));
        let worked = self.metrics.store_up.get() == 1;
        if worked && !works {
            error!(operation = operation; "the store fails");
        }
        if !worked && works {
            log::info!(operation = operation; "the store works");
        }
        self.metrics.store_up.set(i64::from(works));
        outcome
    }

    /// Stores a confirmation behind the answer's back: the claim is durable already.
    pub(super) fn write_confirmation(&self, key: MeetingKey, server: ServerId, confirmation: Confirmation) {
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.confirm(&key, server, confirmation).await {
                warn!(meeting = key.meeting.as_str(), error:% = error; "confirmation not stored, the next poll will say it again");
            }
        });
    }

    /// Takes what the store says about one meeting; used when this process lost a race.
    pub(super) async fn reread(&self, key: &MeetingKey) {
        match self.timed_store("read", self.store.placement(key)).await {
            Ok(Some(placement)) => self.ledger.put(placement, self.clock.now()),
            Ok(None) => self.ledger.forget(key),
            Err(_) => false, // the picture stays as it is until the store works again
        };
    }

    /// Asks whether a claim would work now; readiness shows the outcome.
    pub async fn ping_store(&self) {
        // The outcome is in the metric, and in the log when it changes.
        let _ = self.timed_store("ping", self.store.ping()).await;
    }

    pub(super) async fn reload_evictions(&self) {
        if let Ok(evictions) = self.timed_store("read", self.store.evictions()).await {
            self.evictions.store(Arc::new(evictions));
        }
    }
}
