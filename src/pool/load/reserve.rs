//! The reserve: how many people a fresh meeting is still waiting for (load-model.md section 7, without history).
//!
//! A tempered Gamma–Poisson forecast on the bell's clock: people come around the full quarter of an hour, not around
//! the moment the teacher opened the room. A bell guessed too late costs little, one guessed too early nearly
//! everything, so every doubt is resolved to the later moment. A room that fills faster than expected raises its own
//! forecast, one that stays empty lets go.

use std::time::Duration;

use crate::clock::Millis;
use crate::config::Reserve;

/// If nobody came this long after the bell, nobody will.
const NOBODY_CAME: Duration = Duration::from_secs(15 * 60);
/// The bell rings this long after the first person, if that is later than the grid says.
const AFTER_FIRST_JOIN: Duration = Duration::from_secs(2 * 60);
/// Share of people who come before the bell's own arrivals, and how long it takes them.
const EARLY: f64 = 0.1;
const EARLY_TIME: f64 = 600.0;

/// What is known of one meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub created: Millis,
    pub first_join: Option<Millis>,
    /// People in, those on their way included.
    pub people: u32,
    /// Size that the caller announced.
    pub size_hint: Option<u32>,
    /// `maxParticipants`; none if 0 or absent.
    pub max_participants: Option<u32>,
}

/// People still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    pub mean: f64,
    pub deviation: f64,
    /// Nobody beyond these can come.
    pub room_left: f64,
}

impl Forecast {
    /// People still to come that are not exceeded with the probability of `z` (see `quantile_z`).
    pub fn at(&self, z: f64) -> f64 {
        (self.mean + z * self.deviation).min(self.room_left)
    }
}

impl Room {
    /// When most people are expected: the next quarter of an hour after create, or two minutes after the first person.
    pub fn bell(&self, settings: &Reserve) -> Millis {
        let grid = u64::try_from(settings.grid.as_millis()).unwrap_or(u64::MAX).max(1);
        let mark = Millis((self.created.0 / grid + 1).saturating_mul(grid));
        self.first_join.map_or(mark, |join| mark.max(join + AFTER_FIRST_JOIN))
    }

    /// From this moment on the forecast is zero, unless somebody comes.
    pub fn expires(&self, settings: &Reserve) -> Millis {
        let patience = if self.people == 0 { settings.max_age.min(NOBODY_CAME) } else { settings.max_age };
        self.bell(settings) + patience
    }

    /// How many are still to come.
    pub fn forecast(&self, settings: &Reserve, now: Millis) -> Forecast {
        if now >= self.expires(settings) {
            return Forecast::default();
        }
        let people = f64::from(self.people);
        let room_left = self.max_participants.map_or(f64::INFINITY, |max| f64::from(max.saturating_sub(self.people)));
        let alpha = settings.cv_unknown.powi(2).recip();
        let beta = alpha / self.expected_size(settings);
        let arrived = self.share_arrived(settings, now);
        let weight = beta + settings.temper * arrived;
        let mean = (alpha + settings.temper * people) / weight * (1.0 - arrived);
        let variance = mean * (1.0 + (1.0 - arrived) / weight);
        Forecast { mean: mean.min(room_left), deviation: variance.sqrt(), room_left }
    }

    /// The prior, pulled towards the caller's hint and capped by `maxParticipants`.
    fn expected_size(&self, settings: &Reserve) -> f64 {
        let prior = settings.prior * settings.prior_strength;
        let expected = match self.size_hint {
            Some(hint) => {
                let weight = settings.hint_strength;
                (f64::from(hint) * weight + prior) / (weight + settings.prior_strength)
            }
            None => settings.prior,
        };
        let cap = self.max_participants.map_or(f64::INFINITY, f64::from);
        expected.min(cap).max(1.0)
    }

    /// F: the share of people who have normally arrived by now.
    fn share_arrived(&self, settings: &Reserve, now: Millis) -> f64 {
        let age = now.since(self.created).as_secs_f64();
        let early = EARLY * (age / EARLY_TIME).min(1.0);
        let since_start = now.since(self.bell(settings) - settings.bell_lead).as_secs_f64();
        early + (1.0 - early) * (1.0 - (-since_start / settings.tau.as_secs_f64()).exp())
    }
}

