//! When a server is probed and polled next: pure, so that whole outages can be played on a clock of their own.
//!
//! What is silent is asked less and less often; whatever is heard ends that for both questions at once, and until the
//! server is `up` again they go at the probes' pace: a server comes back as quickly as it was given up.

use std::time::{Duration, Instant};

use super::WatchSettings;
use crate::placement::look::LOOK_PAUSE;
use crate::pool::Health;

/// Part of the probes' interval by which a poll may come early, in the place of a probe.
const NEAR: u32 = 4;
/// Rounds without an answer before a server is asked less often.
const PATIENCE: u32 = 3;
/// Doublings at most; `max_backoff` is below what they come to.
const DOUBLINGS: u32 = 6;

/// What to ask a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Probe,
    Poll,
}

/// What came of it, and what follows for the next time.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub worked: bool,
    /// The server's health, this outcome taken in.
    pub health: Health,
    /// Failures in a row that count against the server: those of a fault of our own network do not.
    pub failures: u32,
    /// Around 1; spreads the questions.
    pub jitter: f64,
}

/// One server's next questions.
#[derive(Debug)]
pub struct Plan {
    next_probe: Instant,
    next_poll: Instant,
    /// When each was asked last, and how often in a row without an answer.
    probed: Asked,
    polled: Asked,
    /// It has told its version, or that it tells none.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    at: Option<Instant>,
    unanswered: u32,
}

impl Plan {
    pub fn new(now: Instant) -> Self {
        let (probed, polled) = Default::default();
        Self { next_probe: now, next_poll: now, probed, polled, is_known: false }
    }

    /// When the next question is due.
    pub fn due(&self) -> Instant {
        self.next_probe.min(self.next_poll)
    }

    /// Somebody wants to know: the question is asked at `at` if that is before its turn, and a second after the last at least.
    pub fn ask(&mut self, question: Question, at: Instant) {
        let (next, asked) = match question {
            Question::Probe => (&mut self.next_probe, self.probed),
            Question::Poll => (&mut self.next_poll, self.polled),
        };
        *next = (*next).min(asked.at.map_or(at, |last| at.max(last + LOOK_PAUSE)));
    }

    /// What to ask now, if anything is due.
    pub fn question(&self, now: Instant, health: Health, pace: &WatchSettings) -> Option<Question> {
        // A probe just before a poll would learn nothing that the poll does not; but what a probe has found wrong only a
        // probe can clear.
        let is_near = self.next_probe <= now && self.next_poll <= now + pace.interval / NEAR;
        if self.next_poll <= now || (is_near && health == Health::Up) {
            return Some(Question::Poll);
        }
        (self.next_probe <= now).then_some(Question::Probe)
    }

    /// Takes in what was asked and plans both questions anew; `now` is when the outcome was there.
    pub fn note(&mut self, question: Question, outcome: Outcome, now: Instant, pace: &WatchSettings) {
        let other_failed = match question {
            Question::Probe => self.polled.unanswered > 0,
            Question::Poll => self.probed.unanswered > 0,
        };
        let asked = match question {
            Question::Probe => &mut self.probed,
            Question::Poll => &mut self.polled,
        };
        asked.at = Some(now);
        if outcome.worked {
            self.probed.unanswered = 0;
            self.polled.unanswered = 0;
        } else {
            asked.unanswered = asked.unanswered.saturating_add(1);
        }
        let silent = self.probed.unanswered.max(self.polled.unanswered).min(outcome.failures);
        let pause = |interval| backed_off(interval, silent, pace).mul_f64(outcome.jitter);
        let is_up = outcome.health == Health::Up;
        match question {
            Question::Probe => {
                self.is_known |= outcome.worked;
                self.next_probe = now + pause(pace.interval);
            }
            Question::Poll => {
                self.next_poll = now + pause(pace.poll_interval);
                if outcome.worked && !self.is_known {
                    // What follows from its version (the cost of audio, the client's prefix) is not to wait for a probe's turn.
                    self.next_probe = now;
                } else if outcome.worked && is_up {
                    self.next_probe = now + pause(pace.interval);
                }
            }
        }
        if outcome.worked && !is_up {
            let soon = |asked: Asked| asked.at.map_or(now, |at| now.max(at + pause(pace.interval)));
            self.next_probe = self.next_probe.min(soon(self.probed));
            self.next_poll = self.next_poll.min(soon(self.polled));
            // What failed last has to succeed as often as this, so it begins at once.
            match question {
                Question::Probe if other_failed => self.next_poll = now,
                Question::Poll if other_failed => self.next_probe = now,
                _ => {}
            }
        }
    }
}

