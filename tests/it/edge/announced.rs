//! PROXY headers on the public listeners: believed from trusted proxies, required of them, and refused from others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Builder, Pool, connect_from, eventually, say, say_on};

const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST: &[u8] =
    b"GET /livez HTTP/1.1\r\nHost: p.example\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n";

async fn pool(more: &[(&str, &str)]) -> Pool {
    let mut builder = Builder::new(1);
    for (name, value) in more {
        builder = builder.set(name, value);
    }
    builder.prepare().await
}

/// The harness itself must be let in without a header, so only 127.0.0.9 is a proxy.
async fn with_proxies() -> Pool {
    let mut pool =
        pool(&[("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.9"), ("USHER_LISTEN__PROXY_PROTOCOL", "true")]).await;
    pool.serve().await;
    pool
}

#[tokio::test]
async fn a_proxys_word_is_taken_in_both_versions() {
    let pool = with_proxies().await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([9, 8, 7, 6, 127, 0, 0, 1, 0, 80, 0, 80]);
    for (header, client) in [
        (b"PROXY TCP4 9.9.9.9 127.0.0.1 1234 80\r\n".to_vec(), "9.9.9.9"),
        (b"PROXY TCP6 2001:db8::1 ::1 1234 80\r\n".to_vec(), "2001:db8::1"),
        (v2, "9.8.7.6"),
        // Nobody is named: the connection's own address, and whoever speaks there is no trusted proxy (REQUEST forges).
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.9"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.9"),
    ] {
        let mut stream = connect_from(9, &pool.http).await;
        let said = say_on(&mut stream, &[&header[..], REQUEST].concat(), PATIENCE).await;
        assert_eq!(said.statuses(), [200], "{}", said.text);
        let line = format!(" client={client} method=GET");
        eventually(&line, || async { pool.log().contains(&line).then_some(()) }).await;
    }
    // Byte by byte, and the client of a TCP proxy is no proxy: what it forwards is its own invention.
    let mut stream = connect_from(9, &pool.http).await;
    for byte in [&b"PROXY TCP4 5.5.5.5 127.0.0.1 1234 80\r\n"[..], REQUEST].concat() {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    eventually("the client is told", || async { pool.log().contains(" client=5.5.5.5 ").then_some(()) }).await;
    assert!(!pool.log().contains("6.6.6.6"));
}

#[tokio::test]
async fn a_proxy_without_a_header_is_closed_and_told() {
    let pool = with_proxies().await;
    let mut stream = connect_from(9, &pool.http).await;
    let said = say_on(&mut stream, REQUEST, PATIENCE).await;
    assert!(said.closed && said.text.is_empty(), "{}", said.text);
    eventually("the operator is told", || async {
        pool.log().contains("with listen.proxy_protocol it must send PROXY headers proxy=127.0.0.9").then_some(())
    })
    .await;
    // Nobody else may choose its address.
    let header = b"PROXY TCP4 9.9.9.9 127.0.0.1 1234 80\r\n";
    let said = say(&pool.http, &[&header[..], REQUEST].concat(), PATIENCE).await;
    assert_ne!(said.statuses(), [200], "{}", said.text);
}

#[tokio::test]
async fn without_proxies_the_setting_is_refused() {
    let mut pool = pool(&[]).await;
    pool.set("USHER_LISTEN__PROXY_PROTOCOL", "true");
    let output = pool.cli(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("listen.proxy_protocol"), "{text}");
}
