//! Two ends and the two directions between them.

use std::io;
use std::time::Instant;

use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::buffer::{Buffer, LARGEST};
use super::end::End;
use super::silence::Silence;
use super::way::{Fault, Progress, Way};
use super::{Outcome, Reason, Side};

/// Bytes that one direction may move before the other connections of the thread get their turn.
const TURN: usize = LARGEST;

/// Counters of bytes that were handed on.
#[derive(Clone)]
pub struct Counters {
    pub to_server: IntCounter,
    pub to_client: IntCounter,
}

/// A relay, as its thread keeps it.
pub struct Pair {
    pub client: End,
    pub server: End,
    to_server: Way,
    to_client: Way,
    pub silence: Silence,
    /// It goes on by itself, whatever is heard of its ends.
    pub has_turn_coming: bool,
    counters: Counters,
    first: Option<Side>,
    broken: Option<(Side, io::Error)>,
    done: oneshot::Sender<Outcome>,
}

/// What comes next.
pub enum Next {
    /// Until an end is heard of.
    Wait,
    /// The same, and silence may last for a shorter time now.
    WaitLess,
    /// When others have had their turn.
    GoOn,
    Leave(Reason),
}

impl Pair {
    pub fn new(client: End, server: End, silence: Silence, counters: Counters, done: oneshot::Sender<Outcome>) -> Self {
        let (to_server, to_client) = (Way::default(), Way::default());
        let (has_turn_coming, first, broken) = (false, None, None);
        Self { client, server, to_server, to_client, silence, has_turn_coming, counters, first, broken, done }
    }

    /// Moves what can be moved.
    pub fn go(&mut self, buffer: &mut Buffer, now: Instant) -> Next {
        let (up, down, was_half) = (self.to_server.moved, self.to_client.moved, self.is_half());
        let to_server = self.to_server.carry(&mut self.client, &mut self.server, buffer, TURN);
        count(&self.counters.to_server, self.to_server.moved - up);
        let unfinished = match self.settle(to_server, Side::Client) {
            Ok(unfinished) => unfinished,
            Err(reason) => return Next::Leave(reason),
        };
        let to_client = self.to_client.carry(&mut self.server, &mut self.client, buffer, TURN);
        count(&self.counters.to_client, self.to_client.moved - down);
        let unfinished = match self.settle(to_client, Side::Server) {
            Ok(more) => more || unfinished,
            Err(reason) => return Next::Leave(reason),
        };
        if self.to_server.is_over && self.to_client.is_over {
            return Next::Leave(match self.broken.take() {
                Some((side, error)) => Reason::Broken(side, error),
                None => Reason::Closed(self.first.unwrap_or(Side::Client)),
            });
        }
        if self.to_server.moved != up || self.to_client.moved != down {
            self.silence.is_broken(now);
        }
        if self.is_half() && !was_half {
            self.silence.is_half(now);
            return if unfinished { Next::GoOn } else { Next::WaitLess };
        }
        if unfinished { Next::GoOn } else { Next::Wait }
    }

    /// Takes in how the direction from `source` came out; true if it wants another turn. An end that cannot be read any
    /// more ends everything: there is nothing left to hand on. One that cannot be written may have sent its last words
    /// before, so they are still read.
    fn settle(&mut self, outcome: Result<Progress, Fault>, source: Side) -> Result<bool, Reason> {
        let other = match source {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        match outcome {
            Ok(Progress::Waiting) => {}
            Ok(Progress::Unfinished) => return Ok(true),
            Ok(Progress::Over) => {
                self.first.get_or_insert(source);
            }
            Err(Fault::Write(error)) => {
                // Who has said goodbye may hang up, even while the other side still talks.
                if self.first != Some(other) {
                    self.broken.get_or_insert((other, error));
                }
            }
            Err(Fault::Read(error)) => {
                let (side, error) = self.broken.take().unwrap_or((source, error));
                return Err(self.first.map_or(Reason::Broken(side, error), Reason::Closed));
            }
        }
        Ok(false)
    }

    /// One direction has ended.
    fn is_half(&self) -> bool {
        self.to_server.is_over || self.to_client.is_over
    }

    /// Drops both ends, then tells who waits for it.
    pub fn leave(self, reason: Reason) {
        let Self { client, server, to_server, to_client, done, .. } = self;
        drop((client, server));
        let _ = done.send(Outcome { reason, to_server: to_server.moved, to_client: to_client.moved });
    }
}

#[inline]
fn count(counter: &IntCounter, moved: u64) {
    if moved > 0 {
        counter.inc_by(moved);
    }
}
