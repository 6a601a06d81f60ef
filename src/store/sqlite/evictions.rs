//! Rows of `evictions`: meetings that may be left on a server after they were placed elsewhere.

use rusqlite::{Connection, Row, params};

use super::failure::is_dangling;
use super::journal::note_configuration;
use super::rows::{millis, reveal, secret, time};
use super::writer::Writing;
use crate::ids::{BbbMeetingId, InternalId, ServerId};
use crate::store::{Eviction, StoreError};

pub fn all(connection: &Connection) -> Result<Vec<Eviction>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM evictions ORDER BY since, server_id, bbb_id")?;
    let found = statement.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Eviction> {
    let internal_id: String = row.get("internal_id")?;
    Ok(Eviction {
        server: ServerId(row.get("server_id")?),
        bbb_id: BbbMeetingId::new(row.get::<_, String>("bbb_id")?),
        internal_id: (!internal_id.is_empty()).then(|| InternalId::new(internal_id)),
        moderator_pw: secret(row, "moderator_pw")?,
        since: time(row, "since")?,
    })
}

/// Noting the same eviction again keeps the older time and learns a password.
pub fn add(writing: &Writing<'_>, eviction: &Eviction) -> Result<(), StoreError> {
    let sql = "INSERT INTO evictions (server_id, bbb_id, internal_id, moderator_pw, since) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET moderator_pw = coalesce(excluded.moderator_pw, moderator_pw)";
    let row = params![
        eviction.server.0,
        eviction.bbb_id.as_str(),
        internal_id(eviction),
        reveal(&eviction.moderator_pw),
        millis(eviction.since),
    ];
    match writing.connection.prepare_cached(sql)?.execute(row) {
        Err(error) if is_dangling(&error) => Err(StoreError::Refused("the server has been removed".to_owned())),
        result => {
            result?;
            note_configuration(writing)
        }
    }
}

/// Removing what is not there is no error: two processes may have ended the same meeting.
pub fn remove(writing: &Writing<'_>, eviction: &Eviction) -> Result<(), StoreError> {
    let sql = "DELETE FROM evictions WHERE server_id = ?1 AND bbb_id = ?2 AND internal_id = ?3";
    let row = params![eviction.server.0, eviction.bbb_id.as_str(), internal_id(eviction)];
    if writing.connection.prepare_cached(sql)?.execute(row)? == 0 {
        return Ok(());
    }
    note_configuration(writing)
}

fn internal_id(eviction: &Eviction) -> &str {
    eviction.internal_id.as_ref().map_or("", InternalId::as_str)
}
