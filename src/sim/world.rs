//! Everything the server knows, and the rules for finding and ending meetings in it (bbb-api.md sections 0, 3.4, 3.5).
//!
//! Only state: nothing here answers anybody.

use std::collections::HashMap;
use std::time::Duration;

use super::checksum::HashName;
use super::meetings::{SimMeeting, SimRole};
use super::recordings::SimRecording;
use super::version::SimVersion;
use crate::clock::{Clock, Millis, SystemClock};

/// Milliseconds by which a rush of creations may go ahead of the clock.
const LONGEST_RUN: u64 = 60_000;

/// What a session token stands for.
#[derive(Clone)]
pub(super) struct Session {
    /// The HTTP session (`JSESSIONID`) that holds the token.
    pub http_session: String,
    pub internal_meeting_id: String,
    pub internal_user_id: String,
    pub full_name: String,
    pub role: SimRole,
    pub guest_status: GuestStatus,
    pub token: String,
}

/// Whether a guest may come in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GuestStatus {
    Allow,
    Wait,
    Deny,
}

impl GuestStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Wait => "WAIT",
            Self::Deny => "DENY",
        }
    }
}

/// Everything the server knows.
#[derive(Default)]
pub(super) struct World {
    pub meetings: Vec<SimMeeting>,
    /// By session token.
    pub sessions: HashMap<String, Session>,
    pub recordings: Vec<SimRecording>,
    /// Tokens for presentations that were not sent yet.
    pub upload_tokens: Vec<String>,
    /// How far the server's clock is off, milliseconds.
    pub clock_off: i64,
    latest_create: u64,
    /// Meetings that go on until a moment, by internal ID.
    ending: Vec<(String, Millis)>,
}

impl World {
    /// A creation time no other meeting here has: internal IDs must differ even within a millisecond.
    pub(super) fn next_create_time(&mut self) -> Millis {
        let now = SystemClock.now().0.saturating_add_signed(self.clock_off);
        // A clock that was set follows at once; only a run of creations goes ahead of it.
        let is_run = now.abs_diff(self.latest_create) < LONGEST_RUN;
        self.latest_create = if is_run { now.max(self.latest_create + 1) } else { now };
        Millis(self.latest_create)
    }

    /// The HTTP session a request belongs to: the first of its cookies that names a living one, as the servlet container
    /// chooses. A single cookie is not looked up: who compares it with a living session finds out.
    pub(super) fn http_session<'a>(&self, cookies: &'a [String]) -> Option<&'a String> {
        if let [single] = cookies {
            return Some(single);
        }
        cookies.iter().find(|cookie| self.sessions.values().any(|session| session.http_session == **cookie))
    }

    /// `end` was called, and BBB takes its time.
    pub(super) fn end_later(&mut self, index: usize, after: Duration) {
        self.ending.push((self.meetings[index].internal_id.clone(), SystemClock.now() + after));
    }

    /// Ends what is due, and forgets the meetings that ended longer ago than they linger.
    pub(super) fn sweep(&mut self, end_lingers: Duration) {
        let now = SystemClock.now();
        while let Some(due) = self.ending.iter().position(|(_, at)| *at <= now) {
            let (internal_id, _) = self.ending.remove(due);
            if let Some(index) = self.meetings.iter().position(|meeting| meeting.internal_id == internal_id) {
                self.end(index, end_lingers);
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
            role: SimRole::Viewer,
            guest_status: GuestStatus::Allow,
            token: "token".to_owned(),
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

    #[test]
    fn create_times_follow_a_clock_that_is_set() {
        const HOURS: i64 = 5 * 3_600_000;
        let mut world = World { clock_off: HOURS, ..World::default() };
        let ahead = world.next_create_time();
        assert!(world.next_create_time() > ahead);
        world.clock_off = -HOURS;
        assert!(ahead.since(world.next_create_time()) > Duration::from_secs(9 * 3600));
    }
}
