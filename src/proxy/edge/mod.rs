//! The edge: browsers' requests that belong to one BBB server, carried there and back.
//!
//! A request runs forward through these files: `find` (which server's is it) → `scope` (what browsers do not need of it) → `belongs`
//! (whose session's) → `assets` (a file of the client page, from memory) or `upstream` (a connection) → `heading` (what the
//! server is told) → `exchange` (out goes the body, in comes the head) → `reply` (what the browser is told; `rewriting` where that
//! leads) → `passing` (the body; `coding` compresses it) or `tunnel` (a WebSocket). `astray` is what pages ask for beside their
//! prefix. Other bodies are never held: a piece is read when the one
//! before it has been written.

mod assets;
mod astray;
mod belongs;
pub mod chunks;
mod coding;
mod exchange;
mod find;
mod heading;
mod passing;
pub mod reply;
pub mod rewriting;
mod scope;
mod socket;
mod tunnel;
mod upstream;

pub use belongs::{claim, learn, signature};
pub use exchange::{Failure, Opened};
pub use find::{Place, Way};
pub use passing::{Fault, Passing};
pub use scope::refused;
pub use socket::Socket;
pub use tunnel::Tunnel;

use std::sync::Arc;

use assets::Assets;
use find::Places;
use tokio::sync::Semaphore;
use upstream::Upstreams;

use super::answer::{Answer, TEXT};
use super::body::Inbound;
use super::pages;
use super::request::{Request, new_request_id};
use crate::config::Config;
use crate::error::Blame;
use crate::limit::Refusal;
use crate::metrics::Metrics;
use crate::placement::Ledger;
use crate::store::ServerRecord;
use crate::tls;

/// What all browsers' traffic of this process shares.
pub struct Edge {
    places: Places,
    upstreams: Upstreams,
    assets: Assets,
    /// This process's mark on requests that it sends.
    hop: String,
    /// Bodies that may be compressed at once: each takes up to half a megabyte.
    encoders: Arc<Semaphore>,
}

/// More are passed on as they come.
const ENCODERS: usize = 256;

impl Edge {
    pub(super) fn new(metrics: &Metrics, tls: Arc<tls::Servers>) -> Self {
        Self {
            places: Places::default(),
            upstreams: Upstreams::new(tls),
            assets: Assets::new(metrics),
            hop: new_request_id(),
            encoders: Arc::new(Semaphore::new(ENCODERS)),
        }
    }

    /// The server's answer, or what is kept of it. `admit` is asked before the server is.
    pub async fn answer(
        &self,
        request: &Request<'_>,
        way: &Way<'_>,
        inbound: &mut Inbound<'_>,
        config: &Arc<Config>,
        admit: Admit<'_>,
    ) -> Result<Reply, Failure> {
        if let Some(reply) = self.asset(request, way, config, admit).await {
            return reply;
        }
        admit().map_err(Failure::Limited)?;
        self.carry(request, way, inbound, config).await.map(Reply::passing)
    }

    /// The server that the request belongs to; `None` if it is ours to answer.
    pub fn find<'r>(&self, ledger: &Ledger, request: &Request<'r>, config: &Config) -> Option<Way<'r>> {
        self.places.find(ledger, request, config)
    }
}

/// Says whether a request may go to its server.
pub type Admit<'a> = &'a (dyn Fn() -> Result<(), Refusal> + Send + Sync);

/// An answer to what was carried, or would have been.
pub enum Reply {
    Passing(Box<Passing>),
    /// From memory.
    Kept(Answer),
}

impl Reply {
    fn passing(passing: Passing) -> Self {
        Self::Passing(Box::new(passing))
    }
}

/// What a browser sees whose server gave no answer.
pub fn refusal(failure: &Failure, server: &Arc<ServerRecord>) -> Answer {
    let (status, page) = match failure {
        Failure::Body(failure) => {
            let mut answer = Answer::body_failure(*failure);
            answer.server = Some(server.clone());
            return answer;
        }
        // Whoever has asked `admit` tells the reason in the form that the browser wants.
        Failure::Limited(_) => (429, Answer::new(429, TEXT, "Too many requests. Try again in a moment.\n")),
        Failure::Loop => (508, Answer::new(508, TEXT, "This server's name leads back to this proxy.\n")),
        Failure::TooSlow(_) => (504, pages::unreachable()),
        Failure::Connect(_) | Failure::Broken(_) | Failure::BadReply(_) => (502, pages::unreachable()),
    };
    let mut answer = Answer { status, ..page }.failed_with("serverUnavailable", Blame::Server);
    answer.server = Some(server.clone());
    answer.reason = Some(failure.to_string());
    answer
}
