//! Smuggling: two readers of the same bytes must not see different requests. Whatever is ambiguous gets 400 and the end
//! of the connection; and a request hidden in a body is never carried out.

use std::time::Duration;

use super::still_well;
use crate::harness::{Builder, FrontEnd, Pool, say};

const PATIENCE: Duration = Duration::from_secs(4);

/// A signed request that would make a meeting if anybody took it for a request.
fn hidden(front: &FrontEnd, meeting: &str) -> String {
    let query = front.signed("create", &format!("name=Hidden&meetingID={meeting}"));
    format!("GET /bigbluebutton/api/create?{query} HTTP/1.1\r\nHost: t\r\n\r\n")
}

fn hidden_meetings(pool: &Pool) -> usize {
    pool.servers[0].meetings().iter().filter(|meeting| meeting.name == "Hidden").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_lengths_and_encodings_are_refused_and_nothing_hidden_is_carried_out() {
    let pool = Builder::new(1).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let hidden = hidden(&front, "hidden");
    let length = hidden.len();
    // The head's fields, and whether refused outright; what is not refused may answer, but must end the connection there.
    let cases: &[(&str, bool)] = &[
        ("Content-Length: 0\r\nContent-Length: 7\r\n", true),
        ("Content-Length: 0, 7\r\n", true),
        ("Content-Length: +5\r\n", true),
        ("Content-Length: -1\r\n", true),
        ("Content-Length: 0x5\r\n", true),
        ("Content-Length: 5 5\r\n", true),
        ("Content-Length: 99999999999999999999999\r\n", true),
        ("Content-Length:\r\n", true),
        ("Transfer-Encoding: identity\r\n", true),
        ("Transfer-Encoding: xchunked\r\n", true),
        ("Transfer-Encoding: gzip, chunked\r\n", true),
        ("Transfer-Encoding: chunked, chunked\r\n", true),
        ("Transfer-Encoding: identity, chunked\r\n", true),
        ("Transfer-Encoding: ,chunked\r\n", true),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", true),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", true),
        ("Transfer-Encoding: chunked, identity\r\n", true),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", true),
        ("Transfer-Encoding: \x0bchunked\r\n", true),
        ("Transfer-Encoding: \"chunked\"\r\n", true),
        ("Transfer-Encoding:\r\n chunked\r\n", true),
        ("Transfer-Encoding : chunked\r\n", true),
        ("Transfer-Encoding\t: chunked\r\n", true),
        ("Content-Length : 0\r\n", true),
        (" Content-Length: 0\r\n", true),
        ("X-Folded: a\r\n Content-Length: 0\r\n", true),
        ("X-Nul: a\0b\r\n", true),
        ("X-Cr: a\rContent-Length: 0\r\n", true),
        ("Bad Name: x\r\n", true),
        (": no name\r\n", true),
        ("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n", false),
        ("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n", false),
        ("Content-Length: {length}\r\n", false),
        ("Content-Length: {length}\r\nContent-Length: {length}\r\n", false),
    ];
    let mut wrong = Vec::new();
    for (fields, refused) in cases {
        let fields = fields.replace("{length}", &length.to_string());
        for method in ["GET", "POST"] {
            let body = if fields.contains("chunked") { format!("0\r\n\r\n{hidden}") } else { hidden.clone() };
            let target = format!("/bigbluebutton/api/getMeetings?{}", front.signed("getMeetings", ""));
            let head = format!("{method} {target} HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
            let said = say(&pool.http, format!("{head}{body}").as_bytes(), PATIENCE).await;
            let good = match said.statuses()[..] {
                [400] => true,
                [200] => !refused,
                _ => false,
            };
            if !good || !said.closed || hidden_meetings(&pool) > 0 {
                wrong.push(format!("{method} {fields:?}: {said:?}, {} hidden", hidden_meetings(&pool)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_are_refused_and_nothing_behind_them_is_carried_out() {
    let pool = Builder::new(1).config("[limits]\nbody_timeout = \"1s\"\n").start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let hidden = hidden(&front, "hidden");
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    for chunks in [
        "FFFFFFFFFFFFFFFFF\r\nx\r\n",
        "ffffffffffffffff\r\nx\r\n",
        "7fffffffffffffff\r\nx\r\n",
        "-1\r\nx\r\n",
        "+1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "1 1\r\nx\r\n0\r\n\r\n",
        "g\r\nx\r\n",
        "\r\n\r\n",
        "1\r\nxx\r\n0\r\n\r\n",
        "1\nx\n0\n\n",
        "1\r\nx",
        "1;\"\r\nx\r\n",
        long_extension.as_str(),
    ] {
        let form = "Content-Type: application/x-www-form-urlencoded";
        let head =
            format!("POST /bigbluebutton/api/create HTTP/1.1\r\nHost: t\r\n{form}\r\nTransfer-Encoding: chunked");
        let said = say(&pool.http, format!("{head}\r\n\r\n{chunks}{hidden}").as_bytes(), PATIENCE).await;
        let shown: String = chunks.chars().take(40).collect();
        assert!(said.closed, "{shown:?} keeps the connection: {said:?}");
        assert!(matches!(said.statuses()[..], [200 | 400 | 408 | 413]), "{shown:?}: {said:?}");
        assert!(!said.text.contains("SUCCESS"), "{shown:?}: {said:?}");
        assert_eq!(hidden_meetings(&pool), 0, "{shown:?}: {said:?}");
    }
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_framing_is_understood() {
    let pool = Builder::new(1).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    // Two requests in one packet are answered in order.
    let two = format!(
        "{}{}",
        hidden(&front, "first"),
        hidden(&front, "second").replace("t\r\n", "t\r\nConnection: close\r\n")
    );
    let said = say(&pool.http, two.as_bytes(), PATIENCE).await;
    assert_eq!((said.statuses(), said.closed), (vec![200, 200], true), "{said:?}");
    assert!(said.text.find("first") < said.text.find("second"), "{said:?}");
    // What follows a request that ends the connection is not carried out, and does not cost the answer.
    let ended = hidden(&front, "third").replace("t\r\n", "t\r\nConnection: close\r\n") + &hidden(&front, "fourth");
    let said = say(&pool.http, ended.as_bytes(), PATIENCE).await;
    assert_eq!((said.statuses(), said.closed), (vec![200], true), "{said:?}");
    assert_eq!(pool.holders("fourth"), Vec::<usize>::new());
    // Extensions and trailers are skipped, whatever they say; the next request is read after them.
    let checksum = front.checksum("create", "meetingID=trailed&name=Room");
    let form = format!("name=Room&meetingID=trailed&checksum={checksum}");
    let next = hidden(&front, "after").replace("t\r\n", "t\r\nConnection: close\r\n");
    let trailed = format!(
        "POST /bigbluebutton/api/create HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x};a=b;c=\"d\"\r\n{form}\r\n0\r\nContent-Length: 500\r\nHost: u\r\n\r\n{next}",
        form.len()
    );
    let said = say(&pool.http, trailed.as_bytes(), PATIENCE).await;
    assert_eq!((pool.holders("trailed").len(), said.closed), (1, true), "{said:?}");
    assert!(matches!(said.statuses()[..], [200] | [200, 200]), "{said:?}");
    // Who wants the connection closed says so in any of its lines.
    for close in ["Connection: keep-alive\r\nConnection: close", "Connection: \u{fc}, close", "Connection: te, Close"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: t\r\n{close}\r\n\r\n");
        let said = say(&pool.http, request.as_bytes(), PATIENCE).await;
        assert_eq!((said.statuses(), said.closed), (vec![200], true), "{close}: {said:?}");
    }
    // Version 1.0 keeps nothing open unless asked, and knows no chunks.
    let old = say(&pool.http, b"GET /livez HTTP/1.0\r\nHost: t\r\n\r\n", PATIENCE).await;
    assert_eq!((old.statuses(), old.closed), (vec![200], true), "{old:?}");
    let chunked =
        b"POST /livez HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let said = say(&pool.http, chunked, PATIENCE).await;
    assert_eq!((said.statuses(), said.closed), (vec![400], true), "{said:?}");
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_1_is_refused_cleanly() {
    let pool = Builder::new(1).config("[limits]\nheader_timeout = \"1s\"\n").start().await;
    let pid = pool.pid();
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let proxy = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    for bytes in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice(),
        b"GET /livez\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: t\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: t\r\n\r\n",
        b"/livez\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        tls_hello,
        proxy,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"GET /livez ?x HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET  /livez HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /livez?a\0b HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /livez?a\rb HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /livez?a\tb HTTP/1.1\r\nHost: t\r\n\r\n",
        b"POST /livez?a b HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
        b"GET ftp://t/livez HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET file:///livez HTTP/1.1\r\nHost: t\r\n\r\n",
    ] {
        let said = say(&pool.http, bytes, PATIENCE).await;
        let shown = String::from_utf8_lossy(bytes);
        assert!(said.closed, "{shown:?}: {said:?}");
        assert!(matches!(said.statuses()[..], [] | [400]), "{shown:?}: {said:?}");
        assert!(!said.text.contains("alive"), "{shown:?}: {said:?}");
    }
    // Asking for another protocol changes nothing.
    let upgrade = b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let said = say(&pool.http, upgrade, PATIENCE).await;
    assert_eq!(said.statuses(), [200], "{said:?}");
    still_well(&pool, pid).await;
}
