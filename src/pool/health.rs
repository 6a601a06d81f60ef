//! The health state machine: from what probes, polls and real calls saw to `up`, `suspect`, `down`, `unknown`.
//!
//! Suspicion is not death: the first failure only stops new meetings. Each source is judged by its own successes, so
//! that a server whose cheap probe answers while its signed poll fails (a wrong secret) never looks healthy.
//! A failed real call is also forgiven by a later poll, which is a signed call itself: a server that takes no new
//! meetings sees too few real calls to clear its name; its count of failed calls stays until a call succeeds.
//! When every server that was working fails at about the same time, the fault is ours and nothing changes state; unless
//! the servers themselves say what is wrong, in BBB's form: a secret that was changed on all of them is no network fault.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Millis;
use crate::ids::ServerId;
use crate::pool::Health;

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
    /// A call made for a caller.
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

/// What one source has seen of one server.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Consecutive failures.
    failures: u32,
    /// Successes since the last failure of any source.
    successes: u32,
    /// The last failure is not made good yet.
    failing: bool,
}

/// One server under watch.
#[derive(Debug)]
struct Watch {
    health: Health,
    /// Indexed by `Source`.
    records: [Record; 3],
    reason: Option<String>,
    /// The last failure that may be our network's, if the server has not been heard since.
    failed_at: Option<Millis>,
    /// What it was before it left `up` or `suspect`, and when: to be restored if the fault turns out to be ours.
    left: Option<(Health, Millis)>,
}

impl Watch {
    fn new() -> Self {
        Self { health: Health::Unknown, records: [Record::default(); 3], reason: None, failed_at: None, left: None }
    }

    fn is_failing(&self) -> bool {
        self.records.iter().any(|record| record.failing)
    }

    /// Counting starts anew, but what made it suspect or down must still be made good.
    fn count_anew(&mut self) {
        for record in &mut self.records {
            record.failures = 0;
            record.failing &= self.health != Health::Up;
        }
        self.failed_at = None;
    }

    fn succeed(&mut self, source: Source) {
        let record = &mut self.records[source as usize];
        record.failures = 0;
        record.successes = record.successes.saturating_add(1);
        self.failed_at = None;
    }

    fn fail(&mut self, source: Source, failure: Failure, now: Millis) -> u32 {
        for record in &mut self.records {
            record.successes = 0;
        }
        let record = &mut self.records[source as usize];
        record.failing = true;
        record.failures = record.failures.saturating_add(1);
        self.reason = Some(failure.reason);
        self.failed_at = (!failure.by_server).then_some(now);
        self.records[source as usize].failures
    }

    /// Clears the sources that have succeeded `needed` times since the last failure.
    fn forgive(&mut self, needed: u32) {
        let signed = self.records[Source::Poll as usize].successes;
        for source in [Source::Probe, Source::Poll, Source::Call] {
            let record = &mut self.records[source as usize];
            let successes = if source == Source::Call { record.successes.max(signed) } else { record.successes };
            if successes >= needed {
                record.failing = false;
            }
        }
    }

    /// True if it was working at the beginning of the window that ends now.
    fn was_working(&self, now: Millis, window: Duration) -> bool {
        match self.health {
            Health::Up | Health::Suspect => true,
            Health::Down => self.left_within(now, window).is_some_and(|before| before != Health::Unknown),
            Health::Unknown => false,
        }
    }

    fn left_within(&self, now: Millis, window: Duration) -> Option<Health> {
        self.left.filter(|(_, at)| now.since(*at) <= window).map(|(before, _)| before)
    }

    fn has_failed_within(&self, now: Millis, window: Duration) -> bool {
        self.failed_at.is_some_and(|at| now.since(at) <= window)
    }

    /// Worsens the state, remembering the one to go back to.
    fn sink_to(&mut self, to: Health, now: Millis, window: Duration) {
        if self.left_within(now, window).is_none() {
            self.left = Some((self.health, now));
        }
        self.health = to;
    }
}

/// The health of all servers. Owned by one task behind a mutex.
#[derive(Debug)]
pub struct HealthBook {
    settings: HealthSettings,
    servers: HashMap<ServerId, Watch>,
    own_fault: bool,
}

