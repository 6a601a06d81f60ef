//! What stands behind every contestant: agrees to each WebSocket and sends back what comes; a small body for every GET.
//! It reads no frames, so that it costs little.

use std::net::{Ipv4Addr, SocketAddr};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
        // Nothing is held while nothing comes.
        stream.readable().await?;
        let mut piece = [0; 64 * 1024];
        match stream.try_read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => stream.write_all(&piece[..length]).await?,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
