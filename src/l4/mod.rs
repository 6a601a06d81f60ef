//! Layer 4: TCP connections handed on as they are, to a server found by the name in the TLS ClientHello, or to a fixed one.
//!
//! Nothing is decrypted: certificates stay where they are, and TURN reaches the one server that its credentials are for.
//! A connection is opened in steps (`opening`: who is it, what does it want; `route`; `targets` and `connect`), each
//! within its time, and then relayed (`crate::relay`) for as long as it lasts. What is opened lives in a task of its own,
//! because the task of the steps is several times as large as that of a silent relay.

pub mod client_hello;
mod connect;
mod known;
mod opening;
mod route;
mod targets;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use log::info;

use crate::config::{Config, L4Destination, L4Listener};
use crate::limit;
use crate::process::Shared;
use crate::proxy_protocol::Peer;
use crate::relay::{Counters, End};
use crate::stream::Stream;
use client_hello::Hello;
use known::Known;
use opening::Opening;
use targets::{Held, Targets};
use told::Told;

/// One listener's application.
pub struct L4App {
    shared: Arc<Shared>,
    /// As it was at the start: what a reload takes away goes on as before.
    started: Arc<L4Listener>,
    known: Known,
    targets: Targets,
    told: Told,
    open: AtomicUsize,
}

/// A connection with both its ends.
struct Opened {
    client: End,
    server: End,
    peer: Option<SocketAddr>,
    name: Option<String>,
    held: Held,
    idle: std::time::Duration,
    since: Instant,
    /// Bytes of the client that have already been handed on.
    sent: u64,
    _counted: limit::Counted,
    _place: Place,
}

/// One of the listener's connections.
struct Place(Arc<L4App>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl L4App {
    pub fn new(shared: Arc<Shared>, listener: &L4Listener) -> Self {
        Self {
            known: Known::default(),
            targets: Targets::new(&listener.name, shared.metrics.clone()),
            told: Told::default(),
            open: AtomicUsize::new(0),
            started: Arc::new(listener.clone()),
            shared,
        }
    }

    /// The settings in force for this listener.
    fn listener<'a>(&'a self, config: &'a Config) -> &'a L4Listener {
        config.l4.listeners.iter().find(|one| one.name == self.started.name).unwrap_or(&self.started)
    }

    fn take_place(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let open = self.open.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Place(self.clone());
        (open <= limit).then_some(place)
    }

    /// Counts a connection that is closed for a reason of its client's, or a limit's.
    fn refuse(&self, reason: &'static str) {
        self.shared.metrics.l4_refused.with_label_values(&[self.started.name.as_str(), reason]).inc();
    }

    /// Until the end of the connection.
    async fn carry(self: Arc<Self>, opened: Opened) {
        let process = self.shared.process.clone();
        let _busy = process.begin_request();
        let bytes = opened.held.bytes();
        bytes.inc_by(opened.sent);
        let counters = Counters { to_server: bytes.clone(), to_client: bytes.clone() };
        let outcome = process.relays.relay(opened.client, opened.server, opened.idle, counters).await;
        if !self.shared.config.load().log.access {
            return;
        }
        let peer = opened.peer.map_or_else(|| "-".to_owned(), |peer| peer.ip().to_canonical().to_string());
        info!(
            listener = self.started.name.as_str(), name = opened.name.as_deref().unwrap_or("-"),
            server = opened.held.label(), client = peer.as_str(), to_server = opened.sent + outcome.to_server,
            to_client = outcome.to_client, seconds = opened.since.elapsed().as_secs(), end = outcome.reason.as_str();
            "connection"
        );
    }
}

impl L4App {
    /// Hands a connection on, if it is one to be handed on; else it comes back, with its client and what that asked for.
    pub async fn receive(self: &Arc<Self>, stream: Stream) -> Option<(Stream, Peer, Option<Hello>)> {
        match opening::open(self, stream).await? {
            Opening::HandedOn(opened) => {
                tokio::spawn(self.clone().carry(*opened));
                None
            }
            Opening::Here(stream, peer, hello) => Some((stream, peer, hello)),
        }
    }

    /// Whether a connection that asked for `name` instead of what `hello` says would have been handed on. Browsers use one
    /// connection of HTTP/2 for all names of a certificate.
    pub fn is_elsewhere(&self, hello: &Hello, name: &str) -> bool {
        if hello.name.as_deref() == Some(name) {
            return false;
        }
        let config = self.shared.config.load();
        let servers = self.known.servers(&self.shared.placer);
        let picked = route::pick(self.listener(&config), &hello.naming(name), |name| servers.by_host(name).is_some());
        picked.is_some_and(|picked| *picked.to != L4Destination::Https)
    }
}
