//! TCP, with bytes that were put back on the reading side and bytes that wait for each other on the writing side. Mostly
//! there are neither.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that may wait for others to leave with them: an answer with a few kB of body.
const GATHERED: usize = 8 * 1024;

#[derive(Debug)]
pub struct Plain {
    tcp: TcpStream,
    ahead: BytesMut,
    gathered: Option<BytesMut>,
}

impl Plain {
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, ahead: BytesMut::new(), gathered: None }
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The socket, and what was put back.
    pub fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.tcp, self.ahead)
    }

    /// `bytes` are read before everything else.
    pub fn rewind(&mut self, bytes: &[u8]) {
        let later = std::mem::replace(&mut self.ahead, bytes.into());
        self.ahead.extend_from_slice(&later);
    }

    /// What is written from now on may wait for a flush.
    pub fn gather(&mut self) {
        self.gathered.get_or_insert_default();
    }

    /// Takes `length` bytes more into what is gathered, if that is being done and there is room.
    fn gathers(&mut self, length: usize) -> Option<&mut BytesMut> {
        self.gathered.as_mut().filter(|gathered| gathered.len() + length <= GATHERED)
    }

    fn send_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(gathered) = self.gathered.as_mut().filter(|gathered| !gathered.is_empty()) {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            gathered.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Plain {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, place: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, place);
        }
        let length = self.ahead.len().min(place.remaining());
        place.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        if self.ahead.is_empty() {
            // Its room is given back.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.is_some() {
            if let Some(gathered) = self.gathers(bytes.len()) {
                gathered.extend_from_slice(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            ready!(self.send_gathered(cx))?;
        }
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.is_some() {
            let length = pieces.iter().map(|piece| piece.len()).sum();
            if let Some(gathered) = self.gathers(length) {
                pieces.iter().for_each(|piece| gathered.extend_from_slice(piece));
                return Poll::Ready(Ok(length));
            }
            ready!(self.send_gathered(cx))?;
        }
        Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_gathered(cx))?;
        self.gathered = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_gathered(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Plain, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Plain::new(listener.accept().await.unwrap().0), client)
    }

    #[tokio::test]
    async fn what_was_put_back_comes_first_and_in_order() {
        let (mut plain, mut client) = pair().await;
        client.write_all(b"-later").await.unwrap();
        plain.rewind(b"second");
        plain.rewind(b"first-");
        let mut first = [0; 8];
        plain.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first-se");
        client.shutdown().await.unwrap();
        let mut rest = String::new();
        plain.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "cond-later");
        assert_eq!(plain.ahead.capacity(), 0, "room is given back");
    }

    #[tokio::test]
    async fn little_things_leave_together_and_large_ones_behind_them() {
        let (mut plain, mut client) = pair().await;
        plain.gather();
        plain.write_all(b"one").await.unwrap();
        let written = plain.write_vectored(&[IoSlice::new(b"two"), IoSlice::new(b"three")]).await.unwrap();
        assert_eq!(written, 8, "all of it is taken");
        let mut got = [0; 64];
        assert_eq!(client.try_read(&mut got).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing has left yet");
        plain.flush().await.unwrap();
        assert_eq!(client.read(&mut got).await.unwrap(), 11);
        assert_eq!(&got[..11], b"onetwothree");

        plain.gather();
        plain.write_all(b"small").await.unwrap();
        let large = vec![b'x'; GATHERED];
        plain.write_all(&large).await.unwrap();
        plain.write_all(b"end").await.unwrap();
        plain.shutdown().await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [&b"small"[..], &large, b"end"].concat());
    }
}
