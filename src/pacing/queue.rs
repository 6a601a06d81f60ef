//! Who may join one server now: a token bucket, and a queue of places for those who come while it is empty.
//!
//! A place belongs to whoever comes again with the same key. It is kept as long as its owner comes back, and lost after
//! `PATIENCE`. Nobody overtakes: tokens are kept for all who stand further ahead, until they come for them or lose their
//! place. Pure: the clock is handed in.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Millis;

/// How long an owner may stay away. Three times the longest interval at which a waiting page comes back.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The longest and the shortest such interval.
const LONGEST_PAUSE: f64 = 10.0;
const SHORTEST_PAUSE: f64 = 1.0;
/// Seconds' worth of joins that may come at once. As owners come back in intervals, a bucket that held less would run over
/// while they are away; 100 joins in one moment have brought down servers (bbb-http-surface.md section 7).
const BURST: f64 = 2.0;
/// How often places are looked through for lost ones.
const SWEEP: Duration = Duration::from_secs(1);

/// What a server bears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Joins per second; more than 0.
    pub rate: f64,
    /// Most places.
    pub places: usize,
}

/// What becomes of a join.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It may go on; true if it had to wait.
    Go { waited: bool },
    /// It has a place.
    Wait(Waiting),
    /// There is no place left; to be asked again.
    Full { pause: Duration },
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// From 1.
    pub position: usize,
    /// Until it is this one's turn, if all ahead come for theirs.
    pub expected: Duration,
    /// When to come back.
    pub pause: Duration,
    /// Taken just now.
    pub is_new: bool,
}

struct Place {
    key: u64,
    seen: Millis,
}

/// See the module's header.
pub struct Queue {
    tokens: f64,
    filled: Millis,
    places: VecDeque<Place>,
    swept: Millis,
}

impl Queue {
    pub fn new(pace: Pace, now: Millis) -> Self {
        Self { tokens: burst(pace), filled: now, places: VecDeque::new(), swept: now }
    }

    /// The owner of `key` wants to join.
    pub fn ask(&mut self, key: u64, pace: Pace, now: Millis) -> Verdict {
        self.refill(pace, now);
        self.sweep(now);
        let found = self.places.iter().position(|place| place.key == key);
        let ahead = found.unwrap_or(self.places.len());
        if self.tokens >= ahead as f64 + 1.0 {
            if let Some(index) = found {
                self.places.remove(index);
            }
            self.tokens -= 1.0;
            return Verdict::Go { waited: found.is_some() };
        }
        match found {
            Some(index) => self.places[index].seen = now,
            None if self.places.len() < pace.places => self.places.push_back(Place { key, seen: now }),
            None => return Verdict::Full { pause: Duration::from_secs_f64(LONGEST_PAUSE) },
        }
        let expected = (ahead as f64 + 1.0 - self.tokens) / pace.rate;
        // Not all at the last moment, and those who are next come in time.
        let pause = (expected * 0.7).ceil().clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        Verdict::Wait(Waiting {
            position: ahead + 1,
            expected: Duration::from_secs_f64(expected),
            pause: Duration::from_secs_f64(pause),
            is_new: found.is_none(),
        })
    }

    /// Somebody joins who is not held up; true if he would have been.
    pub fn pass(&mut self, pace: Pace, now: Millis) -> bool {
        self.refill(pace, now);
        self.places.clear();
        let would_wait = self.tokens < 1.0;
        // What is owed is how many would be waiting.
        self.tokens = (self.tokens - 1.0).max(-(pace.places as f64));
        would_wait
    }

    /// How many wait, or would be waiting.
    pub fn waiting(&mut self, pace: Pace, now: Millis) -> usize {
        self.refill(pace, now);
        self.sweep(now);
        self.places.len().max((-self.tokens).ceil().max(0.0) as usize)
    }

    /// It is as good as a new one.
    pub fn is_idle(&mut self, pace: Pace, now: Millis) -> bool {
        self.waiting(pace, now) == 0 && self.tokens >= burst(pace)
    }

