//! One large file after the other; what is counted is megabytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::report;

pub async fn run(address: SocketAddr, path: &str, count: usize, time: Duration) -> std::io::Result<()> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let path = path.to_owned();
        tasks.spawn(async move {
            let mut bytes = 0;
            let mut times = Vec::new();
            while started.elapsed() < time {
                let asked = Instant::now();
                bytes += download(address, &path, started + time).await?;
                times.push(asked.elapsed().as_nanos() as u64);
            }
            Ok::<_, std::io::Error>((bytes, times))
        });
    }
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(outcome) = tasks.join_next().await {
        let (more, times) = outcome??;
        bytes += more;
        all.extend(times);
    }
    report(bytes as f64 / 1e6, 0, started.elapsed(), &mut all);
    Ok(())
}

/// The bytes of one file, or of as much of it as came before `end`.
async fn download(address: SocketAddr, path: &str, end: Instant) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut piece = vec![0; 1 << 20];
    let first = stream.read(&mut piece).await?;
    if memmem::find(&piece[..first], b" 200 OK\r\n").is_none() {
        return Err(std::io::Error::other("no file"));
    }
    let mut bytes = first as u64;
    while Instant::now() < end {
        match stream.read(&mut piece).await? {
            0 => break,
            length => bytes += length as u64,
        }
    }
    Ok(bytes)
}
