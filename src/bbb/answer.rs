//! Our own answers, in the element order of BBB (bbb-api.md sections 3.1 to 3.9).
//!
//! Like bbb-web: no XML declaration, values escaped, empty elements kept where BBB keeps them. Fragments that come from
//! servers are put in as they are; whoever passes them has parsed them.

use serde::Serialize;

use crate::bbb::fields::NO_PARENT;
use crate::bbb::meeting::{Created, Meeting};
use crate::bbb::xml_write::Writer;

/// The `pagination` block of getRecordings (section 3.8). Counts recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pagination {
    pub offset: usize,
    pub limit: usize,
    /// Recordings before the page was cut out.
    pub total: usize,
}

/// A refusal (form 1).
pub fn failed(key: &str, message: &str) -> Vec<u8> {
    let mut xml = response("FAILED");
    xml.text("messageKey", key).text("message", message);
    end(xml)
}

/// A refusal of the calls that answer JSON (form 4).
pub fn failed_json(key: &str, message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Failed<'a> {
        returncode: &'static str,
        #[serde(rename = "messageKey")]
        key: &'a str,
        message: &'a str,
    }
    json(&Failed { returncode: "FAILED", key, message })
}

/// The version answer (section 3.3); we reveal no version of a server or of ourselves.
pub fn version_xml() -> Vec<u8> {
    let mut xml = response("SUCCESS");
    xml.text("version", "2.0").text("apiVersion", "2.0").text("bbbVersion", "");
    end(xml)
}

/// The version answer for `Content-Type: application/json`.
pub fn version_json() -> Vec<u8> {
    #[derive(Serialize)]
    struct Version {
        returncode: &'static str,
        version: &'static str,
        #[serde(rename = "apiVersion")]
        api_version: &'static str,
        #[serde(rename = "bbbVersion")]
        bbb_version: &'static str,
    }
    json(&Version { returncode: "SUCCESS", version: "2.0", api_version: "2.0", bbb_version: "" })
}

/// isMeetingRunning.
pub fn running(running: bool) -> Vec<u8> {
    success_with("running", running)
}

/// getMeetings from `<meeting>` elements.
pub fn meetings(fragments: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    list("meetings", fragments, "noMeetings", "no meetings were found on this server")
}

/// getSessions from its `<meeting>` elements.
pub fn sessions(fragments: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    list("sessions", fragments, "noSessions", "no sessions were found on this server")
}

/// getRecordings from `<recording>` elements; `pagination` when the caller asked for a page.
pub fn recordings(fragments: impl Iterator<Item = impl AsRef<[u8]>>, pagination: Option<Pagination>) -> Vec<u8> {
    let mut xml = response("SUCCESS");
    xml.open("recordings");
    let mut is_empty = true;
    for fragment in fragments {
        xml.raw(fragment.as_ref());
        is_empty = false;
    }
    xml.close("recordings");
    if is_empty {
        xml.text("messageKey", "noRecordings").text("message", "There are no recordings for the meeting(s).");
    }
    if let Some(Pagination { offset, limit, total }) = pagination {
        xml.open("pagination").open("pageable");
        xml.plain("offset", offset).plain("limit", limit).plain("paged", true).plain("unpaged", false);
        xml.close("pageable").plain("totalElements", total).plain("empty", is_empty).close("pagination");
    }
    end(xml)
}

/// publishRecordings.
pub fn published(published: bool) -> Vec<u8> {
    success_with("published", published)
}

/// deleteRecordings.
pub fn deleted() -> Vec<u8> {
    success_with("deleted", true)
}

/// updateRecordings.
pub fn updated(updated: bool) -> Vec<u8> {
    success_with("updated", updated)
}

