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

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::relay::End;
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

    /// For a relay, with what was put back and not read again. What was written must have been flushed.
    pub fn into_end(self) -> io::Result<(End, BytesMut)> {
        match self.kind {
            Kind::Plain(plain) => {
                let (tcp, ahead) = plain.into_parts();
                Ok((End::plain(tcp)?, ahead))
            }
            Kind::Secure(secure) => {
                // What was put back before a handshake is a part of it.
                let (plain, tls) = secure.into_inner();
                Ok((End::secure(plain.into_parts().0, tls.into())?, BytesMut::new()))
            }
        }
    }

    fn plain(&self) -> &Plain {
        match &self.kind {
            Kind::Plain(plain) => plain,
            Kind::Secure(secure) => secure.get_ref().0,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    use super::*;

    fn terms() -> (Arc<ServerConfig>, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(["usher.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Without tickets nothing comes behind the handshake by itself.
        let versions = [&rustls::version::TLS12];
        let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions).unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
        let mut server = server.unwrap();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions).unwrap();
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = server.alpn_protocols.clone();
        (Arc::new(server), TlsConnector::from(Arc::new(client)))
    }

    #[tokio::test]
    async fn an_answer_and_the_goodbye_leave_together_through_a_session_too() {
        let (server, connector) = terms();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let from = tcp.local_addr().unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        let name = ServerName::try_from("usher.example").unwrap();
        let (stream, client) = tokio::join!(Stream::new(accepted, peer).secured(server), connector.connect(name, tcp));
        let (stream, mut client) = (stream.unwrap(), client.unwrap());
        let mut stream = Stream::from_boxed(stream.into_boxed()).expect("a session gives it back");
        assert_eq!((stream.protocol(), stream.peer()), (Some(&b"http/1.1"[..]), from));

        stream.gather();
        stream.write_all(b"answer").await.unwrap();
        let mut first = [0; 256];
        let waiting = client.get_ref().0.try_io(tokio::io::Interest::READABLE, || Ok(()));
        assert!(waiting.is_err(), "nothing has left yet");
        AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let length = client.get_ref().0.peek(&mut first).await.unwrap();
        // Two records in one read: the answer's (type 23) and behind it an alert (type 21).
        let answer = 5 + usize::from(u16::from_be_bytes([first[3], first[4]]));
        assert!(first[0] == 23 && length > answer && first[answer] == 21, "{:?}", &first[..length]);
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "answer", "and TLS ends in order");
    }
}
