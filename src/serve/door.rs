//! The doors: what happens to a connection between its arrival and its first request.
//!
//! The TLS handshake has a time of its own and is counted, however it ends. A
//! connection takes its place among all and among those of its address before the handshake, so whoever opens many and
//! says nothing is counted like everybody else. On a port that layer 4 shares with HTTPS, `l4` looks at the name that is
//! asked for, and gives back what ends here.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::announced::announced;
use super::listening::Door;
use crate::admin::AdminApp;
use crate::config::Config;
use crate::l4::L4App;
use crate::process::Shared;
use crate::proxy::{Arrival, Elsewhere, Listener, Place, PublicApp};
use crate::proxy_protocol::Peer;
use crate::stream::Stream;
use crate::tls::Terms;

/// Bytes of the first read: a ClientHello with a post-quantum key share fits.
const FIRST_READ: usize = 2048;
/// The first byte of a TLS record that carries a handshake.
const HANDSHAKE: u8 = 22;

/// How a handshake ended.
enum Shaken {
    Secure(Stream),
    /// HTTP without TLS; the stream begins with its first byte.
    Plain(Stream),
    Failed,
    /// Connected and left, as probes of a port do.
    Empty,
}

/// Drives one handshake.
async fn shake_hands(mut stream: Stream, terms: &Terms) -> Shaken {
    let mut first = [0; FIRST_READ];
    let length = match stream.read(&mut first).await {
        Ok(length @ 1..) => length,
        Ok(_) => return Shaken::Empty,
        Err(_) => return Shaken::Failed,
    };
    stream.rewind(&first[..length]);
    if first[0] != HANDSHAKE {
        return if first[0].is_ascii_uppercase() { Shaken::Plain(stream) } else { Shaken::Failed };
    }
    match stream.secured(terms.for_handshake()).await {
        Ok(secure) => Shaken::Secure(secure),
        Err(error) => {
            log::debug!(error:% = error; "TLS handshake failed");
            Shaken::Failed
        }
    }
}

/// Counts the outcomes of the handshakes of one listener.
struct Counts {
    shared: Arc<Shared>,
    listener: &'static str,
}

impl Counts {
    fn add(&self, result: &str) {
        self.shared.metrics.tls_handshakes.with_label_values(&[self.listener, result]).inc();
    }

    /// A handshake within `limit`, counted; `None` if nothing can follow it.
    async fn shake(&self, stream: Stream, terms: &Terms, limit: Duration) -> Option<Shaken> {
        let at_once = self.shared.config.load().limits.handshakes;
        let Some(_under_way) = self.shared.process.begin_handshake(at_once) else {
            self.add("busy");
            return None;
        };
        // On the heap: afterwards the connection does without the room.
        let Ok(shaken) = timeout(limit, Box::pin(shake_hands(stream, terms))).await else {
            self.add("timeout");
            return None;
        };
        match shaken {
            Shaken::Secure(_) => self.add("ok"),
            Shaken::Plain(_) => self.add("plain_http"),
            Shaken::Failed => self.add("failed"),
            Shaken::Empty => {}
        }
        Some(shaken)
    }
}

/// Plain HTTP for the public.
pub struct PlainDoor {
    shared: Arc<Shared>,
    app: Arc<PublicApp>,
}

impl PlainDoor {
    pub fn new(shared: Arc<Shared>, app: Arc<PublicApp>) -> Self {
        Self { shared, app }
    }
}

impl Door for PlainDoor {
    async fn enter(self: Arc<Self>, stream: Stream) {
        let config = self.shared.config.load_full();
        let Some((stream, peer)) = announced(stream, &config).await else { return };
        let Some(place) = Place::take(&self.shared, Listener::Http, peer.address, &config) else { return };
        drop(config);
        self.app.enter(stream, Arrival { listener: Listener::Http, peer, place, elsewhere: None }).await;
    }
}

/// HTTPS for the public.
pub struct PublicDoor {
    counts: Counts,
    app: Arc<PublicApp>,
}

impl PublicDoor {
    pub fn new(shared: Arc<Shared>, app: Arc<PublicApp>) -> Self {
        Self { counts: Counts { shared, listener: "https" }, app }
    }

    /// TLS and what is in it, with a client who is known.
    async fn receive(&self, stream: Stream, peer: Peer, elsewhere: Option<Elsewhere>, config: Arc<Config>) {
        let shared = &self.counts.shared;
        let Some(place) = Place::take(shared, Listener::Https, peer.address, &config) else { return };
        let limit = place.patience(config.limits.handshake_timeout);
        // Not for the life of the connection, as a reload would leave it behind.
        drop(config);
        match self.counts.shake(stream, &shared.tls.public, limit).await {
            Some(Shaken::Secure(stream)) => {
                self.app.enter(stream, Arrival { listener: Listener::Https, peer, place, elsewhere }).await;
            }
            Some(Shaken::Plain(stream)) => self.app.refuse_plain(stream).await,
            Some(Shaken::Failed | Shaken::Empty) | None => {}
        }
    }
}

impl Door for PublicDoor {
    async fn enter(self: Arc<Self>, stream: Stream) {
        let config = self.counts.shared.config.load_full();
        if let Some((stream, peer)) = announced(stream, &config).await {
            self.receive(stream, peer, None, config).await;
        }
    }
}

/// TCP that is handed on, but for what ends here.
pub struct TcpDoor {
    l4: Arc<L4App>,
    https: Arc<PublicDoor>,
}

impl TcpDoor {
    pub fn new(l4: L4App, https: Arc<PublicDoor>) -> Self {
        Self { l4: Arc::new(l4), https }
    }
}

impl Door for TcpDoor {
    async fn enter(self: Arc<Self>, stream: Stream) {
        if let Some((stream, peer, hello)) = self.l4.receive(stream).await {
            let config = self.https.counts.shared.config.load_full();
            let l4 = self.l4.clone();
            let elsewhere = hello.map(|hello| Box::new(move |name: &str| l4.is_elsewhere(&hello, name)) as Elsewhere);
            self.https.receive(stream, peer, elsewhere, config).await;
        }
    }
}

/// Operators, in the clear or by HTTPS.
pub struct AdminDoor {
    counts: Counts,
    app: AdminApp,
    is_secure: bool,
}

impl AdminDoor {
    pub fn new(shared: Arc<Shared>, app: AdminApp, is_secure: bool) -> Self {
        Self { counts: Counts { shared, listener: "admin" }, app, is_secure }
    }
}

impl Door for AdminDoor {
    async fn enter(self: Arc<Self>, stream: Stream) {
        if !self.is_secure {
            return self.app.serve(stream).await;
        }
        let shared = &self.counts.shared;
        let limit = shared.config.load().limits.handshake_timeout;
        if let Some(Shaken::Secure(stream)) = self.counts.shake(stream, &shared.tls.admin, limit).await {
            self.app.serve(stream).await;
        }
    }
}
