//! The GraphQL socket: who may speak, and answers to the few operations the client page knows
//! (bbb-http-surface.md sections 1.2, 2.3 and 2.5; protocol `graphql-transport-ws`).
//!
//! The upgrade says nothing about the session: its cookies are kept, and the token comes in the first message. Who is
//! refused gets an `error` message with id -1 first, because Chromium hides close codes from pages, and then 4403.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::super::server::Shared;
use super::session::with_token;
use super::slides;
use super::socket::{Act, Kind};
use super::upload;

/// Open sockets by session token.
#[derive(Clone, Default)]
pub(in crate::sim) struct Seats(Arc<Mutex<HashMap<String, usize>>>);

/// One socket of a token; given back when it is dropped.
struct Seat {
    seats: Seats,
    token: String,
}

impl Seats {
    fn take(&self, token: &str, limit: usize) -> Option<Seat> {
        let mut taken = self.0.lock();
        let count = taken.entry(token.to_owned()).or_default();
        (*count < limit).then(|| {
            *count += 1;
            Seat { seats: self.clone(), token: token.to_owned() }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        if let Some(count) = taken.get_mut(&self.token) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.token);
            }
        }
    }
}

/// One GraphQL socket.
pub(super) struct Graphql {
    /// `JSESSIONID`s of the upgrade request.
    cookies: Vec<String>,
    seat: Option<Seat>,
    /// Subscriptions by their id, with what they asked.
    subscriptions: Vec<(String, String)>,
    heard_at: Instant,
    ping: Duration,
    idle: Duration,
    pinged_at: Instant,
}

/// All are needed.
const INIT_HEADERS: [&str; 4] = ["X-Session-Token", "X-ClientSessionUUID", "X-ClientType", "X-ClientIsMobile"];

impl Graphql {
    pub(super) fn new(cookies: Vec<String>, ping: Duration, idle: Duration) -> Self {
        let now = Instant::now();
        Self { cookies, seat: None, subscriptions: Vec::new(), heard_at: now, ping, idle, pinged_at: now }
    }

    fn init(&mut self, shared: &Shared, payload: &Value) -> Vec<Act> {
        if self.seat.is_some() {
            return vec![Act::Close(4429, "Too many initialisation requests")];
        }
        let headers = &payload["headers"];
        if let Some(missing) = INIT_HEADERS.iter().find(|name| !headers[**name].is_string()) {
            return refusal(&format!("missing header {missing}"));
        }
        let token = headers["X-Session-Token"].as_str().unwrap_or_default();
        if with_token(shared, token, &self.cookies, |_, _| ()).is_none() {
            return refusal("session not found");
        }
        self.seat = shared.seats.take(token, shared.client().sockets_per_token);
        if self.seat.is_none() {
            return refusal("too many connections of this session");
        }
        vec![say(&json!({"type": "connection_ack"}))]
    }

    fn subscribe(&mut self, shared: &Shared, heard: &Value) -> Vec<Act> {
        let Some(token) = self.seat.as_ref().map(|seat| seat.token.clone()) else {
            return vec![Act::Close(4401, "Unauthorized")];
        };
        let (Some(id), Some(query)) = (heard["id"].as_str(), heard["payload"]["query"].as_str()) else {
            return vec![Act::Close(4400, "Invalid message")];
        };
        let next = |data: Value| say(&json!({"id": id, "type": "next", "payload": {"data": data}}));
        let data = answer(shared, &token, &self.cookies, query);
        if query.trim_start().starts_with("subscription") {
            self.subscriptions.push((id.to_owned(), query.to_owned()));
            return vec![next(data)];
        }
        vec![next(data), say(&json!({"id": id, "type": "complete"}))]
    }
}

