//! What the store keeps, as plain values: servers, tenants, placements, evictions.
//!
//! These are the operator's facts and the promises given to callers. Live figures (health, load, people) are never
//! stored; they belong to the ledger and are learned again from the servers after a start.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::reach::Reach;
use crate::bbb::{Algorithm, Created, Meeting};
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, Secret, ServerId, TenantId};

/// What the operator wants of a server (interface.md section 5); health is independent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Takes new meetings.
    Enabled,
    /// No new meetings; running ones go on.
    Cordoned,
    /// Cordoned, and becomes `Disabled` when its last meeting is gone.
    Draining,
    /// No new meetings and no joins; still polled, so that its meetings are known.
    Disabled,
}

impl ServerState {
    pub const ALL: [ServerState; 4] = [Self::Enabled, Self::Cordoned, Self::Draining, Self::Disabled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ServerState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("unknown server state `{text}`"))
    }
}

/// One BBB server as the operator described it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerRecord {
    pub id: ServerId,
    /// Unique; `[a-z0-9][a-z0-9.-]*`, at most 63 characters; used as label, path segment and in the CLI.
    pub name: String,
    /// API address, always ending in `/bigbluebutton/api/`.
    pub url: String,
    pub secret: Secret,
    pub state: ServerState,
    /// Relative speed κ against a reference core (load-model.md section 4); > 0.
    pub weight: f64,
    pub cores: u32,
    /// Network limit in Mbit/s.
    pub nic_mbit: u32,
    pub tags: Vec<String>,
    pub region: Option<String>,
    /// How calls to this server are signed.
    pub checksum: Algorithm,
    /// BBB version told by the operator, e.g. `3.0.19`; wins over what the server reveals.
    pub version: Option<String>,
    pub max_meetings: Option<u32>,
    pub max_people: Option<u32>,
    pub reach: Reach,
}

impl ServerRecord {
    /// Cores of a server nobody described; BBB's own minimum for production.
    pub const DEFAULT_CORES: u32 = 8;
    /// Network limit of a server nobody described, Mbit/s.
    pub const DEFAULT_NIC_MBIT: u32 = 1000;

    /// An enabled server with nothing else said about it; the store gives it its id.
    pub fn new(name: impl Into<String>, url: impl Into<String>, secret: Secret) -> Self {
        Self {
            id: ServerId(0),
            name: name.into(),
            url: url.into(),
            secret,
            state: ServerState::Enabled,
            weight: 1.0,
            cores: Self::DEFAULT_CORES,
            nic_mbit: Self::DEFAULT_NIC_MBIT,
            tags: Vec::new(),
            region: None,
            checksum: Algorithm::Sha256,
            version: None,
            max_meetings: None,
            max_people: None,
            reach: Reach::default(),
        }
    }
}

/// A secret a tenant's front end may sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSecret {
    pub id: i64,
    pub secret: Secret,
    pub created_at: Millis,
    /// From this moment on it is refused; `None` while in force.
    pub retired_at: Option<Millis>,
}

/// Which call a parameter rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamCall {
    Create,
    Join,
}

/// What a parameter rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamKind {
    /// Used when the caller gives none.
    Default,
    /// Replaces the caller's value.
    Override,
    /// The caller's value is dropped (before defaults and overrides are applied).
    Block,
}

/// A tenant's rule for one parameter of `create` or `join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamRule {
    pub call: ParamCall,
    pub kind: ParamKind,
    pub name: String,
    /// Empty for `Block`.
    #[serde(default)]
    pub value: String,
}

/// One tenant: a customer or front end with its own secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRecord {
    pub id: TenantId,
    /// Unique; same alphabet as server names.
    pub name: String,
    /// Answers for every host that belongs to no other tenant. At most one tenant is the default.
    pub is_default: bool,
    /// Key of the scoped meeting ids; `None` means that ids go to BBB unchanged (the default tenant only).
    pub scope: Option<Secret>,
    /// Lower-case host names without port.
    pub hosts: Vec<String>,
    pub secrets: Vec<TenantSecret>,
    pub params: Vec<ParamRule>,
    pub max_meetings: Option<u32>,
    pub max_people: Option<u32>,
    /// Signed requests in a second; `None` for `limits.requests_per_tenant`.
    pub max_requests: Option<u32>,
    /// If not empty: only servers with one of these tags may take this tenant's meetings.
    pub pool: Vec<String>,
    /// Preferred region.
    pub region: Option<String>,
}

/// How far a placement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Durable, but the server has not said SUCCESS yet.
    Claimed,
    /// The server has said SUCCESS, or listed the meeting.
    Confirmed,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Confirmed => "confirmed",
        }
    }
}

/// Tells one writing of a placement from every other. Grows with each write and is never used again, not even for a
/// placement that was removed and made anew; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub i64);

/// The binding of a meeting to a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub tenant: TenantId,
    pub meeting: MeetingId,
    /// Unique over all tenants.
    pub bbb_id: BbbMeetingId,
    pub server: ServerId,
    pub phase: Phase,
    pub internal_id: Option<InternalId>,
    /// BBB's `createTime`, milliseconds; 0 until confirmed.
    pub create_time: u64,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
    /// When a server was chosen; for a meeting that was found on its server, when it began, by our clock.
    pub claimed_at: Millis,
    /// JSON text written by `placement`: candidates, predicted load, reason (for `usher meeting why`).
    pub why: String,
    /// As the store gave it; what a caller puts here is ignored.
    pub version: Version,
}

impl Placement {
    pub fn key(&self) -> MeetingKey {
        MeetingKey { tenant: self.tenant, meeting: self.meeting.clone() }
    }
}

/// What the server's SUCCESS answer, or its list of meetings, added to a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmation {
    pub internal_id: InternalId,
    pub create_time: u64,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
}

impl From<&Created> for Confirmation {
    fn from(created: &Created) -> Self {
        Self {
            internal_id: created.internal_id.clone(),
            create_time: created.create_time,
            attendee_pw: created.attendee_pw.clone(),
            moderator_pw: created.moderator_pw.clone(),
        }
    }
}

impl From<&Meeting> for Confirmation {
    fn from(meeting: &Meeting) -> Self {
        Self {
            internal_id: meeting.internal_id.clone(),
            create_time: meeting.create_time,
            attendee_pw: meeting.attendee_pw.clone(),
            moderator_pw: meeting.moderator_pw.clone(),
        }
    }
}

/// A meeting that may still be alive on a server although it has been placed elsewhere: to be ended as soon as that
/// server lists it. With `internal_id` only that very meeting; without, whatever runs there under `bbb_id` while the
/// placement points elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    pub server: ServerId,
    pub bbb_id: BbbMeetingId,
    pub internal_id: Option<InternalId>,
    pub moderator_pw: Option<Secret>,
    pub since: Millis,
}
