//! How a connection has come: by which kind of listener, from whom, and that it has its place among all.

use super::limit::Place;
use crate::proxy_protocol::Peer;

/// The kind of listener; a word for metrics, and what the client believes of the way here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listener {
    #[default]
    Http,
    Https,
}

impl Listener {
    /// Number of values of `slot`.
    pub const SLOTS: usize = 2;

    /// Stands for the label in tables.
    pub fn slot(self) -> usize {
        match self {
            Self::Http => 0,
            Self::Https => 1,
        }
    }

    /// The label of metrics, which is the scheme too.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether a name is served by somebody else at the address that the client has connected to.
pub type Elsewhere = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// A connection that has been let in.
pub struct Arrival {
    pub listener: Listener,
    pub peer: Peer,
    pub place: Place,
    /// Of a port that leads some names elsewhere.
    pub elsewhere: Option<Elsewhere>,
}
