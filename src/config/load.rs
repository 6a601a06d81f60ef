//! `[load]` as typed values: the constants of the load formula and of the reserve (load-model.md sections 4, 7, 9).
//!
//! Units are those of the model: mc is a thousandth of a reference core, network is Mbit/s. The formula itself is in
//! `pool`; this file only says which knobs it has.

use std::time::Duration;

/// `[load]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    pub profile: Profile,
    pub weights: Weights,
    pub net: NetWeights,
    pub limits: LoadLimits,
    pub audio: Audio,
    pub video: Video,
    pub reserve: Reserve,
    pub joins: Joins,
    pub choose: Choose,
}

/// Which formula rates a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The formula of load-model.md section 4.
    Balanced,
    /// People only.
    People,
    /// Behaves like Scalelite: participants, and at least 15 for a meeting younger than 15 minutes.
    Legacy,
}

/// `[load.weights]`: what things cost, mc each.
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

/// `[load.net]`: Mbit/s per outgoing stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetWeights {
    pub cam: f64,
    pub voice: f64,
    pub share: f64,
}

/// `[load.limits]`: shares of a server that may be used, and when a room is big.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadLimits {
    pub cpu: f64,
    pub net: f64,
    /// Rooms forecast above this many people avoid each other.
    pub big_room: u32,
}

/// `[load.audio]`: transparent listen-only, keys `tlo`, `tlo_floor`, `tlo_share`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Audio {
    pub tlo: Tlo,
    /// Fewest voices counted as active.
    pub tlo_floor: f64,
    /// Share of the voices counted as active.
    pub tlo_share: f64,
}

/// Whether servers park muted channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlo {
    /// BBB 3.0 and later do.
    ByVersion,
    On,
    Off,
}

/// `[load.video]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Video {
    /// Webcams a viewer sees at once; 0 = all.
    pub page: u32,
}

/// `[load.reserve]`: people still to come (load-model.md section 7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reserve {
    /// Expected people of a room nobody knows.
    pub prior: f64,
    /// How many sessions the prior is worth against other evidence.
    pub prior_strength: f64,
    /// How many sessions the caller's size hint is worth.
    pub hint_strength: f64,
    /// Spread of the size of a room nobody knows, as a share of its mean.
    pub cv_unknown: f64,
    /// Time constant of arrivals after the bell.
    pub tau: Duration,
    /// η: how much one arrival counts as evidence.
    pub temper: f64,
    /// People begin to come so long before the bell.
    pub bell_lead: Duration,
    /// Nobody is expected so long after the bell.
    pub max_age: Duration,
    /// Quantile used for placement.
    pub quantile: f64,
    /// Quantile used for admission and spare planning.
    pub admit: f64,
    /// mc of one expected person.
    pub ghost: f64,
    /// mc of one expected person of a big room.
    pub ghost_big: f64,
    /// Mbit/s of one expected person.
    pub ghost_net: f64,
    /// Lessons begin at multiples of this time of day.
    pub grid: Duration,
}

/// `[load.joins]`: joins per second a server is trusted with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joins {
    pub per_core: f64,
    pub max: f64,
    /// Places in a server's queue, if joins are paced.
    pub queue_max: usize,
}

impl Joins {
    /// Joins per second that a server with so many cores bears.
    pub fn bearable(&self, cores: u32) -> f64 {
        (self.per_core * f64::from(cores.max(1))).min(self.max)
    }
}

/// `[load.choose]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choose {
    /// Servers whose score is within this share of the best are equal; one is drawn.
    pub tie: f64,
}

impl Default for Load {
    fn default() -> Self {
        super::defaults::load()
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Load::default().reserve
    }
}
