//! What must hold for everything a BBB server may answer (src/bbb: read, repair, meeting, recording, answer, rewrite).
//!
//! The judge is another XML parser, strict and aware of namespaces: what Usher took from a server and hands on to front
//! ends has to be XML for it too.

use std::ops::Range;

use usher::bbb::{
    self, BadAnswer, Created, Meeting, MeetingList, NewMeeting, Pagination, Recording, Rewrite, internal_prefix,
    read_created, read_meeting_info, read_meetings, read_recordings, read_reply, read_sessions, read_version, rewrite,
};
use usher::ids::BbbMeetingId;

/// Rules that find nothing.
const NO_RULES: Rewrite<'static> = Rewrite { meeting_id: None, hide_meta_prefix: "" };
const OWN_ID: &str = "room <1> & more";
const HIDDEN: &str = "usher-";

pub fn check(body: &[u8]) {
    reads_only_xml(body);
    meetings_are_handed_on(body);
    a_meeting_is_handed_on(body);
    if let Ok(Ok(created)) = read_created(body) {
        a_fresh_meeting_is_shown(&created);
    }
    sessions_are_handed_on(body);
    recordings_are_handed_on(body);
    rewriting_changes_ids_only(body);
    refusals_are_told(body);
    let _ = read_version(body).map(|version| (version.text(), version.generation()));
    let _ = bbb::is_well_formed(body);
}

/// True if strict parsers take `xml`. Prefixes without a namespace are well-formed as such, so that a colon may be any
/// other letter; where Usher promises more, `namespaces` is set.
fn is_strict(xml: &[u8], namespaces: bool) -> bool {
    let Ok(text) = std::str::from_utf8(xml) else { return false };
    if namespaces {
        roxmltree::Document::parse(text).is_ok()
    } else {
        roxmltree::Document::parse(&text.replace(':', "\u{a66e}")).is_ok()
    }
}

#[track_caller]
fn assert_strict(xml: &[u8], namespaces: bool) {
    let text = String::from_utf8_lossy(xml);
    assert!(is_strict(xml, namespaces), "{:?} in {text:?}", roxmltree::Document::parse(&text).err());
}

/// The text that the reader takes for a document; `None` if it takes none.
fn accepted(body: &[u8]) -> Option<Vec<u8>> {
    rewrite(body, &NO_RULES).ok()
}

/// Whatever any reader accepts without repair is a document for a strict parser, and the first half of it is none.
fn reads_only_xml(body: &[u8]) {
    let reply = read_reply(body);
    let Some(text) = accepted(body) else {
        assert!(!matches!(reply, Ok(_) | Err(BadAnswer::NoReturncode)));
        return;
    };
    assert!(matches!(reply, Ok(_) | Err(BadAnswer::NoReturncode)));
    assert_strict(&text, false);
    assert_eq!(accepted(&text).as_ref(), Some(&text), "reading is stable");
    for part in [1, 2, 3, 7] {
        let cut = &body[..body.len() * part / 8];
        let is_whole = accepted(cut).is_some();
        let list = read_meetings(cut);
        assert!(is_whole || !list.is_ok_and(|list| list.unreadable == 0), "half a list is no list");
        assert!(is_whole || read_recordings(cut).is_err() && read_sessions(cut).is_err() && read_created(cut).is_err());
    }
}

fn meetings_are_handed_on(body: &[u8]) {
    let Ok(list) = read_meetings(body) else { return };
    let rendered = bbb::meetings(list.meetings.iter().map(|meeting| &meeting.xml));
    assert_strict(&rendered, true);
    assert_eq!(read_meetings(&rendered), Ok(MeetingList::from(list.meetings.clone())), "{list:?}");
    for meeting in &list.meetings {
        is_shown_alone(meeting);
        is_scoped(meeting);
    }
}

/// As getMeetingInfo and create would answer for it.
fn is_shown_alone(meeting: &Meeting) {
    let shown = bbb::meeting_info(&meeting.xml);
    assert_strict(&shown, true);
    let Ok(Some(read)) = read_meeting_info(&shown) else { panic!("unreadable: {}", String::from_utf8_lossy(&shown)) };
    assert_eq!(Meeting { xml: meeting.xml.clone(), ..read }, *meeting);

    let created = bbb::created_from_meeting(meeting);
    assert_strict(&created, true);
    let expected = Created::from(meeting);
    assert_eq!(read_created(&created), Ok(Ok(expected.clone())));
    let fresh = NewMeeting {
        created: &expected,
        name: &meeting.name,
        max_users: meeting.max_users,
        recording: meeting.recording,
        metadata: meeting.metadata.clone(),
        is_breakout: meeting.is_breakout,
        sequence: 1,
        free_join: true,
    };
    shows(&fresh);
}

fn a_fresh_meeting_is_shown(created: &Created) {
    let metadata = vec![("course".to_owned(), created.message.clone())];
    let fresh = NewMeeting {
        created,
        name: &created.message,
        max_users: 7,
        recording: true,
        metadata,
        is_breakout: created.parent.is_some(),
        sequence: 1,
        free_join: true,
    };
    shows(&fresh);
}

