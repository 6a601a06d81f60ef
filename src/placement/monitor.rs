//! Health as the rest of Usher sees it: every outcome of a probe, a poll or a real call goes in, transitions come out
//! into the ledger, the log and the metrics.
//!
//! The rules (hysteresis, own network fault) are `pool::HealthBook`'s; this file only gives it a lock, a clock and ears.
//! Of real calls it hears what is true of the server whatever was asked: no connection, no TLS, silence. What a server
//! answered may be the call's own fault: that is `calls.rs`'s, and a probe or poll is asked for at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Ledger;
use super::calls::CallBook;
use crate::bbb::Call;
use crate::client::CallError;
use crate::clock::{Clock, Millis};
use crate::ids::{MeetingKey, ServerId};
use crate::metrics::Metrics;
use crate::pool::{Failure, Health, HealthBook, HealthSettings, Source, Transition};
use crate::store::ServerRecord;

/// A call to a server on behalf of a caller.
#[derive(Clone, Copy, Debug)]
pub struct CallMade {
    pub server: ServerId,
    pub call: Call,
    /// When it was sent.
    pub since: Millis,
}

/// What a server's watch is asked to do out of turn; asking again before it has is the same wish.
#[derive(Default)]
pub(super) struct Asked {
    pub probe: Notify,
    /// A signed call: what a failed signature or a broken connection is cleared by.
    pub poll: Notify,
}

/// See the module's header.
pub struct Monitor {
    book: Mutex<HealthBook>,
    calls: Mutex<CallBook>,
    asked: Mutex<HashMap<ServerId, Arc<Asked>>>,
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
            calls: Mutex::default(),
            asked: Mutex::default(),
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
        let kept: HashSet<ServerId> = ids.into_iter().collect();
        self.calls.lock().keep(&kept);
        self.asked.lock().retain(|server, _| kept.contains(server));
        self.wake.notify_one();
    }

    /// A call that is being made now.
    pub fn calling(&self, server: ServerId, call: Call) -> CallMade {
        CallMade { server, call, since: self.clock.now() }
    }

    /// A real call gave BBB's own answer.
    pub fn call_worked(&self, made: CallMade) {
        let over = self.calls.lock().worked(made.server, made.call, self.clock.now());
        if let Some(failures) = over {
            let name = self.name_of(made.server);
            info!(server = name.as_str(), call = made.call.name(), failures = failures; "this call works again");
        }
        if made.call == Call::Create {
            self.ledger.avoid(made.server, None);
        }
        self.observe(made.server, Source::Call, Ok(()));
    }

    /// A real call failed. True if that is a step to `down`, because it is true of the server whatever was asked.
    pub fn call_failed(&self, made: CallMade, error: &CallError) -> bool {
        let CallMade { server, call, since } = made;
        let name = self.name_of(server);
        self.metrics.call_failures.with_label_values(&[name.as_str(), call.name(), error.kind()]).inc();
        let told = self.calls.lock().failed(server, call, self.clock.now());
        if let Some(failures) = told {
            warn!(server = name.as_str(), call = call.name(), kind = error.kind(), failures = failures,
                reason = error.to_string().as_str(); "a call failed, more of the kind are only counted");
        }
        let counts = match error {
            CallError::NotSent(_) => true,
            CallError::Silent(_) => !self.book.lock().was_heard_since(server, since),
            _ => false,
        };
        if counts {
            self.observe(server, Source::Call, Err(error));
        }
        let asked = self.asked(server);
        if counts || matches!(error, CallError::Refused(_)) {
            asked.poll.notify_one()
        } else {
            asked.probe.notify_one()
        }
        counts
    }

    /// A create of this meeting met an answer that may be its own fault.
    pub fn create_failed(&self, server: ServerId, key: &MeetingKey) {
        self.calls.lock().create_failed(server, key);
    }

    /// What failed on these servers has worked on another one: where that goes on, others' creates avoid them.
    pub fn create_worked_elsewhere(&self, servers: &[ServerId]) {
        for server in servers {
            let until = self.calls.lock().create_worked_elsewhere(*server, self.clock.now());
            if until.is_some() && self.ledger.avoid(*server, until) {
                let name = self.name_of(*server);
                warn!(server = name.as_str(); "creates fail on this server and work on others, it is avoided for a while");
            }
        }
    }

    /// True if these servers fail at whatever is to be created.
    pub fn can_create_nothing(&self, servers: &[ServerId]) -> bool {
        self.calls.lock().can_create_nothing(servers)
    }

    /// What the watch of this server is asked to do out of turn.
    pub(super) fn asked(&self, server: ServerId) -> Arc<Asked> {
        self.asked.lock().entry(server).or_default().clone()
    }

    fn name_of(&self, server: ServerId) -> String {
        self.ledger.server(server).map_or_else(|| "?".to_owned(), |view| view.record.name.clone())
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
