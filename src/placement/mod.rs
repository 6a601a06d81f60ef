//! Placement: which server has which meeting, and what each server will have to carry.
//!
//! `Ledger` is the one place that decides (design.md section 1, rule 2): choosing a server and reserving its expected
//! load is one atomic step under one short lock, never held across an await and never touching disk or network.
//! It is the live picture as well: polls, joins, health and the store's rows are told to it, and every hot path asks it.
//! Only `placement` writes placements to the store.
//!
//! Every moment is handed in by the caller, so that whole afternoons can be tested in a millisecond.

mod calls;
mod candidates;
mod choose;
mod create;
mod ended;
mod entry;
mod first_look;
mod follow;
mod gate;
mod live;
mod look;
mod lookup;
mod monitor;
mod pending;
mod placer;
mod poll;
mod settle;
mod state;
mod sums;
mod sweep;
mod table;
mod try_server;
mod twins;
mod unwritten;
mod view;
mod watch;
mod wish;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use choose::Snapshot;
pub use create::{CreateAnswer, CreateOrder};
pub use ended::Tombstones;
pub use follow::FOLLOW_EVERY;
pub use gate::CreateGate;
pub use monitor::{CallMade, Monitor};
pub use placer::{Placer, PlacerSettings};
pub use view::*;
pub use watch::{WatchSettings, watch_servers};
pub use wish::*;

use crate::config::Load;
use crate::pool::load::quantile_z;
use crate::store::ServerRecord;
use state::State;

/// Settings of the ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerSettings {
    pub load: Load,
    /// A confirmed meeting is ended by a poll sent at least this long after its confirmation, not by an earlier one.
    pub ended_grace: Duration,
    /// A claim nobody works on any more is given up by a poll sent this long after it: twice the request timeout and
    /// the grace, because the create may still have been on its way.
    pub claim_timeout: Duration,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        let ended_grace = Duration::from_secs(10);
        let request_timeout = Duration::from_secs(20);
        Self { load: Load::default(), ended_grace, claim_timeout: request_timeout * 2 + ended_grace }
    }
}

/// Settings with what follows from them.
#[derive(Clone, Copy, Debug)]
struct Tuned {
    load: Load,
    ended_grace: Duration,
    claim_timeout: Duration,
    z_choose: f64,
    z_admit: f64,
}

impl From<LedgerSettings> for Tuned {
    fn from(settings: LedgerSettings) -> Self {
        let LedgerSettings { load, ended_grace, claim_timeout } = settings;
        let (z_choose, z_admit) = (quantile_z(load.reserve.quantile), quantile_z(load.reserve.admit));
        Self { load, ended_grace, claim_timeout, z_choose, z_admit }
    }
}

/// Callers choose the keys: a hash with a secret of this process, but a quick one, since every call asks several tables.
type HashMap<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;
type HashSet<T> = std::collections::HashSet<T, ahash::RandomState>;

/// The live picture of all servers and meetings.
pub struct Ledger {
    state: Mutex<State>,
    /// The servers as the store describes them, for those who need no figures.
    table: ArcSwap<Vec<Arc<ServerRecord>>>,
}

impl Ledger {
    pub fn new(settings: LedgerSettings) -> Self {
        Self { state: Mutex::new(State::new(settings.into())), table: ArcSwap::default() }
    }
}
