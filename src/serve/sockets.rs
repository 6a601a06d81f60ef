//! The listening sockets of a process: bound before anything else, or taken over from the Usher that ran before.
//!
//! They are opened here and not by Pingora, which panics where an address is taken and cannot give them away while it
//! goes on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::sync::watch;

use super::ServeError;
use super::listening::{Door, Listening};
use crate::config::Config;
use crate::relay;

/// Connections that the kernel holds until they are accepted; its own limit (`net.core.somaxconn`) is below.
const BACKLOG: i32 = 65_535;

/// A socket and the address it is bound to.
pub type Bound = (SocketAddr, OwnedFd);

/// Everything this process listens on.
pub struct Sockets {
    /// For the services of this process and, once more, for the Usher that comes after it.
    kept: Mutex<Vec<Bound>>,
    closing: watch::Sender<bool>,
}

impl Sockets {
    /// Opens what `config` asks for, with `inherited` where it fits; the rest of `inherited` is closed.
    pub fn open(config: &Config, mut inherited: Vec<Bound>) -> Result<Self, ServeError> {
        let l4 = config.l4.addresses().map(|address| ("l4.listener", address));
        let http = config.listen.http.iter().map(|address| ("listen.http", *address));
        let https = config.listen.https.iter().map(|address| ("listen.https", *address));
        let admin = config.admin.listen.map(|address| ("admin.listen", address));
        let all: Vec<(&'static str, SocketAddr)> = http.chain(https).chain(l4).chain(admin).collect();
        let mut kept = Vec::new();
        for (key, address) in all.iter().copied() {
            let place = inherited.iter().position(|(bound, _)| *bound == address);
            let socket = match place {
                Some(place) => Ok(inherited.swap_remove(place).1),
                None => {
                    let all_of_ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
                    bind(address, all.iter().any(|(_, other)| *other == all_of_ipv4))
                }
            };
            kept.push((address, socket.map_err(|error| ServeError::Listen { key, address, error })?));
        }
        Ok(Self { kept: Mutex::new(kept), closing: watch::channel(false).0 })
    }

    /// A service that takes connections on `addresses`; machines that are silent for `dead_after` are given up.
    pub fn service<D: Door>(
        &self,
        name: &str,
        door: D,
        addresses: &[SocketAddr],
        dead_after: Duration,
    ) -> io::Result<Listening<D>> {
        let mut sockets = Vec::new();
        for (address, socket) in self.kept.lock().iter().filter(|(address, _)| addresses.contains(address)) {
            // What is accepted inherits it.
            relay::prepare(socket, dead_after);
            sockets.push((*address, socket.try_clone()?));
        }
        let (name, closing) = (name.to_owned(), self.closing.subscribe());
        Ok(Listening { name, door: Arc::new(door), sockets, closing, threads: None })
    }

    /// The sockets, for another process.
    pub fn share(&self) -> io::Result<Vec<Bound>> {
        self.kept.lock().iter().map(|(address, socket)| Ok((*address, socket.try_clone()?))).collect()
    }

    /// Takes no further connection. What waits to be accepted is left to whoever has the sockets too.
    pub fn close(&self) {
        self.kept.lock().clear();
        self.closing.send_replace(true);
    }
}

/// A listening socket. One for all of IPv6 takes IPv4 too, unless `is_apart`: unlike nginx, which asks for a second line.
fn bind(address: SocketAddr, is_apart: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, is_apart)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}