/// A create answer (section 3.4).
fn created(created: &Created) -> Vec<u8> {
    let mut xml = response("SUCCESS");
    xml.text("meetingID", created.meeting_id.as_str());
    xml.text("internalMeetingID", created.internal_id.as_str());
    xml.text("parentMeetingID", created.parent.as_ref().map_or(NO_PARENT, |parent| parent.as_str()));
    passwords(&mut xml, created);
    xml.plain("createTime", created.create_time);
    xml.text("voiceBridge", &created.voice_bridge);
    xml.text("dialNumber", &created.dial_number);
    xml.text("createDate", &created.create_date);
    xml.plain("hasUserJoined", created.has_user_joined);
    xml.plain("duration", created.duration);
    xml.plain("hasBeenForciblyEnded", created.forcibly_ended);
    xml.text("messageKey", &created.message_key);
    xml.text("message", &created.message);
    end(xml)
}

/// getMeetingInfo from a `<meeting>` element of getMeetings, which has the same children.
pub fn meeting_info(fragment: &[u8]) -> Vec<u8> {
    let mut xml = response_with("SUCCESS", fragment.len());
    let children = fragment.strip_prefix(b"<meeting>").and_then(|rest| rest.strip_suffix(b"</meeting>"));
    xml.raw(children.unwrap_or_default());
    end(xml)
}

/// The answer of a create that timed out but did happen, rebuilt from getMeetingInfo.
pub fn created_from_meeting(meeting: &Meeting) -> Vec<u8> {
    created(&Created::from(meeting))
}

/// BBB leaves blank passwords out.
pub(crate) fn passwords(xml: &mut Writer, created: &Created) {
    for (name, password) in [("attendeePW", &created.attendee_pw), ("moderatorPW", &created.moderator_pw)] {
        if let Some(password) = password {
            xml.text(name, password.reveal());
        }
    }
}

fn list(name: &str, fragments: impl Iterator<Item = impl AsRef<[u8]>>, none_key: &str, none_message: &str) -> Vec<u8> {
    let mut xml = response("SUCCESS");
    let mut fragments = fragments.peekable();
    if fragments.peek().is_none() {
        xml.raw(b"<").raw(name.as_bytes()).raw(b"/>");
        xml.text("messageKey", none_key).text("message", none_message);
        return end(xml);
    }
    xml.open(name);
    for fragment in fragments {
        xml.raw(fragment.as_ref());
    }
    xml.close(name);
    end(xml)
}

fn success_with(name: &str, value: bool) -> Vec<u8> {
    let mut xml = response("SUCCESS");
    xml.plain(name, value);
    end(xml)
}

fn response(returncode: &str) -> Writer {
    response_with(returncode, 0)
}

/// With room for so many bytes of other elements.
fn response_with(returncode: &str, more: usize) -> Writer {
    let mut xml = Writer::with_room(more + 128);
    xml.open("response").text("returncode", returncode);
    xml
}

fn end(mut xml: Writer) -> Vec<u8> {
    xml.close("response");
    xml.finish()
}

