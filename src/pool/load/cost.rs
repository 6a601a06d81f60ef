//! The cost formula: what the people and streams of one meeting take from a server (load-model.md sections 3 to 5).
//!
//! CPU and network are kept apart and compared only as shares of a server's capacity: they fail independently, and a
//! sum would hide the one that is full. `voiceParticipantCount` from BBB 3.0 on counts everybody, so the version
//! decides how many microphones are taken as open (bigbluebutton#24315).

use std::ops::{Add, Mul};

use crate::config::{Load, Tlo};

/// The counters of one meeting, as `getMeetings` gives them (bbb-api.md section 3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `participantCount`; moderators are part of it.
    pub people: u32,
    pub moderators: u32,
    /// `voiceParticipantCount`.
    pub voice: u32,
    /// `videoCount`.
    pub videos: u32,
    /// Running screen shares; `getMeetings` does not tell.
    pub shares: u32,
    /// Recording is possible.
    pub recorded: bool,
    pub webcams_only_for_moderator: bool,
}

/// CPU in mc, network in Mbit/s sent out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub cpu: f64,
    pub net: f64,
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost { cpu: self.cpu + other.cpu, net: self.net + other.net }
    }
}

impl Mul<f64> for Cost {
    type Output = Cost;
    fn mul(self, factor: f64) -> Cost {
        Cost { cpu: self.cpu * factor, net: self.net * factor }
    }
}

/// How a server treats muted microphones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Every channel costs the same.
    Duplex,
    /// Muted channels are parked (transparent listen-only).
    Transparent,
}

impl Audio {
    /// By setting, else by version (`3.0.19`, `3.0`, `BigBlueButton 3.0.4`). An unknown version counts as old:
    /// overrating a server is the safer mistake.
    pub fn of(rule: Tlo, version: Option<&str>) -> Audio {
        let is_transparent = match rule {
            Tlo::On => true,
            Tlo::Off => false,
            Tlo::ByVersion => version.and_then(major).is_some_and(|major| major >= 3),
        };
        if is_transparent { Audio::Transparent } else { Audio::Duplex }
    }
}

fn major(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

impl Media {
    /// Cost of this meeting without anybody still to come.
    pub fn cost(&self, settings: &Load, audio: Audio) -> Cost {
        let weights = &settings.weights;
        let people = f64::from(self.people);
        let voice = f64::from(self.voice.min(self.people));
        let open_microphones = match audio {
            Audio::Duplex => voice,
            Audio::Transparent => voice.min(settings.audio.tlo_floor.max(settings.audio.tlo_share * voice)),
        };
        let videos = f64::from(self.videos);
        let shares = f64::from(self.shares);
        let sent = self.webcams_sent(settings.video.page);
        let recorded = if self.recorded { videos + shares + 1.0 } else { 0.0 };
        let cpu = weights.meeting
            + weights.user * people
            + weights.voice * open_microphones
            + weights.listen * (people - open_microphones)
            + weights.cam_in * videos
            + weights.cam_out * sent
            + weights.share_out * shares * people
            + weights.record * recorded
            + weights.square * people * people;
        let net = settings.net.cam * sent + settings.net.voice * people + settings.net.share * shares * people;
        Cost { cpu, net }
    }

    /// Webcam streams sent out: moderators see all, viewers one page. Under `webcamsOnlyForModerator` viewers see only
    /// the moderators' own, at most one each.
    fn webcams_sent(&self, page: u32) -> f64 {
        let moderators = self.moderators.min(self.people);
        let viewers = self.people - moderators;
        let offered = if self.webcams_only_for_moderator { self.videos.min(moderators) } else { self.videos };
        let seen = if page == 0 { offered } else { offered.min(page) };
        f64::from(moderators) * f64::from(self.videos) + f64::from(viewers) * f64::from(seen)
    }

    /// Cost of one more person like those who are there. Few people prove little: the reserve's `ghost` counts as
    /// five of them.
    pub fn cost_per_head(&self, own: Cost, settings: &Load, is_big: bool) -> Cost {
        const GHOST_WORTH: f64 = 5.0;
        let reserve = &settings.reserve;
        let ghost = Cost { cpu: if is_big { reserve.ghost_big } else { reserve.ghost }, net: reserve.ghost_net };
        let media = Cost { cpu: own.cpu - settings.weights.meeting, net: own.net };
        (media + ghost * GHOST_WORTH) * (1.0 / (f64::from(self.people) + GHOST_WORTH))
    }
}

/// What a server can bear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    pub cores: u32,
    /// κ, speed against the reference core; > 0.
    pub weight: f64,
    pub nic_mbit: u32,
}

impl Capacity {
    /// The fuller of CPU and network; 1.0 is full, more is possible.
    pub fn utilisation(&self, cost: Cost, settings: &Load) -> f64 {
        let cpu = self.reference_cores() * 1000.0 * settings.limits.cpu;
        let net = f64::from(self.nic_mbit.max(1)) * settings.limits.net;
        (cost.cpu / cpu).max(cost.net / net)
    }

    /// Share of the joins per second it bears, if `expected` people arrive at the usual pace (rule 5).
    pub fn join_pressure(&self, expected: f64, settings: &Load) -> f64 {
        expected / settings.reserve.tau.as_secs_f64() / settings.joins.bearable(self.cores)
    }

