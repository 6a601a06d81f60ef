//! The only place that prints: aligned tables for people, JSON with stable keys for machines, errors on stderr.
//!
//! Commands build a `Report` and return it, so that they can be tested without capturing a terminal. Only `demo` talks
//! while it runs, through `say`, and `server drain --wait`. A closed pipe (`usher server list | head -1`) is not an error, a
//! full disk is.

use std::fmt;
use std::io::Write;

use serde_json::Value;

use super::outcome::{CliError, Exit};

/// What a command has to say, in both forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Lines for people, without a final line end.
    pub text: String,
    pub json: Value,
    pub exit: Exit,
}

impl Report {
    pub fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, exit: Exit::Done }
    }

    /// What a command did with each of several things; one alone is as if there were no others.
    pub fn of_each(mut reports: Vec<Report>) -> Self {
        if reports.len() == 1 {
            return reports.remove(0);
        }
        let texts: Vec<String> = reports.iter().map(|report| report.text.clone()).collect();
        Self::new(texts.join("\n"), Value::Array(reports.into_iter().map(|report| report.json).collect()))
    }

    /// The same report for a command whose answer is bad news.
    pub fn failed_if(mut self, failed: bool) -> Self {
        if failed {
            self.exit = Exit::Failed;
        }
        self
    }
}

/// Prints a report and gives its exit code back.
pub fn print(report: &Report, json: bool) -> Exit {
    let said = match json {
        true => say(&format!("{:#}", report.json)),
        false if report.text.is_empty() => Ok(()),
        false => say(&report.text),
    };
    match said {
        Ok(()) => report.exit,
        Err(error) => print_error(&error),
    }
}

/// Prints one line, or several, on standard output.
pub fn say(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    written(writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()))
}

/// What became of an answer on standard output.
pub fn written(result: std::io::Result<()>) -> Result<(), CliError> {
    match result {
        // Nobody reads any more: nothing to report, and nobody to report it to.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("the command was carried out, but its answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// What the parser has printed by itself.
pub fn flush() -> std::io::Result<()> {
    std::io::stdout().flush()
}

/// Says on standard error how a long command gets on; never part of the answer.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error as one sentence on standard error and gives its exit code.
pub fn print_error(error: &CliError) -> Exit {
    let _ = writeln!(std::io::stderr().lock(), "usher: {error}");
    error.exit()
}

/// An aligned table; columns are as wide as their widest cell.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| title.to_string()).collect()] }
    }

    /// Cells beyond the titles are dropped, missing ones stay empty; line ends in cells become spaces.
    pub fn row(&mut self, cells: Vec<String>) {
        let mut row: Vec<String> =
            cells.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { one_line(&cell) }).collect();
        row.resize(self.rows[0].len(), "-".into());
        self.rows.push(row);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table, or `instead` if it has no rows.
    pub fn or(&self, instead: &str) -> String {
        if self.is_empty() { instead.to_string() } else { self.to_string() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
            let line_end = if number == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `name: value` lines with the values aligned; empty values become `-`.
pub fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len() + 1).max().unwrap_or(0);
    let lines: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let value = if value.is_empty() { "-" } else { value };
            format!("{:<width$}  {value}", format!("{name}:"))
        })
        .collect();
    lines.join("\n")
}

/// What stands for an absent value in a table cell.
pub fn or_dash<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// `1 meeting`, `2 meetings`.
pub fn count(number: u64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// Text from outside on one line without control characters: no meeting name may move the cursor of a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_trailing_spaces() {
        let mut table = Table::new(&["NAME", "STATE", "TAGS"]);
        table.row(vec!["bbb1".into(), "enabled".into(), "".into()]);
        table.row(vec!["größer-als".into(), "cordoned".into(), "big".into()]);
        assert_eq!(table.to_string(), "NAME        STATE     TAGS\nbbb1        enabled   -\ngrößer-als  cordoned  big");
    }

    #[test]
    fn an_empty_table_says_so_in_words() {
        assert_eq!(Table::new(&["NAME"]).or("no servers yet"), "no servers yet");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut table = Table::new(&["ID", "X"]);
        table.row(vec!["a\u{1b}[2J\nb".into()]);
        assert!(!table.to_string().contains('\u{1b}'));
        assert_eq!(table.to_string().lines().count(), 2);
    }

    #[test]
    fn fields_align_their_values() {
        assert_eq!(fields(&[("name", "a".into()), ("region", String::new())]), "name:    a\nregion:  -");
    }

    #[test]
    fn counts_speak_english() {
        assert_eq!((count(1, "meeting"), count(0, "meeting")), ("1 meeting".into(), "0 meetings".into()));
    }
}
