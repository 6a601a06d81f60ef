//! Running sums: what one meeting contributes, and what a server or a tenant has in all.
//!
//! All figures are integers (thousandths where people or costs are meant), so that giving a contribution back leaves
//! exactly what was there before: a sum of floats would drift and reservations would never quite return to zero.

use std::ops::{AddAssign, SubAssign};

use crate::config::Load;
use crate::pool::load::{Capacity, Cost};

macro_rules! sums {
    ($($(#[$meta:meta])* $field:ident),+ $(,)?) => {
        /// A contribution, or a sum of contributions.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct Sums {
            $($(#[$meta])* pub $field: i64,)+
        }
        impl AddAssign for Sums {
            fn add_assign(&mut self, other: Sums) {
                $(self.$field += other.$field;)+
            }
        }
        impl SubAssign for Sums {
            fn sub_assign(&mut self, other: Sums) {
                $(self.$field -= other.$field;)+
            }
        }
        #[cfg(test)]
        impl Sums {
            pub fn is_nowhere_negative(&self) -> bool {
                $(self.$field >= 0)&&+
            }
        }
    };
}

sums! {
    /// Meetings without breakouts.
    meetings,
    breakouts,
    /// People as counted by the servers, breakouts included.
    people,
    /// People of a tenant's own meetings, those on their way included; people in breakouts are in the parent too.
    own_people,
    /// Those on their way.
    pending,
    voice,
    listeners,
    videos,
    /// People there and on their way: CPU in µ-cores (thousandths of mc), network in kbit/s.
    cpu,
    net,
    /// People still to come at the placement quantile, in thousandths, and their cost.
    ghosts,
    ghost_cpu,
    ghost_net,
    /// The same at the mean, with the variance of the cost in mc² and (kbit/s)².
    mean_ghosts,
    mean_cpu,
    mean_net,
    variance_cpu,
    variance_net,
    /// Rooms forecast above `limits.big_room`.
    big_rooms,
    /// Scalelite's load before its multiplier.
    legacy,
}

/// Rounds to whole units, within bounds that thousands of meetings cannot sum up to an overflow.
pub(super) fn units(amount: f64) -> i64 {
    // Never negative, so that cutting off rounds down; `round` would be a call of its own.
    (amount.clamp(0.0, 1e13) + 0.5) as i64
}

/// Thousandths.
pub(super) fn milli(amount: f64) -> i64 {
    units(amount * 1000.0)
}

impl Sums {
    pub fn plus(mut self, other: Sums) -> Sums {
        self += other;
        self
    }

    /// What choosing looks at: people there, and those still to come at the placement quantile.
    pub fn expected_cost(&self) -> Cost {
        Cost { cpu: (self.cpu + self.ghost_cpu) as f64 / 1000.0, net: (self.net + self.ghost_net) as f64 / 1000.0 }
    }

    /// What must fit for admission: `z` deviations above the mean of the whole server, on which rooms even out.
    pub fn pessimistic_cost(&self, z: f64) -> Cost {
        Cost {
            cpu: (self.cpu + self.mean_cpu) as f64 / 1000.0 + z * (self.variance_cpu as f64).sqrt(),
            net: ((self.net + self.mean_net) as f64 + z * (self.variance_net as f64).sqrt()) / 1000.0,
        }
    }

    /// People still to come at the placement quantile.
    pub fn expected_people(&self) -> f64 {
        self.ghosts as f64 / 1000.0
    }

    /// People who are there, as `carried` open clients prove, and are in none of these figures. Anybody who is expected
    /// or on the way may be one of the carried; only what is more than all of these together is somebody new, so that
    /// nobody counts twice. They cost what a person still to come does, since nothing is known of their media.
    pub fn unseen(&self, carried: u32, load: &Load) -> Sums {
        let known = (self.people + self.pending) * 1000 + self.ghosts;
        let unseen = (i64::from(carried) * 1000 - known).max(0) / 1000;
        if unseen == 0 {
            return Sums::default();
        }
        let cost = Cost { cpu: load.reserve.ghost, net: load.reserve.ghost_net } * unseen as f64;
        Sums { pending: unseen, cpu: milli(cost.cpu), net: milli(cost.net), ..Sums::default() }
    }

    /// People there, on their way and still to come.
    pub fn people_in_the_end(&self) -> f64 {
        (self.people + self.pending) as f64 + self.expected_people()
    }

    pub fn utilisation(&self, capacity: &Capacity, settings: &Load) -> f64 {
        capacity.utilisation(self.expected_cost(), settings)
    }
}

/// A count for a view; sums are never negative.
pub(super) fn count(sum: i64) -> u32 {
    u32::try_from(sum.max(0)).unwrap_or(u32::MAX)
}
