//! How the live picture follows the store: whole at the start, then whatever another process changed.
//!
//! The command line and other Ushers write to the same store; a change is taken in within a quarter of a second.
//! While the store fails the picture stays as it is and joins go on.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::Placer;
use crate::ids::MeetingKey;
use crate::store::{Placement, StoreError};
use crate::tenant::Tenants;

/// How often the change feed is asked; an operator's change must be in force within a second (interface.md section 1).
pub const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// How long an answer waits for the store's news; it takes less than a millisecond.
const CATCH_UP_LIMIT: Duration = Duration::from_millis(500);

impl Placer {
    /// Reads everything; called once before the first request is served.
    pub async fn load(&self) -> Result<(), StoreError> {
        let cursor = self.store.cursor().await?;
        self.reload_configuration().await?;
        let placements = self.store.placements().await?;
        info!(meetings = placements.len(); "placements read");
        self.ledger.restore(placements, self.clock.now());
        *self.unseen.lock() = self.ledger.servers().iter().map(|view| view.record.id).collect();
        *self.cursor.lock() = cursor;
        self.metrics.store_up.set(1);
        Ok(())
    }

    /// Takes in what other processes changed since the last time.
    pub async fn follow(&self) -> Result<(), StoreError> {
        // Whoever comes second must not be told that there is no news while the first still takes it in.
        let _turn = self.following.lock().await;
        self.take_in_changes().await
    }

    /// Another process may have made, moved or ended something a moment ago: whoever does not find a meeting asks the store
    /// before he says so. Those who ask at the same time share one question, which begins after all of them have asked.
    pub async fn catch_up(&self) {
        if self.store_trouble().is_some() {
            return; // it cannot tell anything, and nobody is to wait for it
        }
        let work = async {
            let before = *self.follows.lock();
            let _turn = self.following.lock().await;
            if *self.follows.lock() > before {
                return; // one has begun and ended since
            }
            // If it fails the picture is as good as ever, and the log says why.
            let _ = self.take_in_changes().await;
        };
        let _ = tokio::time::timeout(CATCH_UP_LIMIT, work).await;
    }

    async fn take_in_changes(&self) -> Result<(), StoreError> {
        *self.follows.lock() += 1;
        let cursor = *self.cursor.lock();
        let changes = self.timed_store("changes", self.store.changes(cursor)).await?;
        if changes.configuration || changes.everything {
            self.reload_configuration().await?;
        }
        let news = if changes.everything { self.everything().await? } else { changes.placements };
        self.postponed.lock().extend(news);
        *self.cursor.lock() = changes.cursor;
        let due = std::mem::take(&mut *self.postponed.lock());
        for key in due {
            self.take_over(key).await;
        }
        self.write_kept().await
    }

    /// All meetings of store and picture: each is read again like any other news, so that live figures stay and what the
    /// store no longer has goes.
    async fn everything(&self) -> Result<Vec<MeetingKey>, StoreError> {
        let mut keys = self.ledger.all_keys();
        keys.extend(self.store.placements().await?.iter().map(Placement::key));
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Takes over what the store says about one meeting, unless it is being created here: that create settles with
    /// the store by itself, and reading in the middle of it would tear its entry away. Then, later.
    async fn take_over(&self, key: MeetingKey) {
        let turn = self.gate.try_enter(&key);
        if turn.is_none() || self.ledger.is_creating(&key, self.clock.now()) {
            self.postponed.lock().insert(key);
            return;
        }
        self.reread(&key).await;
    }

    /// Servers, tenants and evictions anew.
    pub(super) async fn reload_configuration(&self) -> Result<(), StoreError> {
        let _turn = self.reading.lock().await;
        let now = self.clock.now();
        let servers = self.store.servers().await?;
        let tenants = self.store.tenants().await?;
        self.evictions.store(Arc::new(self.store.evictions().await?));
        info!(servers = servers.len(), tenants = tenants.len(); "servers and tenants read");
        self.tenants.store(Arc::new(Tenants::new(tenants)));
        let dropped = self.ledger.set_servers(servers.clone(), now);
        if !dropped.is_empty() {
            warn!(meetings = dropped.len(); "meetings dropped with their server");
        }
        self.monitor.set_servers(&servers, now);
        Ok(())
    }
}
