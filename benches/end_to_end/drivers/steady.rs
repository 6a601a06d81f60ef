//! WebSockets that speak once a second, and requests at a steady rate on kept-alive connections, while a contestant is
//! exchanged for a new one. A request that gets no whole answer has failed; so has a WebSocket that ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval_at};

use super::sockets::{exchange, frame, open};

pub struct Plan {
    pub address: SocketAddr,
    pub path: String,
    pub socket_path: String,
    pub sockets: usize,
    pub connections: usize,
    /// Requests per second, all connections together.
    pub rate: usize,
    pub time: Duration,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    /// No answer, or not all of it, on a connection that was kept.
    failed: AtomicU64,
    /// No connection.
    refused: AtomicU64,
    dropped: AtomicU64,
}

pub async fn run(plan: Plan) -> std::io::Result<()> {
    let mut sockets = Vec::new();
    while sockets.len() < plan.sockets {
        let batch = (0..100.min(plan.sockets - sockets.len())).map(|_| open(plan.address, &plan.socket_path));
        sockets.extend(futures_util::future::try_join_all(batch).await?);
    }
    let counts = Arc::new(Counts::default());
    let end = Instant::now() + plan.time;
    let mut tasks = tokio::task::JoinSet::new();
    for (number, stream) in sockets.into_iter().enumerate() {
        let first = Duration::from_secs(1).mul_f64(number as f64 / plan.sockets as f64);
        tasks.spawn(speak(stream, first, end, counts.clone()));
    }
    let pause = Duration::from_secs_f64(plan.connections as f64 / plan.rate as f64);
    for number in 0..plan.connections {
        let first = pause.mul_f64(number as f64 / plan.connections as f64);
        tasks.spawn(ask(plan.address, plan.path.clone(), (first, pause), end, counts.clone()));
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome?;
    }
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "steady requests={} failed={} refused={} dropped={}",
        of(&counts.requests),
        of(&counts.failed),
        of(&counts.refused),
        of(&counts.dropped)
    );
    Ok(())
}

async fn speak(mut stream: TcpStream, first: Duration, end: Instant, counts: Arc<Counts>) {
    let frame = frame(200);
    let mut echo = vec![0; frame.len()];
    let mut ticks = interval_at((Instant::now() + first).into(), Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        ticks.tick().await;
        if exchange(&mut stream, &frame, &mut echo).await.is_err() {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

async fn ask(
    address: SocketAddr,
    path: String,
    (first, pause): (Duration, Duration),
    end: Instant,
    counts: Arc<Counts>,
) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut kept: Option<TcpStream> = None;
    let mut ticks = interval_at((Instant::now() + first).into(), pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        ticks.tick().await;
        counts.requests.fetch_add(1, Ordering::Relaxed);
        // Closed while nothing was asked: any client sees that and opens another.
        let mut stream = match kept.take().filter(|stream| !has_ended(stream)) {
            Some(stream) => stream,
            None => match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(_) => {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            },
        };
        match answer(&mut stream, request.as_bytes()).await {
            // What the answer announces is no failure.
            Some(closes) => kept = (!closes).then_some(stream),
            None => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn has_ended(stream: &TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Whether the connection ends with this answer; `None` if it is not whole.
async fn answer(stream: &mut TcpStream, request: &[u8]) -> Option<bool> {
    stream.write_all(request).await.ok()?;
    let mut received = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
        let Some(end) = memmem::find(&received, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
        if received.len() >= end + 4 + length {
            return head.starts_with("http/1.1 200").then(|| head.contains("connection: close"));
        }
    }
}
