//! A connection to a target: its name is looked up, its addresses are tried in turn, all within one time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::targets::Target;
use crate::relay;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the name cannot be resolved: {0}")]
    Name(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("{address}: {error}")]
    Refused { address: SocketAddr, error: io::Error },
    #[error("it leads back to this listener, {0}; give the server's own address as target")]
    Ourselves(SocketAddr),
    #[error("no answer in time")]
    TimedOut,
}

/// `own` are the addresses of the listener that asks; a machine that is silent for `dead_after` is given up later.
pub async fn connect(
    target: &Target,
    limit: Duration,
    dead_after: Duration,
    own: &[SocketAddr],
) -> Result<TcpStream, ConnectError> {
    let deadline = Instant::now() + limit;
    // For an address this is no question to anybody.
    let found = timeout_at(deadline, lookup_host((target.host.as_str(), target.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(ConnectError::Name(error)),
        Err(_) => return Err(ConnectError::TimedOut),
    };
    let mut last = ConnectError::NoAddress;
    for (index, address) in addresses.iter().enumerate() {
        if is_own(*address, own) {
            last = ConnectError::Ourselves(*address);
            continue;
        }
        // An address that does not answer must leave time for the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                relay::prepare(&stream, dead_after);
                return Ok(stream);
            }
            Ok(Err(error)) => ConnectError::Refused { address: *address, error },
            Err(_) => ConnectError::TimedOut,
        };
    }
    Err(last)
}

/// Whether the listener that asks would get the connection itself. In `edge.mode = "host"` the name of a server leads to
/// Usher, and every such connection would open the next one, without an end; so this is settled before it is made.
fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    own.iter().filter(|one| one.port() == address.port()).any(|one| {
        one.ip().to_canonical() == address.ip().to_canonical() || (one.ip().is_unspecified() && is_here(address.ip()))
    })
}

/// Whether an address is this machine's: what is sent to one of its own addresses comes from that address. Connecting a
/// UDP socket asks for the route and sends nothing.
fn is_here(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = std::net::UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    ip.to_canonical().is_loopback() || source.is_ok_and(|source| source.ip().to_canonical() == ip.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn our_own_address_is_known() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let own = [at("0.0.0.0:443"), at("192.0.2.1:8443")];
        for (address, expected) in [
            ("127.0.0.1:443", true),
            ("127.0.0.9:443", true),
            ("127.0.0.1:444", false),
            ("192.0.2.1:8443", true),
            ("[::ffff:192.0.2.1]:8443", true),
            ("192.0.2.2:8443", false),
            ("192.0.2.1:443", false),
        ] {
            assert_eq!(is_own(at(address), &own), expected, "{address}");
        }
    }
}
