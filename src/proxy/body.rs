//! Reading a request's body: bounded in size, in time, and in the memory that all bodies together may take.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::protocols::http::ServerSession;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::request::Request;

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
}

/// The body of one request, still unread.
pub struct Inbound<'a> {
    from: Option<Source<'a>>,
    announced: Option<u64>,
    wants_continue: bool,
    pub read: u64,
}

struct Source<'a> {
    session: &'a mut ServerSession,
    memory: &'a Arc<Semaphore>,
    deadline: Instant,
}

impl<'a> Inbound<'a> {
    /// For a request that has none.
    pub fn none() -> Self {
        Self { from: None, announced: None, wants_continue: false, read: 0 }
    }

    pub fn new(session: &'a mut ServerSession, request: &Request, memory: &'a Arc<Semaphore>, limit: Duration) -> Self {
        Self {
            from: Some(Source { session, memory, deadline: Instant::now() + limit }),
            announced: request.content_length.filter(|_| !request.chunked),
            wants_continue: request.expects_continue,
            read: 0,
        }
    }

    /// The announced length, if there is one.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The next piece, `None` at the end. The sum of all pieces stays within `max` bytes.
    pub async fn next(&mut self, max: u64) -> Result<Option<Bytes>, BodyFailure> {
        if self.announced.is_some_and(|length| length > max) {
            return Err(BodyFailure::TooLarge);
        }
        let Some(source) = &mut self.from else { return Ok(None) };
        if std::mem::take(&mut self.wants_continue) {
            source.session.write_continue_response().await.map_err(|_| BodyFailure::Broken)?;
        }
        let piece = tokio::time::timeout_at(source.deadline, source.session.read_request_body())
            .await
            .map_err(|_| BodyFailure::TooSlow)?
            .map_err(|_| BodyFailure::Broken)?;
        self.read += piece.as_ref().map_or(0, |piece| piece.len() as u64);
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
        Ok(Held { bytes: bytes.freeze(), share })
    }
}
