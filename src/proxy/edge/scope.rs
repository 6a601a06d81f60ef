//! Path mode: which calls of a server's API are reached below its prefix.
//!
//! Browsers need `join`, the version and the calls of a session (bbb-http-surface.md sections 1.1 and 2.3). Everything else
//! is between front ends and Usher, and between Usher and the server: a signature of the server's own secret must not open
//! a way round tenants, limits and placement.

use percent_encoding::percent_decode_str;

use super::Way;
use super::astray::SESSION_CALLS;
use crate::error::ApiError;
use crate::proxy::answer::Answer;

/// The refusal of a call that no browser needs.
pub fn refused(way: &Way<'_>, public_base: &str) -> Option<Answer> {
    // Nothing but the API has such a name, and nearly all paths have none of it.
    if way.prefix.is_none() || !reaches_more(&way.place.base, way.path) {
        return None;
    }
    let text = format!(
        "Below a server's name only join and the calls of a session are served. Front ends call {public_base}/bigbluebutton/api"
    );
    let error = ApiError::client("notServedHere", text);
    let mut answer = Answer { status: 403, ..Answer::error(&error) };
    answer.server = Some(way.place.record.clone());
    Some(answer)
}

/// Whether the server would find another call of its API there, however it is spelled: its nginx and Tomcat decode, merge
/// slashes, climb by dots, and cut off what stands behind a semicolon.
fn reaches_more(base: &str, path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let decoded = percent_decode_str(&decoded).decode_utf8_lossy();
    if !decoded.to_ascii_lowercase().contains("api") {
        return false;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in base.split('/').chain(decoded.split(['/', '\\'])) {
        match segment.split(';').next().unwrap_or_default().trim_end_matches(['.', ' ', '\0']) {
            "" if segment.starts_with("..") => _ = segments.pop(),
            "" => {}
            segment => segments.push(segment),
        }
    }
    let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let api = segments.windows(2).position(|two| is(two[0], "bigbluebutton") && is(two[1], "api"));
    let Some(api) = api else { return false };
    match segments[api + 2..] {
        [] => false,
        [call] => call != "join" && !SESSION_CALLS.contains(&call),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_browsers_need_is_reached() {
        for path in [
            "/bigbluebutton/api",
            "/bigbluebutton/api/",
            "/bigbluebutton/api/join",
            "/bigbluebutton/api//join",
            "/bigbluebutton/api/enter",
            "/bigbluebutton/api/stuns",
            "/bigbluebutton/api/signOut",
            "/bigbluebutton/api/guestWait",
            "/bigbluebutton/api/getJoinUrl",
            "/bigbluebutton/api/learningDashboard",
            "/bigbluebutton/api/feedback",
            "/bigbluebutton/presentation/api/x",
            "/bigbluebutton/rtt-check",
            "/api/rest/meetingStaticData",
            "/hocuspocus/api/x",
            "/playback/presentation/2.3/api",
            "/",
        ] {
            assert!(!reaches_more("", path), "{path}");
        }
        for path in [
            "/bigbluebutton/api/create",
            "/bigbluebutton/api/end",
            "/bigbluebutton/api/getMeetings",
            "/bigbluebutton/api/hooks/create",
            "/bigbluebutton/api/join/x",
            "/bigbluebutton/api/create/",
            "//bigbluebutton//api//create",
            "/bigbluebutton/%61pi/create",
            "/bigbluebutton/api/%63reate",
            "/bigbluebutton%2fapi%2fcreate",
            "/%2562igbluebutton/api/create",
            "/bigbluebutton;x/api;y/create;z",
            "/bigbluebutton/./api/create",
            "/x/../bigbluebutton/api/create",
            "/x/%2e%2e/bigbluebutton/api/create",
            "/x/..;/bigbluebutton/api/create",
            "/bigbluebutton/presentation/../api/create",
            "/bigbluebutton/api/join/../create",
            "/bigbluebutton/api/join/..;/create",
            "/html5client/../bigbluebutton/api/create",
            "/bbb1/html5client/../bigbluebutton/api/create",
            "/bigbluebutton\\api\\create",
            "/BigBlueButton/API/create",
            "/bigbluebutton/api/create%00",
        ] {
            assert!(reaches_more("", path), "{path}");
        }
        assert!(reaches_more("/b", "/../bigbluebutton/api/create"));
        assert!(reaches_more("/t/a", "/bigbluebutton/api/create"));
        assert!(!reaches_more("/t/a", "/bigbluebutton/api/join"));
    }
}
