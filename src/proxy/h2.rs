//! HTTP/2: one connection of many requests, each answered by the same code as a request of HTTP/1.1.
//!
//! Pingora's own loop has no bound on what one connection may have at work: a client that opens streams and resets them
//! at once (CVE-2023-44487) is never over the limit of open streams, while each of them still costs a task. Here a stream
//! is taken only when fewer than `STREAMS` are at work; meanwhile the connection is driven on, and what piles up unread
//! runs into the bounds of the h2 library, which ends the connection (20 streams reset before they were taken; a header
//! list beyond its limit in however many CONTINUATION frames).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::answer::Answer;
use super::app::{LINGER_BYTES, LINGER_TIME, PublicApp};
use super::arrival::{Arrival, Elsewhere, Listener};
use super::body::Inbound;
use super::edge::{Fault, Passing};
use super::request::{self, Request};
use super::write::SLOW;
use super::{host, limit};
use crate::bbb::Method;
use crate::config::Config;
use crate::proxy_protocol::Peer;
use crate::stream::Stream;

/// Requests of one connection at work at once; what browsers and nginx think reasonable.
const STREAMS: u32 = 100;
/// Bytes that one client may send before we have read them, in all streams together. A tenth of a second at 20 Mbit/s; an
/// address with all its connections stays below what bodies may take.
const WINDOW: u32 = 256 * 1024;
/// Bytes of answers per stream waiting to be sent.
const UNSENT: usize = 256 * 1024;
/// How long an answer may take from us to the socket before a stop goes on.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Requests that cannot be read, after which a connection is not worth keeping.
const UNREADABLE: u32 = 32;

/// Bytes of a request's head, as RFC 9113 section 6.5.2 counts them. The h2 library answers 431 to longer ones, and breaks
/// off what has a longer target without an answer: the longest one alone fills this.
const MAX_HEAD_LIST: usize = limit::LONGEST_TARGET + ":path".len() + 32;
/// Fields of a request; what a session of HTTP/1.1 takes.
const MAX_FIELDS: usize = 256;
/// How much of a body that nobody reads is awaited before the answer, and for how long: what is no request at all shows
/// in its end.
const GLANCE_BYTES: usize = 64 * 1024;
const GLANCE_TIME: Duration = Duration::from_millis(100);

/// What the requests of a connection share with it.
struct Lane {
    app: Arc<PublicApp>,
    listener: Listener,
    peer: Peer,
    elsewhere: Option<Elsewhere>,
    place: Arc<limit::Place>,
    /// Says that no further request is wanted.
    ending: Notify,
    is_flooding: AtomicBool,
}

fn options() -> H2Options {
    let mut options = default_h2_options();
    options.max_concurrent_streams(STREAMS);
    options.max_header_list_size(u32::try_from(MAX_HEAD_LIST).unwrap_or(u32::MAX));
    options.initial_window_size(WINDOW);
    options.initial_connection_window_size(WINDOW);
    options.max_send_buffer_size(UNSENT);
    options
}

