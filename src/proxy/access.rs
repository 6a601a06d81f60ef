//! One log line and the metrics of each request, after it has been answered.
//!
//! The line names call, tenant, server and outcome; never the query, which carries checksums, names and passwords.

use std::time::Duration;

use super::answer::Answer;
use super::request::Request;
use super::route::Route;
use crate::error::Blame;
use crate::metrics::Metrics;

/// What was learned on the way.
#[derive(Debug, Default)]
pub struct Facts {
    /// BBB's name of the call; a bounded word.
    pub call: Option<&'static str>,
    pub tenant: Option<String>,
    pub body_read: u64,
    /// A tenant's signature held.
    pub signed: bool,
    /// Refused as part of a flood: answered late, without a line in the log, and the connection is closed.
    pub flooding: bool,
}

pub fn record(
    metrics: &Metrics,
    request: &Request,
    route: Route<'_>,
    answer: &Answer,
    facts: &Facts,
    took: Duration,
    log_access: bool,
) {
    metrics.http_requests.with_label_values(&["http", route.label(), class(answer.status)]).inc();
    metrics.http_duration.with_label_values(&[route.label()]).observe(took.as_secs_f64());
    metrics.http_bytes.with_label_values(&["in"]).inc_by(facts.body_read);
    metrics.http_bytes.with_label_values(&["out"]).inc_by(answer.body.len() as u64);
    let tenant = facts.tenant.as_deref().unwrap_or("-");
    if let Some(call) = facts.call {
        metrics.api_requests.with_label_values(&[call, tenant, answer.result]).inc();
        metrics.api_duration.with_label_values(&[call]).observe(took.as_secs_f64());
    }
    let server = answer.server.as_ref().map_or("-", |server| server.name.as_str());
    if let Some(reason) = answer.reason.as_deref().filter(|_| answer.blame != Some(Blame::Client)) {
        log::warn!(request_id = request.id.as_str(), tenant = tenant, call = facts.call.unwrap_or("-"), server = server,
            key = answer.result, reason = reason; "call failed");
    }
    if log_access {
        let client = request.client.map_or_else(|| "-".to_owned(), |client| client.to_string());
        log::info!(target: "usher::access", request_id = request.id.as_str(), client = client.as_str(),
            method = request.method.as_str(), route = route.label(), tenant = tenant, call = facts.call.unwrap_or("-"),
            status = answer.status, result = answer.result, server = server, bytes = answer.body.len(),
            duration_ms = millis(took), upstream_ms = millis(answer.upstream.unwrap_or_default()); "request");
    }
}

/// What never became a request: unreadable, or one connection too many. No line each, a flood must not fill the log.
pub fn record_refused(metrics: &Metrics, answer: &Answer) {
    metrics.http_requests.with_label_values(&["http", "none", class(answer.status)]).inc();
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// Milliseconds with microseconds' precision.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
