//! What a site has in its answers: fields of its own, none of the servers' that it does not want, and compressed text.

use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::origin::{Origin, text};
use crate::harness::{Pool, say};
use crate::tls::client::{config, connect};
use crate::tls::maker::{Maker, certificates};
use crate::tls::streams::ask;

const PATIENCE: Duration = Duration::from_secs(8);
const HEADERS: &str = "[headers]\nset = [\"X-Frame-Options: SAMEORIGIN\", \"Permissions-Policy: camera=(self)\"]\n\
    remove = [\"X-Powered-By\"]\n";
const COMPRESSION: &str = "[compression]\nalgorithms = [\"br\", \"gzip\"]\n";

async fn pool(more: &str) -> (Origin, Pool) {
    let origin = Origin::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let pool = origin.pool("path", more).await;
    (origin, pool)
}

/// Head in lower case, and the body without chunks.
async fn get(pool: &Pool, line: &str, fields: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    let request = format!("{line}\r\nHost: p.example\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(said[..end].to_vec()).unwrap().to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(&said[end..]) } else { said[end..].to_vec() };
    (head, body)
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            assert_eq!(&bytes[end..], b"\r\n\r\n", "nothing behind the end");
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}

fn gunzip(bytes: &[u8]) -> String {
    let mut found = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut found).unwrap();
    found
}

