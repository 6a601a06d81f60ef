//! What comes to an HTTPS port and is no HTTPS, or takes its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{config, connect, get};
use super::maker::{Maker, secure};
use crate::harness::{eventually, say};

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_so_and_noise_is_closed() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.start().await;
    let said = say(&address, b"GET / HTTP/1.1\r\nHost: bbb.example.test\r\n\r\n", PATIENCE).await;
    assert_eq!(said.statuses(), [400], "{}", said.text);
    assert!(said.closed && said.text.contains("plain HTTP request was sent to an HTTPS port"), "{}", said.text);
    for noise in [&b"\x00\x01\x02"[..], &[22, 3, 1, 0, 4, 1, 2, 3, 4], &[22, 3, 1, 0xff, 0xff], &[0x80, 0x2e, 1, 3, 1]]
    {
        let said = say(&address, noise, PATIENCE).await;
        assert!(said.closed && !said.text.contains("HTTP"), "{noise:?}: {said:?}");
    }
    let metrics = pool.metrics().await;
    assert!(metrics.contains("usher_tls_handshakes_total{listener=\"https\",result=\"plain_http\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_its_time_and_no_more() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.set("USHER_LIMITS__HANDSHAKE_TIMEOUT", "300ms").start().await;
    // Nothing at all; a record that does not end; a byte now and then.
    for begin in [&b""[..], &[22, 3, 1, 2, 0, 1, 0, 1]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut heard = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        assert!(end.is_ok() && heard.is_empty(), "{heard:?}");
    }
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let drip = async {
        while stream.write_all(&[22]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, drip).await.expect("closed although something comes all the time");
    let metrics = pool.metrics().await;
    assert!(metrics.contains("usher_tls_handshakes_total{listener=\"https\",result=\"timeout\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_connects_is_counted_like_everybody() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let builder = builder.set("USHER_LIMITS__CONNECTIONS_PER_ADDRESS", "4").set("USHER_LIMITS__EXEMPT", "127.0.0.9");
    let pool = builder.set("USHER_LIMITS__HANDSHAKE_TIMEOUT", "30s").start().await;
    let open = || TcpStream::connect(&address);
    let silent = [open().await.unwrap(), open().await.unwrap(), open().await.unwrap(), open().await.unwrap()];
    let config = Arc::new(config(&maker, &[]));
    let refused = eventually("a fifth connection is refused", || async {
        let mut stream = connect(&address, "bbb.example.test", &config).await.ok()?;
        let answer = get(&mut stream, "/livez").await;
        answer.starts_with("HTTP/1.1 429").then_some(answer)
    })
    .await;
    assert!(refused.to_ascii_lowercase().contains("retry-after:"), "{refused}");
    drop(silent);
    eventually("there is room again", || async {
        let mut stream = connect(&address, "bbb.example.test", &config).await.ok()?;
        get(&mut stream, "/livez").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    assert!(pool.metrics().await.contains("usher_limited_total{reason=\"connections_of_address\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_handshake_too_many_is_closed_at_once() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.set("USHER_LIMITS__HANDSHAKES", "2").set("USHER_LIMITS__HANDSHAKE_TIMEOUT", "30s").start().await;
    let config = Arc::new(config(&maker, &[]));
    // One after the other: a handshake that works must not be in the way of a silent one.
    let silent = parking_lot::Mutex::new(Vec::new());
    eventually("another one is closed", || async {
        let connection = TcpStream::connect(&address).await.unwrap();
        silent.lock().push(connection);
        connect(&address, "bbb.example.test", &config).await.err()
    })
    .await;
    assert!(pool.metrics().await.contains("usher_tls_handshakes_total{listener=\"https\",result=\"busy\"}"));
    drop(silent);
    eventually("there is room again", || async { connect(&address, "bbb.example.test", &config).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_listener_may_have_a_limit_of_its_own() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.set("USHER_LIMITS__HTTP_CONNECTIONS", "3").start().await;
    let http = pool.http.trim_start_matches("http://").to_owned();
    let ask = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
    eventually("the harness has gone", || async {
        pool.metrics().await.contains("usher_http_connections 0").then_some(())
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&http).await.unwrap();
        stream.write_all(ask).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        held.push(stream);
    }
    let said = say(&pool.http, ask, PATIENCE).await;
    assert!(said.closed && said.statuses() == [503], "{}", said.text);
    let mut secure = connect(&address, "bbb.example.test", &Arc::new(config(&maker, &[]))).await.unwrap();
    assert!(get(&mut secure, "/livez").await.contains("alive"), "there is room on the other");
}
