//! Programs that the bench starts: pinned, measured through /proc, and ended by their id whatever happens.
//!
//! Every one is started through `setpriv --pdeathsig KILL`, so it ends with the bench even when the bench is killed or
//! interrupted; otherwise it is ended when its guard is dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// Ticks per second in /proc/<pid>/stat; the kernel reports 100 to every program, whatever it uses itself.
const TICKS: f64 = 100.0;
/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// How long a program may take to end before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a program may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// The contestant's core.
    First,
    /// Everything else: load generator and simulated servers.
    Second,
    /// Both of them.
    Both,
}

impl Cores {
    fn list(self) -> &'static str {
        match self {
            Self::First => "0",
            Self::Second => "1",
            Self::Both => "0,1",
        }
    }
}

/// A command that will run on `cores`, with all the file descriptors this user may have.
pub fn command(cores: Cores, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("prlimit");
    let limit = descriptors();
    command.arg(format!("--nofile={limit}:{limit}"));
    command.args(["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", cores.list()]);
    command.arg(program).stdin(Stdio::null());
    // nginx and HAProxy live where only root looks by default.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn descriptors() -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("1024").to_owned()
}

/// A running program.
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts `command`; standard error goes to the file `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Failure> {
        let log = File::create(log).map_err(|error| Failure(format!("{}: {error}", log.display())))?;
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| Failure(format!("cannot start {name}: {error}")))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// A program that does nothing, where there has to be one.
    pub fn nothing() -> Result<Self, Failure> {
        let mut command = command(Cores::Second, "sleep");
        command.arg("infinity").stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Failure(format!("sleep: {error}")))?;
        Ok(Self { name: "nothing".to_owned(), child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so.
    pub fn wait(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<Duration, Failure> {
        let started = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Failure(format!(
                    "{} ended at once: {status}; its log is in the work directory",
                    self.name
                )));
            }
            if started.elapsed() > limit {
                return Err(Failure(format!("{} is not ready after {} s", self.name, limit.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(started.elapsed())
    }

    /// Processor seconds used since the start, user and system.
    pub fn cpu(&self) -> f64 {
        cpu_fields(&format!("/proc/{}/stat", self.pid()), 11)
    }

    /// Resident memory in bytes: now, and the most there ever was.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    /// Asks it to end and waits for it, for programs that write something at their end.
    pub fn end_gently(mut self, limit: Duration) -> Result<(), Failure> {
        if self.ends_within(limit) { Ok(()) } else { Err(Failure(format!("{} does not end", self.name))) }
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let is_running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        let asked = Instant::now();
        if is_running(&mut self.child) {
            let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        }
        while is_running(&mut self.child) {
            if asked.elapsed() > limit {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A master that is killed leaves its workers behind, so it is asked first.
        if !self.ends_within(LAST_WORDS) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end within `limit`; its standard output and the processor seconds it used.
pub fn run(
    name: &str,
    cores: Cores,
    limit: Duration,
    program: impl AsRef<OsStr>,
    args: &[String],
) -> Result<(String, f64), Failure> {
    let mut command = command(cores, "timeout");
    command.args(["--foreground", "--signal=KILL", &limit.as_secs().to_string()]);
    command.args(["setpriv", "--pdeathsig", "KILL"]).arg(program).args(args);
    let before = own_children();
    let output = command.output().map_err(|error| Failure(format!("{name}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("{name}: {}: {text}{errors}", output.status)));
    }
    Ok((text, own_children() - before))
}

/// Processor seconds of all children that have ended and been waited for.
fn own_children() -> f64 {
    cpu_fields("/proc/self/stat", 13)
}

/// The sum of two neighbouring time fields of a stat file, in seconds; `first` counts from after the program's name.
fn cpu_fields(path: &str, first: usize) -> f64 {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name may contain blanks and brackets; it ends at the last one.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(first).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}
