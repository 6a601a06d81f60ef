//! Which call a path means, which methods and content types it takes, and the checks before every call.
//!
//! The order of checks differs between generations (bbb-api.md section 2.7): since 2.4 the checksum comes first; before
//! that, and in recording calls, a missing checksum, then missing parameters, then the digest.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::answer::{Answer, Refusal};
use super::call::{Call, FORM, MULTIPART};
use super::checksum::{self, Signed};
use super::server::Shared;
use super::version::SimVersion;
use super::xml::Xml;
use super::{client, create, join, meeting_calls, recording_calls, text_tracks};

const BASE: &str = "/bigbluebutton/api/";
/// Name of the version call, which has none of its own.
const INDEX: &str = "index";

/// `create`, `hooks/list`, …; `index` for the version call; the path itself outside the API.
pub(super) fn call_name(path: &str) -> &str {
    match path {
        "/bigbluebutton" | "/bigbluebutton/" | "/bigbluebutton/api" | BASE => INDEX,
        other => other.strip_prefix(BASE).unwrap_or(other),
    }
}

/// Answers one request, faults aside.
pub(super) fn answer(shared: &Shared, call: &Call) -> Answer {
    // The servlet container's own rule (section 2.5).
    if call.raw_query.contains(['[', ']', '{', '}', '|', '"', '<', '>', '\\', '^']) {
        return Answer::status_page(StatusCode::BAD_REQUEST);
    }
    shared.world.lock().sweep(shared.options.end_lingers);
    let generation = shared.options.generation;
    let name = call_name(&call.path);
    let Some((methods, work)) = route(name, generation) else {
        return client::answer(shared, call).unwrap_or_else(|| Answer::status_page(StatusCode::NOT_FOUND));
    };
    if !methods.allow(&call.method) {
        // 404 or 405 is not known (section 8).
        return Answer::status_page(StatusCode::METHOD_NOT_ALLOWED);
    }
    work(shared, call)
}

#[derive(Clone, Copy)]
enum Methods {
    Any,
    Get,
    Post,
    GetAndPost,
}

impl Methods {
    fn allow(self, method: &Method) -> bool {
        let is_get = method == Method::GET || method == Method::HEAD;
        match self {
            Self::Any => true,
            Self::Get => is_get,
            Self::Post => method == Method::POST,
            Self::GetAndPost => is_get || method == Method::POST,
        }
    }
}

type Work = fn(&Shared, &Call) -> Answer;

/// Section 1: what exists in a generation, and by which methods.
fn route(name: &str, generation: SimVersion) -> Option<(Methods, Work)> {
    let get_since_2_6 = if generation.publishes_by_get_only() { Methods::Get } else { Methods::GetAndPost };
    let join_methods = if generation.checks_content_type() { Methods::Get } else { Methods::GetAndPost };
    Some(match name {
        INDEX => (Methods::Any, index as Work),
        "create" => (Methods::GetAndPost, create::create),
        "join" => (join_methods, join::join),
        "end" => (Methods::GetAndPost, meeting_calls::end),
        "isMeetingRunning" => (Methods::GetAndPost, meeting_calls::is_meeting_running),
        "getMeetingInfo" => (Methods::GetAndPost, meeting_calls::get_meeting_info),
        "getMeetings" => (Methods::GetAndPost, meeting_calls::get_meetings),
        "getSessions" => (Methods::GetAndPost, meeting_calls::get_sessions),
        "insertDocument" if generation.has_insert_document() => (Methods::Post, meeting_calls::insert_document),
        "sendChatMessage" if generation.has_graphql() => (Methods::Get, meeting_calls::send_chat_message),
        "getRecordings" => (Methods::GetAndPost, recording_calls::get_recordings),
        "publishRecordings" => (get_since_2_6, recording_calls::publish_recordings),
        "deleteRecordings" => (get_since_2_6, recording_calls::delete_recordings),
        "updateRecordings" => (Methods::GetAndPost, recording_calls::update_recordings),
        "getRecordingTextTracks" => (Methods::GetAndPost, text_tracks::get),
        "putRecordingTextTrack" => (Methods::Post, text_tracks::put),
        _ => return None,
    })
}

/// Section 3.3.
fn index(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    let release = if shared.options.reveal_version { generation.release() } else { "" };
    let authority = shared.client_base();
    let secure = authority.replacen("http", "ws", 1);
    let (socket, rest) = (format!("{secure}/graphql"), format!("{authority}/api/rest"));
    const PLUGIN_SDK: &str = "0.0.95";
    if generation.has_graphql() && call.media_type() == "application/json" {
        return Answer::json(&json!({"response": {
            "returncode": "SUCCESS", "version": "2.0", "apiVersion": "2.0", "bbbVersion": release,
            "graphqlWebsocketUrl": socket, "graphqlApiUrl": rest, "html5PluginSdkVersion": PLUGIN_SDK,
        }}))
        .with("Cache-Control", "no-cache");
    }
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("version", "2.0");
    if generation.has_api_version() {
        xml.leaf("apiVersion", "2.0");
        xml.leaf("bbbVersion", release);
    }
    if generation.has_graphql() {
        xml.leaf("html5PluginSdkVersion", PLUGIN_SDK);
        xml.leaf("graphqlWebsocketUrl", socket);
        xml.leaf("graphqlApiUrl", rest);
    }
    Answer::xml(xml)
}

