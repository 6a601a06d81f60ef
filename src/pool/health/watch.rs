//! What is known of one server's health: each source's failures and successes, and the state they have led to.
//!
//! It counts and remembers; what the counts mean beside those of other servers is the book's business.

use std::time::Duration;

use super::{Failure, Source};
use crate::clock::Millis;
use crate::pool::Health;

/// A place in the order of observations: moments may be equal, or a thousand in one millisecond.
pub type Turn = u64;

/// What one source has seen of one server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    /// Consecutive failures.
    pub failures: u32,
    /// When the first of them was seen.
    pub since: Turn,
    /// Successes since the last failure of any source.
    pub successes: u32,
    /// The last failure is not made good yet.
    pub failing: bool,
}

/// One server under watch.
#[derive(Debug)]
pub struct Watch {
    pub health: Health,
    /// Indexed by `Source`.
    pub records: [Record; 3],
    pub reason: Option<String>,
    /// The last failure that may be our network's, if the server has not been heard since.
    pub failed_at: Option<Millis>,
    /// The last failure.
    pub failed: Turn,
    /// When it last proved our network to be sound: by any success, or by a failure in its own words.
    pub heard: Turn,
    /// When it last succeeded at anything.
    pub heard_at: Option<Millis>,
    /// What it was before it left `up` or `suspect`, and when: to be restored if the fault turns out to be ours.
    pub left: Option<(Health, Millis)>,
}

impl Watch {
    pub fn new() -> Self {
        Self {
            health: Health::Unknown,
            records: [Record::default(); 3],
            reason: None,
            failed_at: None,
            failed: 0,
            heard: 0,
            heard_at: None,
            left: None,
        }
    }

    pub fn is_failing(&self) -> bool {
        self.records.iter().any(|record| record.failing)
    }

    /// Counting starts anew, but what made it suspect or down must still be made good.
    pub fn count_anew(&mut self) {
        for record in &mut self.records {
            record.failures = 0;
            record.failing &= self.health != Health::Up;
        }
        self.failed_at = None;
    }

    pub fn succeed(&mut self, source: Source) {
        let record = &mut self.records[source as usize];
        record.failures = 0;
        record.successes = record.successes.saturating_add(1);
        self.failed_at = None;
    }

    pub fn fail(&mut self, source: Source, failure: Failure, now: Millis, turn: Turn) {
        for record in &mut self.records {
            record.successes = 0;
        }
        let record = &mut self.records[source as usize];
        record.failing = true;
        if record.failures == 0 {
            record.since = turn;
        }
        record.failures = record.failures.saturating_add(1);
        self.reason = Some(failure.reason);
        self.failed_at = (!failure.by_server).then_some(now);
        self.failed = turn;
    }

    /// When the series of failures began that is long enough for `down`; of several the oldest.
    pub fn doomed_since(&self, unhealthy_after: u32) -> Option<Turn> {
        let is_doomed = |record: &&Record| record.failing && record.failures >= unhealthy_after.max(1);
        self.records.iter().filter(is_doomed).map(|record| record.since).min()
    }

    pub fn is_working(&self) -> bool {
        matches!(self.health, Health::Up | Health::Suspect)
    }

    /// Clears the sources that have succeeded `needed` times since the last failure.
    pub fn forgive(&mut self, needed: u32) {
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
    pub fn was_working(&self, now: Millis, window: Duration) -> bool {
        match self.health {
            Health::Up | Health::Suspect => true,
            Health::Down => self.left_within(now, window).is_some_and(|before| before != Health::Unknown),
            Health::Unknown => false,
        }
    }

    pub fn left_within(&self, now: Millis, window: Duration) -> Option<Health> {
        self.left.filter(|(_, at)| now.since(*at) <= window).map(|(before, _)| before)
    }

    pub fn has_failed_within(&self, now: Millis, window: Duration) -> bool {
        self.failed_at.is_some_and(|at| now.since(at) <= window)
    }

    /// Worsens the state, remembering the one to go back to.
    pub fn sink_to(&mut self, to: Health, now: Millis, window: Duration) {
        if self.left_within(now, window).is_none() {
            self.left = Some((self.health, now));
        }
        self.health = to;
    }
}
