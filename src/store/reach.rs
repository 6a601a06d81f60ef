//! How a server is reached, where that is not what its URL and DNS say.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Host;

use super::Trust;
use crate::config::{ClientPrefix, ProxyOut};

/// The operator's word on the way to a server; `Reach::default()` goes by URL and DNS, as for most servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Where it really is, asked instead of DNS; names in TLS and `Host` stay those of the URL.
    pub address: Option<Address>,
    /// The PROXY header that carried browsers' connections begin with.
    pub send_proxy: ProxyOut,
    /// The port for these connections, if it is not the API's: one port either takes the header from everybody or from
    /// nobody, and calls of the API never carry one.
    pub send_proxy_port: Option<u16>,
    /// Whether it sees its prefix in front of `/html5client`; `None` goes by its version.
    pub client_prefix: Option<ClientPrefix>,
    pub trust: Trust,
}

/// A host, and a port if it is another than the URL's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name in lower case or an IP address, IPv6 without brackets.
    pub host: String,
    pub port: Option<u16>,
}

impl Address {
    /// The port to connect to where the URL alone would lead to `port`; `own` is the URL's port, which ours stands for.
    pub fn port_for(&self, port: u16, own: Option<u16>) -> u16 {
        self.port.filter(|_| own == Some(port)).unwrap_or(port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_v6 = self.host.contains(':');
        let host: &str = &self.host;
        match (is_v6, self.port) {
            (false, None) => f.write_str(host),
            (true, None) => write!(f, "[{host}]"),
            (false, Some(port)) => write!(f, "{host}:{port}"),
            (true, Some(port)) => write!(f, "[{host}]:{port}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// `10.0.0.5`, `10.0.0.5:8443`, `bbb1.internal:443`, `fd00::5`, `[fd00::5]:443`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not an address; write it like 10.0.0.5, 10.0.0.5:8443 or [fd00::5]:443");
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?)
            }
            Some(_) => return Err(bad()),
        };
        let host = match Host::parse(host).map_err(|_| bad())? {
            Host::Domain(name) => name,
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        Ok(Self { host, port })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, port, written) in [
            ("10.0.0.5", "10.0.0.5", None, "10.0.0.5"),
            ("10.0.0.5:8443", "10.0.0.5", Some(8443), "10.0.0.5:8443"),
            ("BBB1.internal", "bbb1.internal", None, "bbb1.internal"),
            ("bbb1.internal:443", "bbb1.internal", Some(443), "bbb1.internal:443"),
            ("fd00::5", "fd00::5", None, "[fd00::5]"),
            ("[FD00::5]", "fd00::5", None, "[fd00::5]"),
            ("[fd00::5]:443", "fd00::5", Some(443), "[fd00::5]:443"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string(), written);
            assert_eq!(written.parse::<Address>().unwrap(), address, "what is stored can be read");
        }
        for bad in ["", ":443", "a:0", "a:65536", "a:b", "a:+1", "https://a", "a/b", "a b", "u@a", "[fd00::5", "a:1:2"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn its_port_stands_for_the_urls_and_no_other() {
        let address: Address = "10.0.0.5:8443".parse().unwrap();
        assert_eq!(address.port_for(443, Some(443)), 8443);
        assert_eq!(address.port_for(3478, Some(443)), 3478, "TURN is elsewhere");
        let bare: Address = "10.0.0.5".parse().unwrap();
        assert_eq!(bare.port_for(443, Some(443)), 443);
    }
}
