//! The pool at this moment: as gauges for Prometheus and as JSON for `usher status`.

use serde::Serialize;

use crate::placement::ServerView;
use crate::pool::Health;
use crate::process::Shared;
use crate::store::ServerState;

#[derive(Serialize)]
struct Status {
    ready: bool,
    reasons: Vec<String>,
    /// Which store this process uses, as another one names it that uses the same.
    store: String,
    servers: Vec<ServerStatus>,
    tenants: Vec<TenantStatus>,
}

/// Keys are a promise to scripts.
#[derive(Serialize)]
struct ServerStatus {
    name: String,
    state: &'static str,
    health: &'static str,
    reason: Option<String>,
    meetings: u32,
    participants: u32,
    voice: u32,
    videos: u32,
    /// Lasting connections of browsers that this process carries.
    connections: u32,
    /// People whose client this process carries.
    carried: u32,
    /// People who wait for their turn to join, or would be waiting.
    waiting: usize,
    /// People still expected.
    reserved: f64,
    /// Thousandths of a core.
    load_mc: f64,
    utilisation: f64,
    /// Age of the last successful poll.
    last_poll_ms: Option<u64>,
    version: Option<String>,
}

#[derive(Serialize)]
struct TenantStatus {
    name: String,
    meetings: u32,
    people: u32,
}

pub fn json(shared: &Shared) -> Vec<u8> {
    let placer = &shared.placer;
    let now = placer.clock.now();
    let servers = placer.ledger.servers().into_iter().map(|view| ServerStatus {
        name: view.record.name.clone(),
        state: view.record.state.as_str(),
        health: view.health.as_str(),
        reason: placer.monitor.reason(view.record.id).filter(|_| view.health != Health::Up),
        meetings: view.meetings,
        participants: view.participants,
        voice: view.voice,
        videos: view.videos,
        connections: shared.process.carried.to(view.record.id),
        carried: view.carried,
        waiting: waiting(shared, &view),
        reserved: view.reserved,
        load_mc: view.load_mc,
        utilisation: view.utilisation,
        last_poll_ms: view.last_poll.map(|polled| now.since(polled).as_millis() as u64),
        version: view.version.clone(),
    });
    let mut tenants: Vec<TenantStatus> = Vec::new();
    for tenant in placer.tenants.load().iter() {
        let usage = placer.ledger.tenant_usage(tenant.id());
        tenants.push(TenantStatus { name: tenant.name().to_owned(), meetings: usage.meetings, people: usage.people });
    }
    tenants.sort_by(|one, other| one.name.cmp(&other.name));
    let reasons = shared.process.not_ready(placer);
    let status = Status {
        ready: reasons.is_empty(),
        reasons,
        store: placer.store.identity(),
        servers: servers.collect(),
        tenants,
    };
    serde_json::to_vec_pretty(&status).unwrap_or_default()
}

/// Who is where, by the last poll, for `usher meeting list`.
#[derive(Serialize)]
struct MeetingStatus {
    tenant: String,
    meeting: String,
    server: String,
    people: u32,
}

pub fn meetings_json(shared: &Shared) -> Vec<u8> {
    let placer = &shared.placer;
    let tenants = placer.tenants.load_full();
    let mut meetings = Vec::new();
    for server in placer.ledger.servers() {
        // One look each, so that a full pool does not hold up a join.
        for key in placer.ledger.meetings_on(server.record.id) {
            let Some(view) = placer.ledger.find(&key) else { continue };
            let tenant = tenants.get(key.tenant).map_or_else(|| "?".to_owned(), |tenant| tenant.name().to_owned());
            let meeting = key.meeting.to_string();
            meetings.push(MeetingStatus {
                tenant,
                meeting,
                server: view.record.name.clone(),
                people: view.participants,
            });
        }
    }
    serde_json::to_vec(&meetings).unwrap_or_default()
}

/// Gauges are written anew at each scrape, so that removed servers and tenants leave no series behind.
pub fn write_gauges(shared: &Shared) {
    let metrics = &shared.metrics;
    let placer = &shared.placer;
    for gauge in [
        &metrics.server_up,
        &metrics.server_state,
        &metrics.server_meetings,
        &metrics.server_participants,
        &metrics.server_voice,
        &metrics.server_videos,
        &metrics.server_connections,
        &metrics.server_carried,
        &metrics.joins_waiting,
        &metrics.tenant_meetings,
        &metrics.tenant_participants,
    ] {
        gauge.reset();
    }
    for gauge in
        [&metrics.server_load, &metrics.server_utilisation, &metrics.server_reserved, &metrics.server_last_poll]
    {
        gauge.reset();
    }
    let servers = placer.ledger.servers();
    let tenants = placer.tenants.load_full();
    metrics.forget_all_but(
        &servers.iter().map(|view| view.record.name.clone()).collect(),
        &tenants.iter().map(|tenant| tenant.name().to_owned()).collect(),
    );
    for view in &servers {
        write_server(shared, view);
    }
    for tenant in tenants.iter() {
        let usage = placer.ledger.tenant_usage(tenant.id());
        metrics.tenant_meetings.with_label_values(&[tenant.name()]).set(i64::from(usage.meetings));
        metrics.tenant_participants.with_label_values(&[tenant.name()]).set(i64::from(usage.people));
    }
    metrics.connections.set(i64::try_from(shared.process.connections()).unwrap_or(i64::MAX));
    let dropped = crate::log::dropped();
    metrics.log_lines_dropped.inc_by(dropped.saturating_sub(metrics.log_lines_dropped.get()));
}

/// People in the queue of joins.
fn waiting(shared: &Shared, view: &ServerView) -> usize {
    shared.pacer.waiting(&view.record, &shared.config.load().load.joins, shared.placer.clock.now())
}

fn write_server(shared: &Shared, view: &ServerView) {
    let metrics = &shared.metrics;
    let name = view.record.name.as_str();
    metrics.server_up.with_label_values(&[name]).set(i64::from(view.health == Health::Up));
    for state in ServerState::ALL {
        let applies = i64::from(view.record.state == state);
        metrics.server_state.with_label_values(&[name, state.as_str()]).set(applies);
    }
    for health in Health::ALL {
        metrics.server_state.with_label_values(&[name, health.as_str()]).set(i64::from(view.health == health));
    }
    metrics.server_meetings.with_label_values(&[name]).set(i64::from(view.meetings));
    metrics.server_participants.with_label_values(&[name]).set(i64::from(view.participants));
    metrics.server_voice.with_label_values(&[name]).set(i64::from(view.voice));
    metrics.server_videos.with_label_values(&[name]).set(i64::from(view.videos));
    let connections = shared.process.carried.to(view.record.id);
    metrics.server_connections.with_label_values(&[name]).set(i64::from(connections));
    metrics.server_carried.with_label_values(&[name]).set(i64::from(view.carried));
    metrics.joins_waiting.with_label_values(&[name]).set(waiting(shared, view) as i64);
    metrics.server_reserved.with_label_values(&[name]).set(view.reserved);
    metrics.server_load.with_label_values(&[name]).set(view.load_mc / 1000.0);
    metrics.server_utilisation.with_label_values(&[name]).set(view.utilisation);
    if let Some(polled) = view.last_poll {
        metrics.server_last_poll.with_label_values(&[name]).set(polled.0 as f64 / 1000.0);
    }
}
