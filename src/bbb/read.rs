//! Typed reading of BBB's XML answers (bbb-api.md sections 3.1 to 3.7).
//!
//! An answer with `returncode` other than `SUCCESS` becomes `BadAnswer::Failed`, unless the refusal is part of the
//! question: an unknown meeting, a create that BBB declines. HTTP status plays no part; BBB answers 200 to everything.

use bytes::Bytes;

use crate::bbb::fields::Fields;
use crate::bbb::meeting::{Created, Meeting, MeetingList, Session};
use crate::bbb::repair;
use crate::bbb::xml::{BadAnswer, Document, Element, text_of};
use crate::bbb::xml_write::Writer;

/// The part that all answers share. For list-form errors (section 3.1, form 2) key and message of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub success: bool,
    /// Stable; empty where BBB sends none.
    pub key: String,
    /// For people; differs between versions.
    pub message: String,
}

impl Reply {
    /// A refusal that speaks of the server and not of the request: our signature, its API, an error of its own.
    pub fn blames_server(&self) -> bool {
        !self.success && matches!(self.key.as_str(), "checksumError" | "apiNotEnabled" | "internalError")
    }
}

/// Reads what every XML answer has.
pub fn read_reply(body: &[u8]) -> Result<Reply, BadAnswer> {
    reply_of(&Document::parse(&text_of(body)?)?)
}

/// Reads an isMeetingRunning answer; `None` if it is none.
pub fn read_running(body: &[u8]) -> Option<bool> {
    let source = text_of(body).ok()?;
    let document = Document::parse(&source).ok()?;
    Some(document.child_text(document.root(), "running").eq_ignore_ascii_case("true"))
}

/// Reads a getMeetings answer. Meetings that a participant's data made ill-formed are repaired or at least counted;
/// they never cost the others.
pub fn read_meetings(body: &[u8]) -> Result<MeetingList, BadAnswer> {
    let source = text_of(body)?;
    let error = match Document::parse(&source) {
        Ok(document) if !document.has_prefix => {
            let mut list = MeetingList::default();
            for element in list_of(&document, "meetings", "meeting")? {
                list.add(Meeting::from_element(&document, element, bare_meeting(&document, element)));
            }
            return Ok(list);
        }
        Ok(_) => BadAnswer::NotXml,
        Err(error) => error,
    };
    let pieces = repair::take_apart(&source).ok_or(error)?;
    read_pieces(pieces)
}

fn read_pieces(pieces: repair::Pieces) -> Result<MeetingList, BadAnswer> {
    let frame = Document::parse(&pieces.frame)?;
    list_of(&frame, "meetings", "meeting")?;
    let mut list = MeetingList::default();
    for piece in pieces.meetings {
        let Some(sound) = repair::well_formed(&piece) else {
            list.unreadable += 1;
            continue;
        };
        list.repaired += usize::from(sound != piece);
        let document = Document::parse(&sound)?;
        let element = document.root();
        list.add(Meeting::from_element(&document, element, bare_meeting(&document, element)));
    }
    Ok(list)
}

/// The element as the server wrote it, between plain tags: what shows it again relies on `<meeting>` and `</meeting>`.
fn bare_meeting(document: &Document<'_>, element: Element) -> Bytes {
    const OPEN: &str = "<meeting>";
    const CLOSE: &str = "</meeting>";
    let raw = document.raw(element);
    if raw.starts_with(OPEN) && raw.ends_with(CLOSE) {
        return Bytes::copy_from_slice(raw.as_bytes());
    }
    let inner = document.inner(element);
    Bytes::from([OPEN, document.slice(inner), CLOSE].concat())
}

impl MeetingList {
    fn add(&mut self, meeting: Option<Meeting>) {
        match meeting {
            Some(meeting) => self.meetings.push(meeting),
            None => self.unreadable += 1,
        }
    }
}

