//! How the live picture follows the store: whole at the start, then whatever another process changed.
//!
//! The command line and other Ushers write to the same store; a change is taken in within a quarter of a second.
//! While the store fails the picture stays as it is and joins go on.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::Placer;
use crate::store::StoreError;
use crate::tenant::Tenants;

/// How often the change feed is asked; an operator's change must be in force within a second (interface.md section 1).
pub const FOLLOW_EVERY: Duration = Duration::from_millis(250);

impl Placer {
    /// Reads everything; called once before the first request is served.
    pub async fn load(&self) -> Result<(), StoreError> {
        let cursor = self.store.cursor().await?;
        self.reload_configuration().await?;
        let placements = self.store.placements().await?;
        info!(meetings = placements.len(); "placements read");
        self.ledger.restore(placements, self.clock.now());
        *self.cursor.lock() = cursor;
        self.metrics.store_up.set(1);
        Ok(())
    }

    /// Takes in what other processes changed since the last time.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let cursor = *self.cursor.lock();
        let changes = self.timed_store("changes", self.store.changes(cursor)).await?;
        if changes.everything {
            return self.load().await;
        }
        if changes.configuration {
            self.reload_configuration().await?;
        }
        for key in &changes.placements {
            match self.store.placement(key).await? {
                Some(placement) => self.ledger.put(placement, self.clock.now()),
                None => self.ledger.forget(key),
            };
        }
        *self.cursor.lock() = changes.cursor;
        Ok(())
    }

    /// Servers, tenants and evictions anew.
    pub(super) async fn reload_configuration(&self) -> Result<(), StoreError> {
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
