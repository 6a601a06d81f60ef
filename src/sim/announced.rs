//! A second port that demands a PROXY header, as nginx does with `listen … proxy_protocol`.
//!
//! Written from HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2, for TCP only; a connection that begins in any
//! other way is closed. Not one byte behind the header is read here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Weak;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::accept;
use super::server::{Shared, SimServer};

/// The first twelve bytes of version 2.
const BINARY: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/// Longest line of version 1 with its end.
const LONGEST_LINE: usize = 107;

impl SimServer {
    /// Opens another port on the same address, for connections that begin with a PROXY header.
    pub async fn listen_announced(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((self.addr().ip(), 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(accept_all(std::sync::Arc::downgrade(&self.shared), listener));
        Ok(address)
    }
}

/// Accepts until the server is dropped, or rather until the next connection after that.
async fn accept_all(shared: Weak<Shared>, listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Some(shared) = shared.upgrade() else { return };
        shared.connections.send_modify(|open| *open += 1);
        tokio::spawn(async move {
            let counted = accept::Counted::of(&shared);
            if let Ok(client) = client(&mut stream).await {
                accept::serve(shared, stream, Some(client), counted).await;
            }
        });
    }
}

/// Whom the header names; nobody for LOCAL and UNKNOWN.
async fn client(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == BINARY { binary(stream).await } else { line(stream, start.to_vec()).await }
}

fn wrong() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

async fn binary(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    stream.read_exact(&mut rest).await?;
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    match (head[0], head[1], rest.len()) {
        (0x20, ..) | (0x21, 0x00, _) => Ok(None),
        (0x21, 0x11, 12..) => {
            let ip = Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3]);
            Ok(Some(SocketAddr::new(IpAddr::V4(ip), port(8))))
        }
        (0x21, 0x21, 36..) => {
            let octets: [u8; 16] = rest[..16].try_into().map_err(|_| wrong())?;
            Ok(Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)), port(32))))
        }
        _ => Err(wrong()),
    }
}

async fn line(stream: &mut TcpStream, mut text: Vec<u8>) -> io::Result<Option<SocketAddr>> {
    while !text.ends_with(b"\r\n") {
        if text.len() == LONGEST_LINE {
            return Err(wrong());
        }
        text.push(stream.read_u8().await?);
    }
    let text = String::from_utf8(text).map_err(|_| wrong())?;
    let words: Vec<&str> = text.trim_end_matches("\r\n").split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4" | "TCP6", source, _destination, port, _destination_port] => {
            let ip: IpAddr = source.parse().map_err(|_| wrong())?;
            Ok(Some(SocketAddr::new(ip, port.parse().map_err(|_| wrong())?)))
        }
        _ => Err(wrong()),
    }
}
