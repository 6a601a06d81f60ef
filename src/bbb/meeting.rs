//! Meetings, create answers and sessions as BBB servers describe them (bbb-api.md sections 3.4, 3.5, 3.7).
//!
//! Missing elements read as empty, zero or false, because each BBB version leaves out others. Only an entry without a
//! meeting id is unreadable. Passwords and people's names stay out of `Debug`.

use std::fmt;

use bytes::Bytes;

use crate::bbb::fields::{Fields, identity};
use crate::bbb::xml::{Document, Element};
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, Secret};

/// One `<meeting>` of getMeetings, or a getMeetingInfo answer. Times in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct Meeting {
    pub meeting_id: BbbMeetingId,
    pub internal_id: InternalId,
    pub name: String,
    pub create_time: u64,
    /// Display form of `create_time` in the server's time zone; never parsed.
    pub create_date: String,
    /// At least one person is in the meeting. False for one that was just created.
    pub running: bool,
    pub recording: bool,
    pub forcibly_ended: bool,
    pub has_user_joined: bool,
    /// Minutes; 0 = unlimited.
    pub duration: u32,
    /// First join; 0 = nobody came yet.
    pub start_time: u64,
    /// 0 = not ended.
    pub end_time: u64,
    pub participants: u32,
    pub moderators: u32,
    pub voice: u32,
    pub listeners: u32,
    pub videos: u32,
    /// 0 = unlimited.
    pub max_users: u32,
    pub voice_bridge: String,
    pub dial_number: String,
    pub is_breakout: bool,
    /// The meeting that a breakout room belongs to.
    pub parent: Option<InternalId>,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
    /// Keys in lower case, as BBB stores them.
    pub metadata: Vec<(String, String)>,
    /// The `<meeting>…</meeting>` element as received; a getMeetingInfo answer's children wrapped into one.
    pub xml: Bytes,
}

impl Meeting {
    /// Reads the children of `element`; `None` without a meeting id.
    pub(crate) fn from_element(document: &Document<'_>, element: Element, xml: Bytes) -> Option<Meeting> {
        let fields = Fields { document, element };
        let meeting_id = fields.text("meetingID");
        if meeting_id.is_empty() {
            return None;
        }
        let (internal_id, create_time) =
            identity(&meeting_id, &fields.text("internalMeetingID"), fields.number("createTime"));
        Some(Meeting {
            meeting_id: BbbMeetingId::new(meeting_id),
            internal_id,
            name: fields.text("meetingName"),
            create_time,
            create_date: fields.text("createDate"),
            running: fields.is_true("running"),
            recording: fields.is_true("recording"),
            forcibly_ended: fields.is_true("hasBeenForciblyEnded"),
            has_user_joined: fields.is_true("hasUserJoined"),
            duration: fields.count("duration"),
            start_time: fields.number("startTime"),
            end_time: fields.number("endTime"),
            participants: fields.count("participantCount"),
            moderators: fields.count("moderatorCount"),
            voice: fields.count("voiceParticipantCount"),
            listeners: fields.count("listenerCount"),
            videos: fields.count("videoCount"),
            max_users: fields.count("maxUsers"),
            voice_bridge: fields.text("voiceBridge"),
            dial_number: fields.text("dialNumber"),
            is_breakout: fields.is_true("isBreakout"),
            parent: fields.parent(),
            attendee_pw: fields.secret("attendeePW"),
            moderator_pw: fields.secret("moderatorPW"),
            metadata: document.entries(element, "metadata"),
            xml,
        })
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meeting")
            .field("meeting_id", &self.meeting_id)
            .field("internal_id", &self.internal_id)
            .field("running", &self.running)
            .field("participants", &self.participants)
            .finish_non_exhaustive()
    }
}

/// What getMeetings told of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeetingList {
    pub meetings: Vec<Meeting>,
    /// Entries that could not be read at all: the list is not complete, so nothing may be concluded from absence.
    pub unreadable: usize,
    /// Entries that were read after ill-formed parts were dropped from their `xml`.
    pub repaired: usize,
    /// What the server's own clock showed; the times in the list are by that clock.
    pub told_at: Option<Millis>,
}