/// Reads a getMeetingInfo answer; `None` if the server does not know the meeting (`notFound`).
pub fn read_meeting_info(body: &[u8]) -> Result<Option<Meeting>, BadAnswer> {
    let source = text_of(body)?;
    let repaired;
    let document = match Document::parse(&source) {
        Ok(document) if !document.has_prefix => document,
        broken => {
            let error = broken.err().unwrap_or(BadAnswer::NotXml);
            repaired = repair::well_formed(&source).ok_or(error)?;
            Document::parse(&repaired)?
        }
    };
    let reply = reply_of(&document)?;
    if !reply.success {
        return if reply.key == "notFound" { Ok(None) } else { Err(BadAnswer::Failed(reply)) };
    }
    let meeting = Meeting::from_element(&document, document.root(), as_meeting(&document));
    meeting.map(Some).ok_or(BadAnswer::Missing("meetingID"))
}

/// A getMeetingInfo answer for a caller, as the server wrote it or, if a participant's data made it ill-formed, repaired;
/// with what it says.
pub fn repair_meeting_info(body: Bytes) -> Result<(Reply, Bytes), BadAnswer> {
    let source = text_of(&body)?;
    let error = match Document::parse(&source) {
        Ok(document) if !document.has_prefix => {
            let reply = reply_of(&document)?;
            return Ok((reply, body));
        }
        Ok(_) => BadAnswer::NotXml,
        Err(error) => error,
    };
    let repaired = repair::well_formed(&source).ok_or(error)?;
    Ok((reply_of(&Document::parse(&repaired)?)?, Bytes::from(repaired)))
}

/// The fields of a getMeetingInfo answer in the form of getMeetings.
fn as_meeting(document: &Document<'_>) -> Bytes {
    let mut xml = Writer::default();
    xml.open("meeting");
    for child in document.children(document.root()) {
        if !matches!(document.name(child), "returncode" | "messageKey" | "message") {
            xml.raw(document.raw(child).as_bytes());
        }
    }
    xml.close("meeting");
    Bytes::from(xml.finish())
}

/// Reads a create answer; the inner error is BBB's own refusal.
pub fn read_created(body: &[u8]) -> Result<Result<Created, Reply>, BadAnswer> {
    let source = text_of(body)?;
    let document = Document::parse(&source)?;
    let reply = reply_of(&document)?;
    if !reply.success {
        return Ok(Err(reply));
    }
    Created::from_element(&document, document.root()).map(Ok).ok_or(BadAnswer::Missing("meetingID"))
}

/// Reads the entries of a getSessions answer.
pub fn read_sessions(body: &[u8]) -> Result<Vec<Session>, BadAnswer> {
    let source = text_of(body)?;
    let document = Document::parse(&source)?;
    let entries = list_of(&document, "sessions", "meeting")?;
    Ok(entries.into_iter().map(|entry| Session::from_element(&document, entry)).collect())
}

/// Fails unless the answer says SUCCESS.
pub(crate) fn succeeded(document: &Document<'_>) -> Result<Reply, BadAnswer> {
    let reply = reply_of(document)?;
    if reply.success { Ok(reply) } else { Err(BadAnswer::Failed(reply)) }
}

/// The `entry` elements in the root's child `list` of a successful answer. The list may be absent only if BBB says that
/// there is nothing (`noMeetings`, `noSessions`, `noRecordings`).
pub(crate) fn list_of(document: &Document<'_>, list: &'static str, entry: &str) -> Result<Vec<Element>, BadAnswer> {
    let reply = succeeded(document)?;
    match document.child(document.root(), list) {
        Some(list) => Ok(document.children(list).filter(|&child| document.name(child) == entry).collect()),
        None if matches!(&*reply.key, "noMeetings" | "noSessions" | "noRecordings") => Ok(Vec::new()),
        None => Err(BadAnswer::Missing(list)),
    }
}

