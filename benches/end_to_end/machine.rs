//! Where and with what was measured.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::contest::Spread;
use crate::network;
use crate::process::{self, Cores};
use crate::{Bench, Failure};

/// Writes whose median tells how long the disk takes to make a commit durable.
const FLUSHES: usize = 200;

pub struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    pub fn look(bench: &Bench) -> Result<Self, Failure> {
        let usher = bench.usher.display().to_string();
        let is_dirty = !said("git", &["status", "--porcelain", "--", ".", ":!docs/performance.md"]).is_empty();
        let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
        let facts = vec![
            ("date", said("date", &["-u", "+%Y-%m-%d"])),
            ("commit", format!("{commit}{}", if is_dirty { ", with changes that are not committed" } else { "" })),
            ("processor", format!("{}, {} cores", cpu_model(), cores())),
            ("kernel", said("uname", &["-sr"])),
            ("network", network::described()),
            ("store", format!("SQLite, every commit durable, on {}", disk(&bench.dir)?)),
            (
                "Usher",
                format!("{}, profile `{}`, {}", said(&usher, &["--version"]), bench.profile, said("rustc", &["-V"])),
            ),
            ("compared with", format!("{}, {}", first_line("nginx", &["-v"]), first_line("haproxy", &["-v"]))),
            ("load from", format!("{}, and for create a generator of our own", first_line("wrk", &["-v"]))),
        ];
        Ok(Self { facts })
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from("| | |\n| --- | --- |\n");
        for (name, fact) in &self.facts {
            let _ = writeln!(text, "| {name} | {fact} |");
        }
        text
    }
}

/// At least two are needed: one for the contestant, one for the load.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    model.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

/// The file system of a directory, and what a flush of one page takes there.
fn disk(dir: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure(format!("cannot write in {}: {error}", dir.display()));
    let path = dir.join("flush");
    let mut file = File::create(&path).map_err(failed)?;
    let mut took = Vec::new();
    for _ in 0..FLUSHES {
        let started = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).map_err(failed)?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path).map_err(failed)?;
    let kind = said("df", &["--output=fstype", &dir.display().to_string()]);
    let kind = kind.lines().last().unwrap_or("unknown").trim().to_owned();
    Ok(format!("{kind}; a flush of 4 KiB takes {:.2} ms", Spread::of(took.into_iter()).median))
}

/// What a program says, on whichever of its outputs.
fn said(program: &str, args: &[&str]) -> String {
    let mut command = process::command(Cores::Both, program);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    text_of(&mut command)
}

fn text_of(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "unknown".to_owned() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn first_line(program: &str, args: &[&str]) -> String {
    said(program, args).lines().next().unwrap_or_default().replace(" - https://haproxy.org/", "")
}
