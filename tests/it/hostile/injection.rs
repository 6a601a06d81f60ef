//! Text of callers that wants to become something else: a header, a second header, a line of the log, markup of an answer.

use std::time::Duration;

use super::still_well;
use crate::harness::{Builder, Xml, eventually, say};

/// Percent-encoded, as a front end would send them.
const EVIL: [&str; 8] = [
    "x%0d%0aSet-Cookie:%20evil=1",
    "x%0aX-Evil:%201",
    "x%0d%0a%0d%0a%3Cscript%3Ealert(1)%3C/script%3E",
    "x%00y",
    "%E2%80%A8X-Evil:%201%E2%80%A9",
    "%C3%84rger%20%F0%9F%98%80%E2%80%AE",
    "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "%5D%5D%3E%3Cmeeting%3E%26%23x0d%3B",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_becomes_a_header() {
    let pool = Builder::new(1).config("[log]\nlevel = \"debug\"\n").start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    front.create("room", "").await;
    for evil in EVIL {
        let name = evil.to_owned();
        let on_host = format!("https%3A%2F%2Flms.test%2F{evil}");
        let in_host = format!("https%3A%2F%2F{evil}.lms.test%2F");
        for (what, call, query) in [
            ("a name", "join", format!("fullName={name}&meetingID=room&role=VIEWER")),
            ("an id", "join", format!("fullName=Ann&meetingID={name}&role=VIEWER")),
            ("a target", "join", format!("fullName=Ann&meetingID=none&role=VIEWER&errorRedirectUrl={on_host}")),
            ("a target's host", "join", format!("fullName=Ann&meetingID=none&role=VIEWER&errorRedirectUrl={in_host}")),
            ("a way out", "join", format!("fullName=Ann&meetingID=none&role=VIEWER&logoutURL={on_host}")),
            ("a user", "join", format!("fullName=Ann&meetingID=room&role=VIEWER&userID={name}&userdata-{name}={name}")),
            ("a meeting", "create", format!("name=Room&meetingID={name}&logoutURL={on_host}&meta_{name}={name}")),
            ("an unknown meeting", "getMeetingInfo", format!("meetingID=none{name}")),
            ("a tag", "create", format!("name=Room&meetingID=tagged&meta_server-tag={name}!")),
        ] {
            let target = format!("/bigbluebutton/api/{call}?{}", front.signed(call, &query));
            let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
            let said = say(&pool.http, request.as_bytes(), Duration::from_secs(5)).await;
            assert_eq!(said.statuses().len(), 1, "{what} {evil}: {said:?}");
            let (head, body) = said.text.split_once("\r\n\r\n").expect("an answer");
            for line in head.split(['\r', '\n']).filter(|line| !line.is_empty()).skip(1) {
                let field = line.split(':').next().unwrap().to_ascii_lowercase();
                let known = [
                    "content-type",
                    "content-length",
                    "x-request-id",
                    "location",
                    "cache-control",
                    "connection",
                    "date",
                ];
                assert!(known.contains(&field.as_str()), "{what} {evil}: {line:?} in {head:?}");
                assert!(line.is_ascii() && !line.contains('\0'), "{what} {evil}: {line:?}");
            }
            // An answer is one well-formed document, or none.
            if body.starts_with("<response>") {
                let document = Xml::parse(body);
                assert_eq!(document.name, "response", "{what} {evil}");
                assert!(!body.contains("<script>"), "{what} {evil}: {body}");
            }
        }
    }
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_join_lead_only_to_the_web() {
    let pool = Builder::new(1).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    for target in [
        "javascript%3Aalert(1)",
        "data%3Atext%2Fhtml%2Cx",
        "%2F%2Fevil.test",
        "%5C%5Cevil.test",
        "file%3A%2F%2F%2Fetc%2Fpasswd",
        "vbscript%3Ax",
        "%20javascript%3Aalert(1)",
        "java%0ascript%3Aalert(1)",
    ] {
        let query = format!("fullName=Ann&meetingID=none&role=VIEWER&errorRedirectUrl={target}&logoutURL={target}");
        let answer = front.get("join", &query).await;
        let location = answer.header("location").unwrap_or_else(|| panic!("{target}: {answer:?}"));
        assert!(location.starts_with(&pool.http), "{target}: {location}");
    }
    // Without a signature there is only our own page, whatever the query says.
    let answer = front.fetch(&format!("{}/join?errorRedirectUrl=https%3A%2F%2Fevil.test&checksum=1", front.api)).await;
    assert!(answer.headers["location"].starts_with(&pool.http), "{answer:?}");
    still_well(&pool, pid).await;
}

/// A line of the log is a line: nothing a caller sends begins a new one, and what is secret is in none.
#[tokio::test(flavor = "multi_thread")]
async fn no_caller_forges_a_line_of_the_log() {
    for format in ["text", "json"] {
        let config = format!("[log]\nlevel = \"debug\"\nformat = \"{format}\"\n");
        let pool = Builder::new(1).config(&config).start().await;
        let (front, pid) = (pool.front_end(), pool.pid());
        let forged = "%0a2026-01-01T00:00:00.000Z%20error%20FORGED%20line";
        front.get("create", &format!("name=x{forged}&meetingID=room{forged}")).await;
        front.get("getMeetingInfo", &format!("meetingID=none{forged}")).await;
        front.get("join", &format!("fullName=x{forged}&meetingID=none{forged}&role=VIEWER")).await;
        for fields in ["X-Request-Id: FORGED", "X-Forwarded-For: FORGED", "User-Agent: FORGED", "Host: FORGED"] {
            let host = if fields.starts_with("Host") { "" } else { "Host: t\r\n" };
            let target = format!("/bigbluebutton/api/FORGED{forged}?FORGED{forged}");
            let request = format!("GET {target} HTTP/1.1\r\n{host}{fields}\r\nConnection: close\r\n\r\n");
            say(&pool.http, request.as_bytes(), Duration::from_secs(4)).await;
        }
        say(&pool.http, b"FORGED\x1b[31m\nFORGED / HTTP/1.1\r\n\r\n", Duration::from_secs(4)).await;
        still_well(&pool, pid).await;
        let checksum = front.checksum("getMeetingInfo", "meetingID=marker");
        let marked = front.get("getMeetingInfo", "meetingID=marker").await;
        let id = marked.headers["x-request-id"].clone();
        let log = eventually("the last line is written", || async {
            let log = pool.log();
            log.contains(&id).then_some(log)
        })
        .await;
        for line in log.lines() {
            let good = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["time"].is_string()),
                _ => line.starts_with("20") && line.get(10..11) == Some("T"),
            };
            assert!(good, "{line:?}");
            // The meeting of a failed call is named, without what could begin a line.
            let line = &line.replace("room2026-01-01T00:00:00.000Z error FORGED line", "");
            let line = &line.replace("none2026-01-01T00:00:00.000Z error FORGED line", "");
            assert!(!line.contains("FORGED") && !line.contains('\x1b'), "{line:?}");
            assert!(!line.contains(&checksum) && !line.contains("secret"), "{line:?}");
        }
    }
}
