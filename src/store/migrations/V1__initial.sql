-- Servers, tenants, placements, evictions, and the journal that tells other processes what changed.
-- AUTOINCREMENT everywhere: an id of a removed row is never given to another one.

PRAGMA application_id = 1431520338; -- "USHR": tells Usher's files from other databases

CREATE TABLE servers (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL UNIQUE,
    url          TEXT    NOT NULL,
    secret       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    weight       REAL    NOT NULL,
    cores        INTEGER NOT NULL,
    nic_mbit     INTEGER NOT NULL,
    tags         TEXT    NOT NULL, -- JSON list
    region       TEXT,
    checksum     TEXT    NOT NULL,
    version      TEXT,
    max_meetings INTEGER,
    max_people   INTEGER
) STRICT;

CREATE TABLE tenants (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL UNIQUE,
    is_default   INTEGER NOT NULL,
    scope        TEXT,
    max_meetings INTEGER,
    max_people   INTEGER,
    pool         TEXT    NOT NULL, -- JSON list of tags
    region       TEXT
) STRICT;

CREATE UNIQUE INDEX one_default_tenant ON tenants (is_default) WHERE is_default = 1;

CREATE TABLE tenant_hosts (
    host      TEXT    NOT NULL UNIQUE,
    tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL
) STRICT;
CREATE INDEX tenant_hosts_by_tenant ON tenant_hosts (tenant_id);

CREATE TABLE tenant_secrets (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id  INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    secret     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;
CREATE INDEX tenant_secrets_by_tenant ON tenant_secrets (tenant_id);

CREATE TABLE tenant_params (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    call      TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, position)
) STRICT;

CREATE TABLE placements (
    tenant_id    INTEGER NOT NULL REFERENCES tenants (id),
    meeting_id   TEXT    NOT NULL,
    bbb_id       TEXT    NOT NULL UNIQUE,
    server_id    INTEGER NOT NULL REFERENCES servers (id),
    phase        TEXT    NOT NULL,
    internal_id  TEXT,
    create_time  INTEGER NOT NULL,
    attendee_pw  TEXT,
    moderator_pw TEXT,
    claimed_at   INTEGER NOT NULL,
    why          TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, meeting_id)
) STRICT;
CREATE INDEX placements_by_server ON placements (server_id);

CREATE TABLE evictions (
    server_id    INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    bbb_id       TEXT    NOT NULL,
    internal_id  TEXT    NOT NULL, -- '' = whatever runs there under bbb_id
    moderator_pw TEXT,
    since        INTEGER NOT NULL,
    PRIMARY KEY (server_id, bbb_id, internal_id)
) STRICT;

CREATE TABLE journal (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    origin     TEXT    NOT NULL,
    kind       TEXT    NOT NULL, -- 'configuration' or 'placement'
    tenant_id  INTEGER,
    meeting_id TEXT,
    at         INTEGER NOT NULL
) STRICT;

-- One row: up to which entry the journal has been pruned.
CREATE TABLE journal_floor (
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO journal_floor (seq) VALUES (0);

-- Written and emptied again by the readiness check.
CREATE TABLE probe (
    filler BLOB NOT NULL
) STRICT;
