//! The constants of the load model and their defaults, in one place (load-model.md section 9).
//!
//! Plain values, already checked by whoever made them: weights are not negative, shares lie in 0…1, limits are
//! positive. The reasons for the figures are in load-model.md sections 1 to 7.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the score of a server is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Cores and network by the formula, with join pressure.
    #[default]
    Balanced,
    /// People there and expected, per core.
    People,
    /// Scalelite's rule (scalelite-compat.md section 9), for comparing.
    Legacy,
}

/// Whether muted microphones are parked (transparent listen-only, load-model.md section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AudioRule {
    /// On from BBB 3.0.
    #[default]
    ByVersion,
    On,
    Off,
}

/// CPU weights, mc per unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    pub meeting: f64,
    pub user: f64,
    pub voice: f64,
    pub listen: f64,
    pub cam_in: f64,
    pub cam_out: f64,
    pub share_out: f64,
    pub record: f64,
    pub square: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            meeting: 20.0,
            user: 8.0,
            voice: 45.0,
            listen: 2.0,
            cam_in: 3.0,
            cam_out: 2.0,
            share_out: 4.0,
            record: 5.0,
            square: 0.01,
        }
    }
}

/// Network weights, Mbit/s per stream sent out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetWeights {
    pub cam: f64,
    pub voice: f64,
    pub share: f64,
}

impl Default for NetWeights {
    fn default() -> Self {
        Self { cam: 0.25, voice: 0.04, share: 0.5 }
    }
}

/// How full is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitSettings {
    /// Share of the cores at which audio begins to degrade.
    pub cpu: f64,
    /// Share of the network card that leaves room for bursts.
    pub net: f64,
    /// Rooms forecast above this many people avoid each other.
    pub big_room: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { cpu: 0.80, net: 0.70, big_room: 100 }
    }
}

/// How many microphones count as open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AudioSettings {
    pub tlo: AudioRule,
    /// At least this many open microphones per room …
    pub tlo_floor: f64,
    /// … or this share of them.
    pub tlo_share: f64,
}

impl Default for AudioSettings {
    fn default() -> Self {
        Self { tlo: AudioRule::ByVersion, tlo_floor: 3.0, tlo_share: 0.15 }
    }
}

/// How many webcams a viewer sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoSettings {
    /// Webcams per page for viewers; 0 = all.
    pub page: u32,
}

impl Default for VideoSettings {
    fn default() -> Self {
        Self { page: 5 }
    }
}

/// The forecast of people still to come (load-model.md section 7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReserveSettings {
    /// Expected size of a room nobody knows, people.
    pub prior: f64,
    /// Pseudo-sessions the prior is worth.
    pub prior_strength: f64,
    /// Pseudo-sessions a caller's size hint is worth.
    pub hint_strength: f64,
    /// Relative spread of the size of a room nobody knows.
    pub cv_unknown: f64,
    /// Time constant of arrivals.
    pub tau: Duration,
    /// How much one arrival proves: people do not arrive independently.
    pub temper: f64,
    /// Arrivals begin this long before the bell.
    pub bell_lead: Duration,
    /// Nobody is expected this long after the bell.
    pub max_age: Duration,
    /// Quantile held in reserve when choosing.
    pub quantile: f64,
    /// Quantile that must fit when admitting.
    pub admit: f64,
    /// CPU of one expected person, mc.
    pub ghost: f64,
    /// The same in a room forecast above `limits.big_room`.
    pub ghost_big: f64,
    /// Network of one expected person, Mbit/s: that of a class of 25 with four webcams.
    pub ghost_net: f64,
}

impl Default for ReserveSettings {
    fn default() -> Self {
        Self {
            prior: 25.0,
            prior_strength: 1.5,
            hint_strength: 0.5,
            cv_unknown: 1.2,
            tau: Duration::from_secs(270),
            temper: 0.3,
            bell_lead: Duration::from_secs(120),
            max_age: Duration::from_secs(30 * 60),
            quantile: 0.75,
            admit: 0.95,
            ghost: 33.0,
            ghost_big: 20.0,
            ghost_net: 1.0,
        }
    }
}

/// Joins per second that a server bears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JoinSettings {
    pub per_core: f64,
    pub max: f64,
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self { per_core: 2.5, max: 50.0 }
    }
}

/// How the best server is picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChooseSettings {
    /// Servers within this share of the best score are equal.
    pub tie: f64,
}

impl Default for ChooseSettings {
    fn default() -> Self {
        Self { tie: 0.005 }
    }
}

/// All constants of the load model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSettings {
    pub profile: Profile,
    pub weights: Weights,
    pub net: NetWeights,
    pub limits: LimitSettings,
    pub audio: AudioSettings,
    pub video: VideoSettings,
    pub reserve: ReserveSettings,
    pub joins: JoinSettings,
    pub choose: ChooseSettings,
}
