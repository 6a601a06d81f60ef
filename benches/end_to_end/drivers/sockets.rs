//! WebSockets on which one message at a time goes to the server and back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::report;

/// Opens one through the contestant; what follows on it is the caller's.
pub async fn open(address: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(std::io::Error::other(format!("no WebSocket: {}", String::from_utf8_lossy(&head))));
    }
    Ok(stream)
}

/// A masked binary frame with `size` bytes in it.
pub fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match size {
        0..=125 => frame.push(0x80 | size as u8),
        126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[1, 2, 3, 4]);
    frame.resize(frame.len() + size, b'x');
    frame
}

/// There and back.
pub async fn exchange(stream: &mut TcpStream, frame: &[u8], echo: &mut [u8]) -> std::io::Result<()> {
    stream.write_all(frame).await?;
    stream.read_exact(echo).await?;
    if echo != frame {
        return Err(std::io::Error::other("changed on the way"));
    }
    Ok(())
}

pub async fn run(address: SocketAddr, path: &str, count: usize, size: usize, time: Duration) -> std::io::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(open(address, path).await?);
    }
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut stream in streams {
        tasks.spawn(async move {
            let (frame, mut times) = (frame(size), Vec::new());
            let mut echo = vec![0; frame.len()];
            while started.elapsed() < time {
                let asked = Instant::now();
                if exchange(&mut stream, &frame, &mut echo).await.is_err() {
                    return (times, 1);
                }
                times.push(asked.elapsed().as_nanos() as u64);
            }
            (times, 0)
        });
    }
    let (mut all, mut failed) = (Vec::new(), 0);
    while let Some(outcome) = tasks.join_next().await {
        let (times, failures) = outcome?;
        all.extend(times);
        failed += failures;
    }
    report(all.len() as f64, failed, started.elapsed(), &mut all);
    Ok(())
}