fn reply_of(document: &Document<'_>) -> Result<Reply, BadAnswer> {
    let root = document.root();
    let fields = Fields { document, element: root };
    let returncode = fields.text("returncode");
    if document.name(root) != "response" || returncode.is_empty() {
        return Err(BadAnswer::NoReturncode);
    }
    let first_error = document.child(root, "errors").and_then(|errors| document.child(errors, "error"));
    let (key, message) = match first_error {
        Some(error) => {
            let fields = Fields { document, element: error };
            (fields.text("key"), fields.text("message"))
        }
        None => (fields.text("messageKey"), fields.text("message")),
    };
    Ok(Reply { success: returncode == "SUCCESS", key, message })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bbb::{read_recordings, read_version};

    /// A running meeting with the elements of section 3.5 in their order, as BBB up to 2.5 groups numbers.
    const RUNNING: &str = "<meeting>
      <meetingName>Physik für &lt;alle&gt;</meetingName><meetingID>phy-101</meetingID>
      <internalMeetingID>cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000</internalMeetingID>
      <createTime>1700000000000</createTime><createDate>Tue Nov 14 22:13:20 UTC 2023</createDate>
      <voiceBridge>71234</voiceBridge><dialNumber>613-555-1234</dialNumber>
      <attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW><running>true</running><duration>90</duration>
      <hasUserJoined>true</hasUserJoined><recording>true</recording><hasBeenForciblyEnded>false</hasBeenForciblyEnded>
      <startTime>1700000001000</startTime><endTime>0</endTime><participantCount>1,234</participantCount>
      <listenerCount>1,000</listenerCount><voiceParticipantCount>23</voiceParticipantCount><videoCount>9</videoCount>
      <maxUsers>2,000</maxUsers><moderatorCount>2</moderatorCount>
      <attendees><attendee><userID>w_1</userID><fullName>A &amp; B</fullName><role>MODERATOR</role>
        <isPresenter>true</isPresenter><isListeningOnly>false</isListeningOnly><hasJoinedVoice>true</hasJoinedVoice>
        <hasVideo>true</hasVideo><clientType>HTML5</clientType><customdata><bbb_x>1</bbb_x></customdata></attendee></attendees>
      <metadata><course>bio</course><empty></empty></metadata><isBreakout>false</isBreakout>
      <breakoutRooms><breakout>b1-1</breakout></breakoutRooms></meeting>";

    /// A breakout room of it, nobody in it, of a BBB that leaves blank passwords out.
    const BREAKOUT: &str = "<meeting><meetingName>Room 1</meetingName><meetingID>b1-1</meetingID>\
      <internalMeetingID>b1-1700000001000</internalMeetingID><createTime>1700000001000</createTime>\
      <running>false</running><participantCount>0</participantCount><attendees></attendees><metadata></metadata>\
      <isBreakout>true</isBreakout><parentMeetingID>cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000\
      </parentMeetingID><sequence>1</sequence><freeJoin>false</freeJoin></meeting>";

    fn meetings(list: &str) -> String {
        format!("<response><returncode>SUCCESS</returncode><meetings>{list}</meetings></response>")
    }

    fn answer(children: &str) -> String {
        format!("<response><returncode>SUCCESS</returncode>{children}</response>")
    }

    fn refusal(key: &str) -> String {
        format!(
            "<response><returncode>FAILED</returncode><messageKey>{key}</messageKey><message>m</message></response>"
        )
    }

    #[test]
    fn reads_every_field_of_a_meeting() {
        let list = read_meetings(meetings(&format!("{RUNNING}\n{BREAKOUT}")).as_bytes()).unwrap();
        assert_eq!((list.meetings.len(), list.unreadable, list.repaired), (2, 0, 0));
        let meeting = &list.meetings[0];
        assert_eq!(meeting.meeting_id.as_str(), "phy-101");
        assert_eq!(meeting.internal_id.as_str(), "cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000");
        assert_eq!(meeting.name, "Physik für <alle>");
        assert_eq!(
            (meeting.create_time, meeting.start_time, meeting.end_time),
            (1_700_000_000_000, 1_700_000_001_000, 0)
        );
        assert!(meeting.running && meeting.recording && meeting.has_user_joined && !meeting.forcibly_ended);
        assert_eq!((meeting.participants, meeting.listeners, meeting.voice, meeting.videos), (1234, 1000, 23, 9));
        assert_eq!((meeting.max_users, meeting.moderators, meeting.duration), (2000, 2, 90));
        assert_eq!((meeting.voice_bridge.as_str(), meeting.dial_number.as_str()), ("71234", "613-555-1234"));
        assert_eq!(meeting.attendee_pw.as_ref().unwrap().reveal(), "ap");
        assert_eq!(meeting.moderator_pw.as_ref().unwrap().reveal(), "mp");
        assert_eq!(meeting.metadata, [("course".into(), "bio".into()), ("empty".into(), String::new())]);
        assert_eq!((meeting.is_breakout, &meeting.parent), (false, &None));
        assert_eq!(&meeting.xml[..], RUNNING.as_bytes());
    }

    #[test]
    fn reads_a_breakout_with_little_in_it() {
        let list = read_meetings(meetings(BREAKOUT).as_bytes()).unwrap();
        let breakout = &list.meetings[0];
        assert!(breakout.is_breakout && !breakout.running);
        assert_eq!(
            breakout.parent.as_ref().unwrap().as_str(),
            "cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000"
        );
        assert_eq!((&breakout.attendee_pw, &breakout.moderator_pw), (&None, &None));
        assert_eq!((breakout.voice, breakout.max_users, breakout.metadata.len()), (0, 0, 0));
    }

    #[test]
    fn one_broken_meeting_costs_no_other() {
        let broken = RUNNING.replace("bbb_x>", "my key>").replace("phy-101", "broken-1");
        let list = read_meetings(meetings(&format!("{BREAKOUT}{broken}\n{RUNNING}")).as_bytes()).unwrap();
        assert_eq!((list.meetings.len(), list.unreadable, list.repaired), (3, 0, 1));
        assert_eq!(list.meetings[1].meeting_id.as_str(), "broken-1");
        assert_eq!(list.meetings[1].participants, 1234);
        assert_eq!(
            &list.meetings[1].xml[..],
            broken.replace("<customdata><my key>1</my key></customdata>", "").as_bytes()
        );
        assert_eq!(&list.meetings[0].xml[..], BREAKOUT.as_bytes());
        assert_eq!(&list.meetings[2].xml[..], RUNNING.as_bytes());
    }

    #[test]
    fn no_name_of_a_participants_making_hides_a_server() {
        let deep = "a>".to_owned() + &"<a>".repeat(40);
        for name in
            ["a:b>", "!DOCTYPE x>", "!--", "![CDATA[", "?xml >", "meeting></meeting><meeting>", "&x;", deep.as_str()]
        {
            let broken = RUNNING.replace("<bbb_x>1</bbb_x>", &format!("<{name}1</{name}"));
            let list = read_meetings(meetings(&format!("{BREAKOUT}{broken}{BREAKOUT}")).as_bytes()).unwrap();
            let running: Vec<&Meeting> = list.meetings.iter().filter(|meeting| !meeting.is_breakout).collect();
            assert_eq!((list.meetings.len(), list.unreadable, list.repaired), (3, 0, 1), "{name}");
            assert_eq!((running.len(), running[0].participants), (1, 1234), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let hopeless = "<meeting><meetingID>x</meeting>";
        let list = read_meetings(meetings(&format!("{hopeless}{BREAKOUT}<meeting/>")).as_bytes()).unwrap();
        assert_eq!(list.unreadable + list.meetings.len(), 2, "an empty meeting element is part of the piece before it");
        let nameless = read_meetings(meetings("<meeting><running>true</running></meeting>").as_bytes()).unwrap();
        assert_eq!((nameless.meetings.len(), nameless.unreadable), (0, 1));
    }

    #[test]
    fn a_meetings_xml_can_be_shown_again() {
        let inner = "<meetingID>m</meetingID><running>true</running>";
        let expected = format!("<meeting>{inner}</meeting>");
        for element in [
            format!("<meeting id='1'>{inner}</meeting>"),
            format!("<meeting >{inner}</meeting >"),
            // Read by the way of repair, where a piece reaches to the next meeting.
            format!("<meeting><meetingID>a:b</meetingID><a:b/></meeting><meeting>{inner}</meeting><!-- c -->"),
        ] {
            let list = read_meetings(meetings(&element).as_bytes()).unwrap();
            let read = list.meetings.last().unwrap();
            assert_eq!(&read.xml[..], expected.as_bytes(), "{element}");
            let shown = crate::bbb::meeting_info(&read.xml);
            assert_eq!(read_meeting_info(&shown).unwrap().unwrap().meeting_id.as_str(), "m");
        }
    }

    #[test]
    fn prefixes_of_attributes_are_prefixes() {
        let broken = RUNNING.replace("<bbb_x>1</bbb_x>", "<x b:c='d'>1</x>");
        let list = read_meetings(meetings(&format!("{broken}{BREAKOUT}")).as_bytes()).unwrap();
        assert_eq!((list.meetings.len(), list.repaired), (2, 1));
    }

    #[test]
    fn half_an_answer_is_an_error() {
        let whole = meetings(&format!("{RUNNING}{BREAKOUT}"));
        for length in (0..whole.len()).filter(|&length| whole.is_char_boundary(length)) {
            assert_eq!(read_meetings(&whole.as_bytes()[..length]), Err(BadAnswer::NotXml), "{length}");
        }
    }

    #[test]
    fn lists_may_be_empty_but_not_missing() {
        let none = "<messageKey>noMeetings</messageKey><message>no meetings were found on this server</message>";
        assert_eq!(read_meetings(answer(&format!("<meetings/>{none}")).as_bytes()).unwrap(), MeetingList::default());
        assert_eq!(read_meetings(answer(none).as_bytes()).unwrap(), MeetingList::default());
        assert_eq!(read_meetings(answer("").as_bytes()), Err(BadAnswer::Missing("meetings")));
        let refused = read_meetings(refusal("checksumError").as_bytes());
        assert!(matches!(refused, Err(BadAnswer::Failed(reply)) if reply.key == "checksumError"));
    }

    #[test]
    fn meeting_info_becomes_a_meeting_element() {
        let children = RUNNING.strip_prefix("<meeting>").unwrap().strip_suffix("</meeting>").unwrap();
        let body = answer(&format!("{children}<messageKey></messageKey><message></message>"));
        let meeting = read_meeting_info(body.as_bytes()).unwrap().unwrap();
        let again = read_meetings(meetings(std::str::from_utf8(&meeting.xml).unwrap()).as_bytes()).unwrap();
        assert_eq!(again.meetings[0], meeting);
        assert_eq!(meeting.participants, 1234);
        assert!(
            meeting.xml.starts_with(b"<meeting><meetingName>") && meeting.xml.ends_with(b"</breakoutRooms></meeting>")
        );

        let broken = body.replace("bbb_x>", "1>");
        let repaired = read_meeting_info(broken.as_bytes()).unwrap().unwrap();
        assert_eq!(repaired.participants, 1234);
        assert!(!repaired.xml.windows(10).any(|bytes| bytes == b"customdata"));
    }

    #[test]
    fn an_unknown_meeting_is_no_error() {
        assert_eq!(read_meeting_info(refusal("notFound").as_bytes()), Ok(None));
        assert!(matches!(read_meeting_info(refusal("checksumError").as_bytes()), Err(BadAnswer::Failed(_))));
        assert_eq!(read_meeting_info(answer("").as_bytes()), Err(BadAnswer::Missing("meetingID")));
        assert_eq!(read_meeting_info(b"<response><returncode>SUC"), Err(BadAnswer::NotXml));
    }

    #[test]
    fn reads_create_answers() {
        let body = answer(
            "<meetingID>phy-101</meetingID><internalMeetingID>cd-1700000000000</internalMeetingID>\
             <parentMeetingID>bbb-none</parentMeetingID><attendeePW>ap</attendeePW><moderatorPW></moderatorPW>\
             <createTime>1700000000000</createTime><voiceBridge>71234</voiceBridge><dialNumber>613</dialNumber>\
             <createDate>Tue</createDate><hasUserJoined>false</hasUserJoined><duration>0</duration>\
             <hasBeenForciblyEnded>true</hasBeenForciblyEnded><messageKey>duplicateWarning</messageKey><message>m</message>",
        );
        let created = read_created(body.as_bytes()).unwrap().unwrap();
        assert_eq!(created.meeting_id.as_str(), "phy-101");
        assert_eq!((created.create_time, created.voice_bridge.as_str()), (1_700_000_000_000, "71234"));
        assert_eq!(created.attendee_pw.as_ref().unwrap().reveal(), "ap");
        assert_eq!((&created.moderator_pw, &created.parent), (&None, &None));
        assert!(created.duplicate && created.forcibly_ended);
        assert!(!format!("{created:?}").contains("ap"));

        let refused = read_created(refusal("idNotUnique").as_bytes()).unwrap().unwrap_err();
        assert_eq!(refused, Reply { success: false, key: "idNotUnique".into(), message: "m".into() });
    }

    #[test]
    fn list_form_errors_read_as_their_first() {
        let body = "<response><returncode>FAILED</returncode><errors><error key=\"x\"><key>nonUniqueVoiceBridge</key>\
            <message>taken</message></error><error><key>other</key></error></errors></response>";
        let reply = read_reply(body.as_bytes()).unwrap();
        assert_eq!(
            (reply.success, reply.key.as_str(), reply.message.as_str()),
            (false, "nonUniqueVoiceBridge", "taken")
        );
    }

    #[test]
    fn other_documents_are_refused() {
        assert_eq!(read_reply(b"<html><body>502 Bad Gateway</body></html>"), Err(BadAnswer::NoReturncode));
        assert_eq!(read_reply(b"<html>\r\n<head><title>502</title></head><hr></html>"), Err(BadAnswer::NotXml));
        assert_eq!(read_reply(b"<!DOCTYPE html><html></html>"), Err(BadAnswer::Doctype));
        assert_eq!(read_reply(b"{\"response\":{}}"), Err(BadAnswer::NotXml));
        assert_eq!(read_reply(b""), Err(BadAnswer::NotXml));
        let bomb =
            "<!DOCTYPE r [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><response><returncode>&b;</returncode></response>";
        assert_eq!(read_meetings(bomb.as_bytes()), Err(BadAnswer::Doctype));
        let deep = answer(&("<a>".repeat(100) + &"</a>".repeat(100)));
        assert_eq!(read_meetings(deep.as_bytes()), Err(BadAnswer::TooDeep));
    }

    #[test]
    fn sessions_carry_internal_ids() {
        let one =
            "<meeting><meetingID>f00-1</meetingID><meetingName>n</meetingName><userName>Ä &amp; B</userName></meeting>";
        let sessions = read_sessions(answer(&format!("<sessions>{one}</sessions>")).as_bytes()).unwrap();
        assert_eq!(sessions[0].internal_id.as_str(), "f00-1");
        assert_eq!((sessions[0].meeting_name.as_str(), sessions[0].user_name.as_str()), ("n", "Ä & B"));
        assert_eq!(&sessions[0].xml[..], one.as_bytes());
        let none = answer("<sessions/><messageKey>noSessions</messageKey><message>m</message>");
        assert_eq!(read_sessions(none.as_bytes()).unwrap(), []);
    }

    fn read_all(body: &[u8]) {
        let _ = read_reply(body);
        let _ = read_meetings(body);
        let _ = read_meeting_info(body);
        let _ = read_created(body);
        let _ = read_sessions(body);
        let _ = read_version(body);
        let _ = read_recordings(body);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn no_bytes_make_a_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_all(&body);
        }

        #[test]
        fn no_damage_makes_a_reader_panic(place in 0..2000_usize, damage in proptest::collection::vec(any::<u8>(), 0..6)) {
            let mut body = meetings(&format!("{RUNNING}{BREAKOUT}")).into_bytes();
            let place = place % body.len();
            let end = (place + damage.len()).min(body.len());
            body.splice(place..end, damage);
            read_all(&body);
        }
    }
}
