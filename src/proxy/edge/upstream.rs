//! Connections to BBB servers for the browsers' traffic: bounded in time, kept while idle, never used twice by mistake.
//!
//! These are not the connections of API calls (`client`): they carry what strangers send, byte for byte, and a tunnel
//! takes one for good. Where a server is told of browsers by PROXY headers, a connection speaks for one address and is
//! only ever used for that.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::ProxyOut;
use crate::proxy_protocol;
use crate::relay;
use crate::store::{Authorities, Trust};
use crate::tls;

/// Below nginx' keep-alive of 75 s, so that a kept connection is rarely a dead one.
const KEPT: Duration = Duration::from_secs(50);
/// What was in use within this time is in use: so many may be idle for a moment between two requests.
const RECENT: Duration = Duration::from_secs(5);

/// Where a connection goes, and how it begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// The name that its certificate must have; `None` without TLS.
    pub tls: Option<String>,
    pub trust: Trust,
    pub send_proxy: ProxyOut,
}

/// A connection to a server.
pub struct Wire {
    stream: Stream,
    /// Whom it speaks for, if that was told.
    client: Option<IpAddr>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes connections and keeps idle ones.
#[derive(Default)]
pub struct Upstreams {
    tls: Arc<tls::Servers>,
    idle: Arc<Mutex<HashMap<Destination, Resting>>>,
}

/// How many idle connections to one server are kept.
#[derive(Clone, Copy, Debug)]
pub struct Spare {
    /// However quiet it is.
    pub always: usize,
    /// As long as they were in use within `RECENT`.
    pub most: usize,
}

/// The idle connections to one server, the oldest first.
#[derive(Default)]
struct Resting {
    wires: VecDeque<Idle>,
    /// Somebody looks after those that are more than are always kept.
    is_watched: bool,
}

struct Idle {
    wire: Wire,
    since: Instant,
}

impl Resting {
    /// Closes what is too old: the newest are used first, so the oldest are those that the traffic does not need.
    fn trim(&mut self, always: usize) {
        while self.wires.front().is_some_and(|oldest| {
            let age = oldest.since.elapsed();
            age >= KEPT || age >= RECENT && self.wires.len() > always
        }) {
            self.wires.pop_front();
        }
    }
}

impl Upstreams {
    pub fn new(tls: Arc<tls::Servers>) -> Self {
        Self { tls, idle: Arc::default() }
    }

    /// A connection that was used before, for this client if servers are told of it, and looks alive.
    pub fn kept(&self, to: &Destination, client: Option<IpAddr>) -> Option<Wire> {
        let told = to.told(client);
        let mut idle = self.idle.lock();
        let wires = &mut idle.get_mut(to)?.wires;
        // The newest come last, and mostly the last one fits.
        while let Some(place) = wires.iter().rposition(|kept| kept.wire.client == told) {
            let Some(Idle { wire, since }) = wires.remove(place) else { break };
            if since.elapsed() < KEPT && wire.is_quiet() {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end, if there is room for it.
    pub fn keep(&self, to: &Destination, wire: Wire, spare: Spare) {
        let mut idle = self.idle.lock();
        let resting = match idle.get_mut(to) {
            Some(resting) => resting,
            None => idle.entry(to.clone()).or_default(),
        };
        resting.trim(spare.always);
        let wires = &mut resting.wires;
        if wires.len() >= spare.most && to.send_proxy != ProxyOut::Off {
            // The others are of no use to this client, and who has just asked asks again soonest.
            wires.pop_front();
        }
        if wires.len() < spare.most {
            wires.push_back(Idle { wire, since: Instant::now() });
        }
        if !resting.is_watched {
            resting.is_watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.idle), to.clone(), spare.always));
        }
    }

    /// A new connection for `client` within `limit`, TLS included; a server that is silent for `dead_after` is given up
    /// later. The error is for the operator.
    pub async fn connect(
        &self,
        to: &Destination,
        client: Option<IpAddr>,
        limit: Duration,
        dead_after: Duration,
    ) -> io::Result<Wire> {
        match tokio::time::timeout(limit, self.open(to, to.told(client), dead_after)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"))),
        }
    }

    async fn open(&self, to: &Destination, client: Option<IpAddr>, dead_after: Duration) -> io::Result<Wire> {
        let mut stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        relay::prepare(&stream, dead_after);
        if to.send_proxy != ProxyOut::Off {
            // One connection may carry requests of several connections of this client, so there is no port to tell.
            let source = client.map(|client| SocketAddr::new(client, 0));
            stream.write_all(&proxy_protocol::write(to.send_proxy, source, stream.peer_addr()?)).await?;
        }
        let Some(name) = &to.tls else { return Ok(Wire { stream: Stream::Plain(stream), client }) };
        let ca = to.trust.ca.as_ref().map(Authorities::pem);
        let connector = TlsConnector::from(self.tls.settings(ca, to.trust.insecure).map_err(io::Error::other)?);
        let name = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
        let stream = Stream::Tls(Box::new(connector.connect(name, stream).await?));
        Ok(Wire { stream, client })
    }
}

/// Closes connections that nobody needs any more also when no request comes, and ends with the last of them.
async fn watch(idle: Weak<Mutex<HashMap<Destination, Resting>>>, to: Destination, always: usize) {
    loop {
        tokio::time::sleep(RECENT).await;
        let Some(all) = idle.upgrade() else { return };
        let mut all = all.lock();
        let Some(resting) = all.get_mut(&to) else { return };
        resting.trim(always);
        if resting.wires.is_empty() {
            all.remove(&to);
            return;
        }
    }
}

impl Destination {
    /// What the server is told of the client of a connection.
    fn told(&self, client: Option<IpAddr>) -> Option<IpAddr> {
        client.filter(|_| self.send_proxy != ProxyOut::Off)
    }
}

#[cfg(test)]
pub(super) fn plain(stream: TcpStream) -> Wire {
    Wire { stream: Stream::Plain(stream), client: None }
}

impl Wire {
    /// For a relay. What was written must have been flushed.
    pub fn into_end(self) -> io::Result<relay::End> {
        match self.stream {
            Stream::Plain(tcp) => relay::End::plain(tcp),
            Stream::Tls(secure) => {
                let (tcp, tls) = secure.into_inner();
                relay::End::secure(tcp, tls.into())
            }
        }
    }

