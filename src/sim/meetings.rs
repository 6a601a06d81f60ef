//! What a BBB server knows while it runs: meetings, people, sessions (bbb-api.md sections 0, 3.4, 3.5).
//!
//! Only state and the rules for finding things in it; who may change it and what is answered is decided by the calls.

use std::collections::HashMap;
use std::time::Duration;

use super::checksum::HashName;
use super::recordings::SimRecording;
use super::version::SimVersion;
use crate::clock::{Clock, Millis, SystemClock};

/// Role of somebody in a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimRole {
    Moderator,
    Viewer,
}

impl SimRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moderator => "MODERATOR",
            Self::Viewer => "VIEWER",
        }
    }
}

/// Somebody in a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimAttendee {
    /// `w_` + 12 characters.
    pub internal_id: String,
    /// `userID` of the join; the internal one if none was given.
    pub user_id: String,
    pub full_name: String,
    pub role: SimRole,
    pub is_guest: bool,
    /// `userdata-*` of the join, without the prefix.
    pub custom: Vec<(String, String)>,
}

/// A document of a `presentation` module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimDocument {
    /// Attributes as given (`url`, `filename`, `name`, `current`, …).
    pub attributes: Vec<(String, String)>,
    /// The element's text (base64), whitespace at the ends removed.
    pub content: String,
}

