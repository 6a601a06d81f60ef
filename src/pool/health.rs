//! The health state machine: from what probes, polls and real calls saw to `up`, `suspect`, `down`, `unknown`.
//!
//! Suspicion is not death: the first failure only stops new meetings. Each source is judged by its own successes, so
//! that a server whose cheap probe answers while its signed poll fails (a wrong secret) never looks healthy.
//! A failed real call is also forgiven by a later poll, which is a signed call itself: a server that takes no new
//! meetings sees too few real calls to clear its name; its count of failed calls stays until a call succeeds.
//! When every server that was working fails at about the same time, the fault is ours and nothing changes state; unless
//! the servers themselves say what is wrong, in BBB's form: a secret that was changed on all of them is no network fault.
//! A busy server shows a fault of ours before an idle one is asked at all. So, while others are working, none becomes
//! `down` before somebody was heard since its failures began, or all others have failed as well: until then it stays
//! `suspect`, which keeps new meetings away just as well.

mod watch;

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Millis;
use crate::ids::ServerId;
use crate::pool::Health;
use watch::{Turn, Watch};

/// Thresholds (interface.md section 2, `[health]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Consecutive failures of one source that make a server `down`; at least 1.
    pub unhealthy_after: u32,
    /// Consecutive successes that bring a `down` server back; at least 1.
    pub healthy_after: u32,
    /// Failures of different servers within this time count as simultaneous: one round of probes, their timeout included.
    pub window: Duration,
}

/// Who saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cheap unsigned probe.
    Probe,
    /// `getMeetings`.
    Poll,
    /// A call made for a caller: that no connection came about, or no answer. What a server answers may be the call's
    /// own fault, and is not told here but proven by a probe or poll.
    Call,
}

/// What went wrong, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words, for the operator.
    reason: String,
    /// The server itself said so, in BBB's form: our network has brought its words, and is sound.
    by_server: bool,
}

impl Failure {
    pub fn of_server(reason: String) -> Self {
        Self { reason, by_server: true }
    }

    /// It may be the server or anything on the way.
    pub fn unclear(reason: String) -> Self {
        Self { reason, by_server: false }
    }
}

/// A change of state, to be told to the ledger and to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub server: ServerId,
    pub from: Health,
    pub to: Health,
    /// In words, for the operator.
    pub reason: String,
}

/// The health of all servers. Owned by one task behind a mutex.
#[derive(Debug)]
pub struct HealthBook {
    settings: HealthSettings,
    servers: HashMap<ServerId, Watch>,
    own_fault: bool,
    /// Of the observation that is being taken in.
    turn: Turn,
    /// Servers that have failed often enough for `down`, while nobody else was heard. Nearly always empty.
    held: Vec<ServerId>,
}

impl HealthBook {
    pub fn new(settings: HealthSettings) -> Self {
        Self { settings, servers: HashMap::new(), own_fault: false, turn: 0, held: Vec::new() }
    }

    /// New thresholds count from the next observation on.
    pub fn set_settings(&mut self, settings: HealthSettings) {
        self.settings = settings;
    }

    /// The monitored servers: new ones start `unknown`, missing ones are forgotten, the others keep their state.
    pub fn set_servers(&mut self, servers: &[ServerId], _now: Millis) {
        self.servers.retain(|server, _| servers.contains(server));
        for server in servers {
            self.servers.entry(*server).or_insert_with(Watch::new);
        }
        if self.servers.len() < 2 {
            self.own_fault = false;
        }
    }

    /// Takes in one outcome and returns what changed; for a server that is not monitored, nothing.
    pub fn observe(
        &mut self,
        server: ServerId,
        source: Source,
        outcome: Result<(), Failure>,
        now: Millis,
    ) -> Vec<Transition> {
        let Some(watch) = self.servers.get_mut(&server) else { return Vec::new() };
        self.turn += 1;
        if outcome.is_ok() {
            watch.heard_at = Some(now);
        }
        if outcome.as_ref().err().is_none_or(|failure| failure.by_server) {
            watch.heard = self.turn;
            self.end_own_fault();
        }
        let mut transitions = match outcome {
            Ok(()) => self.succeeded(server, source),
            Err(_) if self.own_fault => return Vec::new(),
            Err(failure) => {
                let mut transitions = self.failed(server, source, failure, now);
                transitions.extend(self.judge_own_fault(now));
                transitions
            }
        };
        transitions.extend(self.judge_held(now));
        transitions
    }

    /// True from the moment when all working servers had failed together until any server answers.
    pub fn own_fault(&self) -> bool {
        self.own_fault
    }

    pub fn state(&self, server: ServerId) -> Health {
        self.servers.get(&server).map_or(Health::Unknown, |watch| watch.health)
    }

    /// Why the server is not `up`, in words.
    pub fn reason(&self, server: ServerId) -> Option<&str> {
        self.servers.get(&server)?.reason.as_deref()
    }

    /// Consecutive failures of the source that fails most.
    pub fn failures(&self, server: ServerId) -> u32 {
        let Some(watch) = self.servers.get(&server) else { return 0 };
        watch.records.iter().map(|record| record.failures).max().unwrap_or(0)
    }