/// Serves a connection until one side ends it, or nothing has been at work for `limits.keepalive` (twice that at most).
pub async fn serve(app: &Arc<PublicApp>, stream: Stream, arrival: Arrival) {
    let config = app.shared.config.load_full();
    let patience = arrival.place.patience(config.limits.header_timeout);
    let refusal = arrival.place.refusal(&app.shared).map(Arc::new);
    let digest = Arc::new(Digest::default());
    let Ok(Ok(mut connection)) = timeout(patience, handshake(stream.into_boxed(), Some(options()))).await else {
        return;
    };
    let lane = Arc::new(Lane {
        app: app.clone(),
        listener: arrival.listener,
        peer: arrival.peer,
        place: Arc::new(arrival.place),
        elsewhere: arrival.elsewhere,
        ending: Notify::new(),
        is_flooding: AtomicBool::new(false),
    });
    let free = Arc::new(Semaphore::new(STREAMS as usize));
    let mut left = config.limits.requests_per_connection;
    let mut unreadable = 0;
    let mut timer = std::pin::pin!(sleep(patience));
    let mut draining = std::pin::pin!(app.shared.process.draining());
    let mut is_leaving = false;
    loop {
        // Driving goes on while all are at work, or their answers would never leave.
        let place = tokio::select! {
            biased;
            place = free.clone().acquire_owned() => place,
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            biased;
            () = lane.ending.notified() => {
                connection.graceful_shutdown();
                continue;
            }
            // A client whose request crosses this on its way is still answered.
            () = draining.as_mut(), if !is_leaving => {
                is_leaving = true;
                connection.graceful_shutdown();
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            () = timer.as_mut() => {
                // One place is ours.
                if free.available_permits() + 1 == STREAMS as usize {
                    return;
                }
                timer.as_mut().reset(Instant::now() + config.limits.keepalive);
                continue;
            }
        };
        timer.as_mut().reset(Instant::now() + config.limits.keepalive);
        let session = match accepted {
            Ok(Some(H2Accept::Session(session))) => session,
            Ok(Some(H2Accept::Rejected)) => {
                unreadable += 1;
                app.access.record_refused(&limit::unreadable(None), arrival.listener);
                if unreadable >= UNREADABLE {
                    return;
                }
                continue;
            }
            Ok(None) | Err(_) => return,
        };
        left -= 1;
        if left == 0 {
            connection.graceful_shutdown();
            left = left.max(1);
        }
        let (lane, refusal) = (lane.clone(), refusal.clone());
        // A task of its own: a client that goes away must not leave a create half done.
        tokio::spawn(async move {
            let config = lane.app.shared.config.load_full();
            lane.exchange(session, refusal.as_deref(), &config).await;
            drop(place);
        });
    }
}

impl Lane {
    /// One request and its answer.
    async fn exchange(&self, session: HttpSession, refusal: Option<&Answer>, config: &Arc<Config>) {
        let app = &self.app;
        let _request = app.shared.process.begin_request();
        let mut session = ServerSession::new_http2(session);
        if let Some(refusal) = refusal {
            self.ending.notify_one();
            return self.refuse(&mut session, refusal, config.limits.body_timeout).await;
        }
        // A copy, because the body is read through the session.
        let head = session.req_header().clone();
        let has_one_host = host::is_one(&head)
            && head.uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"))
            && head.uri.authority().is_none_or(|authority| host::is_name(authority.as_str().as_bytes()));
        let trusted = self.peer.believing(&config.listen.trusted_proxies);
        let request = Request::read(&head, Some(self.peer.address), trusted).filter(|_| has_one_host);
        let Some(request) = request else {
            return self.refuse(&mut session, &limit::unreadable(None), config.limits.body_timeout).await;
        };
        if head.headers.len() > MAX_FIELDS {
            return self.refuse(&mut session, &limit::too_many_fields(), config.limits.body_timeout).await;
        }
        // What a proxy in front says of the host is not what the connection was opened for.
        let is_elsewhere = |host: &str| self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere(host));
        if !request.behind_proxy && is_elsewhere(&request.host) {
            return self.refuse(&mut session, &limit::misdirected(), config.limits.body_timeout).await;
        }
        let mut request = request.come_by(self.listener);
        // A body need not be announced here; its end is part of the framing.
        request.chunked |= request.content_length.is_none() && !session.is_body_empty();
        let patience = self.place.patience(config.limits.body_timeout);
        let mut inbound = Inbound::new(&mut session, &request, &app.shared.body_memory, patience);
        let mut made = app.make(&request, &mut inbound, config, &self.place).await;
        let is_unwanted = made.facts.flooding || self.place.is_crowded();
        if is_unwanted && !self.is_flooding.swap(true, Ordering::Relaxed) {
            self.ending.notify_one();
        }
        match made.passing.take() {
            None => {
                if !request.expects_continue {
                    discard(&mut session, GLANCE_BYTES, GLANCE_TIME).await;
                }
                let head_only = request.method == Method::Head;
                write(&mut session, &made.answer, &request.id, head_only, config.limits.body_timeout).await;
            }
            Some(mut passing) => {
                let (bytes, fault) = pass(&mut session, &mut passing, &made.answer, &request.id, config).await;
                made.passed(bytes, fault);
                match fault {
                    None => app.edge.keep(*passing, config),
                    // The browser must not take what it has for the whole.
                    Some(_) => session.shutdown().await,
                }
            }
        }
        app.note(&request, &made, config);
        linger(&mut session).await;
        if app.shared.process.is_stopping() {
            // What is written is not yet sent: that is the connection's task, and the process waits for this one.
            sleep(LAST_WORDS).await;
        }
    }

    async fn refuse(&self, session: &mut ServerSession, answer: &Answer, limit: Duration) {
        write(session, answer, &request::new_request_id(), false, limit).await;
        self.app.access.record_refused(answer, self.listener);
        linger(session).await;
    }
}

