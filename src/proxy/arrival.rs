//! How a connection has come: by which kind of listener, from whom, and that it has its place among all.

use std::net::SocketAddr;

use super::limit::Place;

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

/// A connection that has been let in.
pub struct Arrival {
    pub listener: Listener,
    pub peer: Option<SocketAddr>,
    pub place: Place,
}
