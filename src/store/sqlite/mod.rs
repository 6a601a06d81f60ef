//! The SQLite back end: one file, one writer thread with group commit, one reader thread; WAL, every commit on disk.
//!
//! Several processes may open the same file (the server and the command line); SQLite's locks and unique keys keep
//! them apart, the journal tells each what the others did. All methods hand a closure to a thread and await a oneshot.

mod backup;
mod evictions;
mod failure;
mod file;
mod journal;
mod place;
mod placements;
mod reader;
mod rows;
mod servers;
mod tenants;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

pub use backup::{BackupSummary, restore, verify_backup};

use self::place::{Link, Place};
use self::reader::Reading;
use self::writer::{Durability, Task, Writing};
use super::{
    Change, Changes, Claim, Confirmation, Cursor, Eviction, Known, Placement, ServerRecord, Store, StoreError,
    TenantRecord, Version,
};
use crate::ids::{MeetingKey, ServerId, TenantId};

/// How long the last words of a process wait for others that use the file.
const SETTLE_BUSY: Duration = Duration::from_millis(500);

/// A store in one SQLite file. Dropping it finishes what is queued and closes the file.
pub struct SqliteStore {
    place: Arc<Place>,
    /// Names this value in the journal; random, so that processes never share it.
    origin: Arc<str>,
    /// `None` only while being dropped.
    queues: Option<Queues>,
    threads: Vec<JoinHandle<()>>,
}

struct Queues {
    writes: mpsc::Sender<Box<dyn writer::Job>>,
    reads: mpsc::Sender<reader::Job>,
}

impl SqliteStore {
    /// Opens the file, made with mode 0600 (its directory with 0700) if missing, and brings it to the current schema.
    ///
    /// Fails if it cannot be opened, belongs to another program, or was written by a newer version of Usher.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        blocking(move || Self::open_blocking(path)).await
    }

    /// The same for whoever must not make a store: fails if there is no file.
    pub async fn open_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::NotFound(format!("there is no store at {}", path.display())));
        }
        Self::open(path).await
    }

    fn open_blocking(path: PathBuf) -> Result<Self, StoreError> {
        let only_one = file::prepare(&path)?;
        let (writing, reading) = (file::connect(&path)?, file::connect(&path)?);
        let place = Arc::new(Place::of(&path, &reading).map_err(|error| file::named(&path, error))?);
        drop(only_one);
        let (writing, reading) = (Link::new(writing, &place), Link::new(reading, &place));
        let origin = random_origin()?;
        let (writes, write_queue) = mpsc::channel(writer::QUEUE);
        let (reads, read_queue) = mpsc::channel(reader::QUEUE);
        let author = Arc::clone(&origin);
        let threads = vec![
            spawn("store-writer", move || writer::run(writing, &author, write_queue))?,
            spawn("store-reader", move || reader::run(reading, read_queue))?,
        ];
        Ok(Self { place, origin, queues: Some(Queues { writes, reads }), threads })
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Writing<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.write_with(Durability::PowerCut, work).await
    }

    async fn write_with<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Writing<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let queues = self.queues.as_ref().ok_or_else(closed)?;
        let (task, receiver) = Task::new(durability, work);
        queues.writes.try_send(Box::new(task)).map_err(refused)?;
        receiver.await.map_err(|_| closed())?
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&mut Reading) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let queues = self.queues.as_ref().ok_or_else(closed)?;
        let (reply, receiver) = oneshot::channel();
        let job: reader::Job = Box::new(move |reading| {
            // Whoever asked may have gone.
            let _ = reply.send(work(reading));
        });
        queues.reads.try_send(job).map_err(refused)?;
        receiver.await.map_err(|_| closed())?
    }
}

#[cfg(test)]
impl SqliteStore {
    /// Runs a PRAGMA on the writer's connection: tests fill the disk with `max_page_count`.
    async fn pragma(&self, sql: &'static str) -> Result<(), StoreError> {
        self.write(move |writing| Ok(writing.connection.query_row(sql, [], |_| Ok(()))?)).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queues = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("event=store_thread_failed");
            }
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn servers(&self) -> Result<Vec<ServerRecord>, StoreError> {
        self.read(|reading| servers::all(&reading.link.connection)).await
    }

    async fn add_server(&self, server: ServerRecord) -> Result<ServerRecord, StoreError> {
        self.write(move |writing| servers::add(writing, server)).await
    }

    async fn update_server(&self, server: ServerRecord) -> Result<(), StoreError> {
        self.write(move |writing| servers::update(writing, &server)).await
    }

    async fn remove_server(&self, server: ServerId, force: bool) -> Result<u64, StoreError> {
        self.write(move |writing| servers::remove(writing, server, force)).await
    }

    async fn tenants(&self) -> Result<Vec<TenantRecord>, StoreError> {
        self.read(|reading| tenants::all(&reading.link.connection)).await
    }