    /// Cores of the reference speed.
    pub fn reference_cores(&self) -> f64 {
        f64::from(self.cores.max(1)) * self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(page: u32) -> Load {
        let mut settings = Load::default();
        settings.video.page = page;
        settings
    }

    fn media(people: u32, moderators: u32, voice: u32, videos: u32, shares: u32, recorded: bool) -> Media {
        Media { people, moderators, voice, videos, shares, recorded, webcams_only_for_moderator: false }
    }

    #[test]
    fn worked_examples() {
        use Audio::{Duplex, Transparent};
        // load-model.md section 5; from BBB 3.0 on everybody is in `voice`.
        let table = [
            ("empty room", media(0, 0, 0, 0, 0, false), 5, Duplex, 20.0, 0.0),
            ("class of 25, 2.7", media(25, 1, 8, 4, 0, false), 5, Duplex, 832.0, 26.0),
            ("class of 25, 3.0", media(25, 1, 25, 4, 0, false), 5, Transparent, 650.0, 26.0),
            ("seminar, no paging", media(20, 1, 20, 20, 0, false), 0, Duplex, 1944.0, 101.0),
            ("seminar, paging", media(20, 1, 20, 20, 0, false), 5, Duplex, 1374.0, 30.0),
            ("seminar, 3.0", media(20, 1, 20, 20, 0, false), 5, Transparent, 643.0, 30.0),
            ("lecture, 2.7", media(150, 1, 2, 1, 1, true), 5, Duplex, 2749.0, 118.0),
            ("lecture, 3.0", media(150, 1, 150, 1, 1, true), 5, Transparent, 3630.0, 118.0),
            ("lecture, 3.0, all duplex", media(150, 1, 150, 1, 1, true), 5, Duplex, 9113.0, 118.0),
            ("assembly of 400, 3.0", media(400, 1, 400, 3, 1, true), 5, Transparent, 12_234.0, 516.0),
        ];
        for (name, media, page, audio, cpu, net) in table {
            let cost = media.cost(&settings(page), audio);
            assert!((cost.cpu - cpu).abs() <= 0.75, "{name}: {} mc instead of {cpu}", cost.cpu);
            assert!((cost.net - net).abs() <= 0.75, "{name}: {} Mbit/s instead of {net}", cost.net);
        }
    }

    #[test]
    fn webcams_only_for_moderator_spares_the_viewers() {
        let mut seminar = media(20, 1, 20, 20, 0, false);
        assert!((seminar.webcams_sent(5) - (20.0 + 19.0 * 5.0)).abs() < 1e-9);
        seminar.webcams_only_for_moderator = true;
        assert!((seminar.webcams_sent(5) - (20.0 + 19.0)).abs() < 1e-9);
    }

    #[test]
    fn counts_that_cannot_be_are_bounded() {
        let odd = media(2, 5, 9, 1, 0, false).cost(&settings(5), Audio::Duplex);
        let even = media(2, 2, 2, 1, 0, false).cost(&settings(5), Audio::Duplex);
        assert_eq!(odd, even);
    }

    #[test]
    fn audio_follows_setting_and_version() {
        let table = [
            (Tlo::ByVersion, Some("3.0.19"), Audio::Transparent),
            (Tlo::ByVersion, Some("BigBlueButton 4.0"), Audio::Transparent),
            (Tlo::ByVersion, Some("2.7.18"), Audio::Duplex),
            (Tlo::ByVersion, Some("nonsense"), Audio::Duplex),
            (Tlo::ByVersion, None, Audio::Duplex),
            (Tlo::On, Some("2.7"), Audio::Transparent),
            (Tlo::Off, Some("3.0"), Audio::Duplex),
        ];
        for (rule, version, audio) in table {
            assert_eq!(Audio::of(rule, version), audio, "{rule:?} {version:?}");
        }
    }

    #[test]
    fn utilisation_is_the_fuller_of_both() {
        let settings = Load::default();
        let server = Capacity { cores: 8, weight: 1.0, nic_mbit: 1000 };
        assert!((server.utilisation(Cost { cpu: 6400.0, net: 70.0 }, &settings) - 1.0).abs() < 1e-9);
        assert!((server.utilisation(Cost { cpu: 640.0, net: 700.0 }, &settings) - 1.0).abs() < 1e-9);
        let fast = Capacity { weight: 2.0, ..server };
        assert!((fast.utilisation(Cost { cpu: 6400.0, net: 70.0 }, &settings) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn join_pressure_is_capped_by_the_largest_machine_that_helps() {
        let settings = Load::default();
        let small = Capacity { cores: 8, weight: 1.0, nic_mbit: 1000 };
        let huge = Capacity { cores: 64, weight: 1.0, nic_mbit: 1000 };
        assert!((small.join_pressure(270.0 * 20.0, &settings) - 1.0).abs() < 1e-9);
        assert!((huge.join_pressure(270.0 * 50.0, &settings) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_head_costs_the_default_first_and_the_rooms_own_mix_later() {
        let settings = Load::default();
        let head = |media: Media, is_big| media.cost_per_head(media.cost(&settings, Audio::Duplex), &settings, is_big);
        assert!((head(media(0, 0, 0, 0, 0, false), false).cpu - 33.0).abs() < 1e-9);
        assert!((head(media(0, 0, 0, 0, 0, false), true).cpu - 20.0).abs() < 1e-9);
        let lecture = head(media(150, 1, 2, 1, 0, false), true);
        assert!((lecture.cpu - (2749.0 - 20.0 - 615.0) / 150.0).abs() < 1.0, "{}", lecture.cpu);
    }
}
