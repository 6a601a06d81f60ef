//! The public listener's application: connections, deadlines, one request after the other.
//!
//! The head is waited for here, within its deadline. Plain requests are answered on the spot with one write; all others
//! go through a session of Pingora's (`session.rs`) and come back for the next request. Nothing waits without a bound:
//! Pingora itself keeps an HTTP/1.1 connection for ever unless told otherwise (its issue #447) and has no deadline for a
//! whole head.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Sleep, sleep};

use super::access::Access;
use super::answer::{Answer, TEXT};
use super::arrival::{Arrival, Listener};
use super::body::Inbound;
use super::edge::{self, Edge, Opened, Socket, Tunnel};
use super::head::{self, Lane, Scan};
use super::request::{self, Request};
use super::respond::Made;
use super::route::Route;
use super::write::After;
use super::{Shared, h2, limit, secure, session, write};
use crate::config::{Config, MAX_HEAD};
use crate::limit::Claim;
use crate::proxy_protocol::Peer;
use crate::stream::Stream;

/// Room for a head at first; most fit.
const HEAD_ROOM: usize = 4096;
/// How much of a refused request is read before the connection is closed, and for how long.
pub(super) const LINGER_BYTES: usize = 8 * 1024 * 1024;
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);

/// The public side of Usher.
pub struct PublicApp {
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
    pub(super) edge: Edge,
}

/// One connection of a client, between two requests.
struct Connection {
    stream: Stream,
    listener: Listener,
    peer: Peer,
    /// Bytes that have come and belong to no request yet.
    bytes: BytesMut,
    /// Requests that may still follow.
    left: u32,
}

/// What follows a request.
#[allow(clippy::large_enum_variant)] // moved once for each request; a box would cost each an allocation
enum Next {
    Request(Connection),
    Socket(Box<Socket>),
    Nothing,
}

/// How waiting for a head ended.
enum Head {
    Complete(usize, Scan),
    /// More than a head may have.
    TooLong,
    /// Nobody is there any more, or took too long.
    Gone,
}

impl PublicApp {
    pub fn new(shared: Arc<Shared>) -> Self {
        let access = Access::new(shared.metrics.clone());
        let edge = Edge::new(&shared.metrics, shared.tls.servers.clone());
        Self { shared, access, edge }
    }

    /// Serves a connection to its end, in the protocol that the client and TLS have agreed on.
    pub async fn enter(self: &Arc<Self>, stream: Stream, arrival: Arrival) {
        match stream.protocol() {
            Some(b"h2") => h2::serve(self, stream, arrival).await,
            _ => self.serve(stream, arrival).await,
        }
    }

    /// Tells a client that has come to an HTTPS port without TLS.
    pub async fn refuse_plain(&self, mut stream: Stream) {
        let answer = Answer::new(400, TEXT, "A plain HTTP request was sent to an HTTPS port. Use https://.\n");
        self.refuse(&mut stream, &answer, Listener::Https).await;
    }

    async fn serve(&self, stream: Stream, arrival: Arrival) {
        let config = self.shared.config.load_full();
        let Arrival { listener, peer, place, .. } = arrival;
        let left = config.limits.requests_per_connection;
        let connection = Connection { stream, listener, peer, bytes: BytesMut::new(), left };
        // All that requests need is given back before a WebSocket begins its hours, and Pingora's task for the connection too,
        // which has room for a TLS handshake.
        if let Some(socket) = Box::pin(self.requests(connection, &place, &config)).await {
            tokio::spawn(socket.run(self.shared.clone(), place));
        }
    }

    /// One request after the other, until the connection ends or becomes a WebSocket.
    async fn requests(&self, mut connection: Connection, place: &limit::Place, config: &Config) -> Option<Box<Socket>> {
        // One long timer for the whole connection: moving it on is cheap, making one for each request is not.
        let mut timer = Box::pin(sleep(place.patience(config.limits.header_timeout)));
        if let Some(refusal) = place.refusal(&self.shared) {
            // An answer before the head would break the protocol.
            if let Head::Complete(..) = connection.head(timer.as_mut()).await {
                self.refuse(&mut connection.stream, &refusal, connection.listener).await;
            }
            return None;
        }
        loop {
            let (length, scan) = match connection.head(timer.as_mut()).await {
                Head::Complete(length, scan) => (length, scan),
                Head::Gone => return None,
                Head::TooLong => {
                    let answer = Answer::new(431, TEXT, "The request's head is too large.\n");
                    self.refuse(&mut connection.stream, &answer, connection.listener).await;
                    return None;
                }
            };
            let config = self.shared.config.load_full();
            connection = match self.exchange(connection, length, &scan, place, &config).await {
                Next::Request(connection) => connection,
                Next::Socket(socket) => return Some(socket),
                Next::Nothing => return None,
            };
            connection.left = connection.left.saturating_sub(1);
            let patience = config.limits.keepalive + config.limits.header_timeout;
            timer.as_mut().reset(tokio::time::Instant::now() + patience);
        }
    }