    async fn add_tenant(&self, tenant: TenantRecord) -> Result<TenantRecord, StoreError> {
        self.write(move |writing| tenants::add(writing, tenant)).await
    }

    async fn update_tenant(&self, tenant: TenantRecord) -> Result<TenantRecord, StoreError> {
        self.write(move |writing| tenants::update(writing, tenant)).await
    }

    async fn remove_tenant(&self, tenant: TenantId, force: bool) -> Result<u64, StoreError> {
        self.write(move |writing| tenants::remove(writing, tenant, force)).await
    }

    async fn placements(&self) -> Result<Vec<Placement>, StoreError> {
        self.read(|reading| placements::all(&reading.link.connection)).await
    }

    async fn placement(&self, key: &MeetingKey) -> Result<Option<Placement>, StoreError> {
        let key = key.clone();
        self.read(move |reading| placements::one(&reading.link.connection, &key)).await
    }

    async fn claim(&self, placement: Placement) -> Result<Claim, StoreError> {
        self.write(move |writing| placements::claim(writing, &placement)).await
    }

    async fn confirm(
        &self,
        key: &MeetingKey,
        server: ServerId,
        confirmation: Confirmation,
    ) -> Result<Change, StoreError> {
        let key = key.clone();
        let confirm = move |writing: &Writing<'_>| placements::confirm(writing, &key, server, &confirmation);
        self.write_with(Durability::Process, confirm).await
    }

    async fn move_placement(
        &self,
        key: &MeetingKey,
        known: Version,
        to: ServerId,
        why: String,
        evict: Option<Eviction>,
    ) -> Result<Change, StoreError> {
        let key = key.clone();
        self.write(move |writing| placements::move_to(writing, &key, known, to, &why, evict.as_ref())).await
    }

    async fn release(&self, key: &MeetingKey, server: ServerId, known: Known) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |writing| placements::release(writing, &key, server, &known)).await
    }

    async fn evictions(&self) -> Result<Vec<Eviction>, StoreError> {
        self.read(|reading| evictions::all(&reading.link.connection)).await
    }

    async fn add_eviction(&self, eviction: Eviction) -> Result<(), StoreError> {
        self.write(move |writing| evictions::add(writing, &eviction)).await
    }

    async fn remove_eviction(&self, eviction: &Eviction) -> Result<(), StoreError> {
        let eviction = eviction.clone();
        self.write(move |writing| evictions::remove(writing, &eviction)).await
    }

    async fn cursor(&self) -> Result<Cursor, StoreError> {
        self.read(|reading| journal::end(&reading.link.connection)).await
    }

    async fn changes(&self, cursor: Cursor) -> Result<Changes, StoreError> {
        let origin = Arc::clone(&self.origin);
        self.read(move |reading| journal::changes(reading, &origin, cursor)).await
    }

    /// Takes as much new space as a claim may need and gives it back, so that a full disk shows.
    async fn ping(&self) -> Result<(), StoreError> {
        self.write(|writing| {
            writing.connection.execute("INSERT INTO probe (filler) VALUES (zeroblob(8192))", [])?;
            writing.connection.execute("DELETE FROM probe", [])?;
            Ok(())
        })
        .await?;
        self.read(|reading| journal::end(&reading.link.connection)).await.map(drop)
    }

    fn identity(&self) -> String {
        self.place.identity()
    }

    fn lost(&self) -> Option<String> {
        self.place.lost()
    }

    async fn rebuild(&self) -> Result<(), StoreError> {
        self.read(|reading| {
            reading.link.place.rebuild(&reading.link.connection)?;
            reading.link.follow();
            reading.seen = None;
            Ok(())
        })
        .await
    }

    async fn settle(&self) -> Result<(), StoreError> {
        // Behind everything that is being written; on a connection of its own, since a transaction is open in a job.
        self.write(|_| Ok(())).await?;
        let path = self.place.path.clone();
        blocking(move || {
            let connection = file::connect(&path)?;
            connection.busy_timeout(SETTLE_BUSY)?;
            let is_busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            match is_busy {
                0 => Ok(()),
                _ => Err(StoreError::Failed("another process reads or writes the database".to_owned())),
            }
        })
        .await
    }

    async fn backup(&self, file: &Path) -> Result<(), StoreError> {
        if let Some(reason) = self.place.lost() {
            return Err(StoreError::Failed(reason));
        }
        let (from, to) = (self.place.path.clone(), file.to_owned());
        blocking(move || backup::backup(&from, &to)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|_| StoreError::Failed("the database library failed unexpectedly".to_owned()))?
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|error| StoreError::Failed(format!("cannot start a thread: {error}")))
}

fn random_origin() -> Result<Arc<str>, StoreError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Failed(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}

fn refused<T>(error: TrySendError<T>) -> StoreError {
    match error {
        TrySendError::Full(_) => StoreError::Busy,
        TrySendError::Closed(_) => closed(),
    }
}
