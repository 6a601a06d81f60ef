//! Work that goes on as long as the process: each in a task of its own, and begun anew alone if it panics.
//!
//! A panic is a mistake of ours; it must not end what has nothing to do with it, nor leave unsaid that something stands
//! still. The pause before a new beginning grows as long as it fails again soon, so that the log does not fill.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::metrics::Metrics;

/// Pause before the first new beginning; doubled with each failure that follows soon.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause: an operator who looks at the log sees that it is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who has worked for so long begins with the first pause again.
const SOUND_AFTER: Duration = Duration::from_secs(60);

/// Ends its task when it is dropped.
pub struct Running(JoinHandle<()>);

impl Running {
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins `work` in a task of its own, and anew whenever it panics. `name` is a word of the program, for the metric and the
/// log; `whose` says in the log which of several it is.
pub fn keep_running<F>(
    metrics: &Arc<Metrics>,
    name: &'static str,
    whose: String,
    mut work: impl FnMut() -> F + Send + 'static,
) -> Running
where
    F: Future<Output = ()> + Send + 'static,
{
    let restarts = metrics.background_restarts.with_label_values(&[name]);
    Running(tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let mut task = Running(tokio::spawn(work()));
            let Err(failure) = (&mut task.0).await else { return };
            if !failure.is_panic() {
                return;
            }
            if begun.elapsed() >= SOUND_AFTER {
                pause = FIRST_PAUSE;
            }
            restarts.inc();
            log::error!(task = name, whose = whose.as_str(), reason:% = failure, pause_ms = pause.as_millis() as u64;
                "background work failed, this is a bug of Usher's; it begins anew");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }))
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Fails as often as told, then goes on for ever.
    fn failing(
        times: usize,
        begun: &Arc<AtomicUsize>,
    ) -> impl FnMut() -> futures_util::future::BoxFuture<'static, ()> + use<> {
        let begun = begun.clone();
        move || {
            let turn = begun.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if turn < times {
                    panic!("as planned");
                }
                std::future::pending().await
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_alone_and_is_counted() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let (bad, good) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let _bad = keep_running(&metrics, "bad", String::new(), failing(3, &bad));
        let _good = keep_running(&metrics, "good", String::new(), failing(0, &good));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((bad.load(Ordering::SeqCst), good.load(Ordering::SeqCst)), (4, 1));
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("usher_background_restarts_total{loop=\"bad\"} 3"), "{text}");
        assert!(text.contains("usher_background_restarts_total{loop=\"good\"} 0"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_again_and_again_is_tried_at_least_every_half_minute_and_not_without_a_pause() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let begun = Arc::new(AtomicUsize::new(0));
        let running = keep_running(&metrics, "bad", String::new(), failing(usize::MAX, &begun));
        tokio::time::sleep(Duration::from_secs(600)).await;
        let times = begun.load(Ordering::SeqCst);
        assert!((20..=30).contains(&times), "{times}");
        assert!(!running.is_finished());
    }

    #[tokio::test]
    async fn what_ends_by_itself_is_not_begun_anew() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = begun.clone();
        let running = keep_running(&metrics, "short", String::new(), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        });
        while !running.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }
}
