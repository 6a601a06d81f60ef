//! The names of a certificate, and whether they cover a host (RFC 6125: exact, or one label for a leading `*`).

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// The names that a certificate proves, lower-case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names, wildcards among them.
    pub hosts: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// Of the subjectAltName extension; the old common name counts for nothing any more.
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return names };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(host) => names.hosts.push(host.trim_end_matches('.').to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        names
    }

    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.addresses.is_empty()
    }

    /// Whether a client that asks for `host` (lower-case, no port) would be content.
    pub fn cover(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        self.hosts.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => parent_of(host) == Some(parent),
            None => name == host,
        })
    }

    /// A short form for logs and metrics.
    pub fn first(&self) -> String {
        let address = || self.addresses.first().map(ToString::to_string);
        self.hosts.first().cloned().or_else(address).unwrap_or_else(|| "-".to_owned())
    }
}

/// What follows the first label.
pub fn parent_of(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent).filter(|parent| !parent.is_empty())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let names = Names {
            hosts: vec!["bbb.example.org".into(), "*.rooms.example.org".into()],
            addresses: vec![[192, 0, 2, 1].into()],
        };
        for host in ["bbb.example.org", "a.rooms.example.org", "192.0.2.1"] {
            assert!(names.cover(host), "{host}");
        }
        for host in ["example.org", "rooms.example.org", "a.b.rooms.example.org", "192.0.2.2", ""] {
            assert!(!names.cover(host), "{host}");
        }
        assert!(Names { addresses: vec![std::net::Ipv6Addr::LOCALHOST.into()], ..Names::default() }.cover("[::1]"));
    }
}
