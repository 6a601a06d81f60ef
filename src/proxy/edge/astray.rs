//! Path mode: what a page below a server's prefix asks for at our root, because it makes the address of its origin alone.
//!
//! Up to 2.7 the guest lobby polls `/bigbluebutton/api/guestWait` that way, and a client that is moved to the lobby goes to
//! `/html5client/guestWait`. They cannot be carried from there: the session's cookie lies under the prefix. A redirect
//! that keeps the method brings both under it, where everything fits (bbb-http-surface.md sections 2.3 and 3.5).

use percent_encoding::percent_encode;

use super::Edge;
use super::find::CLIENT;
use crate::config::{Config, EdgeMode};
use crate::placement::Ledger;
use crate::proxy::answer::{Answer, TEXT};
use crate::proxy::request::Request;
use crate::proxy::route::Route;
use crate::proxy::secure::UNSAFE;

/// Calls of a session, which no front end sends (section 0).
pub(super) const SESSION_CALLS: [&str; 7] =
    ["enter", "stuns", "signOut", "guestWait", "getJoinUrl", "learningDashboard", "feedback"];

impl Edge {
    /// The redirect under the prefix of the page that asks; `None` if this is no such request.
    pub fn brought_home(
        &self,
        ledger: &Ledger,
        request: &Request<'_>,
        route: Route<'_>,
        config: &Config,
    ) -> Option<Answer> {
        if config.edge.mode != EdgeMode::Path || !is_astray(route, request.path, request.query) {
            return None;
        }
        let prefix = self.places.referring(ledger, request)?;
        let path = percent_encode(request.path.as_bytes(), UNSAFE);
        let query = percent_encode(request.query, UNSAFE);
        let mark = if request.has_query { "?" } else { "" };
        let answer = Answer::new(307, TEXT, "").with("Location", format!("{prefix}{path}{mark}{query}"));
        Some(answer.no_cache())
    }
}

fn is_astray(route: Route<'_>, path: &str, query: &[u8]) -> bool {
    match route {
        Route::Nothing => path.strip_prefix(CLIENT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        Route::Api { tenant: None, segment } => {
            let has = |name: &[u8]| query.split(|&byte| byte == b'&').any(|param| param.starts_with(name));
            SESSION_CALLS.contains(&segment) && has(b"sessionToken=") && !has(b"checksum=")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_sessions_are_told_from_calls_of_front_ends() {
        for (target, expected) in [
            ("/bigbluebutton/api/guestWait?sessionToken=abc&redirect=false", true),
            ("/bigbluebutton/api/getJoinUrl?a=b&sessionToken=abc", true),
            ("/bigbluebutton/api/guestWait", false),
            ("/bigbluebutton/api/guestWait?xsessionToken=abc", false),
            ("/bigbluebutton/api/guestWait?sessionToken=abc&checksum=1", false),
            ("/bigbluebutton/api/getMeetings?sessionToken=abc", false),
            ("/t/moodle/bigbluebutton/api/guestWait?sessionToken=abc", false),
            ("/html5client/guestWait?sessionToken=abc", true),
            ("/html5client", true),
            ("/html5clients/", false),
            ("/other", false),
        ] {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            assert_eq!(is_astray(Route::of(path), path, query.as_bytes()), expected, "{target}");
        }
    }
}
