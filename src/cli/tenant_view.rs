//! How a tenant is shown: table, details, JSON, and the address its front ends need. Secrets and scope keys are never
//! part of it.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::output::{Report, Table, fields, or_dash};
use super::tenant_param::{call_word, in_words, rule_json};
use crate::clock::Millis;
use crate::config::Config;
use crate::ids::TenantId;
use crate::store::{TenantRecord, TenantSecret};

/// What a front end is given as the address of "its BBB server".
pub fn api_url(tenant: &TenantRecord, config: &Config) -> String {
    let base = config.listen.public_base();
    if let Some(host) = tenant.hosts.first() {
        let public = &config.listen.public_url;
        let port = public.port().map_or_else(String::new, |port| format!(":{port}"));
        return format!("{}://{host}{port}/bigbluebutton/api", public.scheme());
    }
    if tenant.is_default {
        return format!("{base}/bigbluebutton/api");
    }
    format!("{base}/t/{}/bigbluebutton/api", tenant.name)
}

/// Stable keys; `secrets` is the number of secrets in force.
pub fn tenant_json(tenant: &TenantRecord, meetings: u64, config: &Config, now: Millis) -> Value {
    json!({
        "name": tenant.name,
        "default": tenant.is_default,
        "scoped": tenant.scope.is_some(),
        "hosts": tenant.hosts,
        "api_url": api_url(tenant, config),
        "secrets": in_force(tenant, now),
        "params": tenant.params.iter().map(rule_json).collect::<Vec<Value>>(),
        "max_meetings": tenant.max_meetings,
        "max_people": tenant.max_people,
        "max_requests": tenant.max_requests,
        "pool": tenant.pool,
        "region": tenant.region,
        "meetings": meetings,
    })
}

/// All tenants as a table, ordered by name.
pub fn overview(tenants: &[TenantRecord], meetings: &HashMap<TenantId, u64>, config: &Config, now: Millis) -> Report {
    let mut ordered: Vec<&TenantRecord> = tenants.iter().collect();
    ordered.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table = Table::new(&["NAME", "HOSTS", "SECRETS", "MEETINGS", "MAX MEETINGS", "MAX PEOPLE", "API ADDRESS"]);
    let mut rows = Vec::new();
    for tenant in ordered {
        let running = meetings.get(&tenant.id).copied().unwrap_or(0);
        table.row(vec![
            tenant.name.clone(),
            hosts_in_words(tenant),
            in_force(tenant, now).to_string(),
            running.to_string(),
            or_dash(tenant.max_meetings),
            or_dash(tenant.max_people),
            api_url(tenant, config),
        ]);
        rows.push(tenant_json(tenant, running, config, now));
    }
    Report::new(table.or("no tenants yet; `usher tenant add NAME` adds one and prints its secret"), Value::Array(rows))
}

/// One tenant, a line per property.
pub fn details(tenant: &TenantRecord, meetings: u64, config: &Config, now: Millis) -> Report {
    let rules: Vec<String> =
        tenant.params.iter().map(|rule| format!("{} {} {}", call_word(rule.call), rule.name, in_words(rule))).collect();
    let text = fields(&[
        ("name", tenant.name.clone()),
        ("API address", api_url(tenant, config)),
        ("hosts", hosts_in_words(tenant)),
        ("meeting ids", if tenant.scope.is_some() { "scoped".into() } else { "unchanged".to_string() }),
        ("secrets", format!("{} in force", in_force(tenant, now))),
        ("meetings", meetings.to_string()),
        ("max meetings", or_dash(tenant.max_meetings)),
        ("max people", or_dash(tenant.max_people)),
        ("max requests", tenant.max_requests.map_or_else(|| "-".into(), |number| format!("{number} per second"))),
        ("pool", if tenant.pool.is_empty() { "all servers".into() } else { tenant.pool.join(", ") }),
        ("region", or_dash(tenant.region.as_ref())),
        ("parameters", rules.join("; ")),
    ]);
    Report::new(text, tenant_json(tenant, meetings, config, now))
}

/// Whether a front end may sign with it.
pub fn is_in_force(secret: &TenantSecret, now: Millis) -> bool {
    secret.retired_at.is_none_or(|retired_at| retired_at > now)
}

/// A moment as UTC text, to the second.
pub fn moment(time: Millis) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(time.0)).to_string()
}

fn in_force(tenant: &TenantRecord, now: Millis) -> usize {
    tenant.secrets.iter().filter(|secret| is_in_force(secret, now)).count()
}

fn hosts_in_words(tenant: &TenantRecord) -> String {
    match (tenant.hosts.is_empty(), tenant.is_default) {
        (true, true) => "any".into(),
        (false, true) => format!("{}, any other", tenant.hosts.join(", ")),
        (true, false) => "by path".into(),
        (false, false) => tenant.hosts.join(", "),
    }
}
