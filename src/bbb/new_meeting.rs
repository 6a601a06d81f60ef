//! The `<meeting>` of a meeting that no poll has shown yet, so that getMeetings misses nothing that create confirmed.
//!
//! Built from the create call's parameters and BBB's answer to it. Metadata follows BBB's rule for names: others are
//! dropped by BBB without a word, so they are dropped here too (bbb-api.md section 1.4).

use crate::bbb::answer::passwords;
use crate::bbb::meeting::Created;
use crate::bbb::params::Params;
use crate::bbb::xml_write::Writer;

/// A meeting that create has confirmed but no poll has shown yet.
#[derive(Clone, Debug)]
pub struct NewMeeting<'a> {
    pub created: &'a Created,
    pub name: &'a str,
    /// 0 = unlimited.
    pub max_users: u32,
    pub recording: bool,
    /// As BBB will keep it: keys in lower case.
    pub metadata: Vec<(String, String)>,
    pub is_breakout: bool,
    /// Number of the breakout room among its siblings.
    pub sequence: u32,
    /// Breakout rooms only: people choose their room.
    pub free_join: bool,
}

impl<'a> NewMeeting<'a> {
    /// What BBB made of a create call with these parameters.
    pub fn from_create(created: &'a Created, params: &'a Params) -> NewMeeting<'a> {
        let is_true = |name: &str| params.get(name) == Some("true");
        let number = |name: &str| params.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let metadata = params.iter().filter_map(|(name, value)| Some((meta_key(name)?, value.to_owned())));
        NewMeeting {
            created,
            name: params.get("name").unwrap_or_default(),
            max_users: number("maxParticipants"),
            recording: is_true("record"),
            metadata: metadata.collect(),
            is_breakout: is_true("isBreakout"),
            sequence: number("sequence"),
            free_join: is_true("freeJoin"),
        }
    }
}

/// The key under which BBB keeps a `meta_` parameter; `None` for names it drops.
pub fn meta_key(name: &str) -> Option<String> {
    let key = name.strip_prefix("meta_")?;
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic());
    let goes_on_well = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (starts_well && goes_on_well).then(|| key.to_ascii_lowercase())
}

/// The `<meeting>` element that getMeetings would show right after create (section 3.5).
pub fn new_meeting_fragment(meeting: &NewMeeting<'_>) -> Vec<u8> {
    let created = meeting.created;
    let mut xml = Writer::default();
    xml.open("meeting");
    xml.text("meetingName", meeting.name);
    xml.text("meetingID", created.meeting_id.as_str());
    xml.text("internalMeetingID", created.internal_id.as_str());
    xml.plain("createTime", created.create_time);
    xml.text("createDate", &created.create_date);
    xml.text("voiceBridge", &created.voice_bridge);
    xml.text("dialNumber", &created.dial_number);
    passwords(&mut xml, created);
    xml.plain("running", false);
    xml.plain("duration", created.duration);
    xml.plain("hasUserJoined", created.has_user_joined);
    xml.plain("recording", meeting.recording);
    xml.plain("hasBeenForciblyEnded", created.forcibly_ended);
    // BBB starts the clock of a meeting as it makes it, whether anybody is in or not.
    xml.plain("startTime", created.create_time);
    for name in ["endTime", "participantCount", "listenerCount", "voiceParticipantCount", "videoCount"] {
        xml.plain(name, 0);
    }
    xml.plain("maxUsers", meeting.max_users);
    xml.plain("moderatorCount", 0);
    xml.open("attendees").close("attendees");
    xml.open("metadata");
    for (name, value) in &meeting.metadata {
        xml.text(name, value);
    }
    xml.close("metadata");
    xml.plain("isBreakout", meeting.is_breakout);
    if meeting.is_breakout {
        xml.text("parentMeetingID", created.parent.as_ref().map_or("", |parent| parent.as_str()));
        xml.plain("sequence", meeting.sequence).plain("freeJoin", meeting.free_join);
    }
    xml.close("meeting");
    xml.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bbb::{answer, read_meetings};
    use crate::ids::{BbbMeetingId, InternalId, Secret};

    fn breakout() -> Created {
        Created {
            meeting_id: BbbMeetingId::new("a<b>"),
            internal_id: InternalId::new("f00-1700000000000"),
            parent: Some(InternalId::new("f00-1")),
            attendee_pw: Some(Secret::new("ap&")),
            moderator_pw: None,
            create_time: 1_700_000_000_000,
            voice_bridge: "71234".to_owned(),
            dial_number: String::new(),
            create_date: "Tue Nov 14 22:13:20 UTC 2023".to_owned(),
            has_user_joined: false,
            duration: 90,
            forcibly_ended: false,
            duplicate: false,
            message_key: String::new(),
            message: String::new(),
        }
    }

    #[test]
    fn a_new_meeting_looks_like_bbbs() {
        let query =
            b"name=%C3%9Cbung+%3C1%3E&maxParticipants=1500&record=true&isBreakout=true&sequence=3&freeJoin=true\
            &meta_Course=bio+%26+co&meta_1=x&meta_a_b=x&meta_=x&metax=x";
        let params = Params::parse(query, 100).unwrap();
        let created = breakout();
        let fragment = new_meeting_fragment(&NewMeeting::from_create(&created, &params));
        let list = read_meetings(&answer::meetings([&fragment].into_iter())).unwrap();
        assert_eq!((list.meetings.len(), list.unreadable, list.repaired), (1, 0, 0));
        let meeting = &list.meetings[0];
        assert_eq!(meeting.name, "Übung <1>");
        assert_eq!((meeting.max_users, meeting.participants, meeting.running), (1500, 0, false));
        assert!(meeting.recording && meeting.is_breakout);
        assert_eq!(meeting.parent, created.parent);
        assert_eq!(meeting.metadata, [("course".to_owned(), "bio & co".to_owned())]);
        assert_eq!(Created::from(meeting), created);
        assert!(String::from_utf8(fragment).unwrap().ends_with(
            "<isBreakout>true</isBreakout><parentMeetingID>f00-1</parentMeetingID><sequence>3</sequence>\
             <freeJoin>true</freeJoin></meeting>"
        ));
    }
}