/// A check on parameters: the reason to refuse, or `None`.
pub(super) type Check = fn(&Call, SimVersion) -> Option<Refusal>;

const OLD_CHECKSUM_TEXT: &str = "You did not pass the checksum security check";
const NEW_CHECKSUM_TEXT: &str = "Checksums do not match";

/// The checks before a live-meeting call.
pub(super) fn refusal(shared: &Shared, call: &Call, name: &str, check: Check) -> Option<Refusal> {
    let generation = shared.options.generation;
    if !generation.has_validation() {
        return old_refusal(shared, call, name, check);
    }
    if !has_valid_checksum(shared, call, name) {
        return Some(Refusal::new("checksumError", NEW_CHECKSUM_TEXT));
    }
    content_type_refusal(call, name, generation).or_else(|| check(call, generation))
}

/// The checks before a recording call, and before any call up to 2.3.
pub(super) fn old_refusal(shared: &Shared, call: &Call, name: &str, check: Check) -> Option<Refusal> {
    let wrong = Refusal::new("checksumError", OLD_CHECKSUM_TEXT);
    if call.text("checksum").is_none() && !shared.options.secret.is_empty() {
        return Some(wrong);
    }
    let generation = shared.options.generation;
    let missing = check(call, generation);
    // Join compares the digest before it looks at parameters, in 2.3 too.
    if name != "join" && missing.is_some() {
        return missing;
    }
    if !has_valid_checksum(shared, call, name) {
        return Some(wrong);
    }
    content_type_refusal(call, name, generation).or(missing)
}

/// The refusal in the envelope of its generation (section 3.1): up to 2.3 missing parameters come as a list.
pub(super) fn refused(refusal: Refusal, generation: SimVersion) -> Answer {
    if !generation.has_validation() && refusal.key.starts_with("missingParam") {
        return Answer::failed_list(refusal.key, refusal.message);
    }
    refusal.answer()
}

fn has_valid_checksum(shared: &Shared, call: &Call, name: &str) -> bool {
    let options = &shared.options;
    let signed = Signed {
        call: name,
        raw_query: &call.raw_query,
        parameters: call.parameters(),
        checksum: call.given("checksum").unwrap_or_default(),
    };
    checksum::is_valid(&signed, options.secret.reveal(), options.generation, &options.algorithms)
}

/// Section 4.1.
fn content_type_refusal(call: &Call, name: &str, generation: SimVersion) -> Option<Refusal> {
    if !generation.checks_content_type() || !call.has_body {
        return None;
    }
    let media_type = call.media_type();
    let is_xml = media_type == "application/xml" || media_type == "text/xml";
    let is_form = media_type == FORM || media_type == MULTIPART;
    let is_allowed = match name {
        "create" => is_form || is_xml,
        "insertDocument" => is_xml,
        _ => is_form,
    };
    (!is_allowed).then_some(Refusal::new("unsupportedContentType", "The content type of the request is not supported"))
}

/// `meetingID`: present; since 2.4 also 2 to 256 characters, no comma, nothing to clean (section 3.2).
pub(super) fn check_meeting_id(call: &Call, generation: SimVersion) -> Option<Refusal> {
    let Some(id) = call.text("meetingID") else {
        return Some(Refusal::new("missingParamMeetingID", "You must specify a meeting ID for the meeting."));
    };
    if !generation.has_validation() {
        return None;
    }
    if call.was_cleaned("meetingID") {
        return Some(Refusal::new("validationError", "Invalid meeting ID"));
    }
    if !(2..=256).contains(&id.chars().count()) {
        return Some(Refusal::new("validationError", "Meeting ID must be between 2 and 256 characters"));
    }
    id.contains(',').then_some(Refusal::new("validationError", "Meeting ID cannot contain ','"))
}

/// A parameter that is `true` or `false`, if it is given.
pub(super) fn check_boolean(call: &Call, name: &str, message: &'static str) -> Option<Refusal> {
    let value = call.text(name)?;
    (value != "true" && value != "false").then_some(Refusal::new("validationError", message))
}

/// A password of 2 to 64 characters, if it is given (2.4+).
pub(super) fn check_password(call: &Call, name: &str) -> Option<Refusal> {
    let length = call.text(name)?.chars().count();
    (!(2..=64).contains(&length))
        .then_some(Refusal::new("invalidPassword", "The password must be between 2 and 64 characters"))
}
