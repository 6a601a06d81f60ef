//! The live-meeting calls besides `create` and `join` (bbb-api.md sections 3.5 and 3.7).
//!
//! Each function is one call: checks, then the work under the lock, then the answer.

use hyper::StatusCode;

use super::answer::{Answer, Refusal};
use super::api;
use super::call::Call;
use super::describe::{self, Shape};
use super::meetings::SimChatMessage;
use super::modules::{self, Modules};
use super::server::Shared;
use super::version::SimVersion;
use super::xml::Xml;

const NOT_FOUND: Refusal = Refusal::new("notFound", "We could not find a meeting with that meeting ID");
const WRONG_PASSWORD: Refusal = Refusal::new("invalidPassword", "You did not supply the correct password");

fn nothing(_: &Call, _: SimVersion) -> Option<Refusal> {
    None
}

/// Ends a meeting and its breakout rooms.
pub(super) fn end(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "end", api::check_meeting_id) {
        return api::refused(refusal, generation);
    }
    let mut world = shared.world.lock();
    let password = call.text("password");
    let Some(index) = world.find(call.text("meetingID").unwrap_or_default(), generation) else {
        // Since 2.4 a password that can match nothing is a second violation, and the one that is told (section 3.2).
        let is_password_told = generation.has_validation() && password.is_some();
        return if is_password_told { WRONG_PASSWORD } else { NOT_FOUND }.answer();
    };
    let is_right = match password {
        Some(password) => password == world.meetings[index].moderator_password,
        None => !generation.end_needs_password(),
    };
    if !is_right {
        return WRONG_PASSWORD.answer();
    }
    if shared.options.end_takes.is_zero() {
        world.end(index, shared.options.end_lingers);
    } else {
        world.end_later(index, shared.options.end_takes);
    }
    shared.trouble.sessions_changed();
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("messageKey", "sentEndMeetingRequest");
    xml.leaf("message", "A request to end the meeting was sent. Please wait a few seconds, and then use the getMeetingInfo or isMeetingRunning API calls to verify that it was ended");
    Answer::xml(xml)
}

/// An unknown meeting is not running; it is no error.
pub(super) fn is_meeting_running(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "isMeetingRunning", api::check_meeting_id) {
        return api::refused(refusal, generation);
    }
    let world = shared.world.lock();
    let found = world.find(call.text("meetingID").unwrap_or_default(), generation);
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("running", found.is_some_and(|index| world.meetings[index].is_running()));
    Answer::xml(xml)
}

/// One meeting with everything about it.
pub(super) fn get_meeting_info(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "getMeetingInfo", api::check_meeting_id) {
        return api::refused(refusal, generation);
    }
    let world = shared.world.lock();
    let Some(index) = world.find(call.text("meetingID").unwrap_or_default(), generation) else {
        return NOT_FOUND.answer();
    };
    let mut xml = Xml::response("SUCCESS");
    describe::meeting(&mut xml, &world.meetings[index], generation, Shape::Info);
    Answer::cacheable_xml(xml)
}

/// All meetings, breakout rooms among them.
pub(super) fn get_meetings(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "getMeetings", nothing) {
        return api::refused(refusal, generation);
    }
    let world = shared.world.lock();
    let mut xml = Xml::response("SUCCESS");
    if world.meetings.is_empty() {
        xml.empty("meetings");
        xml.leaf("messageKey", "noMeetings");
        xml.leaf("message", "no meetings were found on this server");
        return Answer::xml(xml);
    }
    xml.open("meetings");
    for meeting in &world.meetings {
        xml.open("meeting");
        describe::meeting(&mut xml, meeting, generation, Shape::ListEntry);
        xml.close();
    }
    Answer::xml(xml)
}

/// Who is in which meeting, by internal ID.
pub(super) fn get_sessions(shared: &Shared, call: &Call) -> Answer {
    if let Some(refusal) = api::refusal(shared, call, "getSessions", nothing) {
        return api::refused(refusal, shared.options.generation);
    }
    let world = shared.world.lock();
    let mut xml = Xml::response("SUCCESS");
    if world.sessions.is_empty() {
        xml.empty("sessions");
        xml.leaf("messageKey", "noSessions");
        xml.leaf("message", "no sessions were found on this server");
        return Answer::xml(xml);
    }
    xml.open("sessions");
    for session in world.sessions.values() {
        let meeting = world.meetings.iter().find(|meeting| meeting.internal_id == session.internal_meeting_id);
        xml.open("meeting");
        xml.leaf("meetingID", &session.internal_meeting_id);
        xml.leaf("meetingName", meeting.map_or("", |meeting| &meeting.name));
        xml.leaf("userName", &session.full_name);
        xml.close();
    }
    Answer::xml(xml)
}

/// Adds documents to a running meeting. Its answers have no messageKey.
pub(super) fn insert_document(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "insertDocument", api::check_meeting_id) {
        return api::refused(refusal, generation);
    }
    let mut world = shared.world.lock();
    let Some(index) = world.find(call.text("meetingID").unwrap_or_default(), generation) else {
        return message_only("FAILED", "Meeting not found");
    };
    let meeting = &mut world.meetings[index];
    if meeting.disabled_features.iter().any(|feature| feature == "presentation") {
        return message_only("FAILED", "Presentation feature is disabled");
    }
    match modules::read(&call.body) {
        Modules::Malformed => Answer::status_page(StatusCode::INTERNAL_SERVER_ERROR),
        Modules::BadFileName => Answer::failed("fileNameError", "The file name cannot be decoded"),
        Modules::Documents(documents) if documents.is_empty() => Answer::empty(StatusCode::OK),
        Modules::Documents(documents) => {
            meeting.documents.extend(documents);
            message_only("SUCCESS", "Presentation is being uploaded")
        }
    }
}

fn message_only(returncode: &str, message: &str) -> Answer {
    let mut xml = Xml::response(returncode);
    xml.leaf("message", message);
    Answer::xml(xml)
}

/// Says something in the public chat of a running meeting (3.0).
pub(super) fn send_chat_message(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "sendChatMessage", check_chat) {
        return api::refused(refusal, generation);
    }
    let mut world = shared.world.lock();
    let found = world.find(call.text("meetingID").unwrap_or_default(), generation);
    let Some(index) = found.filter(|index| world.meetings[*index].is_running()) else {
        return Answer::failed("meetingNotFound", "No running meeting was found with that meeting ID");
    };
    world.meetings[index].chat.push(SimChatMessage {
        user_name: call.text("userName").unwrap_or("System").to_owned(),
        message: call.text("message").unwrap_or_default().to_owned(),
    });
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("messageKey", "");
    xml.leaf("message", "");
    Answer::xml(xml)
}

fn check_chat(call: &Call, generation: SimVersion) -> Option<Refusal> {
    let by_id = api::check_meeting_id(call, generation);
    if by_id.is_some() {
        return by_id;
    }
    let message_length = call.text("message").map_or(0, |message| message.chars().count());
    if !(1..=500).contains(&message_length) {
        return Some(Refusal::new("validationError", "Message must be between 1 and 500 characters"));
    }
    let is_long = call.text("userName").is_some_and(|name| name.chars().count() > 255);
    is_long.then_some(Refusal::new("validationError", "User name must be at most 255 characters"))
}
