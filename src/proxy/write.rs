//! An answer as bytes, in one write: a second one would cost as much as everything else.

use std::io;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::answer::Answer;
use crate::clock::{Clock, SystemClock};
use crate::stream::Stream;

/// Bodies up to this many bytes are copied behind the head; bigger ones are written from where they are.
const COPIED: usize = 4096;
/// Bytes that the slowest client takes within its patience.
pub const SLOW: usize = 64 * 1024;
/// Room for a head without the headers that an answer brings along.
const HEAD_ROOM: usize = 256;

/// What is to become of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Keep,
    /// Kept for a client of HTTP/1.0, which wants to read so.
    KeepOld,
    Close,
    /// Closed because the client wants it so: nothing more comes from there.
    Farewell,
}

impl After {
    pub fn keeps(self) -> bool {
        matches!(self, Self::Keep | Self::KeepOld)
    }
}

/// Writes all of it; a client may take `patience` for each `SLOW` bytes.
pub async fn all(to: &mut (impl AsyncWrite + Unpin), rest: &mut impl Buf, patience: Duration) -> io::Result<()> {
    let mut goal = rest.remaining().saturating_sub(SLOW);
    let mut deadline = None;
    while rest.has_remaining() {
        let mut writing = std::pin::pin!(to.write_buf(rest));
        // Mostly the kernel takes it at once and no timer is needed.
        let written = match futures_util::poll!(writing.as_mut()) {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                let until = *deadline.get_or_insert_with(|| Instant::now() + patience);
                tokio::time::timeout_at(until, writing).await.map_err(|_| io::ErrorKind::TimedOut)??
            }
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if rest.remaining() <= goal {
            goal = rest.remaining().saturating_sub(SLOW);
            deadline = None;
        }
    }
    Ok(())
}

/// Writes a whole answer, each 64 KiB of it within `limit`; false if the connection is broken or the client does not read.
/// Of a connection that is not kept a small answer leaves with its end, which has to follow.
pub async fn answer(
    stream: &mut Stream,
    answer: &Answer,
    id: &str,
    head_only: bool,
    after: After,
    limit: Duration,
) -> bool {
    let body = if head_only { Bytes::new() } else { answer.body.clone() };
    let headers: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let is_small = body.len() <= COPIED;
    let copied = if is_small { body.len() } else { 0 };
    let mut bytes = BytesMut::with_capacity(HEAD_ROOM + headers + copied);
    head(&mut bytes, answer, id, after);
    let leaves_with_the_end = is_small && !after.keeps();
    if leaves_with_the_end {
        stream.gather();
    }
    let written = if is_small {
        bytes.extend_from_slice(&body);
        all(stream, &mut bytes, limit).await
    } else {
        all(stream, &mut bytes.chain(body), limit).await
    };
    written.is_ok() && (leaves_with_the_end || soon(limit, stream.flush()).await.is_ok())
}

/// Within `limit`. Most reads and writes are done at once and need no timer.
pub async fn soon<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut work = std::pin::pin!(work);
    if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
        return done;
    }
    tokio::time::timeout(limit, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Everything before the body.
fn head(bytes: &mut BytesMut, answer: &Answer, id: &str, after: After) {
    let mut number = itoa::Buffer::new();
    let reason = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(number.format(answer.status).as_bytes());
    bytes.extend_from_slice(b" ");
    bytes.extend_from_slice(reason.unwrap_or("Unknown").as_bytes());
    bytes.extend_from_slice(b"\r\nDate: ");
    date(bytes);
    // The length of 304 would be that of the body which it does not have (RFC 9110 section 8.6).
    if answer.status != 304 {
        bytes.extend_from_slice(b"\r\nContent-Length: ");
        bytes.extend_from_slice(number.format(answer.body.len()).as_bytes());
    }
    if answer.has_type() {
        field(bytes, "Content-Type", &answer.content_type);
    }
    field(bytes, "X-Request-Id", id);
    for (name, value) in &answer.headers {
        field(bytes, name, value);
    }
    more(bytes, answer);
    connection(bytes, after);
    bytes.extend_from_slice(b"\r\n\r\n");
}

/// What we add behind the head of a server's answer; each line begins with CRLF, the last is not ended.
pub fn last_lines(answer: &Answer, id: &str, after: After) -> BytesMut {
    let mut lines = BytesMut::with_capacity(64);
    field(&mut lines, "X-Request-Id", id);
    for (name, value) in &answer.headers {
        field(&mut lines, name, value);
    }
    more(&mut lines, answer);
    connection(&mut lines, after);
    lines
}

fn more(bytes: &mut BytesMut, answer: &Answer) {
    for lines in answer.more() {
        bytes.extend_from_slice(&lines.text);
    }
}

fn connection(bytes: &mut BytesMut, after: After) {
    match after {
        After::Keep => {}
        After::KeepOld => field(bytes, "Connection", "keep-alive"),
        After::Close | After::Farewell => field(bytes, "Connection", "close"),
    }
}

/// A value with a control character would end the line and begin the caller's own; it is left out.
fn field(bytes: &mut BytesMut, name: &str, value: &str) {
    let is_clean = value.bytes().fold(true, |clean, byte| clean & (byte >= b' ') & (byte != 0x7f));
    if is_clean {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    }
}

/// The time of day as HTTP writes it, made once a second by each thread.
fn date(bytes: &mut BytesMut) {
    thread_local! {
        static LAST: std::cell::RefCell<(u64, String)> = const { std::cell::RefCell::new((0, String::new())) };
    }
    let now = SystemClock.now();
    let second = now.0 / 1000;
    LAST.with_borrow_mut(|(made, text)| {
        if *made != second {
            *made = second;
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        }
        bytes.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for_and_who_does_not_is_left() {
        let body = vec![7; 4 * SLOW];
        let (mut near, mut far) = tokio::io::duplex(1024);
        let begin = Instant::now();
        let reader = tokio::spawn(async move {
            let mut read = vec![0; SLOW];
            for _ in 0..4 {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
                far.read_exact(&mut read).await.unwrap();
            }
        });
        all(&mut near, &mut &body[..], PATIENCE).await.unwrap();
        reader.await.unwrap();
        assert!(begin.elapsed() > 3 * PATIENCE, "longer than one patience, as each piece had its own");

        let (mut near, mut far) = tokio::io::duplex(1024);
        let begin = Instant::now();
        let reader = tokio::spawn(async move {
            // Something now and then is not enough.
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(PATIENCE / 10).await;
            }
        });
        let error = all(&mut near, &mut &body[..], PATIENCE).await.unwrap_err();
        assert_eq!((error.kind(), begin.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
        drop(near);
        reader.await.unwrap();
    }
}
