//! `join` beside a constant redirect of nginx and HAProxy.

use super::{rate_claim, tail_claim, unasked};
use crate::contest::{Contest, HEAD, Turn};
use crate::load::{self, Targets};
use crate::others::{haproxy, nginx};
use crate::pool::{Plan, Pool};
use crate::report::Section;
use crate::world::{self, Size};
use crate::{Bench, Failure, http};

const SIZE: Size = Size { servers: 20, meetings: 200 };
/// Different joins that are sent in turn.
const PEOPLE: usize = 2000;
const CONNECTIONS: [usize; 2] = [32, 256];

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let plan = Plan::new("joins", SIZE);
    let pool = Pool::start(bench, &plan)?;
    let joins = || (0..PEOPLE).map(|number| world::join(number, number % SIZE.meetings));
    let location = location_of(&pool, &world::join(1, 1))?;
    let targets = &Targets::write(&pool.dir, "joins", joins())?;
    let nginx_redirect = format!("        location / {{ return 302 \"{location}\"; }}");
    let nginx_plain = nginx(bench, "joins-nginx", &nginx_redirect)?;
    let rule = format!("    http-request redirect location {} code 302", location.replace('%', "%%"));
    let haproxy = haproxy(bench, "joins-haproxy", &rule)?;

    let (mut claims, mut rows) = (Vec::new(), Vec::new());
    for connections in CONNECTIONS {
        let turn = |running, address| -> Turn<'_> {
            Box::new(move || load::wrk(running, address, targets, connections, bench.seconds))
        };
        let turns = [
            ("Usher", turn(&pool.usher, pool.address)),
            ("nginx", turn(&nginx_plain.running, nginx_plain.address)),
            ("HAProxy", turn(&haproxy.running, haproxy.address)),
        ];
        let contest = Contest::run(bench.rounds, &turns)?;
        let what = |other: &str| format!("join beside {other}, {connections} connections");
        claims.push(rate_claim(what("nginx `return 302`"), &contest, 1, 0.9, ", aim 1.0"));
        claims.push(tail_claim(what("nginx `return 302`"), &contest, 1));
        claims.push(unasked(rate_claim(what("HAProxy `redirect`"), &contest, 2, 0.9, "")));
        rows.extend(contest.rows(connections));
    }
    drop(nginx_plain);
    // Still so after all that, or a limit has answered in its place.
    location_of(&pool, &world::join(1, 1))?;

    // What the log costs, on both sides.
    let log = format!("        access_log {}/access.log;\n{nginx_redirect}", pool.dir.display());
    let nginx_logs = nginx(bench, "joins-nginx-log", &log)?;
    let pool = pool.restart(bench, &Plan::new("joins", SIZE).set("LOG__ACCESS", "true"))?;
    let turn = |running, address| -> Turn<'_> {
        Box::new(move || load::wrk(running, address, targets, CONNECTIONS[0], bench.seconds))
    };
    let turns = [
        ("Usher, with access log", turn(&pool.usher, pool.address)),
        ("nginx, with access log", turn(&nginx_logs.running, nginx_logs.address)),
    ];
    let contest = Contest::run(bench.rounds.min(3), &turns)?;
    let what = "join beside nginx, both writing an access log, 32 connections".to_owned();
    claims.push(unasked(rate_claim(what, &contest, 1, 0.9, "")));
    rows.extend(contest.rows(CONNECTIONS[0]));

    let how = format!(
        "Each request is a signed `join`: the checksum (SHA-256) is verified, the meeting looked up and the person \
         counted, the query signed anew for the meeting's server, and the answer is a 302 there. nginx and HAProxy answer \
         the very same requests with one constant 302 whose `Location` is a copy of one of Usher's. {PEOPLE} different \
         joins into {} meetings on {} servers, which are polled as usual meanwhile. All contestants run with one thread \
         on core 0, wrk on core 1, connections are kept alive, nobody writes an access log unless the line says so. \
         {} rounds of {} s, in turns; the median, with smallest and largest in brackets.",
        SIZE.meetings, SIZE.servers, bench.rounds, bench.seconds
    );
    Ok(Section { key: "join", title: "join", how, claims, head: HEAD.to_vec(), rows })
}

/// Where a join leads; fails unless it is a redirect to a server's own join.
pub fn location_of(pool: &Pool, target: &str) -> Result<String, Failure> {
    let answer = http::get(pool.address, target).ok_or_else(|| Failure("join: no answer".to_owned()))?;
    let location = answer.header("location").unwrap_or_default().to_owned();
    if answer.status != 302 || !location.contains("/bigbluebutton/api/join?") || !location.contains("&checksum=") {
        return Err(Failure(format!("a join is not answered as expected: {} {location}", answer.status)));
    }
    Ok(location)
}
