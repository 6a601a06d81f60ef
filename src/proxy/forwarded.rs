//! Whom a proxy in front speaks for: `X-Forwarded-For`, or `Forwarded` (RFC 7239) where that is missing.
//!
//! Proxies write addresses with ports, in brackets and in quotes. What cannot be read is no reason to take the proxy for the
//! client, because proxies are exempt from limits: all such requests are one caller without a name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Stands for a client whose address a proxy did not tell in words that can be read.
pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The last address that is not one of our own proxies: what stands before it is the client's word. `None` if neither
/// field says anything.
pub fn client(forwarded_for: &str, forwarded: &str, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    match last(forwarded_for.rsplit(','), &is_trusted) {
        None => last(forwarded.rsplit(',').filter_map(spoken_for), &is_trusted),
        client => client,
    }
}

fn last<'a>(parts: impl Iterator<Item = &'a str>, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut client = None;
    // A list may have empty elements (RFC 9110 section 5.6.1).
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let address = address(part).unwrap_or(NOBODY);
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`, any of them in quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('"').map_or(Some(text), |rest| rest.strip_suffix('"'))?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    // A zone is of the proxy's machine, and means nothing here.
    let bare = bare.split_once('%').filter(|(address, _)| address.contains(':')).map_or(bare, |(address, _)| address);
    let address = bare.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

/// What an element of `Forwarded` says of the client; nothing if it speaks of other things only.
fn spoken_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(forwarded_for: &str, forwarded: &str) -> String {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        client(forwarded_for, forwarded, is_trusted).map_or_else(|| "-".to_owned(), |address| address.to_string())
    }

    #[test]
    fn addresses_come_in_many_spellings() {
        for (list, expected) in [
            ("5.5.5.5", "5.5.5.5"),
            ("5.5.5.5:4711", "5.5.5.5"),
            ("\"5.5.5.5\"", "5.5.5.5"),
            ("\"5.5.5.5:80\"", "5.5.5.5"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("::ffff:5.5.5.5", "5.5.5.5"),
            ("[::ffff:5.5.5.5]:80", "5.5.5.5"),
            ("fe80::1%eth0", "fe80::1"),
            ("5.5.5.5,", "5.5.5.5"),
            ("5.5.5.5, ,\t", "5.5.5.5"),
            (",5.5.5.5:1, 10.0.0.7:2,", "5.5.5.5"),
            ("9.9.9.9, 5.5.5.5", "5.5.5.5"),
            ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
            // Nobody is no proxy, and no limit is lifted.
            ("unknown", "0.0.0.0"),
            ("9.9.9.9, unknown", "0.0.0.0"),
            ("unknown, 10.0.0.7", "0.0.0.0"),
            ("_hidden", "0.0.0.0"),
            ("5.5.5.5:", "0.0.0.0"),
            ("5.5.5.5:99999", "0.0.0.0"),
            ("[5.5.5.5", "0.0.0.0"),
            ("\"5.5.5.5", "0.0.0.0"),
            ("5.5.5.5 6.6.6.6", "0.0.0.0"),
            ("5.5.5", "0.0.0.0"),
            ("010.0.0.1", "0.0.0.0"),
            ("5.5.5.5%eth0", "0.0.0.0"),
            ("", "-"),
            (", ,", "-"),
        ] {
            assert_eq!(found(list, ""), expected, "{list}");
        }
    }

    #[test]
    fn the_standards_field_counts_where_the_other_is_missing() {
        for (list, field, expected) in [
            ("", "for=5.5.5.5", "5.5.5.5"),
            ("", "for=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            ("", "proto=https; FOR=\"5.5.5.5:80\", for=10.0.0.7", "5.5.5.5"),
            ("", "for=unknown", "0.0.0.0"),
            ("", "for=_x, for=10.0.0.7", "0.0.0.0"),
            ("", "by=10.0.0.1;proto=https", "-"),
            ("5.5.5.5", "for=9.9.9.9", "5.5.5.5"),
            ("unknown", "for=9.9.9.9", "0.0.0.0"),
        ] {
            assert_eq!(found(list, field), expected, "{list} {field}");
        }
    }
}