    /// True if the server has succeeded at anything since then: a call that got no answer meanwhile waited in vain for
    /// reasons of its own.
    pub fn was_heard_since(&self, server: ServerId, since: Millis) -> bool {
        self.servers.get(&server).and_then(|watch| watch.heard_at).is_some_and(|heard| heard >= since)
    }

    fn succeeded(&mut self, server: ServerId, source: Source) -> Vec<Transition> {
        let healthy_after = self.settings.healthy_after;
        let Some(watch) = self.servers.get_mut(&server) else { return Vec::new() };
        watch.succeed(source);
        let from = watch.health;
        let needed = if from == Health::Down { healthy_after.max(1) } else { 1 };
        watch.forgive(needed);
        if watch.is_failing() {
            return Vec::new();
        }
        watch.reason = None;
        watch.left = None;
        if from == Health::Up {
            return Vec::new();
        }
        watch.health = Health::Up;
        vec![Transition { server, from, to: Health::Up, reason: "answers again".to_owned() }]
    }

    fn failed(&mut self, server: ServerId, source: Source, failure: Failure, now: Millis) -> Vec<Transition> {
        let HealthSettings { unhealthy_after, window, .. } = self.settings;
        let turn = self.turn;
        let Some(watch) = self.servers.get_mut(&server) else { return Vec::new() };
        let reason = failure.reason.clone();
        watch.fail(source, failure, now, turn);
        let from = watch.health;
        let doomed_since = watch.doomed_since(unhealthy_after).filter(|_| from != Health::Down);
        let is_proven = doomed_since.is_some_and(|since| !self.may_be_ours(server, since));
        if doomed_since.is_some() && !is_proven && !self.held.contains(&server) {
            self.held.push(server);
        }
        let to = match from {
            _ if is_proven => Health::Down,
            Health::Up => Health::Suspect,
            Health::Down | Health::Suspect | Health::Unknown => from,
        };
        self.sink(server, to, reason, now, window)
    }

    /// True if failures of a working server since `since` may be our network's: others are working, and nobody was
    /// heard, not even that server by another source.
    fn may_be_ours(&self, server: ServerId, since: Turn) -> bool {
        let is_working = |id: &ServerId| self.servers.get(id).is_some_and(Watch::is_working);
        is_working(&server)
            && self.servers.keys().any(|other| *other != server && is_working(other))
            && self.servers.values().all(|watch| watch.heard < since)
    }

    fn sink(&mut self, server: ServerId, to: Health, reason: String, now: Millis, window: Duration) -> Vec<Transition> {
        let Some(watch) = self.servers.get_mut(&server).filter(|watch| watch.health != to) else { return Vec::new() };
        let from = watch.health;
        watch.sink_to(to, now, window);
        vec![Transition { server, from, to, reason }]
    }

    /// Lets those become `down` whose failures cannot be ours any more: another server was heard, or all have failed and
    /// not together.
    fn judge_held(&mut self, now: Millis) -> Vec<Transition> {
        if self.held.is_empty() || self.own_fault {
            self.held.clear();
            return Vec::new();
        }
        let HealthSettings { unhealthy_after, window, .. } = self.settings;
        let mut transitions = Vec::new();
        for server in std::mem::take(&mut self.held) {
            let Some(watch) = self.servers.get(&server).filter(|watch| watch.health == Health::Suspect) else {
                continue;
            };
            let Some(since) = watch.doomed_since(unhealthy_after) else { continue };
            let reason = watch.reason.clone().unwrap_or_default();
            let others = || self.servers.iter().filter(|(id, _)| **id != server).map(|(_, other)| other);
            let is_proven = others().any(|other| other.heard > since)
                || others().filter(|other| other.is_working()).all(|other| other.failed > since);
            if is_proven {
                transitions.extend(self.sink(server, Health::Down, reason, now, window));
            } else {
                self.held.push(server);
            }
        }
        transitions
    }

    /// Any server that is heard proves that our network works.
    fn end_own_fault(&mut self) {
        if self.own_fault {
            self.own_fault = false;
            self.servers.values_mut().for_each(Watch::count_anew);
        }
    }

    /// One failing server of one says nothing about our own network, so it takes two that were working.
    fn judge_own_fault(&mut self, now: Millis) -> Vec<Transition> {
        let window = self.settings.window;
        let working: Vec<ServerId> =
            self.servers.iter().filter(|(_, watch)| watch.was_working(now, window)).map(|(id, _)| *id).collect();
        let have_all_failed = working.iter().all(|id| self.servers[id].has_failed_within(now, window));
        if self.own_fault || working.len() < 2 || !have_all_failed {
            return Vec::new();
        }
        self.own_fault = true;
        let mut transitions = Vec::new();
        for server in working {
            let Some(watch) = self.servers.get_mut(&server) else { continue };
            let restored = watch.left_within(now, window);
            watch.left = None;
            let Some(to) = restored else { continue };
            let from = std::mem::replace(&mut watch.health, to);
            let reason = "all servers failed together: our own network is suspected".to_owned();
            transitions.push(Transition { server, from, to, reason });
        }
        transitions.sort_by_key(|transition| transition.server);
        transitions
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