    /// Nothing has come since the last answer: neither bytes that nobody asked for nor the end.
    fn is_quiet(&self) -> bool {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let mut byte = [0];
        // Of TLS, tickets may come late; such a connection is given up, which costs a handshake.
        matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Wire {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn spare(always: usize, most: usize) -> Spare {
        Spare { always, most }
    }

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    async fn destination(send_proxy: ProxyOut) -> (TcpListener, Destination) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, Destination { host: "127.0.0.1".to_owned(), port, tls: None, trust: Trust::default(), send_proxy })
    }

    #[tokio::test]
    async fn a_connection_that_speaks_for_a_client_is_kept_for_it_alone() {
        let (listener, to) = destination(ProxyOut::V1).await;
        let upstreams = Upstreams::default();
        let mut held = Vec::new();
        for last in [1, 2] {
            let wire = upstreams.connect(&to, client(last), SOON, SOON).await.unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            let line = format!("PROXY TCP4 192.0.2.{last} 127.0.0.1 0 {}\r\n", to.port);
            let mut heard = vec![0; line.len()];
            far.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, line.as_bytes(), "before anything else");
            upstreams.keep(&to, wire, spare(8, 8));
            held.push(far);
        }
        assert!(upstreams.kept(&to, client(3)).is_none() && upstreams.kept(&to, None).is_none());
        for last in [1, 2] {
            assert_eq!(upstreams.kept(&to, client(last)).unwrap().client, client(last));
            assert!(upstreams.kept(&to, client(last)).is_none(), "there was one");
        }
    }

    #[tokio::test]
    async fn the_newest_are_kept_where_each_serves_one_client_only() {
        let (listener, to) = destination(ProxyOut::V2).await;
        let upstreams = Upstreams::default();
        let mut held = Vec::new();
        for last in [1, 2, 3] {
            let wire = upstreams.connect(&to, client(last), SOON, SOON).await.unwrap();
            held.push(listener.accept().await.unwrap());
            upstreams.keep(&to, wire, spare(2, 2));
        }
        let is_kept = |last| upstreams.kept(&to, client(last)).is_some();
        assert_eq!([1, 2, 3].map(is_kept), [false, true, true]);
        let wire = upstreams.connect(&to, client(1), SOON, SOON).await.unwrap();
        upstreams.keep(&to, wire, spare(0, 0));
        assert!(!is_kept(1), "none are kept if none are to be");
    }

    #[tokio::test]
    async fn without_headers_any_client_may_have_any() {
        let (listener, to) = destination(ProxyOut::Off).await;
        let upstreams = Upstreams::default();
        let wire = upstreams.connect(&to, client(1), SOON, SOON).await.unwrap();
        let held = listener.accept().await.unwrap();
        upstreams.keep(&to, wire, spare(8, 8));
        assert!(upstreams.kept(&to, client(2)).is_some());
        drop(held);
    }

    #[tokio::test]
    async fn as_many_are_kept_as_were_in_use_a_moment_ago() {
        const BUSY: usize = 40;
        let (listener, to) = destination(ProxyOut::Off).await;
        let upstreams = Upstreams::default();
        let mut held = Vec::new();
        let mut busy = Vec::new();
        for _ in 0..BUSY {
            busy.push(upstreams.connect(&to, None, SOON, SOON).await.unwrap());
            held.push(listener.accept().await.unwrap());
        }
        let resting = || upstreams.idle.lock().get(&to).map_or(0, |resting| resting.wires.len());
        busy.drain(..).for_each(|wire| upstreams.keep(&to, wire, spare(4, 32)));
        assert_eq!(resting(), 32, "more than are always kept, and not more than there is room for");
        // All of them are busy again, and then two only.
        busy.extend(std::iter::from_fn(|| upstreams.kept(&to, None)));
        assert_eq!(busy.len(), 32);
        busy.drain(..).for_each(|wire| upstreams.keep(&to, wire, spare(4, 32)));
        let age = |upstreams: &Upstreams, by: Duration| {
            let mut idle = upstreams.idle.lock();
            idle.get_mut(&to).unwrap().wires.iter_mut().for_each(|kept| kept.since -= by);
        };
        age(&upstreams, RECENT);
        let pair = [upstreams.kept(&to, None).unwrap(), upstreams.kept(&to, None).unwrap()];
        pair.into_iter().for_each(|wire| upstreams.keep(&to, wire, spare(4, 32)));
        assert_eq!(resting(), 5, "those that are always kept, and the last to come back");
        age(&upstreams, KEPT);
        assert!(upstreams.kept(&to, None).is_none(), "servers close them about now");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_needs_is_closed_though_no_request_comes() {
        let (listener, to) = destination(ProxyOut::Off).await;
        let upstreams = Upstreams::default();
        // Without a timer, which would not wait for the network here.
        let wire = upstreams.open(&to, None, SOON).await.unwrap();
        let mut far = listener.accept().await.unwrap().0;
        upstreams.keep(&to, wire, spare(0, 8));
        upstreams.idle.lock().get_mut(&to).unwrap().wires[0].since -= RECENT;
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "the connection is closed");
        assert!(upstreams.idle.lock().is_empty());
    }
}
