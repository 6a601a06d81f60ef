//! Between Rust values and columns: words for enums, JSON for lists, signed numbers for unsigned ones.

use std::fmt;

use rusqlite::types::Type;
use rusqlite::{Error, Row};

use crate::bbb::Algorithm;
use crate::clock::Millis;
use crate::ids::Secret;
use crate::store::{ParamCall, ParamKind, Phase, StoreError};

/// SQLite has no unsigned numbers; nothing we store comes near the difference.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

pub fn millis(time: Millis) -> i64 {
    signed(time.0)
}

pub fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Millis> {
    Ok(Millis(unsigned(row, column)?))
}

pub fn secret(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Secret>> {
    Ok(row.get::<_, Option<String>>(column)?.map(Secret::new))
}

pub fn reveal(secret: &Option<Secret>) -> Option<&str> {
    secret.as_ref().map(Secret::reveal)
}

/// A list of words as JSON.
pub fn list(words: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(words).map_err(|_| StoreError::Failed("a list cannot be written".to_owned()))
}

pub fn words(row: &Row<'_>, column: &str) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|_| unreadable(column))
}

/// A column whose text stands for one of a few values.
pub fn word<T>(row: &Row<'_>, column: &'static str, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    parse(&row.get::<_, String>(column)?).ok_or_else(|| unreadable(column))
}

/// The same for a column that may be empty.
pub fn maybe_word<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text).ok_or_else(|| unreadable(column))).transpose()
}

pub fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha1 => "sha1",
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha384 => "sha384",
        Algorithm::Sha512 => "sha512",
    }
}

pub fn to_algorithm(word: &str) -> Option<Algorithm> {
    [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
        .into_iter()
        .find(|one| algorithm(*one) == word)
}

pub fn to_phase(word: &str) -> Option<Phase> {
    [Phase::Claimed, Phase::Confirmed].into_iter().find(|phase| phase.as_str() == word)
}

pub fn param_call(call: ParamCall) -> &'static str {
    match call {
        ParamCall::Create => "create",
        ParamCall::Join => "join",
    }
}

pub fn to_param_call(word: &str) -> Option<ParamCall> {
    [ParamCall::Create, ParamCall::Join].into_iter().find(|call| param_call(*call) == word)
}

pub fn param_kind(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::Default => "default",
        ParamKind::Override => "override",
        ParamKind::Block => "block",
    }
}

pub fn to_param_kind(word: &str) -> Option<ParamKind> {
    [ParamKind::Default, ParamKind::Override, ParamKind::Block].into_iter().find(|kind| param_kind(*kind) == word)
}

fn unreadable(column: &str) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, Box::new(Unreadable(column.to_owned())))
}

/// Names the column, never its content.
#[derive(Debug)]
struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {} holds an unknown value", self.0)
    }
}

impl std::error::Error for Unreadable {}
