//! Requests that are too much, or of a kind that BBB does not take.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Builder, get_raw, send_raw};

#[tokio::test(flavor = "multi_thread")]
async fn content_types_are_those_of_bbb() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    for (call, query, content_type) in [
        ("create", "name=Room&meetingID=other", "application/json"),
        ("create", "name=Room&meetingID=other", "text/plain"),
        ("getMeetingInfo", "meetingID=room", "application/xml"),
        ("end", "meetingID=room", "application/json"),
        ("isMeetingRunning", "meetingID=room", "text/xml"),
    ] {
        let answer = moodle.post(call, query, content_type, "<x/>").await;
        assert_eq!((answer.status, answer.key().as_str()), (200, "unsupportedContentType"), "{call} {content_type}");
    }
    let query = moodle.signed("create", "name=Room&meetingID=other");
    let request = format!(
        "POST /bigbluebutton/api/create?{query} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<x/>"
    );
    assert_eq!(send_raw(&pool.http, request.as_bytes()).await.key(), "unsupportedContentType", "a body of no type");
    // The signature is looked at first.
    let answer = moodle.post("create", "name=Room&meetingID=other&checksum=1", "text/plain", "x").await;
    assert_eq!(answer.key(), "checksumError");
    assert!(pool.holders("other").is_empty());
    assert_eq!(pool.holders("room"), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_and_queries_are_bounded() {
    let pool = Builder::new(1).config("[api]\nmax_params = 20\nmax_query = \"2KiB\"\n").start().await;
    let moodle = pool.front_end();
    let many: String = (0..30).map(|number| format!("&p{number}=x")).collect();
    let answer = moodle.get("create", &format!("name=Room&meetingID=room{many}")).await;
    assert_eq!((answer.returncode().as_str(), answer.key().as_str()), ("FAILED", "requestTooLarge"), "{}", answer.body);
    let body = format!("name=Room&meetingID=room{many}");
    let request = moodle.http.post(format!("{}/create", moodle.api));
    let answer = moodle.send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await;
    assert_eq!(answer.key(), "requestTooLarge");
    let long = moodle.get("create", &format!("name=Room&meetingID=room&welcome={}", "x".repeat(3000))).await;
    assert_eq!((long.status, long.key().as_str()), (414, "requestTooLarge"));
    assert!(pool.holders("room").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_an_answer_and_change_nothing() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    for target in [
        "/bigbluebutton/api/create?%",
        "/bigbluebutton/api/create?&&&",
        "/bigbluebutton/api/create?checksum",
        "/bigbluebutton/api/create?checksum=&name=x",
        "/bigbluebutton/api/getMeetings?checksum=%00%ff",
    ] {
        let answer = get_raw(&pool.http, target.as_bytes()).await;
        assert_eq!((answer.status, answer.key().as_str()), (200, "checksumError"), "{target}");
    }
    let answer = get_raw(&pool.http, b"/bigbluebutton/api/join?\xff=\xfe&checksum=1").await;
    assert_eq!(answer.status, 400, "raw bytes that are no UTF-8 make no URL");
    let query = "name=%FF%FE+room&meetingID=not-utf8&meta_x=%C3";
    let answer = moodle.get("create", query).await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    moodle.create("after", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_may_come_in_any_framing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    // A form in chunks, without a length.
    let checksum = moodle.checksum("create", "meetingID=chunked&name=Room");
    let form = format!("name=Room&meetingID=chunked&checksum={checksum}");
    let (first, second) = form.split_at(10);
    let request = format!(
        "POST /bigbluebutton/api/create HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    assert_eq!(send_raw(&pool.http, request.as_bytes()).await.returncode(), "SUCCESS");

    // PHP sends a large body only after a word from the server.
    let query = moodle.signed("create", "name=Room&meetingID=expected");
    let body = "<modules/>";
    let head = format!(
        "POST /bigbluebutton/api/create?{query} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nExpect: 100-continue\r\n\
         Content-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("<returncode>SUCCESS"), "{answer}");

    // And is spared a body that would be refused anyway.
    let query = moodle.signed("create", "name=Room&meetingID=spared").replace("checksum=", "checksum=0");
    let head = format!(
        "POST /bigbluebutton/api/create?{query} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nExpect: 100-continue\r\n\
         Content-Type: application/xml\r\nContent-Length: 10\r\n\r\n"
    );
    let answer = send_raw(&pool.http, head.as_bytes()).await;
    assert_eq!((answer.status, answer.key().as_str()), (200, "checksumError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_not_waited_for_on_either_listener() {
    let pool = Builder::new(1).config("[limits]\nheader_timeout = \"300ms\"\n").start().await;
    for origin in [&pool.http, &pool.admin] {
        let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\nX-Slow: ").await.unwrap();
        let mut said = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "{origin} holds the connection");
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{origin} answered half a head");
        assert_eq!(get_raw(origin, b"/livez").await.status, 200, "{origin}");
    }
}