/// Dropping a stream whose body has not ended resets it, and clients that see the reset together with the answer lose the
/// answer (libcurl up to 7.88, which PHP uses). So what the client still sends is thrown away for a while.
async fn linger(session: &mut ServerSession) {
    discard(session, LINGER_BYTES, LINGER_TIME).await;
}

/// Reads on until the body's end, within bounds.
async fn discard(session: &mut ServerSession, most: usize, limit: Duration) {
    let mut left = most;
    let reading = async {
        while let Ok(Some(piece)) = session.read_request_body().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(limit, reading).await;
}

/// A whole answer, each 64 KiB within `limit`; what the client does not take is not sent.
async fn write(session: &mut ServerSession, answer: &Answer, id: &str, head_only: bool, limit: Duration) {
    let Ok(head) = head(answer, id) else { return };
    if !matches!(timeout(limit, session.write_response_header(Box::new(head))).await, Ok(Ok(()))) {
        return;
    }
    let mut body = if head_only { Bytes::new() } else { answer.body.clone() };
    loop {
        let piece = body.split_to(body.len().min(SLOW));
        let is_last = body.is_empty();
        let written = timeout(limit, session.write_response_body(piece, is_last)).await;
        if is_last || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Fields with control characters are left out, as in HTTP/1.1.
fn head(answer: &Answer, id: &str) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 4))?;
    if answer.status != 304 {
        head.insert_header(CONTENT_LENGTH, answer.body.len())?;
    }
    if answer.has_type() {
        head.insert_header(CONTENT_TYPE, &*answer.content_type)?;
    }
    head.insert_header("x-request-id", id)?;
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            head.append_header(name, value)?;
        }
    }
    for (name, value) in answer.more().flat_map(|lines| &lines.fields) {
        head.append_header(name, value)?;
    }
    Ok(head)
}

/// A server's answer, piece by piece; how many bytes of it, and whose fault it is if they are not all.
async fn pass(
    session: &mut ServerSession,
    passing: &mut Passing,
    answer: &Answer,
    id: &str,
    config: &Config,
) -> (u64, Option<Fault>) {
    let limit = config.limits.body_timeout;
    let mut bytes = 0;
    let Some(mut head) = passing.head() else { return (0, Some(Fault::Server)) };
    let _ = head.insert_header("x-request-id", id);
    for (name, value) in &answer.headers {
        let _ = head.insert_header(*name, &**value);
    }
    for (name, value) in answer.more().flat_map(|lines| &lines.fields) {
        let _ = head.append_header(name, value);
    }
    if !matches!(timeout(limit, session.write_response_header(Box::new(head))).await, Ok(Ok(()))) {
        return (0, Some(Fault::Client));
    }
    loop {
        let piece = match passing.next().await {
            Ok(piece) => piece,
            Err(fault) => return (bytes, Some(fault)),
        };
        let is_last = piece.is_none();
        let piece = piece.unwrap_or_default();
        let length = piece.len() as u64;
        if !matches!(timeout(limit, session.write_response_body(piece, is_last)).await, Ok(Ok(()))) {
            return (bytes, Some(Fault::Client));
        }
        bytes += length;
        if is_last {
            return (bytes, None);
        }
    }
}
