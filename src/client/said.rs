//! What each server said last to a question, for when it is silent: a list that lacks a silent server's part would look
//! as if that part had been deleted.
//!
//! Memory only, bounded in bytes and number; the answer that was used longest ago goes first. A change on a server makes all
//! that it said before void, and what it was saying meanwhile.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::Millis;
use crate::ids::ServerId;

/// Bytes of all answers kept. The recordings of a big server are a few MB.
const MOST_BYTES: usize = 64 << 20;
/// Answers kept: a front end asks for each course, and hundreds of courses have been asked for at a server that fails.
const MOST_ANSWERS: usize = 4096;

/// See the module's header.
#[derive(Default)]
pub struct Said(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    kept: HashMap<(ServerId, String), Kept>,
    bytes: usize,
    /// Counts uses.
    uses: u64,
    /// How often something was changed on a server.
    eras: HashMap<ServerId, u64>,
}

struct Kept {
    body: Bytes,
    at: Millis,
    used: u64,
}

/// A server's changes so far; an answer that began in an earlier era is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era(u64);

impl Said {
    /// To be taken before the question is sent.
    pub fn era(&self, server: ServerId) -> Era {
        Era(self.0.lock().eras.get(&server).copied().unwrap_or(0))
    }

    /// The server's answer to a question sent at `at`.
    pub fn keep(&self, server: ServerId, question: &str, body: Bytes, at: Millis, era: Era) {
        let mut inner = self.0.lock();
        let is_void = inner.eras.get(&server).copied().unwrap_or(0) != era.0;
        if is_void || body.len() > MOST_BYTES / 2 {
            return;
        }
        inner.uses += 1;
        let used = inner.uses;
        inner.bytes += body.len();
        if let Some(before) = inner.kept.insert((server, question.to_owned()), Kept { body, at, used }) {
            inner.bytes -= before.body.len();
        }
        while inner.bytes > MOST_BYTES || inner.kept.len() > MOST_ANSWERS {
            let oldest = inner.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| inner.kept.remove(&key)) else { return };
            inner.bytes -= gone.body.len();
        }
    }

    /// What it said last, and when it was asked.
    pub fn last(&self, server: ServerId, question: &str) -> Option<(Bytes, Millis)> {
        let mut inner = self.0.lock();
        inner.uses += 1;
        let used = inner.uses;
        let kept = inner.kept.get_mut(&(server, question.to_owned()))?;
        kept.used = used;
        Some((kept.body.clone(), kept.at))
    }

    /// Something is being changed there.
    pub fn forget(&self, server: ServerId) {
        let mut inner = self.0.lock();
        *inner.eras.entry(server).or_default() += 1;
        inner.kept.retain(|(one, _), _| *one != server);
        inner.bytes = inner.kept.values().map(|kept| kept.body.len()).sum();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: ServerId = ServerId(1);

    #[test]
    fn a_change_makes_void_what_was_said_before_and_meanwhile() {
        let said = Said::default();
        let era = said.era(ONE);
        said.keep(ONE, "a", Bytes::from_static(b"1"), Millis(5), era);
        assert_eq!(said.last(ONE, "a"), Some((Bytes::from_static(b"1"), Millis(5))));
        assert_eq!((said.last(ONE, "b"), said.last(ServerId(2), "a")), (None, None));
        let meanwhile = said.era(ONE);
        said.forget(ONE);
        said.keep(ONE, "a", Bytes::from_static(b"1"), Millis(6), meanwhile);
        assert_eq!(said.last(ONE, "a"), None);
        said.keep(ONE, "a", Bytes::from_static(b"2"), Millis(7), said.era(ONE));
        assert!(said.last(ONE, "a").is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let said = Said::default();
        let big = Bytes::from(vec![0; MOST_BYTES / 8]);
        for number in 0..20 {
            said.keep(ONE, &number.to_string(), big.clone(), Millis(number), said.era(ONE));
            said.last(ONE, "0").unwrap();
        }
        assert!(said.0.lock().bytes <= MOST_BYTES);
        assert!(said.last(ONE, "19").is_some() && said.last(ONE, "1").is_none());
        said.keep(ONE, "huge", Bytes::from(vec![0; MOST_BYTES / 2 + 1]), Millis(0), said.era(ONE));
        assert_eq!(said.last(ONE, "huge"), None);
        for number in 0..2 * MOST_ANSWERS {
            said.keep(ServerId(2), &number.to_string(), Bytes::new(), Millis(0), said.era(ServerId(2)));
        }
        assert!(said.0.lock().kept.len() <= MOST_ANSWERS);
    }
}
