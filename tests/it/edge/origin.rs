//! A server behind the edge that answers as its path says, and remembers every request as it came.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Builder, Pool};

/// Bytes of `/big`.
pub const BIG: usize = 24 << 20;

pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
    /// Number of the connection, from 0.
    pub connection: usize,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

impl Origin {
    pub async fn start(host: Ipv4Addr) -> Self {
        big();
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = seen.clone();
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, record.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// A pool whose server `origin` is this one, in the given mode of the edge.
    pub async fn pool(&self, mode: &str, more: &str) -> Pool {
        self.pool_with(mode, more, &[]).await
    }

    /// The same with settings by the environment.
    pub async fn pool_with(&self, mode: &str, more: &str, set: &[(&str, &str)]) -> Pool {
        let builder = Builder::new(1).config(&format!("[edge]\nmode = \"{mode}\"\n{more}"));
        let builder = set.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
        let mut pool = builder.prepare().await;
        let url = format!("http://{}", self.address);
        pool.cli_ok(&["server", "add", &url, "--name", "origin", "--secret", "s"]);
        pool.serve().await;
        pool
    }

    /// What came but Usher's own calls.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| !seen.line().contains("/bigbluebutton/api")).cloned().collect()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("nothing was seen")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What `/big` sends: no two blocks are alike. Made before it is asked for, because that takes seconds without
/// optimisation.
pub fn big() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = vec![0; BIG];
        for (word, place) in (0u32..).zip(bytes.chunks_exact_mut(4)) {
            place.copy_from_slice(&word.wrapping_mul(2_654_435_761).to_le_bytes());
        }
        bytes
    });
    BYTES.clone()
}

/// What `/text` sends.
pub fn text() -> String {
    (0..500).map(|number| format!("function f{number}() {{ return {number}; }}\n")).collect()
}

async fn serve(mut stream: TcpStream, connection: usize, record: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes.drain(..end);
        let mut seen = Seen { head, body: Vec::new(), connection };
        let path = seen.line().split(' ').nth(1).unwrap_or_default().to_owned();
        if path.starts_with("/refuse") {
            record.lock().unwrap().push(seen);
            let _ =
                stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig!").await;
            return;
        }
        let length = seen.all("content-length").first().map(|length| length.parse::<usize>().unwrap());
        let chunked = !seen.all("transfer-encoding").is_empty();
        while !body_is_there(&bytes, length, chunked) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let taken = length.unwrap_or(if chunked { bytes.len() } else { 0 });
        seen.body = bytes.drain(..taken).collect();
        record.lock().unwrap().push(seen.clone());
        if path.starts_with("/html5client/") {
            let answer = super::assets::file(&seen, &path).await;
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            continue;
        }
        if path.starts_with("/ws") {
            return socket(stream, &path).await;
        }
        if !answer(&mut stream, &seen, &path).await {
            return;
        }
    }
}

fn body_is_there(bytes: &[u8], length: Option<usize>, chunked: bool) -> bool {
    match length {
        Some(length) => bytes.len() >= length,
        None => !chunked || bytes.ends_with(b"0\r\n\r\n"),
    }
}

/// False if the connection ends with the answer.
async fn answer(stream: &mut TcpStream, seen: &Seen, path: &str) -> bool {
    let sized = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (text, keeps) = match path.split('?').next().unwrap_or_default() {
        "/chunked" => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Case: KePt\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n".to_owned(), true),
        "/close" => ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end".to_owned(), false),
        "/old" => ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold".to_owned(), false),
        "/nothing" => ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), true),
        "/unchanged" => ("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n".to_owned(), true),
        "/interim" => (format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", sized("200 OK", "after")), true),
        "/stale" => (sized("200 OK", "and gone"), false),
        "/dies" => return false,
        "/garbage" => ("220 mail.example ESMTP\r\n\r\n".to_owned(), false),
        "/short" => ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_owned(), false),
        "/badchunks" => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), false),
        "/twolengths" => ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".to_owned(), false),
        "/switch" => ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n".to_owned(), false),
        "/silent" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return false;
        }
        "/big" => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
            return stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(&big()).await.is_ok();
        }
        // Text as an application server sends it; `?` says what is to be different.
        "/text" => {
            let more = path.split_once('?').map_or("", |(_, more)| more);
            let content_type = if more == "image" { "image/png" } else { "application/javascript" };
            let line = match more {
                "encoded" => "Content-Encoding: zstd\r\n",
                "fixed" => "Cache-Control: public, No-Transform\r\n",
                _ => "Accept-Ranges: bytes\r\n",
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: nginx/1.25\r\nX-Powered-By: Express\r\nX-Frame-Options: ALLOWALL\r\n\
                 Content-Type: {content_type}\r\nETag: \"a\"\r\n{line}"
            );
            let body = if more == "short" { "short".to_owned() } else { text() };
            let (head_only, chunked) = (seen.line().starts_with("HEAD"), more == "chunked");
            let size = body.len();
            let (length, body) = match chunked {
                true => ("Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n0\r\n\r\n")),
                false => (format!("Content-Length: {size}"), body),
            };
            (format!("{head}{length}\r\n\r\n{}", if head_only { "" } else { &body }), true)
        }
        "/pauses" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            return false;
        }
        "/redirect" => {
            let to = path.split_once("to=").unwrap().1;
            let text = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nSet-Cookie: JSESSIONID=abc; Path=/; HttpOnly\r\nContent-Length: 0\r\n\r\n"
            );
            (text, true)
        }
        _ if seen.line().starts_with("HEAD") => ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned(), true),
        _ => (sized("200 OK", "hello"), true),
    };
    stream.write_all(text.as_bytes()).await.is_ok() && keeps
}

/// Agrees, says something at once, and gives back what it hears; refuses where the path says so.
async fn socket(mut stream: TcpStream, path: &str) {
    if path.contains("refuse") {
        let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
        return;
    }
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\nEARLY";
    if stream.write_all(agreed).await.is_err() {
        return;
    }
    let (mut from, mut to) = stream.split();
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.write_all(b"END").await;
    let _ = to.shutdown().await;
}
