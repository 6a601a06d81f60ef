//! Rows of `servers`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::unique_key;
use super::journal::note_configuration;
use super::rows::{algorithm, list, maybe_word, to_algorithm, word, words};
use super::writer::Writing;
use super::{journal, placements};
use crate::config::{ClientPrefix, ProxyOut};
use crate::ids::{Secret, ServerId};
use crate::store::{Authorities, Reach, ServerRecord, StoreError, Trust};

pub fn all(connection: &Connection) -> Result<Vec<ServerRecord>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM servers ORDER BY id")?;
    let found = statement.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ServerRecord> {
    Ok(ServerRecord {
        id: ServerId(row.get("id")?),
        name: row.get("name")?,
        url: row.get("url")?,
        secret: Secret::new(row.get::<_, String>("secret")?),
        state: word(row, "state", |text| text.parse().ok())?,
        weight: row.get("weight")?,
        cores: row.get("cores")?,
        nic_mbit: row.get("nic_mbit")?,
        tags: words(row, "tags")?,
        region: row.get("region")?,
        checksum: word(row, "checksum", to_algorithm)?,
        version: row.get("version")?,
        max_meetings: row.get("max_meetings")?,
        max_people: row.get("max_people")?,
        reach: Reach {
            address: maybe_word(row, "address", |text| text.parse().ok())?,
            send_proxy: word(row, "send_proxy", ProxyOut::of)?,
            send_proxy_port: row.get("send_proxy_port")?,
            client_prefix: maybe_word(row, "client_prefix", ClientPrefix::of)?,
            trust: Trust {
                ca: row.get::<_, Option<String>>("ca")?.map(Authorities::new),
                name: row.get("tls_name")?,
                insecure: row.get("insecure")?,
            },
        },
    })
}

pub fn add(writing: &Writing<'_>, mut server: ServerRecord) -> Result<ServerRecord, StoreError> {
    let sql = "INSERT INTO servers (name, url, secret, state, weight, cores, nic_mbit, tags, region, checksum, version,
               max_meetings, max_people, address, send_proxy, send_proxy_port, client_prefix, ca,
               tls_name, insecure)
               VALUES (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
               RETURNING id";
    server.id = ServerId(0);
    server.id = write(writing, sql, &server)?.ok_or_else(|| StoreError::Failed("no id was given".to_owned()))?;
    note_configuration(writing)?;
    Ok(server)
}

pub fn update(writing: &Writing<'_>, server: &ServerRecord) -> Result<(), StoreError> {
    let sql = "UPDATE servers SET name = ?2, url = ?3, secret = ?4, state = ?5, weight = ?6, cores = ?7, nic_mbit = ?8,
               tags = ?9, region = ?10, checksum = ?11, version = ?12, max_meetings = ?13, max_people = ?14,
               address = ?15, send_proxy = ?16, send_proxy_port = ?17, client_prefix = ?18, ca = ?19,
               tls_name = ?20, insecure = ?21
               WHERE id = ?1 RETURNING id";
    write(writing, sql, server)?.ok_or_else(|| gone(server.id))?;
    note_configuration(writing)
}

fn write(writing: &Writing<'_>, sql: &str, server: &ServerRecord) -> Result<Option<ServerId>, StoreError> {
    let reach = &server.reach;
    let row = params![
        server.id.0,
        server.name,
        server.url,
        server.secret.reveal(),
        server.state.as_str(),
        server.weight,
        server.cores,
        server.nic_mbit,
        list(&server.tags)?,
        server.region,
        algorithm(server.checksum),
        server.version,
        server.max_meetings,
        server.max_people,
        reach.address.as_ref().map(ToString::to_string),
        reach.send_proxy.as_str(),
        reach.send_proxy_port,
        reach.client_prefix.map(ClientPrefix::as_str),
        reach.trust.ca.as_ref().map(Authorities::pem),
        reach.trust.name,
        reach.trust.insecure,
    ];
    let id = writing.connection.prepare_cached(sql)?.query_row(row, |row| row.get(0)).optional();
    match id {
        Ok(id) => Ok(id.map(ServerId)),
        Err(error) if unique_key(&error).is_some() => {
            Err(StoreError::Conflict(format!("a server named `{}` exists already; choose another name", server.name)))
        }
        Err(error) => Err(error.into()),
    }
}

pub fn remove(writing: &Writing<'_>, server: ServerId, force: bool) -> Result<u64, StoreError> {
    let connection = writing.connection;
    let name = connection.query_row("SELECT name FROM servers WHERE id = ?1", [server.0], |row| row.get(0));
    let name: String = name.optional()?.ok_or_else(|| gone(server))?;
    let keys = placements::keys(connection, "server_id", server.0)?;
    if !keys.is_empty() && !force {
        let text = format!("server `{name}` has meetings ({}); drain it first, or remove it by force", keys.len());
        return Err(StoreError::Refused(text));
    }
    connection.execute("DELETE FROM placements WHERE server_id = ?1", [server.0])?;
    connection.execute("DELETE FROM servers WHERE id = ?1", [server.0])?;
    for key in &keys {
        journal::note_placement(writing, key)?;
    }
    note_configuration(writing)?;
    Ok(keys.len() as u64)
}

fn gone(server: ServerId) -> StoreError {
    StoreError::NotFound(format!("there is no server with id {server}"))
}
