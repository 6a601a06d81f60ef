//! `usher check [--online]`: everything that is wrong, at once.
//!
//! Offline it reads the configuration and the certificates that it names, and warns of who can reach too much or nothing. Online it opens the store, and asks every BBB server three things side by
//! side: the version (is the address right?), getMeetings (is the secret right?) and, from the `Date` header, what time
//! it believes it is: signed cookies, certificates and `createTime` all suffer from a wrong clock.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use url::Url;

use super::context::Context;
use super::exposure;
use super::outcome::CliError;
use super::output::{Report, Table};
use super::trust;
use crate::bbb::{self, Algorithm, Generation, Version};
use crate::client::{BbbClient, Body, ClientSettings};
use crate::clock::{Clock, Millis, SystemClock};
use crate::config::{Config, EdgeMode, Problem, Problems, environment};
use crate::store::{ServerRecord, TenantRecord};
use crate::tls::{Servers, Tls, Weight};

/// A `Date` header counts whole seconds and travels a while; more than this is a wrong clock.
const MAX_SKEW: Duration = Duration::from_secs(5);

pub async fn run(file: Option<PathBuf>, online: bool) -> Result<Report, CliError> {
    let shown = file.as_ref().map_or_else(|| "built-in defaults".into(), |file| file.display().to_string());
    let config = match Config::load(file.as_deref(), environment()) {
        Ok(config) => config,
        Err(problems) => return Ok(bad(&shown, &problems, &[])),
    };
    let (tls, problems, mut warnings) = certificates(&config)?;
    warnings.extend(exposure::warnings(&config));
    if !problems.0.is_empty() {
        return Ok(bad(&shown, &problems, &warnings));
    }
    if online && config.https_addresses().next().is_some() {
        warnings.extend(hosts_without_certificate(&config, &tls).await);
    }
    let good = format!("configuration ok ({shown}){}", in_lines(&warnings));
    let mut report = match online {
        true => try_online(config, &shown, good).await,
        false => Report::new(good, json!({ "ok": true, "config": shown, "problems": [] })),
    };
    report.json["warnings"] = warnings.iter().map(in_json).collect();
    Ok(report)
}

/// Names that browsers would be warned at: those of tenants, and of servers whose traffic is carried by host. What else is wrong with the store is told by the rest.
async fn hosts_without_certificate(config: &Config, tls: &Tls) -> Vec<Problem> {
    let Ok(context) = Context::open_existing(config.clone()).await else { return Vec::new() };
    let tenants = context.store.tenants().await.unwrap_or_default();
    let of_tenant = |tenant: TenantRecord| {
        let whose = format!("of tenant {}", tenant.name);
        tenant.hosts.into_iter().map(move |host| (host, whose.clone()))
    };
    let mut hosts: Vec<(String, String)> = tenants.into_iter().flat_map(of_tenant).collect();
    if config.edge.mode == EdgeMode::Host {
        let servers = context.store.servers().await.unwrap_or_default();
        hosts.extend(servers.iter().filter_map(|server| {
            let url = Url::parse(&server.url).ok().filter(|url| url.scheme() == "https")?;
            Some((
                url.host_str()?.to_owned(),
                format!("of server {}, whose traffic comes here (edge.mode)", server.name),
            ))
        }));
    }
    let bare = hosts.into_iter().filter(|(host, _)| !tls.public.certificates.cover(host));
    bare.map(|(host, whose)| Problem {
        path: "tls.certificates".to_owned(),
        line: None,
        text: format!("none has the name {host} {whose}"),
    })
    .collect()
}

/// What is wrong with the certificates, and what is only doubtful.
fn certificates(config: &Config) -> Result<(Tls, Problems, Vec<Problem>), CliError> {
    let loaded = Tls::load(config, SystemClock.now());
    let (tls, outcome) = loaded.map_err(|error| CliError::Failed(format!("TLS does not work: {error}")))?;
    let (wrong, doubtful): (Vec<_>, Vec<_>) =
        outcome.troubles.into_iter().partition(|trouble| trouble.weight > Weight::Doubtful);
    let problems = wrong.into_iter().map(|trouble| trouble.problem).collect();
    Ok((tls, Problems(problems), doubtful.into_iter().map(|trouble| trouble.problem).collect()))
}

fn bad(shown: &str, problems: &Problems, warnings: &[Problem]) -> Report {
    let count = super::output::count(problems.0.len() as u64, "problem");
    let text = format!("{shown}: {count} to put right\n{problems}{}", in_lines(warnings));
    let list: Vec<Value> = problems.0.iter().map(in_json).collect();
    let warnings: Vec<Value> = warnings.iter().map(in_json).collect();
    let json = json!({ "ok": false, "config": shown, "problems": list, "warnings": warnings });
    Report::new(text, json).failed_if(true)
}

fn in_json(problem: &Problem) -> Value {
    json!({ "path": problem.path, "line": problem.line, "text": problem.text })
}

