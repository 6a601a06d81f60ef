//! Heads that are too much: many fields, long fields, long lines, and heads that come in crumbs. The caller is told so:
//! an answer that the kernel throws away with the connection would send people looking for a fault of the network.

use std::time::Duration;

use super::still_well;
use crate::harness::{Builder, connect_from, say, say_on};

const PATIENCE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_answered_in_words() {
    let pool = Builder::new(1).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let fields = |count: usize| (0..count).map(|number| format!("X-Field-{number}: x\r\n")).collect::<String>();
    let get = |fields: &str| format!("GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{fields}\r\n");
    let long = |length: usize| format!("X-Long: {}\r\n", "x".repeat(length));
    let query = front.signed("create", &format!("name=Room&meetingID=long&welcome={}", "x".repeat(100_000)));
    let cases = [
        ("200 fields", get(&fields(200)), 200),
        ("1000 fields", get(&fields(1000)), 431),
        ("100 000 fields", get(&fields(100_000)), 431),
        ("a field of 32 KiB", get(&long(32 << 10)), 200),
        ("a field of 2 MiB", get(&long(2 << 20)), 431),
        ("a field of 7 MiB", get(&long(7 << 20)), 431),
        (
            "a query of 100 kB",
            format!("GET /bigbluebutton/api/create?{query} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"),
            414,
        ),
        ("a line of 3 MB", format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(3_000_000)), 431),
        (
            "a path of 60 kB",
            format!("GET /{} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "x".repeat(60_000)),
            404,
        ),
    ];
    for (what, request, status) in cases {
        let said = say(&pool.http, request.as_bytes(), PATIENCE).await;
        let shown: String = said.text.chars().take(300).collect();
        assert_eq!((said.statuses(), said.closed), (vec![status], true), "{what}: {shown}");
        assert!(status != 431 || said.text.contains("too "), "{what}: {shown}");
    }
    assert!(pool.holders("long").is_empty());
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_bodies_end_by_themselves_and_others_are_served_meanwhile() {
    let config = "[limits]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nkeepalive = \"1s\"\n";
    let pool = Builder::new(1).config(config).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let form = "POST /bigbluebutton/api/create HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded";
    let slides = front.signed("create", "name=Room&meetingID=slow");
    let mut callers = Vec::new();
    for (what, bytes, allowed) in [
        ("nothing", String::new(), &[][..]),
        ("half a line", "GET /livez HT".to_owned(), &[]),
        ("half a head", "GET /livez HTTP/1.1\r\nHost: t\r\nX-Slow: ".to_owned(), &[]),
        ("half a form", format!("{form}\r\nContent-Length: 100\r\n\r\nname=x"), &[408]),
        ("half a chunk", format!("{form}\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nname=x"), &[408]),
        (
            "half the slides",
            format!(
                "POST /bigbluebutton/api/create?{slides} HTTP/1.1\r\nHost: t\r\nContent-Type: application/xml\r\n\
                 Content-Length: 1000\r\n\r\n<modules>"
            ),
            &[408],
        ),
        ("a request, then nothing", "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), &[200]),
    ] {
        for _ in 0..20 {
            let (origin, bytes) = (pool.http.clone(), bytes.clone());
            callers.push(tokio::spawn(async move {
                let said = say(&origin, bytes.as_bytes(), Duration::from_secs(8)).await;
                assert!(said.closed, "{what}: still open: {said:?}");
                assert_eq!(said.statuses(), allowed, "{what}: {said:?}");
            }));
        }
    }
    still_well(&pool, pid).await;
    for caller in callers {
        caller.await.unwrap();
    }
    // Who does not take the answer loses it, and holds nothing up.
    let mut deaf = connect_from(1, &pool.http).await;
    let said = say_on(&mut deaf, b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n", Duration::from_millis(200)).await;
    assert_eq!(said.statuses(), [200]);
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_methods_and_targets_are_answered() {
    let pool = Builder::new(1).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let query = front.signed("create", "name=Room&meetingID=odd");
    let api = format!("/bigbluebutton/api/create?{query}");
    for (line, allowed) in [
        ("CONNECT example.org:443".to_owned(), &[400, 404, 405][..]),
        ("CONNECT /".to_owned(), &[200, 400, 404, 405]),
        ("OPTIONS *".to_owned(), &[400, 404, 405]),
        ("GET *".to_owned(), &[400, 404]),
        ("GET example.org".to_owned(), &[400, 404]),
        (format!("PUT {api}"), &[200]),
        (format!("DELETE {api}"), &[200]),
        (format!("TRACE {api}"), &[200, 405]),
        (format!("OPTIONS {api}"), &[200]),
        (format!("get {api}"), &[200, 400]),
        (format!("GETX {api}"), &[200]),
        (format!("GET https://evil.test:443{api}#fragment"), &[400]),
        ("GET http://".to_owned(), &[400, 404]),
        ("GET http:///x".to_owned(), &[400, 404]),
        ("GET ftp://t/x".to_owned(), &[400, 404]),
        ("GET  /livez".to_owned(), &[400, 404]),
        ("GET http://t:99999/x".to_owned(), &[400, 404]),
        ("GET /livez?a=\"b\"".to_owned(), &[400]),
        ("GET /livez?a=<b>".to_owned(), &[400]),
        ("GET /livez`".to_owned(), &[400]),
        ("GET /livez#fragment".to_owned(), &[200]),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let said = say(&pool.http, request.as_bytes(), PATIENCE).await;
        let status = said.statuses();
        assert!(status.len() == 1 && allowed.contains(&status[0]) && said.closed, "{line}: {said:?}");
        assert!(!said.text.contains("SUCCESS") || line.starts_with("OPTIONS *"), "{line}: {said:?}");
        // No echo of the request: TRACE would show a proxy's fields to scripts.
        assert!(!said.text.contains("Host: t"), "{line}: {said:?}");
    }
    assert!(pool.holders("odd").is_empty());
    still_well(&pool, pid).await;
}
