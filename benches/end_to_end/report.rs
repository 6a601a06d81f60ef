//! What was found, as text on the terminal and as `docs/performance.md`.
//!
//! Figures and verdicts come from this run. What was tried, and why a line is as it is, stands in `explained.md` beside
//! this file under the section's key and is inserted, so that the document can be made again at any time.

use std::fmt::Write as _;

use crate::machine::Machine;

const EXPLAINED: &str = include_str!("explained.md");

/// One part of the document.
pub struct Section {
    /// The heading in `explained.md`.
    pub key: &'static str,
    pub title: &'static str,
    /// How it is measured.
    pub how: String,
    pub claims: Vec<Claim>,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

/// A requirement and what came of it.
pub struct Claim {
    pub what: String,
    pub required: String,
    pub measured: String,
    pub met: Met,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Yes,
    No,
    /// Nothing is required; for information.
    Unasked,
}

impl Met {
    pub fn if_so(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Yes => "met",
            Self::No => "**not met**",
            Self::Unasked => "–",
        }
    }
}

impl Claim {
    pub fn new(what: impl Into<String>, required: impl Into<String>, measured: impl Into<String>, met: Met) -> Self {
        Self { what: what.into(), required: required.into(), measured: measured.into(), met }
    }
}

impl Section {
    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = format!("\n{}\n", self.title);
        for claim in &self.claims {
            let verdict = claim.met.word().replace('*', "");
            let _ = writeln!(text, "  {}: {} [required: {}] {verdict}", claim.what, claim.measured, claim.required);
        }
        text
    }
}

/// The whole document.
pub fn document(machine: &Machine, sections: &[Section]) -> String {
    let mut text = String::from(
        "# Performance\n\nWhat Usher costs, beside nginx and HAProxy on the same machine. `make bench` measures all of it, \
         writes this file, and\nneeds nothing but Debian; text that is not measured comes from \
         `benches/end_to_end/explained.md`.\n\n",
    );
    text.push_str(&machine.markdown());
    text.push_str("\n## Summary\n\n");
    let claims = sections.iter().flat_map(|section| &section.claims);
    let summary = claims.map(|claim| {
        let (what, required, measured) = (claim.what.clone(), claim.required.clone(), claim.measured.clone());
        vec![what, required, measured, claim.met.word().to_owned()]
    });
    text.push_str(&table(&["what", "required", "measured", ""], &summary.collect::<Vec<_>>()));
    text.push_str(&explained("summary"));
    for section in sections {
        let _ = write!(text, "\n## {}\n\n{}\n\n", section.title, section.how);
        text.push_str(&table(&section.head, &section.rows));
        text.push_str(&explained(section.key));
    }
    text
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rule = vec!["---"; head.len()];
    let lines = [head.join(" | "), rule.join(" | ")].into_iter().chain(rows.iter().map(|row| row.join(" | ")));
    lines.map(|line| format!("| {line} |\n")).collect()
}

/// The text under `## key`; nothing if there is none.
fn explained(key: &str) -> String {
    let parts = EXPLAINED.split("\n## ").skip(1);
    let mut texts = parts.filter_map(|part| part.split_once('\n')).filter(|(name, _)| name.trim() == key);
    let text = texts.next().map_or("", |(_, text)| text.trim());
    if text.is_empty() { String::new() } else { format!("\n{text}\n") }
}
