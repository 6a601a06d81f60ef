//! The change feed: each mutation leaves rows in `journal` within its own transaction, other processes read them.
//!
//! SQLite lets one transaction write at a time, so `seq` grows in the order of commits and a reader that has seen `n`
//! has missed nothing below. `PRAGMA data_version` says cheaply whether any other connection has committed at all. Old
//! rows are pruned; a reader that was away for longer learns so from `journal_floor` and reads everything again.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::reader::Reading;
use super::rows::millis;
use super::writer::Writing;
use crate::clock::Millis;
use crate::ids::{MeetingId, MeetingKey, TenantId};
use crate::store::{Changes, Cursor, StoreError};

/// Rows always kept.
const KEEP_ROWS: i64 = 10_000;
/// Younger rows are kept too: the longest a process may be stopped without reading everything again.
const KEEP_TIME: Duration = Duration::from_secs(3600);
/// More changed placements than this are cheaper read as a whole.
const MANY: usize = 10_000;

/// State of the feed at the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    data_version: i64,
    cursor: Cursor,
}

/// Servers, tenants or evictions changed.
pub fn note_configuration(writing: &Writing<'_>) -> Result<(), StoreError> {
    let sql = "INSERT INTO journal (origin, kind, at) VALUES (?1, 'configuration', ?2)";
    writing.connection.prepare_cached(sql)?.execute(params![writing.origin, millis(writing.now)])?;
    Ok(())
}

/// A placement was written or removed.
pub fn note_placement(writing: &Writing<'_>, key: &MeetingKey) -> Result<(), StoreError> {
    let sql = "INSERT INTO journal (origin, kind, tenant_id, meeting_id, at) VALUES (?1, 'placement', ?2, ?3, ?4)";
    let row = params![writing.origin, key.tenant.0, key.meeting.as_str(), millis(writing.now)];
    writing.connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// The newest entry there has ever been.
pub fn end(connection: &Connection) -> Result<Cursor, StoreError> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'journal'";
    let seq = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(Cursor(seq.unwrap_or(0)))
}

/// What others than `origin` did since `cursor`.
pub fn changes(reading: &mut Reading, origin: &str, cursor: Cursor) -> Result<Changes, StoreError> {
    reading.link.check()?;
    // Asked before reading: a commit in between is seen twice rather than never.
    let data_version = reading.link.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
    if reading.seen == Some(Seen { data_version, cursor }) {
        return Ok(Changes { cursor, ..Changes::default() });
    }
    let snapshot = reading.link.connection.unchecked_transaction()?;
    let found = since(&snapshot, origin, cursor)?;
    snapshot.commit()?;
    reading.seen = Some(Seen { data_version, cursor: found.cursor });
    Ok(found)
}

fn since(connection: &Connection, origin: &str, cursor: Cursor) -> Result<Changes, StoreError> {
    let end = end(connection)?;
    let floor: i64 = connection.prepare_cached("SELECT seq FROM journal_floor")?.query_row([], |row| row.get(0))?;
    let everything = Changes { cursor: end, configuration: true, everything: true, placements: Vec::new() };
    // A cursor from the future belongs to another file, such as the one before a restore.
    if cursor.0 < floor || cursor.0 > end.0 {
        return Ok(everything);
    }
    let mut changes = Changes { cursor: end, ..Changes::default() };
    let sql = "SELECT DISTINCT kind, tenant_id, meeting_id FROM journal WHERE seq > ?1 AND origin <> ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![cursor.0, origin])?;
    while let Some(row) = rows.next()? {
        let kind: String = row.get(0)?;
        if kind == "configuration" {
            changes.configuration = true;
            continue;
        }
        let meeting: String = row.get(2)?;
        changes.placements.push(MeetingKey { tenant: TenantId(row.get(1)?), meeting: MeetingId::new(meeting) });
        if changes.placements.len() > MANY {
            return Ok(everything);
        }
    }
    Ok(changes)
}

/// Removes rows that are both old and many; called now and then by the writer.
pub fn prune(connection: &Connection, now: Millis) -> Result<(), StoreError> {
    let sql = "SELECT seq FROM journal WHERE seq <= (SELECT max(seq) FROM journal) - ?1 AND at < ?2
               ORDER BY seq DESC LIMIT 1";
    let limits = params![KEEP_ROWS, millis(now - KEEP_TIME)];
    let found = connection.prepare_cached(sql)?.query_row(limits, |row| row.get(0)).optional()?;
    let Some(floor): Option<i64> = found else { return Ok(()) };
    connection.execute("DELETE FROM journal WHERE seq <= ?1", [floor])?;
    connection.execute("UPDATE journal_floor SET seq = ?1", [floor])?;
    Ok(())
}
