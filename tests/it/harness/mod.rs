//! A whole pool for a test: simulated BBB servers, a configuration, a store, `usher serve`, and a front end.
//!
//! Nothing here shares code with the product but the simulated server: the front end signs by itself, and waits are
//! waits for a condition, never a pause.

mod browser;
mod browser_session;
mod chromium;
mod front_end;
mod jar;
mod network;
mod pool;
mod second;
mod wait;
mod wire;

pub use browser::{Browser, Network};
pub use browser_session::{Session, form};
pub use chromium::{ARGUMENTS, BROWSER_LIMIT, Chromium, Tab};
pub use front_end::{Answer, FrontEnd, Xml};
pub use network::{Networks, connect_by};
pub use pool::{Builder, Pool, TenantBuilder, free_port, reserved_port, signal};
pub use second::Second;
pub use wait::{eventually, eventually_or, eventually_within};
pub use wire::{Said, connect_from, get_raw, say, say_on, send_raw};
