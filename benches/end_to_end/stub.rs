//! The simulated servers of the bench: any number of addresses, answers made beforehand, nothing checked.
//!
//! `sim` behaves like BBB and costs accordingly. Here the servers must cost as little as possible, because they share
//! the machine with what is measured.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{self, Size};

/// More than any request head of ours.
const MOST: usize = 16 * 1024;

/// The prepared answers of one server.
struct Server {
    list: Bytes,
    /// getMeetingInfo, for each of the meetings that are there from the start.
    infos: Arc<Vec<Bytes>>,
    version: Bytes,
}

/// Serves until killed.
pub fn run(size: Size, port: u16) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let infos = Arc::new((0..size.meetings).map(|number| answer(&world::info_of(number))).collect::<Vec<Bytes>>());
        let version = answer(world::VERSION);
        for number in 0..size.servers {
            let listener = TcpListener::bind(world::server_address(number, port)).await?;
            let list = answer(&world::list_of(size, number));
            let server = Arc::new(Server { list, infos: infos.clone(), version: version.clone() });
            tokio::spawn(accept(listener, server));
        }
        std::future::pending().await
    })
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let server = server.clone();
        tokio::spawn(async move {
            // A caller that goes away is nobody's concern here.
            let _ = serve(stream, &server).await;
        });
    }
}

async fn serve(mut stream: TcpStream, server: &Server) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(end) = memmem::find(&received, b"\r\n\r\n") {
                break end + 4;
            }
            if received.len() > MOST || stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let answer = server.answer(&received[..end]);
        stream.write_all(&answer).await?;
        received.drain(..end);
    }
}

impl Server {
    fn answer(&self, head: &[u8]) -> Bytes {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if memmem::find(line, b"/api/create?").is_some() {
            return answer(&world::created(&parameter(line, b"meetingID=")));
        }
        if memmem::find(line, b"/api/getMeetings?").is_some() {
            return self.list.clone();
        }
        if memmem::find(line, b"/api/getMeetingInfo?").is_some() {
            let id = parameter(line, b"meetingID=");
            let number = id.rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
            return number.and_then(|number| self.infos.get(number)).unwrap_or(&self.version).clone();
        }
        self.version.clone()
    }
}

/// A value of our own callers' queries, which need no decoding.
fn parameter(line: &[u8], name: &[u8]) -> String {
    let Some(start) = memmem::find(line, name) else { return String::new() };
    let value = line[start + name.len()..].split(|byte| matches!(byte, b'&' | b' ')).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

fn answer(body: &str) -> Bytes {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", body.len());
    Bytes::from(head + body)
}
