//! What the operator wrote, key by key: the file with line numbers, then the environment on top.
//!
//! One flat table from key path to value. It is not read through serde, because serde stops at the first unknown key
//! or wrong type and forgets where it stood; operators get all problems at once, with lines. Nothing is interpreted
//! here beyond TOML itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The file, at this line (from 1).
    File(usize),
    /// This environment variable.
    Environment(String),
}

/// A TOML value without its notation.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Value>),
    /// A table inside a list, or an empty one; others are flattened into key paths.
    Table(BTreeMap<String, Value>),
    /// A date, or a number that no setting can hold.
    Other,
}

impl Value {
    /// What the operator wrote, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other => "a date or an oversized number",
        }
    }

    /// Whether this switches a feature off: `false`, `""`, `[]` or an empty table.
    pub fn is_off(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Flag(flag) => !flag,
            Self::List(items) => items.is_empty(),
            Self::Table(entries) => entries.is_empty(),
            Self::Integer(_) | Self::Float(_) | Self::Other => false,
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub value: Value,
    pub source: Source,
}

/// Everything the operator wrote.
#[derive(Debug, Default)]
pub struct Raw {
    pub entries: BTreeMap<String, Entry>,
    /// Where tables in lists, and their keys, stand: `list[1]`, `list[1].key`, counted from 1.
    pub lines: BTreeMap<String, usize>,
}

impl Raw {
    /// Reads a file's text; syntax errors go to `problems`, what can be read is kept.
    pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Raw {
        let lines = Lines::of(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map(|span| lines.at(span.start));
            problems.push(Problem { path: String::new(), line, text: format!("not TOML: {}", error.message()) });
        }
        let mut raw = Raw::default();
        raw.flatten("", document.get_ref(), &lines);
        raw
    }

    fn flatten(&mut self, prefix: &str, table: &DeTable<'_>, lines: &Lines) {
        for (key, value) in table {
            let name = spelled(key.get_ref());
            let path = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.flatten(&path, inner, lines),
                _ => {
                    self.note_lines(&path, value.get_ref(), lines);
                    let source = Source::File(lines.at(key.span().start));
                    self.entries.insert(path, Entry { value: plain(value), source });
                }
            }
        }
    }

    fn note_lines(&mut self, path: &str, value: &DeValue<'_>, lines: &Lines) {
        let DeValue::Array(items) = value else { return };
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else { continue };
            let path = format!("{path}[{}]", index + 1);
            for (key, inner) in table {
                let path = format!("{path}.{}", key.get_ref());
                self.note_lines(&path, inner.get_ref(), lines);
                self.lines.insert(path, lines.at(key.span().start));
            }
            self.lines.insert(path, lines.at(item.span().start));
        }
    }

    /// Lays `USHER_SECTION__KEY` variables over the file. Variables without `__` are not settings (`USHER_CONFIG`).
    pub fn overlay(&mut self, environment: impl Iterator<Item = (String, String)>) {
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix("USHER_") else { continue };
            if !name.contains("__") {
                continue;
            }
            let path = name.to_ascii_lowercase().replace("__", ".");
            let below = format!("{path}.");
            self.entries.retain(|key, _| !key.starts_with(&below));
            self.entries.insert(path, Entry { value: from_text(text), source: Source::Environment(variable) });
        }
    }
}

/// Where the lines of a file end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(memchr::memchr_iter(b'\n', text.as_bytes()).collect())
    }

    /// The number, from 1, of the line that holds the byte at `offset`.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|&end| end < offset) + 1
    }
}

/// A key as a path shows it: in quotes if it needs them in TOML, so that `"a.b"` is never taken for `a.b`.
fn spelled(key: &str) -> Cow<'_, str> {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) { Cow::Borrowed(key) } else { Cow::Owned(format!("{key:?}")) }
}

fn plain(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other, Value::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Other, Value::Float),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other,
        DeValue::Array(items) => Value::List(items.iter().map(plain).collect()),
        DeValue::Table(entries) => {
            Value::Table(entries.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value))).collect())
        }
    }
}

/// A variable has no types: numbers and flags are recognised, lists are split where a list is asked for.
fn from_text(text: String) -> Value {
    if let Ok(number) = text.parse() {
        return Value::Integer(number);
    }
    if let Ok(flag) = text.parse() {
        return Value::Flag(flag);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Float(number),
        _ => Value::Text(text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_their_lines() {
        let mut problems = Vec::new();
        let raw = Raw::parse("a.b = 1\n\n[c]\nd = \"x\"\n[[e]]\nf = 2\n[g]\n", &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(raw.entries["a.b"], Entry { value: Value::Integer(1), source: Source::File(1) });
        assert_eq!(raw.entries["c.d"], Entry { value: Value::Text("x".into()), source: Source::File(4) });
        assert_eq!(raw.entries["e"].value.kind(), "a list");
        assert!(raw.entries["g"].value.is_off());
    }

    #[test]
    fn every_syntax_error_is_told() {
        let mut problems = Vec::new();
        Raw::parse("a = \nb = 1\nc = [1\n", &mut problems);
        let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert!(lines.contains(&Some(1)) && lines.contains(&Some(3)), "{problems:?}");
    }

    #[test]
    fn the_environment_wins() {
        let mut raw = Raw::parse("[store]\nurl = \"a\"\n", &mut Vec::new());
        let variables =
            [("USHER_STORE__URL", "b"), ("USHER_CONFIG", "x"), ("OTHER__KEY", "y"), ("USHER_LOG__ACCESS", "false")];
        raw.overlay(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(raw.entries.len(), 2);
        assert_eq!(raw.entries["store.url"].value, Value::Text("b".into()));
        assert_eq!(raw.entries["log.access"].value, Value::Flag(false));
    }
}
