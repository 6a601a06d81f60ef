//! The thread that reads, on its own connection: WAL lets it read while the writer commits.
//!
//! A job sees one snapshot if it opens a transaction. Results travel by oneshot, so no statement lives across an await.

use tokio::sync::mpsc;

use super::journal::Seen;
use super::place::Link;

/// Jobs that may wait for the reader.
pub const QUEUE: usize = 1024;

/// What a read job works with.
pub struct Reading {
    pub link: Link,
    /// What the change feed found last.
    pub seen: Option<Seen>,
}

/// A read; answers by itself.
pub type Job = Box<dyn FnOnce(&mut Reading) + Send>;

/// Body of the reader thread; ends when every sender is gone.
pub fn run(link: Link, mut queue: mpsc::Receiver<Job>) {
    let mut reading = Reading { link, seen: None };
    while let Some(job) = queue.blocking_recv() {
        if reading.link.follow() {
            reading.seen = None;
        }
        job(&mut reading);
    }
}
