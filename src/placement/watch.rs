//! The watch: probes and polls of all servers side by side, each with its own pace.
//!
//! One task per server, so that a server that hangs delays nobody. A probe is the version call, cheap and without
//! checksum; a poll is getMeetings and feeds the ledger. Both are spread by jitter; a server that keeps failing is
//! asked less often, up to `max_backoff`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use log::debug;
use rand::RngExt;
use tokio::task::JoinHandle;

use super::Placer;
use super::look::LOOK_PAUSE;
use super::pending::PENDING_TIME;
use crate::client::CallError;
use crate::ids::ServerId;
use crate::pool::{Health, Source};
use crate::store::ServerRecord;

/// Before a watch that failed starts anew.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Part of the probes' interval by which a poll may come early, in the place of a probe.
const NEAR: u32 = 4;

/// Pace of the watch.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    pub interval: Duration,
    pub poll_interval: Duration,
    pub timeout: Duration,
    pub max_backoff: Duration,
}

/// Watches all servers until the returned future is dropped.
pub async fn watch_servers(placer: Arc<Placer>, settings: Arc<ArcSwap<WatchSettings>>) {
    let mut tasks = Tasks::default();
    loop {
        let servers: Vec<ServerId> = placer.ledger.servers().iter().map(|view| view.record.id).collect();
        tasks.0.retain(|id, task| {
            let stays = servers.contains(id) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        placer.looks.keep(&servers);
        for id in servers {
            let (placer, settings) = (placer.clone(), settings.clone());
            let watch = move || watch_one(placer.clone(), settings.clone(), id);
            tasks.0.entry(id).or_insert_with(|| tokio::spawn(again_after_panics(AFTER_PANIC, watch)));
        }
        placer.monitor.wake.notified().await;
    }
}

/// Aborts what it holds on drop.
#[derive(Default)]
struct Tasks(HashMap<ServerId, JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.0.values() {
            task.abort();
        }
    }
}

/// A mistake of ours in what one server answers must not leave it without a watch.
async fn again_after_panics<F>(pause: Duration, mut work: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = AbortOnDrop(tokio::spawn(work()));
        match (&mut task.0).await {
            Err(failure) if failure.is_panic() => {
                log::error!(reason:% = failure; "watch of a server failed, this is a bug; it starts anew");
                tokio::time::sleep(pause).await;
            }
            _ => return,
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn watch_one(placer: Arc<Placer>, settings: Arc<ArcSwap<WatchSettings>>, id: ServerId) {
    let look = placer.looks.of(id);
    let mut next_probe = Instant::now();
    let mut regular = Instant::now();
    let mut last_poll = None;
    let mut patience = LOOK_PAUSE;
    let mut is_known = false;
    loop {
        let next_poll = look.due(regular, last_poll);
        tokio::select! {
            () = tokio::time::sleep_until(next_probe.min(next_poll).into()) => {}
            () = look.woken() => continue,
        }
        // The record may have changed since; a server that is gone ends its watch.
        let Some(view) = placer.ledger.server(id) else { return };
        let pace = settings.load_full();
        let now = Instant::now();
        // A probe just before a poll would learn nothing that the poll does not; but what a probe has found wrong only a probe
        // can clear.
        let is_up = || placer.ledger.server(id).is_some_and(|view| view.health == Health::Up);
        let is_near = next_probe <= now && next_poll <= now + pace.interval / NEAR;
        if next_poll <= now || (is_near && is_up()) {
            last_poll = Some(now);
            let worked = poll(&placer, &view.record, &pace).await;
            regular = Instant::now() + pause(&placer, id, pace.poll_interval, &pace);
            if worked && let Some(soon) = next_look(&placer, id, &mut patience) {
                regular = regular.min(Instant::now() + soon);
            }
            if worked && !is_known {
                // What follows from its version (the cost of audio, the client's prefix) is not to wait for a probe's turn.
                next_probe = Instant::now();
            } else if worked && is_up() {
                next_probe = Instant::now() + pause(&placer, id, pace.interval, &pace);
            }
        }
        if next_probe <= Instant::now() {
            is_known |= probe(&placer, &view.record, &pace).await;
            next_probe = Instant::now() + pause(&placer, id, pace.interval, &pace);
        }
    }
}

/// Somebody who was sent to the server is looked for until he is there, less and less often: a link may be signed and never used.
fn next_look(placer: &Placer, id: ServerId, patience: &mut Duration) -> Option<Duration> {
    let Some(has_news) = placer.ledger.expects_people(id) else {
        *patience = LOOK_PAUSE;
        return None;
    };
    let pause = if has_news { LOOK_PAUSE } else { *patience };
    *patience = pause.saturating_mul(2).min(PENDING_TIME);
    Some(pause)
}

/// The interval with ±10 % jitter, doubled with each failure beyond the third.
fn pause(placer: &Placer, id: ServerId, interval: Duration, pace: &WatchSettings) -> Duration {
    let beyond = placer.monitor.failures(id).saturating_sub(3).min(6);
    let backed_off = interval.saturating_mul(1 << beyond).min(pace.max_backoff.max(interval));
    backed_off.mul_f64(rand::rng().random_range(0.9..1.1))
}

/// True if the server told its version, or that it tells none.
async fn probe(placer: &Placer, server: &Arc<ServerRecord>, pace: &WatchSettings) -> bool {
    let outcome = placer.client.version(server, pace.timeout).await;
    if let Ok(version) = &outcome
        && let Some(text) = version.text()
    {
        placer.ledger.set_version(server.id, text, placer.clock.now());
    }
    let worked = outcome.is_ok();
    report(placer, server, Source::Probe, outcome.map(|_| ()));
    worked
}

/// True if the server gave its meetings.
async fn poll(placer: &Placer, server: &Arc<ServerRecord>, pace: &WatchSettings) -> bool {
    let look = placer.looks.of(server.id);
    look.begins();
    let sent = placer.clock.now();
    let started = Instant::now();
    let outcome = placer.client.meetings(server, pace.timeout).await;
    placer.metrics.poll_duration.with_label_values(&[&server.name]).observe(started.elapsed().as_secs_f64());
    let worked = match outcome {
        Ok(list) => {
            if list.unreadable > 0 {
                debug!(server = server.name.as_str(), meetings = list.unreadable; "meetings with ill-formed XML");
            }
            report(placer, server, Source::Poll, Ok(()));
            placer.sweep(server, sent, list).await;
            placer.note_seen(server.id);
            true
        }
        Err(error) => {
            placer.note_seen(server.id);
            report(placer, server, Source::Poll, Err(error));
            false
        }
    };
    look.came_back(sent);
    worked
}

fn report(placer: &Placer, server: &ServerRecord, source: Source, outcome: Result<(), CallError>) {
    if outcome.is_err() {
        placer.metrics.poll_failures.with_label_values(&[&server.name]).inc();
    }
    placer.monitor.observe(server.id, source, outcome.as_ref().copied());
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_watch_that_panics_starts_anew_and_one_that_ends_does_not() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = begun.clone();
        let work = move || {
            let counted = counted.clone();
            async move {
                if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                    panic!("as planned");
                }
            }
        };
        again_after_panics(Duration::ZERO, work).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }
}
