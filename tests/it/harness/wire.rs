//! Requests that no well-behaved client library would send, written byte by byte.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Answer;

/// Sends `request` as it is to `origin` (`http://host:port`) and reads the answer until the connection closes; the
/// request should say `Connection: close`.
pub async fn send_raw(origin: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no header in {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}

/// A GET whose target may hold any bytes.
pub async fn get_raw(origin: &str, target: &[u8]) -> Answer {
    let request = [b"GET ", target, b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"].concat();
    send_raw(origin, &request).await
}

/// What came back on a connection, and whether the server closed it.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    pub closed: bool,
}

impl Said {
    /// The status of each answer on the connection, in order.
    pub fn statuses(&self) -> Vec<u16> {
        let after = self.text.split("HTTP/1.1 ").skip(1);
        after.filter_map(|answer| answer.get(..3)?.parse().ok()).filter(|status| *status >= 200).collect()
    }
}

/// Sends bytes as they are and reads until the server closes, or has said nothing for `patience`. Errors of the
/// connection are part of what a hostile caller gets, so they fail nothing.
pub async fn say(origin: &str, bytes: &[u8], patience: std::time::Duration) -> Said {
    let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
    say_on(&mut stream, bytes, patience).await
}

/// The same on an open connection.
pub async fn say_on(stream: &mut TcpStream, bytes: &[u8], patience: std::time::Duration) -> Said {
    let (mut reader, mut writer) = stream.split();
    let mut heard = Vec::new();
    let mut closed = false;
    let hear = async {
        let mut piece = [0; 4096];
        loop {
            match tokio::time::timeout(patience, reader.read(&mut piece)).await {
                Err(_) => break,
                Ok(Ok(0) | Err(_)) => {
                    closed = true;
                    break;
                }
                Ok(Ok(length)) => heard.extend_from_slice(&piece[..length]),
            }
        }
    };
    let _ = tokio::join!(writer.write_all(bytes), hear);
    Said { text: String::from_utf8_lossy(&heard).into_owned(), closed }
}

/// A connection from one of this machine's many loopback addresses, `127.0.0.<last>`.
pub async fn connect_from(last: u8, origin: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(origin.trim_start_matches("http://").parse().unwrap()).await.unwrap()
}
