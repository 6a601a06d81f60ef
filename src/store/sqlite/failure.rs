//! SQLite's errors in words an operator can act on.
//!
//! Never shows a bound value: SQLite names tables and columns only, and errors of row contents are put in our own
//! words, because a message that quotes a column may quote a secret.

use rusqlite::{Error, ErrorCode, ffi};

use crate::store::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        StoreError::Failed(words(&error))
    }
}

fn words(error: &Error) -> String {
    let Some(code) = error.sqlite_error_code() else {
        return match error {
            Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) => {
                "a row holds something this version cannot read; restore a backup or install the version that wrote it"
                    .to_owned()
            }
            _ => "an unexpected error of the database library".to_owned(),
        };
    };
    match code {
        ErrorCode::DiskFull => "the disk is full; free some space".to_owned(),
        ErrorCode::ReadOnly => "the database is read-only; check the permissions of its file and directory".to_owned(),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another process holds the database locked".to_owned(),
        ErrorCode::CannotOpen => {
            "the database cannot be opened; check the permissions of its file and directory".to_owned()
        }
        ErrorCode::NotADatabase => "the file is not a database".to_owned(),
        ErrorCode::DatabaseCorrupt => "the database is damaged; restore a backup".to_owned(),
        ErrorCode::SystemIoFailure => "the disk reports an error".to_owned(),
        other => {
            let number = error.sqlite_error().map_or(0, |raw| raw.extended_code);
            format!("unexpected database error {other:?} ({number})")
        }
    }
}

/// Whether a unique key was hit, and if so which: `table.column`, several separated by commas.
pub fn unique_key(error: &Error) -> Option<&str> {
    let Error::SqliteFailure(raw, Some(message)) = error else { return None };
    let is_unique = matches!(raw.extended_code, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY);
    if !is_unique {
        return None;
    }
    message.strip_prefix("UNIQUE constraint failed: ")
}

/// Whether a row that was pointed to does not exist.
pub fn is_dangling(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|raw| raw.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}
