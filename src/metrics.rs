//! Every metric in one place (names and labels: interface.md section 4).
//!
//! Labels are bounded by construction: server and tenant names come from the store, calls and reasons are words of
//! the program. Never a meeting, a user, a secret or a free text. Gauges of servers and tenants are written anew from
//! the ledger at each scrape, so a removed server's series disappear with it.

use std::array;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// Seconds; from a join answered from memory to a create with slides.
const BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0,
];

/// Seconds; from a page that is closed at once to a school day.
const SESSION_BUCKETS: &[f64] = &[1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0];

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    pub process_cpu: Counter,
    pub process_memory: IntGauge,
    pub process_fds: IntGauge,
    pub process_max_fds: IntGauge,
    pub process_start: Gauge,
    pub api_requests: IntCounterVec,
    pub api_duration: HistogramVec,
    pub http_requests: IntCounterVec,
    pub http_duration: HistogramVec,
    pub http_bytes: IntCounterVec,
    pub server_up: IntGaugeVec,
    pub server_state: IntGaugeVec,
    pub server_load: GaugeVec,
    pub server_utilisation: GaugeVec,
    pub server_meetings: IntGaugeVec,
    pub server_participants: IntGaugeVec,
    pub server_voice: IntGaugeVec,
    pub server_videos: IntGaugeVec,
    pub server_connections: IntGaugeVec,
    pub server_carried: IntGaugeVec,
    pub joins_waiting: IntGaugeVec,
    pub asset_cache: IntCounterVec,
    pub asset_cache_bytes: IntGauge,
    pub joins_paced: IntCounterVec,
    pub server_reserved: GaugeVec,
    pub server_last_poll: GaugeVec,
    pub poll_duration: HistogramVec,
    pub poll_failures: IntCounterVec,
    pub call_failures: IntCounterVec,
    pub placements: IntCounterVec,
    pub create_retries: IntCounter,
    pub placement_conflicts: IntCounter,
    pub meetings_ended: IntCounter,
    pub meetings_adopted: IntCounter,
    pub twins_ended: IntCounter,
    pub twins_seen: IntCounterVec,
    pub lists_doubted: IntCounter,
    pub tenant_meetings: IntGaugeVec,
    pub tenant_participants: IntGaugeVec,
    pub tenant_limit_hits: IntCounterVec,
    pub store_up: IntGauge,
    pub store_duration: HistogramVec,
    pub own_network_fault: IntGauge,
    pub background_restarts: IntCounterVec,
    pub connections: IntGauge,
    pub websocket_connections: IntGaugeVec,
    pub websocket_bytes: IntCounterVec,
    pub websocket_duration: HistogramVec,
    pub l4_connections: IntGaugeVec,
    pub l4_bytes: IntCounterVec,
    pub l4_refused: IntCounterVec,
    pub l4_failed: IntCounterVec,
    pub limited: IntCounterVec,
    pub log_lines_dropped: IntCounter,
    pub certificate_expiry: IntGaugeVec,
    pub certificates_refused: IntGauge,
    pub tls_handshakes: IntCounterVec,
}