impl HealthBook {
    pub fn new(settings: HealthSettings) -> Self {
        Self { settings, servers: HashMap::new(), own_fault: false }
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
        if !self.servers.contains_key(&server) {
            return Vec::new();
        }
        match outcome {
            Ok(()) => self.succeeded(server, source),
            Err(failure) if self.own_fault && !failure.by_server => Vec::new(),
            Err(failure) => {
                let mut transitions = self.failed(server, source, failure, now);
                transitions.extend(self.judge_own_fault(now));
                transitions
            }
        }
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

    fn succeeded(&mut self, server: ServerId, source: Source) -> Vec<Transition> {
        self.end_own_fault();
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
        if failure.by_server {
            self.end_own_fault();
        }
        let HealthSettings { unhealthy_after, window, .. } = self.settings;
        let Some(watch) = self.servers.get_mut(&server) else { return Vec::new() };
        let reason = failure.reason.clone();
        let failures = watch.fail(source, failure, now);
        let from = watch.health;
        let to = match from {
            Health::Down => Health::Down,
            _ if failures >= unhealthy_after => Health::Down,
            Health::Up => Health::Suspect,
            Health::Suspect | Health::Unknown => from,
        };
        if to == from {
            return Vec::new();
        }
        watch.sink_to(to, now, window);
        vec![Transition { server, from, to, reason }]
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
mod tests {
    use super::*;

    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);
    const C: ServerId = ServerId(3);

    fn book(servers: &[ServerId]) -> HealthBook {
        let mut book =
            HealthBook::new(HealthSettings { unhealthy_after: 3, healthy_after: 2, window: Duration::from_secs(5) });
        book.set_servers(servers, Millis(0));
        book
    }

    fn up(servers: &[ServerId]) -> HealthBook {
        let mut book = book(servers);
        for server in servers {
            book.observe(*server, Source::Probe, Ok(()), Millis(0));
        }
        book
    }

    fn fail(book: &mut HealthBook, server: ServerId, source: Source, second: u64) -> Vec<Transition> {
        book.observe(server, source, Err(Failure::unclear("connection refused".to_owned())), Millis(second * 1000))
    }

    fn refuse(book: &mut HealthBook, server: ServerId, second: u64) -> Vec<Transition> {
        let failure = Failure::of_server("the server refused: checksumError".to_owned());
        book.observe(server, Source::Poll, Err(failure), Millis(second * 1000))
    }

    fn succeed(book: &mut HealthBook, server: ServerId, source: Source, second: u64) -> Vec<Transition> {
        book.observe(server, source, Ok(()), Millis(second * 1000))
    }

    #[test]
    fn servers_that_all_say_what_is_wrong_are_no_fault_of_our_network() {
        let mut book = up(&[A, B, C]);
        for second in 1..=3 {
            for server in [A, B, C] {
                refuse(&mut book, server, second * 10);
                assert!(!book.own_fault());
                succeed(&mut book, server, Source::Probe, second * 10 + 5);
            }
        }
        assert_eq!([A, B, C].map(|server| book.state(server)), [Health::Down; 3]);
    }

    #[test]
    fn a_refusal_ends_the_suspicion_of_our_network_and_counts() {
        let mut book = up(&[A, B]);
        for server in [A, B] {
            fail(&mut book, server, Source::Probe, 1);
        }
        assert!(book.own_fault());
        assert_eq!(refuse(&mut book, A, 2)[0].to, Health::Suspect);
        assert!(!book.own_fault());
        assert_eq!((book.state(A), book.state(B)), (Health::Suspect, Health::Up));
    }

    #[test]
    fn unknown_at_first_and_up_after_one_success() {
        let mut book = book(&[A]);
        assert_eq!(book.state(A), Health::Unknown);
        let transitions = succeed(&mut book, A, Source::Probe, 1);
        assert_eq!(transitions.len(), 1);
        assert_eq!((transitions[0].from, transitions[0].to), (Health::Unknown, Health::Up));
        assert!(succeed(&mut book, A, Source::Probe, 2).is_empty(), "up stays up silently");
    }

    #[test]
    fn unknown_becomes_down_after_unhealthy_after_failures_and_is_never_suspect() {
        let mut book = book(&[A]);
        assert!(fail(&mut book, A, Source::Probe, 1).is_empty());
        assert!(fail(&mut book, A, Source::Probe, 2).is_empty());
        let transitions = fail(&mut book, A, Source::Probe, 3);
        assert_eq!((transitions[0].from, transitions[0].to), (Health::Unknown, Health::Down));
        assert_eq!(transitions[0].reason, "connection refused");
        assert_eq!(book.failures(A), 3);
    }

    #[test]
    fn unknown_with_a_failing_poll_is_not_made_up_by_its_probe() {
        let mut book = book(&[A]);
        fail(&mut book, A, Source::Poll, 1);
        assert!(succeed(&mut book, A, Source::Probe, 2).is_empty());
        assert_eq!(book.state(A), Health::Unknown);
    }

    #[test]
    fn up_is_suspect_at_the_first_failure_of_any_source() {
        for source in [Source::Probe, Source::Poll, Source::Call] {
            let mut book = up(&[A]);
            let transitions = fail(&mut book, A, source, 10);
            assert_eq!((transitions[0].from, transitions[0].to), (Health::Up, Health::Suspect), "{source:?}");
            assert_eq!(book.reason(A), Some("connection refused"));
            assert_eq!(book.failures(A), 1);
        }
    }

    #[test]
    fn suspect_is_up_again_when_the_failed_source_succeeds() {
        for source in [Source::Probe, Source::Poll, Source::Call] {
            let mut book = up(&[A]);
            fail(&mut book, A, source, 10);
            assert_eq!(succeed(&mut book, A, source, 11)[0].to, Health::Up, "{source:?}");
            assert_eq!((book.reason(A), book.failures(A)), (None, 0));
        }
    }

    #[test]
    fn a_probe_does_not_hide_a_failing_poll() {
        let mut book = up(&[A]);
        for second in 1..=3 {
            fail(&mut book, A, Source::Poll, second * 10);
            assert!(succeed(&mut book, A, Source::Probe, second * 10 + 5).is_empty());
        }
        assert_eq!(book.state(A), Health::Down, "three polls in a row failed, whatever the probe said");
        for second in 40..50 {
            succeed(&mut book, A, Source::Probe, second);
        }
        assert_eq!(book.state(A), Health::Down);
        succeed(&mut book, A, Source::Poll, 50);
        assert_eq!(succeed(&mut book, A, Source::Poll, 60)[0].to, Health::Up);
    }

    #[test]
    fn two_failing_sources_must_both_be_made_good() {
        let mut book = up(&[A]);
        fail(&mut book, A, Source::Poll, 1);
        fail(&mut book, A, Source::Probe, 2);
        assert!(succeed(&mut book, A, Source::Poll, 3).is_empty());
        assert_eq!(succeed(&mut book, A, Source::Probe, 4)[0].to, Health::Up);
    }

    #[test]
    fn a_poll_forgives_a_failed_call_but_keeps_its_count() {
        let mut book = up(&[A]);
        for second in [10, 20] {
            assert_eq!(fail(&mut book, A, Source::Call, second)[0].to, Health::Suspect);
            assert!(succeed(&mut book, A, Source::Probe, second + 1).is_empty(), "a probe does not");
            assert_eq!(succeed(&mut book, A, Source::Poll, second + 2)[0].to, Health::Up);
        }
        assert_eq!(fail(&mut book, A, Source::Call, 30)[0].to, Health::Down);
    }

    #[test]
    fn suspect_is_down_after_unhealthy_after_failures_of_one_source() {
        let mut book = up(&[A]);
        fail(&mut book, A, Source::Call, 1);
        fail(&mut book, A, Source::Probe, 2);
        fail(&mut book, A, Source::Call, 3);
        assert_eq!(book.state(A), Health::Suspect, "two calls and one probe are not three of one source");
        let transitions = fail(&mut book, A, Source::Call, 4);
        assert_eq!((transitions[0].from, transitions[0].to), (Health::Suspect, Health::Down));
    }

    #[test]
    fn down_is_up_after_healthy_after_consecutive_successes() {
        let mut book = up(&[A]);
        for second in 1..=3 {
            fail(&mut book, A, Source::Probe, second);
        }
        assert!(succeed(&mut book, A, Source::Probe, 4).is_empty());
        assert!(fail(&mut book, A, Source::Probe, 5).is_empty());
        assert!(succeed(&mut book, A, Source::Probe, 6).is_empty(), "the failure in between starts the count anew");
        let transitions = succeed(&mut book, A, Source::Probe, 7);
        assert_eq!((transitions[0].from, transitions[0].to), (Health::Down, Health::Up));
    }

    #[test]
    fn all_failing_within_the_window_is_our_own_fault() {
        let mut book = up(&[A, B, C]);
        assert_eq!(fail(&mut book, A, Source::Probe, 10)[0].to, Health::Suspect);
        assert_eq!(fail(&mut book, B, Source::Poll, 11)[0].to, Health::Suspect);
        assert!(!book.own_fault());
        let transitions = fail(&mut book, C, Source::Probe, 12);
        assert!(book.own_fault());
        assert!(transitions.iter().skip(1).all(|transition| transition.to == Health::Up), "{transitions:?}");
        for server in [A, B, C] {
            assert_eq!(book.state(server), Health::Up, "restored");
        }
        for second in 13..40 {
            assert!(fail(&mut book, A, Source::Probe, second).is_empty(), "nothing changes state meanwhile");
        }
        assert_eq!(book.state(A), Health::Up);
    }

    #[test]
    fn after_our_own_fault_failing_servers_count_anew() {
        let mut book = up(&[A, B]);
        fail(&mut book, A, Source::Probe, 10);
        fail(&mut book, B, Source::Probe, 11);
        for second in 12..20 {
            fail(&mut book, A, Source::Probe, second);
        }
        succeed(&mut book, B, Source::Probe, 20);
        assert!(!book.own_fault());
        assert_eq!(book.failures(A), 0);
        assert_eq!(fail(&mut book, A, Source::Probe, 21)[0].to, Health::Suspect);
        fail(&mut book, A, Source::Probe, 22);
        assert_eq!(fail(&mut book, A, Source::Probe, 23)[0].to, Health::Down);
        assert_eq!(book.state(B), Health::Up);
    }

    #[test]
    fn our_own_fault_does_not_clear_a_server_that_was_down() {
        let mut book = up(&[A, B, C]);
        for second in 1..=3 {
            fail(&mut book, C, Source::Poll, second);
        }
        fail(&mut book, A, Source::Probe, 20);
        fail(&mut book, B, Source::Probe, 21);
        succeed(&mut book, C, Source::Probe, 22);
        succeed(&mut book, C, Source::Probe, 27);
        assert_eq!((book.own_fault(), book.state(C)), (false, Health::Down), "its poll still fails");
    }

    #[test]
    fn failures_further_apart_than_the_window_are_the_servers_own() {
        let mut book = up(&[A, B]);
        fail(&mut book, A, Source::Probe, 10);
        fail(&mut book, B, Source::Probe, 16);
        assert!(!book.own_fault());
        assert_eq!((book.state(A), book.state(B)), (Health::Suspect, Health::Suspect));
    }

    #[test]
    fn a_success_in_between_disproves_our_own_fault() {
        let mut book = up(&[A, B]);
        fail(&mut book, A, Source::Probe, 10);
        succeed(&mut book, A, Source::Probe, 11);
        fail(&mut book, B, Source::Probe, 12);
        assert!(!book.own_fault());
        assert_eq!(book.state(B), Health::Suspect);
    }

    #[test]
    fn who_was_suspect_long_before_stays_suspect() {
        let mut book = up(&[A, B]);
        fail(&mut book, A, Source::Poll, 10);
        fail(&mut book, A, Source::Poll, 30);
        fail(&mut book, B, Source::Probe, 31);
        assert!(book.own_fault());
        assert_eq!((book.state(A), book.state(B)), (Health::Suspect, Health::Up));
    }

    #[test]
    fn down_within_the_window_is_restored_too() {
        let mut book = up(&[A, B]);
        for _ in 0..3 {
            fail(&mut book, A, Source::Call, 10);
        }
        assert_eq!(book.state(A), Health::Down);
        fail(&mut book, B, Source::Call, 11);
        assert!(book.own_fault());
        assert_eq!((book.state(A), book.state(B)), (Health::Up, Health::Up));
    }

    #[test]
    fn servers_that_were_down_already_do_not_count() {
        let mut book = up(&[A, B, C]);
        for second in 1..=3 {
            fail(&mut book, C, Source::Probe, second);
        }
        fail(&mut book, A, Source::Probe, 20);
        fail(&mut book, B, Source::Probe, 21);
        assert!(book.own_fault(), "all that worked have failed");
        assert_eq!(book.state(C), Health::Down);
    }

    #[test]
    fn a_single_working_server_is_never_our_own_fault() {
        let mut single = up(&[A]);
        let mut one_left = up(&[A, B]);
        for second in 1..=3 {
            fail(&mut one_left, B, Source::Probe, second);
        }
        for second in 20..=22 {
            fail(&mut single, A, Source::Probe, second);
            fail(&mut one_left, A, Source::Probe, second);
        }
        assert_eq!((single.state(A), single.own_fault()), (Health::Down, false));
        assert_eq!((one_left.state(A), one_left.own_fault()), (Health::Down, false));
    }

    #[test]
    fn servers_that_never_answered_are_not_our_own_fault() {
        let mut book = book(&[A, B]);
        for second in 1..=3 {
            fail(&mut book, A, Source::Probe, second);
            fail(&mut book, B, Source::Probe, second);
        }
        assert!(!book.own_fault());
        assert_eq!((book.state(A), book.state(B)), (Health::Down, Health::Down));
    }

    #[test]
    fn set_servers_keeps_forgets_and_adds() {
        let mut book = up(&[A, B]);
        book.set_servers(&[A, C], Millis(1));
        assert_eq!((book.state(A), book.state(C)), (Health::Up, Health::Unknown));
        assert!(fail(&mut book, B, Source::Probe, 2).is_empty(), "no longer monitored");
        book.set_servers(&[A, B], Millis(3));
        assert_eq!(book.state(B), Health::Unknown, "a server that comes back starts anew");
    }
}
