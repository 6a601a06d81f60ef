//! A server's answer on its way to the browser: the head at once, the body piece by piece.
//!
//! Chunks go on as they came, so that nothing is counted or copied twice. One piece is in memory at a time; its buffer
//! grows while a large body streams, within the sum that all relays share, and is given back with the answer.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

use super::coding::Encoder;
use super::find::Place;
use super::reply::{Framing, Head, MOST_LINES};
use super::upstream::Wire;
use crate::config::Config;
use crate::proxy::write::{self, soon};
use crate::relay::Room;

/// Bytes read at once where pieces are handed on one by one.
const PIECE: usize = 16 * 1024;
/// Bodies of this size that came with the head go out in the same write.
const TOGETHER: usize = 32 * 1024;

/// An answer whose head has been read.
pub struct Passing {
    head: Head,
    wire: Wire,
    /// What has come of the body.
    bytes: BytesMut,
    place: Arc<Place>,
    /// Longest silence of the server, and of a browser that does not read.
    silence: Duration,
    patience: Duration,
    pub may_be_kept: bool,
    /// The end of the body has been seen.
    has_ended: bool,
    /// An HTTP/1.0 browser gets the content of chunks.
    is_old: bool,
    /// Compresses the body, as long as it has not ended.
    encoder: Option<(Encoder, Option<OwnedSemaphorePermit>)>,
}

/// What reached the browser.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    pub bytes: u64,
    /// All of it did, and its end is certain: another answer may follow.
    pub whole: bool,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Server,
    Client,
}

impl Fault {
    /// For the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Server => "serverBroke",
            Self::Client => "clientLeft",
        }
    }
}

impl Passing {
    pub(super) fn new(head: Head, wire: Wire, mut bytes: BytesMut, place: Arc<Place>, config: &Config) -> Self {
        let _read = bytes.split_to(head.length);
        let may_be_kept = head.keeps;
        let (silence, patience) = (config.edge.read_timeout, config.limits.body_timeout);
        Self {
            head,
            wire,
            bytes,
            place,
            silence,
            patience,
            may_be_kept,
            has_ended: false,
            is_old: false,
            encoder: None,
        }
    }

    /// Compresses the body if its head says so; `permit` is given back with the encoder.
    pub(super) fn compressed(mut self, permit: impl FnOnce() -> Option<OwnedSemaphorePermit>) -> Self {
        if let Some(coding) = self.head.coding.filter(|_| !matches!(self.head.framing, Framing::Nothing)) {
            self.encoder = Some((Encoder::new(coding), permit()));
        }
        self
    }

    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The browser cannot tell where the body ends unless the connection is closed behind it.
    pub fn ends_by_close(&self, is_old: bool) -> bool {
        (matches!(self.head.framing, Framing::UntilClose) && self.encoder.is_none())
            || (is_old && matches!(self.head.framing, Framing::Chunked(_)))
    }

