//! Plain HTTP sends to HTTPS, and HTTPS asks to be stayed with.

use super::maker::{Maker, secure};
use crate::harness::{say, send_raw};

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_says_where_https_is_but_not_to_probes() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test", "*.rooms.example.test"]);
    let (builder, _) = secure(1, &[&files]);
    let builder = builder.set("USHER_LISTEN__PUBLIC_URL", "https://bbb.example.test");
    let pool = builder.set("USHER_LISTEN__REDIRECT_TO_HTTPS", "true").start().await;
    let ask = async |method: &str, host: &str, target: &str, more: &str| {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
        send_raw(&pool.http, head.as_bytes()).await
    };
    let query = "/bigbluebutton/api/join?fullName=A+%C3%A4&x=y?z&checksum=12";
    for (method, host, target, status, location) in [
        ("GET", "bbb.example.test", "/", 301, "https://bbb.example.test/"),
        (
            "GET",
            "bbb.example.test:8080",
            query,
            301,
            "https://bbb.example.test/bigbluebutton/api/join?fullName=A+%C3%A4&x=y?z&checksum=12",
        ),
        ("HEAD", "BBB.example.test", "/a", 301, "https://bbb.example.test/a"),
        ("POST", "one.rooms.example.test", "/b", 308, "https://one.rooms.example.test/b"),
        // Not ours: to our own address, and never to theirs.
        ("GET", "evil.example", "/c", 301, "https://bbb.example.test/c"),
        ("GET", "bbb.example.test.evil.example", "/d", 301, "https://bbb.example.test/d"),
        ("GET", "bbb.example.test", "//evil.example/e", 301, "https://bbb.example.test//evil.example/e"),
    ] {
        let more = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let answer = ask(method, host, target, more).await;
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{method} {host} {target}");
        assert_eq!(answer.header("strict-transport-security"), None);
    }
    assert_eq!(ask("GET", "bbb.example.test", "/livez", "").await.status, 200);
    assert_eq!(ask("GET", "bbb.example.test", "/readyz", "").await.status, 200);
    assert_eq!(ask("GET", "bbb.example.test", "/.well-known/acme-challenge/token", "").await.status, 404);
    // Nobody may say so who is no trusted proxy.
    let answer = ask("GET", "bbb.example.test", "/", "X-Forwarded-Proto: https\r\n").await;
    assert_eq!(answer.status, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_with_tls_nobody_is_sent_round_in_circles() {
    let builder = crate::harness::Builder::new(1).set("USHER_LISTEN__PUBLIC_URL", "https://bbb.example.test:8443");
    let builder = builder.set("USHER_LISTEN__REDIRECT_TO_HTTPS", "true").set("USHER_TLS__HSTS", "max-age=86400");
    let pool = builder.set("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.1").start().await;
    let ask = async |more: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: bbb.example.test\r\nConnection: close\r\n{more}\r\n");
        send_raw(&pool.http, head.as_bytes()).await
    };
    let answer = ask("X-Forwarded-Proto: https\r\n").await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, Some("max-age=86400")));
    let answer = ask("X-Forwarded-Proto: http\r\n").await;
    assert_eq!((answer.status, answer.header("location")), (301, Some("https://bbb.example.test:8443/")));
    assert_eq!(ask("").await.status, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_answers_over_https_ask_for_it() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.config("hsts = \"max-age=31536000; includeSubDomains\"\n").start().await;
    let config = std::sync::Arc::new(super::client::config(&maker, &[]));
    let mut stream = super::client::connect(&address, "bbb.example.test", &config).await.unwrap();
    for path in ["/livez", "/bigbluebutton/api", "/nothing"] {
        let answer = super::client::get(&mut stream, path).await;
        assert!(answer.contains("\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n"), "{answer}");
    }
    let said = say(
        &pool.http,
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        std::time::Duration::from_secs(5),
    )
    .await;
    assert!(said.text.starts_with("HTTP/1.1 200") && !said.text.contains("Strict-Transport"), "{}", said.text);
}
