//! The state of this process: what all its listeners share; starting, ready, retired, stopping; and why it is not ready.
//!
//! `/livez` asks whether the process works at all, `/readyz` whether a front end should send calls here: the store
//! answers, at least one server is usable, and no stop has begun.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::client::Said;
use crate::config::Config;
use crate::ids::ServerId;
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::pacing::Pacer;
use crate::placement::Placer;
use crate::pool::Health;
use crate::relay::Relays;
use crate::store::ServerState;
use crate::tls::Tls;

/// What every request may use, whichever listener it came by.
pub struct Shared {
    pub config: ArcSwap<Config>,
    /// What this process was started with, and goes on with where a reload changes nothing.
    pub started_with: Arc<Config>,
    pub placer: Arc<Placer>,
    pub metrics: Arc<Metrics>,
    /// KiB of request bodies that may be held in memory at once.
    pub body_memory: Arc<Semaphore>,
    /// Creates that may be at work at once.
    pub creates: Arc<Semaphore>,
    /// What one address and one tenant may have.
    pub limiter: Limiter,
    pub pacer: Pacer,
    /// What servers said last of what only they know.
    pub said: Said,
    pub process: Arc<Process>,
    pub tls: Tls,
}

impl Shared {
    /// What `/readyz` answers on every listener: 200, or 503 with a reason in each line.
    pub fn readiness(&self) -> (u16, String) {
        let reasons = self.process.not_ready(&self.placer);
        match reasons.is_empty() {
            true => (200, "ready\n".to_owned()),
            false => (503, reasons.join("\n") + "\n"),
        }
    }
}

/// See the module's header.
#[derive(Default)]
pub struct Process {
    loaded: AtomicBool,
    life: AtomicU8,
    elder: AtomicBool,
    heir: AtomicBool,
    /// Rings when a connection should end after the request it is at.
    leaving: Notify,
    in_flight: AtomicUsize,
    sockets: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// Those of the HTTP and of the HTTPS listeners.
    connections_of: [Arc<AtomicUsize>; 2],
    handshakes: AtomicUsize,
    refusals: Arc<AtomicUsize>,
    /// What goes on for hours, until the end of a stop.
    pub relays: Relays,
    pub carried: Carried,
}

/// What a process does with connections, as `Process::life` keeps it.
mod life {
    pub const SERVING: u8 = 0;
    /// Another Usher has taken over: what is open goes on to its end.
    pub const RETIRED: u8 = 1;
    pub const STOPPING: u8 = 2;
}

impl Process {
    /// With as many threads that relay, at most.
    pub fn new(threads: usize) -> Self {
        Self { relays: Relays::new(threads), ..Self::default() }
    }

    /// The store has been read.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Another Usher serves from now on.
    pub fn retire(&self) {
        self.life.fetch_max(life::RETIRED, Ordering::AcqRel);
        self.leaving.notify_waiters();
    }

    /// The process ends soon.
    pub fn stop(&self) {
        self.life.store(life::STOPPING, Ordering::Release);
        self.leaving.notify_waiters();
    }

    /// No request is wanted behind the present one of a connection.
    pub fn is_draining(&self) -> bool {
        self.life.load(Ordering::Acquire) != life::SERVING
    }

    pub fn is_stopping(&self) -> bool {
        self.life.load(Ordering::Acquire) == life::STOPPING
    }

    /// The Usher that this one has taken over from still answers requests, on connections that were kept alive.
    pub fn set_elder(&self, is_there: bool) {
        self.elder.store(is_there, Ordering::Release);
    }

    pub fn has_elder(&self) -> bool {
        self.elder.load(Ordering::Acquire)
    }

    /// Another Usher has taken over from this one, or is about to.
    pub fn set_heir(&self, is_there: bool) {
        self.heir.store(is_there, Ordering::Release);
    }

    /// Another Usher answers requests on the same store beside this one: for a while after an upgrade, on both sides.
    pub fn has_company(&self) -> bool {
        self.has_elder() || self.heir.load(Ordering::Acquire)
    }

    /// Requests may still come from those who are connected: to this process, or to the one before it.
    pub fn may_be_asked(&self) -> bool {
        self.connections() > self.sockets() || self.has_elder()
    }

    /// Waits until `is_draining`.
    pub async fn draining(&self) {
        let mut bell = std::pin::pin!(self.leaving.notified());
        bell.as_mut().enable();
        if !self.is_draining() {
            bell.await;
        }
    }

