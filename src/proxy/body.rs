//! Reading a request's body: bounded in size, in time, and in the memory that all bodies together may take.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::request::Request;
use crate::limit::Guard;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    TooLarge,
    /// The client was too slow.
    TooSlow,
    /// All memory for bodies is in use.
    NoMemory,
    /// The client went away or broke the protocol.
    Broken,
}

/// A body in memory; gives its share of memory back on drop.
pub struct Held {
    pub bytes: Bytes,
    pub share: OwnedSemaphorePermit,
    /// What it takes of the share of its address, as long as nobody has signed it.
    _of_address: Vec<Guard>,
}

/// Memory is taken in steps of this size for what may be announced by anybody, KiB.
const STEP: u32 = 64;

/// The body of one request, still unread.
pub struct Inbound<'a> {
    from: Option<Source<'a>>,
    announced: Option<u64>,
    wants_continue: bool,
    pub read: u64,
    /// Reading failed: nobody knows where a next request would begin.
    pub is_broken: bool,
}

struct Source<'a> {
    session: &'a mut ServerSession,
    memory: &'a Arc<Semaphore>,
    deadline: Instant,
    limit: Duration,
    /// For a body that is carried on.
    stint: Option<Stint>,
}

/// A body that is carried on may take as long as it keeps coming: each `STINT` bytes within the limit. Only the time counts
/// that the client is waited for.
struct Stint {
    left: Duration,
    bytes: usize,
}

/// With the usual limit of 30 s that is 550 bytes per second: less than any line, and more than who only wants to hold a
/// connection likes to send.
const STINT: usize = 16 * 1024;

impl<'a> Inbound<'a> {
    /// For a request that has none.
    pub fn none() -> Self {
        Self { from: None, announced: None, wants_continue: false, read: 0, is_broken: false }
    }

    pub fn new(
        session: &'a mut ServerSession,
        request: &Request<'_>,
        memory: &'a Arc<Semaphore>,
        limit: Duration,
    ) -> Self {
        Self {
            from: Some(Source { session, memory, deadline: Instant::now() + limit, limit, stint: None }),
            announced: request.content_length.filter(|_| !request.chunked),
            wants_continue: request.expects_continue,
            read: 0,
            is_broken: false,
        }
    }

    /// The announced length, if there is one.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The time limit is for a part of the body from now on: it is carried on, and may take as long as it keeps coming.
    pub fn limit_parts(&mut self) {
        if let Some(source) = &mut self.from {
            source.stint = Some(Stint { left: source.limit, bytes: 0 });
        }
    }

    /// The next piece, `None` at the end. The sum of all pieces stays within `max` bytes.
    pub async fn next(&mut self, max: u64) -> Result<Option<Bytes>, BodyFailure> {
        let piece = self.read_piece(max).await;
        self.is_broken |= piece.is_err();
        piece
    }

    async fn read_piece(&mut self, max: u64) -> Result<Option<Bytes>, BodyFailure> {
        if self.announced.is_some_and(|length| length > max) {
            return Err(BodyFailure::TooLarge);
        }
        let Some(source) = &mut self.from else { return Ok(None) };
        if std::mem::take(&mut self.wants_continue) {
            source.session.write_continue_response().await.map_err(|_| BodyFailure::Broken)?;
        }
        let begin = Instant::now();
        let deadline = source.stint.as_ref().map_or(source.deadline, |stint| begin + stint.left);
        let piece = tokio::time::timeout_at(deadline, source.session.read_request_body())
            .await
            .map_err(|_| BodyFailure::TooSlow)?
            .map_err(|error| match error.etype() {
                ErrorType::ReadTimedout => BodyFailure::TooSlow,
                _ => BodyFailure::Broken,
            })?;
        let length = piece.as_ref().map_or(0, Bytes::len);
        if let Some(stint) = &mut source.stint {
            stint.bytes += length;
            stint.left = stint.left.saturating_sub(begin.elapsed());
            if stint.bytes >= STINT {
                *stint = Stint { left: source.limit, bytes: 0 };
            }
        }
        self.read += length as u64;
        if self.read > max {
            return Err(BodyFailure::TooLarge);
        }
        Ok(piece)
    }

    /// The whole body, at most `max` bytes.
    pub async fn whole(&mut self, max: u64) -> Result<Held, BodyFailure> {
        let expected = self.announced.unwrap_or(max).min(max);
        let share = u32::try_from(expected / 1024 + 1).map_err(|_| BodyFailure::TooLarge)?;
        if self.announced.is_some_and(|length| length > max) {
            return Err(BodyFailure::TooLarge);
        }
        let memory = self.from.as_ref().map(|source| source.memory.clone()).ok_or(BodyFailure::Broken)?;
        let share = memory.try_acquire_many_owned(share).map_err(|_| BodyFailure::NoMemory)?;
        let mut bytes = BytesMut::with_capacity(self.announced.unwrap_or(0).min(max) as usize);
        while let Some(piece) = self.next(max).await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Held { bytes: bytes.freeze(), share, _of_address: Vec::new() })
    }

    /// A whole body that nobody is known to have signed. An announcement alone takes no memory, or a few callers who
    /// announce much and send nothing would leave none for the others; and `room` says what one address may have.
    pub async fn whole_unsigned(
        &mut self,
        max: u64,
        room: impl Fn(u32) -> Option<Option<Guard>>,
    ) -> Result<Held, BodyFailure> {
        let mut bytes = BytesMut::new();
        let memory = self.from.as_ref().map(|source| source.memory.clone()).ok_or(BodyFailure::Broken)?;
        let mut share = memory.clone().try_acquire_many_owned(0).map_err(|_| BodyFailure::NoMemory)?;
        let mut of_address = Vec::new();
        let mut taken = 0;
        while let Some(piece) = self.next(max).await? {
            while (bytes.len() + piece.len()) as u64 > taken {
                of_address.extend(room(STEP).ok_or(BodyFailure::NoMemory)?);
                let step = memory.clone().try_acquire_many_owned(STEP).map_err(|_| BodyFailure::NoMemory)?;
                share.merge(step);
                taken += u64::from(STEP) * 1024;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Held { bytes: bytes.freeze(), share, _of_address: of_address })
    }
}
