//! Session-bound API calls: a session token instead of a checksum (bbb-api.md sections 1.2 and 3.7).
//!
//! bbb-web answers them itself, so a missing session is an answer with status 200, not nginx's 401. Addresses in them
//! name the server's own host (`bigbluebutton.web.serverURL`), not the client's base.

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::checksum::HashName;
use super::super::meetings::{SimMeeting, SimRole};
use super::super::server::Shared;
use super::super::world::{GuestStatus, Session};
use super::super::xml::Xml;
use super::session::{Carrier, with_session};

/// `None` if nothing is at that path in this generation.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    let has_graphql = shared.options.generation.has_graphql();
    let work = match call.path.strip_prefix("/bigbluebutton/api/")? {
        "stuns" => stuns as fn(&Shared, &Call) -> Answer,
        "signOut" => sign_out,
        "getJoinUrl" if shared.options.generation.has_validation() => join_url,
        "learningDashboard" if shared.options.generation.has_validation() => dashboard,
        "enter" if !has_graphql => enter,
        "guestWait" if !has_graphql => guest_wait,
        _ => return None,
    };
    let is_known = call.method == Method::GET || call.method == Method::HEAD || call.method == Method::POST;
    is_known.then(|| work(shared, call))
}

fn answered(found: Option<Value>, failed: impl FnOnce() -> Value) -> Answer {
    Answer::json(&found.unwrap_or_else(failed)).with("Cache-Control", "no-cache")
}

fn missing_session(shared: &Shared, call: &Call) -> Value {
    let token = call.text("sessionToken").unwrap_or_default();
    json!({"response": {
        "returncode": "FAILED", "message": "Could not find session.", "messageKey": "missingSession",
        "sessionToken": token, "logoutURL": shared.origin(),
    }})
}

fn stuns(shared: &Shared, call: &Call) -> Answer {
    let host = shared.addr.ip();
    let found = with_session(shared, call, Carrier::Query, |session, _| {
        json!({
            "stunServers": [{"url": format!("stun:{host}:3478")}],
            "turnServers": [{
                "username": format!("1893456000:{}", session.internal_user_id), "password": "simulated",
                "url": format!("turns:{host}:443?transport=tcp"), "ttl": 86_400,
            }],
            "remoteIceCandidates": [],
        })
    });
    let failed = || json!({"returncode": "FAILED", "message": "Could not find session.", "logoutURL": shared.origin()});
    answered(found, failed)
}

/// Always SUCCESS; a valid session leaves its meeting.
fn sign_out(shared: &Shared, call: &Call) -> Answer {
    let leaving = with_session(shared, call, Carrier::Query, |session, _| session.clone());
    if let Some(leaving) = leaving {
        let mut world = shared.world.lock();
        world.sessions.retain(|_, session| session.internal_user_id != leaving.internal_user_id);
        if let Some(meeting) = world.meetings.iter_mut().find(|it| it.internal_id == leaving.internal_meeting_id) {
            meeting.attendees.retain(|attendee| attendee.internal_id != leaving.internal_user_id);
        }
    }
    Answer::xml(Xml::response("SUCCESS"))
}

/// What Java's `URLEncoder` encodes.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// A join link for the same person: the query begins with `&`, and so does what is hashed, always with SHA-1
/// (bbb-api.md section 2.6).
fn join_url(shared: &Shared, call: &Call) -> Answer {
    let found = with_session(shared, call, Carrier::Query, |session, meeting| {
        let twice = |text: &str| {
            let once = utf8_percent_encode(text, FORM).to_string();
            utf8_percent_encode(&once, FORM).to_string()
        };
        let password = match session.role {
            SimRole::Moderator => &meeting.moderator_password,
            SimRole::Viewer => &meeting.attendee_password,
        };
        let query = format!(
            "&fullName={}&meetingID={}&role={}&password={}&existingUserID={}&redirect=true",
            twice(&session.full_name),
            twice(&meeting.meeting_id),
            session.role.as_str(),
            utf8_percent_encode(password, FORM),
            session.internal_user_id,
        );
        let checksum = HashName::Sha1.hex(&format!("join{query}{}", shared.options.secret.reveal()));
        let url = format!("{}/bigbluebutton/api/join?{query}&checksum={checksum}", shared.origin());
        json!({"response": {"returncode": "SUCCESS", "message": "Join URL provided successfully.", "url": url}})
    });
    answered(found, || missing_session(shared, call))
}

/// For moderators only; `data` is a string that holds JSON.
fn dashboard(shared: &Shared, call: &Call) -> Answer {
    let found = with_session(shared, call, Carrier::Query, |session, meeting| {
        let data = json!({"extId": meeting.meeting_id, "intId": meeting.internal_id, "name": meeting.name,
            "users": meeting.attendees.iter().map(|it| it.full_name.clone()).collect::<Vec<_>>()});
        (session.role == SimRole::Moderator).then(
            || json!({"response": {"returncode": "SUCCESS", "data": data.to_string(), "sessionToken": session.token}}),
        )
    });
    answered(found.flatten(), || missing_session(shared, call))
}

fn enter(shared: &Shared, call: &Call) -> Answer {
    let found = with_session(shared, call, Carrier::Query, |session, meeting| {
        json!({"response": {
            "returncode": "SUCCESS", "fullname": session.full_name, "confname": meeting.name,
            "meetingID": meeting.internal_id, "externMeetingID": meeting.meeting_id,
            "internalUserID": session.internal_user_id, "role": session.role.as_str(),
            "isBreakout": meeting.is_breakout, "guestStatus": session.guest_status.as_str(),
        }})
    });
    answered(found, || missing_session(shared, call))
}

/// The lobby's poll; a guest who was let in goes to the client unless `redirect=false`.
fn guest_wait(shared: &Shared, call: &Call) -> Answer {
    let client = |token: &str| format!("{}/html5client/join?sessionToken={token}", shared.client_base());
    let poll = |session: &Session, meeting: &SimMeeting| {
        let (key, message) = match session.guest_status {
            GuestStatus::Allow => ("guestAllow", "Guest allowed"),
            GuestStatus::Wait => ("guestWait", "Guest waiting for approval to join meeting."),
            GuestStatus::Deny => ("guestDeny", "Guest denied."),
        };
        let told = json!({"response": {
            "returncode": "SUCCESS", "messageKey": key, "message": message, "meeting_id": meeting.internal_id,
            "user_id": session.internal_user_id, "auth_token": "", "session_token": session.token,
            "guestStatus": session.guest_status.as_str(), "lobbyMessage": "", "url": client(&session.token),
            "positionInWaitingQueue": "1",
        }});
        (session.clone(), told)
    };
    let Some((session, told)) = with_session(shared, call, Carrier::Query, poll) else {
        return Answer::json(&missing_session(shared, call));
    };
    if session.guest_status == GuestStatus::Allow && !call.is("redirect", "false") {
        return Answer::redirect(&client(&session.token));
    }
    Answer::json(&told)
}
