//! Sessions that BBB servers have accepted: what belongs to one is not a stranger's, and a university is many of them.
//!
//! Only hashes are kept, of tokens and cookies alike. Memory is bounded by two generations: what is asked for moves into
//! the younger one; when that is full or old, it becomes the older one, and what the older one still had is forgotten. So a
//! session is known for one to two `GENERATION`s after it was last heard of, and nothing has to be searched for.
//!
//! Who may enter a session here decides `proxy/edge/belongs.rs`; an invented token is never let in.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::Caller;
use crate::config::SESSION_KEYS;

/// A session may be silent as long: a slide is turned more often than that, and each turn is a request.
const GENERATION: Duration = Duration::from_secs(3600);

/// Stands for a token or a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(u64);

/// What a key was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// One for each person in a meeting, so these are counted.
    Token,
    /// One for each browser.
    Cookie,
}

/// The sessions known.
pub struct Sessions {
    /// Seeded anew in each process.
    hasher: ahash::RandomState,
    known: Mutex<Known>,
}

struct Known {
    young: Generation,
    old: Generation,
    turned: Instant,
}

#[derive(Default)]
struct Generation {
    sessions: HashMap<SessionKey, Entry>,
    /// Sessions with a token, by the address that they were last heard of from.
    of: HashMap<Caller, u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    caller: Option<Caller>,
    mark: Mark,
}

impl Default for Sessions {
    fn default() -> Self {
        let (young, old) = (Generation::default(), Generation::default());
        let known = Known { young, old, turned: Instant::now() };
        Self { hasher: ahash::RandomState::new(), known: Mutex::new(known) }
    }
}

impl Sessions {
    pub fn key(&self, mark: Mark, text: &[u8]) -> SessionKey {
        SessionKey(self.hasher.hash_one((mark, text)))
    }

    /// A server has accepted this session of `client`.
    pub fn accept(&self, mark: Mark, text: &[u8], client: Option<IpAddr>, now: Instant) -> SessionKey {
        let key = self.key(mark, text);
        let mut known = self.known.lock();
        known.turn(now);
        known.forget(key);
        known.young.insert(key, Entry { caller: client.map(Caller::of), mark });
        key
    }

    /// Whether a server has accepted it; it is remembered anew then, as one of `client`.
    pub fn knows(&self, key: SessionKey, client: Option<IpAddr>, now: Instant) -> bool {
        let caller = client.map(Caller::of);
        let mut known = self.known.lock();
        known.turn(now);
        if known.young.sessions.get(&key).is_some_and(|entry| entry.caller == caller) {
            return true;
        }
        let Some(entry) = known.forget(key) else { return false };
        known.young.insert(key, Entry { caller, ..entry });
        true
    }

    /// It was in use until now, however long nothing was asked for: a WebSocket may be open for hours.
    pub fn renew(&self, key: SessionKey, client: Option<IpAddr>, now: Instant) {
        if !self.knows(key, client, now) {
            let entry = Entry { caller: client.map(Caller::of), mark: Mark::Token };
            self.known.lock().young.insert(key, entry);
        }
    }

    /// How many sessions of this address are known.
    pub(super) fn of(&self, caller: Caller, now: Instant) -> u32 {
        let mut known = self.known.lock();
        known.turn(now);
        let count = |generation: &Generation| generation.of.get(&caller).copied().unwrap_or(0);
        count(&known.young) + count(&known.old)
    }
}

impl Known {
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age < GENERATION && self.young.sessions.len() < SESSION_KEYS / 2 {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= 2 * GENERATION {
            self.old = Generation::default();
        }
        self.turned = now;
    }

    fn forget(&mut self, key: SessionKey) -> Option<Entry> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

impl Generation {
    fn insert(&mut self, key: SessionKey, entry: Entry) {
        self.sessions.insert(key, entry);
        if let Some(caller) = entry.counts_for() {
            *self.of.entry(caller).or_default() += 1;
        }
    }

    fn remove(&mut self, key: SessionKey) -> Option<Entry> {
        let entry = self.sessions.remove(&key)?;
        if let Some(caller) = entry.counts_for()
            && let Some(count) = self.of.get_mut(&caller)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&caller);
            }
        }
        Some(entry)
    }
}

impl Entry {
    fn counts_for(self) -> Option<Caller> {
        self.caller.filter(|_| self.mark == Mark::Token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn of(sessions: &Sessions, last: u8, now: Instant) -> u32 {
        sessions.of(Caller::of(IpAddr::from([192, 0, 2, last])), now)
    }

    #[test]
    fn a_session_is_known_until_it_was_silent_for_long() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let invented = sessions.key(Mark::Token, b"invented");
        let token = sessions.accept(Mark::Token, b"abc", address(1), start);
        let cookie = sessions.accept(Mark::Cookie, b"abc", address(1), start);
        assert_ne!(token, cookie);
        let mut now = start;
        for _ in 0..20 {
            now += GENERATION - Duration::from_secs(1);
            assert!(sessions.knows(token, address(1), now) && !sessions.knows(invented, address(1), now));
            assert_eq!(of(&sessions, 1, now), 1, "cookies do not count, and nothing counts twice");
        }
        assert!(!sessions.knows(cookie, address(1), now), "nobody asked for it");
        let later = now + 2 * GENERATION;
        assert!(!sessions.knows(token, address(1), later));
        assert_eq!(of(&sessions, 1, later), 0);
        sessions.renew(token, address(1), later);
        sessions.renew(token, address(1), later);
        assert!(sessions.knows(token, address(1), later));
        assert_eq!(of(&sessions, 1, later), 1);
    }

    #[test]
    fn a_session_counts_where_it_was_last() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.accept(Mark::Token, b"abc", address(1), now);
        assert!(sessions.knows(token, address(2), now));
        assert_eq!((of(&sessions, 1, now), of(&sessions, 2, now)), (0, 1));
        sessions.accept(Mark::Token, b"abc", address(2), now);
        assert_eq!(of(&sessions, 2, now), 1);
    }

    #[test]
    fn memory_is_bounded_and_who_is_heard_of_stays() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.accept(Mark::Token, b"here", address(1), now);
        for number in 0..3 * SESSION_KEYS {
            sessions.accept(Mark::Token, &number.to_le_bytes(), address(2), now);
            if number % 1000 == 0 {
                assert!(sessions.knows(token, address(1), now), "{number}");
            }
        }
        let known = sessions.known.lock();
        assert!(known.young.sessions.len() + known.old.sessions.len() <= SESSION_KEYS);
        drop(known);
        assert!(of(&sessions, 2, now) as usize <= SESSION_KEYS);
    }
}
