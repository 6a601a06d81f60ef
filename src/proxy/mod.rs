//! Layer 7: one public HTTP request, from its bytes to its answer. The glue to Pingora.
//!
//! A request runs forward through these files: `app` (connection and limits) → `request` (bytes become values) →
//! `route` → `api` (who calls, what is asked, what the pool says) → `answer` (values become bytes) → `access` (one log
//! line, metrics). Nothing here decides placements; nothing below this folder knows HTTP towards the caller.

mod access;
mod answer;
mod api;
mod app;
mod body;
mod pages;
mod request;
mod route;

pub use answer::Answer;
pub use app::PublicApp;
pub use route::Route;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::placement::Placer;

/// What every request may use.
pub struct Shared {
    pub config: ArcSwap<Config>,
    pub placer: Arc<Placer>,
    pub metrics: Arc<Metrics>,
    /// KiB of request bodies that may be held in memory at once.
    pub body_memory: Arc<Semaphore>,
    /// Creates that may be at work at once.
    pub creates: Arc<Semaphore>,
    pub process: Arc<crate::process::Process>,
}
