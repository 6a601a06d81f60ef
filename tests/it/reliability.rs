//! `docs/reliability.md`: what tests saw, written down by the tests themselves.
//!
//! A test that has something to say calls `Section::write`; outside of `make reliability` that does nothing. The rows
//! are JSON lines in the folder that `USHER_RELIABILITY` names, one file per section; `render` makes the document of
//! them. To add a section: a constant here, its place in `SECTIONS`, and a test that writes rows.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use usher::clock::{Clock, SystemClock};
use usher::config::Config;

use crate::faults;

/// One table of the document.
pub struct Section {
    /// Name of its file of rows; letters and dashes.
    pub id: &'static str,
    pub title: &'static str,
    /// Markdown before the table.
    pub intro: &'static str,
    pub columns: &'static [&'static str],
}

/// In the order of the document.
const SECTIONS: [&Section; 7] = [&ONE_SERVER, &ALL_SERVERS, &NETWORK, &KILLS, &STORE, &ONE_ADDRESS, &PICTURE];

const FAULT_COLUMNS: [&str; 7] = [
    "fault",
    "what front ends got while it lasted",
    "longest answer",
    "how the pool saw it",
    "left `up` after",
    "new meetings again after healing",
    "meetings checked",
];

pub static ONE_SERVER: Section = Section {
    id: "one-server",
    title: "One of three servers fails",
    intro: include_str!("reliability/one-server.md"),
    columns: &FAULT_COLUMNS,
};

pub static ALL_SERVERS: Section = Section {
    id: "all-servers",
    title: "All three servers fail at once",
    intro: include_str!("reliability/all-servers.md"),
    columns: &FAULT_COLUMNS,
};

pub static NETWORK: Section = Section {
    id: "network",
    title: "The balancer's own network is cut",
    intro: include_str!("reliability/network.md"),
    columns: &["how it is cut", "while it is cut", "longest answer", "states", "first poll after", "ready after"],
};

pub static KILLS: Section = Section {
    id: "kills",
    title: "The process is killed, or its store put back",
    intro: include_str!("reliability/kills.md"),
    columns: &["what happens", "answered before", "what callers see", "meetings"],
};

pub static STORE: Section = Section {
    id: "store",
    title: "The store fails",
    intro: include_str!("reliability/store.md"),
    columns: &["fault", "new meetings", "everything else", "readiness", "recovery"],
};

pub static ONE_ADDRESS: Section = Section {
    id: "one-address",
    title: "A university behind one address",
    intro: include_str!("reliability/one-address.md"),
    columns: &["who comes", "what is refused to strangers of the address", "what is refused to the others"],
};

pub static PICTURE: Section = Section {
    id: "picture",
    title: "One picture, one answer",
    intro: include_str!("reliability/picture.md"),
    columns: &["what happens", "what front ends are told", "what happens to the meeting"],
};

impl Section {
    /// Notes a row of this section; `place` orders the rows, whichever test finishes first.
    pub fn write(&self, place: usize, cells: &[impl AsRef<str>]) {
        assert_eq!(cells.len(), self.columns.len(), "{}: one cell per column", self.id);
        let Some(folder) = std::env::var_os("USHER_RELIABILITY").map(PathBuf::from) else { return };
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.jsonl", self.id));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        // One write per row: tests are processes of their own.
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        let row = serde_json::json!({ "place": place, "cells": cells });
        file.write_all(format!("{row}\n").as_bytes()).unwrap();
    }

    fn rows(&self, folder: &std::path::Path) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(folder.join(format!("{}.jsonl", self.id))).unwrap_or_default();
        let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut rows: Vec<(u64, Vec<String>)> = rows
            .map(|row| (row["place"].as_u64().unwrap(), serde_json::from_value(row["cells"].clone()).unwrap()))
            .collect();
        rows.sort();
        rows.into_iter().map(|(_, cells)| cells).collect()
    }
}

/// One section as Markdown.
fn section(title: &str, intro: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let escaped = |cells: &Vec<String>| cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<String>>();
    let mut text = format!("## {title}\n\n{}\n\n", intro.trim());
    text.push_str(&line(&columns.iter().map(|column| (*column).to_owned()).collect::<Vec<String>>()));
    text.push_str(&line(&columns.iter().map(|_| "---".to_owned()).collect::<Vec<String>>()));
    rows.iter().for_each(|cells| text.push_str(&line(&escaped(cells))));
    text
}

/// A moment as its day, in UTC.
fn day(millis: u64) -> String {
    let seconds = std::time::Duration::from_millis(millis);
    let time = std::time::UNIX_EPOCH + seconds;
    humantime::format_rfc3339_seconds(time).to_string().split('T').next().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "the last step of `make reliability`"]
fn render() {
    let folder = std::env::var_os("USHER_RELIABILITY").map(PathBuf::from).expect("`make reliability` sets it");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = include_str!("reliability/head.md").trim().to_owned();
    text.push_str(&format!(
        "\n\nThis run: version {}, {}, {cores} cores.\n",
        env!("CARGO_PKG_VERSION"),
        day(SystemClock.now().0)
    ));
    for part in SECTIONS {
        let rows = part.rows(&folder);
        assert!(!rows.is_empty(), "no test wrote a row of {}", part.id);
        text.push('\n');
        text.push_str(&section(part.title, part.intro, part.columns, &rows));
    }
    std::fs::write(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md"), text).unwrap();
}

#[test]
fn settings_that_are_named_are_those_in_force() {
    let shipped = Config::builtin().health;
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    let text = include_str!("reliability/one-server.md");
    for (setting, value) in [
        ("health.unhealthy_after", shipped.unhealthy_after.to_string()),
        ("health.healthy_after", shipped.healthy_after.to_string()),
        ("health.max_backoff", seconds(shipped.max_backoff)),
        ("health.failover_after", seconds(shipped.failover_after)),
        ("health.timeout", seconds(shipped.interval + shipped.timeout)),
    ] {
        assert!(text.contains(&format!("`{setting}` ({value})")), "shipped: {setting} ({value})");
    }
    for (setting, value) in [
        ("health.poll_interval", seconds(faults::INTERVAL)),
        ("health.timeout", seconds(faults::PROBE_TIMEOUT)),
        ("health.max_backoff", seconds(faults::MAX_BACKOFF)),
        ("api.connect_timeout", seconds(faults::CONNECT_TIMEOUT)),
        ("api.request_timeout", seconds(faults::REQUEST_TIMEOUT)),
    ] {
        assert!(text.contains(&format!("`{setting}` {value}")), "here: {setting} {value}");
    }
}

#[test]
fn a_section_is_a_markdown_table() {
    let rows = [vec!["a|b".to_owned(), "2".to_owned()]];
    let text = section("Title", "Words.\n", &["one", "two"], &rows);
    assert_eq!(text, "## Title\n\nWords.\n\n| one | two |\n| --- | --- |\n| a\\|b | 2 |\n");
    assert_eq!(day(1_700_000_000_000), "2023-11-14");
}
