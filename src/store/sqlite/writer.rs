//! The one thread that writes, with group commit.
//!
//! It takes what is waiting, runs each job in a savepoint of one transaction, commits once, and only then answers: a
//! rush of claims costs one disk flush, and no `Ok` is told before it is on disk. What can be learned again from the
//! servers is written at once but flushed with the next claim: a kill does not lose it, a power cut may. A job that fails undoes itself alone;
//! a transaction that fails undoes and fails all of them. Nothing survives a failure inside the thread, so the next
//! job simply tries again: a full disk that has been cleared needs no restart.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::journal;
use super::place::Link;
use crate::clock::{Clock, Millis, SteadyClock};
use crate::store::StoreError;

/// Jobs that may wait; more means that the disk is far behind and callers are better told so.
pub const QUEUE: usize = 4096;
/// Jobs in one transaction: enough to make a flush cheap, few enough to answer within some milliseconds.
const BATCH: usize = 256;
/// Jobs between two prunings of the journal.
const PRUNE_EVERY: usize = 1000;

/// What a job works with: the connection inside its savepoint, and whom the journal names as author.
pub struct Writing<'a> {
    pub connection: &'a Connection,
    pub origin: &'a str,
    pub now: Millis,
}

/// What a change must outlive before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of this process, however it ends.
    Process,
    /// The end of the machine's power.
    PowerCut,
}

/// One unit of work and whoever waits for it.
pub trait Job: Send {
    fn durability(&self) -> Durability;
    /// `false` asks for the savepoint to be undone.
    fn run(&mut self, writing: &Writing<'_>) -> bool;
    /// Tells the result; `failure` if the transaction around it was lost.
    fn answer(self: Box<Self>, failure: Option<&StoreError>);
}

/// A job around a closure.
pub struct Task<T, F> {
    durability: Durability,
    work: Option<F>,
    result: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Task<T, F>
where
    F: FnOnce(&Writing<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    pub fn new(durability: Durability, work: F) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, receiver) = oneshot::channel();
        let never_ran = Err(StoreError::Failed("the operation was not run".to_owned()));
        (Self { durability, work: Some(work), result: never_ran, reply }, receiver)
    }
}

impl<T, F> Job for Task<T, F>
where
    F: FnOnce(&Writing<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, writing: &Writing<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        // Whoever gave up waiting, because another process held the database for long, has told so to its caller.
        if self.reply.is_closed() {
            return false;
        }
        self.result = work(writing);
        self.result.is_ok()
    }

    fn answer(self: Box<Self>, failure: Option<&StoreError>) {
        let result = match failure {
            Some(failure) => Err(StoreError::Failed(reason(failure))),
            None => self.result,
        };
        // Whoever asked may have gone; the work is done all the same.
        let _ = self.reply.send(result);
    }
}

fn reason(failure: &StoreError) -> String {
    match failure {
        StoreError::Failed(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Body of the writer thread; ends when every sender is gone and the queue is empty.
pub fn run(mut link: Link, origin: &str, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut since_pruned = PRUNE_EVERY;
    // As `file::connect` has set it.
    let mut current = Durability::PowerCut;
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Ok(next) = queue.try_recv() else { break };
            batch.push(next);
        }
        since_pruned += batch.len();
        let prunes = since_pruned >= PRUNE_EVERY;
        if prunes {
            since_pruned = 0;
        }
        if link.follow() {
            current = Durability::PowerCut;
        }
        let connection = &link.connection;
        let writing = Writing { connection, origin, now: SteadyClock.now() };
        let wanted = batch.iter().map(|job| job.durability()).max().unwrap_or(Durability::PowerCut);
        let failure = link
            .check()
            .and_then(|()| set_durability(connection, &mut current, wanted))
            .and_then(|()| transact(&writing, &mut batch, prunes))
            .err();
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            log::error!("event=store_rollback_failed");
        }
        for job in batch {
            job.answer(failure.as_ref());
        }
    }
}

fn transact(writing: &Writing<'_>, batch: &mut [Box<dyn Job>], prunes: bool) -> Result<(), StoreError> {
    let connection = writing.connection;
    command(connection, "BEGIN IMMEDIATE")?;
    for job in batch {
        command(connection, "SAVEPOINT job")?;
        let keep = job.run(writing);
        // SQLite gives up the whole transaction on some errors (disk full, I/O). Going on would write job by job,
        // outside of any transaction.
        if connection.is_autocommit() {
            return Err(StoreError::Failed("the disk is full or reports an error; nothing was written".to_owned()));
        }
        if !keep {
            command(connection, "ROLLBACK TO job")?;
        }
        command(connection, "RELEASE job")?;
    }
    if prunes {
        journal::prune(connection, writing.now)?;
    }
    command(connection, "COMMIT")?;
    Ok(())
}

/// The setting holds from the next transaction on.
pub fn set_durability(connection: &Connection, current: &mut Durability, wanted: Durability) -> Result<(), StoreError> {
    if *current != wanted {
        let setting = match wanted {
            Durability::Process => "NORMAL",
            Durability::PowerCut => "FULL",
        };
        connection.pragma_update(None, "synchronous", setting)?;
        *current = wanted;
    }
    Ok(())
}

/// Runs a statement without result, prepared once for all times.
fn command(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