    /// Requests being answered now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub fn begin_request(&self) -> Counted<&AtomicUsize> {
        Counted::one_more(&self.in_flight)
    }

    /// One more WebSocket. It counts among the connections too.
    pub fn begin_socket(&self) -> Open {
        Counted::one_more(self.sockets.clone())
    }

    /// WebSockets being carried now.
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Acquire)
    }

    /// One more connection, unless there are `limit` already.
    pub fn begin_connection(&self, limit: usize) -> Option<Open> {
        Counted::within(self.connections.clone(), limit)
    }

    /// One more connection by one kind of listener (0: HTTP, 1: HTTPS), unless there are `limit` already.
    pub fn begin_connection_of(&self, kind: usize, limit: usize) -> Option<Open> {
        Counted::within(self.connections_of.get(kind)?.clone(), limit)
    }

    /// One more TLS handshake, unless there are `limit` already.
    pub fn begin_handshake(&self, limit: usize) -> Option<Counted<&AtomicUsize>> {
        Counted::within(&self.handshakes, limit)
    }

    /// One more connection that is being refused, unless there are `limit` already.
    pub fn begin_refusal(&self, limit: usize) -> Option<Open> {
        Counted::within(self.refusals.clone(), limit)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Why calls should not be sent here, in words; empty means ready.
    pub fn not_ready(&self, placer: &Placer) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_stopping() {
            reasons.push("stopping: open requests are being finished".to_owned());
        }
        if !self.loaded.load(Ordering::Acquire) {
            reasons.push("starting: the store has not been read yet".to_owned());
            return reasons;
        }
        if let Some(trouble) = placer.store_trouble() {
            reasons.push(format!("the store does not answer ({trouble}): no new meetings, joins go on"));
        }
        if placer.tenants.load().is_empty() {
            reasons.push("no tenant yet: add one with `usher tenant add`".to_owned());
        }
        let servers = placer.ledger.servers();
        let usable = |state, health| state == ServerState::Enabled && health == Health::Up;
        if servers.is_empty() {
            reasons.push("no BBB server yet: add one with `usher server add`".to_owned());
        } else if placer.monitor.own_fault() {
            // One server's own words: a certificate that all of them share is not the network.
            let told =
                servers.iter().find_map(|view| Some((&view.record.name, placer.monitor.reason(view.record.id)?)));
            let told = told.map(|(name, reason)| format!("; {name}: {reason}")).unwrap_or_default();
            reasons.push(format!("all BBB servers fail at once: probably our own network{told}"));
        } else if !servers.iter().any(|view| usable(view.record.state, view.health)) {
            reasons.push("no BBB server is both enabled and up".to_owned());
        }
        reasons
    }
}

/// Lasting connections of browsers that are carried to each server.
#[derive(Default)]
pub struct Carried(Mutex<HashMap<ServerId, Lasting>>);

#[derive(Default)]
struct Lasting {
    connections: u32,
    people: u32,
}

/// What a lasting connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The client's own: each person in a meeting has one, and nobody else does.
    Client,
    /// Audio, cameras, notes and the like.
    Other,
}

impl Carried {
    /// One more, as long as what is given back lives.
    pub fn begin(&self, server: ServerId, purpose: Purpose) -> Carrying<'_> {
        let mut loads = self.0.lock();
        let load = loads.entry(server).or_default();
        load.connections += 1;
        load.people += u32::from(purpose == Purpose::Client);
        Carrying { all: self, server, purpose }
    }

    /// Connections to a server.
    pub fn to(&self, server: ServerId) -> u32 {
        self.0.lock().get(&server).map_or(0, |load| load.connections)
    }

    /// People whose client is carried, by server.
    pub fn people(&self) -> Vec<(ServerId, u32)> {
        self.0.lock().iter().filter(|(_, load)| load.people > 0).map(|(id, load)| (*id, load.people)).collect()
    }
}

/// One lasting connection.
pub struct Carrying<'a> {
    all: &'a Carried,
    server: ServerId,
    purpose: Purpose,
}

impl Drop for Carrying<'_> {
    fn drop(&mut self) {
        let mut loads = self.all.0.lock();
        if let Some(load) = loads.get_mut(&self.server) {
            load.connections -= 1;
            load.people -= u32::from(self.purpose == Purpose::Client);
            if load.connections == 0 {
                loads.remove(&self.server);
            }
        }
    }
}

/// Counts as long as it lives.
pub struct Counted<C: Deref<Target = AtomicUsize>>(C);

/// What may outlive the task that has begun it.
pub type Open = Counted<Arc<AtomicUsize>>;

impl<C: Deref<Target = AtomicUsize>> Counted<C> {
    fn one_more(counter: C) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }

    fn within(counter: C, limit: usize) -> Option<Self> {
        let counted = Self::one_more(counter);
        (counted.0.load(Ordering::Acquire) <= limit).then_some(counted)
    }
}

impl<C: Deref<Target = AtomicUsize>> Drop for Counted<C> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
