//! A client's connection, as a listener has accepted it: plain TCP, with TLS around it after a handshake.
//!
//! There is one type for both, so that what carries bytes for hours asks a plain socket for them and nobody in between.
//! Pingora's sessions take it too (`sessions`), and give it back.

mod plain;
mod sessions;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::relay::Source;
use plain::Plain;

/// See the module's header.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Kind {
    Plain(Plain),
    Secure(Box<TlsStream<Plain>>),
}

impl Stream {
    /// A connection that `peer` has opened.
    pub fn new(tcp: TcpStream, peer: SocketAddr) -> Self {
        Self { kind: Kind::Plain(Plain::new(tcp)), peer }
    }

    /// The other end of the TCP connection.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What the other end has connected to.
    pub fn own(&self) -> io::Result<SocketAddr> {
        self.plain().tcp().local_addr()
    }

    /// Puts back what was read, so that it is read again. Of a connection without TLS.
    pub fn rewind(&mut self, bytes: &[u8]) {
        if let Kind::Plain(plain) = &mut self.kind {
            plain.rewind(bytes);
        }
    }

    /// The connection after a TLS handshake.
    pub async fn secured(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        let Kind::Plain(plain) = self.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
        let secure = TlsAcceptor::from(config).accept(plain).await?;
        Ok(Self { kind: Kind::Secure(Box::new(secure)), peer: self.peer })
    }

    /// The protocol that TLS has agreed on, if the client asked for any.
    pub fn protocol(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Plain(_) => None,
            Kind::Secure(secure) => secure.get_ref().1.alpn_protocol(),
        }
    }

    /// From here to the next flush, or the end, little things that are written leave together: TLS says goodbye in a
    /// record of its own, which would be a packet of its own too.
    pub fn gather(&mut self) {
        if let Kind::Secure(secure) = &mut self.kind {
            secure.get_mut().0.gather();
        }
    }

    fn plain(&self) -> &Plain {
        match &self.kind {
            Kind::Plain(plain) => plain,
            Kind::Secure(secure) => secure.get_ref().0,
        }
    }
}

impl Source for Stream {
    #[inline]
    fn may_have(&self) -> bool {
        match &self.kind {
            Kind::Plain(plain) => plain.may_have(),
            // Its session may hold what has come with something else.
            Kind::Secure(_) => true,
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, place: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(plain) => Pin::new(plain).poll_read(cx, place),
            Kind::Secure(secure) => Pin::new(secure).poll_read(cx, place),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Kind::Secure(secure) => Pin::new(secure).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(plain) => Pin::new(plain).poll_write_vectored(cx, pieces),
            Kind::Secure(secure) => Pin::new(secure).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Kind::Secure(secure) => Pin::new(secure).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Kind::Secure(secure) => Pin::new(secure).poll_shutdown(cx),
        }
    }
}
