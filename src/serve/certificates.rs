//! Certificates while the process runs: taken up when their files change, told of when they cannot be, and before they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use tokio::task::spawn_blocking;

use crate::clock::{Clock, SystemClock};
use crate::process::Shared;
use crate::tls::{Outcome, Weight};

/// How often the files are looked at; a change must be seen twice.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Seconds before its end from which on a certificate is warned of: two weeks, since what renews itself does so earlier.
const WARN_BEFORE: i64 = 14 * 24 * 3600;
/// How often it is warned of.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Reads all certificates again and says what came of it. Reads files, so not for a worker thread.
pub fn reload(shared: &Shared) {
    let config = shared.config.load_full();
    let outcome = shared.tls.reload(&config, SystemClock.now());
    tell(&outcome);
    for name in &outcome.changed {
        info!(name = name.as_str(); "certificate taken up");
    }
    shared.metrics.certificates_refused.set(i64::try_from(outcome.refused).unwrap_or(i64::MAX));
    shared.metrics.set_certificates(&shared.tls.expiries());
}

/// One line for each thing that is wrong.
pub fn tell(outcome: &Outcome) {
    let kept = outcome.refused > 0;
    for trouble in &outcome.troubles {
        match trouble.weight {
            Weight::Unusable => {
                error!(problem:% = trouble.problem; "certificate cannot be used, what was in use stays")
            }
            Weight::Wrong if kept => {
                error!(problem:% = trouble.problem; "certificate is wrong, a better one stays in use")
            }
            Weight::Wrong => error!(problem:% = trouble.problem; "certificate is wrong, clients will refuse it"),
            Weight::Doubtful => warn!(problem:% = trouble.problem; "certificate"),
        }
    }
}

/// Goes on as long as the process.
pub async fn watch(shared: Arc<Shared>) {
    let mut warned: Option<Instant> = None;
    loop {
        if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            warn_of_ends(&shared);
            warned = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let looking = shared.clone();
        let looked = spawn_blocking(move || {
            if looking.tls.have_changed() {
                reload(&looking);
            }
        });
        // Fails only if the process ends.
        let _ = looked.await;
    }
}

fn warn_of_ends(shared: &Shared) {
    let now = i64::try_from(SystemClock.now().0 / 1000).unwrap_or(i64::MAX);
    for (name, end) in shared.tls.expiries() {
        let left = end - now;
        if left <= 0 {
            error!(name = name.as_str(); "certificate has expired, clients refuse it: renew it");
        } else if left <= WARN_BEFORE {
            warn!(name = name.as_str(), days = left / (24 * 3600); "certificate ends soon: renew it");
        }
    }
}
