//! How a server is shown: table, details, JSON. The secret is never part of it.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::output::{Report, Table, fields, or_dash};
use super::reach::client_prefix_word;
use super::{status, trust};
use crate::ids::ServerId;
use crate::store::ServerRecord;
use crate::tls;

/// Stable keys; `meetings` is the number of placements that point to the server.
pub fn server_json(server: &ServerRecord, meetings: u64) -> Value {
    json!({
        "name": server.name,
        "url": server.url,
        "state": server.state.as_str(),
        "weight": server.weight,
        "cores": server.cores,
        "nic_mbit": server.nic_mbit,
        "tags": server.tags,
        "region": server.region,
        "checksum": server.checksum.name(),
        "version": server.version,
        "max_meetings": server.max_meetings,
        "max_people": server.max_people,
        "address": server.reach.address.as_ref().map(ToString::to_string),
        "send_proxy": server.reach.send_proxy.as_str(),
        "send_proxy_port": server.reach.send_proxy_port,
        "client_prefix": client_prefix_word(&server.reach),
        "ca": server.reach.trust.ca.as_ref().map(|ca| tls::describe(ca.pem())),
        "tls_name": server.reach.trust.name,
        "insecure": server.reach.trust.insecure,
        "meetings": meetings,
    })
}

/// All servers as a table, ordered by name.
pub fn overview(
    servers: &[ServerRecord],
    meetings: &HashMap<ServerId, u64>,
    healths: Option<&HashMap<String, String>>,
) -> Report {
    let mut ordered: Vec<&ServerRecord> = servers.iter().collect();
    ordered.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table = Table::new(&["NAME", "STATE", "HEALTH", "MEETINGS", "CORES", "WEIGHT", "TAGS", "REGION", "URL"]);
    let mut rows = Vec::new();
    let warnings = trust::warnings(ordered.iter().copied());
    for server in ordered {
        let running = meetings.get(&server.id).copied().unwrap_or(0);
        let health = healths.and_then(|healths| healths.get(&server.name));
        table.row(vec![
            server.name.clone(),
            server.state.to_string(),
            or_dash(health),
            running.to_string(),
            server.cores.to_string(),
            server.weight.to_string(),
            server.tags.join(","),
            or_dash(server.region.as_ref()),
            server.url.clone(),
        ]);
        let mut row = server_json(server, running);
        row["health"] = json!(health);
        rows.push(row);
    }
    let mut text = table.or("no servers yet; `usher server add URL --secret -` adds one");
    if healths.is_none() && !rows.is_empty() {
        text.push_str(&format!("\n\n{}", status::UNKNOWN));
    }
    if !warnings.is_empty() {
        text.push_str(&format!("\n\nwarning: {}", warnings.join("\nwarning: ")));
    }
    Report::new(text, Value::Array(rows))
}

/// One server, a line per property.
pub fn details(server: &ServerRecord, meetings: u64) -> Report {
    let version = server.reach.send_proxy.as_str();
    let send_proxy =
        server.reach.send_proxy_port.map_or_else(|| version.to_owned(), |port| format!("{version} to port {port}"));
    let trust = &server.reach.trust;
    let believed = match &trust.ca {
        _ if trust.insecure => "ANYBODY, its certificate is not checked (--insecure)".to_owned(),
        Some(ca) => tls::describe(ca.pem()).join("; "),
        None => "the authorities of this machine".to_owned(),
    };
    let text = fields(&[
        ("name", server.name.clone()),
        ("url", server.url.clone()),
        ("address", or_dash(server.reach.address.as_ref())),
        ("state", server.state.to_string()),
        ("meetings", meetings.to_string()),
        ("secret", "***".into()),
        ("checksum", server.checksum.name().into()),
        ("version", or_dash(server.version.as_ref())),
        ("cores", server.cores.to_string()),
        ("weight", server.weight.to_string()),
        ("network", format!("{} Mbit/s", server.nic_mbit)),
        ("tags", server.tags.join(", ")),
        ("region", or_dash(server.region.as_ref())),
        ("max meetings", or_dash(server.max_meetings)),
        ("max people", or_dash(server.max_people)),
        ("send proxy", send_proxy),
        ("client prefix", client_prefix_word(&server.reach).into()),
        ("trusted", believed),
        ("tls name", or_dash(trust.name.as_ref())),
    ]);
    Report::new(text, server_json(server, meetings))
}
