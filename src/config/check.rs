//! What no single value shows: ranges, and values that contradict each other. Every rule says what to write instead.

use std::collections::HashSet;
use std::time::Duration;

use super::problem::Problem;
use super::resolve::problem;
use super::{Config, defaults, read_l4};

/// Longest duration any setting may have; keeps sums of times far from overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Adds everything that is wrong with `config` to `problems`.
pub fn check(config: &Config, problems: &mut Vec<Problem>) {
    let mut rules = Rules { config, problems };
    rules.listeners();
    rules.api();
    rules.health();
    rules.load();
    rules.reserve();
    rules.edge();
    rules.limits();
}

struct Rules<'a> {
    config: &'a Config,
    problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    fn require(&mut self, holds: bool, path: &'static str, text: impl Into<String>) {
        if !holds {
            self.problems.push(problem(path, &self.config.sources.of(path), text.into()));
        }
    }

    fn time(&mut self, path: &'static str, time: Duration) {
        let text = "write a duration between \"1ms\" and \"30days\"";
        self.require(time >= Duration::from_millis(1) && time <= LONGEST, path, text);
    }

    fn positive(&mut self, path: &'static str, number: f64) {
        self.require(number > 0.0, path, "write a number greater than 0");
    }

    fn share(&mut self, path: &'static str, number: f64) {
        self.require((0.0..=1.0).contains(&number), path, "write a share between 0 and 1");
    }

    fn listeners(&mut self) {
        let listen = &self.config.listen;
        let is_any = !listen.http.is_empty() || self.config.https_addresses().next().is_some();
        self.require(is_any, "listen.http", "write at least one address such as \"0.0.0.0:80\"");
        let mut seen = HashSet::new();
        for address in &listen.http {
            let is_new = seen.insert(*address) || address.port() == 0;
            self.require(is_new, "listen.http", format!("{address} is listed twice; remove one"));
        }
        for address in &listen.https {
            let is_new = seen.insert(*address) || address.port() == 0;
            self.require(is_new, "listen.https", format!("{address} is listed twice; remove one"));
        }
        let has_certificate = listen.https.is_empty() || !self.config.tls.certificates.is_empty();
        self.require(has_certificate, "listen.https", "needs a certificate; write tls.certificates");
        // Behind a proxy that terminates TLS there is no HTTPS listener, but an https:// address.
        let has_certificate =
            self.config.l4.https_addresses().next().is_none() || !self.config.tls.certificates.is_empty();
        self.require(
            has_certificate,
            read_l4::PATH,
            "the target \"https\" needs a certificate; write tls.certificates",
        );
        let is_somewhere = self.config.https_addresses().next().is_some() || listen.public_url.scheme() == "https";
        let where_to = "needs listen.https, or a public_url that begins with https://";
        self.require(!listen.redirect_to_https || is_somewhere, "listen.redirect_to_https", where_to);
        let admin = &self.config.admin;
        let is_served = admin.client_ca.is_none() || admin.tls.is_some();
        self.require(is_served, "admin.client_ca", "needs admin.cert and admin.key");
        let has_proxies = !listen.proxy_protocol || !listen.trusted_proxies.is_empty();
        let text = "name the proxies that send PROXY headers in listen.trusted_proxies; nobody else is believed";
        self.require(has_proxies, "listen.proxy_protocol", text);
        if let Some(admin) = self.config.admin.listen {
            let is_free = admin.port() == 0 || !seen.contains(&admin);
            self.require(is_free, "admin.listen", format!("{admin} is a public listener too; choose another port"));
        }
        let mut taken: HashSet<_> = listen.http.iter().chain(&self.config.admin.listen).copied().collect();
        for address in self.config.l4.addresses() {
            let is_new = taken.insert(address) || address.port() == 0;
            self.require(is_new, read_l4::PATH, format!("{address} is listened on twice; remove one"));
        }
    }

    fn api(&mut self) {
        let api = &self.config.api;
        self.require((1024..=1 << 30).contains(&api.max_body), "api.max_body", "write a size between 1KiB and 1GiB");
        let slides = api.max_slides >= api.max_body && api.max_slides <= 1 << 30;
        self.require(slides, "api.max_slides", "write a size between api.max_body and 1GiB");
        let buffered = api.max_buffered >= api.max_slides;
        self.require(buffered, "api.max_buffered", "write at least api.max_slides, or no such body could ever be read");
        self.require((16..=10_000).contains(&api.max_params), "api.max_params", "write a number between 16 and 10000");
        let query = (1024..=64 << 10).contains(&api.max_query);
        self.require(query, "api.max_query", "write a size between 1KiB and 64KiB");
        let answer = ((64 << 10)..=1 << 30).contains(&api.max_answer);
        self.require(answer, "api.max_answer", "write a size between 64KiB and 1GiB");
        self.time("api.request_timeout", api.request_timeout);
        self.time("api.recordings_timeout", api.recordings_timeout);
        self.time("api.connect_timeout", api.connect_timeout);
        self.time("api.create_attempt", api.create_attempt);
        let order = api.connect_timeout <= api.request_timeout;
        self.require(order, "api.connect_timeout", "write at most api.request_timeout, which includes it");
        let algorithms = &api.checksum_algorithms;
        self.require(!algorithms.is_empty(), "api.checksum_algorithms", "write at least one, such as \"sha256\"");
        let are_unique = algorithms.iter().enumerate().all(|(index, one)| !algorithms[..index].contains(one));
        self.require(are_unique, "api.checksum_algorithms", "write each algorithm once");
    }

    fn health(&mut self) {
        let health = &self.config.health;
        self.time("health.interval", health.interval);
        self.time("health.poll_interval", health.poll_interval);
        self.time("health.timeout", health.timeout);
        self.time("health.failover_after", health.failover_after);
        self.time("health.max_backoff", health.max_backoff);
        self.require(health.ended_grace <= LONGEST, "health.ended_grace", "write at most \"30days\"");
        self.require(health.unhealthy_after > 0, "health.unhealthy_after", "write 1 or more");
        self.require(health.healthy_after > 0, "health.healthy_after", "write 1 or more");
        let backoff = health.max_backoff >= health.interval;
        self.require(backoff, "health.max_backoff", "write at least health.interval");
    }

    fn load(&mut self) {
        let load = &self.config.load;
        self.positive("load.weights.user", load.weights.user);
        self.positive("load.limits.cpu", load.limits.cpu);
        self.share("load.limits.cpu", load.limits.cpu);
        self.positive("load.limits.net", load.limits.net);
        self.share("load.limits.net", load.limits.net);
        self.require(load.limits.big_room > 0, "load.limits.big_room", "write 1 or more");
        self.share("load.audio.tlo_share", load.audio.tlo_share);
        self.share("load.choose.tie", load.choose.tie);
        self.positive("load.joins.per_core", load.joins.per_core);
        self.positive("load.joins.max", load.joins.max);
        let text = "must be between 1 and 100000 places";
        self.require((1..=100_000).contains(&load.joins.queue_max), "load.joins.queue_max", text);
    }

    fn reserve(&mut self) {
        let reserve = &self.config.load.reserve;
        self.positive("load.reserve.prior", reserve.prior);
        self.positive("load.reserve.cv_unknown", reserve.cv_unknown);
        self.positive("load.reserve.prior_strength", reserve.prior_strength);
        self.positive("load.reserve.temper", reserve.temper);
        self.share("load.reserve.temper", reserve.temper);
        let between = "write a quantile between 0.01 and 0.999";
        self.require((0.01..=0.999).contains(&reserve.quantile), "load.reserve.quantile", between);
        self.require((0.01..=0.999).contains(&reserve.admit), "load.reserve.admit", between);
        self.time("load.reserve.tau", reserve.tau);
        self.time("load.reserve.max_age", reserve.max_age);
        self.require(reserve.bell_lead <= LONGEST, "load.reserve.bell_lead", "write at most \"30days\"");
        let day = Duration::from_secs(24 * 3600);
        let grid = reserve.grid >= Duration::from_secs(60) && reserve.grid <= day;
        self.require(grid, "load.reserve.grid", "write a duration between \"1m\" and \"24h\"");
    }

    fn edge(&mut self) {
        let edge = &self.config.edge;
        self.time("edge.connect_timeout", edge.connect_timeout);
        self.time("edge.read_timeout", edge.read_timeout);
        self.time("edge.tunnel_idle", edge.tunnel_idle);
        let text = "write a number between 0 and 10000";
        self.require(edge.idle_connections <= 10_000, "edge.idle_connections", text);
        let sizes = defaults::SMALLEST_ASSET_CACHE..=defaults::LARGEST_ASSET_CACHE;
        let is_right = edge.asset_cache == 0 || sizes.contains(&edge.asset_cache);
        self.require(is_right, "edge.asset_cache", "write 0, or a size between \"1MiB\" and \"64GiB\"");
    }

    fn limits(&mut self) {
        let limits = &self.config.limits;
        let count = format!("write a number between 1 and {}", defaults::MAX_COUNT);
        let counts = 1..=defaults::MAX_COUNT;
        self.require(counts.contains(&limits.connections), "limits.connections", count.as_str());
        self.require(limits.requests_per_connection > 0, "limits.requests_per_connection", "write 1 or more");
        for (path, number) in [
            ("limits.handshakes", limits.handshakes),
            ("limits.concurrent_creates", limits.concurrent_creates),
            ("limits.concurrent_fanouts", limits.concurrent_fanouts),
            ("limits.creates_per_tenant", limits.creates_per_tenant),
            ("limits.fanouts_per_tenant", limits.fanouts_per_tenant),
        ] {
            self.require(counts.contains(&number), path, count.as_str());
        }
        self.time("limits.keepalive", limits.keepalive);
        self.time("limits.handshake_timeout", limits.handshake_timeout);
        self.time("limits.header_timeout", limits.header_timeout);
        self.time("limits.body_timeout", limits.body_timeout);
        let vigil = Duration::from_secs(2)..=Duration::from_secs(3600);
        self.require(vigil.contains(&limits.dead_after), "limits.dead_after", "write a time between \"2s\" and \"1h\"");
        let process = &self.config.process;
        let threads = format!("write a number between 0 (one per core) and {}", defaults::MAX_THREADS);
        self.require(process.threads <= defaults::MAX_THREADS, "process.threads", threads);
        self.require(process.grace_stop <= LONGEST, "process.grace_stop", "write at most \"30days\"");
        self.require(process.grace_upgrade <= LONGEST, "process.grace_upgrade", "write at most \"30days\"");
    }
}