impl Metrics {
    /// Fails only if two metrics have the same name, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let make = Maker { registry: Registry::new() };
        let build = make.gauges("usher_build_info", "Version of this binary.", &["version", "commit"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("USHER_COMMIT").unwrap_or("unknown")]).set(1);
        Ok(Self {
            api_requests: make.counters(
                "usher_api_requests_total",
                "BBB API calls by outcome: ok or the messageKey.",
                &["call", "tenant", "result"],
            )?,
            api_duration: make.histograms(
                "usher_api_request_duration_seconds",
                "Time to answer an API call.",
                "call",
            )?,
            http_requests: make.counters(
                "usher_http_requests_total",
                "HTTP requests by listener, route and status class; 1xx are WebSockets that were opened.",
                &["listener", "route", "code"],
            )?,
            http_duration: make.histograms(
                "usher_http_request_duration_seconds",
                "Time from the whole header to the end of the answer.",
                "route",
            )?,
            http_bytes: make.counters("usher_http_bytes_total", "Bytes of bodies.", &["direction"])?,
            server_up: make.gauges("usher_server_up", "1 if the server is up.", &["server"])?,
            server_state: make.gauges(
                "usher_server_state",
                "1 for the state and the health word that apply.",
                &["server", "state"],
            )?,
            server_load: make.floats("usher_server_load", "Load in cores, expected people included.", &["server"])?,
            server_utilisation: make.floats(
                "usher_server_utilisation",
                "Share of the server's capacity in use or reserved; 1 is full.",
                &["server"],
            )?,
            server_meetings: make.gauges("usher_server_meetings", "Meetings on the server.", &["server"])?,
            server_participants: make.gauges("usher_server_participants", "People on the server.", &["server"])?,
            server_voice: make.gauges("usher_server_voice", "Voice participants.", &["server"])?,
            server_videos: make.gauges("usher_server_videos", "Webcams.", &["server"])?,
            server_connections: make.gauges(
                "usher_server_connections",
                "Lasting connections of browsers that are carried to the server.",
                &["server"],
            )?,
            server_carried: make.gauges(
                "usher_server_carried_people",
                "People whose client is carried to the server.",
                &["server"],
            )?,
            joins_waiting: make.gauges(
                "usher_joins_waiting",
                "People who wait for their turn to join the server, or would be waiting.",
                &["server"],
            )?,
            asset_cache: make.counters(
                "usher_asset_cache_total",
                "Files of client pages by where they came from: kept (hit), fetched to be kept (miss), not to be kept or asked \
                 for with a condition (passed).",
                &["result"],
            )?,
            asset_cache_bytes: make.gauge("usher_asset_cache_bytes", "Memory that kept files take.")?,
            joins_paced: make.counters(
                "usher_joins_paced_total",
                "Joins that got a place in the server's queue (waited), were let in from there (let_in), found it full (full), \
                 or would have waited (observed).",
                &["server", "outcome"],
            )?,
            server_reserved: make.floats("usher_server_reserved", "People still expected.", &["server"])?,
            server_last_poll: make.floats(
                "usher_server_last_poll_timestamp_seconds",
                "Time of the last successful getMeetings poll.",
                &["server"],
            )?,
            poll_duration: make.histograms("usher_server_poll_duration_seconds", "Duration of polls.", "server")?,
            poll_failures: make.counters(
                "usher_server_poll_failures_total",
                "Failed probes and polls.",
                &["server"],
            )?,
            call_failures: make.counters(
                "usher_server_call_failures_total",
                "Calls for callers that failed on the server, by what was wrong: connect, silent, broken_off, status, refused, \
                 unreadable, unsendable.",
                &["server", "call", "kind"],
            )?,
            placements: make.counters("usher_placements_total", "Meetings placed.", &["server", "reason"])?,
            create_retries: make.counter("usher_create_retries_total", "Creates that went on to another server.")?,
            placement_conflicts: make
                .counter("usher_placement_conflicts_total", "Claims that another process had won.")?,
            meetings_ended: make.counter("usher_meetings_ended_total", "Meetings that were ended by a call, or that polls found to be over.")?,
            meetings_adopted: make.counter("usher_meetings_adopted_total", "Unknown meetings taken over.")?,
            twins_ended: make.counter("usher_twins_ended_total", "Empty copies ended on servers that came back.")?,
            twins_seen: make.counters(
                "usher_twins_seen_total",
                "Meetings that a server listed while they were placed on another one.",
                &["server"],
            )?,
            lists_doubted: make.counter(
                "usher_lists_doubted_total",
                "Lists of a server without any of its meetings, asked for again before they were believed.",
            )?,
            tenant_meetings: make.gauges("usher_tenant_meetings", "Meetings of the tenant.", &["tenant"])?,
            tenant_participants: make.gauges("usher_tenant_participants", "People of the tenant.", &["tenant"])?,
            tenant_limit_hits: make.counters(
                "usher_tenant_limit_hits_total",
                "Calls refused by a tenant's limit.",
                &["tenant"],
            )?,
            store_up: make.gauge("usher_store_up", "1 if the last store operation worked.")?,
            store_duration: make.histograms(
                "usher_store_operation_duration_seconds",
                "Time of store operations.",
                "operation",
            )?,
            background_restarts: make.counters(
                "usher_background_restarts_total",
                "Background work that failed through a bug of Usher's and began anew.",
                &["loop"],
            )?,
            own_network_fault: make.gauge(
                "usher_own_network_fault",
                "1 while all servers fail at once, which is taken as our own fault.",
            )?,
            connections: make.gauge("usher_http_connections", "Open connections on the public listeners.")?,
            websocket_connections: make.gauges(
                "usher_websocket_connections",
                "WebSockets that the edge carries.",
                &["server"],
            )?,
            websocket_bytes: make.counters(
                "usher_websocket_bytes_total",
                "Bytes of WebSockets; in is from browsers.",
                &["server", "direction"],
            )?,
            websocket_duration: make.histograms_in(
                "usher_websocket_duration_seconds",
                "How long WebSockets lasted.",
                "server",
                SESSION_BUCKETS,
            )?,
            l4_connections: make.gauges(
                "usher_l4_connections",
                "Connections that are relayed or being made.",
                &["listener", "server"],
            )?,
            l4_bytes: make.counters("usher_l4_bytes_total", "Bytes relayed, both ways.", &["listener", "server"])?,
            l4_refused: make.counters(
                "usher_l4_refused_total",
                "Connections closed because of the client or a limit.",
                &["listener", "reason"],
            )?,
            l4_failed: make.counters(
                "usher_l4_failed_total",
                "Targets that could not be reached.",
                &["listener", "server"],
            )?,
            limited: make.counters(
                "usher_limited_total",
                "Refusals by limits of addresses and tenants.",
                &["reason"],
            )?,
            certificate_expiry: make.gauges(
                "usher_certificate_expiry_timestamp_seconds",
                "When a certificate in use ends, by its first name.",
                &["name"],
            )?,
            certificates_refused: make.gauge(
                "usher_certificates_refused",
                "Certificates whose files cannot be taken as they are; what was read before stays in use.",
            )?,
            tls_handshakes: make.counters(
                "usher_tls_handshakes_total",
                "TLS handshakes by listener and outcome: ok, failed, timeout, plain_http, busy.",
                &["listener", "result"],
            )?,
            process_cpu: make.add(Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?)?,
            process_memory: make.gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            process_fds: make.gauge("process_open_fds", "Number of open file descriptors.")?,
            process_max_fds: make.gauge("process_max_fds", "Maximum number of open file descriptors.")?,
            process_start: make.add(Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?)?,
            log_lines_dropped: make.counter("usher_log_lines_dropped_total", "Log lines lost to a slow writer.")?,
            registry: make.registry,
        })
    }

    /// Drops the series of servers and tenants that are gone, so that label values cannot pile up over the years.
    pub fn forget_all_but(&self, servers: &HashSet<String>, tenants: &HashSet<String>) {
        retain(&self.poll_failures, "server", servers);
        retain(&self.call_failures, "server", servers);
        retain(&self.poll_duration, "server", servers);
        retain(&self.placements, "server", servers);
        retain(&self.joins_paced, "server", servers);
        retain(&self.api_requests, "tenant", tenants);
        retain(&self.tenant_limit_hits, "tenant", tenants);
    }

    /// Name and end of each certificate in use, seconds since 1970; of several with one name the first to end counts.
    pub fn set_certificates(&self, expiries: &[(String, i64)]) {
        self.certificate_expiry.reset();
        for (name, end) in expiries {
            let soonest = expiries.iter().filter(|(other, _)| other == name).map(|(_, end)| *end).min();
            self.certificate_expiry.with_label_values(&[name]).set(soonest.unwrap_or(*end));
        }
    }

    /// The whole exposition as text.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing into memory does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

