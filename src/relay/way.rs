//! One direction of a relay: bytes from a source to a side that may not take them at once, and the end of the source.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Source;
use super::buffer::{Kept, LARGEST, Room, Shared, read};

/// Bytes that one direction may move before the other connections of the thread get their turn.
const TURN: usize = LARGEST;

/// Why a direction cannot go on.
pub enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// One direction.
#[derive(Default)]
pub struct Way {
    /// What was read and not taken yet.
    kept: Option<Kept>,
    room: Room,
    pub moved: u64,
    /// The source had nothing when it was last asked, and will wake the task when it has.
    is_waiting: bool,
    /// The source has said everything.
    has_ended: bool,
    /// Something was written since the last flush.
    is_unflushed: bool,
    /// The end has been passed on, or cannot be.
    pub is_over: bool,
}

impl Way {
    /// Moves bytes until one side makes it wait; ready when the end has been passed on.
    pub fn carry<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        note: impl Fn(usize),
    ) -> Poll<Result<(), Fault>>
    where
        F: Source + Unpin,
        T: AsyncWrite + Unpin,
    {
        // It was mostly the other direction that woke the task.
        if self.is_over || (self.is_waiting && !from.may_have()) {
            return Poll::Pending;
        }
        self.is_waiting = false;
        let outcome = ready!(self.carry_on(cx, from, to, note));
        self.is_over = true;
        self.kept = None;
        Poll::Ready(outcome)
    }

    fn carry_on<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        note: impl Fn(usize),
    ) -> Poll<Result<(), Fault>>
    where
        F: Source + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut turn = TURN;
        loop {
            ready!(self.send_kept(cx, to, &note)).map_err(Fault::Write)?;
            self.kept = None;
            if self.has_ended {
                // A side that is gone needs to be told nothing.
                let _ = ready!(Pin::new(to).poll_shutdown(cx));
                return Poll::Ready(Ok(()));
            }
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let size = match self.read_and_send(cx, from, to, &note) {
                Poll::Ready(size) => size?,
                Poll::Pending => {
                    // Nothing flows: nothing is held.
                    self.room.rest();
                    self.flush(cx, to)?;
                    self.is_waiting = !self.is_unflushed;
                    return Poll::Pending;
                }
            };
            self.has_ended = size == 0;
            turn = turn.saturating_sub(size);
        }
    }

    /// Reads once and hands on what the other side takes; the rest is kept. Gives the bytes read.
    fn read_and_send<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        note: &impl Fn(usize),
    ) -> Poll<Result<usize, Fault>>
    where
        F: Source + Unpin,
        T: AsyncWrite + Unpin,
    {
        let room = self.room.bytes();
        let mut shared = Shared::take(room);
        let size = ready!(read(cx, from, &mut shared.0[..room])).map_err(Fault::Read)?;
        let mut sent = 0;
        while sent < size {
            match Pin::new(&mut *to).poll_write(cx, &shared.0[sent..size]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Write(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(more)) => {
                    sent += more;
                    self.sent(more, note);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Write(error))),
                Poll::Pending => {
                    self.kept = Some(Kept::of(&shared.0[sent..size]));
                    return Poll::Ready(Ok(size));
                }
            }
        }
        if size == room {
            self.room.grow();
        }
        Poll::Ready(Ok(size))
    }

    fn send_kept<T>(&mut self, cx: &mut Context<'_>, to: &mut T, note: &impl Fn(usize)) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        while let Some(kept) = &mut self.kept
            && !kept.unsent().is_empty()
        {
            let size = ready!(Pin::new(&mut *to).poll_write(cx, kept.unsent()))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            kept.start += size;
            self.sent(size, note);
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&mut self, size: usize, note: &impl Fn(usize)) {
        self.moved += size as u64;
        self.is_unflushed = true;
        note(size);
    }

    /// Plain sockets have nothing to flush; TLS has, and what it cannot flush yet is tried again.
    fn flush<T>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Result<(), Fault>
    where
        T: AsyncWrite + Unpin,
    {
        if self.is_unflushed
            && let Poll::Ready(flushed) = Pin::new(to).poll_flush(cx)
        {
            flushed.map_err(Fault::Write)?;
            self.is_unflushed = false;
        }
        Ok(())
    }
}