fn unbrotli(bytes: &[u8]) -> String {
    let mut found = Vec::new();
    brotli::BrotliDecompress(&mut &*bytes, &mut found).unwrap();
    String::from_utf8(found).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_do_not_say_what_they_are_unless_they_shall() {
    let (_origin, pool) = pool("").await;
    let (head, _) = get(&pool, "GET /origin/text HTTP/1.1", "").await;
    assert!(!head.contains("server:") && head.contains("x-powered-by: express"), "{head}");
    assert!(head.contains("x-frame-options: allowall"));
    let (_origin, pool) = self::pool("[headers]\nserver = \"keep\"\n").await;
    assert!(get(&pool, "GET /origin/text HTTP/1.1", "").await.0.contains("server: nginx/1.25"));
    assert!(!get(&pool, "GET / HTTP/1.1", "").await.0.contains("server:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sites_own_fields_are_in_every_answer_once() {
    let (_origin, pool) = pool(&format!("{HEADERS}server = \"ours\"\n")).await;
    let front = pool.front_end();
    let call = front.url("getMeetings", "").replacen(&pool.http, "", 1);
    for line in ["GET /origin/text", "GET /origin/hello", "GET /", "GET /nowhere", &format!("GET {call}")] {
        let (head, _) = get(&pool, &format!("{line} HTTP/1.1"), "").await;
        for field in ["x-frame-options: sameorigin", "permissions-policy: camera=(self)", "server: ours"] {
            assert_eq!(head.matches(field).count(), 1, "{line}: {field}: {head}");
        }
        assert_eq!(head.matches("x-frame-options").count(), 1, "{line}: {head}");
        assert!(!head.contains("x-powered-by"), "{line}: {head}");
    }
    // A change is taken up by a reload, and what makes no sense is not.
    let config = std::fs::read_to_string(pool.config_path()).unwrap();
    std::fs::write(pool.config_path(), config.replace("SAMEORIGIN", "DENY")).unwrap();
    pool.signal("HUP");
    crate::harness::eventually("the new field is there", || async {
        get(&pool, "GET / HTTP/1.1", "").await.0.contains("x-frame-options: deny").then_some(())
    })
    .await;
    std::fs::write(pool.config_path(), config.replace("X-Frame-Options", "Content-Length")).unwrap();
    let check = pool.cli(&["check"]);
    let said = String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success() && said.contains("Content-Length cannot be set"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_compressed_for_who_takes_it() {
    let (origin, pool) = pool(COMPRESSION).await;
    for (path, accept, coding) in [
        ("/origin/text", "gzip, deflate, br", Some("br")),
        ("/origin/text?chunked", "gzip", Some("gzip")),
        ("/origin/text", "gzip;q=0, identity", None),
        ("/origin/text?short", "gzip", None),
        ("/origin/text?image", "gzip", None),
        ("/origin/text?encoded", "gzip", None),
        ("/origin/text?fixed", "gzip", None),
        ("/origin/playback/text", "gzip", None),
    ] {
        let (head, body) = get(&pool, &format!("GET {path} HTTP/1.1"), &format!("Accept-Encoding: {accept}\r\n")).await;
        let found = head.split("content-encoding: ").nth(1).map(|rest| rest.split('\r').next().unwrap());
        if path.ends_with("encoded") {
            assert_eq!(found, Some("zstd"), "{head}");
        } else {
            assert_eq!(found, coding, "{path} {accept}: {head}");
        }
        match coding {
            Some(coding) => {
                let plain = if coding == "br" { unbrotli(&body) } else { gunzip(&body) };
                assert!(plain == text() && body.len() < plain.len() / 3, "{path}: {} bytes", body.len());
                assert!(head.contains("etag: w/\"a\"") && head.contains("vary: accept-encoding"), "{head}");
                assert!(!head.contains("content-length") && !head.contains("accept-ranges"), "{head}");
            }
            None if path == "/origin/text" => assert!(head.contains("vary: accept-encoding"), "{head}"),
            None => assert!(!head.contains("vary:"), "{path}: {head}"),
        }
    }
    // The server is asked as the browser asked, so it may compress by itself.
    assert!(origin.seen().iter().any(|seen| seen.all("accept-encoding") == ["gzip, deflate, br"]));
    let accept = "Accept-Encoding: gzip\r\n";
    let (head, body) = get(&pool, "HEAD /origin/text HTTP/1.1", accept).await;
    assert!(head.contains("content-encoding: gzip") && !head.contains("content-length") && body.is_empty(), "{head}");
    let (head, body) = get(&pool, "GET /origin/text HTTP/1.0", accept).await;
    assert!(!head.contains("content-encoding") && body == text().as_bytes(), "{head}");
    let (head, _) = get(&pool, "GET /origin/text HTTP/1.1", "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n").await;
    assert!(!head.contains("content-encoding"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_behind_compressed_answers() {
    let (origin, pool) = pool(COMPRESSION).await;
    let ask = |path: &str, last: &str| {
        format!("GET /origin{path} HTTP/1.1\r\nHost: p.example\r\nAccept-Encoding: gzip\r\n{last}\r\n")
    };
    let text = [ask("/text", ""), ask("/text?chunked", ""), ask("/hello", "Connection: close\r\n")].concat();
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(said.ends_with(b"\r\n\r\nhello"));
    let connections: Vec<usize> = origin.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.iter().all(|connection| *connection == connections[0]), "kept: {connections:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_slowly_is_not_held_back() {
    let (_origin, pool) = pool(COMPRESSION).await;
    let request = "GET /origin/pauses HTTP/1.1\r\nHost: p.example\r\nAccept-Encoding: gzip\r\n\r\n";
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // The server says nothing more for a minute.
    timeout(PATIENCE, async {
        loop {
            stream.read_buf(&mut said).await.unwrap();
            let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let mut rest = &said[end + 4..];
            let mut gathered = Vec::new();
            while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
                gathered.extend_from_slice(&rest[line + 2..line + 2 + size]);
                rest = &rest[line + 4 + size..];
            }
            let mut found = [0; 5];
            if flate2::read::GzDecoder::new(&gathered[..]).read_exact(&mut found).is_ok() {
                assert_eq!(&found, b"first");
                return;
            }
        }
    })
    .await
    .expect("it arrives while the server pauses");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_http_2() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let https = format!("127.0.0.1:{}", crate::harness::free_port());
    let origin = Origin::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let more = format!("{HEADERS}{COMPRESSION}[tls]\n{}", certificates(&[&files]));
    let pool = origin.pool_with("path", &more, &[("USHER_LISTEN__HTTPS", &https)]).await;
    let stream = connect(&https, "bbb.example.test", &Arc::new(config(&maker, &["h2"]))).await.unwrap();
    let (sender, connection) = h2::client::Builder::new().handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::get("https://bbb.example.test/origin/text").header("accept-encoding", "identity");
    let (status, headers, body) = ask(&sender, request.body(()).unwrap(), None).await.unwrap();
    assert_eq!((status, headers.get_all("x-frame-options").iter().count()), (200, 1), "{headers:?}");
    assert!(headers["x-frame-options"] == "SAMEORIGIN" && !headers.contains_key("x-powered-by") && body == text());
    let request = Request::get("https://bbb.example.test/origin/text").header("accept-encoding", "gzip");
    let mut sender = sender.clone().ready().await.unwrap();
    let (answer, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let (mut body, mut bytes) = (answer.into_body(), Vec::new());
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(gunzip(&bytes), text());
    drop(sender);
    driver.abort();
    // And a page of ours.
    let said = say(&pool.http, b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", PATIENCE).await;
    assert!(said.text.contains("X-Frame-Options: SAMEORIGIN"), "{}", said.text);
}
