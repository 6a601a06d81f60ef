//! A load generator for create: each call has an id of its own and is signed on the way. A program of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world;

/// Calls `address` from `connections` connections, each with one call at a time, and prints what it saw.
#[allow(clippy::print_stdout)] // the line that `load.rs` reads
pub fn run(address: SocketAddr, connections: usize, time: Duration) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let next = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(caller(address, started + time, next.clone()));
        }
        let (mut took, mut failed) = (Vec::new(), 0);
        while let Some(outcome) = tasks.join_next().await {
            let (times, failures) = outcome?;
            took.extend(times);
            failed += failures;
        }
        let seconds = started.elapsed().as_secs_f64();
        took.sort_unstable();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or(0) as f64 / 1000.0;
        println!(
            "bench requests={} failed={failed} seconds={seconds:.6} p50={:.1} p99={:.1}",
            took.len(),
            at(0.50),
            at(0.99)
        );
        Ok(())
    })
}

/// One connection until `end`; nanoseconds of each call, and how many were not answered with SUCCESS.
async fn caller(address: SocketAddr, end: Instant, next: Arc<AtomicU64>) -> (Vec<u64>, u64) {
    let mut took = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return (took, 1) };
    let _ = stream.set_nodelay(true);
    let mut failed = 0;
    let mut received = Vec::with_capacity(4096);
    while Instant::now() < end {
        // The process number keeps the ids of one run apart from those of another.
        let id = format!("new-{}-{}", std::process::id(), next.fetch_add(1, Ordering::Relaxed));
        let request = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n\r\n", world::create(&id));
        let asked = Instant::now();
        match call(&mut stream, request.as_bytes(), &mut received).await {
            Some(true) => took.push(asked.elapsed().as_nanos() as u64),
            Some(false) => failed += 1,
            None => return (took, failed + 1),
        }
    }
    (took, failed)
}

/// True if the answer says SUCCESS; `None` if the connection is broken.
async fn call(stream: &mut TcpStream, request: &[u8], received: &mut Vec<u8>) -> Option<bool> {
    received.clear();
    stream.write_all(request).await.ok()?;
    loop {
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
        let Some(end) = memmem::find(received, b"\r\n\r\n") else { continue };
        let length = content_length(&received[..end])?;
        if received.len() >= end + 4 + length {
            return Some(memmem::find(&received[end..], b"<returncode>SUCCESS<").is_some());
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut pairs = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}
