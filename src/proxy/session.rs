//! Requests that are more than a plain GET, read by a session of Pingora's: bodies, old versions, odd framing.
//!
//! The session gets the bytes as they came and gives the connection back, so that the answer is written by the same
//! hand as every other. A request line with a query is never given to Pingora's log.

use std::sync::Arc;

use bytes::BytesMut;
use http::Version;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use log::debug;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use super::app::PublicApp;
use super::arrival::Listener;
use super::body::Inbound;
use super::head::has_sound_line;
use super::request::Request;
use super::write::After;
use super::{host, limit};
use crate::config::Config;
use crate::proxy_protocol::Peer;
use crate::stream::Stream;

/// Answers the request that `bytes` begin with. Gives back the connection and what has come behind the request, if
/// another may follow; `left` counts this one.
pub async fn exchange(
    app: &PublicApp,
    stream: Stream,
    bytes: BytesMut,
    (peer, listener): (Peer, Listener),
    left: u32,
    place: &limit::Place,
    config: &Arc<Config>,
) -> Option<(Stream, BytesMut)> {
    let mut stream = stream;
    if !has_sound_line(&bytes) {
        app.refuse(&mut stream, &limit::unreadable(None), listener).await;
        return None;
    }
    let mut session = ServerSession::new_http1(stream.into_boxed());
    session.set_pipelining_enabled(true);
    session.set_pipelined_prefix(bytes);
    session.set_read_timeout(Some(config.limits.header_timeout));
    session.set_keepalive(Some(config.limits.keepalive.as_secs().max(1)));
    // The whole head is there already, so this waits for nothing.
    let read = tokio::time::timeout(config.limits.header_timeout, session.read_request()).await;
    let head = match read {
        // A copy, because the body is read through the session.
        Ok(Ok(true)) => Ok(session.req_header().clone()),
        Ok(Err(error)) => {
            debug!(kind = error.etype().as_str(); "unreadable request");
            Err(limit::unreadable(Some(&error)))
        }
        Ok(Ok(false)) | Err(_) => return None,
    };
    let trusted = peer.believing(&config.listen.trusted_proxies);
    let readable = head.as_ref().ok().filter(|head| host::is_one(head) && has_plain_coding(head));
    let Some(request) = readable.and_then(|head| Request::read(head, Some(peer.address), trusted)) else {
        let refusal = head.err().unwrap_or_else(|| limit::unreadable(None));
        app.refuse(&mut into_stream(session)?, &refusal, listener).await;
        return None;
    };
    let request = request.come_by(listener);
    let patience = place.patience(config.limits.body_timeout);

    let mut inbound = Inbound::new(&mut session, &request, &app.shared.body_memory, patience);
    let made = app.make(&request, &mut inbound, config, place).await;
    let is_broken = inbound.is_broken;

    // Pingora has looked at the version and at `Connection`; what the client wants closed stays so. A body that was not
    // read to its end cannot be followed by another request.
    // Pingora takes a missing chunk size for the end of the body; others need not, so nothing may follow chunks.
    let is_certain = !is_broken && !request.chunked && !made.facts.flooding && !place.is_crowded();
    let keeps = is_certain && session.is_body_done() && session.get_keepalive().is_some();
    let keeps = keeps && !wants_close(session.req_header()) && !made.ends_by_close(request.is_old);
    let after = match session.req_header().version {
        _ if !keeps || left <= 1 || app.shared.process.is_draining() => After::Close,
        Version::HTTP_11 => After::Keep,
        _ => After::KeepOld,
    };
    let (mut stream, bytes) = match after {
        After::Keep | After::KeepOld => {
            let (boxed, bytes) = session.finish().await.ok()??.into_parts();
            (Stream::from_boxed(boxed)?, bytes)
        }
        After::Close | After::Farewell => (into_stream(session)?, None),
    };
    let keeps = app.deliver(&mut stream, &request, made, after, config).await;
    keeps.then(|| (stream, bytes.unwrap_or_default()))
}

/// Whether a body comes as it is, or in chunks and nothing else: what servers do with other codings, and with one that is
/// named twice, differs.
fn has_plain_coding(head: &RequestHeader) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Whether any `Connection` line says so: Pingora looks at the first one only, and at none that is not plain text.
fn wants_close(head: &RequestHeader) -> bool {
    let lines = head.headers.get_all(CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The connection as it is; HTTP/2 has no such thing.
fn into_stream(session: ServerSession) -> Option<Stream> {
    match session {
        ServerSession::H1(session) => Stream::from_boxed(session.into_inner()),
        _ => None,
    }
}
