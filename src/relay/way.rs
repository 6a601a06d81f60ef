//! One direction of a relay: bytes from an end to one that may not take them at once, and the end of what it reads from.

use std::io;

use super::buffer::{Buffer, Kept, Room};
use super::end::End;

/// What a read counts at least, so that many that bring little are no longer turn than a few that bring much: TLS can be
/// read for a long time and bring nothing.
const READ: usize = 1024;

/// Why a direction cannot go on.
#[derive(Debug)]
pub enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// How far a direction has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// An end makes it wait, and will be heard of.
    Waiting,
    /// It goes on when others have had their turn.
    Unfinished,
    /// The end has been passed on.
    Over,
}

/// One direction.
#[derive(Default)]
pub struct Way {
    /// What was read and not taken yet. Rare, so it takes little room where it is not.
    kept: Option<Box<Kept>>,
    room: Room,
    /// Bytes that were handed on.
    pub moved: u64,
    /// The other end has not taken everything, or not been told of the end.
    is_held_up: bool,
    /// The source has said everything.
    has_ended: bool,
    /// The end has been passed on, or cannot be.
    pub is_over: bool,
}

impl Way {
    /// Moves bytes until an end makes it wait, or as many as make a turn.
    #[inline]
    pub fn carry(&mut self, from: &mut End, to: &mut End, buffer: &mut Buffer, turn: usize) -> Result<Progress, Fault> {
        // It is mostly the other direction that has something to do.
        if self.is_over || !(from.has_more() || self.is_held_up) {
            return Ok(Progress::Waiting);
        }
        let outcome = self.carry_on(from, to, buffer, turn);
        if !matches!(outcome, Ok(Progress::Waiting | Progress::Unfinished)) {
            self.is_over = true;
            self.kept = None;
        }
        outcome
    }

    fn carry_on(
        &mut self,
        from: &mut End,
        to: &mut End,
        buffer: &mut Buffer,
        mut turn: usize,
    ) -> Result<Progress, Fault> {
        loop {
            self.is_held_up = !self.send_kept(to).map_err(Fault::Write)?;
            if self.is_held_up {
                return Ok(Progress::Waiting);
            }
            if self.has_ended {
                // An end that is gone needs to be told nothing.
                self.is_held_up = !to.close().unwrap_or(true);
                return Ok(if self.is_held_up { Progress::Waiting } else { Progress::Over });
            }
            if !from.has_more() {
                // Nothing flows: nothing is held.
                self.room.rest();
                return Ok(Progress::Waiting);
            }
            if turn == 0 {
                return Ok(Progress::Unfinished);
            }
            let size = self.read_and_send(from, to, buffer)?;
            self.has_ended = size == Some(0);
            turn = turn.saturating_sub(size.unwrap_or(0).max(READ));
        }
    }

    /// Reads once and hands on what the other end takes; the rest is kept. Gives the bytes read.
    fn read_and_send(&mut self, from: &mut End, to: &mut End, buffer: &mut Buffer) -> Result<Option<usize>, Fault> {
        let place = buffer.place(self.room.bytes());
        let Some(size) = from.read(place).map_err(Fault::Read)? else { return Ok(None) };
        let mut sent = 0;
        while sent < size {
            match to.write(&place[sent..size]).map_err(Fault::Write)? {
                Some(more) => {
                    sent += more;
                    self.moved += more as u64;
                }
                None => {
                    self.kept = Some(Box::new(Kept::of(&place[sent..size])));
                    break;
                }
            }
        }
        if size == place.len() && sent == size {
            self.room.grow();
        }
        Ok(Some(size))
    }

    /// True if nothing is left, with us and in the other end.
    #[inline]
    fn send_kept(&mut self, to: &mut End) -> io::Result<bool> {
        while let Some(kept) = &mut self.kept {
            let Some(size) = to.write(kept.unsent())? else { return Ok(false) };
            kept.start += size;
            self.moved += size as u64;
            if kept.unsent().is_empty() {
                self.kept = None;
            }
        }
        to.flush()
    }
}
