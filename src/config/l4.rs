//! `[[l4.listener]]` as typed values: TCP listeners, and where their connections go.
//!
//! Everything here has been checked, as in `sections`.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// `[[l4.listener]]`, one for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct L4 {
    pub listeners: Vec<L4Listener>,
}

/// One TCP listener.
#[derive(Clone, Debug, PartialEq)]
pub struct L4Listener {
    /// For metrics and the log; unique.
    pub name: String,
    pub listen: Vec<SocketAddr>,
    /// By what a TLS client asks for. If there are none, all connections go to `rest`, whatever they carry.
    pub routes: Vec<L4Route>,
    /// Where connections go that no route takes; `None` closes them.
    pub rest: Option<L4Destination>,
    /// A trusted proxy in front tells the client's address in a PROXY header.
    pub proxy_protocol_in: bool,
    /// How targets are told the client's address, unless the route says it.
    pub proxy_protocol_out: ProxyOut,
    /// Longest finding and connecting to one target may take.
    pub connect_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// Longest a client may take to say what it wants.
    pub hello_timeout: Duration,
    /// Open connections at once.
    pub connections: usize,
}

/// One rule: which connections it takes, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct L4Route {
    pub names: L4Names,
    /// If not empty: only clients that offer one of these protocols (ALPN).
    pub alpn: Vec<String>,
    pub to: L4Destination,
    pub proxy_protocol_out: Option<ProxyOut>,
}

/// Names in the ClientHello (SNI).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L4Names {
    /// Any, and none at all.
    Any,
    Listed(Vec<L4Name>),
    /// The host names of the known servers.
    Servers,
}

/// A name, or all below one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum L4Name {
    Exact(String),
    /// `*.example.org`: with any number of labels before it.
    Below(String),
}

impl fmt::Display for L4Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq)]
pub enum L4Destination {
    /// To the one of these with the fewest connections for its weight; never empty.
    Targets(Vec<L4Target>),
    /// To the host of the server with this name.
    Server { name: String, port: u16 },
    /// To the server that the client has named.
    NamedServer { port: u16 },
    /// To nobody: TLS ends here, as on `listen.https`.
    Https,
}

/// One address of equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L4Target {
    /// An address, or a name that is looked up for each connection.
    pub host: String,
    pub port: u16,
    pub weight: u32,
}

/// The version of the PROXY protocol that a target understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyOut {
    #[default]
    Off,
    V1,
    V2,
}

impl L4 {
    /// What a reload cannot change: which listeners there are, and where they listen.
    pub fn sockets(&self) -> HashSet<(&str, &[SocketAddr])> {
        self.listeners.iter().map(|listener| (listener.name.as_str(), listener.listen.as_slice())).collect()
    }

    /// All addresses that are listened on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().flat_map(|listener| listener.listen.iter().copied())
    }

    /// The addresses on which some connections are not handed on: TLS ends here.
    pub fn https_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let ends_here = |one: &&L4Listener| {
            one.routes.iter().map(|route| &route.to).chain(&one.rest).any(|to| *to == L4Destination::Https)
        };
        self.listeners.iter().filter(ends_here).flat_map(|listener| listener.listen.iter().copied())
    }

    /// The names of the servers that connections are sent to.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        let destinations =
            self.listeners.iter().flat_map(|one| one.routes.iter().map(|route| &route.to).chain(&one.rest));
        destinations.filter_map(|to| match to {
            L4Destination::Server { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }
}
