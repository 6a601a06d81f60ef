//! Too much, or too little at a time, of what is carried: requests of one address, and bodies that trickle.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::origin::Origin;
use crate::harness::{Pool, Said, connect_from, say_on};

const PATIENCE: Duration = Duration::from_secs(8);

async fn pool(limits: &str) -> (Origin, Pool) {
    let origin = Origin::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let pool = origin.pool("path", &format!("[limits]\nexempt = []\n{limits}")).await;
    (origin, pool)
}

async fn from(pool: &Pool, last: u8, path: &str, fields: &str) -> Said {
    let mut stream = connect_from(last, &pool.http).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n{fields}\r\n");
    say_on(&mut stream, request.as_bytes(), PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_address_are_bounded() {
    let (origin, pool) = pool("carried_per_address = 1\n").await;
    let mut carried = 0;
    while from(&pool, 9, "/origin/hello", "").await.statuses() == [200] {
        carried += 1;
        assert!(carried < 60, "never refused");
    }
    assert!(carried >= 10, "ten seconds' worth at once: {carried}");
    let seen = origin.seen().len();
    let script = from(&pool, 9, "/origin/hello", "Accept: */*\r\n").await;
    let page = from(&pool, 9, "/origin/hello", "Accept: text/html,application/xhtml+xml\r\n").await;
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n";
    let mut stream = connect_from(9, &pool.http).await;
    let opening = format!("GET /origin/ws HTTP/1.1\r\nHost: p.example\r\n{socket}\r\n");
    let socket = say_on(&mut stream, opening.as_bytes(), Duration::from_millis(300)).await;
    for (said, part) in [(&script, "Too many requests"), (&page, "http-equiv=\"refresh\""), (&socket, "Too many")] {
        assert_eq!(said.statuses(), [429], "{said:?}");
        assert!(said.text.contains("Retry-After: ") && said.text.contains(part), "{part}: {said:?}");
    }
    assert_eq!(origin.seen().len(), seen, "none of these reached the server");
    assert_eq!(from(&pool, 8, "/origin/hello", "").await.statuses(), [200], "another address");
    assert!(pool.metrics().await.contains("usher_limited_total{reason=\"carried\"} 4"));
}

/// Sends `piece` at each tick until an answer comes, or all is sent.
async fn trickle(pool: &Pool, pieces: usize, piece: &[u8], tick: Duration) -> String {
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    let length = pieces * piece.len();
    let head = format!("POST /origin/upload HTTP/1.1\r\nHost: p.example\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut said, mut ticks) = (vec![0; 2048], tokio::time::interval(tick));
    for _ in 0..pieces {
        tokio::select! {
            read = stream.read(&mut said) => return String::from_utf8_lossy(&said[..read.unwrap_or(0)]).into_owned(),
            _ = ticks.tick() => if stream.write_all(piece).await.is_err() { break },
        }
    }
    let read = timeout(PATIENCE, stream.read(&mut said)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&said[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_be_slow_but_not_for_show() {
    let (origin, pool) = pool("body_timeout = \"1s\"\n").await;
    let (slow, idle) = tokio::join!(
        // 64 KiB in 2 s, with a limit of one.
        trickle(&pool, 8, &[b'x'; 8 * 1024], Duration::from_millis(280)),
        trickle(&pool, 200, b"x", Duration::from_millis(50)),
    );
    assert!(slow.starts_with("HTTP/1.1 200"), "{slow}");
    assert!(idle.starts_with("HTTP/1.1 408"), "{idle}");
    assert_eq!(origin.seen().iter().filter(|seen| seen.body.len() == 64 * 1024).count(), 1);
}