impl From<Vec<Meeting>> for MeetingList {
    /// A complete list.
    fn from(meetings: Vec<Meeting>) -> Self {
        Self { meetings, unreadable: 0, repaired: 0, told_at: None }
    }
}

/// A successful create answer (section 3.4). Times in milliseconds since 1970, duration in minutes.
#[derive(Clone, PartialEq, Eq)]
pub struct Created {
    pub meeting_id: BbbMeetingId,
    pub internal_id: InternalId,
    pub parent: Option<InternalId>,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
    pub create_time: u64,
    pub voice_bridge: String,
    pub dial_number: String,
    pub create_date: String,
    pub has_user_joined: bool,
    pub duration: u32,
    pub forcibly_ended: bool,
    /// The meeting was there before (`duplicateWarning`); the answer describes it, nothing was changed.
    pub duplicate: bool,
    pub message_key: String,
    pub message: String,
}

impl Created {
    pub(crate) fn from_element(document: &Document<'_>, element: Element) -> Option<Created> {
        let fields = Fields { document, element };
        let meeting_id = fields.text("meetingID");
        if meeting_id.is_empty() {
            return None;
        }
        let (internal_id, create_time) =
            identity(&meeting_id, &fields.text("internalMeetingID"), fields.number("createTime"));
        let message_key = fields.text("messageKey");
        Some(Created {
            meeting_id: BbbMeetingId::new(meeting_id),
            internal_id,
            parent: fields.parent(),
            attendee_pw: fields.secret("attendeePW"),
            moderator_pw: fields.secret("moderatorPW"),
            create_time,
            voice_bridge: fields.text("voiceBridge"),
            dial_number: fields.text("dialNumber"),
            create_date: fields.text("createDate"),
            has_user_joined: fields.is_true("hasUserJoined"),
            duration: fields.count("duration"),
            forcibly_ended: fields.is_true("hasBeenForciblyEnded"),
            duplicate: message_key == "duplicateWarning",
            message_key,
            message: fields.text("message"),
        })
    }
}

impl From<&Meeting> for Created {
    /// What create would have answered for this meeting when it was fresh.
    fn from(meeting: &Meeting) -> Created {
        Created {
            meeting_id: meeting.meeting_id.clone(),
            internal_id: meeting.internal_id.clone(),
            parent: meeting.parent.clone(),
            attendee_pw: meeting.attendee_pw.clone(),
            moderator_pw: meeting.moderator_pw.clone(),
            create_time: meeting.create_time,
            voice_bridge: meeting.voice_bridge.clone(),
            dial_number: meeting.dial_number.clone(),
            create_date: meeting.create_date.clone(),
            has_user_joined: meeting.has_user_joined,
            duration: meeting.duration,
            forcibly_ended: meeting.forcibly_ended,
            duplicate: false,
            message_key: String::new(),
            message: String::new(),
        }
    }
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created")
            .field("meeting_id", &self.meeting_id)
            .field("internal_id", &self.internal_id)
            .field("duplicate", &self.duplicate)
            .finish_non_exhaustive()
    }
}

/// One `<meeting>` of getSessions: a person's session (section 3.7).
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The element is called `meetingID`, but holds the internal one.
    pub internal_id: InternalId,
    pub meeting_name: String,
    pub user_name: String,
    /// The element as received.
    pub xml: Bytes,
}

impl Session {
    pub(crate) fn from_element(document: &Document<'_>, element: Element) -> Session {
        let fields = Fields { document, element };
        Session {
            internal_id: InternalId::new(fields.text("meetingID")),
            meeting_name: fields.text("meetingName"),
            user_name: fields.text("userName"),
            xml: Bytes::copy_from_slice(document.raw(element).as_bytes()),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("internal_id", &self.internal_id).finish_non_exhaustive()
    }
}
