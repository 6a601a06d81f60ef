//! A flood must not fill the log: each reason for a refusal is logged at most once a minute, with what it stands for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Reason;

/// Between two lines of the same reason.
const PAUSE: Duration = Duration::from_secs(60);

/// When each reason was last logged, and how often it came up since.
pub struct Told {
    start: Instant,
    reasons: [Entry; Reason::ALL.len()],
}

#[derive(Default)]
struct Entry {
    /// Microseconds after the start from which on it may be logged again.
    next: AtomicU64,
    count: AtomicU64,
}

impl Default for Told {
    fn default() -> Self {
        Self { start: Instant::now(), reasons: Default::default() }
    }
}

impl Told {
    /// Counts one refusal; the number of refusals to be logged now, if it is time for a line.
    pub fn count(&self, reason: Reason, now: Instant) -> Option<u64> {
        let entry = &self.reasons[reason as usize];
        entry.count.fetch_add(1, Ordering::Relaxed);
        let now = now.saturating_duration_since(self.start).as_micros() as u64;
        let next = entry.next.load(Ordering::Relaxed);
        let due = now >= next && {
            let later = now + PAUSE.as_micros() as u64;
            entry.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        due.then(|| entry.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_with_the_number() {
        let told = Told::default();
        let start = Instant::now();
        assert_eq!(told.count(Reason::Unsigned, start), Some(1));
        for _ in 0..99 {
            assert_eq!(told.count(Reason::Unsigned, start + Duration::from_secs(59)), None);
        }
        assert_eq!(told.count(Reason::Connections, start), Some(1), "each reason by itself");
        assert_eq!(told.count(Reason::Unsigned, start + Duration::from_secs(61)), Some(100));
    }
}
