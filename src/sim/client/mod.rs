//! What a browser asks a BBB server after `join`: the client plane, as nginx on a server serves it.
//!
//! Written from bbb-http-surface.md alone, never from what our proxy does. A path is found here exactly as it came:
//! nothing is normalised, and no prefix is forgiven but the one that is mounted.
//!
//! ```text
//! assets (files) · rest, calls (facts) · slides, upload, pad (content) · socket → graphql, plain_sockets (WebSockets)
//! session: whose request it is        · trouble: what goes wrong on sockets
//! ```

mod assets;
mod calls;
pub(super) mod graphql;
mod gzip;
mod old_page;
mod options;
mod pad;
mod plain_sockets;
mod rest;
mod session;
mod slides;
pub(super) mod socket;
pub(super) mod trouble;
pub(super) mod upload;

use hyper::StatusCode;
use serde_json::json;

pub use options::SimClient;

use super::answer::Answer;
use super::call::Call;
use super::server::{Shared, SimServer};

/// `None` if this server has nothing at that path.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    if !shared.options.generation.has_graphql() {
        match mounted(&shared.client(), &call.path) {
            "/html5client/join" => return Some(old_page::page(shared, call, "You are in")),
            "/html5client/guestWait" => return Some(old_page::page(shared, call, "You are waiting for")),
            "/html5client/check" => return Some(Answer::json(&json!({"html5clientStatus": "running"}))),
            _ => {}
        }
    } else if call.path == "/bigbluebutton/rtt-check" {
        let answer = Answer::empty(StatusCode::OK).with("Access-Control-Allow-Origin", "*");
        return Some(answer.with("Cache-Control", "no-store"));
    } else if let Some(answer) = rest::answer(shared, call) {
        return Some(answer);
    }
    calls::answer(shared, call)
        .or_else(|| socket::answer(shared, call))
        .or_else(|| slides::answer(shared, call))
        .or_else(|| pad::answer(shared, call))
        .or_else(|| assets::answer(shared, call))
}

/// A path of the client without what it is mounted under.
fn mounted<'p>(client: &SimClient, path: &'p str) -> &'p str {
    let below = client.mount.as_deref().and_then(|mount| path.strip_prefix(mount));
    below.filter(|path| path.starts_with("/html5client/")).unwrap_or(path)
}

impl Shared {
    /// The settings of the client plane as they are now.
    pub(super) fn client(&self) -> SimClient {
        self.client.lock().clone()
    }

    /// What stands before every client-plane path in the URLs this server gives away.
    pub(super) fn client_base(&self) -> String {
        let base = self.client.lock().base.clone();
        base.unwrap_or_else(|| self.origin())
    }
}

impl SimServer {
    /// Changes the settings of the client plane; what browsers were told before stays told.
    pub fn set_up_client(&self, change: impl FnOnce(&mut SimClient)) {
        change(&mut self.shared.client.lock());
    }
}