fn shows(fresh: &NewMeeting<'_>) {
    let rendered = bbb::meetings([bbb::new_meeting_fragment(fresh)].iter());
    assert_strict(&rendered, true);
    let list = read_meetings(&rendered).expect("our own answer");
    assert_eq!((list.meetings.len(), list.unreadable, list.repaired), (1, 0, 0));
    let read = &list.meetings[0];
    let created = Created::from(read);
    // What a fresh meeting's element does not carry.
    let parent = if fresh.is_breakout { fresh.created.parent.clone() } else { None };
    let expected = Created {
        parent,
        duplicate: false,
        message_key: String::new(),
        message: String::new(),
        ..fresh.created.clone()
    };
    assert_eq!(created, expected);
    assert_eq!(read.name, fresh.name);
    assert_eq!(read.metadata, fresh.metadata);
}

/// A scoped tenant sees its own id, no metadata of ours, and everything else as it was.
fn is_scoped(meeting: &Meeting) {
    let bbb_id = meeting.meeting_id.as_str();
    let rules = Rewrite { meeting_id: Some((bbb_id, OWN_ID)), hide_meta_prefix: HIDDEN };
    let xml = rewrite(&meeting.xml, &rules).expect("it was read");
    let rendered = bbb::meetings([&xml].into_iter());
    assert_strict(&rendered, true);
    let list = read_meetings(&rendered).expect("our own answer");
    assert_eq!((list.meetings.len(), list.unreadable, list.repaired), (1, 0, 0));
    let mut expected = meeting.clone();
    expected.meeting_id = BbbMeetingId::new(OWN_ID);
    expected.xml = xml.into();
    expected.metadata.retain(|(name, _)| !name.starts_with(HIDDEN));
    for (name, value) in &mut expected.metadata {
        if name == "meetingId" && value == bbb_id {
            *value = OWN_ID.to_owned();
        }
    }
    let made_up = format!("{}-{}", internal_prefix(bbb_id), meeting.create_time);
    if meeting.internal_id.as_str() == made_up {
        expected.internal_id = list.meetings[0].internal_id.clone();
    }
    assert_eq!(list.meetings[0], expected);
}

fn a_meeting_is_handed_on(body: &[u8]) {
    let Ok(Some(meeting)) = read_meeting_info(body) else { return };
    is_shown_alone(&meeting);
    is_scoped(&meeting);
}

fn sessions_are_handed_on(body: &[u8]) {
    let Ok(sessions) = read_sessions(body) else { return };
    let rendered = bbb::sessions(sessions.iter().map(|session| &session.xml));
    assert_strict(&rendered, false);
    assert_eq!(read_sessions(&rendered), Ok(sessions));
}

fn recordings_are_handed_on(body: &[u8]) {
    let Ok(recordings) = read_recordings(body) else { return };
    let pagination = Pagination { offset: 0, limit: 100, total: recordings.len() };
    let rendered = bbb::recordings(recordings.iter().map(|recording| &recording.xml), Some(pagination));
    assert_strict(&rendered, false);
    assert_eq!(read_recordings(&rendered), Ok(recordings.clone()));

    let merged = bbb::merge(vec![recordings.clone(), recordings.clone()]);
    assert!(merged.is_sorted_by(|a, b| a.start_time >= b.start_time));
    let mut ids: Vec<_> = merged.iter().map(|recording| recording.record_id.clone()).collect();
    ids.sort();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "each once");
    assert!(recordings.iter().all(|recording| ids.binary_search(&recording.record_id).is_ok()), "none lost");
    let (page, total): (Vec<Recording>, usize) = bbb::page(merged.clone(), 1, 2);
    assert_eq!((total, &page[..]), (merged.len(), merged.get(1..merged.len().min(3)).unwrap_or_default()));
}

fn rewriting_changes_ids_only(body: &[u8]) {
    let Some(text) = accepted(body) else { return };
    let source = std::str::from_utf8(&text).expect("accepted text");
    // Prefixes of no namespace are a matter for the other checks.
    let Ok(document) = roxmltree::Document::parse(source) else { return };
    let first_id = document.descendants().find(|node| node.has_tag_name("meetingID"));
    let from = first_id.and_then(|node| node.text()).unwrap_or("m").trim().to_owned();
    // Line ends are read as XML says by one parser and as written by ours.
    if source.contains('\r') {
        return;
    }
    for rules in [
        Rewrite { meeting_id: Some((&from, OWN_ID)), hide_meta_prefix: HIDDEN },
        Rewrite { meeting_id: Some((&from, OWN_ID)), hide_meta_prefix: "" },
        Rewrite { meeting_id: None, hide_meta_prefix: "u" },
    ] {
        let out = rewrite(body, &rules).expect("accepted");
        assert_strict(&out, false);
        let prefix = rules.hide_meta_prefix;
        assert_eq!(
            without_places_of_ids(&String::from_utf8_lossy(&out), prefix),
            without_places_of_ids(source, prefix),
            "nothing else changed"
        );
        ids_are_replaced_or_kept(source, &String::from_utf8_lossy(&out), &rules);
        let none_hidden = hidden(&String::from_utf8_lossy(&out), prefix) == 0;
        assert!(prefix.is_empty() || none_hidden, "metadata of ours is left");
    }
}

