//! One request to a server: its head and body out, the head of the answer in.
//!
//! A kept connection may have been closed by the server in that moment. Requests without a body that may be repeated are
//! sent once more then, on a new connection; all others get a new connection at once.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::coding;
use super::heading::{self, Sent};
use super::passing::Passing;
use super::reply::{self, Asked, BadReply, Compressing, Framing, Head};
use super::tunnel::Tunnel;
use super::upstream::{Spare, Wire};
use super::{Edge, Way};
use crate::bbb::Method;
use crate::config::{self, Config, IDLE_IN_USE};
use crate::limit::Refusal;
use crate::proxy::body::{BodyFailure, Inbound};
use crate::proxy::request::Request;
use crate::tls;

/// Room for an answer's head and a small body with it.
const ROOM: usize = 8 * 1024;

/// Why a request got no answer from its server.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no connection: {}", tls::io_in_words(.0))]
    Connect(io::Error),
    #[error("the connection broke: {}", tls::io_in_words(.0))]
    Broken(io::Error),
    #[error("{0}")]
    BadReply(#[from] BadReply),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("this request has been here before: the server's name leads back to us")]
    Loop,
    #[error("refused by a limit")]
    Limited(Refusal),
    /// The client's own fault.
    #[error("the request's body was not read")]
    Body(BodyFailure),
}

impl Edge {
    /// Sends the request and waits for the answer's head.
    pub async fn carry(
        &self,
        request: &Request<'_>,
        way: &Way<'_>,
        inbound: &mut Inbound<'_>,
        config: &Config,
    ) -> Result<Passing, Failure> {
        let sent = match inbound.announced() {
            // An empty body that was announced is announced: servers may ask for a length.
            _ if request.content_length == Some(0) => Sent::Length(0),
            _ if !request.has_body() => Sent::Nothing,
            Some(length) => Sent::Length(length),
            None => Sent::Chunks,
        };
        let head = self.head(request, way, sent)?;
        let asked = self.asked(request, way, config, false);
        let limit = config.edge.read_timeout;
        let may_repeat = sent == Sent::Nothing && matches!(request.method, Method::Get | Method::Head);
        if let Some(mut wire) =
            may_repeat.then(|| self.upstreams.kept(&way.place.destination, request.client)).flatten()
        {
            let mut bytes = BytesMut::new();
            match plain(&mut wire, &head, &mut bytes, way, asked, limit).await {
                Ok(head) => return Ok(self.passing(head, wire, bytes, way, config)),
                Err(Failure::Broken(_)) if bytes.is_empty() => {}
                Err(failure) => return Err(failure),
            }
        }
        let mut wire = self.connect(request, way, config).await?;
        let mut bytes = BytesMut::new();
        if sent == Sent::Nothing {
            let head = plain(&mut wire, &head, &mut bytes, way, asked, limit).await?;
            return Ok(self.passing(head, wire, bytes, way, config));
        }
        within(limit, wire.write_all(&head)).await?;
        within(limit, wire.flush()).await?;
        let (mut from, mut to) = tokio::io::split(wire);
        let (head, is_whole) = with_body(&mut from, &mut to, inbound, sent, &mut bytes, way, asked, limit).await?;
        let mut passing = self.passing(head, from.unsplit(to), bytes, way, config);
        // An answer before the body's end leaves a connection that nobody can use again.
        passing.may_be_kept &= is_whole;
        Ok(passing)
    }

    /// Opens a WebSocket; an answer that refuses it is passed on like any other.
    pub async fn open(&self, request: &Request<'_>, way: &Way<'_>, config: &Config) -> Result<Opened, Failure> {
        let head = self.head(request, way, Sent::WebSocket)?;
        let mut wire = self.connect(request, way, config).await?;
        let mut bytes = BytesMut::new();
        let asked = self.asked(request, way, config, true);
        let head = plain(&mut wire, &head, &mut bytes, way, asked, config.edge.read_timeout).await?;
        if matches!(head.framing, Framing::Switched) {
            return Ok(Opened::Tunnel(Tunnel::new(head, wire, bytes, way, config)));
        }
        Ok(Opened::Refused(self.passing(head, wire, bytes, way, config)))
    }

