//! Layer 7: one public HTTP request, from its bytes to its answer. The glue to Pingora.
//!
//! A connection comes in by `arrival`, and speaks HTTP/1.1 (`app`) or HTTP/2 (`h2`). A request runs forward through these
//! files: `head` (plain, or one for `session`) → `request` (bytes become values) → `route` → `respond`, which asks `secure`
//! (HTTPS first), `edge` (a server's to answer) or `api` (who calls, what is asked, what the pool says) → `answer` (values
//! become bytes) → `access` (one log line, metrics). Nothing here decides placements; nothing below this folder knows HTTP
//! towards the caller.

mod access;
mod answer;
mod api;
mod app;
mod arrival;
mod body;
mod challenge;
pub mod edge;
mod forwarded;
mod h2;
mod head;
mod host;
mod limit;
mod pages;
mod request;
mod respond;
mod route;
mod secure;
mod session;
mod write;

pub use answer::Answer;
pub use app::PublicApp;
pub use arrival::{Arrival, Elsewhere, Listener};
pub use head::{Lane, Scan, lane};
pub use limit::Place;
pub use request::{Lines, Request};
pub use route::Route;

use crate::process::Shared;
