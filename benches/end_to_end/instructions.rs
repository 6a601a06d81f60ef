//! `make bench-check`: how many instructions a join and a create take, compared with those written down.
//!
//! The real program runs under callgrind, with one worker thread and one caller, and the counters are read around a
//! fixed number of requests. Seconds on a shared machine scatter by tens of percent, instructions by less than one. An
//! emulated processor has no SHA instructions, so the counts are not times, but what costs more shows in both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contest::Spread;
use crate::http::Connection;
use crate::pool::{Plan, Pool};
use crate::process::{self, Cores};
use crate::world::{self, Size};
use crate::{Bench, Failure};

const FILE: &str = "benches/instructions.toml";
const HEAD: &str =
    "# Instructions of one request, written by `make bench-check RECORD=1` and compared by `make bench-check`.\n";
const SIZE: Size = Size { servers: 4, meetings: 50 };
/// Requests before anything is counted, and in each of the counted windows.
const WARM_UP: usize = 300;
const JOINS: usize = 1000;
const CREATES: usize = 300;
const WINDOWS: usize = 5;
/// How long nothing is asked, to learn what the program does by itself.
const IDLE: Duration = Duration::from_secs(6);
/// More than this above what is written down fails.
const MOST_MORE: f64 = 0.05;

/// What is written down: of each call the least of the windows, because whatever else happens only adds.
#[derive(Debug, Deserialize, Serialize)]
struct Counts {
    rustc: String,
    profile: String,
    join: u64,
    create: u64,
}

/// Compares, or writes down.
pub fn check(bench: &Bench, records: bool) -> Result<(), Failure> {
    let (join, create) = count(bench)?;
    println!("join:   {join:.0} instructions, {WINDOWS} windows of {JOINS}");
    println!("create: {create:.0} instructions, {WINDOWS} windows of {CREATES}");
    let rustc = process::command(Cores::Both, "rustc").arg("-V").output();
    let rustc =
        rustc.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let found = Counts { rustc, profile: bench.profile.clone(), join: join.min as u64, create: create.min as u64 };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let failed = |error: &dyn std::fmt::Display| Failure(format!("{FILE}: {error}"));
    if records {
        let text = toml::to_string(&found).map_err(|error| failed(&error))?;
        fs::write(&file, format!("{HEAD}{text}")).map_err(|error| failed(&error))?;
        println!("written to {FILE}");
        return Ok(());
    }
    let Ok(text) = fs::read_to_string(&file) else {
        return Err(Failure(format!("{FILE} cannot be read; `make bench-check RECORD=1` writes it")));
    };
    compare(&found, &toml::from_str(&text).map_err(|error| failed(&error))?)
}

fn compare(found: &Counts, known: &Counts) -> Result<(), Failure> {
    for (what, found, known) in [("rustc", &found.rustc, &known.rustc), ("profile", &found.profile, &known.profile)] {
        if found != known {
            println!(
                "note: {what} is `{found}`, the counts were written down with `{known}`; they may differ for that alone"
            );
        }
    }
    let mut worse = Vec::new();
    for (call, found, known) in [("join", found.join, known.join), ("create", found.create, known.create)] {
        let change = found as f64 / known as f64 - 1.0;
        println!("{call}: {found} instructions, {:+.1} % against {known}", change * 100.0);
        if change > MOST_MORE {
            worse.push(format!("a {call} takes {:.1} % more instructions than written down", change * 100.0));
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "{}. Find out why (valgrind --tool=callgrind), or, if it is worth it, write the new counts down with \
         `make bench-check RECORD=1` and say why in the commit.",
        worse.join("; ")
    )))
}

