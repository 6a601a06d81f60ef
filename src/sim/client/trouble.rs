//! What goes wrong on WebSockets, and what a test says on them from the server's side.
//!
//! A fault is set for all sockets whose path begins with a text, open ones and those to come, until it is healed. The
//! handshake itself fails by the faults of calls: `fault_on("/graphql", Fault::Status(502), …)`.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_tungstenite::tungstenite::Message;

use super::super::server::SimServer;

/// A way for an open WebSocket to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketFault {
    /// The server closes with this code and reason, and waits for the answer.
    Close(u16, String),
    /// Nothing is read, nothing is sent, until it is healed.
    Silence,
    /// Every message waits so long before it is sent.
    Slow(Duration),
    /// One text message of so many bytes is sent, at once.
    Big(usize),
    /// The connection ends without a close frame.
    Drop,
    /// The connection is reset (RST).
    Reset,
}

/// What all sockets watch.
pub(in crate::sim) struct Trouble {
    faults: watch::Sender<Faults>,
    pushes: broadcast::Sender<Push>,
}

/// The faults that hold, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    by_path: Vec<(String, SocketFault)>,
    /// How often everything was healed.
    pub heals: u64,
}

impl Faults {
    /// The fault of a socket; the latest that fits.
    pub(super) fn of(&self, path: &str) -> Option<SocketFault> {
        let meant = |(prefix, _): &&(String, SocketFault)| path.starts_with(prefix.as_str());
        self.by_path.iter().rfind(meant).map(|(_, fault)| fault.clone())
    }
}

/// Something for every open socket below a path.
#[derive(Clone, Debug)]
pub(super) enum Push {
    Say(String, Message),
    /// A session is not what it was: GraphQL subscriptions tell.
    SessionsChanged,
}

/// Messages a slow socket may lag behind before it misses some.
const LAG: usize = 1024;

impl Trouble {
    pub(in crate::sim) fn none() -> Self {
        Self { faults: watch::Sender::new(Faults::default()), pushes: broadcast::Sender::new(LAG) }
    }

    pub(super) fn faults(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    pub(super) fn pushes(&self) -> broadcast::Receiver<Push> {
        self.pushes.subscribe()
    }

    pub(in crate::sim) fn sessions_changed(&self) {
        // Nobody listens while no socket is open.
        let _ = self.pushes.send(Push::SessionsChanged);
    }
}

impl SimServer {
    /// Fails all sockets whose path begins with `path`, now and from now on, until `heal_sockets`.
    pub fn fault_sockets(&self, path: &str, fault: SocketFault) {
        self.shared.trouble.faults.send_modify(|faults| faults.by_path.push((path.to_owned(), fault)));
    }

    /// The same for those that are open now; later ones are well.
    pub fn fault_open_sockets(&self, path: &str, fault: SocketFault) {
        self.shared.seen.lock().doom(path, &fault);
        self.shared.trouble.faults.send_modify(|_| ());
    }

    /// Takes all faults of sockets back; a socket that was closed stays closed.
    pub fn heal_sockets(&self) {
        self.shared.trouble.faults.send_modify(|faults| {
            faults.by_path.clear();
            faults.heals += 1;
        });
    }

    /// The server says something by itself on every open socket whose path begins with `path`.
    pub fn say_on_sockets(&self, path: &str, message: Message) {
        let _ = self.shared.trouble.pushes.send(Push::Say(path.to_owned(), message));
    }
}
