//! Rows of `placements`: claim, confirm, move, release, each a compare-and-set on the server or version they know.
//!
//! The claim is one INSERT on two unique keys: whoever's transaction comes first has the meeting, in whatever process.
//! A row's version is the number of the journal entry that tells of its last change.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::is_dangling;
use super::journal::note_placement;
use super::rows::{millis, reveal, secret, signed, time, to_phase, unsigned, word};
use super::writer::Writing;
use super::{evictions, journal};
use crate::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, ServerId, TenantId};
use crate::store::{Change, Claim, Confirmation, Eviction, Known, Phase, Placement, StoreError, Version};

pub fn all(connection: &Connection) -> Result<Vec<Placement>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM placements ORDER BY tenant_id, meeting_id")?;
    let found = statement.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

pub fn one(connection: &Connection, key: &MeetingKey) -> Result<Option<Placement>, StoreError> {
    let sql = "SELECT * FROM placements WHERE tenant_id = ?1 AND meeting_id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![key.tenant.0, key.meeting.as_str()], from_row).optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Placement> {
    let internal_id: Option<String> = row.get("internal_id")?;
    Ok(Placement {
        tenant: TenantId(row.get("tenant_id")?),
        meeting: MeetingId::new(row.get::<_, String>("meeting_id")?),
        bbb_id: BbbMeetingId::new(row.get::<_, String>("bbb_id")?),
        server: ServerId(row.get("server_id")?),
        phase: word(row, "phase", to_phase)?,
        internal_id: internal_id.map(InternalId::new),
        create_time: unsigned(row, "create_time")?,
        attendee_pw: secret(row, "attendee_pw")?,
        moderator_pw: secret(row, "moderator_pw")?,
        claimed_at: time(row, "claimed_at")?,
        why: row.get("why")?,
        version: Version(row.get("version")?),
    })
}

/// Keys of the placements of a server (`server_id`) or of a tenant (`tenant_id`).
pub fn keys(connection: &Connection, column: &'static str, id: i64) -> Result<Vec<MeetingKey>, StoreError> {
    let sql = format!("SELECT tenant_id, meeting_id FROM placements WHERE {column} = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let read = |row: &Row<'_>| {
        Ok(MeetingKey { tenant: TenantId(row.get(0)?), meeting: MeetingId::new(row.get::<_, String>(1)?) })
    };
    let found = statement.query_map([id], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

pub fn claim(writing: &Writing<'_>, placement: &Placement) -> Result<Claim, StoreError> {
    let sql = "INSERT INTO placements (tenant_id, meeting_id, bbb_id, server_id, phase, internal_id, create_time,
               attendee_pw, moderator_pw, claimed_at, why, version)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING";
    let version = next_version(writing)?;
    let row = params![
        placement.tenant.0,
        placement.meeting.as_str(),
        placement.bbb_id.as_str(),
        placement.server.0,
        placement.phase.as_str(),
        placement.internal_id.as_ref().map(InternalId::as_str),
        signed(placement.create_time),
        reveal(&placement.attendee_pw),
        reveal(&placement.moderator_pw),
        millis(placement.claimed_at),
        placement.why,
        version.0,
    ];
    let key = placement.key();
    match writing.connection.prepare_cached(sql)?.execute(row) {
        Ok(0) => match one(writing.connection, &key)? {
            Some(in_force) => Ok(Claim::Taken(in_force)),
            None => Err(StoreError::Conflict("the BBB meeting id belongs to another meeting already".to_owned())),
        },
        Ok(_) => {
            note_placement(writing, &key)?;
            Ok(Claim::Won(version))
        }
        Err(error) if is_dangling(&error) => Err(missing(writing, placement.server)?),
        Err(error) => Err(error.into()),
    }
}

/// Which end of a refused placement does not exist.
fn missing(writing: &Writing<'_>, server: ServerId) -> Result<StoreError, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM servers WHERE id = ?1)";
    let has_server: bool = writing.connection.query_row(sql, [server.0], |row| row.get(0))?;
    let what = if has_server { "the tenant" } else { "the server" };
    Ok(StoreError::Refused(format!("{what} has been removed")))
}

pub fn confirm(
    writing: &Writing<'_>,
    key: &MeetingKey,
    server: ServerId,
    confirmation: &Confirmation,
) -> Result<Change, StoreError> {
    let sql =
        "UPDATE placements SET phase = ?4, internal_id = ?5, create_time = ?6, attendee_pw = ?7, moderator_pw = ?8,
               version = ?9 WHERE tenant_id = ?1 AND meeting_id = ?2 AND server_id = ?3";
    let version = next_version(writing)?;
    let row = params![
        key.tenant.0,
        key.meeting.as_str(),
        server.0,
        Phase::Confirmed.as_str(),
        confirmation.internal_id.as_str(),
        signed(confirmation.create_time),
        reveal(&confirmation.attendee_pw),
        reveal(&confirmation.moderator_pw),
        version.0,
    ];
    let changed = writing.connection.prepare_cached(sql)?.execute(row)?;
    outcome(writing, key, changed, version)
}

/// The new claim is as old as this transaction, so that a restart gives the `create` under way its full time.
pub fn move_to(
    writing: &Writing<'_>,
    key: &MeetingKey,
    known: Version,
    to: ServerId,
    why: &str,
    evict: Option<&Eviction>,
) -> Result<Change, StoreError> {
    let sql = "UPDATE placements SET server_id = ?4, phase = ?5, internal_id = NULL, create_time = 0,
               attendee_pw = NULL, moderator_pw = NULL, claimed_at = ?6, why = ?7, version = ?8
               WHERE tenant_id = ?1 AND meeting_id = ?2 AND version = ?3";
    let version = next_version(writing)?;
    let phase = Phase::Claimed.as_str();
    let now = millis(writing.now);
    let row = params![key.tenant.0, key.meeting.as_str(), known.0, to.0, phase, now, why, version.0];
    let changed = match writing.connection.prepare_cached(sql)?.execute(row) {
        Err(error) if is_dangling(&error) => return Err(missing(writing, to)?),
        result => result?,
    };
    let outcome = outcome(writing, key, changed, version)?;
    if let (Change::Made(_), Some(eviction)) = (&outcome, evict) {
        evictions::add(writing, eviction)?;
    }
    Ok(outcome)
}

pub fn release(writing: &Writing<'_>, key: &MeetingKey, server: ServerId, known: &Known) -> Result<bool, StoreError> {
    let sql = "DELETE FROM placements WHERE tenant_id = ?1 AND meeting_id = ?2 AND server_id = ?3
               AND (version = ?4 OR internal_id = ?5)";
    let (version, internal_id) = match known {
        Known::Version(version) => (Some(version.0), None),
        Known::Internal(internal_id) => (None, Some(internal_id.as_str())),
    };
    let row = params![key.tenant.0, key.meeting.as_str(), server.0, version, internal_id];
    if writing.connection.prepare_cached(sql)?.execute(row)? == 0 {
        return Ok(false);
    }
    note_placement(writing, key)?;
    Ok(true)
}

/// The number that the next journal entry will have.
fn next_version(writing: &Writing<'_>) -> Result<Version, StoreError> {
    Ok(Version(journal::end(writing.connection)?.0 + 1))
}

fn outcome(writing: &Writing<'_>, key: &MeetingKey, changed: usize, version: Version) -> Result<Change, StoreError> {
    if changed == 0 {
        return Ok(Change::Lost(one(writing.connection, key)?));
    }
    note_placement(writing, key)?;
    Ok(Change::Made(version))
}