    /// One request and its answer.
    async fn exchange(
        &self,
        mut connection: Connection,
        length: usize,
        scan: &Scan,
        place: &limit::Place,
        config: &Arc<Config>,
    ) -> Next {
        let _request = self.shared.process.begin_request();
        let peer = connection.peer;
        let trusted = peer.believing(&config.listen.trusted_proxies);
        let kept = match head::lane(&connection.bytes[..length], scan, Some(peer.address), trusted) {
            Lane::Direct { request, close } => {
                // Who wants it closed sends nothing more, unless more is there already.
                let after = match close && connection.bytes.len() == length {
                    true => After::Farewell,
                    false if close || connection.left <= 1 => After::Close,
                    false => After::Keep,
                };
                let request = request.come_by(connection.listener);
                self.direct(&mut connection.stream, &request, after, place, config).await
            }
            Lane::WebSocket { request, close } => {
                let request = request.come_by(connection.listener);
                let Some(way) = self.way(&request, Route::of(request.path), config) else {
                    return self.in_session(connection, place, config).await;
                };
                let after = if close || connection.left <= 1 { After::Close } else { After::Keep };
                match self.open(&mut connection.stream, &request, &way, after, place, config).await {
                    Ok(tunnel) => {
                        let id = request.id;
                        connection.bytes.advance(length);
                        let Connection { stream, bytes, .. } = connection;
                        // Counted before the request is not any more.
                        let open = self.shared.process.begin_socket();
                        return Next::Socket(Box::new(Socket::new(stream, bytes, tunnel, id, open)));
                    }
                    Err(kept) => kept,
                }
            }
            Lane::Session => return self.in_session(connection, place, config).await,
        };
        if !kept {
            return Next::Nothing;
        }
        if connection.bytes.len() == length {
            // Idle connections hold no buffer.
            connection.bytes = BytesMut::new();
        } else {
            connection.bytes.advance(length);
        }
        Next::Request(connection)
    }

    async fn in_session(&self, connection: Connection, place: &limit::Place, config: &Arc<Config>) -> Next {
        let Connection { stream, listener, peer, bytes, left } = connection;
        match session::exchange(self, stream, bytes, (peer, listener), left, place, config).await {
            Some((stream, bytes)) => Next::Request(Connection { stream, listener, peer, bytes, left }),
            None => Next::Nothing,
        }
    }

    /// Opens a WebSocket at the server; if that fails the answer is written, and the error says whether another request
    /// may follow.
    async fn open(
        &self,
        stream: &mut Stream,
        request: &Request<'_>,
        way: &edge::Way<'_>,
        after: After,
        place: &limit::Place,
        config: &Arc<Config>,
    ) -> Result<Tunnel, bool> {
        let started = Instant::now();
        let shared = &self.shared;
        let admitted = || {
            let claim = limit::carried_for(shared, config, request, way, place)?;
            limit::carries(shared, config, request, claim, place).map(|()| claim)
        };
        let redirect = secure::redirect(shared, config, request, Route::Client);
        let made = match redirect.or_else(|| edge::refused(way, config.listen.public_base())) {
            Some(answer) => Made::answered(answer, started),
            None => match admitted() {
                Err(refusal) => Made::answered(limit::not_carried(shared, request, refusal), started),
                Ok(claim) => match self.edge.open(request, way, config).await {
                    Ok(Opened::Tunnel(tunnel)) => {
                        let sessions = &shared.limiter.sessions;
                        let learned = edge::learn(sessions, request, way, (claim, 101), |_| (), Instant::now());
                        if let Some(session) = learned {
                            place.claim(shared, Claim::Session(session), config);
                        }
                        self.note(request, &Made::carried(101, way, None, started), config);
                        return Ok(tunnel);
                    }
                    Ok(Opened::Refused(passing)) => {
                        Made::carried(passing.status(), way, Some(Box::new(passing)), started)
                    }
                    Err(failure) => Made::answered(edge::refusal(&failure, &way.place.record), started),
                },
            },
        };
        Err(self.finish(stream, request, made, after, place, config).await)
    }

    /// Answers a request without a body; true if another may follow.
    async fn direct(
        &self,
        stream: &mut Stream,
        request: &Request<'_>,
        after: After,
        place: &limit::Place,
        config: &Arc<Config>,
    ) -> bool {
        let made = self.make(request, &mut Inbound::none(), config, place).await;
        self.finish(stream, request, made, after, place, config).await
    }

    async fn finish(
        &self,
        stream: &mut Stream,
        request: &Request<'_>,
        made: Made,
        after: After,
        place: &limit::Place,
        config: &Arc<Config>,
    ) -> bool {
        let is_unwanted = made.facts.flooding || place.is_crowded();
        let closes = is_unwanted || made.ends_by_close(false) || self.shared.process.is_draining();
        let after = if closes && after == After::Keep { After::Close } else { after };
        self.deliver(stream, request, made, after, config).await
    }

    /// Answers what does not become a request, and lets go.
    pub(super) async fn refuse(&self, stream: &mut Stream, answer: &Answer, listener: Listener) {
        let id = request::new_request_id();
        write::answer(stream, answer, &id, false, After::Close, LINGER_TIME).await;
        self.access.record_refused(answer, listener);
        linger(stream, LINGER_TIME).await;
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

/// Says that nothing more comes, after everything that was written, within `limit`; false if the client cannot be told.
pub(super) async fn farewell(stream: &mut Stream, limit: Duration) -> bool {
    write::soon(limit, stream.shutdown()).await.is_ok()
}

/// Closing while the client still sends would make the kernel reset the connection and the answer could be lost, so
/// what is on its way is read and thrown away, within bounds.
pub(super) async fn linger(stream: &mut Stream, limit: Duration) {
    if !farewell(stream, limit).await {
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
