//! Whose a carried request is: a session that its server has accepted, a signed call, or nobody's.
//!
//! A browser shows the cookie of its BBB server with everything, or its session token where the client page does
//! (bbb-http-surface.md sections 2.1 and 2.2). Anybody can invent both, so they mean something only after the server has
//! said so: by sending a signed `join` on with a token (an unsigned one may name the page that its error leads to), or by answering at an address where its nginx asks
//! `checkAuthorization` first. Files of the client page are answered to anybody and prove nothing.

use std::borrow::Cow;
use std::time::Instant;

use super::Way;
use crate::bbb::{self, Algorithm, Call, Method};
use crate::limit::{Claim, Mark, SessionKey, Sessions};
use crate::proxy::request::Request;

/// Bytes. BBB's have 16 and 32.
const LONGEST: usize = 128;
const API: &str = "/bigbluebutton/api/";
const JOIN: &str = "/bigbluebutton/api/join";
const TOKEN: &[u8] = b"sessionToken=";
const ALGORITHMS: [Algorithm; 4] = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
/// Where a server checks the token of the query, whatever the version.
const CHECKED: [&str; 4] = ["/bbb-webrtc-sfu", "/ws", "/pad/p/", "/hocuspocus/"];
/// Where it checks that of the field.
const CHECKED_BY_FIELD: &str = "/api/rest/";

/// Whose the request is, by what servers have said of its marks.
pub fn claim(sessions: &Sessions, request: &Request<'_>) -> Claim {
    let now = Instant::now();
    let mut found = None;
    let mut ask = |mark, text: &[u8]| {
        if found.is_none() {
            let key = sessions.key(mark, text);
            found = sessions.knows(key, request.client, now).then_some(key);
        }
    };
    each_mark(request, &mut ask);
    found.map_or(Claim::Nobody, Claim::Session)
}

/// The checksum of an API call that is signed with the secret of the server it goes to: what `join` was sent on to, for one.
pub fn signature<'r>(request: &Request<'r>, way: &Way<'_>) -> Option<(Call, Cow<'r, [u8]>)> {
    let call = Call::from_segment(way.path.strip_prefix(API)?);
    let stripped = bbb::strip_checksum(request.query);
    let given = stripped.checksum?;
    let secrets = std::iter::once(&way.place.record.secret);
    bbb::verify(call.name(), &stripped.rest, &given, secrets, &ALGORITHMS).then_some((call, given))
}

/// What the server's answer says of the session of a request that was `claim`'s; `fields` runs through the answer's.
pub fn learn(
    sessions: &Sessions,
    request: &Request<'_>,
    way: &Way<'_>,
    (claim, status): (Claim, u16),
    fields: impl FnOnce(&mut dyn FnMut(&str, &[u8])),
    now: Instant,
) -> Option<SessionKey> {
    let client = request.client;
    if way.path == JOIN && claim == Claim::Tenant && (300..400).contains(&status) {
        let (mut cookie, mut token) = (None, None);
        fields(&mut |name, value| {
            if name.eq_ignore_ascii_case("location") {
                token = token_in(value).map(<[u8]>::to_vec);
            } else if name.eq_ignore_ascii_case("set-cookie") {
                cookie = cookie.take().or_else(|| cookies_in(value).next().map(<[u8]>::to_vec));
            }
        });
        let key = sessions.accept(Mark::Token, &token?, client, now);
        // A browser that has one already gets no other.
        let accept = |cookie: &[u8]| {
            sessions.accept(Mark::Cookie, cookie, client, now);
        };
        match cookie {
            Some(cookie) => accept(&cookie),
            None => request.lines.each(|name, value| {
                if name.eq_ignore_ascii_case(b"cookie") {
                    cookies_in(value).take(1).for_each(&accept);
                }
            }),
        }
        return Some(key);
    }
    let is_accepted = request.method == Method::Get && (status == 101 || (200..300).contains(&status));
    let token = if !is_accepted {
        None
    } else if CHECKED.iter().any(|place| way.path == *place || place.ends_with('/') && way.path.starts_with(place)) {
        // The server takes one of several, and it need not be the one that is looked at here.
        let is_one = memchr::memmem::find_iter(request.query, "sessionToken").count() == 1;
        token_in(request.query).filter(|_| is_one)
    } else if way.path.starts_with(CHECKED_BY_FIELD) {
        let (mut token, mut count) = (None, 0);
        request.lines.each(|name, value| {
            if name.eq_ignore_ascii_case(b"x-session-token") {
                (token, count) = (Some(value).filter(|value| is_mark(value)), count + 1);
            }
        });
        token.filter(|_| count == 1)
    } else {
        None
    };
    token.map(|token| sessions.accept(Mark::Token, token, client, now))
}