fn json(response: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a, T> {
        response: &'a T,
    }
    // A struct of strings always serialises; an empty body would be the answer if it did not.
    serde_json::to_vec_pretty(&Answer { response }).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bbb::new_meeting::{NewMeeting, new_meeting_fragment};
    use crate::bbb::params::Params;
    use crate::bbb::read::{read_created, read_meeting_info, read_meetings, read_reply, read_sessions};
    use crate::bbb::recording::read_recordings;
    use crate::bbb::version::{Generation, read_version};
    use crate::ids::{BbbMeetingId, InternalId, Secret};

    fn text(answer: Vec<u8>) -> String {
        String::from_utf8(answer).unwrap()
    }

    fn fresh() -> Created {
        Created {
            meeting_id: BbbMeetingId::new("a<b>"),
            internal_id: InternalId::new("f00-1700000000000"),
            parent: None,
            attendee_pw: Some(Secret::new("ap&")),
            moderator_pw: None,
            create_time: 1_700_000_000_000,
            voice_bridge: "71234".to_owned(),
            dial_number: "613-555-1234".to_owned(),
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
    fn refusals_have_bbbs_form() {
        assert_eq!(
            text(failed("notFound", "no <such> meeting\u{1}")),
            "<response><returncode>FAILED</returncode><messageKey>notFound</messageKey>\
             <message>no &lt;such&gt; meeting</message></response>"
        );
        let json: serde_json::Value = serde_json::from_slice(&failed_json("k", "\"m\"")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"response": {"returncode": "FAILED", "messageKey": "k", "message": "\"m\""}})
        );
    }

    #[test]
    fn version_reveals_nothing() {
        let version = read_version(&version_xml()).unwrap();
        assert_eq!((version.api.as_str(), version.bbb.as_deref(), version.has_graphql), ("2.0", None, false));
        assert_eq!(version.generation(), Some(Generation::V2_6));
        let json: serde_json::Value = serde_json::from_slice(&version_json()).unwrap();
        assert_eq!(json["response"]["bbbVersion"], "");
        assert_eq!(json["response"]["version"], "2.0");
    }

    #[test]
    fn small_answers() {
        assert_eq!(text(running(true)), "<response><returncode>SUCCESS</returncode><running>true</running></response>");
        assert_eq!(
            text(published(false)),
            "<response><returncode>SUCCESS</returncode><published>false</published></response>"
        );
        assert_eq!(text(deleted()), "<response><returncode>SUCCESS</returncode><deleted>true</deleted></response>");
        assert_eq!(text(updated(true)), "<response><returncode>SUCCESS</returncode><updated>true</updated></response>");
    }

    #[test]
    fn empty_lists_say_so() {
        let none: [&str; 0] = [];
        assert_eq!(
            text(meetings(none.iter())),
            "<response><returncode>SUCCESS</returncode><meetings/><messageKey>noMeetings</messageKey>\
             <message>no meetings were found on this server</message></response>"
        );
        assert_eq!(read_meetings(&meetings(none.iter())).unwrap().meetings, []);
        assert_eq!(read_reply(&sessions(none.iter())).unwrap().key, "noSessions");
        assert_eq!(read_reply(&recordings(none.iter(), None)).unwrap().key, "noRecordings");
        assert!(text(recordings(none.iter(), None)).contains("<recordings></recordings>"));
    }

    #[test]
    fn lists_hold_fragments_as_they_are() {
        let session = "<meeting> <meetingID>f00-1</meetingID><userName>A</userName></meeting>";
        let answer = sessions([session].iter());
        assert_eq!(&read_sessions(&answer).unwrap()[0].xml[..], session.as_bytes());

        let recording = "<recording><recordID>f00-1</recordID></recording>";
        let answer =
            text(recordings([recording, recording].iter(), Some(Pagination { offset: 4, limit: 2, total: 9 })));
        assert_eq!(read_recordings(answer.as_bytes()).unwrap().len(), 2);
        assert!(answer.ends_with(
            "</recordings><pagination><pageable><offset>4</offset><limit>2</limit><paged>true</paged>\
             <unpaged>false</unpaged></pageable><totalElements>9</totalElements><empty>false</empty></pagination></response>"
        ));
    }

    #[test]
    fn create_answers_read_back() {
        let answer = created(&fresh());
        assert_eq!(read_created(&answer).unwrap().unwrap(), fresh());
        assert_eq!(
            text(answer),
            "<response><returncode>SUCCESS</returncode><meetingID>a&lt;b&gt;</meetingID>\
             <internalMeetingID>f00-1700000000000</internalMeetingID><parentMeetingID>bbb-none</parentMeetingID>\
             <attendeePW>ap&amp;</attendeePW><createTime>1700000000000</createTime><voiceBridge>71234</voiceBridge>\
             <dialNumber>613-555-1234</dialNumber><createDate>Tue Nov 14 22:13:20 UTC 2023</createDate>\
             <hasUserJoined>false</hasUserJoined><duration>90</duration>\
             <hasBeenForciblyEnded>false</hasBeenForciblyEnded><messageKey></messageKey><message></message></response>"
        );
    }

    #[test]
    fn a_lost_create_answer_is_rebuilt() {
        let fragment = text(new_meeting_fragment(&NewMeeting::from_create(&fresh(), &Params::default())));
        let children = fragment.strip_prefix("<meeting>").unwrap().strip_suffix("</meeting>").unwrap();
        let answer = format!("<response><returncode>SUCCESS</returncode>{children}</response>");
        let meeting = read_meeting_info(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(created_from_meeting(&meeting), created(&fresh()));
    }
}
