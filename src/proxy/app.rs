//! The public listener's application: connections, deadlines, one request after the other.
//!
//! The head is waited for here, within its deadline. Plain requests are answered on the spot with one write; all others
//! go through a session of Pingora's (`session.rs`) and come back for the next request. Nothing waits without a bound:
//! Pingora itself keeps an HTTP/1.1 connection for ever unless told otherwise (its issue #447) and has no deadline for a
//! whole head.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Sleep, sleep};

use super::access::{Access, Facts};
use super::answer::{Answer, TEXT};
use super::body::Inbound;
use super::head::{self, Lane, Scan};
use super::request::{self, Request};
use super::route::Route;
use super::write::After;
use super::{Shared, api, limit, pages, session, write};
use crate::bbb::Method;
use crate::config::{Config, MAX_HEAD};

/// Room for a head at first; most fit.
const HEAD_ROOM: usize = 4096;
/// How much of a refused request is read before the connection is closed, and for how long.
const LINGER_BYTES: usize = 8 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The public side of Usher.
pub struct PublicApp {
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
}

/// One connection of a client, between two requests.
struct Connection {
    stream: Stream,
    peer: Option<SocketAddr>,
    /// Bytes that have come and belong to no request yet.
    bytes: BytesMut,
    /// Requests that may still follow.
    left: u32,
}

/// How waiting for a head ended.
enum Head {
    Complete(usize, Scan),
    /// More than a head may have.
    TooLong,
    /// Nobody is there any more, or took too long.
    Gone,
}

/// An answer before it is written.
pub(super) struct Made {
    answer: Answer,
    pub facts: Facts,
    took: Duration,
}

impl PublicApp {
    pub fn new(shared: Arc<Shared>) -> Self {
        let access = Access::new(shared.metrics.clone());
        Self { shared, access }
    }

    async fn serve(&self, stream: Stream) {
        let config = self.shared.config.load_full();
        let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let left = config.limits.requests_per_connection;
        let mut connection = Connection { stream, peer, bytes: BytesMut::new(), left };
        let Some(place) = limit::Place::take(&self.shared, peer, &config) else { return };
        // One long timer for the whole connection: moving it on is cheap, making one for each request is not.
        let mut timer = Box::pin(sleep(place.patience(config.limits.header_timeout)));
        if let Some(refusal) = place.refusal(&self.shared) {
            // An answer before the head would break the protocol.
            if let Head::Complete(..) = connection.head(timer.as_mut()).await {
                self.refuse(&mut connection.stream, &refusal).await;
            }
            return;
        }
        if place.is_crowded() {
            connection.left = 1;
        }
        loop {
            let (length, scan) = match connection.head(timer.as_mut()).await {
                Head::Complete(length, scan) => (length, scan),
                Head::Gone => return,
                Head::TooLong => {
                    let answer = Answer::new(431, TEXT, "The request's head is too large.\n");
                    return self.refuse(&mut connection.stream, &answer).await;
                }
            };
            let config = self.shared.config.load_full();
            let Some(next) = self.exchange(connection, length, &scan, &config).await else { return };
            connection = next;
            connection.left = connection.left.saturating_sub(1);
            let patience = config.limits.keepalive + config.limits.header_timeout;
            timer.as_mut().reset(tokio::time::Instant::now() + patience);
        }
    }

    /// One request and its answer; the connection comes back if another request may follow.
    async fn exchange(
        &self,
        mut connection: Connection,
        length: usize,
        scan: &Scan,
        config: &Arc<Config>,
    ) -> Option<Connection> {
        let _request = self.shared.process.begin_request();
        let trusted = &config.listen.trusted_proxies;
        match head::lane(&connection.bytes[..length], scan, connection.peer, trusted) {
            Lane::Direct { request, close } => {
                let last = close || connection.left <= 1;
                if !self.direct(&mut connection.stream, &request, last, config).await {
                    return None;
                }
                if connection.bytes.len() == length {
                    // Idle connections hold no buffer.
                    connection.bytes = BytesMut::new();
                } else {
                    connection.bytes.advance(length);
                }
                Some(connection)
            }
            Lane::Session => {
                let Connection { stream, peer, bytes, left } = connection;
                let (stream, bytes) = session::exchange(self, stream, bytes, peer, left, config).await?;
                Some(Connection { stream, peer, bytes, left })
            }
        }
    }

