//! Rows of `tenants` and of what belongs to one: hosts, secrets, parameter rules.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::unique_key;
use super::journal::{note_configuration, note_placement};
use super::placements;
use super::rows::{
    list, millis, param_call, param_kind, reveal, secret, time, to_param_call, to_param_kind, word, words,
};
use super::writer::Writing;
use crate::clock::Millis;
use crate::ids::{Secret, TenantId};
use crate::store::{ParamRule, StoreError, TenantRecord, TenantSecret};

pub fn all(connection: &Connection) -> Result<Vec<TenantRecord>, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached("SELECT * FROM tenants ORDER BY id")?;
    let mut tenants: Vec<TenantRecord> = statement.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    for tenant in &mut tenants {
        tenant.hosts = hosts(&snapshot, tenant.id)?;
        tenant.secrets = secrets(&snapshot, tenant.id)?;
        tenant.params = param_rules(&snapshot, tenant.id)?;
    }
    Ok(tenants)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<TenantRecord> {
    Ok(TenantRecord {
        id: TenantId(row.get("id")?),
        name: row.get("name")?,
        is_default: row.get("is_default")?,
        scope: secret(row, "scope")?,
        hosts: Vec::new(),
        secrets: Vec::new(),
        params: Vec::new(),
        max_meetings: row.get("max_meetings")?,
        max_people: row.get("max_people")?,
        max_requests: row.get("max_requests")?,
        pool: words(row, "pool")?,
        region: row.get("region")?,
    })
}

fn hosts(connection: &Connection, tenant: TenantId) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT host FROM tenant_hosts WHERE tenant_id = ?1 ORDER BY position";
    connection.prepare_cached(sql)?.query_map([tenant.0], |row| row.get(0))?.collect()
}

fn secrets(connection: &Connection, tenant: TenantId) -> rusqlite::Result<Vec<TenantSecret>> {
    let sql = "SELECT * FROM tenant_secrets WHERE tenant_id = ?1 ORDER BY id";
    let read = |row: &Row<'_>| {
        let retired_at: Option<i64> = row.get("retired_at")?;
        Ok(TenantSecret {
            id: row.get("id")?,
            secret: Secret::new(row.get::<_, String>("secret")?),
            created_at: time(row, "created_at")?,
            retired_at: retired_at.map(|at| Millis(u64::try_from(at).unwrap_or(0))),
        })
    };
    connection.prepare_cached(sql)?.query_map([tenant.0], read)?.collect()
}

fn param_rules(connection: &Connection, tenant: TenantId) -> rusqlite::Result<Vec<ParamRule>> {
    let sql = "SELECT * FROM tenant_params WHERE tenant_id = ?1 ORDER BY position";
    let read = |row: &Row<'_>| {
        Ok(ParamRule {
            call: word(row, "call", to_param_call)?,
            kind: word(row, "kind", to_param_kind)?,
            name: row.get("name")?,
            value: row.get("value")?,
        })
    };
    connection.prepare_cached(sql)?.query_map([tenant.0], read)?.collect()
}

pub fn add(writing: &Writing<'_>, mut tenant: TenantRecord) -> Result<TenantRecord, StoreError> {
    let sql = "INSERT INTO tenants (name, is_default, scope, max_meetings, max_people, pool, region, max_requests)
               VALUES (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING id";
    tenant.id = write(writing, sql, &tenant)?.ok_or_else(|| StoreError::Failed("no id was given".to_owned()))?;
    for secret in &mut tenant.secrets {
        secret.id = 0;
    }
    write_belongings(writing, &mut tenant)?;
    note_configuration(writing)?;
    Ok(tenant)
}

pub fn update(writing: &Writing<'_>, mut tenant: TenantRecord) -> Result<TenantRecord, StoreError> {
    let sql =
        "UPDATE tenants SET name = ?2, is_default = ?3, scope = ?4, max_meetings = ?5, max_people = ?6, pool = ?7,
               region = ?8, max_requests = ?9 WHERE id = ?1 RETURNING id";
    write(writing, sql, &tenant)?.ok_or_else(|| gone(tenant.id))?;
    write_belongings(writing, &mut tenant)?;
    note_configuration(writing)?;
    Ok(tenant)
}

fn write(writing: &Writing<'_>, sql: &str, tenant: &TenantRecord) -> Result<Option<TenantId>, StoreError> {
    let row = params![
        tenant.id.0,
        tenant.name,
        tenant.is_default,
        reveal(&tenant.scope),
        tenant.max_meetings,
        tenant.max_people,
        list(&tenant.pool)?,
        tenant.region,
        tenant.max_requests,
    ];
    let id = writing.connection.prepare_cached(sql)?.query_row(row, |row| row.get(0)).optional();
    match id {
        Ok(id) => Ok(id.map(TenantId)),
        Err(error) => Err(match unique_key(&error) {
            Some("tenants.is_default") => {
                StoreError::Conflict("there is a default tenant already; give this one a host".to_owned())
            }
            Some(_) => {
                StoreError::Conflict(format!("a tenant named `{}` exists already; choose another name", tenant.name))
            }
            None => error.into(),
        }),
    }
}

fn write_belongings(writing: &Writing<'_>, tenant: &mut TenantRecord) -> Result<(), StoreError> {
    write_hosts(writing, tenant)?;
    write_secrets(writing, tenant)?;
    let connection = writing.connection;
    connection.execute("DELETE FROM tenant_params WHERE tenant_id = ?1", [tenant.id.0])?;
    let sql =
        "INSERT INTO tenant_params (tenant_id, position, call, kind, name, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    for (position, rule) in (0_i64..).zip(&tenant.params) {
        let row = params![tenant.id.0, position, param_call(rule.call), param_kind(rule.kind), rule.name, rule.value];
        connection.prepare_cached(sql)?.execute(row)?;
    }
    Ok(())
}

