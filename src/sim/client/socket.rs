//! WebSockets: which paths speak it, the handshake, and one task per socket.
//!
//! What a socket says is decided by its kind (`graphql`, `plain_sockets`), which knows nothing of the network; here the
//! frames come and go, faults strike, and everything is recorded. A socket ends with its server's port.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::accept::{Counted, while_serving};
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::seen::{SeenSocket, headers_and_cookies};
use super::super::server::Shared;
use super::super::world::Session;
use super::graphql::Graphql;
use super::plain_sockets::{Echo, Pad, Sfu};
use super::session::{by_query, unauthorized};
use super::trouble::{Faults, Push, SocketFault};

/// What a kind of socket wants done.
pub(super) enum Act {
    Say(Message),
    Close(u16, &'static str),
    /// End without a word.
    Drop,
}

/// One kind of conversation.
pub(super) trait Kind: Send {
    /// Right after the handshake.
    fn open(&mut self) -> Vec<Act> {
        Vec::new()
    }
    /// A text or binary message came.
    fn hear(&mut self, shared: &Shared, message: &Message) -> Vec<Act>;
    /// A pong came.
    fn pong(&mut self) {}
    /// Time has passed.
    fn tick(&mut self, _shared: &Shared) -> Vec<Act> {
        Vec::new()
    }
    /// Between two ticks.
    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }
    /// A session is not what it was.
    fn sessions_changed(&mut self, _shared: &Shared) -> Vec<Act> {
        Vec::new()
    }
    /// The token that the socket has proved to hold by a message.
    fn token(&self) -> Option<&str> {
        None
    }
    /// Largest message that is read.
    fn limit(&self) -> usize {
        16 * 1024 * 1024
    }
}

/// A socket whose handshake is answered, before it is one.
pub(in crate::sim) struct Opened {
    kind: Box<dyn Kind>,
    seen: SeenSocket,
}

/// `None` if nothing speaks WebSocket at that path, or it also speaks plain HTTP and was asked so.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    let has_graphql = shared.options.generation.has_graphql();
    let wants_upgrade = call.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let client = shared.client();
    let path = super::mounted(&client, &call.path);
    let is_livekit = path.starts_with("/livekit/");
    if is_livekit && !wants_upgrade {
        return Some(Answer::of_type(StatusCode::OK, "text/plain", "OK"));
    }
    if path == "/pad/socket.io/" && !wants_upgrade {
        return None;
    }
    if path == "/graphql" && has_graphql {
        return Some(graphql(shared, call, wants_upgrade));
    }
    // The live connection up to 2.7; who it is comes inside.
    if path.starts_with("/html5client/sockjs/") && path.ends_with("/websocket") && !has_graphql {
        return Some(handshake(call, wants_upgrade, None, Box::new(Echo), &[]));
    }
    let (kind, protocols): (Box<dyn Kind>, &[&str]) = match path {
        // The service trusts nginx, which trusts nobody: who comes without a session gets no answer from the service.
        "/bbb-webrtc-sfu" => (Box::new(Sfu::new(&client)), &[]),
        "/ws" => (Box::new(Echo), &["sip"]),
        "/hocuspocus/collaboration" if has_graphql => (Box::new(Echo), &[]),
        "/pad/socket.io/" => (Box::new(Pad), &[]),
        // LiveKit has a token of its own in the query.
        _ if is_livekit => {
            return Some(handshake(call, wants_upgrade, None, Box::new(Echo), &[]));
        }
        _ => return None,
    };
    let Some(session) = by_query(shared, call) else { return Some(unauthorized()) };
    Some(handshake(call, wants_upgrade, Some(session), kind, protocols))
}

/// No session is looked at yet; a foreign page is refused by its origin (bbb-http-surface.md section 2.4).
fn graphql(shared: &Shared, call: &Call, wants_upgrade: bool) -> Answer {
    let client = shared.client();
    if let Some(origin) = call.header("origin") {
        let host = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        let is_same = call.header("host").is_some_and(|own| own.eq_ignore_ascii_case(host));
        let is_authorized =
            client.authorized_cross_origin.as_deref().is_some_and(|other| other.eq_ignore_ascii_case(host));
        if wants_upgrade && !is_same && !is_authorized {
            return Answer::status_page(StatusCode::FORBIDDEN);
        }
    }
    handshake(
        call,
        wants_upgrade,
        None,
        Box::new(Graphql::new(call.cookies.clone(), client.graphql_ping, client.graphql_idle)),
        &["graphql-transport-ws"],
    )
}