    /// Answers a request without a body; true if another may follow.
    async fn direct(&self, stream: &mut Stream, request: &Request<'_>, last: bool, config: &Arc<Config>) -> bool {
        let made = self.make(request, &mut Inbound::none(), config).await;
        let closes = last || made.facts.flooding || self.shared.process.is_draining();
        let after = if closes { After::Close } else { After::Keep };
        self.deliver(stream, request, &made, after, config).await
    }

    /// The answer to a request, in both lanes.
    pub(super) async fn make(&self, request: &Request<'_>, inbound: &mut Inbound<'_>, config: &Arc<Config>) -> Made {
        let started = Instant::now();
        let route = Route::of(request.path);
        let mut facts = Facts::default();
        let answer = match route {
            Route::Api { tenant, segment } => {
                let called = api::Called { tenant, segment, config, at: started };
                api::answer(&self.shared, request, called, inbound, &mut facts).await
            }
            Route::Livez => Answer::new(200, TEXT, "alive\n"),
            Route::Readyz => {
                let (status, text) = self.shared.readiness();
                Answer::new(status, TEXT, text)
            }
            Route::Landing => pages::landing(request.query),
            Route::Nothing => Answer::new(404, TEXT, "Nothing here. The BBB API is at /bigbluebutton/api.\n"),
        };
        let answer = limit::settle(&self.shared, config, request, route, &mut facts, answer);
        facts.body_read = inbound.read;
        let took = started.elapsed();
        if facts.flooding {
            limit::slow_down(&self.shared).await;
        }
        Made { answer, facts, took }
    }

    /// Writes the answer and the books; true if another request may follow.
    pub(super) async fn deliver(
        &self,
        stream: &mut Stream,
        request: &Request<'_>,
        made: &Made,
        after: After,
        config: &Config,
    ) -> bool {
        let Made { answer, facts, took } = made;
        let head_only = request.method == Method::Head;
        let written = write::answer(stream, answer, &request.id, head_only, after, config.limits.body_timeout).await;
        let log_access = config.log.access && !facts.flooding;
        self.access.record(request, Route::of(request.path), answer, facts, *took, log_access);
        if written && after == After::Close {
            linger(stream).await;
        }
        written && after != After::Close
    }

    /// Answers what does not become a request, and lets go.
    pub(super) async fn refuse(&self, stream: &mut Stream, answer: &Answer) {
        let id = request::new_request_id();
        write::answer(stream, answer, &id, false, After::Close, LINGER_TIME).await;
        self.access.record_refused(answer);
        linger(stream).await;
    }
}

impl Connection {
    /// Waits until a whole head is there.
    async fn head(&mut self, mut timer: Pin<&mut Sleep>) -> Head {
        let mut scan = Scan::default();
        loop {
            if let Some(length) = scan.end(&self.bytes) {
                return if length > MAX_HEAD { Head::TooLong } else { Head::Complete(length, scan) };
            }
            if self.bytes.len() > MAX_HEAD {
                return Head::TooLong;
            }
            self.bytes.reserve(HEAD_ROOM);
            let read = tokio::select! {
                biased;
                read = self.stream.read_buf(&mut self.bytes) => read,
                () = timer.as_mut() => return Head::Gone,
            };
            if !read.is_ok_and(|length| length > 0) {
                return Head::Gone;
            }
        }
    }
}

/// Closing while the client still sends would make the kernel reset the connection and the answer could be lost, so
/// what is on its way is read and thrown away, within bounds.
async fn linger(stream: &mut Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut thrown = [0; 8192];
        let mut left = LINGER_BYTES;
        while let Ok(length @ 1..) = stream.read(&mut thrown).await {
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}

#[async_trait]
impl ServerApp for PublicApp {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        self.serve(stream).await;
        None
    }
}
