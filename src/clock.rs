//! Time behind a trait, so that placement and health can be tested on a clock that stands still.
//!
//! The only place that may ask the system for the time of day (`clippy.toml` bans it elsewhere). There are two clocks:
//!
//! - `SystemClock` is the time of day, which an operator, NTP or a hypervisor may set back: for logs, the `Date` header,
//!   and moments that an operator has named (when a secret retires).
//! - `SteadyClock` is for everything whose age or order counts: polls, claims, failures, joins. It is the time of day as
//!   long as that goes on. Set forward, it follows at once. Set back, it goes on a tenth slower than time does until the
//!   time of day has caught up: an hour takes ten. So it never goes back, no wait is wrong by more than a tenth, and what
//!   it writes into the store can be compared with what other processes write there, and with what is read after a
//!   restart.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01 UTC, BBB's own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Millis) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Millis {
    type Output = Millis;
    fn add(self, time: Duration) -> Millis {
        Millis(self.0.saturating_add(time.as_millis() as u64))
    }
}

impl Sub<Duration> for Millis {
    type Output = Millis;
    fn sub(self, time: Duration) -> Millis {
        Millis(self.0.saturating_sub(time.as_millis() as u64))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    fn now(&self) -> Millis;
}

/// The time of day.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that may
    fn now(&self) -> Millis {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Millis(since_epoch.map_or(0, |time| time.as_millis() as u64))
    }
}

/// The time of day, except that it never goes back. One for the whole process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SteadyClock;

impl Clock for SteadyClock {
    fn now(&self) -> Millis {
        static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
        static LINE: SlowLine = SlowLine(AtomicU64::new(0));
        let started = *STARTED;
        // In this order: whoever is held up in between puts the line too low, not too high.
        let wall = SystemClock.now();
        LINE.now(wall, started.elapsed())
    }
}

/// While the time of day is behind, one in this many milliseconds is left out.
const LEFT_OUT: u64 = 10;

/// Where a clock would be that started at zero with the process and leaves out every tenth millisecond, and how far it
/// has been put forward since: as far as the time of day needed it, and never back.
struct SlowLine(AtomicU64);

impl SlowLine {
    /// `ran` is the time since the start by a clock that nobody sets, read after `wall`.
    fn now(&self, wall: Millis, ran: Duration) -> Millis {
        let ran = ran.as_millis() as u64;
        let slow = ran - ran / LEFT_OUT;
        let line = slow.saturating_add(self.0.load(Ordering::Relaxed));
        if wall.0 > line {
            self.0.fetch_max(wall.0 - slow, Ordering::Relaxed);
        }
        Millis(wall.0.max(line))
    }
}

/// A clock that moves only when told to; clones share the hand.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub fn at(now: Millis) -> Self {
        Self(Arc::new(AtomicU64::new(now.0)))
    }
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: u64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn at(line: &SlowLine, wall: u64, ran: u64) -> u64 {
        line.now(Millis(wall), Duration::from_millis(ran)).0
    }

    fn fresh() -> SlowLine {
        SlowLine(AtomicU64::new(0))
    }

    #[test]
    fn it_is_the_time_of_day_as_long_as_that_goes_on() {
        let line = fresh();
        for ran in (0..HOUR).step_by(777) {
            assert_eq!(at(&line, NOON + ran, ran), NOON + ran);
        }
        assert_eq!(at(&line, NOON + 100 * HOUR, HOUR), NOON + 100 * HOUR, "set forward, or the machine slept");
    }

    #[test]
    fn set_back_it_goes_on_a_tenth_slower_until_it_is_caught_up_with() {
        let line = fresh();
        assert_eq!(at(&line, NOON, 0), NOON);
        let back = |ran: u64| at(&line, NOON - HOUR + ran, ran);
        assert_eq!(back(0), NOON);
        assert_eq!(back(1000), NOON + 900, "a poll's age is right to a tenth");
        assert_eq!(back(10 * HOUR - 1000), NOON + 9 * HOUR - 900);
        assert_eq!(back(10 * HOUR), NOON + 9 * HOUR, "caught up");
        assert_eq!(back(11 * HOUR), NOON + 10 * HOUR, "and the time of day again");
    }

    #[test]
    fn it_starts_with_a_clock_that_is_years_behind() {
        let line = fresh();
        assert_eq!(at(&line, 5, 0), 5);
        assert_eq!(at(&line, NOON, 10), NOON);
        assert_eq!(at(&line, 0, 1010), NOON + 900, "back to 1970");
    }

    #[test]
    fn the_real_one_shows_the_time_of_day() {
        let before = SystemClock.now();
        let now = SteadyClock.now();
        assert!(now >= before && now.since(before) < Duration::from_secs(60), "{before} {now}");
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_never_stands_still(
            steps in prop::collection::vec((0..20_000_u64, -2 * HOUR as i64..2 * HOUR as i64, any::<bool>()), 1..200)
        ) {
            let line = fresh();
            let (mut wall, mut ran, mut last) = (NOON, 0, at(&line, NOON, 0));
            for (passed, set, is_set) in steps {
                ran += passed;
                wall = (wall + passed).saturating_add_signed(if is_set { set } else { 0 });
                let now = at(&line, wall, ran);
                prop_assert!(now >= wall);
                prop_assert!(now >= last + passed - passed / LEFT_OUT - 1, "{now} after {last}, {passed} ms later");
                last = now;
            }
        }
    }
}
