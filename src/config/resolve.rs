//! From what was written to a typed `Config`: each key is named here once, with its reader.
//!
//! Starts from the defaults and replaces what was set. Keys of features that are not built yet are known, and are an
//! error unless they say "off": a setting is never silently ignored. What remains in the table afterwards is unknown.

use super::load::{Profile, Tlo};
use super::problem::Problem;
use super::raw::{Raw, Source, Value};
use super::sections::{
    CertificateFiles, ClientPrefix, EdgeMode, GetMeetingInfo, GetMeetings, IsRunning, LogFormat, Pacing, WhenFull,
};
use super::site::{self, Coding};
use super::{Config, Sources, defaults, read_l4, value};

/// Sections and keys promised by the documentation for later versions.
const NOT_BUILT: [&str; 6] =
    ["tls.acme", "recordings", "load.history", "load.backlog", "load.expression", "load.limits.mem"];

/// Reads every key; problems found on the way are added to `problems` and leave the default in place.
pub fn resolve(raw: Raw, problems: &mut Vec<Problem>) -> Config {
    let mut keys = Keys { raw, known: Vec::new(), sources: Sources::default(), problems };
    let mut config = defaults::config();
    keys.read_all(&mut config);
    keys.l4(&mut config);
    keys.refuse_not_built();
    keys.refuse_unknown();
    config.sources = keys.sources;
    config
}

/// Every key there is.
#[cfg(test)]
pub fn known_keys() -> Vec<&'static str> {
    let mut problems = Vec::new();
    let mut keys =
        Keys { raw: Raw::default(), known: Vec::new(), sources: Sources::default(), problems: &mut problems };
    keys.read_all(&mut defaults::config());
    keys.known
}

struct Keys<'a> {
    raw: Raw,
    known: Vec<&'static str>,
    sources: Sources,
    problems: &'a mut Vec<Problem>,
}

