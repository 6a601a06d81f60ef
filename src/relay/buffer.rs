//! Where bytes are while they are not in a socket: in the thread's buffer, or kept on the heap.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes read at once at first. A WebSocket message, a page, a TLS record fit.
const SMALLEST: usize = 16 * 1024;
/// Bytes read at once by a connection that streams: larger than this brings no more speed.
pub const LARGEST: usize = 1024 * 1024;
/// Each time a buffer was filled and emptied in one turn.
const GROWTH: usize = 4;
/// Bytes above the smallest size that all buffers may have together, so that many slow readers of large files cannot
/// take all memory. Beyond it connections stream with small buffers.
const GROWN: usize = 128 * 1024 * 1024;

/// Bytes of all `Room`s above the smallest size.
static GROWN_NOW: AtomicUsize = AtomicUsize::new(0);

/// How many bytes are read at once.
#[derive(Default)]
pub struct Room {
    /// Above the smallest size; taken from the common sum.
    grown: usize,
    /// What it had before it rested.
    before: usize,
}

impl Room {
    pub fn bytes(&self) -> usize {
        SMALLEST + self.grown
    }

    /// After a whole buffer was read. What streamed before a pause need not begin anew.
    pub fn grow(&mut self) {
        let more = (self.bytes() * GROWTH).max(self.before).min(LARGEST) - self.bytes();
        if more == 0 {
            return;
        }
        if GROWN_NOW.fetch_add(more, Ordering::Relaxed) + more > GROWN {
            GROWN_NOW.fetch_sub(more, Ordering::Relaxed);
            return;
        }
        self.grown += more;
    }

    /// Gives back what it has taken from the sum.
    pub fn rest(&mut self) {
        if self.grown > 0 {
            self.before = self.bytes();
            GROWN_NOW.fetch_sub(self.grown, Ordering::Relaxed);
            self.grown = 0;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rest();
    }
}

/// Bytes that wait for a side which does not take them.
pub struct Kept {
    bytes: Box<[u8]>,
    pub start: usize,
}

impl Kept {
    pub fn of(unsent: &[u8]) -> Self {
        Self { bytes: unsent.into(), start: 0 }
    }

    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// What bytes go through at once: one for each thread.
#[derive(Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// The first `room` bytes of it.
    #[inline]
    pub fn place(&mut self, room: usize) -> &mut [u8] {
        if self.0.len() < room {
            self.0.resize(room, 0);
        }
        &mut self.0[..room]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_share_a_bounded_sum() {
        let mut rooms: Vec<Room> = (0..200).map(|_| Room::default()).collect();
        for room in &mut rooms {
            for _ in 0..5 {
                room.grow();
            }
        }
        rooms[0].rest();
        assert_eq!(rooms[0].bytes(), SMALLEST);
        rooms[0].grow();
        let sum: usize = rooms.iter().map(|room| room.grown).sum();
        assert!(rooms[0].bytes() == LARGEST && rooms[199].bytes() < LARGEST && sum <= GROWN, "{sum}");
    }
}
