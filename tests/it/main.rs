//! The integration tests: the real binary, real sockets, real SQLite, and simulated BBB servers written from the
//! protocol's description. One binary, so that it links once; one module per subject.

#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

mod first;
