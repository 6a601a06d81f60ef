//! A request names one host, or it is refused: what two readers could read differently must not choose a tenant.
//!
//! Pingora refuses two `Host` fields and an absolute target that contradicts the field. What remains are fields that hold
//! no host at all, and HTTP/1.1 without one (RFC 9112, section 3.2).

use std::net::Ipv6Addr;

use http::Version;
use http::header::HOST;
use pingora::http::RequestHeader;

/// Whether the `Host` field is one host with an optional port. It may be empty, and missing before HTTP/1.1 or if the
/// target is absolute.
pub fn is_one(head: &RequestHeader) -> bool {
    match head.headers.get(HOST) {
        Some(host) => is_name(host.as_bytes()),
        None => head.version != Version::HTTP_11 || head.uri.authority().is_some(),
    }
}

/// A name or an address, with or without a port.
pub fn is_name(host: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let port = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            let is_address = std::str::from_utf8(&rest[..end]).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            &rest[end + 1..]
        }
        _ => &host[host.iter().take_while(|byte| is_of_name(byte)).count()..],
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.set_version(Version::HTTP_10);
        assert!(is_one(&head));
        head.set_version(Version::HTTP_11);
        assert!(!is_one(&head));
        for host in ["", "bbb.example.org", "bbb.example.org:443", "[2001:db8::1]:80", "my_host", "xn--bcher-kva.test."]
        {
            head.insert_header(HOST, host).unwrap();
            assert!(is_one(&head), "{host}");
        }
        let separated = ["a, b", "a b", "a/b", "a@b", "a#b", "a?b", "a\\b", "a%41", "a;b", "*", "a\tb"];
        let colons =
            ["a:b", "a:b:80", "a:80:81", "2001:db8::1", "[::1", "[::1]x", "[::1]:80:81", "[]", "[a]", "a]", "x[::1]"];
        for host in separated.into_iter().chain(colons) {
            head.insert_header(HOST, host).unwrap();
            assert!(!is_one(&head), "{host}");
        }
    }
}
