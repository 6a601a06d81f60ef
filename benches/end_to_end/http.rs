//! One request at a time, to see that a contestant is ready and answers what it should before it is measured.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use memchr::memmem;

use crate::Failure;

const LIMIT: Duration = Duration::from_secs(20);

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// GET on a connection of its own; `None` if there is no answer.
pub fn get(address: SocketAddr, target: &str) -> Option<Answer> {
    Connection::open(address)?.get(target)
}

/// A connection that is kept: one request after the other.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, LIMIT).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream, received: Vec::new() })
    }

    /// `None` if the connection is broken or the answer's end cannot be known.
    pub fn get(&mut self, target: &str) -> Option<Answer> {
        self.stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes()).ok()?;
        self.received.clear();
        let mut piece = [0; 16 * 1024];
        loop {
            let count = self.stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            self.received.extend_from_slice(&piece[..count]);
            let Some(end) = memmem::find(&self.received, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
            let status = head.split(' ').nth(1)?.parse().ok()?;
            let mut answer = Answer { status, head, body: Vec::new() };
            let length = answer.header("content-length")?.parse::<usize>().ok()?;
            if let Some(body) = self.received.get(end + 4..end + 4 + length) {
                answer.body = body.to_vec();
                return Some(answer);
            }
        }
    }
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A loopback address that nobody uses now.
pub fn free_address() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|error| Failure(format!("no free port on loopback: {error}")))
}