impl SimDocument {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A message sent by `sendChatMessage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimChatMessage {
    pub user_name: String,
    pub message: String,
}

/// A meeting; also the snapshot that tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimMeeting {
    /// The external ID; for breakout rooms the derived hash.
    pub meeting_id: String,
    /// `sha1(meetingID)-createTime`.
    pub internal_id: String,
    pub name: String,
    pub attendee_password: String,
    pub moderator_password: String,
    pub create_time: Millis,
    pub voice_bridge: String,
    pub web_voice: String,
    pub dial_number: String,
    /// Minutes, 0 = unlimited.
    pub duration: u64,
    /// `maxParticipants`, 0 = unlimited.
    pub max_users: u64,
    pub is_recorded: bool,
    pub has_user_joined: bool,
    pub start_time: Millis,
    /// 0 = not ended.
    pub end_time: Millis,
    pub guest_policy: String,
    pub allow_requests_without_session: bool,
    pub disabled_features: Vec<String>,
    pub metadata: Vec<(String, String)>,
    pub attendees: Vec<SimAttendee>,
    /// People counted but not listed, to reach large numbers cheaply.
    pub unlisted_people: u64,
    pub voice: u64,
    pub listeners: u64,
    pub videos: u64,
    pub documents: Vec<SimDocument>,
    pub chat: Vec<SimChatMessage>,
    pub is_breakout: bool,
    /// Internal ID of the parent, of a breakout room.
    pub parent_internal_id: Option<String>,
    pub sequence: u64,
    pub is_free_join: bool,
    /// External IDs of this meeting's breakout rooms.
    pub breakout_rooms: Vec<String>,
    /// Every parameter of the create but the checksum, in order of arrival.
    pub parameters: Vec<(String, String)>,
}

impl SimMeeting {
    /// A meeting with BBB's defaults and random passwords.
    pub(super) fn new(meeting_id: &str, internal_id: String, create_time: Millis) -> Self {
        Self {
            meeting_id: meeting_id.to_owned(),
            internal_id,
            name: String::new(),
            attendee_password: random_text(8),
            moderator_password: random_text(8),
            create_time,
            voice_bridge: String::new(),
            web_voice: String::new(),
            dial_number: "613-555-1234".to_owned(),
            duration: 0,
            max_users: 0,
            is_recorded: false,
            has_user_joined: false,
            start_time: create_time,
            end_time: Millis(0),
            guest_policy: "ALWAYS_ACCEPT".to_owned(),
            allow_requests_without_session: false,
            disabled_features: Vec::new(),
            metadata: Vec::new(),
            attendees: Vec::new(),
            unlisted_people: 0,
            voice: 0,
            listeners: 0,
            videos: 0,
            documents: Vec::new(),
            chat: Vec::new(),
            is_breakout: false,
            parent_internal_id: None,
            sequence: 0,
            is_free_join: false,
            breakout_rooms: Vec::new(),
            parameters: Vec::new(),
        }
    }

    pub fn has_ended(&self) -> bool {
        self.end_time != Millis(0)
    }
    /// `participantCount`.
    pub fn people(&self) -> u64 {
        self.attendees.len() as u64 + self.unlisted_people
    }
    /// At least one user is present.
    pub fn is_running(&self) -> bool {
        self.people() > 0 && !self.has_ended()
    }
    pub fn moderators(&self) -> u64 {
        self.attendees.iter().filter(|attendee| attendee.role == SimRole::Moderator).count() as u64
    }
}

/// What a session token stands for.
#[derive(Clone)]
pub(super) struct Session {
    /// The HTTP session (`JSESSIONID`) that holds the token.
    pub http_session: String,
    pub internal_meeting_id: String,
    pub internal_user_id: String,
    pub full_name: String,
}

/// Everything the server knows.
#[derive(Default)]
pub(super) struct World {
    pub meetings: Vec<SimMeeting>,
    /// By session token.
    pub sessions: HashMap<String, Session>,
    pub recordings: Vec<SimRecording>,
    latest_create: u64,
}

impl World {
    /// A creation time no other meeting here has: internal IDs must differ even within a millisecond.
    pub(super) fn next_create_time(&mut self) -> Millis {
        self.latest_create = SystemClock.now().0.max(self.latest_create + 1);
        Millis(self.latest_create)
    }

    /// Forgets the meetings that ended longer ago than they linger.
    pub(super) fn sweep(&mut self, end_lingers: Duration) {
        let now = SystemClock.now();
        self.meetings.retain(|meeting| !meeting.has_ended() || now.since(meeting.end_time) < end_lingers);
    }

    /// The not-ended meeting a create would meet again: by `sha1(meetingID)` only (section 3.4).
    pub(super) fn same_meeting(&self, meeting_id: &str) -> Option<usize> {
        let prefix = format!("{}-", sha1_hex(meeting_id));
        self.meetings.iter().position(|meeting| !meeting.has_ended() && meeting.internal_id.starts_with(&prefix))
    }

    /// The meeting a call means: since 2.4 a prefix of internal IDs comes first (section 3.5). A living one is preferred.
    pub(super) fn find(&self, value: &str, generation: SimVersion) -> Option<usize> {
        let living_first = |matches: &dyn Fn(&SimMeeting) -> bool| {
            let living = self.meetings.iter().position(|meeting| !meeting.has_ended() && matches(meeting));
            living.or_else(|| self.meetings.iter().position(matches))
        };
        if value.is_empty() {
            return None;
        }
        let by_internal = if generation.has_validation() {
            living_first(&|meeting| meeting.internal_id.starts_with(value))
        } else {
            None
        };
        let prefix = format!("{}-", sha1_hex(value));
        by_internal
            .or_else(|| living_first(&|meeting| meeting.internal_id.starts_with(&prefix)))
            .or_else(|| living_first(&|meeting| meeting.meeting_id == value))
    }

    /// An unused 5-digit number; ten tries, as BBB does (section 3.4).
    pub(super) fn free_voice_bridge(&self) -> String {
        let mut number = String::new();
        for _ in 0..10 {
            number = rand::random_range(10_000..100_000_u32).to_string();
            if !self.is_voice_bridge_used(&number) {
                break;
            }
        }
        number
    }

    /// Whether a not-ended meeting uses that number as voice bridge or web voice.
    pub(super) fn is_voice_bridge_used(&self, number: &str) -> bool {
        let living = self.meetings.iter().filter(|meeting| !meeting.has_ended());
        living.into_iter().any(|meeting| meeting.voice_bridge == number || meeting.web_voice == number)
    }

    /// Ends a meeting and its breakout rooms, empties them and their sessions.
    pub(super) fn end(&mut self, index: usize, end_lingers: Duration) {
        let ended_id = self.meetings[index].internal_id.clone();
        let now = SystemClock.now();
        for meeting in &mut self.meetings {
            let is_meant = meeting.internal_id == ended_id || meeting.parent_internal_id.as_deref() == Some(&ended_id);
            if is_meant && !meeting.has_ended() {
                meeting.end_time = now;
                meeting.attendees.clear();
                meeting.unlisted_people = 0;
                (meeting.voice, meeting.listeners, meeting.videos) = (0, 0, 0);
                let internal_id = &meeting.internal_id;
                self.sessions.retain(|_, session| session.internal_meeting_id != *internal_id);
            }
        }
        self.sweep(end_lingers);
    }

    /// Adds a breakout room to the meeting at `parent`; gives its index.
    pub(super) fn add_breakout(&mut self, parent: usize, sequence: u64) -> usize {
        let create_time = self.next_create_time();
        let meeting_id = derived_id(&self.meetings[parent].internal_id, create_time, sequence);
        let internal_id = internal_id(&meeting_id, create_time);
        let mut room = SimMeeting::new(&meeting_id, internal_id, create_time);
        room.name = format!("{} (Room - {sequence})", self.meetings[parent].name);
        room.voice_bridge = format!("{}{sequence}", self.meetings[parent].voice_bridge);
        room.is_breakout = true;
        room.parent_internal_id = Some(self.meetings[parent].internal_id.clone());
        room.sequence = sequence;
        self.meetings[parent].breakout_rooms.push(meeting_id);
        self.meetings.push(room);
        self.meetings.len() - 1
    }
}

/// `sha1(meetingID)-createTime` (section 0).
pub(super) fn internal_id(meeting_id: &str, create_time: Millis) -> String {
    format!("{}-{create_time}", sha1_hex(meeting_id))
}

/// External ID of a breakout room (section 3.5).
pub(super) fn derived_id(parent_internal_id: &str, time: Millis, sequence: u64) -> String {
    format!("{}-{time}", sha1_hex(&format!("{parent_internal_id}-{time}-{sequence}")))
}

pub(super) fn sha1_hex(text: &str) -> String {
    HashName::Sha1.hex(text)
}

/// Lower-case letters and digits, for tokens and passwords.
pub(super) fn random_text(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

/// Java's `Date.toString()` in UTC, e.g. `Tue Nov 14 22:13:20 UTC 2023`.
pub(super) fn java_date(time: Millis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.0 / 1000;
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (mut year, mut left) = (1970_u64, days);
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    while left >= if is_leap(year) { 366 } else { 365 } {
        left -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    let weekday = DAYS[(days % 7) as usize];
    format!("{weekday} {} {:02} {hour:02}:{minute:02}:{second:02} UTC {year}", MONTHS[month], left + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_javas() {
        assert_eq!(java_date(Millis(1_700_000_000_000)), "Tue Nov 14 22:13:20 UTC 2023");
        assert_eq!(java_date(Millis(951_782_400_000)), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(Millis(0)), "Thu Jan 01 00:00:00 UTC 1970");
    }

    #[test]
    fn a_meeting_is_found_by_id_and_since_2_4_by_prefix_of_the_internal_one() {
        let mut world = World::default();
        let time = world.next_create_time();
        world.meetings.push(SimMeeting::new("phy-101", internal_id("phy-101", time), time));
        assert_eq!(sha1_hex("phy-101"), "cd2ba3add6da5251b431d853ae201fccce8e877b");
        assert_eq!(world.find("phy-101", SimVersion::V2_3), Some(0));
        assert_eq!(world.find("cd", SimVersion::V2_4), Some(0));
        assert_eq!(world.find("cd", SimVersion::V2_3), None);
        assert_eq!(world.find("phy-102", SimVersion::V3_0), None);
    }

    #[test]
    fn ending_a_parent_ends_its_rooms_and_sessions() {
        let mut world = World::default();
        let time = world.next_create_time();
        world.meetings.push(SimMeeting::new("m1", internal_id("m1", time), time));
        let room = world.add_breakout(0, 1);
        let session = Session {
            http_session: "h".to_owned(),
            internal_meeting_id: world.meetings[room].internal_id.clone(),
            internal_user_id: "w_1".to_owned(),
            full_name: "Ann".to_owned(),
        };
        world.sessions.insert("token".to_owned(), session);
        world.end(0, Duration::from_secs(60));
        assert!(world.meetings.iter().all(SimMeeting::has_ended) && world.meetings.len() == 2);
        assert!(world.sessions.is_empty());
        world.sweep(Duration::ZERO);
        assert!(world.meetings.is_empty());
    }

    #[test]
    fn create_times_never_repeat() {
        let mut world = World::default();
        let first = world.next_create_time();
        assert!(world.next_create_time() > first);
    }
}
