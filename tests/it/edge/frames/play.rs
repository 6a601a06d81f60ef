//! The two sides of a case: one that plays what the catalogue says and keeps what it hears, and one that is a library.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::catalogue::{Case, Chop};
use super::frame::unmasked;
use crate::harness::{Pool, eventually};

/// Far longer than any case lasts.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest message that the library takes.
const LARGEST: usize = 16 << 20;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Which end is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Client,
    Server,
}

/// What the written side heard, masks taken off.
#[derive(Clone, PartialEq, Eq)]
pub struct Heard {
    pub bytes: Vec<u8>,
    /// The connection came to its end in order, not by a reset.
    pub is_closed: bool,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = &self.bytes[self.bytes.len().saturating_sub(60)..];
        let way = if self.is_closed { "closed" } else { "broken" };
        write!(f, "{} bytes, {way}, the last \"{}\"", self.bytes.len(), end.escape_ascii())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, with TLS or without.
pub struct Dialled(Box<dyn Duplex>);

impl Dialled {
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }

    pub async fn plain(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }
}

impl AsyncRead for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST))
}

/// Opens a WebSocket by hand.
pub async fn shake_hands(stream: &mut Dialled, host: &str, path: &str) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let head = read_head(stream).await.unwrap_or_else(|| panic!("no answer for {path} at {host}"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Sends the case in its pieces, and hears until the other side ends.
pub async fn play(stream: impl AsyncRead + AsyncWrite + Unpin, case: &Case, ends: Ends) -> Heard {
    let frames: Vec<Vec<u8>> = case.frames.iter().map(|frame| frame.bytes(ends == Ends::Client)).collect();
    let (mut reads, mut writes) = tokio::io::split(stream);
    let speak = async {
        match case.chop {
            Chop::Whole => speak(&mut writes, std::iter::once(&frames.concat()[..])).await,
            Chop::Frames => speak(&mut writes, frames.iter().map(Vec::as_slice)).await,
            Chop::Octets => speak(&mut writes, frames.concat().chunks(1)).await,
            Chop::Of(size) => speak(&mut writes, frames.concat().chunks(size)).await,
        }
    };
    let mut bytes = Vec::new();
    let hear = tokio::time::timeout(PATIENCE, reads.read_to_end(&mut bytes));
    let (ended, ()) = tokio::join!(hear, speak);
    let ended = ended.unwrap_or_else(|_| panic!("{}: no end within {PATIENCE:?}", case.name));
    let _ = writes.shutdown().await;
    Heard { bytes: unmasked(&bytes), is_closed: ended.is_ok() }
}

async fn speak<'a>(to: &mut (impl AsyncWrite + Unpin), pieces: impl Iterator<Item = &'a [u8]>) {
    for piece in pieces {
        // The other side may have heard enough.
        if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

/// Says back every message; ends as RFC 6455 says, and lets the other side finish.
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let code = loop {
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    break None;
                }
            }
            Some(Ok(Message::Close(_))) => {
                let _ = socket.flush().await;
                break None;
            }
            Some(Ok(_)) => {}
            Some(Err(Error::Protocol(_))) => break Some(1002),
            Some(Err(Error::Utf8(_))) => break Some(1007),
            Some(Err(Error::Capacity(_))) => break Some(1009),
            Some(Err(_)) | None => break None,
        }
    };
    if let Some(code) = code {
        let _ = socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await;
    }
    let stream = socket.get_mut();
    let _ = stream.shutdown().await;
    // Closing with something unread would be a reset, which may overtake what was said.
    let mut thrown = [0; 4096];
    while let Ok(1..) = stream.read(&mut thrown).await {}
}

/// A server of the library's.
pub struct Echo {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    pub async fn start(host: [u8; 4]) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::from(host), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let opened = tokio_tungstenite::accept_async_with_config(stream, Some(limits())).await;
                    if let Ok(socket) = opened {
                        echo(socket).await;
                    }
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that plays the case it is asked for.
pub struct Written {
    pub address: SocketAddr,
    expected: Arc<Mutex<HashMap<String, oneshot::Sender<Heard>>>>,
    task: JoinHandle<()>,
}

impl Written {
    pub async fn start(host: [u8; 4], cases: Arc<Vec<Case>>) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::from(host), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let expected: Arc<Mutex<HashMap<String, oneshot::Sender<Heard>>>> = Arc::default();
        let runs = expected.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (cases, runs) = (cases.clone(), runs.clone());
                tokio::spawn(async move { serve(stream, &cases, &runs).await });
            }
        });
        Self { address, expected, task }
    }

    /// What the server will hear in this run.
    pub fn expect(&self, run: &str) -> oneshot::Receiver<Heard> {
        let (tell, told) = oneshot::channel();
        self.expected.lock().unwrap().insert(run.to_owned(), tell);
        told
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None`: not a WebSocket, as Usher's own calls.
async fn serve(
    mut stream: TcpStream,
    cases: &[Case],
    runs: &Mutex<HashMap<String, oneshot::Sender<Heard>>>,
) -> Option<()> {
    let head = read_head(&mut stream).await?;
    let query = head.split(' ').nth(1)?.split_once("?case=")?.1;
    let (number, run) = query.split_once("&run=")?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    })?;
    let accept = derive_accept_key(key.as_bytes());
    let agreed = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(agreed.as_bytes()).await.ok()?;
    let heard = play(stream, cases.get(number.parse::<usize>().ok()?)?, Ends::Server).await;
    let tell = runs.lock().unwrap().remove(run)?;
    tell.send(heard).ok()
}

pub async fn metric_ends_at_zero(pool: &Pool) {
    eventually("no WebSocket is counted as open", || async {
        let metrics = pool.metrics().await;
        let open: Vec<&str> = metrics.lines().filter(|line| line.starts_with("usher_websocket_connections{")).collect();
        open.iter().all(|line| line.ends_with(" 0")).then_some(())
    })
    .await;
}
