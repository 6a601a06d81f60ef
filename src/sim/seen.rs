//! What arrived: a bounded record of requests, so that a test can say which server was asked what, and how often.
//!
//! Holds queries with their checksums: for tests only, never for a log.

use std::collections::{HashMap, VecDeque};

use crate::clock::Millis;

/// One request that was read completely, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCall {
    /// `create`, `hooks/list`, …; `index` for the version call; the path for anything outside the API.
    pub call: String,
    pub method: String,
    /// The query as it arrived, without `?`.
    pub raw_query: String,
    /// Bytes of the body.
    pub body_length: usize,
    pub content_type: Option<String>,
    pub at: Millis,
}

/// Requests kept for `calls`; older ones are only counted.
const KEPT: usize = 10_000;

/// The record; counts are exact, the list is bounded.
#[derive(Default)]
pub(super) struct Seen {
    latest: VecDeque<SeenCall>,
    counts: HashMap<String, u64>,
}

impl Seen {
    pub(super) fn add(&mut self, seen: SeenCall) {
        *self.counts.entry(seen.call.clone()).or_default() += 1;
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(seen);
    }

    pub(super) fn latest(&self) -> Vec<SeenCall> {
        self.latest.iter().cloned().collect()
    }

    pub(super) fn count(&self, call: &str) -> u64 {
        self.counts.get(call).copied().unwrap_or(0)
    }
}
