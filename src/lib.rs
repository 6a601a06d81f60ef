//! Usher: load balancer and edge proxy for BigBlueButton.
//!
//! The folders are layers; a module uses only what stands before it:
//!
//! ```text
//! error, ids, clock → bbb → config → store, metrics, log, relay, proxy_protocol, tls
//!                   → stream, tenant, client, limit, pacing, restart → pool → placement → process → proxy, l4, admin → serve
//!                   → sim, cli → main
//! ```
//!
//! `docs/architecture.md` walks through a `create` and a `join` file by file.

pub mod admin;
pub mod bbb;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod l4;
pub mod limit;
pub mod log;
pub mod metrics;
pub mod pacing;
pub mod placement;
pub mod pool;
pub mod process;
pub mod proxy;
pub mod proxy_protocol;
pub mod relay;
pub mod restart;
pub mod serve;
pub mod sim;
pub mod store;
pub mod stream;
pub mod tenant;
pub mod tls;
