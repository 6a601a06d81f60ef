//! The client page up to 2.7: one page that says where one is (bbb-http-surface.md section 2.3, last part).
//!
//! It shows that the browser came to the right server with a token that the server knows; its script opens what that
//! client opens, and says how it goes as the script of 3.0 does.

use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::server::Shared;
use super::super::xml::escape_into;

const SCRIPT: &str = include_str!("old_page.js");

pub(super) fn page(shared: &Shared, call: &Call, place: &str) -> Answer {
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
    let poll = shared.client().guest_poll.as_millis();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <style>body{{font:18px system-ui,sans-serif;margin:15vh auto;max-width:36em;padding:0 1em}}</style></head>\n\
         <body data-state=\"loading\" data-poll=\"{poll}\"><h1>{place} {name} on {server}</h1>\n<p>Hello {person}. People here: {people}.</p>\n\
         <p>This is a simulated BigBlueButton server: there is nothing to see or hear.</p>\n\
         <script>{SCRIPT}</script></body></html>\n"
    );
    Answer::html(StatusCode::OK, html)
}
