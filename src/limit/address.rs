//! Who counts as one caller: an IPv4 address, or an IPv6 network of 64 bits, which is what one household or laptop gets.

use std::net::IpAddr;

/// The key that everything about a client is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller(u128);

impl Caller {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // Mapped addresses are not in use by anybody, so the two kinds cannot collide.
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn caller(address: &str) -> Caller {
        Caller::of(address.parse().unwrap())
    }

    #[test]
    fn one_v6_network_is_one_caller() {
        assert_eq!(caller("2001:db8:1:2::1"), caller("2001:db8:1:2:ffff::9"));
        assert_ne!(caller("2001:db8:1:2::1"), caller("2001:db8:1:3::1"));
        assert_ne!(caller("192.0.2.1"), caller("192.0.2.2"));
        assert_eq!(caller("192.0.2.1"), caller("::ffff:192.0.2.1"));
        assert_ne!(caller("192.0.2.1"), caller("::1"));
    }
}
