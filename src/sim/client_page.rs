//! What the browser asks the BBB host after join: the client page and the few session-scoped calls worth simulating.
//!
//! The page needs a token this server gave out; the calls also need the cookie of the HTTP session that holds the token,
//! unless the server or the meeting allows requests without session (bbb-api.md section 3.6, bbb-http-surface.md 2.1).

use hyper::StatusCode;
use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::meetings::SimMeeting;
use super::server::Shared;
use super::world::Session;
use super::xml::{Xml, escape_into};

/// `None` if this server has nothing at that path.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    let has_graphql = shared.options.generation.has_graphql();
    Some(match call.path.as_str() {
        "/html5client" | "/html5client/" if has_graphql => page(shared, call, "You are in"),
        "/html5client/join" if !has_graphql => page(shared, call, "You are in"),
        "/html5client/guestWait" if !has_graphql => page(shared, call, "You are waiting for"),
        "/html5client/check" if !has_graphql => Answer::json(&json!({"html5clientStatus": "running"})),
        "/bigbluebutton/rtt-check" if has_graphql => {
            Answer::empty(StatusCode::OK).with("Access-Control-Allow-Origin", "*").with("Cache-Control", "no-store")
        }
        "/api/rest/meetingStaticData" if has_graphql => static_facts(shared, call),
        "/bigbluebutton/api/enter" if !has_graphql => enter(shared, call),
        "/bigbluebutton/api/stuns" => stuns(shared, call),
        "/bigbluebutton/api/signOut" => sign_out(shared, call),
        _ => return None,
    })
}

fn page(shared: &Shared, call: &Call, place: &str) -> Answer {
    let token = call.text("sessionToken").unwrap_or_default();
    let world = shared.world.lock();
    let session = world.sessions.get(token);
    let found = session.and_then(|session| {
        let meeting = world.meetings.iter().find(|meeting| meeting.internal_id == session.internal_meeting_id)?;
        Some((session, meeting))
    });
    let Some((session, meeting)) = found else {
        let text =
            "<!doctype html><html><head><title>401</title></head><body><h1>401 session not found</h1></body></html>";
        return Answer::html(StatusCode::UNAUTHORIZED, text);
    };
    let escaped = |value: &str| {
        let mut text = String::new();
        escape_into(&mut text, value);
        text
    };
    let (name, server) = (escaped(&meeting.name), escaped(&shared.options.name));
    let (person, people) = (escaped(&session.full_name), meeting.people());
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <style>body{{font:18px system-ui,sans-serif;margin:15vh auto;max-width:36em;padding:0 1em}}</style></head>\n\
         <body><h1>{place} {name} on {server}</h1>\n<p>Hello {person}. People here: {people}.</p>\n\
         <p>This is a simulated BigBlueButton server: there is nothing to see or hear.</p></body></html>\n"
    );
    Answer::html(StatusCode::OK, html)
}

/// The session behind token and cookie, with its meeting.
fn with_session<T>(shared: &Shared, call: &Call, use_it: impl FnOnce(&Session, &SimMeeting) -> T) -> Option<T> {
    let token = call.text("sessionToken").or(call.session_header.as_deref())?;
    let world = shared.world.lock();
    let session = world.sessions.get(token)?;
    let meeting = world.meetings.iter().find(|meeting| meeting.internal_id == session.internal_meeting_id)?;
    let is_cookie_needless = shared.options.allow_requests_without_session || meeting.allow_requests_without_session;
    let is_allowed = is_cookie_needless || call.cookie.as_deref() == Some(&session.http_session);
    is_allowed.then(|| use_it(session, meeting))
}

fn static_facts(shared: &Shared, call: &Call) -> Answer {
    let found = with_session(
        shared,
        call,
        |_, meeting| json!({"meeting": [{"meetingId": meeting.internal_id, "extId": meeting.meeting_id, "name": meeting.name}]}),
    );
    found.map_or_else(|| Answer::status_page(StatusCode::UNAUTHORIZED), |facts| Answer::json(&facts))
}

fn enter(shared: &Shared, call: &Call) -> Answer {
    let found = with_session(shared, call, |session, meeting| {
        json!({"response": {
            "returncode": "SUCCESS", "fullname": session.full_name, "confname": meeting.name,
            "meetingID": meeting.internal_id, "externMeetingID": meeting.meeting_id,
            "internalUserID": session.internal_user_id, "isBreakout": meeting.is_breakout,
        }})
    });
    let token = call.text("sessionToken").unwrap_or_default();
    let failed = || {
        Answer::json(&json!({"response": {
            "returncode": "FAILED", "message": "Could not find session.", "messageKey": "missingSession",
            "sessionToken": token, "logoutURL": shared.origin(),
        }}))
    };
    found.map_or_else(failed, |profile| Answer::json(&profile))
}

fn stuns(shared: &Shared, call: &Call) -> Answer {
    let found = with_session(
        shared,
        call,
        |_, _| json!({"stunServers": [{"url": "stun:127.0.0.1:3478"}], "turnServers": [], "remoteIceCandidates": []}),
    );
    let failed = json!({"returncode": "FAILED", "message": "Could not find session.", "logoutURL": shared.origin()});
    Answer::json(&found.unwrap_or(failed))
}

/// Always SUCCESS; a valid session leaves its meeting.
fn sign_out(shared: &Shared, call: &Call) -> Answer {
    let leaving = with_session(shared, call, |session, _| session.clone());
    if let Some(leaving) = leaving {
        let mut world = shared.world.lock();
        world.sessions.retain(|_, session| session.internal_user_id != leaving.internal_user_id);
        if let Some(meeting) = world.meetings.iter_mut().find(|it| it.internal_id == leaving.internal_meeting_id) {
            meeting.attendees.retain(|attendee| attendee.internal_id != leaving.internal_user_id);
        }
    }
    Answer::xml(Xml::response("SUCCESS"))
}
