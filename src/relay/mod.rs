//! Bytes between two connections, both ways, untouched: what stands behind layer 4 and behind a WebSocket after its
//! handshake.
//!
//! Thousands of these are open and silent for hours, so what is silent holds no buffer: it is two sockets and some 200
//! bytes in a thread that waits for all of its sockets at once (`thread`), and whoever waits for its end. Bytes are read
//! into a buffer that all relays of a thread share, and handed on in the same turn. Only what the other side does not take
//! at once is kept on the heap, and the place for it is given back as soon as nothing flows. Buffers grow while both sides
//! keep up, which is what a download needs. All relays together hold a bounded sum of grown buffers.
//!
//! The two directions are independent: the end of one is passed on, and the other goes on. On Linux bytes between two
//! sockets could stay in the kernel (splice): that would take the place of `Way::carry`.

mod buffer;
mod end;
mod pair;
mod silence;
mod thread;
mod vigil;
mod way;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use pair::Pair;
use silence::Silence;
use thread::Desk;

pub use buffer::Room;
pub use end::End;
pub use pair::Counters;
pub use vigil::prepare;

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Server,
}

/// Why a relay ended.
#[derive(Debug)]
pub enum Reason {
    /// Both directions have ended; this side ended first.
    Closed(Side),
    /// Nothing came from either side for the time that silence may last.
    Idle,
    /// The connection to this side broke.
    Broken(Side, io::Error),
    /// The process ends.
    Drained,
}

impl Reason {
    /// The word of metrics and log lines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Closed(Side::Client) => "client",
            Self::Closed(Side::Server) => "server",
            Self::Idle => "idle",
            Self::Broken(Side::Client, _) => "client_broken",
            Self::Broken(Side::Server, _) => "server_broken",
            Self::Drained => "drained",
        }
    }
}

/// How a relay ended, and the bytes that were handed on.
#[derive(Debug)]
pub struct Outcome {
    pub reason: Reason,
    pub to_server: u64,
    pub to_client: u64,
}

/// The threads that relay. They are started as they are needed, and end with this.
pub struct Relays {
    /// How many there may be.
    most: usize,
    desks: Mutex<Vec<Arc<Desk>>>,
    is_draining: AtomicBool,
}

impl Relays {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), desks: Mutex::default(), is_draining: AtomicBool::default() }
    }

    /// Relays until both directions have ended, one side breaks, nothing comes for `idle`, or a drain begins (what is kept
    /// by then is lost). Both ends are closed then. It goes on if nobody waits for it any more. `counters` are added to
    /// with each piece that is handed on.
    pub fn relay(
        &self,
        client: End,
        server: End,
        idle: Duration,
        counters: Counters,
    ) -> impl Future<Output = Outcome> + use<> {
        let (done, outcome) = oneshot::channel();
        let pair = Pair::new(client, server, Silence::new(idle, Instant::now()), counters, done);
        match self.desk() {
            Ok(desk) => desk.give(pair),
            Err(error) => pair.leave(Reason::Broken(Side::Client, error)),
        }
        // Only a thread that is dismissed says nothing.
        async { outcome.await.unwrap_or(Outcome { reason: Reason::Drained, to_server: 0, to_client: 0 }) }
    }

    /// The one with the least to do.
    fn desk(&self) -> io::Result<Arc<Desk>> {
        let mut desks = self.desks.lock();
        let least = desks.iter().min_by_key(|desk| desk.load());
        if let Some(least) = least.filter(|least| desks.len() == self.most || least.load() == 0) {
            return Ok(least.clone());
        }
        let desk = thread::start(desks.len())?;
        if self.is_draining.load(Ordering::Acquire) {
            desk.drain();
        }
        desks.push(desk.clone());
        Ok(desk)
    }

    /// All relays end now, and those that begin later.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.desks.lock().iter().for_each(|desk| desk.drain());
    }
}

impl Default for Relays {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.desks.get_mut().iter().for_each(|desk| desk.dismiss());
    }
}

#[cfg(test)]
mod tests;