impl Kind for Graphql {
    fn hear(&mut self, shared: &Shared, message: &Message) -> Vec<Act> {
        self.heard_at = Instant::now();
        let Message::Text(text) = message else { return vec![Act::Close(4400, "Invalid message")] };
        let Ok(heard) = serde_json::from_str::<Value>(text) else { return vec![Act::Close(4400, "Invalid message")] };
        match heard["type"].as_str() {
            Some("connection_init") => self.init(shared, &heard["payload"]),
            Some("ping") => vec![say(&json!({"type": "pong"}))],
            Some("pong") => Vec::new(),
            Some("subscribe") => self.subscribe(shared, &heard),
            Some("complete") => {
                self.subscriptions.retain(|(id, _)| heard["id"] != id.as_str());
                Vec::new()
            }
            _ => vec![Act::Close(4400, "Invalid message")],
        }
    }

    fn pong(&mut self) {
        self.heard_at = Instant::now();
    }

    fn tick(&mut self, _shared: &Shared) -> Vec<Act> {
        if self.heard_at.elapsed() > self.idle {
            return vec![Act::Drop];
        }
        if self.seat.is_none() || self.pinged_at.elapsed() < self.ping {
            return Vec::new();
        }
        self.pinged_at = Instant::now();
        vec![say(&json!({"type": "ping"}))]
    }

    fn period(&self) -> Duration {
        self.ping.min(self.idle)
    }

    fn sessions_changed(&mut self, shared: &Shared) -> Vec<Act> {
        let Some(seat) = &self.seat else { return Vec::new() };
        if with_token(shared, &seat.token, &self.cookies, |_, _| ()).is_none() {
            return refusal("session not found");
        }
        let tell = |(id, query): &(String, String)| {
            let data = answer(shared, &seat.token, &self.cookies, query);
            say(&json!({"id": id, "type": "next", "payload": {"data": data}}))
        };
        self.subscriptions.iter().filter(|(_, query)| query.contains("user_current")).map(tell).collect()
    }

    fn token(&self) -> Option<&str> {
        self.seat.as_ref().map(|seat| seat.token.as_str())
    }

    /// As the middleware reads (section 7.3).
    fn limit(&self) -> usize {
        9_999_999
    }
}

fn say(message: &Value) -> Act {
    Act::Say(Message::text(message.to_string()))
}

fn refusal(why: &str) -> Vec<Act> {
    let error = json!({"id": "-1", "type": "error", "payload": [{"messageId": "session_not_valid", "message": why}]});
    vec![say(&error), Act::Close(4403, "Forbidden")]
}

/// The data of an operation, recognised by a word in it.
fn answer(shared: &Shared, token: &str, cookies: &[String], query: &str) -> Value {
    let found = with_token(shared, token, cookies, |session, meeting| {
        if query.contains("user_current") {
            return json!({"user_current": [{
                "userId": session.internal_user_id, "name": session.full_name, "role": session.role.as_str(),
                "joined": true, "guestStatus": session.guest_status.as_str(),
                "meeting": {"meetingId": meeting.internal_id, "name": meeting.name, "people": meeting.people()},
            }]});
        }
        if query.contains("userJoinMeeting") {
            return json!({"userJoinMeeting": true});
        }
        Value::Null
    });
    match found {
        Some(Value::Null) => {}
        Some(data) => return data,
        None => return json!({}),
    }
    let meeting = with_token(shared, token, cookies, |session, _| session.internal_meeting_id.clone());
    let meeting = meeting.unwrap_or_default();
    if query.contains("pres_page") {
        let page = |number: u32| {
            let address = |kind| slides::address(shared, &meeting, kind, number);
            json!({"num": number, "isCurrentPage": number == 1, "urlsJson": {
                "svg": address("svg"), "thumb": address("thumbnail"), "text": address("textfiles"),
            }})
        };
        let pages: Vec<Value> = (1..=slides::PAGES).map(page).collect();
        return json!({"pres_page": pages});
    }
    if query.contains("presentationRequestUploadToken") {
        return json!({"pres_presentation_uploadToken": [{"uploadToken": upload::new_token(shared)}]});
    }
    // Reports and everything else are taken and not looked at.
    json!({"ok": true})
}
