//! The file of an open store: whether it is still what its path leads to, and connections that are made anew.
//!
//! A file that is moved, deleted or replaced goes on to exist for whoever has it open: without a look at the path, claims
//! would be acknowledged into a file that nobody finds again. And a file that could not be written when it was opened stays
//! read-only for that connection, whatever is done to its permissions.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, MAIN_DB};

use super::file;
use crate::store::StoreError;

/// Between two attempts to open a file for writing that was read-only; shorter than readiness asks.
const TRY_EVERY: Duration = Duration::from_millis(400);

/// The file that a store was opened with.
#[derive(Debug)]
pub struct Place {
    pub path: PathBuf,
    /// As the database names itself.
    pub id: String,
    now: Mutex<Now>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Now {
    device: u64,
    inode: u64,
    /// Grows when the store is written anew into another file.
    generation: u64,
}

fn number(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Place {
    pub fn of(path: &Path, connection: &Connection) -> Result<Self, StoreError> {
        let id = connection.query_row("SELECT id FROM store_id", [], |row| row.get(0))?;
        let found = number(path).map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
        let (device, inode) = found;
        Ok(Self { path: path.to_owned(), id, now: Mutex::new(Now { device, inode, generation: 0 }) })
    }

    /// What another process says of the same file.
    pub fn identity(&self) -> String {
        let now = *self.now.lock();
        format!("{}/{}:{}", self.id, now.device, now.inode)
    }

    /// Why the path does not lead to the open file any more.
    pub fn lost(&self) -> Option<String> {
        let now = *self.now.lock();
        let shown = self.path.display();
        match number(&self.path) {
            Ok(found) if found == (now.device, now.inode) => None,
            Ok(_) => Some(format!(
                "its file {shown} was replaced by another one; put the right one back, restart Usher to use the new one, or \
                 send SIGUSR1 to write what is known into a new file"
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!(
                "its file {shown} was moved or deleted; put it back, or send SIGUSR1 to write what is known into a new file"
            )),
            // A folder that may not be read for a moment proves nothing.
            Err(_) => None,
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        self.lost().map_or(Ok(()), |reason| Err(StoreError::Failed(reason)))
    }

    /// Writes what `connection` has, which may have lost its name, into a new file at the path.
    pub fn rebuild(&self, connection: &Connection) -> Result<(), StoreError> {
        if self.lost().is_none() {
            return Err(StoreError::Refused(format!("{} is in its place, nothing is to be done", self.path.display())));
        }
        super::backup::write_in_place(connection, &self.path)?;
        let found = number(&self.path).map_err(|error| StoreError::Failed(error.to_string()))?;
        let mut now = self.now.lock();
        *now = Now { device: found.0, inode: found.1, generation: now.generation + 1 };
        Ok(())
    }
}

/// A connection that follows its file.
pub struct Link {
    pub connection: Connection,
    pub place: Arc<Place>,
    generation: u64,
    tried: Option<Instant>,
}

impl Link {
    pub fn new(connection: Connection, place: &Arc<Place>) -> Self {
        let generation = place.now.lock().generation;
        Self { connection, place: place.clone(), generation, tried: None }
    }

    /// Makes the connection anew where it has to be; true if it is another one now.
    pub fn follow(&mut self) -> bool {
        let generation = self.place.now.lock().generation;
        let is_read_only = self.connection.is_readonly(MAIN_DB).unwrap_or(false);
        let is_time = self.tried.is_none_or(|last| last.elapsed() >= TRY_EVERY);
        if generation == self.generation && !(is_read_only && is_time) {
            return false;
        }
        self.tried = Some(Instant::now());
        if self.place.check().is_err() {
            return false;
        }
        let Ok(connection) = file::connect(&self.place.path) else { return false };
        if generation == self.generation && connection.is_readonly(MAIN_DB).unwrap_or(true) {
            return false;
        }
        self.connection = connection;
        self.generation = generation;
        true
    }

    /// For work that promises something: the file is the one that the path leads to.
    pub fn check(&self) -> Result<(), StoreError> {
        self.place.check()
    }
}
