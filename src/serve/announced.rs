//! Who is really there: the PROXY header of a trusted proxy, read before anything else of a public connection.
//!
//! Whether a header comes first is settled by who connects and by nothing else: with `listen.proxy_protocol` a trusted
//! proxy must send one, anybody else cannot. Guessing would let every client choose its address.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::clock::{Clock, SteadyClock};
use crate::config::Config;
use crate::proxy_protocol::{self, Fault, Peer, Reading, Said};
use crate::stream::Stream;

/// Bytes to read at once; nearly every header fits.
const PIECE: usize = 512;
/// Between two lines in the log about proxies that send no header.
const SELDOM: u64 = 60_000;

/// The connection without its header, and who opened it. `None`: it is closed.
pub async fn announced(mut stream: Stream, config: &Config) -> Option<(Stream, Peer)> {
    let peer = stream.peer();
    let address = peer.ip().to_canonical();
    let is_trusted = || config.listen.trusted_proxies.iter().any(|net| net.contains(&address));
    if !config.listen.proxy_protocol || !is_trusted() {
        return Some((stream, peer.into()));
    }
    match timeout(config.limits.header_timeout, read(&mut stream)).await.ok()?? {
        Ok(source) => Some((stream, source.map_or(Peer::proxys_own(peer), Peer::from))),
        Err(fault) => {
            tell(peer, fault);
            None
        }
    }
}

/// Takes the header off; `None` if the proxy went away, as its probes of the port do.
async fn read(stream: &mut Stream) -> Option<Result<Option<SocketAddr>, Fault>> {
    let mut bytes = Vec::with_capacity(PIECE);
    loop {
        bytes.reserve(PIECE);
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        match proxy_protocol::read(&bytes) {
            Reading::NeedsMore => {}
            Reading::Wrong(fault) => return Some(Err(fault)),
            Reading::Complete { length, said } => {
                stream.rewind(&bytes[length..]);
                return Some(Ok(match said {
                    Said::Proxied { source, .. } => Some(source),
                    Said::Local | Said::Unknown => None,
                }));
            }
        }
    }
}

/// A proxy that is set up otherwise fails with every connection; one line a minute is enough.
fn tell(peer: SocketAddr, fault: Fault) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SteadyClock.now().0;
    let last = LAST.load(Ordering::Relaxed);
    let is_time = last == 0 || now.saturating_sub(last) >= SELDOM;
    if is_time && LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        log::warn!(proxy:% = peer.ip().to_canonical(), error:% = fault;
            "connections of a trusted proxy are closed: with listen.proxy_protocol it must send PROXY headers");
    }
}
