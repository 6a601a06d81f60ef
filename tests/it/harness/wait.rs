//! Waiting for a condition.

use std::future::Future;
use std::time::{Duration, Instant};

/// Asks until `check` gives something, at most ten seconds; then the test fails with `what`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl FnMut() -> F) -> T {
    eventually_within(Duration::from_secs(10), what, check).await
}

pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same for a check that says what is wrong; the test fails with the last of its words.
pub async fn eventually_or<F: Future<Output = Result<(), String>>>(what: &str, mut check: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(wrong) = check().await {
        assert!(Instant::now() < deadline, "did not happen: {what}: {wrong}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
