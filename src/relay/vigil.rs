//! TCP's own watch over the other machine: one that is gone without a word is noticed however long silence may last.
//!
//! Probes alone are not enough: while bytes are on their way the kernel only repeats them, for a quarter of an hour. And a
//! machine that answers the repetitions but takes nothing for so long holds what it holds for nobody.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io;
use rustix::net::sockopt;

/// Probes before a silent machine is given up.
const PROBES: u32 = 4;
/// The kernel counts probes in whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Options that make a connection quick and end it `limit` after the other machine's last sign of life. Of a listening
/// socket: those of everything that it accepts. Without them a connection still works.
pub fn prepare(socket: impl AsFd, limit: Duration) {
    let socket = socket.as_fd();
    let _ = sockopt::set_tcp_nodelay(socket, true);
    let _ = watch(socket, limit);
}

fn watch(socket: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, (limit / 2).max(SHORTEST))?;
    sockopt::set_tcp_keepintvl(socket, (limit / 2 / PROBES).max(SHORTEST))?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, u32::try_from(limit.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
