//! Which part of Usher a path belongs to (interface.md section 3).
//!
//! The one place that reads paths leniently, and only in what BBB's own front ends rely on: several slashes are one, as
//! for BBB's nginx and Tomcat (front ends join `…/api/` and `/create`), and a call may end with one. Nothing is decoded and
//! no dot climbs, so `%2f` or `..` never reach the API by a side door. Signatures are made over the call's name, not over
//! the path, so that no spelling changes them.

use super::challenge;

/// Where a request goes. The lifetime is the path's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A BBB API call: the tenant named by the path, and what follows `/bigbluebutton/api/` (empty for the index).
    Api {
        tenant: Option<&'a str>,
        segment: &'a str,
    },
    Livez,
    Readyz,
    /// `/`: the page that join errors lead to.
    Landing,
    /// A certificate authority's question: the token it wants to see.
    Challenge(&'a str),
    /// A server's client plane, carried by the edge.
    Client,
    Nothing,
}

impl<'a> Route<'a> {
    pub fn of(path: &'a str) -> Self {
        match path {
            "/livez" => return Self::Livez,
            "/readyz" => return Self::Readyz,
            "/" => return Self::Landing,
            _ => {}
        }
        if let Some(token) = path.strip_prefix(challenge::PREFIX) {
            return Self::Challenge(token);
        }
        let (tenant, rest) = match segment(path) {
            Some(("t", rest)) => match segment(rest) {
                Some((tenant, rest)) => (Some(tenant), rest),
                None => return Self::Nothing,
            },
            _ => (None, path),
        };
        api(rest).map_or(Self::Nothing, |segment| Self::Api { tenant, segment })
    }

    /// Number of values of `slot`.
    pub const SLOTS: usize = 6;

    /// Stands for the label in tables.
    pub fn slot(self) -> usize {
        match self {
            Self::Api { .. } => 0,
            Self::Livez | Self::Readyz => 1,
            Self::Landing => 2,
            Self::Nothing => 3,
            Self::Client => 4,
            Self::Challenge(_) => 5,
        }
    }

    /// A bounded word for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Livez | Self::Readyz => "health",
            Self::Landing => "landing",
            Self::Nothing => "none",
            Self::Client => "client",
            Self::Challenge(_) => "challenge",
        }
    }
}

/// The call in `/bigbluebutton/api/<call>`; empty for the index, which also answers at `/bigbluebutton`.
fn api(path: &str) -> Option<&str> {
    let ("bigbluebutton", rest) = segment(path)? else { return None };
    match segment(rest) {
        None => Some(""),
        Some(("api", rest)) => Some(rest.trim_matches('/')),
        Some(_) => None,
    }
}

/// The first segment behind one slash or several, and what follows it; `None` if there is none.
fn segment(path: &str) -> Option<(&str, &str)> {
    let name = path.strip_prefix('/')?.trim_start_matches('/');
    let end = name.find('/').unwrap_or(name.len());
    (end > 0).then(|| name.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let api = |tenant, segment| Route::Api { tenant, segment };
        for (path, route) in [
            ("/bigbluebutton/api", api(None, "")),
            ("/bigbluebutton/api/", api(None, "")),
            ("/bigbluebutton/", api(None, "")),
            ("/bigbluebutton/api/create", api(None, "create")),
            ("/bigbluebutton/api/hooks/create", api(None, "hooks/create")),
            ("/t/moodle/bigbluebutton/api/join", api(Some("moodle"), "join")),
            ("/t/moodle/bigbluebutton/api", api(Some("moodle"), "")),
            ("/t/moodle", Route::Nothing),
            ("/t/moodle/", Route::Nothing),
            // As front ends put addresses together.
            ("/bigbluebutton/api//create", api(None, "create")),
            ("//bigbluebutton/api/create", api(None, "create")),
            ("///bigbluebutton//api///create//", api(None, "create")),
            ("/bigbluebutton/api/create/", api(None, "create")),
            ("/bigbluebutton", api(None, "")),
            ("//bigbluebutton//api//", api(None, "")),
            ("/t/moodle//bigbluebutton/api//create", api(Some("moodle"), "create")),
            ("//t//moodle/bigbluebutton/api/create", api(Some("moodle"), "create")),
            // A tenant's name cannot be left out.
            ("/t//bigbluebutton/api/create", Route::Nothing),
            ("/t//", Route::Nothing),
            ("/t", Route::Nothing),
            ("//", Route::Nothing),
            ("//livez", Route::Nothing),
            ("/bigbluebutton/%61pi/create", Route::Nothing),
            ("/bigbluebutton/api%2fcreate", Route::Nothing),
            ("/./bigbluebutton/api/create", Route::Nothing),
            ("/bigbluebutton/api/./create", api(None, "./create")),
            ("/bigbluebutton/api/create%2f", api(None, "create%2f")),
            ("/bigbluebutton/api/../api/create", api(None, "../api/create")),
            ("/bigbluebutton/apix", Route::Nothing),
            ("/BigBlueButton/api", Route::Nothing),
            ("/", Route::Landing),
            ("/livez", Route::Livez),
            ("/readyz", Route::Readyz),
            ("", Route::Nothing),
            ("bigbluebutton/api/create", Route::Nothing),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