fn handshake(
    call: &Call,
    wants_upgrade: bool,
    session: Option<Session>,
    kind: Box<dyn Kind>,
    protocols: &[&str],
) -> Answer {
    let is_connection = call.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("upgrade"));
    if !wants_upgrade || !is_connection {
        return Answer::status_page(StatusCode::UPGRADE_REQUIRED).with("Upgrade", "websocket");
    }
    let key = call.header("sec-websocket-key").filter(|_| call.header("sec-websocket-version") == Some("13"));
    let Some(key) = key.filter(|_| call.method == Method::GET) else {
        return Answer::status_page(StatusCode::BAD_REQUEST);
    };
    let mut answer = Answer::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Accept", derive_accept_key(key.as_bytes()));
    let offered = call.header("sec-websocket-protocol").unwrap_or_default();
    if let Some(chosen) = offered.split(',').map(str::trim).find(|offer| protocols.contains(offer)) {
        answer = answer.with("Sec-WebSocket-Protocol", chosen);
    }
    let (headers, cookies) = headers_and_cookies(&call.headers);
    let seen = SeenSocket {
        path: call.path.clone(),
        target: call.target.clone(),
        headers,
        cookies,
        user_id: session.as_ref().map(|session| session.internal_user_id.clone()),
        meeting_id: session.map(|session| session.internal_meeting_id),
        token: None,
        texts: 0,
        binaries: 0,
        pings: 0,
        pongs: 0,
        bytes: 0,
        is_open: true,
        close_code: None,
    };
    answer.socket = Some(Box::new(Opened { kind, seen }));
    answer
}

/// Serves one socket from its handshake to its end; the 101 has still to be sent.
pub(in crate::sim) async fn serve(
    shared: Arc<Shared>,
    opened: Opened,
    upgrade: OnUpgrade,
    reset: Arc<AtomicBool>,
    _counted: Counted,
) {
    let Opened { kind, seen } = opened;
    let path = seen.path.clone();
    let sockets = shared.faults.sockets();
    let whole = async {
        let upgraded = upgrade.await.map_err(io::Error::other)?;
        let number = shared.seen.lock().open(seen);
        let _closed = Closed(shared.clone(), number);
        // Small buffers: tests open thousands of sockets.
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .max_message_size(Some(kind.limit()))
            .max_frame_size(Some(kind.limit()));
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let mut talk =
            Talk { stream, shared: shared.clone(), number, path, reset, own: None, heals: 0, slow: Duration::ZERO };
        // A connection that broke has nobody left to tell.
        talk.run(kind).await.map_err(io::Error::other)
    };
    let _ = while_serving(sockets, whole).await;
}

/// Records the end of a socket, however its task ends.
struct Closed(Arc<Shared>, u64);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.seen.lock().on_socket(self.1, |socket| socket.is_open = false);
    }
}

struct Talk {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    shared: Arc<Shared>,
    number: u64,
    path: String,
    reset: Arc<AtomicBool>,
    /// A fault for this socket alone.
    own: Option<SocketFault>,
    heals: u64,
    slow: Duration,
}

/// Whether the socket goes on.
enum Next {
    Go,
    End,
}

