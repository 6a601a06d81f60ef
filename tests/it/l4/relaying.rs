//! What a relay does with bytes, ends and silence.

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{Plain, hear, log_says, metric, metric_becomes, passes, pool, rest};
use crate::harness::eventually;

async fn fixed(more: &str) -> (Plain, String) {
    let server = Plain::start().await;
    let toml = format!(
        "[[l4.listener]]\nname = \"tcp\"\nlisten = [\"127.0.0.1:PORT\"]\ntarget = \"{}\"\n{more}\n",
        server.address
    );
    (server, toml)
}

#[tokio::test]
async fn a_fixed_target_needs_no_first_word() {
    let (server, toml) = fixed("").await;
    let (pool, edge) = pool(&toml).await;
    let (mut client, mut far) = server.pair(edge).await;
    passes(&mut far, &mut client, "the server speaks first").await;
    passes(&mut client, &mut far, "then the client").await;
    let series = format!("{{listener=\"tcp\",server=\"{}\"}}", server.address);
    assert_eq!(metric(&pool, &format!("usher_l4_connections{series}")).await, 1);
    assert_eq!(metric(&pool, &format!("usher_l4_bytes_total{series}")).await, 38, "counted while it is open");
    drop(client);
    assert_eq!(rest(&mut far).await, b"");
    drop(far);
    metric_becomes(&pool, &format!("usher_l4_connections{series}"), 0).await;
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other() {
    let (server, toml) = fixed("").await;
    let (pool, edge) = pool(&toml).await;
    let (mut client, mut far) = server.pair(edge).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await, b"question");
    passes(&mut far, &mut client, "answer").await;
    passes(&mut far, &mut client, "more of it").await;
    far.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    log_says(&pool, &["end=client"]).await;

    let (mut client, mut far) = server.pair(edge).await;
    far.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    passes(&mut client, &mut far, "still listening?").await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await, b"");
    log_says(&pool, &["end=server"]).await;
}

#[tokio::test]
async fn silence_ends_it_and_bytes_of_either_side_do_not_let_it() {
    let (server, toml) = fixed("idle_timeout = \"1s\"").await;
    let (pool, edge) = pool(&toml).await;
    let (mut client, mut far) = server.pair(edge).await;
    let begin = std::time::Instant::now();
    // Longer than the limit in all, by the server's bytes alone.
    while begin.elapsed().as_millis() < 1500 {
        passes(&mut far, &mut client, "x").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut far).await, b"");
    log_says(&pool, &["end=idle"]).await;
}

/// What byte stands at a place, different in both directions.
fn sample(from: usize, length: usize, salt: usize) -> Vec<u8> {
    (from..from + length).map(|place| (place.wrapping_mul(salt) >> 7) as u8).collect()
}

const PIECE: usize = 64 * 1024;
const PIECES: usize = 1600;

async fn send(mut to: impl AsyncWriteExt + Unpin, salt: usize, written: &std::sync::atomic::AtomicUsize) -> Vec<u8> {
    let mut sum = Sha256::new();
    for number in 0..PIECES {
        let piece = sample(number * PIECE, PIECE, salt);
        sum.update(&piece);
        to.write_all(&piece).await.unwrap();
        written.fetch_add(PIECE, std::sync::atomic::Ordering::Relaxed);
    }
    to.shutdown().await.unwrap();
    sum.finalize().to_vec()
}

async fn receive(mut from: impl AsyncReadExt + Unpin) -> (usize, Vec<u8>) {
    let (mut sum, mut all) = (Sha256::new(), 0);
    let mut piece = vec![0; 200_000];
    loop {
        match from.read(&mut piece).await.unwrap() {
            0 => return (all, sum.finalize().to_vec()),
            length => {
                sum.update(&piece[..length]);
                all += length;
            }
        }
    }
}

/// A hundred million bytes each way at once; one reader begins only when the sender cannot go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_amounts_arrive_whole_past_a_slow_reader() {
    let (server, toml) = fixed("").await;
    let (pool, edge) = pool(&toml).await;
    let (client, far) = server.pair(edge).await;
    let (client_reads, client_writes) = client.into_split();
    let (far_reads, far_writes) = far.into_split();
    let up = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = up.clone();
    let sending_up = tokio::spawn(async move { send(client_writes, 2_654_435_761, &counted).await });
    let mut last = usize::MAX;
    eventually("the sender is held up", || {
        let now = up.load(std::sync::atomic::Ordering::Relaxed);
        let is_stuck = now == std::mem::replace(&mut last, now) && now > 0;
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            is_stuck.then_some(())
        }
    })
    .await;
    assert!(last < PIECE * PIECES / 2, "{last} bytes are on the way, which somebody must keep");
    let unused = std::sync::atomic::AtomicUsize::new(0);
    let (sent_down, (down, heard_down), (all, heard_up)) =
        tokio::join!(send(far_writes, 40_503, &unused), receive(client_reads), receive(far_reads));
    assert_eq!((all, down), (PIECE * PIECES, PIECE * PIECES));
    assert!(heard_up == sending_up.await.unwrap() && heard_down == sent_down);
    let series = format!("usher_l4_bytes_total{{listener=\"tcp\",server=\"{}\"}}", server.address);
    assert_eq!(metric(&pool, &series).await, 2 * (PIECE * PIECES) as u64);
}

#[tokio::test]
async fn more_than_the_limit_are_closed_at_once() {
    let (server, toml) = fixed("connections = 2").await;
    let (pool, edge) = pool(&toml).await;
    let (first, _far) = server.pair(edge).await;
    let (_second, mut second_far) = server.pair(edge).await;
    let mut third = TcpStream::connect(edge).await.unwrap();
    assert_eq!(rest(&mut third).await, b"");
    assert_eq!(metric(&pool, "usher_l4_refused_total{listener=\"tcp\",reason=\"connections\"}").await, 1);
    drop((first, _far));
    eventually("there is room again", || async {
        let mut client = TcpStream::connect(edge).await.unwrap();
        client.write_all(b"x").await.ok()?;
        let accepted = tokio::time::timeout(std::time::Duration::from_millis(300), server.accept()).await.ok();
        let mut far = accepted?;
        (hear(&mut far, 1).await == b"x").then_some(())
    })
    .await;
    drop(_second);
    assert_eq!(rest(&mut second_far).await, b"");
}
