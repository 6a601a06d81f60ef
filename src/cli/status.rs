//! `usher status`: the pool at one glance, from the store and, if one runs, from the server's admin listener.
//!
//! Without a running server the stored facts are shown and the absence is said in words. The exit code is 0 only if an Usher
//! runs with this store and is ready, so that scripts may ask.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, Table, count, or_dash};
use crate::config::{Config, EdgeMode, Pacing};
use crate::store::ServerRecord;

/// The admin listener is on this machine and answers from memory.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// `/api/v1/status` of the running server.
#[derive(Debug, Deserialize)]
struct Live {
    #[serde(default)]
    servers: Vec<LiveServer>,
    #[serde(default)]
    tenants: Vec<LiveTenant>,
    /// The identity of its store.
    #[serde(default)]
    store: Option<String>,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct LiveServer {
    name: String,
    health: String,
    reason: Option<String>,
    meetings: u64,
    participants: u64,
    voice: u64,
    videos: u64,
    connections: u64,
    carried: u64,
    waiting: u64,
    reserved: f64,
    load_mc: f64,
    /// Share of the server that is in use, 1 = all.
    utilisation: f64,
    last_poll_ms: Option<u64>,
    version: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct LiveTenant {
    name: String,
    meetings: u64,
    people: u64,
}

pub async fn run(context: &Context) -> Result<Report, CliError> {
    let live = ask(&context.config).await;
    let mut servers = context.store.servers().await?;
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    let meetings = context.meetings_by_server().await?;
    let known: HashMap<&str, &LiveServer> = live
        .as_ref()
        .map(|live| live.servers.iter().map(|server| (server.name.as_str(), server)).collect())
        .unwrap_or_default();
    let stored = |server: &ServerRecord| meetings.get(&server.id).copied().unwrap_or(0);
    let carries = context.config.edge.mode != EdgeMode::Redirect;
    let mut titles = vec!["SERVER", "STATE", "HEALTH", "MEETINGS", "PEOPLE", "LOAD", "VERSION", "TAGS"];
    if carries {
        titles.extend(["CONNECTIONS", "CARRIED"]);
    }
    let paces = context.config.edge.join_pacing != Pacing::Off;
    if paces {
        titles.push("WAITING");
    }
    let mut table = Table::new(&titles);
    let mut rows = Vec::new();
    for server in &servers {
        let now = known.get(server.name.as_str());
        let mut cells = vec![
            server.name.clone(),
            server.state.to_string(),
            now.map_or_else(String::new, |now| health_in_words(now)),
            now.map_or_else(|| stored(server), |now| now.meetings).to_string(),
            or_dash(now.map(|now| now.participants)),
            now.map_or_else(String::new, |now| format!("{:.0} %", now.utilisation * 100.0)),
            now.and_then(|now| now.version.clone()).or_else(|| server.version.clone()).unwrap_or_default(),
            server.tags.join(","),
        ];
        if carries {
            cells.extend([or_dash(now.map(|now| now.connections)), or_dash(now.map(|now| now.carried))]);
        }
        if paces {
            cells.push(or_dash(now.map(|now| now.waiting)));
        }
        table.row(cells);
        rows.push(row_json(server, stored(server), now.copied()));
    }
    let is_other = live.as_ref().is_some_and(|live| live.uses_another(context));
    let mut text = table.or("no servers yet; `usher server add URL --secret -` adds one");
    text.push_str(&format!("\n\nstore: {}\n{}", context.store_file(), headline(context, live.as_ref())));
    if is_other {
        text.push_str(&format!("\n{OTHER_STORE}"));
    }
    let is_ready = !is_other && live.as_ref().is_some_and(|live| live.ready);
    let json = json!({
        "store": context.store_file(),
        "other_store": is_other,
        "running": live.is_some(),
        "ready": live.as_ref().is_some_and(|live| live.ready),
        "reasons": live.as_ref().map(|live| live.reasons.clone()).unwrap_or_default(),
        "servers": rows,
        "tenants": live.as_ref().map(|live| live.tenants.clone()).unwrap_or_default(),
    });
    Ok(Report::new(text, json).failed_if(!is_ready))
}

/// Said when what a command shows or copies is not what runs.
pub const OTHER_STORE: &str =
    "the Usher that runs here uses ANOTHER store: compare --config, store.url and the folder that each was started in";

impl Live {
    fn uses_another(&self, context: &Context) -> bool {
        self.store.as_ref().is_some_and(|store| *store != context.store.identity())
    }
}

/// True if an Usher runs behind the configured admin listener with another store than this command's.
pub async fn another_runs(context: &Context) -> bool {
    ask(&context.config).await.is_some_and(|live| live.uses_another(context))
}

/// The store of the Usher that runs is this one and works for it, whose account may be another than the caller's.
pub async fn working(context: &Context) -> Result<(), CliError> {
    let Some(live) = ask(&context.config).await else { return Ok(()) };
    if live.uses_another(context) {
        return Err(CliError::Failed(format!("{}: {OTHER_STORE}", context.store_file())));
    }
    match live.reasons.iter().find(|reason| reason.starts_with("the store")) {
        Some(reason) => Err(CliError::Failed(format!("the Usher that runs says: {reason}"))),
        None => Ok(()),
    }
}

/// What the running server says, `None` if none answers.
async fn ask(config: &Config) -> Option<Live> {
    fetch(config, "status").await
}

/// Each server's health as the running Usher has it; `None` if none answers.
pub async fn healths(config: &Config) -> Option<HashMap<String, String>> {
    let live = ask(config).await?;
    Some(live.servers.into_iter().map(|server| (server.name, server.health)).collect())
}

/// People in each meeting, by tenant and the meeting's id, as the running Usher has them; `None` if none answers.
pub async fn people(config: &Config) -> Option<HashMap<(String, String), u64>> {
    let meetings: Vec<LiveMeeting> = fetch(config, "meetings").await?;
    Some(meetings.into_iter().map(|one| ((one.tenant, one.meeting), one.people)).collect())
}

/// What a list says below itself where nobody knows more than the store.
pub const UNKNOWN: &str = "Usher is not running here, or its admin listener does not answer: `-` is not known";

#[derive(Deserialize)]
struct LiveMeeting {
    tenant: String,
    meeting: String,
    people: u64,
}

async fn fetch<T: serde::de::DeserializeOwned>(config: &Config, what: &str) -> Option<T> {
    let listen = config.admin.listen?;
    let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
    // This machine asks itself, by an address that no certificate needs to name; nothing secret is said.
    let client = reqwest::Client::builder().timeout(STATUS_TIMEOUT).no_proxy().tls_danger_accept_invalid_certs(true);
    let answer = client.build().ok()?.get(format!("{scheme}://{}/api/v1/{what}", reachable(listen)));
    let answer = answer.send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

/// A listener on every address is asked on loopback.
fn reachable(listen: std::net::SocketAddr) -> std::net::SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(if listen.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

fn headline(context: &Context, live: Option<&Live>) -> String {
    let Some(live) = live else {
        return match context.config.admin.listen {
            Some(listen) => format!(
                "Usher is not running here, or its admin listener {listen} does not answer: health and load are unknown"
            ),
            None => "the admin listener is switched off (admin.listen): health and load are unknown".into(),
        };
    };
    let meetings = live.servers.iter().map(|server| server.meetings).sum();
    let people: u64 = live.servers.iter().map(|server| server.participants).sum();
    let pool = format!("{} with {people} people", count(meetings, "meeting"));
    if live.ready {
        return format!("Usher is running and ready: {pool}");
    }
    format!("Usher is running but NOT ready ({}): {pool}", live.reasons.join("; "))
}

fn health_in_words(server: &LiveServer) -> String {
    match server.reason.as_deref() {
        Some(reason) if !reason.is_empty() => format!("{} ({reason})", server.health),
        _ => server.health.clone(),
    }
}

/// Stable keys; `live` is null while no server answers.
fn row_json(server: &ServerRecord, placements: u64, live: Option<&LiveServer>) -> Value {
    json!({
        "name": server.name,
        "state": server.state.as_str(),
        "tags": server.tags,
        "region": server.region,
        "placements": placements,
        "health": live.map(|live| live.health.clone()),
        "meetings": live.map_or(placements, |live| live.meetings),
        "participants": live.map(|live| live.participants),
        "utilisation": live.map(|live| live.utilisation),
        "live": live,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_another_version_is_still_read() {
        let live: Live = serde_json::from_str(r#"{"servers":[{"name":"a","new_key":1}],"ready":true}"#).unwrap();
        assert_eq!((live.servers[0].name.as_str(), live.ready), ("a", true));
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8081".parse().unwrap()).to_string(), "127.0.0.1:8081");
        assert_eq!(reachable("[::]:8081".parse().unwrap()).to_string(), "[::1]:8081");
        assert_eq!(reachable("10.0.0.1:8081".parse().unwrap()).to_string(), "10.0.0.1:8081");
    }
}
