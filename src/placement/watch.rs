//! The watch: probes and polls of all servers side by side, each with its own pace.
//!
//! One task per server, so that a server that hangs delays nobody. A probe is the version call, cheap and without
//! checksum; a poll is getMeetings and feeds the ledger. Both are spread by jitter; a server that keeps failing is
//! asked less often, up to `max_backoff`, until it is heard again. When to ask what is decided in `plan.rs`.

mod plan;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use log::debug;
use rand::RngExt;

use self::plan::{Outcome, Plan, Question};
use super::Placer;
use super::look::LOOK_PAUSE;
use super::pending::PENDING_TIME;
use crate::client::CallError;
use crate::ids::ServerId;
use crate::pool::Source;
use crate::restart::{Running, keep_running};
use crate::store::ServerRecord;

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
    let mut tasks: HashMap<ServerId, Running> = HashMap::new();
    loop {
        let servers: Vec<ServerId> = placer.ledger.servers().iter().map(|view| view.record.id).collect();
        tasks.retain(|id, task| servers.contains(id) && !task.is_finished());
        placer.looks.keep(&servers);
        for id in servers {
            let Entry::Vacant(place) = tasks.entry(id) else { continue };
            let name = placer.ledger.server(id).map(|view| view.record.name.clone()).unwrap_or_default();
            let (watching, settings) = (placer.clone(), settings.clone());
            let watch = move || watch_one(watching.clone(), settings.clone(), id);
            place.insert(keep_running(&placer.metrics, "watch", name, watch));
        }
        placer.monitor.wake.notified().await;
    }
}

async fn watch_one(placer: Arc<Placer>, settings: Arc<ArcSwap<WatchSettings>>, id: ServerId) {
    let mut plan = Plan::new(Instant::now());
    let asked = placer.monitor.asked(id);
    let look = placer.looks.of(id);
    let mut patience = LOOK_PAUSE;
    loop {
        if let Some(at) = look.wanted() {
            plan.ask(Question::Poll, at);
        }
        tokio::select! {
            () = tokio::time::sleep_until(plan.due().into()) => {}
            () = asked.probe.notified() => plan.ask(Question::Probe, Instant::now()),
            () = asked.poll.notified() => plan.ask(Question::Poll, Instant::now()),
            () = look.woken() => continue,
        }
        // The record may have changed since; a server that is gone ends its watch.
        let Some(view) = placer.ledger.server(id) else { return };
        let pace = settings.load_full();
        let Some(question) = plan.question(Instant::now(), view.health, &pace) else { continue };
        let worked = match question {
            Question::Probe => probe(&placer, &view.record, &pace).await,
            Question::Poll => poll(&placer, &view.record, &pace).await,
        };
        let Some(view) = placer.ledger.server(id) else { return };
        let failures = placer.monitor.failures(id);
        // The intervals have ±10 % of jitter, so that not all servers are asked in one moment.
        let jitter = rand::rng().random_range(0.9..1.1);
        plan.note(question, Outcome { worked, health: view.health, failures, jitter }, Instant::now(), &pace);
        if question == Question::Poll
            && worked
            && let Some(soon) = next_look(&placer, id, &mut patience)
        {
            plan.ask(Question::Poll, Instant::now() + soon);
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
