//! When a relay has been silent for too long.

use std::time::{Duration, Instant};

/// How long a connection may be silent that one side has closed. It only waits for the end of an answer.
pub const HALF_CLOSED: Duration = Duration::from_secs(120);

pub struct Silence {
    limit: Duration,
    /// When bytes moved last.
    since: Instant,
}

impl Silence {
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: now }
    }

    /// Bytes have moved.
    pub fn is_broken(&mut self, now: Instant) {
        self.since = now;
    }

    /// One side has closed.
    pub fn is_half(&mut self, now: Instant) {
        (self.limit, self.since) = (self.limit.min(HALF_CLOSED), now);
    }

    /// When it will have lasted too long, if nothing breaks it.
    pub fn end(&self) -> Instant {
        self.since + self.limit
    }
}

/// When a thread looks for relays that have been silent for too long.
///
/// Each look meets all of them, so there are not more than sixteen within the time that the one with the least patience may
/// be silent. So silence ends a relay after its time, and at most a sixteenth later.
#[derive(Default)]
pub struct Looks {
    next: Option<Instant>,
}

impl Looks {
    /// How many there may be within the time that silence may last.
    const MOST: u32 = 16;

    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// There is one more to look after, or one that has less patience now.
    pub fn expect(&mut self, silence: &Silence) {
        let end = silence.end();
        self.next = Some(self.next.map_or(end, |next| next.min(end)));
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// After a look: when the next one is, by `all` that are left.
    pub fn plan<'a>(&mut self, now: Instant, all: impl Iterator<Item = &'a Silence>) {
        self.next = None;
        let mut least = None;
        for silence in all {
            self.expect(silence);
            least = Some(least.map_or(silence.limit, |least: Duration| least.min(silence.limit)));
        }
        if let (Some(next), Some(least)) = (&mut self.next, least) {
            *next = (*next).max(now + least / Self::MOST);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When a look finds it silent for too long, if bytes move at these seconds.
    fn ends_at(limit: u32, moves: &[u32]) -> u32 {
        let begin = Instant::now();
        let mut silence = Silence::new(SECOND * limit, begin);
        let mut looks = Looks::default();
        looks.expect(&silence);
        let mut second = 0;
        loop {
            second += 1;
            let now = begin + SECOND * second;
            if moves.contains(&second) {
                silence.is_broken(now);
            }
            if looks.is_due(now) {
                if silence.end() <= now {
                    return second;
                }
                looks.plan(now, std::iter::once(&silence));
            }
        }
    }

    #[test]
    fn silence_ends_after_its_time() {
        assert_eq!(ends_at(100, &[]), 100);
        assert_eq!(ends_at(100, &[99, 198, 297]), 397);
        let busy: Vec<u32> = (1..500).collect();
        assert_eq!(ends_at(160, &busy), 499 + 160);
    }

    #[test]
    fn many_that_end_one_after_the_other_are_not_looked_at_for_each() {
        let begin = Instant::now();
        let all: Vec<Silence> =
            (0..1000).map(|place| Silence::new(SECOND * 160, begin + SECOND * place / 1000)).collect();
        let mut looks = Looks::default();
        all.iter().for_each(|silence| looks.expect(silence));
        let first = looks.next().unwrap();
        assert_eq!(first, begin + SECOND * 160);
        looks.plan(first, all.iter().skip(1));
        assert_eq!(looks.next().unwrap() - first, SECOND * 10, "a sixteenth later at the earliest");
    }

    #[test]
    fn one_that_is_half_closed_has_less_patience() {
        let begin = Instant::now();
        let mut silence = Silence::new(SECOND * 86_400, begin);
        let later = begin + SECOND * 1000;
        silence.is_half(later);
        assert_eq!(silence.end(), later + HALF_CLOSED);
        let mut short = Silence::new(SECOND, begin);
        short.is_half(later);
        assert_eq!(short.end(), later + SECOND);
    }
}
