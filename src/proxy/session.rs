//! Requests that are more than a plain GET, read by a session of Pingora's: bodies, old versions, odd framing.
//!
//! The session gets the bytes as they came and gives the connection back, so that the answer is written by the same
//! hand as every other. A request line with a query is never given to Pingora's log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use http::Version;
use log::debug;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;

use super::access::Facts;
use super::answer::{Answer, TEXT};
use super::app::{PublicApp, linger};
use super::body::Inbound;
use super::request::Request;
use super::route::Route;
use super::write::{self, After};
use crate::bbb::Method;
use crate::config::Config;

/// Answers the request that `bytes` begin with. Gives back the connection and what has come behind the request, if
/// another may follow; `left` counts this one.
pub async fn exchange(
    app: &PublicApp,
    stream: Stream,
    bytes: BytesMut,
    peer: Option<SocketAddr>,
    left: u32,
    config: &Arc<Config>,
) -> Option<(Stream, BytesMut)> {
    let mut session = ServerSession::new_http1(stream);
    session.set_pipelining_enabled(true);
    session.set_pipelined_prefix(bytes);
    session.set_read_timeout(Some(config.limits.header_timeout));
    session.set_keepalive(Some(config.limits.keepalive.as_secs().max(1)));
    // The whole head is there already, so this waits for nothing.
    let read = tokio::time::timeout(config.limits.header_timeout, session.read_request()).await;
    let request = match read {
        Ok(Ok(true)) => Request::read(session.req_header(), peer, &config.listen.trusted_proxies),
        Ok(Err(error)) => {
            debug!(kind = error.etype().as_str(); "unreadable request");
            None
        }
        Ok(Ok(false)) | Err(_) => return None,
    };
    let Some(request) = request else {
        app.refuse(&mut into_stream(session)?, &Answer::new(400, TEXT, "Bad request.\n")).await;
        return None;
    };

    let started = Instant::now();
    let route = Route::of(&request.path);
    let mut facts = Facts::default();
    let mut inbound = Inbound::new(&mut session, &request, &app.shared.body_memory, config.limits.body_timeout);
    let answer = app.answer(&request, route, &mut inbound, &mut facts).await;
    facts.body_read = inbound.read;

    // Pingora has looked at the version and at `Connection`; what the client wants closed stays so. A body that was not
    // read to its end cannot be followed by another request.
    let keeps = session.is_body_done() && session.get_keepalive().is_some();
    let after = match session.req_header().version {
        _ if !keeps || left <= 1 || app.shared.process.is_draining() => After::Close,
        Version::HTTP_11 => After::Keep,
        _ => After::KeepOld,
    };
    let (mut stream, bytes) = match after {
        After::Close => (into_stream(session)?, None),
        After::Keep | After::KeepOld => session.finish().await.ok()??.into_parts(),
    };
    let head_only = request.method == Method::Head;
    let limit = config.limits.body_timeout;
    let written = write::answer(&mut stream, &answer, &request.id, head_only, after, limit).await;
    app.access.record(&request, route, &answer, &facts, started.elapsed(), config.log.access);
    if !written {
        return None;
    }
    if after == After::Close {
        linger(&mut stream).await;
        return None;
    }
    Some((stream, bytes.unwrap_or_default()))
}

/// The connection as it is; HTTP/2 has no such thing.
fn into_stream(session: ServerSession) -> Option<Stream> {
    match session {
        ServerSession::H1(session) => Some(session.into_inner()),
        _ => None,
    }
}
