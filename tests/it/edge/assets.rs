//! Files of client pages in memory: what is kept, for whom and for how long, and all that must not be.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use futures_util::future::join_all;
use http::Request;
use tokio::sync::Notify;

use super::origin::{BIG, Origin, Seen, big, text};
use crate::harness::{FrontEnd, Pool, eventually};
use crate::tls::client::{config, connect};
use crate::tls::maker::{Maker, certificates};
use crate::tls::streams::ask;

/// Lets the server answer for `held.js`.
static RELEASE: LazyLock<Notify> = LazyLock::new(Notify::new);

async fn pool(more: &str) -> (Origin, Pool) {
    let origin = Origin::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let pool = origin.pool("path", more).await;
    (origin, pool)
}

/// What the server answers below `/html5client/`.
pub async fn file(seen: &Seen, path: &str) -> Vec<u8> {
    let name = path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let takes_gzip = seen.all("accept-encoding").iter().any(|value| value.contains("gzip"));
    if seen.all("if-none-match") == ["\"v1\""] {
        return b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_vec();
    }
    let (mut status, mut media, mut lines) = ("200 OK", "application/javascript", String::new());
    let mut body = text().into_bytes();
    match name {
        "cookie.js" => lines.push_str("Set-Cookie: a=b; Path=/\r\n"),
        "private.js" => lines.push_str("Cache-Control: private, max-age=600\r\n"),
        "zero.js" => lines.push_str("Cache-Control: max-age=0\r\n"),
        "expires.js" => lines.push_str("Expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
        "language.js" => lines.push_str("Vary: Accept-Encoding, Accept-Language\r\n"),
        "zstd.js" => lines.push_str("Content-Encoding: zstd\r\n"),
        "page.js" => media = "text/html; charset=utf-8",
        "missing.js" => status = "404 Not Found",
        "large.js" => body = big(),
        "held.js" => RELEASE.notified().await,
        "varied.js" => lines.push_str("Vary: Accept-Encoding\r\nCache-Control: public, max-age=600\r\n"),
        _ => {}
    }
    if name == "main.js" && takes_gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).unwrap();
        body = encoder.finish().unwrap();
        lines.push_str("Content-Encoding: gzip\r\n");
    }
    let length = match name {
        "chunked.js" | "large.js" => "Transfer-Encoding: chunked".to_owned(),
        _ => format!("Content-Length: {}", body.len()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nServer: nginx\r\nDate: Thu, 01 Jan 2015 00:00:00 GMT\r\nContent-Type: {media}\r\nETag: \"v1\"\r\n\
         Last-Modified: Wed, 31 Dec 2014 00:00:00 GMT\r\nAccept-Ranges: bytes\r\nX-Case: KePt\r\n{lines}{length}\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    if seen.line().starts_with("HEAD") {
        return answer;
    }
    if length.starts_with("Transfer") {
        answer.extend(format!("{:x}\r\n", body.len()).into_bytes());
        body.extend(b"\r\n0\r\n\r\n");
    }
    answer.extend(body);
    answer
}

/// An answer as it came.
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    bytes: Vec<u8>,
}

/// By a client that decompresses nothing.
async fn send(pool: &Pool, method: reqwest::Method, path: &str, fields: &[(&str, &str)]) -> Got {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, format!("{}/origin/html5client/{path}", pool.http));
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Got { status: answer.status().as_u16(), headers, bytes: answer.bytes().await.unwrap().to_vec() }
}

async fn get(pool: &Pool, path: &str, fields: &[(&str, &str)]) -> Got {
    send(pool, reqwest::Method::GET, path, fields).await
}

fn asked(origin: &Origin, name: &str) -> usize {
    origin.seen().iter().filter(|seen| seen.line().contains(name)).count()
}

