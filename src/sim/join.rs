//! `join`: who gets in, where the browser goes, and the error redirects (bbb-api.md sections 1.5 and 3.6).
//!
//! A successful join makes the user present at once; a real server waits for the client to connect.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::answer::{Answer, Refusal};
use super::api;
use super::call::Call;
use super::meetings::{SimAttendee, SimMeeting, SimRole};
use super::server::Shared;
use super::version::SimVersion;
use super::world::{GuestStatus, Session, World, random_text};
use super::xml::Xml;

/// Lets one person in, if everything fits.
pub(super) fn join(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::refusal(shared, call, "join", check) {
        let is_plain = !generation.has_validation() && refusal.key == "checksumError";
        return if is_plain { refusal.answer() } else { error_redirect(shared, call, refusal) };
    }
    let mut world = shared.world.lock();
    let Some(index) = world.find(call.text("meetingID").unwrap_or_default(), generation) else {
        let unknown = Refusal::new(
            "invalidMeetingIdentifier",
            "The meeting ID that you supplied did not match any existing meetings",
        );
        return error_redirect(shared, call, unknown);
    };
    let meeting = &world.meetings[index];
    if meeting.has_ended() {
        let ended =
            Refusal::new("meetingForciblyEnded", "You can not re-join a meeting that has already been forcibly ended.");
        return error_redirect(shared, call, ended);
    }
    let Some(role) = role(meeting, call, generation) else {
        if generation.has_validation() {
            return Answer::failed("Params required", "You must enter a valid role or password");
        }
        let wrong = Refusal::new(
            "invalidPassword",
            "You either did not supply a password or the password supplied is neither the attendee or moderator password for this conference.",
        );
        return error_redirect(shared, call, wrong);
    };
    if let Some(refusal) = late_refusal(meeting, call) {
        // Only 3.0 answers these in XML when it is asked to (section 3.6).
        let is_plain = generation.has_graphql() && call.is("redirect", "false");
        return if is_plain { refusal.answer() } else { error_redirect(shared, call, refusal) };
    }
    let status = guest_status(meeting, call);
    if status == GuestStatus::Deny {
        let denied = Refusal::new(
            "guestDeniedAccess",
            "You have been denied access to this meeting based on the meeting's guest policy",
        );
        return denied_guest(shared, call, denied);
    }
    let joined = admit(&mut world, index, call, role, status);
    welcome(shared, call, &joined, status)
}

fn check(call: &Call, generation: SimVersion) -> Option<Refusal> {
    let by_id = api::check_meeting_id(call, generation);
    if by_id.is_some() {
        return by_id;
    }
    if call.text("fullName").is_none() {
        return Some(Refusal::new(
            "missingParamFullName",
            "You must specify a name for the attendee who will be joining the meeting.",
        ));
    }
    if !generation.has_validation() {
        return None;
    }
    api::check_password(call, "password")
        .or_else(|| api::check_boolean(call, "guest", "Guest must be a boolean value (true or false)"))
        .or_else(|| api::check_boolean(call, "auth", "Auth must be a boolean value (true or false)"))
}

/// `role` wins over the password since 2.4; before, only the password counts.
fn role(meeting: &SimMeeting, call: &Call, generation: SimVersion) -> Option<SimRole> {
    if generation.has_validation() {
        match call.text("role").unwrap_or_default().to_ascii_uppercase().as_str() {
            "MODERATOR" => return Some(SimRole::Moderator),
            "VIEWER" => return Some(SimRole::Viewer),
            _ => {}
        }
    }
    let password = call.text("password")?;
    if password == meeting.moderator_password {
        Some(SimRole::Moderator)
    } else {
        (password == meeting.attendee_password).then_some(SimRole::Viewer)
    }
}

fn late_refusal(meeting: &SimMeeting, call: &Call) -> Option<Refusal> {
    if call.text("createTime").is_some() && call.number("createTime") != Some(meeting.create_time.0) {
        return Some(Refusal::new(
            "mismatchCreateTimeParam",
            "The createTime parameter submitted mismatches with the current meeting.",
        ));
    }
    let is_full = meeting.max_users > 0 && meeting.people() >= meeting.max_users;
    is_full.then_some(Refusal::new(
        "maxParticipantsReached",
        "The number of participants allowed for this meeting has been reached.",
    ))
}

fn guest_status(meeting: &SimMeeting, call: &Call) -> GuestStatus {
    if !call.is("guest", "true") {
        return GuestStatus::Allow;
    }
    match meeting.guest_policy.as_str() {
        "ALWAYS_DENY" => GuestStatus::Deny,
        "ASK_MODERATOR" => GuestStatus::Wait,
        "ALWAYS_ACCEPT_AUTH" if !call.is("auth", "true") => GuestStatus::Wait,
        _ => GuestStatus::Allow,
    }
}

