//! What meetings cost a BBB server, as pure functions: media in, thousandths of a core and Mbit/s out.
//!
//! `cost` is the formula for people who are there, `reserve` the forecast of those still to come; the constants are
//! `config::Load`. Nothing here knows a server by name or holds state; `placement` adds the results up.
//! The units everywhere: **mc**, a thousandth of a reference core, and Mbit/s sent out (load-model.md section 4).

mod cost;
mod reserve;

pub use cost::{Audio, Capacity, Cost, Media};
pub use reserve::{Forecast, Room, quantile_z};
