//! The listening sockets of a process: bound before anything else, or taken over from the Usher that ran before.
//!
//! They are opened here and not by Pingora, which panics where an address is taken and cannot give them away while it
//! goes on. Pingora gets them ready made, and a watch of ours that ends its accept loops.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::protocols::TcpKeepalive;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::listening::Service;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::sync::watch;

use super::ServeError;
use crate::config::Config;

/// Connections that the kernel holds until they are accepted; its own limit (`net.core.somaxconn`) is below.
const BACKLOG: i32 = 65_535;

/// A socket and the address it is bound to.
pub type Bound = (SocketAddr, OwnedFd);

/// Everything this process listens on.
pub struct Sockets {
    table: ListenFds,
    /// The same sockets once more, for the Usher that comes after this one.
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
        let mut table = Fds::new();
        let mut kept = Vec::new();
        for (key, address) in all.iter().copied() {
            let place = inherited.iter().position(|(bound, _)| *bound == address);
            let pair = match place {
                Some(place) => Ok(inherited.swap_remove(place).1),
                None => {
                    let all_of_ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
                    bind(address, all.iter().any(|(_, other)| *other == all_of_ipv4))
                }
            }
            .and_then(|socket| Ok((socket.try_clone()?, socket)));
            let (spare, socket) = pair.map_err(|error| ServeError::Listen { key, address, error })?;
            table.add(address.to_string(), socket.into_raw_fd());
            kept.push((address, spare));
        }
        Ok(Self { table: Arc::new(Mutex::new(table)), kept: Mutex::new(kept), closing: watch::channel(false).0 })
    }

    /// A service on `addresses` that gives `app` streams without buffers: a connection that says nothing costs little, and
    /// the readers behind have their own. `vigil` ends connections of machines that are gone.
    pub fn service<A>(&self, name: &str, app: A, addresses: &[SocketAddr], vigil: &TcpKeepalive) -> Listening<A> {
        let mut service = Service::new(name.to_owned(), app);
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(vigil.clone());
        for address in addresses {
            let listener = ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::unbuffered());
            service.add_listener(listener.tcp_socket_options(options.clone()));
        }
        Listening { service, table: self.table.clone(), closing: self.closing.subscribe() }
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

/// A Pingora service that listens on sockets of ours until we say otherwise.
pub struct Listening<A> {
    pub service: Service<A>,
    table: ListenFds,
    closing: ShutdownWatch,
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> PingoraService for Listening<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, accept_loops: usize) {
        self.service.start_service(Some(self.table.clone()), self.closing.clone(), accept_loops).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}
