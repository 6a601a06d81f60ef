//! The HTTPS listeners: real handshakes, real certificates, the real binary.

mod admin;
mod challenges;
mod checking;
mod choosing;
pub mod client;
mod conformance;
mod doors;
pub mod maker;
mod redirecting;
mod reloading;
mod sharing;
pub mod streams;
