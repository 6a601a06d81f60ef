//! Rows of `docs/reliability.md` about kills and the store, in the form that its generator reads: JSON lines in the folder
//! that `USHER_RELIABILITY` names (`make reliability` does), one file per section; without it nothing is written.

use std::io::Write;
use std::path::PathBuf;

/// Columns of `kills`: what happened, what was answered before, what callers see, what becomes of meetings.
pub const KILLS: (&str, usize) = ("kills", 4);
/// Columns of `store`: what happened, new meetings, everything else, readiness, recovery.
pub const STORE: (&str, usize) = ("store", 5);

/// To be called when everything that the row says has been checked; `place` orders the rows.
pub fn note((section, columns): (&str, usize), place: usize, cells: &[&str]) {
    assert_eq!(cells.len(), columns, "{section}: one cell per column");
    let Some(folder) = std::env::var_os("USHER_RELIABILITY").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{section}.jsonl"));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let row = serde_json::json!({ "place": place, "cells": cells });
    file.write_all(format!("{row}\n").as_bytes()).unwrap();
}
