//! What is wrong with certificates, in words: how bad it is, which setting it belongs to, and what to do.

use crate::config::{Config, Problem, Source};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Works, but perhaps not as meant.
    Doubtful,
    /// Can be served, but most clients will refuse it.
    Wrong,
    /// Cannot be served at all.
    Unusable,
}

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub weight: Weight,
    pub problem: Problem,
}

/// Troubles of one setting, as they are found.
#[derive(Debug)]
pub struct Troubles {
    path: String,
    line: Option<usize>,
    pub found: Vec<Trouble>,
}

impl Troubles {
    /// For the setting `key`; `place` is what follows it, such as `[0]`.
    pub fn of(config: &Config, key: &'static str, place: &str) -> Self {
        // `admin` is a section; what is said below it is about these two files.
        let line = match config.sources.of(if key == "admin" { "admin.cert" } else { key }) {
            Source::File(line) => Some(line),
            Source::Default | Source::Environment(_) => None,
        };
        Self { path: format!("{key}{place}"), line, found: Vec::new() }
    }

    pub fn add(&mut self, weight: Weight, below: &str, text: impl Into<String>) {
        let path = format!("{}{below}", self.path);
        self.found.push(Trouble { weight, problem: Problem { path, line: self.line, text: text.into() } });
    }
}
