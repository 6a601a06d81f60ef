//! HTTP/2 to the letter: RFC 9113 and what of RFC 7541 is framing, check by check, in raw frames over TLS.
//!
//! nginx is the yardstick. `checks` records for each check whether nginx passes it (1.22, TLS, `return 200` and `proxy_pass`);
//! what nginx passes, Usher must pass. How it was recorded: `yardstick`, which compares the records with a running nginx.

mod checks;
mod wire;

use std::sync::Arc;

use futures_util::StreamExt;

use super::client::{config, trusting_anybody};
use super::maker::{Maker, secure};
use checks::{Check, Ours, Wanted, checks};
use wire::run;

/// Connections at once.
const AT_ONCE: usize = 12;

/// Runs all checks; `wanted` says what must come of each.
async fn outcomes(
    address: &str,
    tls: &Arc<rustls::ClientConfig>,
    wanted: fn(&Check) -> Wanted,
) -> Vec<(Check, Result<(), String>)> {
    let runs = checks().into_iter().map(|check| async move {
        let outcome = run(address, tls, &check, wanted(&check)).await;
        (check, outcome)
    });
    futures_util::stream::iter(runs).buffered(AT_ONCE).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_passes_we_pass() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let builder = builder.config("[edge]\nmode = \"path\"\n").set("USHER_LIMITS__EXEMPT", "127.0.0.1");
    let _pool = builder.start().await;
    let outcomes = outcomes(&address, &Arc::new(config(&maker, &["h2"])), Check::of_ours).await;
    assert!(outcomes.len() > 130, "{} checks", outcomes.len());
    // Also beyond nginx: what is passed once is not to be lost, and what is not is told truly.
    let differing = outcomes.iter().filter(|(check, outcome)| outcome.is_ok() != (check.ours != Ours::No));
    let lines: Vec<String> =
        differing.map(|(check, outcome)| format!("{} {}: {outcome:?}", check.section, check.what)).collect();
    assert!(lines.is_empty(), "{lines:#?}");
    let behind = outcomes.iter().filter(|(check, _)| check.nginx_passes && check.ours == Ours::No).count();
    assert_eq!(behind, 0, "nginx passes and Usher does not");
}

/// `USHER_YARDSTICK=127.0.0.1:8443 cargo test yardstick -- --ignored`: what stands there must have `/livez` and a server that
/// reads bodies behind `/bbb1/`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "compares the record with a running nginx"]
async fn yardstick() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let address = std::env::var("USHER_YARDSTICK").expect("USHER_YARDSTICK=address:port");
    let outcomes = outcomes(&address, &Arc::new(trusting_anybody(&["h2"])), |check| check.wanted).await;
    let differing = outcomes.iter().filter(|(check, outcome)| check.nginx_passes != outcome.is_ok());
    let lines: Vec<String> =
        differing.map(|(check, outcome)| format!("{} {}: {outcome:?}", check.section, check.what)).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}