/// The interval, doubled with each unanswered question beyond the third.
fn backed_off(interval: Duration, unanswered: u32, pace: &WatchSettings) -> Duration {
    let beyond = unanswered.saturating_sub(PATIENCE).min(DOUBLINGS);
    interval.saturating_mul(1 << beyond).min(pace.max_backoff.max(interval))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Millis;
    use crate::config::Config;
    use crate::ids::ServerId;
    use crate::pool::{Failure, HealthBook, HealthSettings, Source};

    const SECOND: Duration = Duration::from_secs(1);
    const IT: ServerId = ServerId(1);
    /// Works all the time, so that a failure is never taken for our own network's.
    const OTHER: ServerId = ServerId(2);

    /// How a server fails while it does.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        Refused,
        Silent,
        /// The version is told, signed calls fail.
        Secret,
    }

    /// One server under the shipped settings, on a clock of its own.
    struct Played {
        book: HealthBook,
        plan: Plan,
        pace: WatchSettings,
        start: Instant,
        now: Instant,
        draws: u64,
        /// Seconds since the start.
        asked: Vec<(f64, Question, bool)>,
    }

    impl Played {
        fn new(seed: u64) -> Self {
            let health = Config::builtin().health;
            let mut book = HealthBook::new(HealthSettings {
                unhealthy_after: health.unhealthy_after,
                healthy_after: health.healthy_after,
                window: health.interval + health.timeout,
            });
            book.set_servers(&[IT, OTHER], Millis(0));
            let pace = WatchSettings {
                interval: health.interval,
                poll_interval: health.poll_interval,
                timeout: health.timeout,
                max_backoff: health.max_backoff,
            };
            let start = Instant::now();
            Self { book, plan: Plan::new(start), pace, start, now: start, draws: seed, asked: Vec::new() }
        }

        /// From 0.9 to 1.1, as the watch draws it.
        fn jitter(&mut self) -> f64 {
            self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            0.9 + 0.2 * ((self.draws >> 40) as f64 / (1_u64 << 24) as f64)
        }

        fn seconds(&self) -> f64 {
            (self.now - self.start).as_secs_f64()
        }

        fn millis(&self) -> Millis {
            Millis(1 + (self.now - self.start).as_millis() as u64)
        }

        fn health(&self) -> Health {
            self.book.state(IT)
        }

        /// Goes on until `until` seconds or until the server is `up`, whatever is asked for.
        fn play(&mut self, fault: Option<Fault>, until: f64, or_up: bool) {
            while (self.plan.due() - self.start).as_secs_f64() < until {
                self.now = self.now.max(self.plan.due());
                let Some(question) = self.plan.question(self.now, self.health(), &self.pace) else { continue };
                let worked = match (fault, question) {
                    (None, _) | (Some(Fault::Secret), Question::Probe) => true,
                    (Some(Fault::Silent), _) => {
                        self.now += self.pace.timeout;
                        false
                    }
                    (Some(_), _) => false,
                };
                let now = self.millis();
                self.book.observe(OTHER, Source::Poll, Ok(()), now);
                let source = if question == Question::Probe { Source::Probe } else { Source::Poll };
                let outcome = if worked { Ok(()) } else { Err(Failure::unclear("refused".to_owned())) };
                self.book.observe(IT, source, outcome, now);
                let (health, failures) = (self.health(), self.book.failures(IT));
                let outcome = Outcome { worked, health, failures, jitter: self.jitter() };
                self.plan.note(question, outcome, self.now, &self.pace);
                self.asked.push((self.seconds(), question, worked));
                if or_up && self.health() == Health::Up {
                    return;
                }
            }
        }
    }

    #[test]
    fn after_any_outage_a_server_is_up_within_healthy_after_probes_after_the_first_good_one() {
        for fault in [Fault::Refused, Fault::Silent, Fault::Secret] {
            for outage in (34..600).step_by(7) {
                for seed in 0..4 {
                    let mut played = Played::new(seed);
                    played.play(None, 33.0, false);
                    let healed = 33.0 + f64::from(outage);
                    played.play(Some(fault), healed, false);
                    let context = format!("{fault:?} for {outage} s, seed {seed}");
                    assert_eq!(played.health(), Health::Down, "{context}");
                    let before = played.asked.len();
                    played.play(None, healed + 600.0, true);
                    assert_eq!(played.health(), Health::Up, "{context}");
                    let good = played.asked[before].0;
                    let settings = Config::builtin().health;
                    let interval = settings.interval.as_secs_f64() * 1.1;
                    let more = f64::from(settings.healthy_after - 1);
                    let took = played.seconds() - good;
                    assert!(took <= more * interval + 0.001, "{context}: up {took} s after the first good answer");
                    // A server that has told its version all the time is asked at the usual pace.
                    let wait = match fault {
                        Fault::Secret => interval,
                        Fault::Refused | Fault::Silent => {
                            (settings.max_backoff * 11 / 10 + settings.timeout * 2).as_secs_f64()
                        }
                    };
                    assert!(good - healed <= wait + 0.001, "{context}: first asked {} s after", good - healed);
                }
            }
        }
    }

    #[test]
    fn a_working_server_is_asked_at_the_intervals_and_a_dead_one_less_and_less_often() {
        let mut played = Played::new(1);
        played.play(None, 600.0, false);
        let polls = played.asked.iter().filter(|(_, question, _)| *question == Question::Poll).count() as f64;
        let all = played.asked.len() as f64;
        let (interval, poll_interval) = (played.pace.interval.as_secs_f64(), played.pace.poll_interval.as_secs_f64());
        assert!((polls - 600.0 / poll_interval).abs() < 10.0, "{polls} polls");
        assert!(all < 600.0 / interval * 1.2, "{all} questions: polls stand for probes");
        let before = played.asked.len();
        played.play(Some(Fault::Refused), 1200.0, false);
        let asked = played.asked.len() - before;
        assert!(asked < 60, "{asked} questions to a dead server in ten minutes");
    }

    #[test]
    fn a_fault_of_our_own_network_slows_nothing_down() {
        let mut played = Played::new(1);
        let now = played.start;
        for _ in 0..20 {
            let outcome = Outcome { worked: false, health: Health::Up, failures: 1, jitter: 1.0 };
            played.plan.note(Question::Probe, outcome, now, &played.pace);
        }
        assert_eq!(played.plan.next_probe, now + played.pace.interval);
        assert!(played.pace.interval > SECOND);
    }
}
