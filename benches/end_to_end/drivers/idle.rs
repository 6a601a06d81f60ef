//! WebSockets that are open and silent, then say one large message, then are silent again. Whoever measures is told of
//! each step by a file, and says by another when to go on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sockets::{exchange, frame, open};

/// Bytes of the large message.
const LARGE: usize = 60_000;
/// How many are opened at once.
const TOGETHER: usize = 100;

pub async fn run(address: SocketAddr, path: &str, count: usize, state: &str) -> std::io::Result<()> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let batch = (0..TOGETHER.min(count - streams.len())).map(|_| open(address, path));
        streams.extend(futures_util::future::try_join_all(batch).await?);
    }
    step(Path::new(state), "opened").await?;
    let frame = frame(LARGE);
    let mut echo = vec![0; frame.len()];
    for stream in &mut streams {
        exchange(stream, &frame, &mut echo).await?;
    }
    step(Path::new(state), "talked").await
}

/// Says that a step is done, and waits for the word to go on.
async fn step(state: &Path, name: &str) -> std::io::Result<()> {
    std::fs::write(file(state, name), "")?;
    let go = file(state, &format!("{name}.go"));
    while !go.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn file(state: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}.{name}", state.display()))
}