    /// Writes the answer; `last_lines` are added to the head, each beginning with CRLF.
    pub async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin), last_lines: &[u8], is_old: bool) -> Passed {
        self.is_old = is_old;
        let mut passed = Passed::default();
        match self.pass(to, last_lines, &mut passed).await {
            Ok(()) => passed.whole = true,
            Err(fault) => passed.fault = Some(fault),
        }
        passed
    }

    /// Bytes of the body, if that is known before its end.
    pub fn body_length(&self) -> Option<u64> {
        match self.head.framing {
            Framing::Length(length) if self.encoder.is_none() => Some(length),
            _ => None,
        }
    }

    /// The fields as the browser gets them; false if they cannot be read.
    pub fn each_field(&self, mut with: impl FnMut(&str, &[u8])) -> bool {
        let text = [&self.head.text[..], b"\r\n\r\n"].concat();
        let mut lines = [httparse::EMPTY_HEADER; MOST_LINES + 2];
        let mut parsed = httparse::Response::new(&mut lines);
        let is_read = parsed.parse(&text).is_ok();
        parsed.headers.iter().for_each(|line| with(line.name, line.value));
        is_read
    }

    /// The head for HTTP/2, which has framing of its own.
    pub fn head(&self) -> Option<ResponseHeader> {
        let mut head = ResponseHeader::build(self.head.status, None).ok()?;
        // A length without a body is allowed in 304, but not all HTTP/2 libraries know.
        let has_no_body = matches!(self.head.status, 204 | 304);
        let is_dropped = |name: &str| {
            name.eq_ignore_ascii_case("transfer-encoding") || has_no_body && name.eq_ignore_ascii_case("content-length")
        };
        let mut is_whole = true;
        let is_read = self.each_field(|name, value| {
            if !is_dropped(name) {
                is_whole &= head.append_header(name.to_owned(), value).is_ok();
            }
        });
        (is_read && is_whole).then_some(head)
    }

    /// The next piece as the browser gets it, without framing; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some((mut encoder, permit)) = self.encoder.take() else {
            return Ok(self.content().await?.map(BytesMut::freeze));
        };
        loop {
            let came = {
                let mut content = std::pin::pin!(self.content());
                match futures_util::poll!(content.as_mut()) {
                    Poll::Ready(came) => Some(came?),
                    // What the server has said so far is not held back until it goes on.
                    Poll::Pending if encoder.holds() => None,
                    Poll::Pending => Some(content.await?),
                }
            };
            let done = match &came {
                None => encoder.flush(),
                Some(Some(piece)) => encoder.add(piece),
                Some(None) => return encoder.finish().map(|rest| Some(rest.into())).map_err(|_| Fault::Server),
            };
            done.map_err(|_| Fault::Server)?;
            let ready = encoder.take();
            if !ready.is_empty() {
                self.encoder = Some((encoder, permit));
                return Ok(Some(ready.into()));
            }
        }
    }

    /// Writes a compressed body in chunks.
    async fn pass_compressed(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        mut out: BytesMut,
        passed: &mut Passed,
    ) -> Result<(), Fault> {
        loop {
            let piece = self.next().await?;
            let length = piece.as_ref().map_or(0, Bytes::len);
            // A chunk without bytes is the end.
            if length > 0 || piece.is_none() {
                out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                out.extend_from_slice(piece.as_deref().unwrap_or_default());
                out.extend_from_slice(b"\r\n");
            }
            soon(self.patience, to.write_all(&out)).await.map_err(|_| Fault::Client)?;
            soon(self.patience, to.flush()).await.map_err(|_| Fault::Client)?;
            out.clear();
            passed.bytes += length as u64;
            if piece.is_none() {
                return Ok(());
            }
        }
    }

    /// The next piece of the content, without the framing it came in; `None` behind the last.
    async fn content(&mut self) -> Result<Option<BytesMut>, Fault> {
        self.is_old = true;
        while !self.has_ended {
            let (piece, is_last) = self.take()?;
            self.has_ended = is_last;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if is_last {
                break;
            }
            self.bytes.reserve(PIECE);
            let read = self.wire.read_buf(&mut self.bytes);
            if soon(self.silence, read).await.map_err(|_| Fault::Server)? == 0 {
                self.has_ended = matches!(self.head.framing, Framing::UntilClose);
                return if self.has_ended { Ok(None) } else { Err(Fault::Server) };
            }
        }
        Ok(None)
    }

    async fn pass(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        last_lines: &[u8],
        passed: &mut Passed,
    ) -> Result<(), Fault> {
        let mut out = std::mem::take(&mut self.head.text);
        out.extend_from_slice(last_lines);
        out.extend_from_slice(b"\r\n\r\n");
        if self.encoder.is_some() {
            return self.pass_compressed(to, out, passed).await;
        }
        // If it is broken from the start, the browser is to see that an answer has begun and is not whole.
        let (mut piece, mut is_last, broken) = match self.take() {
            Ok((piece, is_last)) => (piece, is_last, None),
            Err(fault) => (BytesMut::new(), false, Some(fault)),
        };
        if piece.len() <= TOGETHER {
            out.extend_from_slice(&piece);
            passed.bytes += piece.len() as u64;
            piece.clear();
        }
        soon(self.patience, to.write_all(&out)).await.map_err(|_| Fault::Client)?;
        drop(out);
        if let Some(fault) = broken {
            return Err(fault);
        }
        let mut room = Room::default();
        loop {
            if !piece.is_empty() {
                write::all(to, &mut &piece[..], self.patience).await.map_err(|_| Fault::Client)?;
                passed.bytes += piece.len() as u64;
            }
            if is_last {
                return soon(self.patience, to.flush()).await.map_err(|_| Fault::Client);
            }
            // The same memory again, once nothing of it is in use.
            self.bytes = piece;
            self.bytes.clear();
            self.bytes.reserve(room.bytes());
            let length = self.read_more(to).await?;
            if length == 0 {
                return if matches!(self.head.framing, Framing::UntilClose) {
                    soon(self.patience, to.flush()).await.map_err(|_| Fault::Client)
                } else {
                    Err(Fault::Server)
                };
            }
            if length >= room.bytes() {
                room.grow();
            }
            (piece, is_last) = self.take()?;
        }
    }

    /// Reads once. Before the server is waited for, the browser gets what it has been written: TLS holds back what the
    /// socket did not take at once.
    async fn read_more(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> Result<usize, Fault> {
        let mut read = std::pin::pin!(self.wire.read_buf(&mut self.bytes));
        if let Poll::Ready(read) = futures_util::poll!(read.as_mut()) {
            return read.map_err(|_| Fault::Server);
        }
        soon(self.patience, to.flush()).await.map_err(|_| Fault::Client)?;
        soon(self.silence, read).await.map_err(|_| Fault::Server)
    }

    /// What has come of the body, and whether that is its end.
    fn take(&mut self) -> Result<(BytesMut, bool), Fault> {
        let piece = std::mem::take(&mut self.bytes);
        match &mut self.head.framing {
            Framing::Nothing | Framing::Switched => {
                self.may_be_kept &= piece.is_empty();
                Ok((BytesMut::new(), true))
            }
            Framing::UntilClose => Ok((piece, false)),
            Framing::Length(left) => {
                let (mut piece, length) = (piece, *left);
                if piece.len() as u64 > length {
                    self.may_be_kept = false;
                    piece.truncate(length as usize);
                }
                *left = length - piece.len() as u64;
                Ok((piece, *left == 0))
            }
            Framing::Chunked(chunks) => {
                let mut piece = piece;
                let mut content = BytesMut::new();
                let is_old = self.is_old;
                let end = chunks.scan(&piece, |bytes| {
                    if is_old {
                        content.extend_from_slice(bytes);
                    }
                });
                let end = end.map_err(|_| Fault::Server)?;
                if let Some(end) = end.filter(|end| *end < piece.len()) {
                    self.may_be_kept = false;
                    piece.truncate(end);
                }
                Ok((if is_old { content } else { piece }, end.is_some()))
            }
        }
    }

    /// The connection, if another request may use it.
    pub(super) fn into_kept(self) -> Option<(Arc<Place>, Wire)> {
        self.may_be_kept.then_some((self.place, self.wire))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::Context;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::proxy::edge::reply::{self, tests};
    use crate::proxy::edge::upstream;

    /// As TLS on a busy socket: bytes are taken, and leave when it is flushed.
    #[derive(Clone, Default)]
    struct Holding(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

    impl AsyncWrite for Holding {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().0.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let (held, sent) = &mut *self.0.lock().unwrap();
            sent.append(held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test]
    async fn what_is_written_leaves_before_the_server_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = upstream::plain(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let mut server = listener.accept().await.unwrap().0;
        let mut bytes = BytesMut::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst"[..]);
        let way = tests::way(None);
        let head = reply::read(&mut bytes, &way, tests::ASKED).unwrap().unwrap();
        let config = Config::load(None, std::iter::empty()).unwrap();
        let mut passing = Passing::new(head, wire, bytes, way.place.clone(), &config);
        let browser = Holding::default();
        let has_heard = |words: &[u8]| browser.0.lock().unwrap().1.ends_with(words);
        let serve = async {
            while !has_heard(b"first") {
                tokio::task::yield_now().await;
            }
            server.write_all(b"later").await.unwrap();
        };
        let mut to = browser.clone();
        let both = async { tokio::join!(passing.write(&mut to, b"", false), serve).0 };
        let passed =
            tokio::time::timeout(Duration::from_secs(10), both).await.expect("the browser hears the beginning");
        assert!(passed.whole && has_heard(b"firstlater"));
    }
}