/// Instructions per join and per create.
fn count(bench: &Bench) -> Result<(Spread, Spread), Failure> {
    let out = bench.new_dir("callgrind")?.join("out");
    let mut plan = Plan::new("counted", SIZE).without_polls().set("HEALTH__ENDED_GRACE", "1day");
    plan = plan.set("HEALTH__TIMEOUT", "60s");
    plan.under = ["valgrind", "--tool=callgrind", "--quiet"].map(str::to_owned).to_vec();
    plan.under.push(format!("--callgrind-out-file={}", out.display()));
    let pool = Pool::start(bench, &plan)?;
    let opened = Connection::open(pool.address);
    let connection = opened.ok_or_else(|| Failure("usher serve: no connection".to_owned()))?;
    let join = |number: usize| world::join(number, number % SIZE.meetings);
    let create = |number: usize| world::create(&format!("new-{number:06}"));
    let mut counter = Counter { pid: pool.usher.pid(), out, connection };
    Ok((counter.count("join", JOINS, &join, 0)?, counter.count("create", CREATES, &create, 1)?))
}

/// Asks and reads the counters.
struct Counter {
    pid: u32,
    out: PathBuf,
    connection: Connection,
}

impl Counter {
    /// Instructions per request, without those of the background, which are learned from a while of silence at the end.
    /// That work is mostly a tick for each meeting, so it grows where a request adds `adds` meetings.
    fn count(
        &mut self,
        name: &str,
        requests: usize,
        target: &dyn Fn(usize) -> String,
        adds: usize,
    ) -> Result<Spread, Failure> {
        let meetings = |asked: f64| SIZE.meetings as f64 + asked * adds as f64;
        (0..WARM_UP).try_for_each(|number| ask(&mut self.connection, &target(number)))?;
        let mut windows = Vec::new();
        for window in 0..WINDOWS {
            let first = WARM_UP + window * requests;
            let (total, seconds) = self.window(&format!("{name}-{window}"), |connection| {
                (first..first + requests).try_for_each(|number| ask(connection, &target(number)))
            })?;
            windows.push((total, seconds * meetings(first as f64 + requests as f64 / 2.0)));
        }
        let (total, seconds) = self.window(&format!("{name}-idle"), |_| {
            std::thread::sleep(IDLE);
            Ok(())
        })?;
        let background = total / (seconds * meetings((WARM_UP + WINDOWS * requests) as f64));
        let own = windows.into_iter().map(|(total, weight)| (total - background * weight) / requests as f64);
        Ok(Spread::of(own))
    }

    /// Instructions and seconds while `work` goes on.
    fn window(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Connection) -> Result<(), Failure>,
    ) -> Result<(f64, f64), Failure> {
        control("--zero", self.pid)?;
        let started = Instant::now();
        work(&mut self.connection)?;
        control(&format!("--dump={name}"), self.pid)?;
        Ok((total(&self.out, name)?, started.elapsed().as_secs_f64()))
    }
}

fn control(order: &str, pid: u32) -> Result<(), Failure> {
    let output = Command::new("callgrind_control").args([order, &pid.to_string()]).output();
    let output = output.map_err(|error| Failure(format!("callgrind_control: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Error") {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("callgrind_control {order}: {text}{errors}")));
    }
    Ok(())
}

/// The instructions in the dump that was asked for with `hint`.
fn total(out: &Path, hint: &str) -> Result<f64, Failure> {
    let dir = out.parent().unwrap_or(Path::new("."));
    let files = fs::read_dir(dir).map_err(|error| Failure(format!("{}: {error}", dir.display())))?;
    for file in files.flatten() {
        let Ok(text) = fs::read_to_string(file.path()) else { continue };
        if text.lines().take(30).any(|line| line.starts_with("desc: Trigger:") && line.contains(hint)) {
            let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
            let number = totals.and_then(|totals| totals.trim().parse().ok());
            return number.ok_or_else(|| Failure(format!("{} has no totals", file.path().display())));
        }
    }
    Err(Failure(format!("callgrind wrote nothing for {hint} in {}", dir.display())))
}

/// Fails unless the answer is a redirect to a server or says SUCCESS.
fn ask(connection: &mut Connection, target: &str) -> Result<(), Failure> {
    let answer = connection.get(target).ok_or_else(|| Failure(format!("{target}: no answer")))?;
    let to_server = answer.header("location").is_some_and(|location| location.contains("/bigbluebutton/api/join?"));
    if to_server || answer.text().contains("<returncode>SUCCESS<") {
        return Ok(());
    }
    Err(Failure(format!("{target} is not answered as expected: {} {}", answer.head, answer.text())))
}
