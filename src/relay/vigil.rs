//! TCP's own watch over the other machine: one that is gone without a word is noticed however long silence may last.
//!
//! Probes alone are not enough: while bytes are on their way the kernel only repeats them, for a quarter of an hour. And a
//! machine that answers the repetitions but takes nothing for so long holds what it holds for nobody.

use std::time::Duration;

use pingora::protocols::TcpKeepalive;
use pingora::protocols::l4::ext::set_tcp_keepalive;
use tokio::net::TcpStream;

/// Probes before a silent machine is given up.
const PROBES: usize = 4;
/// The kernel counts probes in whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Ends a connection `limit` after the other machine's last sign of life.
pub fn vigil(limit: Duration) -> TcpKeepalive {
    TcpKeepalive {
        idle: (limit / 2).max(SHORTEST),
        interval: (limit / 2 / PROBES as u32).max(SHORTEST),
        count: PROBES,
        #[cfg(target_os = "linux")]
        user_timeout: limit,
    }
}

/// Options that make a connection of ours quick and let it notice a dead machine; without them it still works.
pub fn prepare(stream: &TcpStream, limit: Duration) {
    let _ = stream.set_nodelay(true);
    let _ = set_tcp_keepalive(stream, &vigil(limit));
}
