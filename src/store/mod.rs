//! The store: servers, tenants and placements on disk, behind one trait that every back end passes the same suite for.
//!
//! The store is written before an answer promises something, and read at start and when another process changed it;
//! no hot path reads it (design.md section 1). The claim on a meeting id is a unique key here, so that two processes
//! on one store can never bind a meeting twice. Only this module speaks SQL.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod contract;
mod reach;
mod record;
mod sqlite;
mod trust;

use std::sync::Arc;

use async_trait::async_trait;

pub use reach::{Address, Reach};
pub use record::*;
pub use sqlite::{BackupSummary, SqliteStore, restore, verify_backup};
pub use trust::{Authorities, Trust};

use crate::config::{StoreConfig, StoreUrl};
use crate::ids::{InternalId, MeetingKey, ServerId, TenantId};

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name, host or meeting id that must be unique is taken; the text says which.
    #[error("{0}")]
    Conflict(String),
    /// The row to change does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Would lose something; `--force` says yes.
    #[error("{0}")]
    Refused(String),
    /// Too many operations are waiting.
    #[error("the store is overloaded")]
    Busy,
    /// Disk, file or SQL failure.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Result of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    Won(Version),
    /// Somebody was first; this is the placement in force.
    Taken(Placement),
}

/// Result of a change to a placement.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Written, under this version.
    Made(Version),
    /// Nothing was changed, because somebody else was there before; this is the placement in force, if there is one.
    Lost(Option<Placement>),
}

/// By what a placement to be removed is recognised, so that never a newer one is hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Unchanged since it was written or read.
    Version(Version),
    /// It is about this very meeting, whoever wrote it since.
    Internal(InternalId),
}

/// Where a reader of the change feed stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub i64);

/// What other processes changed since a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub cursor: Cursor,
    /// Servers, tenants or evictions changed: read them all again.
    pub configuration: bool,
    /// Placements written or removed: read each of them again.
    pub placements: Vec<MeetingKey>,
    /// The feed was pruned past the cursor: read everything again.
    pub everything: bool,
}

/// Durable state. All methods are atomic; a returned `Ok` is on disk, and outlives even a power cut unless said
/// otherwise. A call that is dropped before it returns may or may
/// not be carried out, at once but no later.
#[async_trait]
pub trait Store: Send + Sync {
    async fn servers(&self) -> Result<Vec<ServerRecord>, StoreError>;
    /// `server.id` is ignored; returns the row as stored.
    async fn add_server(&self, server: ServerRecord) -> Result<ServerRecord, StoreError>;
    /// Replaces the row with the same id.
    async fn update_server(&self, server: ServerRecord) -> Result<(), StoreError>;
    /// Refused while placements point to it, unless `force`; then they are removed with it, as are its evictions.
    /// Returns the number of removed placements.
    async fn remove_server(&self, server: ServerId, force: bool) -> Result<u64, StoreError>;

    async fn tenants(&self) -> Result<Vec<TenantRecord>, StoreError>;
    /// `tenant.id` and the ids of its secrets are ignored; returns the row as stored.
    async fn add_tenant(&self, tenant: TenantRecord) -> Result<TenantRecord, StoreError>;
    /// Replaces the row with the same id, its hosts, secrets (matched by id; id 0 = new) and parameter rules.
    async fn update_tenant(&self, tenant: TenantRecord) -> Result<TenantRecord, StoreError>;
    /// Refused while placements of it exist, unless `force`. Returns the number of removed placements.
    async fn remove_tenant(&self, tenant: TenantId, force: bool) -> Result<u64, StoreError>;

    async fn placements(&self) -> Result<Vec<Placement>, StoreError>;
    async fn placement(&self, key: &MeetingKey) -> Result<Option<Placement>, StoreError>;
    /// Binds a meeting id, if nobody did: the one place where two processes meet. Refused if the server is gone.
    async fn claim(&self, placement: Placement) -> Result<Claim, StoreError>;
    /// Fills in what the server answered. Lost if the placement no longer points to `server`. No version is asked for:
    /// several processes may confirm what one server has. Outlives the process but perhaps not a power cut: then the
    /// claim is left, and the server's next list confirms it again.
    async fn confirm(
        &self,
        key: &MeetingKey,
        server: ServerId,
        confirmation: Confirmation,
    ) -> Result<Change, StoreError>;
    /// Points a placement to `to` (phase `Claimed` again) and notes what may be left where it was, in one transaction.
    /// Lost if it no longer has the version `known`: it was moved, or its server has answered somebody. The claim's age
    /// starts anew. Refused if `to` is gone.
    async fn move_placement(
        &self,
        key: &MeetingKey,
        known: Version,
        to: ServerId,
        why: String,
        evict: Option<Eviction>,
    ) -> Result<Change, StoreError>;
    /// Removes a placement if it still points to `server` and is the one that is known.
    async fn release(&self, key: &MeetingKey, server: ServerId, known: Known) -> Result<bool, StoreError>;

    async fn evictions(&self) -> Result<Vec<Eviction>, StoreError>;
    async fn add_eviction(&self, eviction: Eviction) -> Result<(), StoreError>;
    async fn remove_eviction(&self, eviction: &Eviction) -> Result<(), StoreError>;

    /// The end of the change feed now.
    async fn cursor(&self) -> Result<Cursor, StoreError>;
    /// Changes made by other processes (not by this `Store` value) since `cursor`. Cheap enough to ask four times a second.
    async fn changes(&self, cursor: Cursor) -> Result<Changes, StoreError>;

    /// Writes and reads something; `Ok` means that a claim would work.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Names the store and the file behind it: two that are equal use the same one.
    fn identity(&self) -> String;
    /// Why the store's file is not in its place any more; nothing is promised then.
    fn lost(&self) -> Option<String>;
    /// Writes everything that is known into a new file at the store's place; refused if the file is there.
    async fn rebuild(&self) -> Result<(), StoreError>;
    /// Moves what is in a log beside the file into it, for those who copy the file alone after a stop.
    async fn settle(&self) -> Result<(), StoreError>;
    /// A consistent copy into a new file, while running.
    async fn backup(&self, file: &std::path::Path) -> Result<(), StoreError>;
}

/// The same for those who must not make a store.
pub async fn open_existing(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    match &config.url {
        StoreUrl::Sqlite(path) => Ok(Arc::new(SqliteStore::open_existing(path).await?)),
    }
}

/// Opens the back end that the configuration names.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    match &config.url {
        StoreUrl::Sqlite(path) => Ok(Arc::new(SqliteStore::open(path).await?)),
    }
}
