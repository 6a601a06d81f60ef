//! The BBB servers as a pool: their health, and what meetings cost them.
//!
//! Everything here is pure: no socket, no clock of its own, no lock. Who probes and polls tells `HealthBook` what it
//! saw; `placement` adds up `load` per server. The live table itself belongs to the ledger, because choosing a server
//! and reserving its load must be one step.

mod health;
mod health_state;
pub mod load;

pub use health::{Failure, HealthBook, HealthSettings, Source, Transition};
pub use health_state::Health;
