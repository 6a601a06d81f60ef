//! The server's life: start, stop, restart, drop; faults; the record of calls.
//!
//! The port is reserved for the server's whole life by a socket that is bound but never listens. So the listening socket
//! can be closed and opened again at any moment, synchronously, and nobody else gets the port meanwhile; connecting to
//! it is refused by the kernel. (Linux allows the second bind; BSD does not.)

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::client::SimClient;
use super::client::graphql::Seats;
use super::client::trouble::Trouble;
use super::fault::{Fault, Faults, SocketState};
use super::seen::{Seen, SeenCall, SeenSocket, SeenUpload};
use super::world::World;
use super::{SimOptions, accept};
use crate::ids::Secret;

/// Connections the kernel may hold before they are accepted.
const BACKLOG: u32 = 1024;

/// A running simulated server; dropping it closes the port and every connection.
pub struct SimServer {
    pub(super) shared: Arc<Shared>,
    _reserved: TcpSocket,
}

/// What the server's tasks share.
pub(super) struct Shared {
    pub options: SimOptions,
    pub addr: SocketAddr,
    pub world: Mutex<World>,
    pub seen: Mutex<Seen>,
    pub faults: Faults,
    /// Settings that may change while the server runs.
    pub client: Mutex<SimClient>,
    /// What goes wrong on WebSockets.
    pub trouble: Trouble,
    /// GraphQL sockets by session token.
    pub seats: Seats,
    /// `None` while the port refuses.
    pub listener: Mutex<Option<TcpListener>>,
    /// The connection that fills the kernel's queue, so that it drops every further one.
    filler: Mutex<Option<std::net::TcpStream>>,
    /// Open connections.
    pub connections: watch::Sender<usize>,
    runtime: Handle,
}

impl Shared {
    /// Origin of the URLs this server gives away.
    pub(super) fn origin(&self) -> String {
        let set = self.client.lock().server_url.clone();
        set.or_else(|| self.options.public_host.clone()).unwrap_or_else(|| format!("http://{}", self.addr))
    }
}

impl SimServer {
    /// Starts serving on the current tokio runtime. Fails if the address cannot be bound.
    pub async fn start(options: SimOptions) -> io::Result<SimServer> {
        let reserved = bound(options.listen)?;
        let addr = reserved.local_addr()?;
        let listener = bound(addr)?.listen(BACKLOG)?;
        let client = Mutex::new(options.client.clone());
        let shared = Arc::new(Shared {
            options,
            addr,
            world: Mutex::new(World::default()),
            seen: Mutex::new(Seen::default()),
            faults: Faults::none(),
            client,
            trouble: Trouble::none(),
            seats: Seats::default(),
            listener: Mutex::new(Some(listener)),
            filler: Mutex::new(None),
            connections: watch::Sender::new(0),
            runtime: Handle::current(),
        });
        tokio::spawn(accept::accept_all(Arc::downgrade(&shared), shared.faults.sockets()));
        Ok(SimServer { shared, _reserved: reserved })
    }

    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }
    /// `http://127.0.0.1:port/bigbluebutton/api/`
    pub fn url(&self) -> String {
        format!("http://{}/bigbluebutton/api/", self.shared.addr)
    }
    pub fn secret(&self) -> &Secret {
        &self.shared.options.secret
    }
    pub fn options(&self) -> &SimOptions {
        &self.shared.options
    }

    /// Fails every call, on open connections too, until `heal`; replaces the fault before.
    pub fn fault(&self, fault: Fault) {
        let state = self.shared.faults.set_everywhere(fault);
        self.follow(state);
    }
    /// Fails one call (`index` = the version call) so many times, or until `heal`.
    pub fn fault_on(&self, call: &str, fault: Fault, times: Option<u32>) {
        self.shared.faults.set_for(call, fault, times);
    }
    /// Takes every fault back; a stopped server stays stopped.
    pub fn heal(&self) {
        let state = self.shared.faults.heal();
        self.follow(state);
    }

    /// The latest 10 000 requests that were read, oldest first.
    pub fn calls(&self) -> Vec<SeenCall> {
        self.shared.seen.lock().latest()
    }
    /// How many requests of that call were read since the start or `forget_calls`.
    pub fn count_calls(&self, call: &str) -> u64 {
        self.shared.seen.lock().count(call)
    }
    /// The latest 10 000 WebSockets that were opened, oldest first; the open ones among them go on counting.
    pub fn sockets(&self) -> Vec<SeenSocket> {
        self.shared.seen.lock().sockets()
    }
    /// How many WebSockets are open now.
    pub fn open_sockets(&self) -> usize {
        self.shared.seen.lock().open_sockets()
    }
    /// Presentations that were sent or are being sent, oldest first.
    pub fn uploads(&self) -> Vec<SeenUpload> {
        self.shared.seen.lock().uploads()
    }
    pub fn forget_calls(&self) {
        self.shared.seen.lock().forget();
    }

    /// Closes the port and all connections; what the server knows is kept. Returns when everything is closed.
    pub async fn stop(&self) {
        let state = self.shared.faults.set_running(false);
        self.follow(state);
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.shared.connections.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Serves again on the same port with the same state, and with the faults that were set.
    pub async fn restart(&self) {
        let state = self.shared.faults.set_running(true);
        self.follow(state);
    }

    /// Opens, closes or stuffs the listening socket before the caller goes on.
    fn follow(&self, state: SocketState) {
        let mut listener = self.shared.listener.lock();
        let was_stuffed = self.shared.filler.lock().take().is_some();
        match state {
            SocketState::Closed => *listener = None,
            SocketState::Unreachable => {
                // Linux keeps one connection more than the backlog says, and drops what asks for another.
                self.open(&mut listener, 0);
                let filler = std::net::TcpStream::connect(self.shared.addr);
                *self.shared.filler.lock() = filler.ok();
            }
            SocketState::Serving | SocketState::BlackHole if listener.is_none() || was_stuffed => {
                self.open(&mut listener, BACKLOG);
            }
            SocketState::Serving | SocketState::BlackHole => {}
        }
        drop(listener);
        self.shared.faults.announce();
    }

    fn open(&self, listener: &mut Option<TcpListener>, backlog: u32) {
        *listener = None; // the old one first: only one socket can listen
        let _in_runtime = self.shared.runtime.enter();
        match bound(self.shared.addr).and_then(|socket| socket.listen(backlog)) {
            Ok(open) => *listener = Some(open),
            Err(error) => log::error!(addr:% = self.shared.addr, error:%; "simulated server cannot listen again"),
        }
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        self.shared.faults.set_running(false);
        *self.shared.listener.lock() = None;
    }
}

fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