fn write_hosts(writing: &Writing<'_>, tenant: &TenantRecord) -> Result<(), StoreError> {
    let connection = writing.connection;
    connection.execute("DELETE FROM tenant_hosts WHERE tenant_id = ?1", [tenant.id.0])?;
    let sql = "INSERT INTO tenant_hosts (host, tenant_id, position) VALUES (?1, ?2, ?3)";
    for (position, host) in (0_i64..).zip(&tenant.hosts) {
        let added = connection.prepare_cached(sql)?.execute(params![host, tenant.id.0, position]);
        added.map_err(|error| match unique_key(&error) {
            Some(_) => StoreError::Conflict(format!("the host `{host}` belongs to a tenant already")),
            None => error.into(),
        })?;
    }
    Ok(())
}

/// Secrets keep their ids; those no longer listed are removed, those with id 0 get one.
fn write_secrets(writing: &Writing<'_>, tenant: &mut TenantRecord) -> Result<(), StoreError> {
    let connection = writing.connection;
    for old in secrets(connection, tenant.id)? {
        if !tenant.secrets.iter().any(|kept| kept.id == old.id) {
            connection.execute("DELETE FROM tenant_secrets WHERE id = ?1", [old.id])?;
        }
    }
    let add =
        "INSERT INTO tenant_secrets (tenant_id, secret, created_at, retired_at) VALUES (?1, ?2, ?3, ?4) RETURNING id";
    let update = "UPDATE tenant_secrets SET secret = ?2, created_at = ?3, retired_at = ?4
                  WHERE tenant_id = ?1 AND id = ?5 RETURNING id";
    for secret in &mut tenant.secrets {
        let (revealed, created_at) = (secret.secret.reveal(), millis(secret.created_at));
        let retired_at = secret.retired_at.map(millis);
        if secret.id == 0 {
            let row = params![tenant.id.0, revealed, created_at, retired_at];
            secret.id = connection.prepare_cached(add)?.query_row(row, |row| row.get(0))?;
            continue;
        }
        let row = params![tenant.id.0, revealed, created_at, retired_at, secret.id];
        let updated: Option<i64> = connection.prepare_cached(update)?.query_row(row, |row| row.get(0)).optional()?;
        if updated.is_none() {
            let text = format!("tenant `{}` has no secret with id {}", tenant.name, secret.id);
            return Err(StoreError::NotFound(text));
        }
    }
    tenant.secrets.sort_by_key(|secret| secret.id);
    Ok(())
}

pub fn remove(writing: &Writing<'_>, tenant: TenantId, force: bool) -> Result<u64, StoreError> {
    let connection = writing.connection;
    let name = connection.query_row("SELECT name FROM tenants WHERE id = ?1", [tenant.0], |row| row.get(0));
    let name: String = name.optional()?.ok_or_else(|| gone(tenant))?;
    let keys = placements::keys(connection, "tenant_id", tenant.0)?;
    if !keys.is_empty() && !force {
        let text = format!("tenant `{name}` has meetings ({}); end them first, or remove it by force", keys.len());
        return Err(StoreError::Refused(text));
    }
    connection.execute("DELETE FROM placements WHERE tenant_id = ?1", [tenant.0])?;
    connection.execute("DELETE FROM tenants WHERE id = ?1", [tenant.0])?;
    for key in &keys {
        note_placement(writing, key)?;
    }
    note_configuration(writing)?;
    Ok(keys.len() as u64)
}

fn gone(tenant: TenantId) -> StoreError {
    StoreError::NotFound(format!("there is no tenant with id {tenant}"))
}
