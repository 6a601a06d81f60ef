//! Sockets: the accept loop, one task per connection, and reading a request.
//!
//! Our own loop instead of a ready-made server, because faults act here: a connection in a black hole stays open and is
//! not polled; a reset needs `SO_LINGER` 0 on the socket when it is dropped. No timers: a fault lasts until it is healed
//! or the server is closed.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::answer::Answer;
use super::api;
use super::call::{Call, MULTIPART, Part, media_type};
use super::client::{socket, upload};
use super::fault::{Fault, SocketState};
use super::meetings::http_date;
use super::seen::{SeenCall, headers_and_cookies};
use super::server::Shared;
use super::spoil;
use crate::clock::{Clock, Millis, SystemClock};

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Accepts until the server is dropped.
pub(super) async fn accept_all(shared: Weak<Shared>, mut sockets: watch::Receiver<SocketState>) {
    loop {
        tokio::select! {
            changed = sockets.changed() => if changed.is_err() { return },
            accepted = poll_fn(|context| poll_accept(&shared, context)) => match accepted {
                None => return,
                Some(Ok((stream, shared))) => {
                    let counted = Counted::of(&shared);
                    drop(tokio::spawn(serve(shared, stream, None, counted)));
                }
                // Out of file descriptors, most likely: give the others time to close some.
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

type Accepted = Option<io::Result<(TcpStream, Arc<Shared>)>>;

/// Pending while the port is closed or nobody is to be accepted; `accept_all` is woken by the change that ends it.
fn poll_accept(shared: &Weak<Shared>, context: &mut Context<'_>) -> Poll<Accepted> {
    let Some(shared) = shared.upgrade() else { return Poll::Ready(None) };
    if *shared.faults.sockets().borrow() == SocketState::Unreachable {
        return Poll::Pending;
    }
    let listener = shared.listener.lock();
    let Some(open) = listener.as_ref() else { return Poll::Pending };
    let Poll::Ready(accepted) = open.poll_accept(context) else { return Poll::Pending };
    if accepted.is_ok() {
        // Counted under the lock: whoever closes the port afterwards also waits for this connection.
        shared.connections.send_modify(|open| *open += 1);
    }
    drop(listener);
    Poll::Ready(Some(accepted.map(|(stream, _)| (stream, shared))))
}

/// Counts a connection out, however its task ends.
pub(super) struct Counted(Arc<Shared>);

impl Counted {
    /// Of a connection that the books have already.
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(shared.clone())
    }

    /// One more for a connection that outlives its task, as a WebSocket does.
    fn again(shared: &Arc<Shared>) -> Self {
        shared.connections.send_modify(|open| *open += 1);
        Self(shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// `announced` is what a PROXY header says, if the port takes one.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    announced: Option<Option<SocketAddr>>,
    _counted: Counted,
) {
    let sockets = shared.faults.sockets();
    let reset = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(SimStream { stream, reset: reset.clone() });
    let service = service_fn(move |request| respond(shared.clone(), reset.clone(), announced, request));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades();
    while_serving(sockets, connection).await;
}

/// Runs the work of a connection to its end; parks it while the server is a black hole, drops it when the port closes.
pub(super) async fn while_serving<T>(
    mut sockets: watch::Receiver<SocketState>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        let state = *sockets.borrow_and_update();
        match state {
            SocketState::Closed => return None,
            SocketState::BlackHole | SocketState::Unreachable => {
                if sockets.changed().await.is_err() {
                    return None;
                }
            }
            SocketState::Serving => tokio::select! {
                biased;
                changed = sockets.changed() => if changed.is_err() { return None },
                done = &mut work => return Some(done),
            },
        }
    }
}

/// Reads one request, lets the API work on it, and spoils the answer if a fault is due.
async fn respond(
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    announced: Option<Option<SocketAddr>>,
    mut request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let Arrived { call, body_length, decided } = read(&shared, request).await?;
    if *shared.faults.sockets().borrow() != SocketState::Serving {
        // Read while the fault was being set: `serve` closes or parks the connection as soon as we yield.
        return pending().await;
    }
    let name = api::call_name(&call.path).to_owned();
    let (headers, cookies) = headers_and_cookies(&call.headers);
    shared.seen.lock().add(SeenCall {
        call: name.clone(),
        method: call.method.to_string(),
        target: call.target.clone(),
        headers,
        cookies,
        raw_query: call.raw_query.clone(),
        body_length,
        content_type: call.content_type.clone(),
        at: SystemClock.now(),
        announced,
    });
    let fault = shared.faults.take(&name);
    dawdle(shared.options.jitter).await;
    if let Some(Fault::Late(time)) = &fault {
        tokio::time::sleep(*time).await;
    }
    let clock_off = fault.as_ref().map_or(0, Fault::clock_off);
    shared.world.lock().clock_off = clock_off;
    let mut worked = match &fault {
        Some(fault) if !fault.works() => None,
        _ => Some(decided.unwrap_or_else(|| api::answer(&shared, &call))),
    };
    let opened = worked.as_mut().and_then(|answer| answer.socket.take());
    if let Some((opened, upgrade)) = opened.zip(upgrade) {
        // Waits for the 101; ends at once if a fault keeps it from being sent.
        tokio::spawn(socket::serve(shared.clone(), *opened, upgrade, reset.clone(), Counted::again(&shared)));
    }
    if !shared.options.latency.is_zero() {
        tokio::time::sleep(shared.options.latency).await;
    }
    dawdle(shared.options.jitter).await;
    match (fault, worked) {
        (None, Some(answer)) => spoil::untouched(answer),
        (Some(Fault::Slow(time)), Some(answer)) => {
            tokio::time::sleep(time).await;
            spoil::untouched(answer)
        }
        (Some(Fault::WorkThenReset), _) => {
            reset.store(true, Ordering::Release);
            Err(io::ErrorKind::ConnectionReset.into())
        }
        (Some(Fault::Refuse), _) => Err(io::ErrorKind::ConnectionAborted.into()),
        (Some(Fault::Silent | Fault::BlackHole | Fault::Unreachable | Fault::WorkButNoAnswer), _) => pending().await,
        (Some(Fault::ClockOff(_)), Some(answer)) => {
            let told = SystemClock.now().0.saturating_add_signed(clock_off);
            spoil::untouched(answer.with("Date", http_date(Millis(told))))
        }
        (Some(fault), Some(answer)) => spoil::cut(answer, &fault, reset),
        (Some(fault), None) => spoil::replaced(&fault),
        (None, None) => spoil::untouched(Answer::status_page(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// Waits a random time up to `longest`.
async fn dawdle(longest: Duration) {
    if !longest.is_zero() {
        tokio::time::sleep(longest.mul_f64(rand::random_range(0.0..1.0))).await;
    }
}

/// A request that was read.
struct Arrived {
    call: Call,
    /// Bytes of the body, kept or not.
    body_length: usize,
    /// The answer, if the header or the length of the body has decided it.
    decided: Option<Answer>,
}

async fn read(shared: &Arc<Shared>, request: Request<Incoming>) -> io::Result<Arrived> {
    let (head, incoming) = request.into_parts();
    let (mut body, mut parts) = (Bytes::new(), Vec::new());
    let (body_length, decided) = if upload::is_upload(head.uri.path()) {
        let (answer, taken) = upload::receive(shared, &head, incoming).await?;
        (taken, Some(answer))
    } else {
        let (kept, too_large) = bounded(incoming, shared.options.body_limit).await?;
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        parts = parts_of(content_type, &kept).await;
        body = kept;
        (body.len(), too_large.then(|| Answer::status_page(StatusCode::PAYLOAD_TOO_LARGE)))
    };
    let path = head.uri.path().to_owned();
    let raw_query = head.uri.query().unwrap_or_default().to_owned();
    let call = Call::new(head.method, path, raw_query, head.headers, body, parts);
    Ok(Arrived { call, body_length, decided })
}

/// The body if it has at most `limit` bytes, and whether it has more. Reads on to the end, as nginx lingers, or the
/// connection would be reset and the caller might lose the answer.
async fn bounded(mut incoming: Incoming, limit: usize) -> io::Result<(Bytes, bool)> {
    let mut kept = Vec::new();
    let mut too_large = false;
    while let Some(frame) = incoming.frame().await {
        let Ok(piece) = frame.map_err(io::Error::other)?.into_data() else { continue };
        too_large |= kept.len() + piece.len() > limit;
        if too_large {
            kept.clear();
        } else {
            kept.extend_from_slice(&piece);
        }
    }
    Ok((kept.into(), too_large))
}

/// The parts of a multipart body, as far as it is well-formed.
async fn parts_of(content_type: Option<&str>, body: &Bytes) -> Vec<Part> {
    let mut parts = Vec::new();
    if media_type(content_type) != MULTIPART {
        return parts;
    }
    let Ok(boundary) = multer::parse_boundary(content_type.unwrap_or_default()) else { return parts };
    let whole = body.clone();
    let stream = futures_util::stream::once(async move { Ok::<_, io::Error>(whole) });
    let mut multipart = multer::Multipart::new(stream, boundary);
    while let Ok(Some(field)) = multipart.next_field().await {
        let name = field.name().unwrap_or_default().to_owned();
        let Ok(content) = field.bytes().await else { break };
        parts.push(Part { name, content });
    }
    parts
}

/// A connection that can be reset instead of closed.
struct SimStream {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            // If it cannot be set the connection is closed instead; the caller fails either way.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
