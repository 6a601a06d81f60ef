//! Rates of very many keys in memory that does not grow: token buckets in a fixed table, found by hash.
//!
//! No key is stored, so nothing has to be evicted and no flood of new addresses can push an old one out. Each key has one
//! bucket in each of `ROWS` rows and is refused only if all of them are empty; two keys that share a bucket in one row
//! hardly share the others (the idea of a count-min sketch). With a thousand addresses over their rate, another one is
//! taken for one of them with a probability of 3 in 100 000. Looking is a hash and three atomic words: no lock, no
//! allocation.
//!
//! A bucket holds the moment at which it will be full again (the generic cell rate algorithm), so nothing has to tick.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROWS: usize = 3;
/// Buckets of one row; all rows take 768 KiB.
const BUCKETS: usize = 1 << 15;

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Comes back each second.
    pub per_second: f64,
    /// May come at once.
    pub burst: f64,
}

impl Allowance {
    /// A minute's worth, all of which may come at once.
    pub fn per_minute(number: u32) -> Self {
        Self { per_second: f64::from(number) / 60.0, burst: f64::from(number) }
    }

    /// Ten seconds' worth may come at once.
    pub fn per_second(number: u32) -> Self {
        Self { per_second: f64::from(number), burst: f64::from(number) * 10.0 }
    }
}

/// Token buckets for keys of one kind.
pub struct Leaky {
    rows: Box<[[AtomicU64; ROWS]]>,
    /// Seeded anew in each process: nobody can look for keys that share their buckets with a victim's.
    hasher: ahash::RandomState,
    start: Instant,
}

impl Default for Leaky {
    fn default() -> Self {
        Self {
            rows: std::iter::repeat_with(Default::default).take(BUCKETS).collect(),
            hasher: ahash::RandomState::new(),
            start: Instant::now(),
        }
    }
}

impl Leaky {
    /// Takes one token of `key` at `now`; without one left, the time until there is one.
    pub fn take(&self, key: impl Hash, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        // From 1, so that an untouched bucket lies in the past.
        let now = now.saturating_duration_since(self.start).as_micros() as u64 + 1;
        let token = (1_000_000.0 / allowance.per_second) as u64;
        let whole = (1_000_000.0 / allowance.per_second * allowance.burst.max(1.0)) as u64;
        let places = self.places(key);
        let full_again = places.map(|place| place.load(Ordering::Relaxed).max(now));
        let soonest = full_again.into_iter().min().unwrap_or(now) + token;
        if soonest - now > whole {
            return Err(Duration::from_micros(soonest - now - whole));
        }
        // Conservative: only the fullest bucket pays, the others are brought up to it. Two takers at the same moment may
        // pay once; the next one pays again.
        for place in places {
            place.fetch_max(soonest, Ordering::Relaxed);
        }
        Ok(())
    }

    fn places(&self, key: impl Hash) -> [&AtomicU64; ROWS] {
        let hash = self.hasher.hash_one(key);
        std::array::from_fn(|row| &self.rows[(hash >> (20 * row)) as usize % BUCKETS][row])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { per_second: 2.0, burst: 10.0 };

    #[test]
    fn a_burst_then_the_rate() {
        let leaky = Leaky::default();
        let start = Instant::now();
        for _ in 0..10 {
            leaky.take(1, ALLOWANCE, start).unwrap();
        }
        let wait = leaky.take(1, ALLOWANCE, start).unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert!(leaky.take(1, ALLOWANCE, start + Duration::from_millis(400)).is_err(), "a refusal costs nothing more");
        leaky.take(1, ALLOWANCE, start + Duration::from_millis(501)).unwrap();
        assert!(leaky.take(1, ALLOWANCE, start + Duration::from_millis(502)).is_err());
        leaky.take(2, ALLOWANCE, start).unwrap();
        // Full again after five seconds, and never fuller than full.
        let later = start + Duration::from_secs(3600);
        let taken = (0..50).filter(|_| leaky.take(1, ALLOWANCE, later).is_ok()).count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn many_that_are_over_their_rate_do_not_hurt_the_others() {
        let leaky = Leaky::default();
        let now = Instant::now();
        for flooder in 0..1000 {
            for _ in 0..30 {
                let _ = leaky.take((0, flooder), ALLOWANCE, now);
            }
        }
        let hurt = (0..10_000).filter(|honest| leaky.take((1, honest), ALLOWANCE, now).is_err()).count();
        assert!(hurt < 20, "{hurt} of 10 000");
    }

    #[test]
    fn threads_cannot_take_much_more_than_there_is() {
        let leaky = Leaky::default();
        let now = Instant::now();
        let allowance = Allowance { per_second: 1.0, burst: 1000.0 };
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5000).filter(|_| leaky.take(7, allowance, now).is_ok()).count()))
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert!((1000..=4000).contains(&taken), "{taken}");
    }
}
