//! A meeting, the people and documents in it, and how BBB writes its date (bbb-api.md sections 3.4 and 3.5).
//!
//! Plain values: who may change them is decided by the calls, where they are found by `world`.

use super::world::random_text;
use crate::clock::Millis;

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

/// Java's `Date.toString()` in UTC, e.g. `Tue Nov 14 22:13:20 UTC 2023`.
pub(super) fn java_date(time: Millis) -> String {
    let [weekday, day, month, year, clock] = date_words(time);
    format!("{weekday} {month} {day} {clock} UTC {year}")
}

/// A `Date` header, e.g. `Tue, 14 Nov 2023 22:13:20 GMT`.
pub(super) fn http_date(time: Millis) -> String {
    let [weekday, day, month, year, clock] = date_words(time);
    format!("{weekday}, {day} {month} {year} {clock} GMT")
}

/// Weekday, day of the month, month, year and time of day, in UTC.
fn date_words(time: Millis) -> [String; 5] {
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
    let weekday = DAYS[(days % 7) as usize].to_owned();
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    [weekday, format!("{:02}", left + 1), MONTHS[month].to_owned(), year.to_string(), clock]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_javas() {
        assert_eq!(java_date(Millis(1_700_000_000_000)), "Tue Nov 14 22:13:20 UTC 2023");
        assert_eq!(java_date(Millis(951_782_400_000)), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(Millis(0)), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(http_date(Millis(784_111_777_000)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
