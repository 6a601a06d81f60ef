//! A meeting as XML, as `getMeetingInfo` and `getMeetings` print it (bbb-api.md section 3.5).
//!
//! The order of elements is BBB's and is kept; what the older generations print differently is asked of `SimVersion`.

use super::meetings::{SimAttendee, SimMeeting, SimRole, java_date};
use super::version::SimVersion;
use super::xml::Xml;

/// Which call prints the meeting; they differ in number formats and in two elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Info,
    ListEntry,
}

/// Writes all fields of a meeting into the element that is open.
pub(super) fn meeting(xml: &mut Xml, meeting: &SimMeeting, generation: SimVersion, shape: Shape) {
    let in_info = generation.groups_in_meeting_info();
    let groups_counts = if shape == Shape::Info { in_info } else { generation.groups_counts() };
    let groups_max_users = if shape == Shape::Info { in_info } else { generation.groups_max_users() };
    xml.leaf("meetingName", &meeting.name);
    xml.leaf("meetingID", &meeting.meeting_id);
    xml.leaf("internalMeetingID", &meeting.internal_id);
    xml.leaf("createTime", meeting.create_time);
    xml.leaf("createDate", java_date(meeting.create_time));
    xml.leaf("voiceBridge", &meeting.voice_bridge);
    xml.leaf("dialNumber", &meeting.dial_number);
    xml.leaf("attendeePW", &meeting.attendee_password);
    xml.leaf("moderatorPW", &meeting.moderator_password);
    xml.leaf("running", meeting.is_running());
    xml.leaf("duration", meeting.duration);
    xml.leaf("hasUserJoined", meeting.has_user_joined);
    xml.leaf("recording", meeting.is_recorded);
    xml.leaf("hasBeenForciblyEnded", meeting.has_ended());
    xml.leaf("startTime", meeting.start_time);
    xml.leaf("endTime", meeting.end_time);
    xml.leaf("participantCount", number(meeting.people(), groups_counts));
    xml.leaf("listenerCount", number(meeting.listeners, groups_counts));
    xml.leaf("voiceParticipantCount", number(meeting.voice, groups_counts));
    xml.leaf("videoCount", number(meeting.videos, groups_counts));
    xml.leaf("maxUsers", number(meeting.max_users, groups_max_users));
    xml.leaf("moderatorCount", number(meeting.moderators(), groups_counts));
    attendees(xml, meeting, generation);
    pairs(xml, "metadata", &meeting.metadata);
    if shape == Shape::Info {
        xml.leaf("messageKey", "");
        xml.leaf("message", "");
    }
    xml.leaf("isBreakout", meeting.is_breakout);
    if meeting.is_breakout {
        xml.leaf("parentMeetingID", meeting.parent_internal_id.as_deref().unwrap_or_default());
        xml.leaf("sequence", meeting.sequence);
        xml.leaf("freeJoin", meeting.is_free_join);
    }
    if !meeting.breakout_rooms.is_empty() {
        xml.open("breakoutRooms");
        for room in &meeting.breakout_rooms {
            xml.leaf("breakout", room);
        }
        xml.close();
    }
}

fn attendees(xml: &mut Xml, meeting: &SimMeeting, generation: SimVersion) {
    let presenter = meeting.attendees.iter().position(|attendee| attendee.role == SimRole::Moderator);
    xml.open("attendees");
    for (index, attendee) in meeting.attendees.iter().enumerate() {
        let place = index as u64;
        let is_listening = place >= meeting.voice && place < meeting.voice + meeting.listeners;
        xml.open("attendee");
        xml.leaf("userID", &attendee.user_id);
        xml.leaf("fullName", &attendee.full_name);
        xml.leaf("role", attendee.role.as_str());
        xml.leaf("isPresenter", presenter == Some(index));
        xml.leaf("isListeningOnly", is_listening);
        xml.leaf("hasJoinedVoice", place < meeting.voice);
        xml.leaf("hasVideo", place < meeting.videos);
        xml.leaf("clientType", "HTML5");
        custom(xml, attendee, generation);
        xml.close();
    }
    xml.close();
}

/// Empty in newer versions, missing in older ones.
fn custom(xml: &mut Xml, attendee: &SimAttendee, generation: SimVersion) {
    if !attendee.custom.is_empty() || generation.has_graphql() {
        pairs(xml, "customdata", &attendee.custom);
    }
}

fn pairs(xml: &mut Xml, name: &str, pairs: &[(String, String)]) {
    xml.open(name);
    for (key, value) in pairs {
        xml.leaf(key, value);
    }
    xml.close();
}

/// `12345`, or `12,345` where BBB groups digits.
fn number(value: u64, is_grouped: bool) -> String {
    let digits = value.to_string();
    if !is_grouped {
        return digits;
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(number(999, true), "999");
        assert_eq!(number(12_345, true), "12,345");
        assert_eq!(number(1_000_000, true), "1,000,000");
        assert_eq!(number(12_345, false), "12345");
    }
}
