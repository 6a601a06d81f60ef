//! Load on one contestant for some seconds, and what came of it.
//!
//! GETs whose targets are known beforehand come from wrk; creates need a new id each and come from `creates.rs`. Both
//! are programs of their own on their own core, and say the same line at their end.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;
use crate::process::{self, Cores, Running};

const SCRIPT: &str = include_str!("requests.lua");

/// What a load generator saw, and what both sides spent on it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests per second.
    pub rate: f64,
    /// Latency in microseconds.
    pub p50: f64,
    pub p99: f64,
    /// Processor time of the contestant per request, microseconds; kernel included.
    pub cost: f64,
    /// Share of a core that the contestant used.
    pub busy: f64,
    /// The same of the generator.
    pub generator: f64,
}

/// Targets for wrk, in a file.
pub struct Targets {
    file: PathBuf,
    script: PathBuf,
}

impl Targets {
    pub fn write(dir: &Path, name: &str, targets: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let (file, script) = (dir.join(format!("{name}.targets")), dir.join("requests.lua"));
        let mut text = targets.collect::<Vec<String>>().join("\n");
        text.push('\n');
        let failed = |error| Failure(format!("{}: {error}", dir.display()));
        fs::write(&file, text).map_err(failed)?;
        fs::write(&script, SCRIPT).map_err(failed)?;
        Ok(Self { file, script })
    }
}

/// wrk on one core against a contestant on the other.
pub fn wrk(
    contestant: &Running,
    address: SocketAddr,
    targets: &Targets,
    connections: usize,
    seconds: u64,
) -> Result<Sample, Failure> {
    wrk_at(contestant, &format!("http://{address}"), targets, connections, seconds)
}

fn wrk_at(
    contestant: &Running,
    url: &str,
    targets: &Targets,
    connections: usize,
    seconds: u64,
) -> Result<Sample, Failure> {
    let args = [
        "--threads=1".to_owned(),
        format!("--connections={connections}"),
        format!("--duration={seconds}s"),
        "--timeout=10s".to_owned(),
        format!("--script={}", targets.script.display()),
        url.to_owned(),
        "--".to_owned(),
        targets.file.display().to_string(),
    ];
    measure(contestant, "wrk", Cores::Second, seconds, "wrk".as_ref(), &args)
}

/// A driver of our own (`drivers/`) against a contestant; `words` are its name and what follows.
pub fn drive(contestant: &Running, words: &[String], seconds: u64) -> Result<Sample, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure(format!("own program: {error}")))?;
    let args: Vec<String> = std::iter::once("drive".to_owned()).chain(words.iter().cloned()).collect();
    measure(contestant, &words[0], Cores::Second, seconds, &own, &args)
}

/// wrk over TLS.
pub fn wrk_tls(
    contestant: &Running,
    address: SocketAddr,
    targets: &Targets,
    connections: usize,
    seconds: u64,
) -> Result<Sample, Failure> {
    wrk_at(contestant, &format!("https://{address}"), targets, connections, seconds)
}

/// Creates through a contestant, or to a simulated server itself.
pub fn creates(
    contestant: &Running,
    address: SocketAddr,
    connections: usize,
    cores: Cores,
    seconds: u64,
) -> Result<Sample, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure(format!("own program: {error}")))?;
    let args = ["creates".to_owned(), address.to_string(), connections.to_string(), seconds.to_string()];
    measure(contestant, "creates", cores, seconds, &own, &args)
}

fn measure(
    contestant: &Running,
    name: &str,
    cores: Cores,
    seconds: u64,
    program: &Path,
    args: &[String],
) -> Result<Sample, Failure> {
    let before = contestant.cpu();
    let (text, generator) = process::run(name, cores, Duration::from_secs(seconds + 20), program, args)?;
    let used = contestant.cpu() - before;
    let line = text.lines().find_map(|line| line.strip_prefix("bench "));
    let Some(line) = line else { return Err(Failure(format!("{name} said nothing to read: {text}"))) };
    let number = |name: &str| {
        let found = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|value| value.parse::<f64>().ok()).unwrap_or(f64::NAN)
    };
    let (requests, took) = (number("requests"), number("seconds"));
    if number("failed") != 0.0 || requests < 1.0 {
        return Err(Failure(format!("{name}: requests failed, so nothing is measured: {line}")));
    }
    Ok(Sample {
        rate: requests / took,
        p50: number("p50"),
        p99: number("p99"),
        cost: used * 1e6 / requests,
        busy: used / took,
        generator: generator / took,
    })
}