/// All that may say whose a request is.
fn each_mark(request: &Request<'_>, ask: &mut impl FnMut(Mark, &[u8])) {
    if let Some(token) = token_in(request.query) {
        ask(Mark::Token, token);
    }
    request.lines.each(|name, value| {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            6 if is("cookie") => cookies_in(value).take(4).for_each(|cookie| ask(Mark::Cookie, cookie)),
            15 if is("x-session-token") && is_mark(value) => ask(Mark::Token, value),
            _ => {}
        }
    });
    // What a page asks for is its session's.
    if let Some(token) = token_in(request.referer.as_bytes()) {
        ask(Mark::Token, token);
    }
}

/// The session token in a query, or in an address with one.
fn token_in(text: &[u8]) -> Option<&[u8]> {
    let begins = memchr::memmem::find_iter(text, TOKEN).find(|at| *at == 0 || matches!(text[at - 1], b'?' | b'&'))?;
    let value = &text[begins + TOKEN.len()..];
    let end = value.iter().position(|byte| matches!(byte, b'&' | b'#')).unwrap_or(value.len());
    Some(&value[..end]).filter(|token| is_mark(token))
}

/// The values of `JSESSIONID` in a list of cookies, or in the one that a server sets.
fn cookies_in(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let cookies = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    cookies.filter_map(|cookie| cookie.strip_prefix(b"JSESSIONID=")).filter(|cookie| is_mark(cookie))
}