    fn refill(&mut self, pace: Pace, now: Millis) {
        let gained = now.since(self.filled).as_secs_f64() * pace.rate;
        self.tokens = (self.tokens + gained).min(burst(pace));
        self.filled = now;
    }

    fn sweep(&mut self, now: Millis) {
        if now.since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.places.retain(|place| now.since(place.seen) <= PATIENCE);
        if self.places.capacity() > 2 * self.places.len() + 64 {
            self.places.shrink_to_fit();
        }
    }
}

/// Most tokens: at least one whole, or nobody would ever be let in.
fn burst(pace: Pace) -> f64 {
    (pace.rate * BURST).max(1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace { rate: 2.5, places: 100 };

    fn at(millis: u64) -> Millis {
        Millis(1_000_000 + millis)
    }

    fn place(verdict: Verdict) -> Waiting {
        match verdict {
            Verdict::Wait(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_burst_goes_through_and_the_rest_waits_in_order() {
        let mut queue = Queue::new(PACE, at(0));
        for key in 0..5 {
            assert_eq!(queue.ask(key, PACE, at(0)), Verdict::Go { waited: false });
        }
        for key in 5..9 {
            assert_eq!(place(queue.ask(key, PACE, at(0))).position, key as usize - 4);
        }
        let last = place(queue.ask(8, PACE, at(100)));
        assert_eq!((last.position, last.is_new), (4, false), "a reload keeps the place");
        assert!((1.5..=1.6).contains(&last.expected.as_secs_f64()), "{last:?}");
        assert_eq!(place(queue.ask(6, PACE, at(400))).position, 2, "the token is the first one's");
        assert_eq!(queue.ask(5, PACE, at(400)), Verdict::Go { waited: true });
        assert_eq!(place(queue.ask(8, PACE, at(400))).position, 3);
        // A stranger does not overtake, although a token is there.
        assert_eq!(place(queue.ask(99, PACE, at(800))).position, 4);
        assert_eq!(queue.ask(6, PACE, at(800)), Verdict::Go { waited: true });
    }

    #[test]
    fn who_stays_away_loses_the_place_and_the_others_move_up() {
        let mut queue = Queue::new(Pace { rate: 0.1, places: 100 }, at(0));
        let pace = Pace { rate: 0.1, places: 100 };
        assert_eq!(queue.ask(0, pace, at(0)), Verdict::Go { waited: false });
        assert_eq!(place(queue.ask(1, pace, at(0))).position, 1);
        assert_eq!(place(queue.ask(2, pace, at(0))).position, 2);
        for second in [10, 20, 30] {
            assert_eq!(place(queue.ask(2, pace, at(second * 1000))).position, 2, "after {second} s");
        }
        assert_eq!(queue.ask(2, pace, at(31_100)), Verdict::Go { waited: true }, "the token that the first one left");
        assert_eq!(queue.waiting(pace, at(31_100)), 0);
    }

    #[test]
    fn places_are_bounded_and_nobody_is_let_in_for_lack_of_one() {
        let pace = Pace { rate: 1.0, places: 3 };
        let mut queue = Queue::new(pace, at(0));
        let mut verdicts = (0..10).map(|key| queue.ask(key, pace, at(0))).collect::<Vec<_>>();
        assert_eq!(verdicts.drain(..2).filter(|verdict| matches!(verdict, Verdict::Go { .. })).count(), 2);
        assert_eq!(verdicts.drain(..3).filter(|verdict| matches!(verdict, Verdict::Wait(_))).count(), 3);
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Full { .. })), "{verdicts:?}");
    }

    #[test]
    fn observing_holds_nobody_up_and_counts() {
        let mut queue = Queue::new(PACE, at(0));
        let would_wait = (0..20).filter(|_| queue.pass(PACE, at(0))).count();
        assert_eq!((would_wait, queue.waiting(PACE, at(0))), (15, 15));
        assert_eq!(queue.waiting(PACE, at(2000)), 10);
        assert!(queue.pass(PACE, at(2000)));
        assert!(queue.is_idle(PACE, at(60_000)));
    }

    /// What people do: come, come back as they are told, or go away.
    #[derive(Clone, Debug)]
    struct Person {
        comes: u64,
        /// Comes back so much later than told.
        dawdles: u64,
        /// Leaves after so many tries.
        leaves_after: usize,
    }

    fn people() -> impl Strategy<Value = Vec<Person>> {
        let person = (0..20_000_u64, 0..3000_u64, prop_oneof![3 => Just(usize::MAX), 1 => 1..4_usize])
            .prop_map(|(comes, dawdles, leaves_after)| Person { comes, dawdles, leaves_after });
        prop::collection::vec(person, 1..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Never more than a burst and the rate in any stretch of time; nobody who came later and never left is let in before
        /// one who came earlier, came back in time, and asked at the same time; everybody who keeps coming is let in.
        #[test]
        fn the_rate_holds_and_all_get_in(people in people(), rate in 0.5..20.0_f64, places in 1..200_usize) {
            let pace = Pace { rate, places };
            let mut queue = Queue::new(pace, at(0));
            let mut events: std::collections::BTreeSet<(u64, usize, usize)> =
                people.iter().enumerate().map(|(who, person)| (person.comes, who, 1)).collect();
            let mut went: Vec<u64> = Vec::new();
            let mut left = 0;
            let mut last = 0;
            while let Some((now, who, tries)) = events.pop_first() {
                last = now;
                prop_assert!(queue.places.len() <= places);
                let pause = match queue.ask(who as u64, pace, at(now)) {
                    Verdict::Go { .. } => { went.push(now); continue; }
                    Verdict::Wait(waiting) => {
                        prop_assert!(waiting.position <= places);
                        waiting.pause
                    }
                    Verdict::Full { pause } => pause,
                };
                if tries >= people[who].leaves_after {
                    left += 1;
                    continue;
                }
                events.insert((now + pause.as_millis() as u64 + people[who].dawdles, who, tries + 1));
            }
            prop_assert_eq!(went.len() + left, people.len(), "all others get in");
            // Tokens may lie unused while somebody is waited for who has gone: his patience is the most that costs.
            let work = people.len() as f64 / rate + (left + 2) as f64 * (PATIENCE.as_secs_f64() + 13.0);
            prop_assert!((last as f64) / 1000.0 <= 20.0 + work + people.len() as f64 * 13.0 / burst(pace).floor());
            for (index, from) in went.iter().enumerate() {
                for (count, to) in went[index..].iter().enumerate() {
                    let most = burst(pace) + (to - from) as f64 / 1000.0 * rate;
                    prop_assert!((count + 1) as f64 <= most + 1e-6, "{} within {} ms", count + 1, to - from);
                }
            }
        }

        /// Those who come back as told are let in in the order in which they came.
        #[test]
        fn nobody_overtakes(comes in prop::collection::vec(0..10_000_u64, 2..80), rate in 0.5..20.0_f64) {
            let pace = Pace { rate, places: 1000 };
            let mut queue = Queue::new(pace, at(0));
            let mut comes = comes;
            comes.sort_unstable();
            let mut waiting: Vec<usize> = Vec::new();
            let mut next = 0;
            // Everybody who waits asks each 100 ms, in the worst order: the last first.
            for step in 0..4000_u64 {
                let now = step * 100;
                while next < comes.len() && comes[next] <= now {
                    waiting.push(next);
                    let verdict = queue.ask(next as u64, pace, at(now));
                    if matches!(verdict, Verdict::Go { .. }) {
                        prop_assert_eq!(waiting.len(), 1, "a newcomer among {:?}", &waiting);
                        waiting.pop();
                    }
                    next += 1;
                }
                let mut went = Vec::new();
                for who in waiting.iter().rev() {
                    if matches!(queue.ask(*who as u64, pace, at(now)), Verdict::Go { .. }) {
                        went.push(*who);
                    }
                }
                let first: Vec<usize> = waiting.drain(..went.len()).collect();
                went.sort_unstable();
                prop_assert_eq!(went, first);
            }
            prop_assert!(waiting.is_empty() && next == comes.len());
        }
    }
}
