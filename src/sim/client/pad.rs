//! Shared notes: etherpad under `/pad` and, at the root, `/static` (bbb-http-surface.md sections 1.2 and 2.2).
//!
//! etherpad does not know that it lives below a prefix: its redirect and its cookie name paths from the root, and its
//! page asks for a file at the root. That is for a proxy with prefixes to mend.

use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::server::Shared;
use super::assets::file;
use super::session::{by_query, unauthorized};

/// `None` if nothing is at that path.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    match call.path.as_str() {
        "/static/js/pad.js" | "/pad/static/js/pad.js" => Some(file(call, "application/javascript", "/* etherpad */")),
        "/pad/static/css/pad.css" => Some(file(call, "text/css", "body{margin:0}")),
        "/pad/socket.io/socket.io.js" => Some(file(call, "application/javascript", "/* socket.io */")),
        "/pad/auth_session" => Some(guarded(shared, call, auth_session)),
        "/pad/socket.io/" => Some(guarded(shared, call, polling)),
        path => {
            let name = path.strip_prefix("/pad/p/").filter(|name| !name.is_empty())?;
            if call.given("userName").is_some() {
                return Some(unauthorized());
            }
            Some(guarded(shared, call, |call| page(call, name)))
        }
    }
}

fn guarded(shared: &Shared, call: &Call, work: impl FnOnce(&Call) -> Answer) -> Answer {
    if by_query(shared, call).is_none() { unauthorized() } else { work(call) }
}

fn page(call: &Call, name: &str) -> Answer {
    let has_session = call.header("cookie").is_some_and(|cookies| cookies.contains("sessionID="));
    let text = format!(
        "<!doctype html><title>Notes</title><link rel=\"stylesheet\" href=\"../static/css/pad.css\">\
         <script src=\"/static/js/pad.js\"></script><body data-pad=\"{}\" data-session=\"{has_session}\"></body>",
        utf8_percent_encode(name, NON_ALPHANUMERIC),
    );
    Answer::html(StatusCode::OK, text)
}

fn auth_session(call: &Call) -> Answer {
    let (Some(session), Some(pad)) = (call.text("sessionID"), call.text("padName")) else {
        return Answer::status_page(StatusCode::BAD_REQUEST);
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let token = call.text("sessionToken").unwrap_or_default();
    Answer::empty(StatusCode::FOUND)
        .with("Location", format!("/pad/p/{}?sessionToken={token}", encoded(pad)))
        .with("Set-Cookie", format!("sessionID={}; Path=/", encoded(session)))
}

/// socket.io without WebSocket: the first GET opens, the next ones wait for messages (here: get a ping at once).
fn polling(call: &Call) -> Answer {
    let text = match (&call.method, call.given("sid")) {
        (&Method::GET, None) => {
            r#"0{"sid":"simulated","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#
        }
        (&Method::GET, Some(_)) => "2",
        (&Method::POST, Some(_)) => "ok",
        _ => return Answer::status_page(StatusCode::BAD_REQUEST),
    };
    Answer::of_type(StatusCode::OK, "text/plain; charset=UTF-8", text).with("Cache-Control", "no-store")
}
