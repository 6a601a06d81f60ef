//! Connections to BBB servers for the browsers' traffic: bounded in time, kept while idle, never used twice by mistake.
//!
//! These are not the connections of API calls (`client`): they carry what strangers send, byte for byte, and a tunnel
//! takes one for good.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::relay;

/// Below nginx' keep-alive of 75 s, so that a kept connection is rarely a dead one.
const KEPT: Duration = Duration::from_secs(50);

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// A name, or an address (IPv6 in brackets).
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// A connection to a server.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes connections and keeps idle ones.
#[derive(Default)]
pub struct Upstreams {
    /// Made at the first need: it reads all authorities of the machine, which nobody needs who redirects.
    tls: OnceLock<Result<TlsConnector, String>>,
    idle: Mutex<HashMap<Destination, Vec<Idle>>>,
}

struct Idle {
    wire: Wire,
    since: Instant,
}

impl Upstreams {
    /// A connection that was used before and looks alive.
    pub fn kept(&self, to: &Destination) -> Option<Wire> {
        let mut idle = self.idle.lock();
        let wires = idle.get_mut(to)?;
        while let Some(Idle { wire, since }) = wires.pop() {
            if since.elapsed() < KEPT && wire.is_quiet() {
                return Some(wire);
            }
        }
        idle.remove(to);
        None
    }

    /// Keeps a connection whose last answer was read to its end, unless there are `limit` already.
    pub fn keep(&self, to: &Destination, wire: Wire, limit: usize) {
        let mut idle = self.idle.lock();
        let wires = match idle.get_mut(to) {
            Some(wires) => wires,
            None => idle.entry(to.clone()).or_default(),
        };
        // The oldest come first.
        let gone = wires.iter().take_while(|kept| kept.since.elapsed() >= KEPT).count();
        wires.drain(..gone);
        if wires.len() < limit {
            wires.push(Idle { wire, since: Instant::now() });
        }
    }

    /// A new connection within `limit`, TLS included; a server that is silent for `dead_after` is given up later. The error
    /// is for the operator.
    pub async fn connect(&self, to: &Destination, limit: Duration, dead_after: Duration) -> io::Result<Wire> {
        match tokio::time::timeout(limit, self.open(to, dead_after)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"))),
        }
    }

    async fn open(&self, to: &Destination, dead_after: Duration) -> io::Result<Wire> {
        let host = to.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, to.port)).await?;
        relay::prepare(&stream, dead_after);
        if !to.tls {
            return Ok(Wire::Plain(stream));
        }
        let connector = self.tls.get_or_init(connector).as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(connector.connect(name, stream).await?)))
    }
}

fn connector() -> Result<TlsConnector, String> {
    let mut config = ClientConfig::with_platform_verifier().map_err(|error| error.to_string())?;
    // Servers speak HTTP/1.1 for WebSockets, and one reader of answers is enough.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Wire {
    /// Nothing has come since the last answer: neither bytes that nobody asked for nor the end.
    fn is_quiet(&self) -> bool {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let mut byte = [0];
        // Of TLS, tickets may come late; such a connection is given up, which costs a handshake.
        matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
