//! What stands behind every contestant: agrees to each WebSocket and sends back what comes; a small body for every GET.
//! It reads no frames, so that it costs little.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const SMALL: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\nETag: \"1\"\r\n\r\nhello world";
const BACKLOG: u32 = 16 * 1024;

pub async fn run(port: u16) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener: TcpListener = socket.listen(BACKLOG)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // Who goes away is nobody's concern here.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(2048);
    loop {
        let end = loop {
            if let Some(end) = memmem::find(&received, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let wants_socket =
            received[..end].to_ascii_lowercase().windows(19).any(|part| part == b"\r\nupgrade: websocke");
        received.drain(..end);
        if wants_socket {
            break stream.write_all(SWITCH).await?;
        }
        stream.write_all(SMALL).await?;
    }
    drop(received);
    loop {
        let (piece, length) = poll_fn(|cx| read(&mut stream, cx)).await?;
        let sent = stream.write_all(&piece[..length]).await;
        PIECE.set(piece);
        sent?;
        if length == 0 {
            return Ok(());
        }
    }
}

thread_local! {
    /// Where all connections read: nothing is held while nothing comes.
    static PIECE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn read(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<std::io::Result<(Vec<u8>, usize)>> {
    let mut piece = PIECE.take();
    piece.resize(64 * 1024, 0);
    let mut place = ReadBuf::new(&mut piece);
    let read = Pin::new(stream).poll_read(cx, &mut place);
    let length = place.filled().len();
    match read {
        Poll::Ready(outcome) => Poll::Ready(outcome.map(|()| (piece, length))),
        Poll::Pending => {
            PIECE.set(piece);
            Poll::Pending
        }
    }
}