impl Keys<'_> {
    fn read<T>(&mut self, path: &'static str, target: &mut T, parse: impl Fn(&Value) -> Result<T, String>) {
        self.known.push(path);
        let Some(entry) = self.raw.entries.remove(path) else { return };
        match parse(&entry.value) {
            Ok(parsed) => *target = parsed,
            Err(text) => self.problems.push(problem(path, &entry.source, text)),
        }
        self.sources.0.insert(path, entry.source);
    }

    fn read_all(&mut self, config: &mut Config) {
        self.listen(config);
        self.api(config);
        self.health(config);
        self.load(config);
        self.reserve(config);
        self.edge(config);
        self.process(config);
    }

    fn listen(&mut self, config: &mut Config) {
        let listen = &mut config.listen;
        self.read("listen.http", &mut listen.http, |found| value::list(found, value::address));
        self.read("listen.https", &mut listen.https, |found| value::list(found, value::address));
        self.read("listen.redirect_to_https", &mut listen.redirect_to_https, value::flag);
        self.read("listen.trusted_proxies", &mut listen.trusted_proxies, |found| value::list(found, value::network));
        self.read("listen.proxy_protocol", &mut listen.proxy_protocol, value::flag);
        self.read("listen.public_url", &mut listen.public_url, value::site);
        self.read("admin.listen", &mut config.admin.listen, value::address_or_off);
        self.admin_tls(config);
        self.read("tls.certificates", &mut config.tls.certificates, value::certificates);
        self.read("tls.hsts", &mut config.tls.hsts, value::hsts_or_none);
        self.read("tls.challenge_webroot", &mut config.tls.challenge_webroot, value::file_or_none);
        self.read("tls.server_ca", &mut config.tls.server_ca, value::file_or_none);
        self.site(config);
        self.read("store.url", &mut config.store.url, value::store_url);
    }

    fn site(&mut self, config: &mut Config) {
        let headers = &mut config.headers;
        self.read("headers.server", &mut headers.server, site::server_line);
        self.read("headers.set", &mut headers.set, |found| value::list(found, site::field));
        self.read("headers.remove", &mut headers.remove, |found| value::list(found, site::removable));
        headers.prepare();
        let compression = &mut config.compression;
        self.read("compression.algorithms", &mut compression.algorithms, |found| value::list(found, Coding::read));
        self.read("compression.min_length", &mut compression.min_length, value::size);
    }

    fn admin_tls(&mut self, config: &mut Config) {
        let (mut cert, mut key) = (None, None);
        self.read("admin.cert", &mut cert, value::file_or_none);
        self.read("admin.key", &mut key, value::file_or_none);
        self.read("admin.client_ca", &mut config.admin.client_ca, value::file_or_none);
        config.admin.tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let (given, missing) =
                    if cert.is_some() { ("admin.cert", "admin.key") } else { ("admin.key", "admin.cert") };
                let source = self.sources.of(given);
                self.problems.push(problem(missing, &source, format!("is missing; {given} needs it")));
                None
            }
        };
    }

    fn api(&mut self, config: &mut Config) {
        let api = &mut config.api;
        self.read("api.max_body", &mut api.max_body, value::size);
        self.read("api.max_slides", &mut api.max_slides, value::size);
        self.read("api.max_buffered", &mut api.max_buffered, value::size);
        self.read("api.max_params", &mut api.max_params, value::whole);
        self.read("api.max_query", &mut api.max_query, |found| {
            value::size(found).and_then(|bytes| usize::try_from(bytes).map_err(|_| "write a smaller size".to_owned()))
        });
        self.read("api.request_timeout", &mut api.request_timeout, value::duration);
        self.read("api.recordings_timeout", &mut api.recordings_timeout, value::duration);
        self.read("api.connect_timeout", &mut api.connect_timeout, value::duration);
        self.read("api.create_attempt", &mut api.create_attempt, value::duration);
        self.read("api.max_answer", &mut api.max_answer, value::size);
        self.read("api.checksum_algorithms", &mut api.checksum_algorithms, |found| {
            value::list(found, value::algorithm)
        });
        self.read("api.unsigned_form_bodies", &mut api.unsigned_form_bodies, value::flag);
        let words = [("live", GetMeetings::Live), ("fanout", GetMeetings::Fanout)];
        self.read("api.get_meetings", &mut api.get_meetings, |found| value::word(found, &words));
        let words = [("live", IsRunning::Live), ("ask", IsRunning::Ask)];
        self.read("api.is_meeting_running", &mut api.is_meeting_running, |found| value::word(found, &words));
        let words = [("ask", GetMeetingInfo::Ask), ("live", GetMeetingInfo::Live)];
        self.read("api.get_meeting_info", &mut api.get_meeting_info, |found| value::word(found, &words));
        let words = [("accept", WhenFull::Accept), ("refuse", WhenFull::Refuse)];
        self.read("api.when_full", &mut api.when_full, |found| value::word(found, &words));
        self.read("api.logout_url", &mut api.logout_url, value::page_or_none);
    }

    fn health(&mut self, config: &mut Config) {
        let health = &mut config.health;
        self.read("health.interval", &mut health.interval, value::duration);
        self.read("health.poll_interval", &mut health.poll_interval, value::duration);
        self.read("health.timeout", &mut health.timeout, value::duration);
        self.read("health.unhealthy_after", &mut health.unhealthy_after, value::whole);
        self.read("health.healthy_after", &mut health.healthy_after, value::whole);
        self.read("health.failover_after", &mut health.failover_after, value::duration);
        self.read("health.ended_grace", &mut health.ended_grace, value::duration);
        self.read("health.max_backoff", &mut health.max_backoff, value::duration);
    }

    fn load(&mut self, config: &mut Config) {
        let load = &mut config.load;
        self.read("load.profile", &mut load.profile, |found| match found {
            Value::Text(text) if text == "network" || text == "expression" => {
                Err(format!("the profile \"{text}\" is not supported in this version; write \"balanced\""))
            }
            _ => value::word(
                found,
                &[("balanced", Profile::Balanced), ("people", Profile::People), ("legacy", Profile::Legacy)],
            ),
        });
        self.read("load.weights.meeting", &mut load.weights.meeting, value::number);
        self.read("load.weights.user", &mut load.weights.user, value::number);
        self.read("load.weights.voice", &mut load.weights.voice, value::number);
        self.read("load.weights.listen", &mut load.weights.listen, value::number);
        self.read("load.weights.cam_in", &mut load.weights.cam_in, value::number);
        self.read("load.weights.cam_out", &mut load.weights.cam_out, value::number);
        self.read("load.weights.share_out", &mut load.weights.share_out, value::number);
        self.read("load.weights.record", &mut load.weights.record, value::number);
        self.read("load.weights.square", &mut load.weights.square, value::number);
        self.read("load.net.cam", &mut load.net.cam, value::number);
        self.read("load.net.voice", &mut load.net.voice, value::number);
        self.read("load.net.share", &mut load.net.share, value::number);
        self.read("load.limits.cpu", &mut load.limits.cpu, value::number);
        self.read("load.limits.net", &mut load.limits.net, value::number);
        self.read("load.limits.big_room", &mut load.limits.big_room, value::whole);
        let words = [("by-version", Tlo::ByVersion), ("on", Tlo::On), ("off", Tlo::Off)];
        self.read("load.audio.tlo", &mut load.audio.tlo, |found| value::word(found, &words));
        self.read("load.audio.tlo_floor", &mut load.audio.tlo_floor, value::number);
        self.read("load.audio.tlo_share", &mut load.audio.tlo_share, value::number);
        self.read("load.video.page", &mut load.video.page, value::whole);
    }

    fn reserve(&mut self, config: &mut Config) {
        let reserve = &mut config.load.reserve;
        self.read("load.reserve.prior", &mut reserve.prior, value::number);
        self.read("load.reserve.cv_unknown", &mut reserve.cv_unknown, value::number);
        self.read("load.reserve.prior_strength", &mut reserve.prior_strength, value::number);
        self.read("load.reserve.hint_strength", &mut reserve.hint_strength, value::number);
        self.read("load.reserve.tau", &mut reserve.tau, value::duration);
        self.read("load.reserve.temper", &mut reserve.temper, value::number);
        self.read("load.reserve.bell_lead", &mut reserve.bell_lead, value::duration);
        self.read("load.reserve.max_age", &mut reserve.max_age, value::duration);
        self.read("load.reserve.quantile", &mut reserve.quantile, value::number);
        self.read("load.reserve.admit", &mut reserve.admit, value::number);
        self.read("load.reserve.ghost", &mut reserve.ghost, value::number);
        self.read("load.reserve.ghost_big", &mut reserve.ghost_big, value::number);
        self.read("load.reserve.ghost_net", &mut reserve.ghost_net, value::number);
        self.read("load.reserve.grid", &mut reserve.grid, value::duration);
        self.read("load.joins.per_core", &mut config.load.joins.per_core, value::number);
        self.read("load.joins.max", &mut config.load.joins.max, value::number);
        self.read("load.joins.queue_max", &mut config.load.joins.queue_max, value::whole);
        self.read("load.choose.tie", &mut config.load.choose.tie, value::number);
    }

    fn process(&mut self, config: &mut Config) {
        let limits = &mut config.limits;
        self.read("limits.connections", &mut limits.connections, value::whole);
        self.read("limits.http_connections", &mut limits.http_connections, value::whole);
        self.read("limits.https_connections", &mut limits.https_connections, value::whole);
        self.read("limits.keepalive", &mut limits.keepalive, value::duration);
        self.read("limits.handshake_timeout", &mut limits.handshake_timeout, value::duration);
        self.read("limits.handshakes", &mut limits.handshakes, value::whole);
        self.read("limits.header_timeout", &mut limits.header_timeout, value::duration);
        self.read("limits.body_timeout", &mut limits.body_timeout, value::duration);
        self.read("limits.dead_after", &mut limits.dead_after, value::duration);
        self.read("limits.requests_per_connection", &mut limits.requests_per_connection, value::whole);
        self.read("limits.concurrent_creates", &mut limits.concurrent_creates, value::whole);
        self.read("limits.concurrent_fanouts", &mut limits.concurrent_fanouts, value::whole);
        self.read("limits.connections_per_address", &mut limits.connections_per_address, value::whole);
        self.read("limits.unsigned_per_address", &mut limits.unsigned_per_address, value::whole);
        self.read("limits.carried_per_address", &mut limits.carried_per_address, value::whole);
        self.read("limits.carried_per_session", &mut limits.carried_per_session, value::whole);
        self.read("limits.same_join_per_address", &mut limits.same_join_per_address, value::whole);
        self.read("limits.requests_per_tenant", &mut limits.requests_per_tenant, value::whole);
        self.read("limits.creates_per_tenant", &mut limits.creates_per_tenant, value::whole);
        self.read("limits.fanouts_per_tenant", &mut limits.fanouts_per_tenant, value::whole);
        self.read("limits.exempt", &mut limits.exempt, |found| value::list(found, value::network));
        let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        self.read("log.format", &mut config.log.format, |found| value::word(found, &words));
        let words = [
            ("error", log::LevelFilter::Error),
            ("warn", log::LevelFilter::Warn),
            ("info", log::LevelFilter::Info),
            ("debug", log::LevelFilter::Debug),
            ("trace", log::LevelFilter::Trace),
            ("off", log::LevelFilter::Off),
        ];
        self.read("log.level", &mut config.log.level, |found| value::word(found, &words));
        self.read("log.access", &mut config.log.access, value::flag);
        self.read("log.libraries", &mut config.log.libraries, value::flag);
        self.read("process.threads", &mut config.process.threads, value::whole);
        self.read("process.grace_stop", &mut config.process.grace_stop, value::duration);
        self.read("process.grace_upgrade", &mut config.process.grace_upgrade, value::duration);
        self.read("process.upgrade_socket", &mut config.process.upgrade_socket, value::file_or_none);
    }

    fn edge(&mut self, config: &mut Config) {
        let edge = &mut config.edge;
        self.read("edge.mode", &mut edge.mode, |found| value::word(found, &EdgeMode::WORDS));
        let words = [("strip", ClientPrefix::Strip), ("keep", ClientPrefix::Keep)];
        self.read("edge.client_prefix", &mut edge.client_prefix, |found| value::word(found, &words));
        self.read("edge.connect_timeout", &mut edge.connect_timeout, value::duration);
        self.read("edge.read_timeout", &mut edge.read_timeout, value::duration);
        self.read("edge.tunnel_idle", &mut edge.tunnel_idle, value::duration);
        self.read("edge.idle_connections", &mut edge.idle_connections, value::whole);
        let words = [("off", Pacing::Off), ("observe", Pacing::Observe), ("on", Pacing::On)];
        self.read("edge.join_pacing", &mut edge.join_pacing, |found| value::word(found, &words));
        self.read("edge.asset_cache", &mut edge.asset_cache, value::size);
    }

    /// Lists of sections, and nothing else.
    fn l4(&mut self, config: &mut Config) {
        let below: Vec<String> = self.raw.entries.keys().filter(|key| is_at_or_below(key, "l4")).cloned().collect();
        for path in below {
            let Some(entry) = self.raw.entries.remove(&path) else { continue };
            if path == read_l4::PATH {
                self.sources.0.insert(read_l4::PATH, entry.source.clone());
                config.l4 = read_l4::read(entry, &self.raw.lines, self.problems);
            } else if path != "l4" || !entry.value.is_off() {
                let text = "is no known key; write a section [[l4.listener]] for each listener".to_owned();
                self.problems.push(problem(&path, &entry.source, text));
            }
        }
    }

    fn refuse_not_built(&mut self) {
        let problems = &mut *self.problems;
        self.raw.entries.retain(|path, entry| {
            let Some(feature) = NOT_BUILT.into_iter().find(|feature| is_at_or_below(path, feature)) else {
                return true;
            };
            if !entry.value.is_off() {
                let text = format!("{feature} is not supported in this version; remove it");
                problems.push(problem(path, &entry.source, text));
            }
            false
        });
    }

    fn refuse_unknown(&mut self) {
        for (path, entry) in &self.raw.entries {
            let is_section = self.known.iter().any(|known| is_at_or_below(known, path));
            if is_section && entry.value == Value::Table(Default::default()) {
                continue;
            }
            let text = match (is_section, nearest(path, &self.known)) {
                (true, _) => format!("is a section; write [{path}] and its keys below"),
                (false, Some(known)) => format!("is no known key; did you mean {known}?"),
                (false, None) => "is no known key; remove it".to_owned(),
            };
            self.problems.push(problem(path, &entry.source, text));
        }
    }
}

/// A problem of `path`, with the place it was written.
pub fn problem(path: &str, source: &Source, text: String) -> Problem {
    let (line, text) = match source {
        Source::Default => (None, text),
        Source::File(line) => (Some(*line), text),
        Source::Environment(variable) => (None, format!("{text} (set by the environment variable {variable})")),
    };
    Problem { path: path.to_owned(), line, text }
}

fn is_at_or_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The known key that was probably meant: at most two letters away, or the same last word in another section.
fn nearest(path: &str, known: &[&'static str]) -> Option<&'static str> {
    const FEW: usize = 2;
    let length = path.chars().count();
    let near = known.iter().filter(|key| key.len().abs_diff(length) <= FEW).map(|key| (letters_apart(path, key), *key));
    if let Some((_, close)) = near.min().filter(|(distance, _)| *distance <= FEW) {
        return Some(close);
    }
    let last_word = |key: &str| key.rfind('.').map_or(0, |dot| dot + 1);
    let wanted = &path[last_word(path)..];
    let mut same = known.iter().filter(|key| &key[last_word(key)..] == wanted);
    match (same.next(), same.next()) {
        (Some(key), None) => Some(key),
        _ => None,
    }
}

/// Levenshtein distance.
fn letters_apart(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