/// Removes each series whose `label` has a value that is not in `known`; `-` stands for none and stays.
fn retain<T: MetricVecBuilder>(metric: &MetricVec<T>, label: &str, known: &HashSet<String>) {
    for series in metric.collect().iter().flat_map(|family| family.get_metric()) {
        let labels: HashMap<&str, &str> = series.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
        let is_gone = labels.get(label).is_some_and(|value| *value != "-" && !known.contains(*value));
        if is_gone {
            // Fails only if somebody else has removed it meanwhile.
            let _ = metric.remove(&labels);
        }
    }
}

/// Series found once and kept, by a small number that stands for their labels.
#[derive(Debug)]
pub struct Kept<T, const SLOTS: usize>([OnceLock<T>; SLOTS]);

impl<T, const SLOTS: usize> Default for Kept<T, SLOTS> {
    fn default() -> Self {
        Self(array::from_fn(|_| OnceLock::new()))
    }
}

impl<T, const SLOTS: usize> Kept<T, SLOTS> {
    /// The series of `slot`, which is below `SLOTS`; looked up with `find` the first time.
    pub fn get(&self, slot: usize, find: impl FnOnce() -> T) -> &T {
        self.0[slot].get_or_init(find)
    }
}

/// Registers what it makes.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }
    fn floats(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }
    fn histograms(&self, name: &str, help: &str, label: &str) -> Result<HistogramVec, prometheus::Error> {
        self.histograms_in(name, help, label, BUCKETS)
    }
    fn histograms_in(
        &self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label])?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_build_info_is_there() {
        let metrics = Metrics::new().unwrap();
        metrics.create_retries.inc();
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("usher_build_info"));
        assert!(text.contains("usher_create_retries_total 1"));
    }

    #[test]
    fn series_of_what_is_gone_are_dropped() {
        let metrics = Metrics::new().unwrap();
        for server in ["old", "new"] {
            metrics.placements.with_label_values(&[server, "least_load"]).inc();
            metrics.poll_duration.with_label_values(&[server]).observe(0.1);
        }
        metrics.api_requests.with_label_values(&["create", "-", "checksumError"]).inc();
        metrics.forget_all_but(&HashSet::from(["new".to_owned()]), &HashSet::new());
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(!text.contains("\"old\"") && text.contains("\"new\"") && text.contains("tenant=\"-\""), "{text}");
    }
}
