//! What the ledger tells: copies of its figures at one moment, safe to keep across an await.
//!
//! Views hold no lock and follow nothing; ask again for newer figures.

use std::sync::Arc;

use bytes::Bytes;

use crate::bbb;
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, Secret, ServerId};
use crate::pool::Health;
use crate::store::{Confirmation, Phase, ServerRecord, Version};

/// One server of the table.
#[derive(Clone, Debug)]
pub struct ServerView {
    pub record: Arc<ServerRecord>,
    pub health: Health,
    pub health_since: Millis,
    /// Meetings without breakouts; those that no entry points to are included, as in all figures here.
    pub meetings: u32,
    pub breakouts: u32,
    pub participants: u32,
    pub voice: u32,
    pub listeners: u32,
    pub videos: u32,
    /// People whose client this process carries there.
    pub carried: u32,
    /// People still expected, at the placement quantile.
    pub reserved: f64,
    /// CPU with those expected, mc.
    pub load_mc: f64,
    /// 1.0 is full.
    pub utilisation: f64,
    /// When the last poll was received.
    pub last_poll: Option<Millis>,
    /// The operator's word, else what the server said.
    pub version: Option<String>,
}

/// One meeting.
#[derive(Clone, Debug)]
pub struct MeetingView {
    pub key: MeetingKey,
    pub bbb_id: BbbMeetingId,
    /// What to call it towards its server: `bbb_id`, or the internal id where the server would take `bbb_id` for the
    /// beginning of another meeting's internal id (bbb-api.md section 3.5).
    pub called: BbbMeetingId,
    pub server: ServerId,
    /// Of the store's row as this process knows it.
    pub version: Version,
    pub record: Arc<ServerRecord>,
    pub health: Health,
    /// Since when its server is down; `None` if it is not.
    pub down_since: Option<Millis>,
    pub phase: Phase,
    pub internal_id: Option<InternalId>,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
    pub claimed_at: Millis,
    /// People there by the last poll; those on their way are not included.
    pub participants: u32,
    /// Somebody is there, by the last poll.
    pub running: bool,
    /// When that poll was sent.
    pub polled_at: Option<Millis>,
    /// `end` has been sent, or the server says that the meeting is over, and it is still listed.
    pub ending: bool,
}

/// One meeting as last seen: less than a `MeetingView`, and cheaper.
#[derive(Clone, Debug)]
pub struct Glance {
    pub bbb_id: BbbMeetingId,
    /// Its server is down.
    pub is_down: bool,
    pub confirmed: bool,
    /// As in `MeetingView`, as are the next two.
    pub running: bool,
    pub polled_at: Option<Millis>,
    pub ending: bool,
    /// The server's `<meeting>` element; empty before the first poll after a start.
    pub xml: Bytes,
}

/// A breakout room that BBB made by itself.
#[derive(Clone, Debug)]
pub struct BreakoutView {
    pub bbb_id: BbbMeetingId,
    /// Its parent's server.
    pub record: Arc<ServerRecord>,
}

/// Where a join goes.
#[derive(Clone, Debug)]
pub struct JoinTicket {
    pub record: Arc<ServerRecord>,
    /// What to call it towards its server, as in `MeetingView`.
    pub called: BbbMeetingId,
    /// The first since the last poll of that server: it is to be looked at again.
    pub is_first: bool,
}

/// Why a join goes nowhere now. Nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// No such meeting.
    Unknown,
    TenantPeople {
        limit: u32,
    },
    ServerDown {
        since: Millis,
    },
    ServerDisabled,
}

/// What the create call learned.
#[derive(Clone, Debug)]
pub struct Confirmed {
    pub confirmation: Confirmation,
    /// A `<meeting>` element to show until the first poll brings the server's own.
    pub fragment: Bytes,
    pub created_at: Millis,
}

/// What a poll changed.
#[derive(Clone, Debug, Default)]
pub struct PollOutcome {
    /// Gone from the server, and from the ledger with this.
    pub ended: Vec<EndedMeeting>,
    /// Claims whose meeting the server lists.
    pub confirmed: Vec<(MeetingKey, Confirmation)>,
    /// Ended and created again on the same server without our knowledge.
    pub changed: Vec<ChangedMeeting>,
    /// Listed, but no entry points to this server for them: orphans or twins; the caller decides.
    pub unknown: Vec<bbb::Meeting>,
    /// All meetings that were there are missing, which is not believed before the next list says so too.
    pub is_doubtful: bool,
    /// A poll sent later was taken in before, or the server is not in the table: nothing was done.
    pub is_stale: bool,
}

/// A meeting that its server no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedMeeting {
    pub key: MeetingKey,
    pub internal_id: Option<InternalId>,
    /// Of the store's row, as this process knew it.
    pub version: Version,
}

/// A meeting whose internal id is a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedMeeting {
    pub key: MeetingKey,
    /// The meeting that is over.
    pub before: InternalId,
    pub confirmation: Confirmation,
}

/// What a tenant has running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Without breakouts.
    pub meetings: u32,
    /// People there and on their way.
    pub people: u32,
}

/// One meeting for `getMeetings`.
#[derive(Clone, Debug)]
pub struct MeetingFragment {
    pub bbb_id: BbbMeetingId,
    /// The tenant's own id; for a breakout room BBB's.
    pub meeting: MeetingId,
    /// The server's `<meeting>` element; empty after a start until the first poll (what follows helps out).
    pub xml: Bytes,
    pub confirmation: Confirmation,
}

/// A tenant's confirmed meetings, oldest first, each followed by its breakout rooms.
#[derive(Clone, Debug, Default)]
pub struct TenantMeetings {
    pub fragments: Vec<MeetingFragment>,
    pub edition: u64,
}

/// A tenant's meetings at one moment, without the meetings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edition {
    /// Another number means that `meetings_of` has something else to tell; 0 is a tenant without meetings.
    pub number: u64,
    /// When the oldest poll was sent among those that the figures come from.
    pub oldest_poll: Option<Millis>,
}
