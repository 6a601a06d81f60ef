//! The integration tests: the real binary, real sockets, real SQLite, and simulated BBB servers written from the
//! protocol's description. One binary, so that it links once; one module per subject.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod harness;

mod alerts;
mod blaming;
mod calls;
mod checksums;
mod commands;
mod demo;
mod edge;
mod ended;
mod failing;
mod faults;
mod first;
mod fuzzed;
mod health;
mod hostile;
mod kill_loop;
mod killing;
mod l4;
mod layers;
mod listening;
mod meetings;
mod observing;
mod one_picture;
mod operating;
mod pacing;
mod placing;
mod races;
mod recordings;
mod recovery;
mod reliability;
mod replacing_nginx;
mod restoring;
mod sim_client;
mod states;
mod store_races;
mod store_trouble;
mod tenants;
mod tls;
mod trusting;
mod upgrading;