/// An id that is meant becomes the tenant's own or stays; every other id stays.
fn ids_are_replaced_or_kept(before: &str, after: &str, rules: &Rewrite<'_>) {
    let (old, new) = (outer_ids(before, rules.hide_meta_prefix), outer_ids(after, rules.hide_meta_prefix));
    assert_eq!(old.len(), new.len());
    for ((old_raw, old_text), (new_raw, new_text)) in old.iter().zip(&new) {
        if old_raw != new_raw {
            assert_eq!(rules.meeting_id, Some((old_text.as_str(), new_text.as_str())));
        }
    }
}

/// The elements that may hold a meeting's id, as written and their own text; without those inside one another.
fn outer_ids(xml: &str, prefix: &str) -> Vec<(String, String)> {
    let document = roxmltree::Document::parse(xml).expect("checked before");
    let is_id = |node: roxmltree::Node<'_, '_>| matches!(node.tag_name().name(), "meetingID" | "meetingId");
    let is_gone = |node: roxmltree::Node<'_, '_>| {
        is_hidden(node, prefix) || node.ancestors().skip(1).any(|above| is_id(above) || is_hidden(above, prefix))
    };
    let ids = document.descendants().filter(|node| is_id(*node) && !is_gone(*node));
    ids.map(|node| {
        let text: String = node.children().filter(|child| child.is_text()).filter_map(|child| child.text()).collect();
        (xml[node.range()].to_owned(), text.trim().to_owned())
    })
    .collect()
}

/// `xml` without the elements that may be changed: ids of meetings, and metadata that begins with `prefix`.
fn without_places_of_ids(xml: &str, prefix: &str) -> String {
    let document = roxmltree::Document::parse(xml).expect("checked before");
    let is_id = |name: &str| name == "meetingID" || name == "meetingId";
    let mut places: Vec<Range<usize>> = document
        .descendants()
        .filter(|node| node.is_element())
        .filter(|node| is_id(node.tag_name().name()) || is_hidden(*node, prefix))
        .map(|node| node.range())
        .collect();
    places.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
    let mut kept = String::new();
    let mut from = 0;
    for place in places {
        if place.start >= from {
            kept.push_str(&xml[from..place.start]);
            from = place.end;
        }
    }
    kept + &xml[from..]
}

fn hidden(xml: &str, prefix: &str) -> usize {
    let document = roxmltree::Document::parse(xml).expect("checked before");
    document.descendants().filter(|node| node.is_element() && is_hidden(*node, prefix)).count()
}

/// A child of the metadata of a meeting or a recording.
fn is_hidden(node: roxmltree::Node<'_, '_>, prefix: &str) -> bool {
    let name = |node: roxmltree::Node<'_, '_>| node.tag_name().name().to_owned();
    let Some(list) = node.parent_element().filter(|list| name(*list) == "metadata") else { return false };
    let owner = list.parent_element().map(name);
    let is_owned = owner.is_none_or(|owner| matches!(&*owner, "response" | "meeting" | "recording"));
    !prefix.is_empty() && is_owned && name(node).starts_with(prefix)
}

/// Words of people and servers become an answer in BBB's form, whatever they are.
fn refusals_are_told(words: &[u8]) {
    let words = String::from_utf8_lossy(words);
    let (key, message) = words.split_once(' ').unwrap_or(("key", &words));
    let answer = bbb::failed(key, message);
    assert_strict(&answer, true);
    let reply = read_reply(&answer).expect("our own answer");
    assert!(!reply.success);
    let is_legal = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let legal = |text: &str| text.chars().filter(is_legal).collect::<String>().trim().to_owned();
    assert_eq!((reply.key, reply.message), (legal(key), legal(message)));

    let json: serde_json::Value = serde_json::from_slice(&bbb::failed_json(key, message)).expect("JSON");
    let told = &json["response"];
    assert_eq!((told["messageKey"].as_str(), told["message"].as_str()), (Some(key), Some(message)));
    for target in [&*words, "https://lms.example.org/back?a=1#top"] {
        let Some(redirect) = bbb::error_redirect(target, &[(key, message)]) else { continue };
        assert!(redirect.bytes().all(|byte| byte.is_ascii_graphic()), "{redirect}");
        let url = url::Url::parse(&redirect).expect("it was printed by the parser");
        assert!(matches!(url.scheme(), "http" | "https"));
        let (name, value) = url.query_pairs().last().expect("the errors");
        assert_eq!(name, "errors");
        let list: serde_json::Value = serde_json::from_str(&value).expect("JSON");
        assert_eq!((list[0]["key"].as_str(), list[0]["message"].as_str()), (Some(key), Some(message)));
    }
}
