//! WebSockets through the edge: bytes after the 101 are nobody's business.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::origin::{Origin, big};
use crate::harness::{Browser, Builder, Pool, eventually, say};

const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OPENING: &str = "Host: p.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: k\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\nOrigin: http://p.example\r\n\
    Cookie: JSESSIONID=1\r\nUser-Id: evil\r\n\r\n";

async fn opened(pool: &Pool, early: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    let request = format!("GET /origin/ws?sessionToken=T HTTP/1.1\r\n{OPENING}");
    stream.write_all(&[request.as_bytes(), early].concat()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn a_websocket_opens_and_carries_bytes_both_ways() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let (mut stream, head) = opened(&pool, b"sent too soon").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for line in ["Sec-WebSocket-Accept: x", "Sec-WebSocket-Protocol: graphql-transport-ws", "Upgrade: websocket"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    let seen = origin.last();
    assert_eq!(seen.line(), "GET /ws?sessionToken=T HTTP/1.1");
    assert_eq!(seen.all("upgrade"), ["websocket"]);
    assert_eq!(seen.all("connection"), ["Upgrade"]);
    assert_eq!(seen.all("origin"), ["http://p.example"]);
    assert_eq!(seen.all("sec-websocket-key"), ["k"]);
    assert_eq!(seen.all("cookie"), ["JSESSIONID=1"]);
    assert!(seen.all("user-id").is_empty());
    let mut early = vec![0; 18];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(early, b"EARLYsent too soon");
    eventually("the connection is counted", || async {
        pool.metrics().await.contains("usher_websocket_connections{server=\"origin\"} 1").then_some(())
    })
    .await;

    assert_eq!(pool.server_status("origin").await["connections"], 1);
    assert!(pool.metrics().await.contains("usher_server_connections{server=\"origin\"} 1"));
    let table = pool.cli_ok(&["status"]);
    let row = table.lines().find(|line| line.starts_with("origin")).unwrap();
    assert!(table.contains("CONNECTIONS") && row.split_whitespace().rev().take(2).eq(["0", "1"]), "{table}");
    // Much at once, both ways; then the browser has no more to say, and still hears the rest.
    let sent = big();
    let (mut from, mut to) = stream.into_split();
    let writing = tokio::spawn(async move {
        to.write_all(&big()).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    from.read_to_end(&mut heard).await.unwrap();
    writing.await.unwrap();
    assert!(heard.ends_with(b"END") && heard[..heard.len() - 3] == sent[..], "changed on the way");
    eventually("the books are closed", || async {
        let metrics = pool.metrics().await;
        let told = metrics.contains("usher_websocket_connections{server=\"origin\"} 0")
            && metrics.contains("usher_server_connections{server=\"origin\"} 0")
            && metrics.contains("usher_websocket_duration_seconds_count{server=\"origin\"} 1")
            && metrics.contains(&format!(
                "usher_websocket_bytes_total{{direction=\"in\",server=\"origin\"}} {}",
                sent.len() + 13
            ));
        told.then_some(())
    })
    .await;
}

/// What nginx and HAProxy carry too (RFC 9110 sections 5.6.1 and 7.8).
#[tokio::test]
async fn an_opening_may_be_spelled_in_all_legal_ways() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let usual = ("Connection: Upgrade\r\n", "Upgrade: websocket\r\n");
    for (connection, upgrade, more) in [
        (usual.0, usual.1, "Content-Length: 0\r\n"),
        ("Connection: keep-alive\r\nConnection: Upgrade\r\n", usual.1, ""),
        ("Connection: Upgrade\r\nConnection: keep-alive\r\n", usual.1, ""),
        ("Connection: Upgrade, HTTP2-Settings, x-own\r\n", usual.1, "X-Own: 1\r\n"),
        ("Connection: Upgrade, Upgrade\r\n", usual.1, ""),
        ("Connection: close, Upgrade\r\n", usual.1, ""),
        (usual.0, "Upgrade: websocket\r\nUpgrade: websocket\r\n", ""),
        (usual.0, "Upgrade: h2c, websocket\r\n", ""),
        (usual.0, "Upgrade: WebSocket,foo/1\r\n", ""),
        (usual.0, "Upgrade: foo\r\nUpgrade: websocket\r\n", "Content-Length: 0\r\n"),
    ] {
        let opening = format!(
            "GET /origin/ws HTTP/1.1\r\nHost: p.example\r\n{connection}{upgrade}{more}Sec-WebSocket-Key: k\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        let said = say(&pool.http, format!("{opening}hello").as_bytes(), Duration::from_millis(300)).await;
        assert!(said.text.starts_with("HTTP/1.1 101 ") && said.text.ends_with("EARLYhello"), "{opening} {said:?}");
        let seen = origin.last();
        assert_eq!((seen.all("connection"), seen.all("upgrade")), (vec!["Upgrade"], vec!["websocket"]), "{opening}");
        for gone in ["content-length", "x-own", "transfer-encoding"] {
            assert!(seen.all(gone).is_empty(), "{opening}");
        }
    }
    let opened = 10;
    let metrics = pool.metrics().await;
    let count = |code: &str| format!("usher_http_requests_total{{code=\"{code}\",listener=\"http\",route=\"client\"}}");
    assert!(metrics.contains(&format!("{} {opened}\n", count("1xx"))), "{metrics}");
    assert!(!metrics.contains(&count("5xx")), "an opened WebSocket is no failure: {metrics}");
}

/// A body on an opening could hide a request, so nothing of it reaches the server as a WebSocket.
#[tokio::test]
async fn an_opening_with_a_body_is_none() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let hidden = "GET /origin/hidden HTTP/1.1\r\nHost: p.example\r\n\r\n";
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (fields, body) in [
        (format!("Content-Length: {}\r\n", hidden.len()), hidden),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: chunked\r\n".to_owned(), &chunked),
        (format!("Content-Length: 0\r\nContent-Length: {}\r\n", hidden.len()), hidden),
    ] {
        let request = format!("GET /origin/hello HTTP/1.1\r\n{fields}{OPENING}{body}");
        let said = say(&pool.http, request.as_bytes(), Duration::from_secs(3)).await;
        assert!(!said.text.contains(" 101 "), "{fields}: {said:?}");
    }
    let lines: Vec<_> = origin.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert!(!lines.iter().any(|line| line.contains("hidden")), "{lines:?}");
    assert!(origin.seen().iter().all(|seen| seen.all("upgrade").is_empty()));
}

#[tokio::test]
async fn a_refused_websocket_is_an_ordinary_answer() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let request = format!(
        "GET /origin/ws/refuse HTTP/1.1\r\n{OPENING}GET /origin/hello HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n\r\n"
    );
    let said = say(&pool.http, request.as_bytes(), Duration::from_secs(5)).await;
    assert_eq!(said.statuses(), [401, 200], "{}", said.text);
}

#[tokio::test]
async fn a_websocket_to_nobody_is_refused_in_words() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "connect_timeout = \"500ms\"\n").await;
    pool.cli_ok(&["server", "add", "http://127.0.0.3:9", "--name", "nobody", "--secret", "s"]);
    let request = format!("GET /nobody/ws HTTP/1.1\r\n{OPENING}");
    eventually("the server is known", || async {
        let said = say(&pool.http, request.as_bytes(), Duration::from_millis(300)).await;
        (said.statuses() == [502]).then_some(())
    })
    .await;
    // The API knows no WebSockets.
    let said =
        say(&pool.http, format!("GET /bigbluebutton/api HTTP/1.1\r\n{OPENING}").as_bytes(), Duration::from_secs(1))
            .await;
    assert_eq!(said.statuses(), [200], "{}", said.text);
}

