//! Health as the rest of Usher sees it: every outcome of a probe, a poll or a real call goes in, transitions come out
//! into the ledger, the log and the metrics.
//!
//! The rules (hysteresis, own network fault) are `pool::HealthBook`'s; this file only gives it a lock, a clock and ears.

use std::collections::HashMap;
use std::sync::Arc;

use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Ledger;
use crate::client::CallError;
use crate::clock::{Clock, Millis};
use crate::ids::ServerId;
use crate::metrics::Metrics;
use crate::pool::{Failure, Health, HealthBook, HealthSettings, Source, Transition};
use crate::store::ServerRecord;

/// See the module's header.
pub struct Monitor {
    book: Mutex<HealthBook>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Since when servers are not `up` that were.
    left: Mutex<HashMap<ServerId, Millis>>,
    /// Wakes the watch: servers changed.
    pub(super) wake: Notify,
}

impl Monitor {
    pub fn new(settings: HealthSettings, ledger: Arc<Ledger>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            book: Mutex::new(HealthBook::new(settings)),
            ledger,
            metrics,
            clock,
            left: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub fn set_settings(&self, settings: HealthSettings) {
        self.book.lock().set_settings(settings);
    }

    pub fn set_servers(&self, servers: &[ServerRecord], now: Millis) {
        let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
        self.book.lock().set_servers(&ids, now);
        self.wake.notify_one();
    }

    /// A real call gave BBB's own answer.
    pub fn call_worked(&self, server: ServerId) {
        self.observe(server, Source::Call, Ok(()));
    }

    /// A real call failed through the server's fault.
    pub fn call_failed(&self, server: ServerId, error: &CallError) {
        self.observe(server, Source::Call, Err(error));
    }

    pub fn observe(&self, server: ServerId, source: Source, outcome: Result<(), &CallError>) {
        let outcome = outcome.map_err(|error| match error {
            CallError::Refused(_) => Failure::of_server(error.to_string()),
            _ => Failure::unclear(error.to_string()),
        });
        let now = self.clock.now();
        let (transitions, own_fault) = {
            let mut book = self.book.lock();
            let before = book.own_fault();
            let transitions = book.observe(server, source, outcome, now);
            // Applied under the book's lock, so that the ledger sees transitions in their order.
            for transition in &transitions {
                self.ledger.set_health(transition.server, transition.to, now);
            }
            let reason = book.reason(server).unwrap_or_default().to_owned();
            (transitions, (before, book.own_fault(), reason))
        };
        self.tell_own_fault(own_fault);
        for transition in transitions {
            self.tell(&transition);
        }
    }

    /// All servers fail at once, which is our own network until proven otherwise.
    pub fn own_fault(&self) -> bool {
        self.book.lock().own_fault()
    }

    /// Why a server is not up, in words.
    pub fn reason(&self, server: ServerId) -> Option<String> {
        self.book.lock().reason(server).map(str::to_owned)
    }

    /// Consecutive failures, for the back-off of probes.
    pub fn failures(&self, server: ServerId) -> u32 {
        self.book.lock().failures(server)
    }

    fn tell_own_fault(&self, (before, after, reason): (bool, bool, String)) {
        if before == after {
            return;
        }
        self.metrics.own_network_fault.set(i64::from(after));
        if after {
            log::error!(reason = reason.as_str(); "all servers fail at once: taken as our own network fault, no state changes");
        } else {
            info!("servers answer again, own network fault is over");
        }
    }

    fn tell(&self, transition: &Transition) {
        let view = self.ledger.server(transition.server);
        let name = view.as_ref().map_or("?", |view| view.record.name.as_str());
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        let reason = transition.reason.as_str();
        match transition.to {
            Health::Down => log::error!(server = name, from = from, to = to, reason = reason; "server is down"),
            Health::Suspect => {
                warn!(server = name, from = from, to = to, reason = reason; "server is suspect, no new meetings there")
            }
            Health::Up | Health::Unknown => match self.away(transition) {
                Some(after) => info!(server = name, from = from, to = to, after_s = after; "server health changed"),
                None => info!(server = name, from = from, to = to; "server health changed"),
            },
        }
        if transition.from == Health::Up {
            self.left.lock().insert(transition.server, self.clock.now());
        }
    }

    /// For how many seconds a server was not `up` that is so again.
    fn away(&self, transition: &Transition) -> Option<u64> {
        let since = self.left.lock().remove(&transition.server).filter(|_| transition.to == Health::Up)?;
        Some(self.clock.now().since(since).as_secs())
    }
}
