//! Backup, verification and restore of a database file.
//!
//! A backup is one self-contained file, written beside its final name and moved there when complete. A restore proves
//! the backup first, then replaces the target by one rename; it refuses while any process has the target open, and
//! makes sure that the write-ahead log of the old file can never be applied to the new one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::NamedTempFile;

use super::file::{connect_read_only, directory_of, give_to_owner_of, lock, named, schema};
use crate::store::StoreError;

/// How long a restore waits for a short command to leave the target.
const TARGET_BUSY: Duration = Duration::from_secs(1);

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    pub schema: i64,
    pub servers: u64,
    pub tenants: u64,
    pub placements: u64,
}

/// Copies the running database `from` into the new file `to`, mode 0600; fails if `to` exists.
pub fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Refused(format!("{} exists already; choose another file", to.display())));
    }
    let copy = copy_beside(from, to)?;
    copy.persist_noclobber(to).map_err(|error| cannot("write", to, &error.error))?;
    sync(&directory_of(to))
}

/// Reads a backup from end to end and checks every page, index and reference. Changes nothing.
pub fn verify_backup(path: &Path) -> Result<BackupSummary, StoreError> {
    if !path.is_file() {
        return Err(StoreError::NotFound(format!("there is no file {}", path.display())));
    }
    let connection = connect_read_only(path)?;
    summary(&connection).map_err(|error| named(path, error))
}

fn summary(connection: &Connection) -> Result<BackupSummary, StoreError> {
    let Some(schema) = schema(connection)? else {
        return Err(StoreError::Failed("is empty; choose a file written by `usher backup`".to_owned()));
    };
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let dangling = connection.prepare("PRAGMA foreign_key_check")?.exists([])?;
    if verdict != "ok" || dangling {
        return Err(StoreError::Failed("is damaged; choose another backup".to_owned()));
    }
    let count = |table: &str| -> Result<u64, StoreError> {
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(rows.unsigned_abs())
    };
    Ok(BackupSummary {
        schema,
        servers: count("servers")?,
        tenants: count("tenants")?,
        placements: count("placements")?,
    })
}

/// Replaces the database `to` by the backup `from`. Refused while any process has `to` open.
pub fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    verify_backup(from)?;
    let directory = directory_of(to);
    fs::create_dir_all(&directory).map_err(|error| cannot("create", &directory, &error))?;
    let copy = copy_beside(from, to)?;
    verify_backup(copy.path())?;
    give_to_owner_of(if to.exists() { to } else { &directory }, copy.path());
    // A process that starts now would open the old file, and go on with it after it has lost its name.
    let _only_one = lock(&directory)?;
    let held = hold(to)?;
    remove_logs(to)?;
    copy.persist(to).map_err(|error| cannot("replace", to, &error.error))?;
    drop(held);
    sync(&directory)
}

/// Writes what `connection` has into a new file at `to`, whatever is there.
pub fn write_in_place(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let directory = directory_of(to);
    fs::create_dir_all(&directory).map_err(|error| cannot("create", &directory, &error))?;
    let copy = copy_of(connection, to)?;
    verify_backup(copy.path())?;
    give_to_owner_of(&directory, copy.path());
    let _only_one = lock(&directory)?;
    remove_logs(to)?;
    copy.persist(to).map_err(|error| cannot("replace", to, &error.error))?;
    sync(&directory)
}

/// Writes a consistent copy of `from` into a temporary file in the directory of `to`, on disk when it returns.
fn copy_beside(from: &Path, to: &Path) -> Result<NamedTempFile, StoreError> {
    copy_of(&connect_read_only(from)?, to)
}

fn copy_of(connection: &Connection, to: &Path) -> Result<NamedTempFile, StoreError> {
    let directory = directory_of(to);
    let copy = NamedTempFile::new_in(&directory).map_err(|error| cannot("write to", &directory, &error))?;
    let Some(name) = copy.path().to_str() else {
        return Err(StoreError::Failed(format!("{} is no UTF-8 path", directory.display())));
    };
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| named(to, error.into()))?;
    File::open(copy.path()).and_then(|file| file.sync_all()).map_err(|error| cannot("write", to, &error))?;
    Ok(copy)
}

/// Takes the target for us alone. Leaving WAL mode needs every other connection gone, and folds the log into the file.
///
/// A target too damaged to be opened cannot be locked either; it is replaced all the same, as that is what restoring
/// is for.
fn hold(target: &Path) -> Result<Option<Connection>, StoreError> {
    if !target.exists() {
        return Ok(None);
    }
    let take = || {
        let connection = Connection::open(target)?;
        connection.busy_timeout(TARGET_BUSY)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
        connection.execute_batch("BEGIN EXCLUSIVE")?;
        Ok((connection, mode))
    };
    let in_use = || {
        let text = format!("{} is in use; stop usher first", target.display());
        Err(StoreError::Refused(text))
    };
    match take() {
        Ok((connection, mode)) if mode == "delete" => Ok(Some(connection)),
        Ok(_) => in_use(),
        Err(error) => match rusqlite::Error::sqlite_error_code(&error) {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => in_use(),
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Ok(None),
            _ => Err(named(target, error.into())),
        },
    }
}

fn remove_logs(target: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut name = target.as_os_str().to_owned();
        name.push(suffix);
        let log = PathBuf::from(name);
        match fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot("remove", &log, &error)),
            _ => {}
        }
    }
    Ok(())
}

fn sync(directory: &Path) -> Result<(), StoreError> {
    let synced = File::open(directory).and_then(|handle| handle.sync_all());
    synced.map_err(|error| cannot("write to", directory, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("cannot {what} {}: {error}", path.display()))
}