fn denied_guest(shared: &Shared, call: &Call, refusal: Refusal) -> Answer {
    let generation = shared.options.generation;
    if !generation.has_validation() {
        let mut xml = Xml::response("SUCCESS");
        xml.leaf("messageKey", "guestDeny");
        xml.leaf("message", "Guest denied.");
        xml.leaf("logoutURL", call.text("logoutURL").map_or_else(|| shared.origin(), str::to_owned));
        return Answer::xml(xml);
    }
    if generation.has_graphql() && call.is("redirect", "false") {
        return refusal.answer();
    }
    error_redirect(shared, call, refusal)
}

/// What the answer needs to know about the new session.
struct Joined {
    internal_meeting_id: String,
    internal_user_id: String,
    token: String,
    http_session: String,
    is_new_http_session: bool,
}

/// A waiting guest gets a session but is not present yet.
fn admit(world: &mut World, index: usize, call: &Call, role: SimRole, status: GuestStatus) -> Joined {
    // One HTTP session of a browser holds the tokens of all its tabs.
    let is_living = |cookie: &&String| world.sessions.values().any(|session| session.http_session == **cookie);
    let known = call.cookies.iter().find(is_living).cloned();
    let is_new_http_session = known.is_none();
    let http_session = known.unwrap_or_else(|| random_text(32).to_ascii_uppercase());
    let meeting = &mut world.meetings[index];
    let internal_user_id = format!("w_{}", random_text(12));
    let full_name = call.text("fullName").unwrap_or_default().to_owned();
    let internal_meeting_id = meeting.internal_id.clone();
    if status == GuestStatus::Allow {
        meeting.has_user_joined = true;
        meeting.attendees.push(SimAttendee {
            internal_id: internal_user_id.clone(),
            user_id: call.text("userID").unwrap_or(&internal_user_id).to_owned(),
            full_name: full_name.clone(),
            role,
            is_guest: call.is("guest", "true"),
            custom: custom(call),
        });
    }
    let token = random_text(16);
    let session = Session {
        http_session: http_session.clone(),
        internal_meeting_id: internal_meeting_id.clone(),
        internal_user_id: internal_user_id.clone(),
        full_name,
        role,
        guest_status: status,
        token: token.clone(),
    };
    world.sessions.insert(token.clone(), session);
    Joined { internal_meeting_id, internal_user_id, token, http_session, is_new_http_session }
}

/// `userdata-key` with exactly one hyphen (section 1.5).
fn custom(call: &Call) -> Vec<(String, String)> {
    let named = call.parameters().iter().filter_map(|(name, value)| Some((name.strip_prefix("userdata-")?, value)));
    named
        .filter(|(key, _)| !key.is_empty() && !key.contains('-'))
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

fn welcome(shared: &Shared, call: &Call, joined: &Joined, status: GuestStatus) -> Answer {
    let generation = shared.options.generation;
    let waits_outside = status == GuestStatus::Wait && !generation.has_graphql();
    let page = match generation.has_graphql() {
        true => "/html5client/",
        false if waits_outside => "/html5client/guestWait",
        false => "/html5client/join",
    };
    let url = format!("{}{page}?sessionToken={}", shared.client_base(), joined.token);
    let answer = if call.is("redirect", "false") {
        let mut xml = Xml::response("SUCCESS");
        xml.leaf("messageKey", if waits_outside { "guestWait" } else { "successfullyJoined" });
        xml.leaf(
            "message",
            if waits_outside { "Guest waiting for approval to join meeting." } else { "You have joined successfully." },
        );
        xml.leaf("meeting_id", &joined.internal_meeting_id);
        xml.leaf("user_id", &joined.internal_user_id);
        xml.leaf("auth_token", random_text(12));
        xml.leaf("session_token", &joined.token);
        xml.leaf("guestStatus", status.as_str());
        xml.leaf("url", url);
        Answer::xml(xml)
    } else if generation.has_graphql() {
        Answer::redirect(&format!("{url}&shouldWaitForLayout=false"))
    } else {
        Answer::redirect(&url)
    };
    if !joined.is_new_http_session {
        return answer;
    }
    let secure = if shared.client().secure_cookie { "; Secure" } else { "" };
    answer.with("Set-Cookie", format!("JSESSIONID={}; Path=/{secure}; HttpOnly", joined.http_session))
}

/// What may not stand in a Location header; everything a URL may contain is left as it came.
const UNSAFE_IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// 302 with the error as a JSON list in the query (form 3).
fn error_redirect(shared: &Shared, call: &Call, refusal: Refusal) -> Answer {
    let has_own_target = shared.options.generation.has_error_redirect_url();
    let own_target = call.text("errorRedirectUrl").filter(|_| has_own_target);
    let target = own_target.or_else(|| call.text("logoutURL")).map_or_else(|| shared.origin(), str::to_owned);
    let target = utf8_percent_encode(&target, UNSAFE_IN_HEADER).to_string();
    let errors = json!([{"key": refusal.key, "message": refusal.message}]).to_string();
    let separator = if target.contains('?') { '&' } else { '?' };
    let errors = utf8_percent_encode(&errors, NON_ALPHANUMERIC);
    Answer::redirect(&format!("{target}{separator}errors={errors}"))
}
