//! Calls answered from the picture, beside nginx answering the same bytes from memory.

use std::net::SocketAddr;

use super::rate_claim;
use crate::contest::{Contest, HEAD, Turn};
use crate::load::{self, Targets};
use crate::others::{Other, nginx};
use crate::pool::{Plan, Pool, accepts};
use crate::process::Running;
use crate::report::{Claim, Section};
use crate::world::{self, Size};
use crate::{Bench, Failure, http};

const SIZE: Size = Size { servers: 20, meetings: 200 };
const CONNECTIONS: [usize; 2] = [32, 256];
const INFO_LIVE: (&str, &str) = ("API__GET_MEETING_INFO", "live");

/// A call, with what every answer to it must contain.
struct Read {
    name: &'static str,
    targets: Vec<String>,
    proof: &'static str,
}

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let mut plan = Plan::new("reads", SIZE);
    let about = |call: &str| -> Vec<String> {
        let target = |number| world::signed(call, &format!("meetingID={}", world::meeting_id(number)));
        (0..SIZE.meetings).map(target).collect()
    };
    let mut reads =
        vec![Read { name: "isMeetingRunning", targets: about("isMeetingRunning"), proof: "<running>true</running>" }];
    let mut info = "";
    if accepts(&bench.usher, &bench.dir, INFO_LIVE.0, INFO_LIVE.1) {
        plan = plan.set(INFO_LIVE.0, INFO_LIVE.1);
        reads.push(Read { name: "getMeetingInfo", targets: about("getMeetingInfo"), proof: "<participantCount>3<" });
        info = " getMeetingInfo runs with `api.get_meeting_info = \"live\"`.";
    }
    let list = vec![world::signed("getMeetings", "")];
    reads.push(Read { name: "getMeetings", targets: list, proof: "<meetingID>room-199</meetingID>" });

    let pool = Pool::start(bench, &plan)?;
    let (mut claims, mut rows, mut forms) = (Vec::new(), Vec::new(), String::new());
    for read in &reads {
        let body = body_of(&pool, read)?;
        let targets = Targets::write(&pool.dir, read.name, read.targets.iter().cloned())?;
        let (nginx, form) = nginx_with(bench, read.name, &body, &targets)?;
        forms.push_str(&format!(" {}: {} bytes, nginx with {form}.", read.name, body.len()));
        for connections in CONNECTIONS {
            let (claim, new_rows) = compare(bench, read, &pool, &nginx, &targets, connections)?;
            claims.push(claim);
            rows.extend(new_rows);
        }
    }
    let how = format!(
        "Usher verifies the checksum and answers from its picture of {} meetings with {} people each, on {} servers that \
         are polled as usual. nginx answers the same requests with the same body from memory, in the form that is \
         fastest here.{forms}{info} Otherwise as above.",
        SIZE.meetings,
        world::PEOPLE,
        SIZE.servers
    );
    Ok(Section { key: "reads", title: "Calls answered from memory", how, claims, head: HEAD.to_vec(), rows })
}

fn compare(
    bench: &Bench,
    read: &Read,
    pool: &Pool,
    nginx: &Other,
    targets: &Targets,
    connections: usize,
) -> Result<(Claim, Vec<Vec<String>>), Failure> {
    let turn = |running: &'static str, process, address| -> (&'static str, Turn<'_>) {
        (running, Box::new(move || load::wrk(process, address, targets, connections, bench.seconds)))
    };
    let turns = [turn("Usher", &pool.usher, pool.address), turn("nginx", &nginx.running, nginx.address)];
    let contest = Contest::run(bench.rounds, &turns)?;
    let what = format!("{} beside nginx with the same bytes, {connections} connections", read.name);
    let mut rows = contest.rows(connections);
    for row in &mut rows {
        row[0] = format!("{}, {}", read.name, row[0]);
    }
    Ok((rate_claim(what, &contest, 1, 1.0, ""), rows))
}

fn body_of(pool: &Pool, read: &Read) -> Result<Vec<u8>, Failure> {
    let target = read.targets.last().map_or("/", String::as_str);
    let answer = http::get(pool.address, target).ok_or_else(|| Failure(format!("{}: no answer", read.name)))?;
    if !answer.text().contains(read.proof) || answer.header("content-type").is_none() {
        return Err(Failure(format!("{} is not answered as expected: {}", read.name, answer.text())));
    }
    Ok(answer.body)
}

/// Longest text that an nginx configuration can hold in one piece, less some for quotes and names.
const LONGEST_RETURN: usize = 4000;

/// The fastest form of nginx for this body, and its name.
fn nginx_with(bench: &Bench, name: &str, body: &[u8], targets: &Targets) -> Result<(Other, &'static str), Failure> {
    if body.len() <= LONGEST_RETURN {
        let text = String::from_utf8_lossy(body).replace('\\', "\\\\").replace('"', "\\\"");
        let other = nginx(bench, name, &format!("        location / {{ return 200 \"{text}\"; }}"))?;
        return Ok((other, "`return 200`"));
    }
    // A file in memory under the path of the call itself, so that nothing has to be rewritten.
    let root = bench.memory_file(&format!("bigbluebutton/api/{name}"), body)?;
    let cached = format!(
        "        root {root};\n        open_file_cache max=10 inactive=1h;\n        open_file_cache_valid 1h;\n"
    );
    let mut best: Option<(f64, Other, &'static str)> = None;
    let forms = [
        ("a cached file in memory and `sendfile`", "        sendfile on;\n        tcp_nopush on;"),
        ("a cached file in memory and one buffer", "        sendfile off;\n        output_buffers 1 512k;"),
        ("a cached file in memory and two small buffers", "        sendfile off;\n        output_buffers 2 64k;"),
    ];
    for (number, (form, directives)) in forms.into_iter().enumerate() {
        let other = nginx(bench, &format!("{name}-{number}"), &format!("{cached}{directives}"))?;
        let rate = rate_of(&other.running, other.address, targets)?;
        if best.as_ref().is_none_or(|(before, ..)| rate > *before) {
            best = Some((rate, other, form));
        }
    }
    best.map(|(_, other, form)| (other, form)).ok_or_else(|| Failure("no form of nginx".to_owned()))
}

fn rate_of(running: &Running, address: SocketAddr, targets: &Targets) -> Result<f64, Failure> {
    Ok(load::wrk(running, address, targets, CONNECTIONS[0], 1)?.rate)
}
