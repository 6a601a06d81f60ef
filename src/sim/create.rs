//! `create`: checks, idempotency, the new meeting (bbb-api.md sections 1.4 and 3.4).
//!
//! A repeated create changes nothing: it describes the meeting that exists, or says that the passwords differ.

use hyper::{Method, StatusCode};

use super::answer::{Answer, Refusal};
use super::api;
use super::call::{Call, FORM, MULTIPART};
use super::meetings::{SimDocument, SimMeeting, java_date};
use super::modules::{self, Modules};
use super::server::Shared;
use super::version::SimVersion;
use super::world::{World, derived_id, internal_id};
use super::xml::Xml;

/// Makes a meeting, or says what it is if it exists.
pub(super) fn create(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "create", check) {
        return api::refused(refusal, generation);
    }
    // Read while the parameters are: nothing is registered yet.
    if call.text("groups").is_some_and(|groups| serde_json::from_str::<serde_json::Value>(groups).is_err()) {
        return Answer::status_page(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let meeting_id = call.text("meetingID").unwrap_or_default();
    let mut world = shared.world.lock();
    if let Some(existing) = world.same_meeting(meeting_id) {
        return repeated(&world.meetings[existing], call, generation);
    }
    let parent = match parent_of(&world, call, generation) {
        Ok(parent) => parent,
        Err(refusal) => return refusal.answer(),
    };
    if ["voiceBridge", "webVoice"].iter().filter_map(|name| call.text(name)).any(|it| world.is_voice_bridge_used(it)) {
        return Answer::failed_list("nonUniqueVoiceBridge", "The selected voice bridge is already in use.");
    }
    let created = register(&mut world, call, meeting_id, parent);
    // The documents are read after the meeting is registered: a body that fails leaves a meeting behind.
    match documents(call) {
        Modules::Documents(documents) => world.meetings[created].documents = documents,
        Modules::BadFileName => return Answer::failed("fileNameError", "The file name cannot be decoded"),
        Modules::Malformed => return Answer::status_page(StatusCode::INTERNAL_SERVER_ERROR),
    }
    described(&world.meetings[created], "", "")
}

fn check(call: &Call, generation: SimVersion) -> Option<Refusal> {
    let by_id = api::check_meeting_id(call, generation);
    if by_id.is_some() || !generation.has_validation() {
        return by_id;
    }
    let name_length = call.text("name").map_or(0, |name| name.chars().count());
    if !(2..=256).contains(&name_length) {
        return Some(Refusal::new("validationError", "Meeting name must be between 2 and 256 characters"));
    }
    if call.text("voiceBridge").is_some_and(|bridge| !bridge.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some(Refusal::new("validationError", "Voice bridge must be a integer"));
    }
    api::check_password(call, "attendeePW")
        .or_else(|| api::check_password(call, "moderatorPW"))
        .or_else(|| api::check_boolean(call, "record", "Record must be a boolean value (true or false)"))
}

fn repeated(existing: &SimMeeting, call: &Call, generation: SimVersion) -> Answer {
    let is_same = match (call.text("attendeePW"), call.text("moderatorPW")) {
        (None, None) => generation.forgives_missing_passwords(),
        (Some(attendee), Some(moderator)) => {
            attendee == existing.attendee_password && moderator == existing.moderator_password
        }
        _ => false,
    };
    if !is_same {
        return Answer::failed(
            "idNotUnique",
            "A meeting already exists with that meeting ID.  Please use a different meeting ID.",
        );
    }
    let warning = "This conference was already in existence and may currently be in progress.";
    described(existing, "duplicateWarning", warning)
}

/// The parent's index, of a breakout room. Only 3.0 insists on one.
fn parent_of(world: &World, call: &Call, generation: SimVersion) -> Result<Option<usize>, Refusal> {
    if !call.is("isBreakout", "true") {
        return Ok(None);
    }
    let parent = call.text("parentMeetingID").map(|id| world.find(id, generation));
    match parent {
        Some(Some(index)) => Ok(Some(index)),
        None if generation.has_graphql() => {
            Err(Refusal::new("parentMeetingIDMissing", "No parent meeting ID was provided for the breakout room."))
        }
        Some(None) if generation.has_graphql() => {
            Err(Refusal::new("parentMeetingDoesNotExist", "No parent meeting exists for the breakout room."))
        }
        _ => Ok(None),
    }
}

fn register(world: &mut World, call: &Call, meeting_id: &str, parent: Option<usize>) -> usize {
    let create_time = world.next_create_time();
    let mut meeting = SimMeeting::new(meeting_id, internal_id(meeting_id, create_time), create_time);
    meeting.name = call.text("name").unwrap_or_default().to_owned();
    if let Some(password) = call.text("attendeePW") {
        password.clone_into(&mut meeting.attendee_password);
    }
    if let Some(password) = call.text("moderatorPW") {
        password.clone_into(&mut meeting.moderator_password);
    }
    meeting.voice_bridge = call.text("voiceBridge").map_or_else(|| world.free_voice_bridge(), str::to_owned);
    meeting.web_voice = call.text("webVoice").unwrap_or(&meeting.voice_bridge).to_owned();
    if let Some(number) = call.text("dialNumber") {
        number.clone_into(&mut meeting.dial_number);
    }
    meeting.duration = call.number("duration").unwrap_or(0);
    meeting.max_users = call.number("maxParticipants").unwrap_or(0);
    meeting.is_recorded = call.is("record", "true");
    if let Some(policy) = call.text("guestPolicy") {
        policy.clone_into(&mut meeting.guest_policy);
    }
    meeting.allow_requests_without_session = call.is("allowRequestsWithoutSession", "true");
    meeting.disabled_features =
        call.text("disabledFeatures").unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
    meeting.metadata = call.metadata();
    meeting.parameters = call.parameters().iter().filter(|(name, _)| name != "checksum").cloned().collect();
    meeting.is_breakout = call.is("isBreakout", "true");
    meeting.sequence = call.number("sequence").unwrap_or(0);
    meeting.is_free_join = call.is("freeJoin", "true");
    if let Some(parent) = parent {
        let parent = &mut world.meetings[parent];
        meeting.parent_internal_id = Some(parent.internal_id.clone());
        meeting.meeting_id = derived_id(&parent.internal_id, create_time, meeting.sequence);
        parent.breakout_rooms.push(meeting.meeting_id.clone());
    }
    world.meetings.push(meeting);
    world.meetings.len() - 1
}

fn documents(call: &Call) -> Modules {
    let media_type = call.media_type();
    if call.method != Method::POST || !call.has_body || media_type == FORM || media_type == MULTIPART {
        return Modules::Documents(by_parameter(call));
    }
    modules::read(&call.body)
}

/// `preUploadedPresentation` (section 4.2).
fn by_parameter(call: &Call) -> Vec<SimDocument> {
    let Some(url) = call.text("preUploadedPresentation") else { return Vec::new() };
    let mut attributes = vec![("url".to_owned(), url.to_owned())];
    if let Some(name) = call.text("preUploadedPresentationName") {
        attributes.push(("filename".to_owned(), name.to_owned()));
    }
    vec![SimDocument { attributes, content: String::new() }]
}

fn described(meeting: &SimMeeting, key: &str, message: &str) -> Answer {
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("meetingID", &meeting.meeting_id);
    xml.leaf("internalMeetingID", &meeting.internal_id);
    xml.leaf("parentMeetingID", meeting.parent_internal_id.as_deref().unwrap_or("bbb-none"));
    xml.leaf("attendeePW", &meeting.attendee_password);
    xml.leaf("moderatorPW", &meeting.moderator_password);
    xml.leaf("createTime", meeting.create_time);
    xml.leaf("voiceBridge", &meeting.voice_bridge);
    xml.leaf("dialNumber", &meeting.dial_number);
    xml.leaf("createDate", java_date(meeting.create_time));
    xml.leaf("hasUserJoined", meeting.has_user_joined);
    xml.leaf("duration", meeting.duration);
    xml.leaf("hasBeenForciblyEnded", meeting.has_ended());
    xml.leaf("messageKey", key);
    xml.leaf("message", message);
    Answer::xml(xml)
}
