//! Layer 4: connections handed on by name, by port, with and without PROXY headers, for as long as they last.

mod ending;
mod names;
mod proxying;
mod relaying;
pub mod stage;
mod targets;
