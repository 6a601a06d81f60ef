//! One log line and the metrics of each request, after it has been answered.
//!
//! The line names call, tenant, server and outcome; never the query, which carries checksums, names and passwords.
//! Counters of ordinary outcomes are looked up once and kept: finding one by its labels costs more than a join.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::answer::Answer;
use super::arrival::Listener;
use super::request::Request;
use super::route::Route;
use crate::bbb::Call;
use crate::error::Blame;
use crate::metrics::{Kept, Metrics};
use crate::tenant::Tenant;

/// What was learned on the way.
#[derive(Debug, Default)]
pub struct Facts {
    pub call: Option<Call>,
    pub tenant: Option<Arc<Tenant>>,
    pub body_read: u64,
    /// A tenant's signature held.
    pub signed: bool,
    /// The request was the edge's to carry.
    pub carried: Option<Carried>,
    /// Refused as part of a flood: answered late, without a line in the log, and the connection is closed.
    pub flooding: bool,
    /// The meeting that a failed call was about.
    pub meeting: Option<String>,
}

/// What the edge brought back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Bytes of the server's body that reached the browser.
    pub bytes: u64,
    /// The server or the browser broke off before the end.
    pub broken: Option<&'static str>,
}

/// Keeps the books of the public listeners.
pub struct Access {
    metrics: Arc<Metrics>,
    requests: Kept<IntCounter, { Listener::SLOTS * Route::SLOTS * CLASSES.len() }>,
    durations: Kept<Histogram, { Route::SLOTS }>,
    calls: Kept<Histogram, { Call::SLOTS }>,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
}

/// `1xx` is a WebSocket that was opened.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Access {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let bytes = |direction| metrics.http_bytes.with_label_values(&[direction]);
        let (bytes_in, bytes_out) = (bytes("in"), bytes("out"));
        Self {
            metrics,
            requests: Kept::default(),
            durations: Kept::default(),
            calls: Kept::default(),
            bytes_in,
            bytes_out,
        }
    }

    pub fn record(
        &self,
        request: &Request<'_>,
        route: Route<'_>,
        answer: &Answer,
        facts: &Facts,
        took: Duration,
        log_access: bool,
    ) {
        let metrics = &self.metrics;
        let bytes = answer.body.len() as u64 + facts.carried.map_or(0, |carried| carried.bytes);
        let seconds = took.as_secs_f64();
        let class = class(answer.status);
        let listener = request.listener;
        let find = || metrics.http_requests.with_label_values(&[listener.label(), route.label(), CLASSES[class]]);
        let slot = (listener.slot() * Route::SLOTS + route.slot()) * CLASSES.len() + class;
        self.requests.get(slot, find).inc();
        let find = || metrics.http_duration.with_label_values(&[route.label()]);
        self.durations.get(route.slot(), find).observe(seconds);
        if facts.body_read > 0 {
            self.bytes_in.inc_by(facts.body_read);
        }
        self.bytes_out.inc_by(bytes);
        let tenant = facts.tenant.as_deref();
        let tenant_name = tenant.map_or("-", Tenant::name);
        if let Some(call) = facts.call {
            let find = || metrics.api_requests.with_label_values(&[call.name(), tenant_name, answer.result]);
            match tenant {
                Some(tenant) if answer.result == "ok" => tenant.answered.get(call.slot(), find).inc(),
                _ => find().inc(),
            }
            let find = || metrics.api_duration.with_label_values(&[call.name()]);
            self.calls.get(call.slot(), find).observe(seconds);
        }
        let call = facts.call.map_or("-", Call::name);
        let server = answer.server.as_ref().map_or("-", |server| server.name.as_str());
        if let Some(reason) = answer.reason.as_deref().filter(|_| answer.blame != Some(Blame::Client)) {
            log::warn!(request_id = request.id.as_str(), tenant = tenant_name, call = call, server = server,
                meeting = facts.meeting.as_deref().unwrap_or("-"), key = answer.result, reason = reason; "call failed");
        }
        if log_access {
            let client = request.client.map_or_else(|| "-".to_owned(), |client| client.to_string());
            log::info!(target: "usher::access", request_id = request.id.as_str(), client = client.as_str(),
                method = request.method.as_str(), route = route.label(), tenant = tenant_name, call = call,
                status = answer.status, result = facts.carried.and_then(|carried| carried.broken).unwrap_or(answer.result), server = server, meeting = facts.meeting.as_deref().unwrap_or("-"), bytes = bytes,
                duration_ms = millis(took), upstream_ms = millis(answer.upstream.unwrap_or_default()); "request");
        }
    }

    /// What never became a request: unreadable, or one connection too many. No line each, a flood must not fill the log.
    pub fn record_refused(&self, answer: &Answer, listener: Listener) {
        self.metrics.http_requests.with_label_values(&[listener.label(), "none", CLASSES[class(answer.status)]]).inc();
    }
}

/// Place in `CLASSES`.
fn class(status: u16) -> usize {
    match status / 100 {
        hundreds @ 1..=4 => usize::from(hundreds) - 1,
        _ => CLASSES.len() - 1,
    }
}

/// Milliseconds with microseconds' precision.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