/// The standard normal quantile of `probability` (0.5…1), to three digits: Abramowitz and Stegun 26.2.23.
pub fn quantile_z(probability: f64) -> f64 {
    let t = (-2.0 * (1.0 - probability.clamp(0.5, 0.9999)).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    (t - above / below).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full quarter of an hour.
    const GRID: u64 = 15 * 60 * 1000;
    const BELL: u64 = 1_000 * GRID;

    fn room(minutes_before_bell: u64, people: u32) -> Room {
        let created = Millis(BELL - minutes_before_bell * 60_000);
        Room { created, first_join: None, people, size_hint: None, max_participants: None }
    }

    fn minutes(minutes: i64) -> Millis {
        Millis((BELL as i64 + minutes * 60_000) as u64)
    }

    #[test]
    fn what_an_unknown_lecture_believes() {
        let settings = Reserve::default();
        // load-model.md section 7, last column: opened five minutes before the bell.
        for (minute, people, believed) in [(-4, 5, 76.0), (1, 97, 176.0), (10, 145, 154.0)] {
            let forecast = room(5, people).forecast(&settings, minutes(minute));
            let total = f64::from(people) + forecast.mean;
            assert!((total - believed).abs() < 1.0, "minute {minute}: {total} instead of {believed}");
        }
    }

    #[test]
    fn a_room_that_stays_empty_lets_go() {
        let settings = Reserve::default();
        let forecast = room(5, 3).forecast(&settings, minutes(8));
        assert!(forecast.mean < 1.0, "{forecast:?}");
    }

    #[test]
    fn a_fresh_room_reserves_the_prior() {
        let fresh = room(10, 0);
        let forecast = fresh.forecast(&Reserve::default(), fresh.created);
        assert!((forecast.mean - 25.0).abs() < 1e-6);
        assert!(forecast.at(quantile_z(0.75)) > 40.0 && forecast.at(quantile_z(0.95)) > 70.0);
    }

    #[test]
    fn the_bell_is_the_next_quarter_and_never_earlier_than_the_first_person() {
        let mut early = room(14, 0);
        assert_eq!(early.bell(&Reserve::default()), Millis(BELL));
        early.first_join = Some(minutes(-10));
        assert_eq!(early.bell(&Reserve::default()), Millis(BELL), "teachers come early");
        early.first_join = Some(minutes(-1));
        assert_eq!(early.bell(&Reserve::default()), minutes(1));
        early.first_join = Some(minutes(100));
        assert_eq!(early.bell(&Reserve::default()), minutes(102));
        assert_eq!(room(0, 0).bell(&Reserve::default()), minutes(15), "created on the mark: in doubt later");
    }

    #[test]
    fn nobody_is_expected_after_the_end() {
        let settings = Reserve::default();
        assert!(room(5, 1).forecast(&settings, Millis(minutes(30).0 - 1)).mean > 0.0);
        assert_eq!(room(5, 1).forecast(&settings, minutes(30)), Forecast::default());
        assert!(room(5, 0).forecast(&settings, Millis(minutes(15).0 - 1)).mean > 0.0);
        assert_eq!(room(5, 0).forecast(&settings, minutes(15)), Forecast::default(), "nobody came");
    }

    #[test]
    fn a_hint_pulls_and_max_participants_caps() {
        let settings = Reserve::default();
        let mut hinted = room(5, 0);
        hinted.size_hint = Some(150);
        assert!((hinted.expected_size(&settings) - 56.25).abs() < 1e-9);
        let mut small = room(5, 7);
        small.max_participants = Some(10);
        assert!((small.forecast(&settings, minutes(-3)).at(1.65) - 3.0).abs() < 1e-9);
        small.people = 12;
        assert!(small.forecast(&settings, minutes(-3)).at(1.65).abs() < 1e-9, "never negative");
    }

    #[test]
    fn quantiles_of_the_normal_distribution() {
        for (probability, z) in [(0.5, 0.0), (0.75, 0.6745), (0.95, 1.6449), (0.99, 2.3263)] {
            assert!((quantile_z(probability) - z).abs() < 1e-3, "{probability}");
        }
    }
}
