//! The integration tests: the real binary, real sockets, real SQLite, and simulated BBB servers written from the
//! protocol's description. One binary, so that it links once; one module per subject.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod harness;

mod calls;
mod checksums;
mod commands;
mod demo;
mod ended;
mod failing;
mod first;
mod fuzzed;
mod health;
mod killing;
mod layers;
mod meetings;
mod observing;
mod operating;
mod placing;
mod recordings;
mod states;
mod tenants;
