//! Join pacing: no more people at once than a server bears, in the order in which they came.
//!
//! A join costs a server far more than a person who is in (load-model.md section 4), and at the full hour a thousand come in
//! one minute. `queue` decides for one server; here are all of them, and who is who: a place belongs to a join link and
//! the address it is used from, so a reload, another tab or the way back keep it. Each process paces for itself.

mod queue;

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::clock::Millis;
use crate::config::{Joins, Pacing};
use crate::ids::ServerId;
use crate::store::ServerRecord;

pub use queue::{Pace, Verdict, Waiting};

/// Servers with a queue that are remembered before the idle ones are forgotten.
const MANY: usize = 1024;

/// The queues of all servers.
pub struct Pacer {
    queues: Mutex<HashMap<ServerId, queue::Queue>>,
    /// Seeded anew in each process: nobody can look for a link that has another one's place.
    hasher: ahash::RandomState,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { queues: Mutex::default(), hasher: ahash::RandomState::new() }
    }
}

/// What was decided about a join.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    Join(Verdict),
    /// Nobody is held up; true if it would have been.
    Observed(bool),
}

impl Pacer {
    /// Asks for a join to `server` with the link of this checksum. Only to be asked if pacing is not off.
    pub fn ask(
        &self,
        server: &ServerRecord,
        (checksum, client): (&[u8], Option<IpAddr>),
        (mode, joins): (Pacing, &Joins),
        now: Millis,
    ) -> Decision {
        let pace = pace_of(server, joins);
        let mut queues = self.queues.lock();
        if queues.len() >= MANY && !queues.contains_key(&server.id) {
            queues.retain(|_, queue| !queue.is_idle(pace, now));
        }
        let queue = queues.entry(server.id).or_insert_with(|| queue::Queue::new(pace, now));
        match mode {
            Pacing::On => Decision::Join(queue.ask(self.hasher.hash_one((checksum, client)), pace, now)),
            Pacing::Off | Pacing::Observe => Decision::Observed(queue.pass(pace, now)),
        }
    }

    /// People who wait for this server, or would be waiting.
    pub fn waiting(&self, server: &ServerRecord, joins: &Joins, now: Millis) -> usize {
        self.queues.lock().get_mut(&server.id).map_or(0, |queue| queue.waiting(pace_of(server, joins), now))
    }
}

fn pace_of(server: &ServerRecord, joins: &Joins) -> Pace {
    Pace { rate: joins.bearable(server.cores), places: joins.queue_max }
}