async fn counted(pool: &Pool, result: &str) -> usize {
    let line = format!("usher_asset_cache_total{{result=\"{result}\"}} ");
    let metrics = pool.metrics().await;
    metrics.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_fetched_once_for_all_who_can_read_it() {
    let (origin, pool) = pool("").await;
    for _ in 0..3 {
        let plain = get(&pool, "main.js", &[]).await;
        assert_eq!((plain.status, &*plain.bytes), (200, text().as_bytes()));
        assert_eq!(plain.headers["content-type"], "application/javascript");
        assert_eq!((&*plain.headers["etag"], &*plain.headers["x-case"]), ("\"v1\"", "KePt"));
        assert!(!plain.headers.contains_key("server") && plain.headers.contains_key("x-request-id"));
        assert_ne!(plain.headers["date"], "Thu, 01 Jan 2015 00:00:00 GMT", "of this answer");
    }
    assert_eq!(asked(&origin, "main.js"), 1);
    for accept in ["gzip, deflate", "gzip"] {
        let packed = get(&pool, "main.js", &[("accept-encoding", accept)]).await;
        assert_eq!((packed.status, &*packed.headers["content-encoding"]), (200, "gzip"));
        assert_eq!(packed.headers["content-length"].parse::<usize>().unwrap(), packed.bytes.len());
        assert!(packed.bytes.len() < text().len() / 3);
    }
    assert_eq!(asked(&origin, "main.js"), 2, "once more for those who take gzip");
    get(&pool, "main.js", &[("accept-encoding", "gzip, br")]).await;
    get(&pool, "main.js?v=2", &[]).await;
    assert_eq!(asked(&origin, "main.js"), 4, "for those who take brotli, and another version");
    assert_eq!((counted(&pool, "hit").await, counted(&pool, "miss").await), (3, 4));
    let metrics = pool.metrics().await;
    let bytes = metrics.lines().find_map(|line| line.strip_prefix("usher_asset_cache_bytes ")).unwrap();
    assert!(bytes.parse::<usize>().unwrap() > text().len());
    // Chunks have become one length.
    for _ in 0..2 {
        let whole = get(&pool, "chunked.js", &[]).await;
        assert_eq!(
            (&*whole.bytes, whole.headers["content-length"].parse().ok()),
            (text().as_bytes(), Some(text().len()))
        );
    }
    for _ in 0..2 {
        assert_eq!(get(&pool, "varied.js", &[]).await.headers["cache-control"], "public, max-age=600");
    }
    assert_eq!((asked(&origin, "chunked.js"), asked(&origin, "varied.js")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_it_is_told_so() {
    let (origin, pool) = pool("").await;
    let known = ("if-none-match", "\"v1\"");
    // Nothing is kept yet: the server says it.
    assert_eq!(get(&pool, "main.js", &[known]).await.status, 304);
    assert_eq!(asked(&origin, "main.js"), 1);
    get(&pool, "main.js", &[]).await;
    let date = "Wed, 31 Dec 2014 00:00:00 GMT";
    for fields in [&[known][..], &[("if-none-match", "\"a\", W/\"v1\"")], &[("if-modified-since", date)]] {
        let answer = get(&pool, "main.js", fields).await;
        assert_eq!((answer.status, answer.bytes.len()), (304, 0), "{fields:?}");
        assert_eq!(answer.headers["etag"], "\"v1\"");
        assert!(!answer.headers.contains_key("content-length"));
    }
    for fields in [&[("if-none-match", "\"v2\"")][..], &[("if-none-match", "\"v2\""), ("if-modified-since", date)]] {
        assert_eq!(get(&pool, "main.js", fields).await.status, 200, "{fields:?}");
    }
    let head = send(&pool, reqwest::Method::HEAD, "main.js", &[]).await;
    assert_eq!((head.status, head.headers["content-length"].parse().ok()), (200, Some(text().len())));
    assert_eq!(asked(&origin, "main.js"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_else_goes_to_the_server_each_time() {
    let (origin, pool) = pool("").await;
    for name in [
        "cookie.js",
        "private.js",
        "zero.js",
        "expires.js",
        "language.js",
        "zstd.js",
        "page.js",
        "missing.js",
        "rtt-check",
        "index.html",
        "main.js?sessionToken=abc",
    ] {
        for _ in 0..2 {
            let answer = get(&pool, name, &[]).await;
            assert_eq!(answer.status, if name == "missing.js" { 404 } else { 200 }, "{name}");
            assert_eq!(answer.bytes, text().as_bytes(), "{name}");
        }
        assert_eq!(asked(&origin, name), 2, "{name}");
    }
    for fields in [
        ("range", "bytes=0-3"),
        ("authorization", "Basic YTpi"),
        ("x-session-token", "abc"),
        ("cache-control", "no-cache"),
        ("host", "other.example"),
    ] {
        let before = asked(&origin, "main.js");
        get(&pool, "main.js", &[]).await;
        get(&pool, "main.js", &[]).await;
        let kept = asked(&origin, "main.js");
        assert!(kept <= before + 1);
        get(&pool, "main.js", &[fields]).await;
        assert_eq!(asked(&origin, "main.js"), kept + 1, "{fields:?}");
    }
    // It does not say its size before it is too large.
    for _ in 0..2 {
        assert_eq!(get(&pool, "large.js", &[]).await.bytes.len(), BIG);
    }
    assert_eq!(asked(&origin, "large.js"), 3, "begun to be kept, asked for again, and then never begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_at_once_are_one_for_the_server() {
    let (origin, pool) = pool("").await;
    let all = tokio::spawn({
        let url = format!("{}/origin/html5client/held.js", pool.http);
        let front = FrontEnd::new(&pool.http, "");
        async move { join_all((0..200).map(|_| front.fetch(&url))).await }
    });
    eventually("all are there", || async {
        let metrics = pool.metrics().await;
        let open = metrics.lines().find_map(|line| line.strip_prefix("usher_http_connections ")).unwrap();
        (open.parse::<usize>().unwrap() >= 200).then_some(())
    })
    .await;
    RELEASE.notify_one();
    let all = all.await.unwrap();
    assert!(all.iter().all(|answer| answer.status == 200 && answer.body == text()));
    assert_eq!(asked(&origin, "held.js"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_or_version_begins_anew() {
    let (origin, pool) = pool("asset_cache = \"16MiB\"\n[headers]\nset = [\"X-Site: one\"]\n").await;
    assert_eq!(get(&pool, "main.js", &[]).await.headers["x-site"], "one");
    assert_eq!(get(&pool, "main.js", &[]).await.headers["x-site"], "one");
    assert_eq!(asked(&origin, "main.js"), 1);
    let change = |from: &str, to: &str| {
        let config = std::fs::read_to_string(pool.config_path()).unwrap();
        assert!(config.contains(from));
        std::fs::write(pool.config_path(), config.replace(from, to)).unwrap();
        pool.signal("HUP");
    };
    change("X-Site: one", "X-Site: two");
    eventually("the new configuration is there", || async {
        (get(&pool, "main.js", &[]).await.headers["x-site"] == "two").then_some(())
    })
    .await;
    assert_eq!(asked(&origin, "main.js"), 2);
    pool.cli_ok(&["server", "set", "origin", "--version", "3.0.4"]);
    eventually("the new version is there", || async {
        get(&pool, "main.js", &[]).await;
        (asked(&origin, "main.js") == 3).then_some(())
    })
    .await;
    change("16MiB", "0");
    eventually("nothing is kept any more", || async {
        let before = asked(&origin, "main.js");
        get(&pool, "main.js", &[]).await;
        get(&pool, "main.js", &[]).await;
        (asked(&origin, "main.js") == before + 2).then_some(())
    })
    .await;
    change("asset_cache = \"0\"", "asset_cache = \"1KiB\"");
    let check = pool.cli(&["check"]);
    let said = String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success() && said.contains("between \"1MiB\" and \"64GiB\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_by_us_and_over_http_2() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let https = format!("127.0.0.1:{}", crate::harness::free_port());
    let origin = Origin::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let more = format!("[compression]\nalgorithms = [\"gzip\"]\n[tls]\n{}", certificates(&[&files]));
    let public = "https://bbb.example.test";
    let set = [("USHER_LISTEN__HTTPS", https.as_str()), ("USHER_LISTEN__PUBLIC_URL", public)];
    let pool = origin.pool_with("path", &more, &set).await;
    let stream = connect(&https, "bbb.example.test", &Arc::new(config(&maker, &["h2"]))).await.unwrap();
    let (sender, connection) = h2::client::Builder::new().handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let url = format!("{public}/origin/html5client/plain.js");
    let request = |fields: &[(&str, &str)]| {
        fields.iter().fold(Request::get(&url), |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    };
    for _ in 0..2 {
        let (status, headers, body) = ask(&sender, request(&[]), None).await.unwrap();
        assert_eq!((status, body), (200, text()));
        assert_eq!(headers["content-length"], text().len().to_string().as_str());
        let mut sender = sender.clone().ready().await.unwrap();
        let (answer, _) = sender.send_request(request(&[("accept-encoding", "gzip")]), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(
            (&answer.headers()["content-encoding"], &answer.headers()["etag"]),
            (&"gzip".parse().unwrap(), &"W/\"v1\"".parse().unwrap())
        );
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert!(length < text().len() / 3);
    }
    assert_eq!(asked(&origin, "plain.js"), 2);
    let (status, headers, body) = ask(&sender, request(&[("if-none-match", "\"v1\"")]), None).await.unwrap();
    assert_eq!((status, body.len(), headers.contains_key("content-length")), (304, 0, false));
    assert_eq!(asked(&origin, "plain.js"), 2);
    drop(sender);
    driver.abort();
    drop(pool);
}
