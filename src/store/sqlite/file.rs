//! The database file: made private, opened with our settings, brought to the current schema.
//!
//! Refuses what it must not touch: files of a newer Usher and databases of other programs. A file made by root in a
//! service's directory is given to the directory's owner, or `usher server add` by root would lock the service out.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::store::StoreError;

mod migrations {
    refinery::embed_migrations!("src/store/migrations");
}

/// "USHR", as the first migration writes it.
const APPLICATION_ID: i64 = 1_431_520_338;
/// Longest wait for another process's transaction; ours take milliseconds.
const BUSY: Duration = Duration::from_secs(5);
/// Bytes the write-ahead log may keep after a rush; without it the file stays as big as it ever was.
const LOG_SIZE: i64 = 16 << 20;
/// How often a locked directory is looked at again.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Holds a directory for one process; see [`lock`].
pub type Hold = Option<File>;

/// Makes the file and its directory if missing, and brings it to the current schema. The directory stays locked until
/// the answer is dropped: only with a connection of its own is the caller safe from a restore.
pub fn prepare(path: &Path) -> Result<Hold, StoreError> {
    let directory = directory_of(path);
    create_directory(&directory)
        .map_err(|error| StoreError::Failed(format!("cannot create {}: {error}", directory.display())))?;
    // SQLite itself waits for nobody while a file becomes a database in WAL mode.
    let only_one = lock(&directory)?;
    create(&directory, path)
        .map_err(|error| StoreError::Failed(format!("cannot create {}: {error}", path.display())))?;
    // Looked at before it is opened for writing: that alone would change a file that is not ours.
    if schema(&connect_read_only(path)?).map_err(|error| named(path, error))? == Some(known_schema()) {
        return Ok(only_one);
    }
    let mut connection = connect(path)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    match migrations::migrations::runner().run(&mut connection) {
        Ok(_) => Ok(only_one),
        Err(error) => {
            // The error's own text holds the whole migration; its first line says what went wrong.
            let error = error.kind().to_string();
            let first = error.lines().next().unwrap_or_default();
            Err(StoreError::Failed(format!("{} cannot be migrated: {first}", path.display())))
        }
    }
}

/// Keeps other processes from preparing or restoring a database in this directory until dropped; ends with the process,
/// however that ends.
///
/// The directory is locked and not the file: closing a second descriptor of the file would drop SQLite's own locks.
#[allow(clippy::disallowed_methods)] // opening a store is blocking work on a thread for that
pub fn lock(directory: &Path) -> Result<Hold, StoreError> {
    let locked = |error: io::Error| StoreError::Failed(format!("cannot lock {}: {error}", directory.display()));
    let file = File::open(directory).map_err(locked)?;
    let deadline = Instant::now() + BUSY;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Failed(format!(
                    "another process is preparing or restoring the database in {}",
                    directory.display()
                )));
            }
            // Some network file systems know no locks; there one process at a time has to start.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(locked(error)),
        }
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn create(directory: &Path, path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => give_to_owner_of(directory, path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The directory a file is in; `.` for a bare name.
pub fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Only root may give files away; anybody else is the owner already.
pub fn give_to_owner_of(model: &Path, path: &Path) {
    let given = fs::metadata(model).and_then(|meta| chown(path, Some(meta.uid()), Some(meta.gid())));
    if let Err(error) = given {
        log::debug!("event=store_owner_unchanged error=\"{error}\"");
    }
}

/// A connection for reading and writing with our settings. The file must exist.
pub fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open(path, flags).map_err(|error| named(path, error.into()))
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit is on disk before it is answered. NORMAL may lose the last ones in a power cut (see `writer.rs`).
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_SIZE)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A connection that changes nothing, not even settings.
pub fn connect_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| named(path, error.into()))
}

/// The newest schema this version knows.
pub fn known_schema() -> i64 {
    let runner = migrations::migrations::runner();
    runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// The schema of a file, `None` if it is empty; an error if it is not ours or newer than this version.
pub fn schema(connection: &Connection) -> Result<Option<i64>, StoreError> {
    // One transaction, or a migration that ends between two of the questions makes the file look foreign.
    let connection = connection.unchecked_transaction()?;
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let has_history = has_table(&connection, "refinery_schema_history")?;
    let has_tables: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    // Usher's own id appears with the first migration; before it there is nothing, or the list of migrations only.
    if application != APPLICATION_ID && !(application == 0 && (!has_tables || has_history)) {
        return Err(StoreError::Failed("is the database of another program; choose another file".to_owned()));
    }
    if !has_history {
        return Ok(None);
    }
    let newest = "SELECT max(version) FROM refinery_schema_history";
    let found: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional()?.flatten();
    let known = known_schema();
    if found.is_some_and(|found| found > known) {
        let text = format!(
            "was written by a newer version of Usher (schema {}, this version knows {known}); install that version or \
             restore an older backup",
            found.unwrap_or(0)
        );
        return Err(StoreError::Failed(text));
    }
    Ok(found)
}

fn has_table(connection: &Connection, name: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    Ok(connection.query_row(sql, [name], |row| row.get(0))?)
}

/// Puts the file's path before an error's text.
pub fn named(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Failed(text) => StoreError::Failed(format!("{}: {text}", path.display())),
        other => other,
    }
}