    fn asked<'a>(&self, request: &Request<'_>, way: &Way<'_>, config: &'a Config, websocket: bool) -> Asked<'a> {
        Asked {
            head_only: request.method == Method::Head,
            websocket,
            old: request.is_old,
            public_base: config.listen.public_base(),
            headers: &config.headers,
            compressing: if websocket {
                Compressing::default()
            } else {
                self.compressing(request, way, &config.compression)
            },
        }
    }

    fn compressing(&self, request: &Request<'_>, way: &Way<'_>, wanted: &config::Compression) -> Compressing {
        let varies = !wanted.algorithms.is_empty() && !coding::is_recording(way.path);
        // HTTP/1.0 has no chunks, and the length of what is compressed is not known before its end.
        if !varies || request.is_old {
            return Compressing { varies, ..Compressing::default() };
        }
        let (mut accept, mut is_part) = (Vec::new(), false);
        request.lines.each(|name, value| {
            if name.eq_ignore_ascii_case(b"accept-encoding") {
                accept.push(value);
            }
            is_part |= name.eq_ignore_ascii_case(b"range");
        });
        let coding = coding::choose(wanted, accept.iter().copied())
            .filter(|_| !is_part && self.encoders.available_permits() > 0);
        Compressing { varies, coding, min_length: wanted.min_length }
    }

    fn head(&self, request: &Request<'_>, way: &Way<'_>, sent: Sent) -> Result<BytesMut, Failure> {
        if heading::comes_again(request, &self.hop) {
            return Err(Failure::Loop);
        }
        let mut head = BytesMut::with_capacity(1024 + request.query.len());
        heading::write(&mut head, request, way, sent, &self.hop);
        Ok(head)
    }

    async fn connect(&self, request: &Request<'_>, way: &Way<'_>, config: &Config) -> Result<Wire, Failure> {
        let (limit, dead_after) = (config.edge.connect_timeout, config.limits.dead_after);
        let connected = self.upstreams.connect(&way.place.destination, request.client, limit, dead_after).await;
        connected.map_err(Failure::Connect)
    }

    fn passing(&self, head: Head, wire: Wire, bytes: BytesMut, way: &Way<'_>, config: &Config) -> Passing {
        let passing = Passing::new(head, wire, bytes, way.place.clone(), config);
        passing.compressed(|| self.encoders.clone().try_acquire_owned().ok())
    }

    /// Keeps the connection of an answer that was passed on to its end.
    pub fn keep(&self, passing: Passing, config: &Config) {
        if let Some((place, wire)) = passing.into_kept() {
            let always = config.edge.idle_connections;
            // Who wants none kept gets none.
            let most = if always == 0 { 0 } else { always.max(IDLE_IN_USE) };
            self.upstreams.keep(&place.destination, wire, Spare { always, most });
        }
    }
}

/// What became of the wish for a WebSocket.
pub enum Opened {
    Tunnel(Tunnel),
    Refused(Passing),
}

async fn plain(
    wire: &mut Wire,
    head: &[u8],
    bytes: &mut BytesMut,
    way: &Way<'_>,
    asked: Asked<'_>,
    limit: Duration,
) -> Result<Head, Failure> {
    let exchange = async {
        wire.write_all(head).await.map_err(Failure::Broken)?;
        wire.flush().await.map_err(Failure::Broken)?;
        read_head(wire, bytes, way, asked).await
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Failure::TooSlow(limit)))
}

async fn read_head(
    from: &mut (impl AsyncReadExt + Unpin),
    bytes: &mut BytesMut,
    way: &Way<'_>,
    asked: Asked<'_>,
) -> Result<Head, Failure> {
    loop {
        bytes.reserve(ROOM);
        if from.read_buf(bytes).await.map_err(Failure::Broken)? == 0 {
            return Err(Failure::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(head) = reply::read(bytes, way, asked)? {
            return Ok(head);
        }
    }
}

/// Sends the body while an answer may come already; true if all of it was sent.
#[allow(clippy::too_many_arguments)]
async fn with_body(
    from: &mut ReadHalf<Wire>,
    to: &mut WriteHalf<Wire>,
    inbound: &mut Inbound<'_>,
    sent: Sent,
    bytes: &mut BytesMut,
    way: &Way<'_>,
    asked: Asked<'_>,
    limit: Duration,
) -> Result<(Head, bool), Failure> {
    let mut reading = std::pin::pin!(read_head(from, bytes, way, asked));
    let sending = send_body(inbound, to, sent, limit);
    tokio::select! {
        biased;
        head = &mut reading => return Ok((head?, false)),
        sent = sending => match sent {
            Ok(()) => {}
            Err(Failure::Broken(error)) => {
                // Servers that refuse a body say why and close; the answer may still be on its way.
                let late = tokio::time::timeout(Duration::from_secs(1), &mut reading).await;
                return match late {
                    Ok(Ok(head)) => Ok((head, false)),
                    _ => Err(Failure::Broken(error)),
                };
            }
            Err(failure) => return Err(failure),
        },
    }
    let head = tokio::time::timeout(limit, reading).await.unwrap_or(Err(Failure::TooSlow(limit)))?;
    Ok((head, true))
}

async fn send_body(
    inbound: &mut Inbound<'_>,
    to: &mut WriteHalf<Wire>,
    sent: Sent,
    limit: Duration,
) -> Result<(), Failure> {
    let is_chunked = sent == Sent::Chunks;
    inbound.limit_parts();
    loop {
        let Some(piece) = inbound.next(u64::MAX).await.map_err(Failure::Body)? else { break };
        if piece.is_empty() {
            continue;
        }
        let writing = async {
            if is_chunked {
                to.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            }
            to.write_all(&piece).await?;
            if is_chunked {
                to.write_all(b"\r\n").await?;
            }
            to.flush().await
        };
        within(limit, writing).await?;
    }
    if is_chunked {
        within(limit, to.write_all(b"0\r\n\r\n")).await?;
    }
    within(limit, to.flush()).await
}

async fn within(limit: Duration, work: impl Future<Output = io::Result<()>>) -> Result<(), Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Failure::Broken),
        Err(_) => Err(Failure::TooSlow(limit)),
    }
}