impl Talk {
    async fn run(&mut self, mut kind: Box<dyn Kind>) -> Result<(), Error> {
        let mut faults = self.shared.trouble.faults();
        let mut pushes = self.shared.trouble.pushes();
        let period = kind.period().max(Duration::from_millis(1));
        let mut clock = interval_at(Instant::now() + period, period);
        let opening = kind.open();
        if let Next::End = self.act(opening).await? {
            return Ok(());
        }
        self.heals = faults.borrow().heals;
        let mut suffered = None;
        loop {
            let fault = self.fault(&faults.borrow_and_update());
            if fault != suffered {
                suffered.clone_from(&fault);
                if let Next::End = self.fail(fault).await? {
                    return Ok(());
                }
            }
            if suffered == Some(SocketFault::Silence) {
                if faults.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let acts = tokio::select! {
                changed = faults.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                heard = self.stream.next() => match heard {
                    None => return Ok(()),
                    Some(Ok(message)) => self.heard(&mut kind, &message),
                    Some(Err(Error::Capacity(_))) => vec![Act::Close(1009, "message too big")],
                    Some(Err(error)) => return Err(error),
                },
                pushed = pushes.recv() => match pushed {
                    Ok(Push::Say(path, message)) if self.path.starts_with(&path) => vec![Act::Say(message)],
                    Ok(Push::SessionsChanged) => kind.sessions_changed(&self.shared),
                    Ok(Push::Say(..)) | Err(RecvError::Lagged(_)) => Vec::new(),
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = clock.tick() => kind.tick(&self.shared),
            };
            if let Next::End = self.act(acts).await? {
                return Ok(());
            }
        }
    }

    /// What this socket suffers from now.
    fn fault(&mut self, all: &Faults) -> Option<SocketFault> {
        if self.heals != all.heals {
            self.heals = all.heals;
            self.own = None;
        }
        let doom = self.shared.seen.lock().take_doom(self.number);
        self.own = doom.or_else(|| self.own.take());
        self.own.clone().or_else(|| all.of(&self.path))
    }

    fn heard(&mut self, kind: &mut Box<dyn Kind>, message: &Message) -> Vec<Act> {
        let acts = match message {
            Message::Text(_) | Message::Binary(_) => kind.hear(&self.shared, message),
            Message::Pong(_) => {
                kind.pong();
                Vec::new()
            }
            _ => Vec::new(),
        };
        self.shared.seen.lock().on_socket(self.number, |socket| {
            socket.bytes += message.len() as u64;
            match message {
                Message::Text(_) => socket.texts += 1,
                Message::Binary(_) => socket.binaries += 1,
                Message::Ping(_) => socket.pings += 1,
                Message::Pong(_) => socket.pongs += 1,
                Message::Close(frame) => socket.close_code = Some(frame.as_ref().map_or(1005, |it| it.code.into())),
                Message::Frame(_) => {}
            }
            if socket.token.is_none() {
                socket.token = kind.token().map(str::to_owned);
            }
        });
        acts
    }

    async fn act(&mut self, acts: Vec<Act>) -> Result<Next, Error> {
        for act in acts {
            match act {
                Act::Say(message) => {
                    if !self.slow.is_zero() {
                        tokio::time::sleep(self.slow).await;
                    }
                    self.stream.send(message).await?;
                }
                Act::Close(code, reason) => return self.close(code, reason).await,
                Act::Drop => return Ok(Next::End),
            }
        }
        Ok(Next::Go)
    }

    async fn fail(&mut self, fault: Option<SocketFault>) -> Result<Next, Error> {
        self.slow = Duration::ZERO;
        match fault {
            None | Some(SocketFault::Silence) => Ok(Next::Go),
            Some(SocketFault::Close(code, reason)) => self.close(code, &reason).await,
            Some(SocketFault::Slow(time)) => {
                self.slow = time;
                Ok(Next::Go)
            }
            Some(SocketFault::Big(bytes)) => self.act(vec![Act::Say(Message::text("x".repeat(bytes)))]).await,
            Some(SocketFault::Drop) => Ok(Next::End),
            Some(SocketFault::Reset) => {
                self.reset.store(true, Ordering::Release);
                Ok(Next::End)
            }
        }
    }

    /// Says goodbye and waits for the answer, as long as it takes.
    async fn close(&mut self, code: u16, reason: &str) -> Result<Next, Error> {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.stream.send(Message::Close(Some(frame))).await?;
        while let Some(message) = self.stream.next().await {
            if let Message::Close(frame) = message? {
                let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
                self.shared.seen.lock().on_socket(self.number, |socket| socket.close_code = Some(code));
            }
        }
        Ok(Next::End)
    }
}
