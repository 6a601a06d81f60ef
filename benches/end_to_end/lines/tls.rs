//! TLS at the edge, beside nginx and HAProxy: handshakes, and requests on connections that are kept.

use std::fs;

use super::carried::{echo, haproxy_proxy, nginx_proxy};
use super::{rate_claim, unasked};
use crate::contest::{Contest, HEAD, Spread, Turn};
use crate::http::free_address;
use crate::load::{self, Sample, Targets};
use crate::others::{Files, Form, haproxy_as, nginx_as};
use crate::pool::{Plan, Pool};
use crate::process::{self, Cores};
use crate::report::{Claim, Met, Section};
use crate::world::Size;
use crate::{Bench, Failure};

const NOBODY: Size = Size { servers: 0, meetings: 0 };
/// Handshakes under way at once.
const TOGETHER: usize = 16;

/// A certificate of this kind, signed by itself, made by openssl.
fn certificate(bench: &Bench, kind: &str) -> Result<Files, Failure> {
    let dir = bench.new_dir(&format!("tls-{kind}"))?;
    let path = |name: &str| dir.join(name).display().to_string();
    let (cert, key, both) = (path("cert.pem"), path("key.pem"), path("both.pem"));
    let how: &[&str] =
        if kind == "EC" { &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] } else { &["-newkey", "rsa:2048"] };
    let mut command = process::command(Cores::Both, "openssl");
    command.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=bench.example"]);
    command.args(["-addext", "subjectAltName=DNS:bench.example"]).args(how).args(["-keyout", &key, "-out", &cert]);
    let output = command.output().map_err(|error| Failure(format!("openssl: {error}")))?;
    let failed = |text: String| Failure(format!("openssl: {text}"));
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let parts = fs::read_to_string(&cert).and_then(|cert| Ok(cert + &fs::read_to_string(&key)?));
    parts.and_then(|text| fs::write(&both, text)).map_err(|error| failed(error.to_string()))?;
    Ok(Files { cert, key, both })
}

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let (_echo, to) = echo(bench, Cores::Second)?;
    let (mut claims, mut rows) = (Vec::new(), Vec::new());
    for (kind, least) in [("EC", 1.5), ("RSA", 1.2)] {
        let files = certificate(bench, kind)?;
        let listen = free_address()?;
        let plan = Plan::new("tls", NOBODY).set("EDGE__MODE", "path").set("LISTEN__HTTPS", listen.to_string());
        let plan = plan.set("TLS__CERTIFICATES", format!("{}:{}", files.cert, files.key));
        let plan = plan.set("LIMITS__CONNECTIONS_PER_ADDRESS", "0").set("EDGE__IDLE_CONNECTIONS", "256");
        let pool = Pool::start_empty(bench, &plan)?;
        pool.add_server(bench, "small", to)?;
        pool.wait_carried("/small/")?;
        let (beside, directives) = nginx_proxy(to);
        let directives = directives + "\n        location = /livez {\n            return 200 alive;\n        }";
        let nginx = nginx_as(bench, "tls-nginx", &directives, &Form { tls: Some(&files), beside, ..Form::default() })?;
        let (beside, rules) = haproxy_proxy(to);
        let own = "    http-request return status 200 content-type text/plain string alive if { path /livez }\n";
        let rules = own.to_owned() + &rules;
        let haproxy = haproxy_as(bench, "tls-haproxy", &rules, &Form { tls: Some(&files), beside, ..Form::default() })?;
        let running = [&pool.usher, &nginx.running, &haproxy.running];
        let addresses = [listen, nginx.address, haproxy.address];
        let names = ["Usher", "nginx", "HAProxy"];
        let mut handshakes = |version: &str, form: &str, least: Option<f64>| {
            let turn = |place: usize| -> (&'static str, Turn<'_>) {
                let words = ["handshakes", &addresses[place].to_string(), version, form, &TOGETHER.to_string()];
                let mut words = words.map(str::to_owned).to_vec();
                words.push(bench.seconds.to_string());
                let contestant = running[place];
                (names[place], Box::new(move || load::drive(contestant, &words, bench.seconds)))
            };
            let contest = Contest::run(bench.rounds.min(3), &[turn(0), turn(1), turn(2)])?;
            let what = format!("{kind}, TLS {version}, {form} handshakes beside nginx");
            claims.push(capacity_claim(what, &contest, 1, least));
            for mut row in contest.rows(TOGETHER) {
                row[0] = format!("{kind}, TLS {version}, {form}, {}", row[0]);
                rows.push(row);
            }
            Ok::<_, Failure>(())
        };
        handshakes("1.3", "full", Some(least))?;
        handshakes("1.3", "resumed", None)?;
        handshakes("1.2", "full", Some(least))?;
        handshakes("1.2", "resumed", None)?;
        if kind != "EC" {
            continue;
        }
        let ours = &Targets::write(&pool.dir, "tls-small", std::iter::once("/small/small".to_owned()))?;
        let theirs = &Targets::write(&pool.dir, "tls-plain", std::iter::once("/small".to_owned()))?;
        for connections in [32, 256] {
            let turn = |place: usize| -> (&'static str, Turn<'_>) {
                let (contestant, address) = (running[place], addresses[place]);
                let targets = if place == 0 { ours } else { theirs };
                let run = move || load::wrk_tls(contestant, address, targets, connections, bench.seconds);
                (names[place], Box::new(run))
            };
            let contest = Contest::run(bench.rounds, &[turn(0), turn(1), turn(2)])?;
            let what = |other: &str| format!("small GET carried over TLS, beside {other}, {connections} connections");
            claims.push(rate_claim(what("nginx"), &contest, 1, 0.8, ", aim 1.0"));
            claims.push(unasked(rate_claim(what("HAProxy"), &contest, 2, 0.8, "")));
            for mut row in contest.rows(connections) {
                row[0] = format!("small GET over TLS, {}", row[0]);
                rows.push(row);
            }
        }
    }
    let how = format!(
        "As above, with TLS between generator and contestant. A handshake is a new connection with one small request on it, \
         which the contestant answers itself, {TOGETHER} at a time, with ciphers offered in the order of browsers; \"resumed\" \
         ones go on with a session of an earlier one. The generator (rustls) spends more on a full handshake than the \
         contestants, so that its core is the full one: what is compared is how many handshakes a \
         core of the contestant is good for, which is one second by its CPU per handshake. RSA keys have 2048 bits, EC keys \
         are P-256. Kept connections use TLS 1.3 and the EC key; wrk speaks OpenSSL."
    );
    Ok(Section { key: "tls", title: "TLS", how, claims, head: HEAD.to_vec(), rows })
}

/// "At least `least` of what the other does with a core."
fn capacity_claim(what: String, contest: &Contest, other: usize, least: Option<f64>) -> Claim {
    let cost = |sample: &Sample| 1.0 / sample.cost;
    let ratio: Spread = contest.ratio(other, cost);
    let measured = format!("{ratio:.2} per core");
    match least {
        Some(least) => Claim::new(what, format!("≥ {least} per core"), measured, Met::if_so(ratio.median >= least)),
        None => Claim::new(what, "–", measured, Met::Unasked),
    }
}
