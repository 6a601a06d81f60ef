//! The provider of TLS cryptography, chosen once for the whole process: listeners, calls to BBB servers, everything.
//!
//! aws-lc-rs, because an RSA handshake is the most expensive thing a TLS listener does, and in a trial it made 1.7 times as
//! many of them as ring; it also has the post-quantum key exchange that browsers offer. ring stays in the tree (Pingora's own
//! rustls support names it) but signs nothing. docs/tls.md has the figures and what the choice costs to build.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;

/// To be called before the first use of TLS; several crates link rustls, and each would otherwise refuse to guess.
pub fn install() {
    // Fails only if one was installed before, which is this one.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// What `install` installs.
pub fn provider() -> Arc<CryptoProvider> {
    match CryptoProvider::get_default() {
        Some(installed) => installed.clone(),
        None => Arc::new(aws_lc_rs::default_provider()),
    }
}

/// Makes and reads session tickets with keys of this process, changed every few hours.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}
