//! `make bench`: Usher beside nginx and HAProxy, and what its size costs. Writes `docs/performance.md`.
//!
//! This program starts everything itself on loopback, in a directory of its own below `target/`, and ends it again. It
//! is also the simulated servers and the load generators that wrk is not (`stub`, `creates`, `drive`), which it starts as
//! programs of their own so that they can be pinned. `instructions` is `make bench-check`.
//!
//! | variable | |
//! | --- | --- |
//! | `BENCH_BINARY` | the `usher` to measure |
//! | `BENCH_QUICK=1` | short runs, to see that it works; no document |
//! | `BENCH_ONLY=join,create` | some sections only; no document |
//! | `BENCH_RECORD=1` | with `instructions`: write the counts down instead of comparing |

// A program that waits for others, talks to a terminal, and may stop with words at any point.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod contest;
mod creates;
mod drivers;
mod http;
mod instructions;
mod lines;
mod load;
mod machine;
mod network;
mod others;
mod pool;
mod process;
mod report;
mod stub;
mod world;

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use machine::Machine;
use report::{Met, Section};
use world::Size;

/// Settings that would keep a load generator on one address out; used where the binary knows them. The limits stay
/// switched on, so that what they cost is measured.
const UNLIMITED: [(&str, &str); 6] = [
    ("LIMITS__EXEMPT", ""),
    ("LIMITS__CONNECTIONS_PER_ADDRESS", "65536"),
    ("LIMITS__UNSIGNED_PER_ADDRESS", "1000000"),
    ("LIMITS__CARRIED_PER_ADDRESS", "1000000"),
    ("LIMITS__SAME_JOIN_PER_ADDRESS", "1000000"),
    ("LIMITS__CREATES_PER_TENANT", "512"),
];

/// Why nothing was measured, in words.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What all measurements share.
struct Bench {
    /// The program that is measured, and the profile it was built with, by its folder.
    usher: PathBuf,
    profile: String,
    /// This program.
    own: PathBuf,
    /// Everything that is written, on a real disk; removed at the end.
    dir: PathBuf,
    /// The same in memory.
    memory: PathBuf,
    unlimited: Vec<(&'static str, String)>,
    is_quick: bool,
    rounds: usize,
    /// Seconds of one turn.
    seconds: u64,
    /// Seconds of a turn that shows what can be kept up.
    long: u64,
    /// Seconds of watching a process that is left alone.
    watch: u64,
}

impl Bench {
    fn new(is_quick: bool) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(|error| Failure(format!("own program: {error}")))?;
        let named =
            std::env::var("BENCH_BINARY").map_err(|_| Failure("set BENCH_BINARY to the usher to measure".into()))?;
        let usher = fs::canonicalize(&named).map_err(|error| Failure(format!("{named}: {error}")))?;
        let profile =
            usher.parent().and_then(Path::file_name).map_or_else(String::new, |name| name.to_string_lossy().into());
        // target/<profile>/deps/<this program>
        let target = own.ancestors().nth(3).unwrap_or(Path::new("target"));
        let dir = target.join("bench-run");
        let failed = |dir: &Path, error| Failure(format!("{}: {error}", dir.display()));
        let owner = fs::metadata(target).map_err(|error| failed(target, error))?.uid();
        let memory = PathBuf::from(format!("/dev/shm/usher-bench-{owner}"));
        for dir in [&dir, &memory] {
            // What an interrupted run left.
            let _ = fs::remove_dir_all(dir);
            fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        }
        let (rounds, seconds, long, watch) = if is_quick { (2, 1, 2, 5) } else { (5, 3, 8, 30) };
        let known = |(name, value): &&(&str, &str)| pool::accepts(&usher, &dir, name, value);
        let unlimited = UNLIMITED.iter().filter(known).map(|(name, value)| (*name, (*value).to_owned())).collect();
        Ok(Self { usher, profile, own, dir, memory, unlimited, is_quick, rounds, seconds, long, watch })
    }

    /// Tidies up, except after a failure: then the logs are worth a look.
    fn done(&self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        match outcome {
            Ok(()) => {
                fs::remove_dir_all(&self.dir).map_err(|error| Failure(format!("{}: {error}", self.dir.display())))
            }
            Err(Failure(text)) => Err(Failure(format!("{text}\nThe logs are in {}.", self.dir.display()))),
        }
    }

    /// An empty directory for a contestant.
    fn new_dir(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.dir.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(|error| Failure(format!("{}: {error}", dir.display())))?;
        Ok(dir)
    }

    /// Writes a file that is only in memory; returns the root that `path` is below.
    fn memory_file(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        let file = self.memory.join(path);
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, bytes));
        written.map_err(|error| Failure(format!("{}: {error}", file.display())))?;
        Ok(self.memory.display().to_string())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.memory);
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => {
            network::enter().and_then(|()| Bench::new(is_set("BENCH_QUICK"))).and_then(|bench| bench.done(all(&bench)))
        }
        ["instructions"] => {
            Bench::new(false).and_then(|bench| bench.done(instructions::check(&bench, is_set("BENCH_RECORD"))))
        }
        ["stub", servers, meetings, port] => stub_from(servers, meetings, port),
        ["creates", address, connections, seconds] => creates_from(address, connections, seconds),
        ["drive", ref words @ ..] => drivers::run(words),
        _ => Err(Failure(format!("do not understand {words:?}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0")
}

/// Measures one section of the document.
type Measure = fn(&Bench) -> Result<Section, Failure>;

fn all(bench: &Bench) -> Result<(), Failure> {
    if machine::cores() < 2 {
        return Err(Failure("needs two cores: one for what is measured, one for the load".to_owned()));
    }
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let machine = Machine::look(bench)?;
    println!("{}", machine.markdown());
    let all: [(&str, Measure); 8] = [
        ("join", lines::joins::measure),
        ("reads", lines::reads::measure),
        ("create", lines::creates::measure),
        ("large", lines::size::measure),
        ("idle", lines::idle::measure),
        ("carried", lines::carried::measure),
        ("tls", lines::tls::measure),
        ("upgrade", lines::upgrade::measure),
    ];
    let mut sections = Vec::new();
    for (key, measure) in all {
        if only.is_empty() || only.split(',').any(|wanted| wanted == key) {
            let section = measure(bench)?;
            println!("{}", section.text());
            sections.push(section);
        }
    }
    let text = report::document(&machine, &sections);
    let is_complete = !bench.is_quick && only.is_empty();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    // A short run must not pass for a measurement.
    let file = if is_complete { docs } else { bench.dir.with_file_name("performance-trial.md") };
    fs::write(&file, text).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    println!("written: {}", file.display());
    let missed = sections.iter().flat_map(|section| &section.claims).filter(|claim| claim.met == Met::No).count();
    println!("{missed} requirements not met");
    Ok(())
}

fn stub_from(servers: &str, meetings: &str, port: &str) -> Result<(), Failure> {
    let size = Size { servers: number(servers)?, meetings: number(meetings)? };
    stub::run(size, number(port)?).map_err(|error| Failure(format!("simulated servers: {error}")))
}

fn creates_from(address: &str, connections: &str, seconds: &str) -> Result<(), Failure> {
    let time = Duration::from_secs(number(seconds)?);
    creates::run(number(address)?, number(connections)?, time).map_err(|error| Failure(format!("creates: {error}")))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure(format!("do not understand {text}")))
}
