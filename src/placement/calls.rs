//! The book of calls that failed although their server may be well: by server and kind of call.
//!
//! A server that answers a call with an error, or with nonsense, may be ill, or may have been asked something that it
//! cannot digest. That is no step to `down`: a probe or poll is asked for, and the failure is noted here, for one log
//! line per change. Only for `create` more follows, because only a create can go elsewhere: a server is avoided where
//! another one did what it had failed at. What one request makes several servers say is that request's fault.
//!
//! Bounded by servers times calls. Pure: the moment is handed in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::bbb::Call;
use crate::clock::Millis;
use crate::ids::{MeetingKey, ServerId};

/// Shortest time between two lines about one kind of call of one server: a front end that repeats its mistake each
/// second between calls that work must not fill the log.
const QUIET: Duration = Duration::from_secs(60);
/// Creates in a row that failed on a server and worked on another one, until it is avoided: one may have been chance.
const PROVEN: u32 = 2;
/// How long it is avoided then, before it is tried again.
const AVOIDED_FOR: Duration = Duration::from_secs(10);
/// Different meetings in a row that no server could create, until the servers are to blame and not the meetings.
const MEETINGS: u32 = 3;

/// See the module's header.
#[derive(Default)]
pub struct CallBook {
    records: HashMap<(ServerId, Call), Record>,
    hasher: ahash::RandomState,
}

#[derive(Default)]
struct Record {
    /// Since the last success.
    failures: u64,
    told_at: Option<Millis>,
    /// The log says that this call fails.
    is_told: bool,
    /// Creates in a row that another server has made good.
    proven: u32,
    /// Different meetings in a row.
    meetings: u32,
    /// Which was the last, as a hash.
    last: Option<u64>,
}

impl CallBook {
    /// Forgets servers that are gone.
    pub fn keep(&mut self, servers: &HashSet<ServerId>) {
        self.records.retain(|(server, _), _| servers.contains(server));
    }

    /// A call failed. How many have now, if the log is to hear of it.
    pub fn failed(&mut self, server: ServerId, call: Call, now: Millis) -> Option<u64> {
        let record = self.records.entry((server, call)).or_default();
        record.failures = record.failures.saturating_add(1);
        if record.told_at.is_some_and(|told| now.since(told) < QUIET) {
            return None;
        }
        record.told_at = Some(now);
        record.is_told = true;
        Some(record.failures)
    }

    /// A call worked. How many had failed, if the log is to hear that this is over.
    pub fn worked(&mut self, server: ServerId, call: Call, now: Millis) -> Option<u64> {
        let record = self.records.get_mut(&(server, call)).filter(|record| record.failures > 0)?;
        let failures = std::mem::take(&mut record.failures);
        (record.proven, record.meetings, record.last) = (0, 0, None);
        let is_due = record.is_told && record.told_at.is_some_and(|told| now.since(told) >= QUIET);
        if !is_due {
            return None;
        }
        record.told_at = Some(now);
        record.is_told = false;
        Some(failures)
    }

    /// A create of this meeting failed on a server.
    pub fn create_failed(&mut self, server: ServerId, key: &MeetingKey) {
        let hash = self.hasher.hash_one(key);
        let record = self.records.entry((server, Call::Create)).or_default();
        if record.last.replace(hash) != Some(hash) {
            record.meetings = record.meetings.saturating_add(1);
        }
    }

    /// True if creates of so many different meetings have failed in a row on each of these servers that it is they who
    /// cannot.
    pub fn can_create_nothing(&self, servers: &[ServerId]) -> bool {
        let fails = |server: &ServerId| {
            self.records.get(&(*server, Call::Create)).is_some_and(|record| record.meetings >= MEETINGS)
        };
        servers.iter().all(fails)
    }

    /// A create that failed on this server has worked on another one. Until when the server is to be avoided, if it is.
    pub fn create_worked_elsewhere(&mut self, server: ServerId, now: Millis) -> Option<Millis> {
        let record = self.records.get_mut(&(server, Call::Create))?;
        record.proven = record.proven.saturating_add(1);
        (record.proven >= PROVEN).then(|| now + AVOIDED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MeetingId, TenantId};

    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);

    fn key(meeting: &str) -> MeetingKey {
        MeetingKey { tenant: TenantId(1), meeting: MeetingId::new(meeting) }
    }

    #[test]
    fn a_change_is_told_once_and_a_mistake_that_goes_on_once_a_minute() {
        let mut book = CallBook::default();
        let call = Call::GetMeetingInfo;
        assert_eq!(book.worked(A, call, Millis(0)), None);
        assert_eq!(book.failed(A, call, Millis(1)), Some(1));
        assert_eq!(book.failed(A, Call::End, Millis(1)), Some(1), "each kind by itself");
        for at in 2..60_000 {
            assert_eq!(book.failed(A, call, Millis(at)), None);
        }
        assert_eq!(book.failed(A, call, Millis(60_001)), Some(60_000));
        assert_eq!(book.worked(A, call, Millis(70_000)), None, "it may fail again in a moment");
        assert_eq!(book.failed(A, call, Millis(130_000)), Some(1));
        assert_eq!(book.worked(A, call, Millis(200_000)), Some(1));
        assert_eq!(book.worked(A, call, Millis(300_000)), None);
    }

    #[test]
    fn a_server_is_avoided_for_what_others_have_made_good_and_not_for_what_nobody_can_do() {
        let mut book = CallBook::default();
        for number in 0..100 {
            book.failed(A, Call::Create, Millis(number));
            book.create_failed(A, &key("poisoned"));
            book.failed(B, Call::Create, Millis(number));
            book.create_failed(B, &key("poisoned"));
        }
        assert!(!book.can_create_nothing(&[A, B]), "one meeting says nothing about the servers");
        assert_eq!(book.create_worked_elsewhere(A, Millis(1_000)), None, "once may be chance");
        assert_eq!(book.create_worked_elsewhere(A, Millis(2_000)), Some(Millis(12_000)));
        book.worked(A, Call::Create, Millis(3_000));
        assert_eq!(book.create_worked_elsewhere(A, Millis(4_000)), None, "counted anew");
        for meeting in ["a", "b", "c"] {
            book.create_failed(A, &key(meeting));
        }
        assert!(book.can_create_nothing(&[A]) && !book.can_create_nothing(&[A, B]));
    }
}