#[tokio::test]
async fn a_silent_websocket_is_closed_after_the_idle_time_and_a_talking_one_is_not() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "tunnel_idle = \"700ms\"\n").await;
    let (mut talking, _) = opened(&pool, b"").await;
    let (mut silent, _) = opened(&pool, b"").await;
    let mut early = [0; 5];
    talking.read_exact(&mut early).await.unwrap();
    let talk = async {
        let mut echo = [0; 1];
        // Longer than the idle time in all, however slow the machine is.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(2100) {
            talking.write_all(b"x").await.unwrap();
            talking.read_exact(&mut echo).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut heard = Vec::new();
    let (_, ended) = tokio::join!(talk, silent.read_to_end(&mut heard));
    assert!(ended.is_ok() && heard == b"EARLY", "{ended:?}");
    eventually("the log says why", || async {
        pool.log().lines().any(|line| line.contains("websocket closed") && line.contains("end=idle")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_ends_websockets() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let (mut stream, _) = opened(&pool, b"").await;
    pool.signal("TERM");
    let mut heard = Vec::new();
    assert!(stream.read_to_end(&mut heard).await.is_ok(), "closed, not reset");
    assert_eq!(pool.wait_exit().await, Some(0));
    assert!(pool.log().contains("end=drained"), "{}", pool.log());
}

#[tokio::test]
async fn either_end_closing_ends_the_other() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let (stream, _) = opened(&pool, b"").await;
    drop(stream);
    eventually("the server's side is closed too", || async {
        pool.metrics().await.contains("usher_websocket_connections{server=\"origin\"} 0").then_some(())
    })
    .await;
}

/// People are there before a poll tells: the next meeting goes elsewhere.
#[tokio::test]
async fn carried_clients_weigh_until_they_leave() {
    let builder = Builder::new(2).config("[edge]\nmode = \"path\"\n").set("USHER_HEALTH__POLL_INTERVAL", "30s");
    let pool = builder.start().await;
    let load = |name: &'static str| async { pool.server_status(name).await["load_mc"].as_f64().unwrap() };
    assert_eq!(load("bbb1").await, 0.0);
    let browser = Browser::new();
    let page = Url::parse(&pool.http).unwrap();
    let client = Url::parse(&format!("{}/bbb1/graphql", pool.http.replacen("http", "ws", 1))).unwrap();
    let mut sockets = Vec::new();
    for _ in 0..40 {
        sockets.push(browser.socket(&client, &page, Some("graphql-transport-ws")).await.unwrap());
    }
    eventually("they are counted", || async { (load("bbb1").await == 40.0 * 33.0).then_some(()) }).await;
    let status = pool.server_status("bbb1").await;
    assert_eq!((&status["carried"], &status["participants"]), (&40.into(), &0.into()), "{status}");
    assert!(pool.metrics().await.contains("usher_server_carried_people{server=\"bbb1\"} 40"));
    let table = pool.cli_ok(&["status"]);
    let row = table.lines().find(|line| line.starts_with("bbb1")).unwrap();
    assert!(table.contains("CARRIED") && row.trim_end().ends_with(" 40"), "{table}");

    let front = pool.front_end();
    front.create("room", "").await;
    assert_eq!(pool.holders("room"), [1]);
    let why: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["meeting", "why", "room", "--json"])).unwrap();
    let candidates = why["why"]["candidates"].as_array().unwrap();
    let first = candidates.iter().find(|candidate| candidate["server"] == "bbb1").unwrap();
    assert_eq!(first["unseen_people"], 40, "{why}");
    assert!(pool.cli_ok(&["meeting", "why", "room"]).contains("UNSEEN PEOPLE"));
    drop(sockets);
    eventually("they have left", || async { (load("bbb1").await == 0.0).then_some(()) }).await;
}