fn in_lines(warnings: &[Problem]) -> String {
    warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect()
}

/// Tries what the configuration names; `good` is the first line of the report.
pub async fn try_online(config: Config, shown: &str, good: String) -> Report {
    let opened = async {
        let context = Context::open_existing(config.clone()).await?;
        context.store.ping().await?;
        super::status::working(&context).await?;
        let servers = context.store.servers().await?;
        Ok::<_, CliError>((context, servers))
    };
    let (context, mut servers) = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            let json = json!({ "ok": false, "config": shown, "problems": [], "store": error.to_string() });
            return Report::new(format!("{good}\nstore: {error}"), json).failed_if(true);
        }
    };
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    let api = &context.config.api;
    let settings = ClientSettings { connect_timeout: api.connect_timeout, max_answer: api.max_answer };
    let tls = Servers::load(context.config.tls.server_ca.as_deref());
    let client = match tls.and_then(|tls| BbbClient::new(&settings, tls.into())) {
        Ok(client) => client,
        Err(problem) => {
            let json = json!({ "ok": false, "config": shown, "problems": [], "store": "ok", "client": problem });
            return Report::new(format!("{good}\nstore ok\n{problem}"), json).failed_if(true);
        }
    };
    let findings = join_all(servers.iter().map(|server| examine(&client, server, context.config.health.timeout))).await;
    report(shown, good, &servers, &findings, strangers(&context.config, &servers))
}

/// Servers that only the configuration knows.
fn strangers(config: &Config, servers: &[ServerRecord]) -> Vec<String> {
    let is_unknown = |name: &&str| servers.iter().all(|server| server.name != **name);
    let names: BTreeSet<&str> = config.l4.servers().filter(is_unknown).collect();
    let told = |name| {
        format!("l4.listener: there is no server {name}; add it with `usher server add`, or change the listener")
    };
    names.into_iter().map(told).collect()
}

/// What one server showed; an empty `problems` means that it is fine.
#[derive(Clone, Debug, Default, PartialEq)]
struct Finding {
    version: Option<String>,
    meetings: Option<usize>,
    /// The server's clock minus ours, milliseconds.
    skew_ms: Option<i64>,
    problems: Vec<String>,
    /// What does not fail the check.
    notes: Vec<String>,
}

async fn examine(client: &BbbClient, server: &ServerRecord, limit: Duration) -> Finding {
    let mut finding = Finding::default();
    match client.index(server, limit).await {
        Err(error) => {
            finding.problems.push(format!("no answer from {}: {error}", server.url));
            return finding;
        }
        Ok(answer) => {
            finding.skew_ms = answer.told_at().and_then(|told| skew(told, SystemClock.now()));
            match bbb::read_version(&answer.body) {
                Ok(version) => {
                    let told = server.version.as_deref().and_then(Generation::parse);
                    let ancient =
                        Generation::parse(&version.api).filter(|api| *api < Generation { major: 2, minor: 0 });
                    match version.generation().or(told).or(ancient) {
                        Some(generation) => finding.notes.extend(too_old(generation)),
                        None => finding.notes.push(format!(
                            "it tells no version, so it is older than {}; Usher is made for {} and later: `usher server set {} --version VERSION` notes which it is",
                            Generation::V2_6, Generation::V2_4, server.name
                        )),
                    }
                    finding.version = Some(version_in_words(&version));
                }
                Err(_) => finding.problems.push(format!(
                    "{} answers (HTTP {}), but not as BigBlueButton: check the address",
                    server.url,
                    answer.status.as_u16()
                )),
            }
        }
    }
    if let Some(skew) = finding.skew_ms.filter(|skew| skew.unsigned_abs() > MAX_SKEW.as_millis() as u64) {
        finding.problems.push(format!("its clock is {} s off: check NTP on both machines", skew / 1000));
    }
    match signed_call(client, server, limit).await {
        Ok(meetings) => finding.meetings = Some(meetings),
        Err(problem) => finding.problems.push(problem),
    }
    finding
}

/// getMeetings, read with care for the one answer that matters here: `checksumError`.
async fn signed_call(client: &BbbClient, server: &ServerRecord, limit: Duration) -> Result<usize, String> {
    let answer = client
        .call(server, "getMeetings", "", Body::None, limit)
        .await
        .map_err(|error| format!("getMeetings gave no answer: {error}"))?;
    if let Ok(list) = bbb::read_meetings(&answer.body) {
        return Ok(list.meetings.len());
    }
    match bbb::read_reply(&answer.body) {
        Ok(reply) if reply.key == "checksumError" => Err(match accepted(client, server, limit).await {
            Some(other) => format!(
                "its secret is right, but it does not accept {}, only {}: `usher server set {} --checksum {1}`",
                server.checksum.name(),
                other.name(),
                server.name,
            ),
            None => format!(
                "the secret is wrong: compare with `bbb-conf --secret` there, then `usher server set {} --secret -`",
                server.name
            ),
        }),
        Ok(reply) => Err(format!("getMeetings failed: {} ({})", reply.message, reply.key)),
        Err(_) => Err(format!("getMeetings was answered with HTTP {}, not by BigBlueButton", answer.status.as_u16())),
    }
}

