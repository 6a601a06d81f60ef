//! A request names one host, or it is refused: what two readers could read differently must not choose a tenant.
//!
//! Pingora refuses two `Host` fields and an absolute target that contradicts the field. What remains are fields that hold
//! no host at all, and HTTP/1.1 without one (RFC 9112, section 3.2).

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
    host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']'))
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
        for host in ["a, b", "a b", "a/b", "a@b", "a#b", "a?b", "a\\b", "a%41", "a;b", "*", "a\tb"] {
            head.insert_header(HOST, host).unwrap();
            assert!(!is_one(&head), "{host}");
        }
    }
}
