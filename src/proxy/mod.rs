//! Layer 7: one public HTTP request, from its bytes to its answer. The glue to Pingora.
//!
//! A request runs forward through these files: `app` (connection and limits) → `head` (plain, or one for `session`) →
//! `request` (bytes become values) → `route` → `api` (who calls, what is asked, what the pool says) → `answer` (values become bytes) → `access` (one log
//! line, metrics). Nothing here decides placements; nothing below this folder knows HTTP towards the caller.

mod access;
mod answer;
mod api;
mod app;
mod body;
mod head;
mod host;
mod limit;
mod pages;
mod request;
mod route;
mod session;
mod write;

pub use answer::Answer;
pub use app::PublicApp;
pub use head::{Lane, Scan, lane};
pub use request::Request;
pub use route::Route;

use crate::process::Shared;