/// Another way to sign that the server accepts: old ones know SHA-1 only, and operators switch algorithms off.
async fn accepted(client: &BbbClient, server: &ServerRecord, limit: Duration) -> Option<Algorithm> {
    let others = [Algorithm::Sha512, Algorithm::Sha384, Algorithm::Sha256, Algorithm::Sha1];
    for checksum in others.into_iter().filter(|other| *other != server.checksum) {
        let same = ServerRecord { checksum, ..server.clone() };
        let answer = client.call(&same, "getMeetings", "", Body::None, limit).await.ok()?;
        if bbb::read_meetings(&answer.body).is_ok() {
            return Some(checksum);
        }
    }
    None
}

/// Milliseconds that a server's clock is ahead of ours.
fn skew(told: Millis, now: Millis) -> Option<i64> {
    // A `Date` header is cut to whole seconds: on average it is half a second older than it says.
    Some(i64::try_from(told.0).ok()? + 500 - i64::try_from(now.0).ok()?)
}

/// What an operator should know before he counts on such a server.
pub fn too_old(generation: Generation) -> Option<String> {
    (generation < Generation::V2_4).then(|| {
        format!(
            "BigBlueButton {generation} is older than {}, the oldest that Usher is made for: calls and clients of it are not tested",
            Generation::V2_4
        )
    })
}

/// What the server revealed, or the generation that its answer betrays.
fn version_in_words(version: &Version) -> String {
    if let Some(told) = version.bbb.as_ref().filter(|told| !told.is_empty()) {
        return told.clone();
    }
    match version.generation() {
        Some(generation) => format!("{}.{} or later", generation.major, generation.minor),
        None => format!("before {}", Generation::V2_6),
    }
}

fn report(
    shown: &str,
    mut good: String,
    servers: &[ServerRecord],
    findings: &[Finding],
    mut problems: Vec<String>,
) -> Report {
    let insecure = trust::warnings(servers);
    good.extend(insecure.iter().map(|warning| format!("\nwarning: {warning}")));
    let mut table = Table::new(&["SERVER", "RESULT", "VERSION", "MEETINGS", "CLOCK"]);
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (server, finding) in servers.iter().zip(findings) {
        table.row(vec![
            server.name.clone(),
            if finding.problems.is_empty() { "ok" } else { "PROBLEM" }.into(),
            finding.version.clone().unwrap_or_default(),
            finding.meetings.map_or_else(String::new, |meetings| meetings.to_string()),
            finding.skew_ms.map_or_else(String::new, |skew| format!("{:+.1} s", skew as f64 / 1000.0)),
        ]);
        problems.extend(finding.problems.iter().map(|problem| format!("{}: {problem}", server.name)));
        notes.extend(finding.notes.iter().map(|note| format!("note: {}: {note}", server.name)));
        rows.push(json!({
            "name": server.name,
            "ok": finding.problems.is_empty(),
            "version": finding.version,
            "meetings": finding.meetings,
            "skew_ms": finding.skew_ms,
            "problems": finding.problems,
            "notes": finding.notes,
        }));
    }
    let mut text =
        format!("{good}\nstore ok\n\n{}", table.or("no servers yet; `usher server add URL --secret -` adds one"));
    if !problems.is_empty() {
        text.push_str(&format!("\n\n{}", problems.join("\n")));
    }
    if !notes.is_empty() {
        text.push_str(&format!("\n\n{}", notes.join("\n")));
    }
    let is_bad = !problems.is_empty();
    let json = json!({ "ok": !is_bad, "config": shown, "problems": problems, "insecure": insecure, "store": "ok", "servers": rows });
    Report::new(text, json).failed_if(is_bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind() {
        let now = Millis(784_111_777_500);
        for (told, expected) in [(784_111_777_000, 0), (784_111_837_000, 60_000), (784_111_717_000, -60_000)] {
            assert_eq!(skew(Millis(told), now), Some(expected));
        }
    }

    #[test]
    fn one_bad_server_makes_the_check_fail_and_is_named() {
        let finding = Finding { problems: vec!["the secret is wrong".into()], ..Finding::default() };
        let server = crate::cli::tests::server("bbb1");
        let report = report("x", "configuration ok".into(), &[server], &[finding], Vec::new());
        assert_eq!(report.exit, crate::cli::Exit::Failed);
        assert!(report.text.contains("bbb1: the secret is wrong"), "{}", report.text);
        assert_eq!(report.json["servers"][0]["ok"], false);
    }
}