fn is_mark(text: &[u8]) -> bool {
    (1..=LONGEST).contains(&text.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use pingora::http::RequestHeader;

    use super::super::reply::tests;
    use super::*;

    /// The head lives as long as the test.
    fn request(method: &str, target: &str, fields: &[(&'static str, &str)]) -> Request<'static> {
        let head = Box::leak(Box::new(RequestHeader::build(method, target.as_bytes(), None).unwrap()));
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        Request::read(head, Some(SocketAddr::from(([192, 0, 2, 1], 5))), &[]).unwrap()
    }

    fn learn(sessions: &Sessions, request: &Request<'_>, status: u16, fields: &[(&str, &str)]) -> bool {
        learn_as(Claim::Tenant, sessions, request, status, fields)
    }

    fn learn_as(
        claim: Claim,
        sessions: &Sessions,
        request: &Request<'_>,
        status: u16,
        fields: &[(&str, &str)],
    ) -> bool {
        let way = Way { path: request.path, ..tests::way(None) };
        let each = |with: &mut dyn FnMut(&str, &[u8])| {
            fields.iter().for_each(|(name, value)| with(name, value.as_bytes()));
        };
        super::learn(sessions, request, &way, (claim, status), each, Instant::now()).is_some()
    }

    fn is_known(sessions: &Sessions, request: &Request<'_>) -> bool {
        claim(sessions, request) != Claim::Nobody
    }

    #[test]
    fn a_join_that_the_server_sends_on_makes_a_session() {
        let sessions = Sessions::default();
        let shown = [
            request("GET", "/html5client/?sessionToken=abc", &[]),
            request("GET", "/html5client/main.js", &[("Cookie", "a=b; JSESSIONID=0F1E; c=d")]),
            request("GET", "/api/rest/userMetadata", &[("X-Session-Token", "abc")]),
            request("GET", "/x.css", &[("Referer", "https://p.example/bbb1/html5client/?x=y&sessionToken=abc#z")]),
        ];
        assert!(shown.iter().all(|request| !is_known(&sessions, request)));
        let join = request("GET", JOIN, &[]);
        let cookie = ("Set-Cookie", "JSESSIONID=0F1E; Path=/; HttpOnly");
        let away = ("Location", "https://p.example/?errors=1");
        let page = ("location", "https://p.example/bbb1/html5client/?sessionToken=abc&shouldWaitForLayout=true");
        // Whoever is refused gets a cookie all the same, and a page need not be one of the client's.
        assert!(!learn(&sessions, &join, 302, &[away, cookie]) && !learn(&sessions, &join, 200, &[page, cookie]));
        assert!(!learn(&sessions, &request("GET", "/bigbluebutton/", &[]), 302, &[page, cookie]));
        assert!(!learn_as(Claim::Nobody, &sessions, &join, 302, &[page, cookie]), "an error's page is anybody's");
        assert!(shown.iter().all(|request| !is_known(&sessions, request)));
        assert!(learn(&sessions, &join, 302, &[page, cookie]));
        for request in &shown {
            assert!(is_known(&sessions, request), "{request:?}");
        }
        for other in ["/html5client/?sessionToken=abcd", "/html5client/?xsessionToken=abc", "/?sessionToken=0F1E"] {
            assert!(!is_known(&sessions, &request("GET", other, &[])), "{other}");
        }
    }

    #[test]
    fn only_where_a_server_checks_a_token_its_answer_says_something() {
        let sessions = Sessions::default();
        let token = "?sessionToken=abc";
        for (method, target, fields, status) in [
            ("GET", "/html5client/main.js", vec![], 200),
            ("GET", "/graphql", vec![], 101),
            ("GET", "/bbb-webrtc-sfu", vec![], 401),
            ("GET", "/bbb-webrtc-sfux", vec![], 101),
            ("POST", "/pad/p/x", vec![], 200),
            ("GET", "/api/rest/userMetadata", vec![], 200),
            ("GET", "/api/rest/userMetadata", vec![("X-Session-Token", "abc"), ("X-Session-Token", "b")], 200),
            ("OPTIONS", "/api/rest/userMetadata", vec![("X-Session-Token", "abc")], 204),
        ] {
            let request = request(method, &format!("{target}{token}"), &fields);
            assert!(!learn(&sessions, &request, status, &[]), "{method} {target}");
        }
        let two = request("GET", "/ws?sessionToken=abc&sessionToken=valid", &[]);
        assert!(!learn(&sessions, &two, 101, &[]));
        for target in ["/bbb-webrtc-sfu", "/ws", "/pad/p/x", "/hocuspocus/collaboration"] {
            let sessions = Sessions::default();
            let request = request("GET", &format!("{target}{token}"), &[]);
            assert!(learn(&sessions, &request, 101, &[]) && is_known(&sessions, &request), "{target}");
        }
        let by_field = request("GET", "/api/rest/userMetadata", &[("X-Session-Token", "abc")]);
        assert!(learn(&sessions, &by_field, 200, &[]) && is_known(&sessions, &by_field));
    }

    #[test]
    fn a_call_is_signed_with_its_servers_secret() {
        let way = Way { path: JOIN, ..tests::way(None) };
        let query = "fullName=Ann&meetingID=m";
        for (secret, holds) in [("s", true), ("t", false)] {
            let checksum = bbb::sign("join", query, &crate::ids::Secret::new(secret), Algorithm::Sha256);
            let request = request("GET", &format!("{JOIN}?{query}&checksum={checksum}"), &[]);
            assert_eq!(signature(&request, &way).is_some(), holds, "{secret}");
        }
        assert!(signature(&request("GET", &format!("{JOIN}?{query}"), &[]), &way).is_none());
    }
}
