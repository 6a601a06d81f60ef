//! Which part of Usher a path belongs to (interface.md section 3).
//!
//! Paths are compared as they came: no decoding, no normalising, so `//` or `%2e` never reach the API by a side door.

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
        if let Some(rest) = path.strip_prefix("/t/") {
            let Some((tenant, rest)) = rest.split_once('/') else { return Self::Nothing };
            return api(rest).map_or(Self::Nothing, |segment| Self::Api { tenant: Some(tenant), segment });
        }
        let rest = path.strip_prefix('/').unwrap_or_default();
        api(rest).map_or(Self::Nothing, |segment| Self::Api { tenant: None, segment })
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

/// The call in `bigbluebutton/api/<call>`; empty for the index, which also answers at `bigbluebutton/`.
fn api(path: &str) -> Option<&str> {
    match path.strip_prefix("bigbluebutton")? {
        "" | "/" | "/api" | "/api/" => Some(""),
        rest => rest.strip_prefix("/api/"),
    }
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
            ("//bigbluebutton/api/create", Route::Nothing),
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
