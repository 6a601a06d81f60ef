//! Rows of the table of faults: one JSON line each, into the file that `USHER_RELIABILITY_ROWS` names, if it names one.

use std::io::Write;

use serde::Serialize;

/// What one fault does.
#[derive(Serialize)]
pub struct Row {
    pub section: &'static str,
    pub fault: String,
    /// What front ends and browsers see.
    pub front_ends: String,
    /// What becomes of the pool, and when it is as before.
    pub pool: String,
    /// What becomes of meetings.
    pub meetings: String,
}

/// To be called when everything that the row says has been checked.
pub fn note(row: Row) {
    let Ok(path) = std::env::var("USHER_RELIABILITY_ROWS") else { return };
    let line = serde_json::to_string(&row).unwrap() + "\n";
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
