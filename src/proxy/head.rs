//! A request's head as bytes: where it ends, and which lane takes it.
//!
//! Nearly every call is a small GET. Such a head is read here, strictly, and answered without a session of Pingora's.
//! Whatever is not a plain GET or HEAD of HTTP/1.1 (bodies, upgrades, odd framing, old versions, lax line ends) goes to
//! Pingora with its bytes untouched, so that there is one reader of framing and never two opinions about it.

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use ipnet::IpNet;
use memchr::{memchr, memchr2, memchr3};

use super::request::{Fields, Lines, Request};

/// Header lines in the direct lane; browsers send about twenty.
pub const DIRECT_FIELDS: usize = 64;

/// How far a head has been looked through.
#[derive(Debug, Default)]
pub struct Scan {
    looked_at: usize,
    /// Something other than line ends was seen.
    has_begun: bool,
    has_bare_line_feed: bool,
}

impl Scan {
    /// Length of the head in `bytes`, its empty line included, once it is there. To be called again with the same bytes
    /// and more; nothing is looked at twice.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(step) = memchr(b'\n', &bytes[self.looked_at..]) {
            let feed = self.looked_at + step;
            let line_end = match bytes[..feed] {
                [.., b'\r'] => feed - 1,
                _ => {
                    self.has_bare_line_feed = true;
                    feed
                }
            };
            let is_empty_line = line_end == 0 || bytes[line_end - 1] == b'\n';
            self.look_at(bytes, feed + 1);
            // Empty lines before the request line are the rest of a sloppy client's last body.
            if is_empty_line && self.has_begun {
                return Some(feed + 1);
            }
        }
        self.look_at(bytes, bytes.len());
        None
    }

    fn look_at(&mut self, bytes: &[u8], end: usize) {
        self.has_begun = self.has_begun || bytes[self.looked_at..end].iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        self.looked_at = end;
    }
}

/// Whether the first line of a head is three words, and its target a path, `*`, an authority, or a whole address of the web.
/// Pingora takes more: control characters in a target, and any scheme.
pub fn has_sound_line(head: &[u8]) -> bool {
    let begin = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let head = &head[begin..];
    let line = &head[..memchr(b'\n', head).unwrap_or(head.len())];
    let mut words = line.strip_suffix(b"\r").unwrap_or(line).split(|&byte| byte == b' ');
    let (Some(_), Some(target), Some(_), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return false;
    };
    let is_of_web = |scheme: &[u8]| [&b"http"[..], b"https"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
    let scheme = memchr::memmem::find(target, b"://").map(|end| &target[..end]);
    let has_scheme = scheme.filter(|scheme| !scheme.contains(&b'/') && !scheme.contains(&b'?'));
    !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f) && has_scheme.is_none_or(is_of_web)
}

/// Who reads a request.
#[derive(Debug)]
pub enum Lane<'h> {
    /// A plain GET or HEAD without a body.
    Direct { request: Request<'h>, close: bool },
    /// The opening of a WebSocket (RFC 6455 section 4.1).
    WebSocket { request: Request<'h>, close: bool },
    /// Everything else.
    Session,
}

/// Chooses the lane of a complete head.
pub fn lane<'h>(head: &'h [u8], scan: &Scan, peer: Option<SocketAddr>, trusted: &[IpNet]) -> Lane<'h> {
    read(head, scan, peer, trusted).unwrap_or(Lane::Session)
}

fn read<'h>(head: &'h [u8], scan: &Scan, peer: Option<SocketAddr>, trusted: &[IpNet]) -> Option<Lane<'h>> {
    if scan.has_bare_line_feed {
        return None;
    }
    let mut lines = [const { MaybeUninit::uninit() }; DIRECT_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    if !parsed.parse_with_uninit_headers(head, &mut lines).is_ok_and(|status| status.is_complete()) {
        return None;
    }
    let (method, target) = (parsed.method?, parsed.path?);
    if parsed.version != Some(1) || !matches!(method, "GET" | "HEAD") || !target.starts_with('/') {
        return None;
    }
    // Pingora cuts a fragment off, and refuses the others where they should be encoded.
    let target_bytes = target.as_bytes();
    if memchr3(b'#', b'<', b'>', target_bytes).or_else(|| memchr2(b'"', b'`', target_bytes)).is_some() {
        return None;
    }
    let mut fields = Fields::default();
    for line in parsed.headers.iter() {
        fields.note(line.name.as_bytes(), line.value);
    }
    if fields.needs_session || fields.hosts != 1 {
        return None;
    }
    let lines = Lines::Raw(head);
    // Other protocols may be offered beside it, the options may stand in several lines, and a body of no bytes is none.
    if fields.wants_websocket && method == "GET" && fields.has_key && fields.wants_upgrade && fields.empty_lengths <= 1
    {
        let request = Request::new(method, target.as_bytes(), None, &fields, lines, peer, trusted)?;
        return Some(Lane::WebSocket { request, close: fields.wants_close });
    }
    if fields.upgrades > 0 || fields.empty_lengths > 0 || fields.connections > 1 {
        return None;
    }
    let close = match fields.connection {
        "" => false,
        option if option.eq_ignore_ascii_case("keep-alive") => false,
        option if option.eq_ignore_ascii_case("close") => true,
        _ => return None,
    };
    let request = Request::new(method, target.as_bytes(), None, &fields, lines, peer, trusted)?;
    Some(Lane::Direct { request, close })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lane_of(text: &str) -> Lane<'_> {
        let mut scan = Scan::default();
        let end = scan.end(text.as_bytes()).unwrap();
        assert_eq!(end, text.len());
        lane(text.as_bytes(), &scan, None, &[])
    }

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_arrives() {
        let text = b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nGET";
        for pieces in 1..text.len() {
            let mut scan = Scan::default();
            let mut found = None;
            for end in (pieces..text.len()).step_by(pieces).chain([text.len()]) {
                found = found.or_else(|| scan.end(&text[..end]));
            }
            assert_eq!(found, Some(text.len() - 3), "in pieces of {pieces}");
        }
        assert_eq!(Scan::default().end(b"\r\n\r\n"), None);
        assert_eq!(Scan::default().end(b"GET / HTTP/1.1\nHost: h\n\n"), Some(24));
    }

    /// Takes minutes if each empty line looks back at all before it.
    #[test]
    fn a_megabyte_of_empty_lines_is_no_work() {
        for line in ["\n", "\r\n"] {
            let mut text = line.repeat(1 << 20);
            assert_eq!(Scan::default().end(text.as_bytes()), None);
            text.push_str("GET / HTTP/1.1\r\n\r\n");
            assert_eq!(Scan::default().end(text.as_bytes()), Some(text.len()));
        }
    }

    #[test]
    fn a_first_line_is_three_words() {
        for line in [
            "GET /a HTTP/1.1\r\n",
            "\r\n\nGET /a HTTP/1.1\n",
            "GET /?a=ftp://x HTTP/1.1\r\n",
            "GET /ftp://x HTTP/1.1\r\n",
            "GET http://h/ HTTP/1.1\r\n",
            "GET HTTPS://h/ HTTP/1.1\r\n",
            "OPTIONS * HTTP/1.1\r\n",
            "CONNECT h:443 HTTP/1.1\r\n",
            "GET /\u{fc} HTTP/1.0\r\n",
        ] {
            assert!(has_sound_line(line.as_bytes()), "{line:?}");
        }
        for line in [
            "GET /a b HTTP/1.1\r\n",
            "GET  /a HTTP/1.1\r\n",
            "GET /a  HTTP/1.1\r\n",
            "GET /a\0b HTTP/1.1\r\n",
            "GET /a\rb HTTP/1.1\r\n",
            "GET /a\r HTTP/1.1\r\n",
            "GET /a\tb HTTP/1.1\r\n",
            "GET /a\u{7f} HTTP/1.1\r\n",
            "GET /a\r\n",
            "GET ftp://h/ HTTP/1.1\r\n",
            "GET file:///etc HTTP/1.1\r\n",
            "GET ://h/ HTTP/1.1\r\n",
        ] {
            assert!(!has_sound_line(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn only_plain_gets_are_direct() {
        let ok = "GET /bigbluebutton/api/join?a=b HTTP/1.1\r\nHost: h\r\n";
        let head = format!("{ok}\r\n");
        let Lane::Direct { request, close } = lane_of(&head) else { panic!("not direct") };
        assert_eq!((request.path, request.query, &*request.host), ("/bigbluebutton/api/join", &b"a=b"[..], "h"));
        assert!(!close);
        assert!(matches!(lane_of(&format!("{ok}Connection: close\r\n\r\n")), Lane::Direct { close: true, .. }));
        for rest in [
            "Content-Length: 0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n",
            "Expect: 100-continue\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
            "Upgrade: h2c\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\nContent-Length: 00\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade, a b\r\nSec-WebSocket-Key: x\r\n\r\n",
            "Upgrade: web socket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
            "Connection: keep-alive\r\nConnection: keep-alive\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\nContent-Length: 1\r\n\r\n",
            "Connection: close, te\r\n\r\n",
            "Connection: \u{fc}, close\r\n\r\n",
            "Host: g\r\n\r\n",
            "A: b\n\r\n",
            "A : b\r\n\r\n",
            "A: b\r\n c\r\n\r\n",
        ] {
            assert!(matches!(lane_of(&format!("{ok}{rest}")), Lane::Session), "{rest:?}");
        }
        for (opening, wants_close) in [
            ("Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n", false),
            ("Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n", false),
            ("Upgrade: websocket\r\nConnection: ,Upgrade, HTTP2-Settings,te\r\n", false),
            ("Upgrade: websocket\r\nConnection: Upgrade, Upgrade\r\nConnection: close\r\n", true),
            ("Upgrade: websocket\r\nUpgrade: websocket\r\nConnection: upgrade\r\n", false),
            ("Upgrade: h2c, websocket\r\nUpgrade: foo/2\r\nConnection: upgrade\r\n", false),
            ("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n", false),
        ] {
            let head = format!("{ok}{opening}Sec-WebSocket-Key: x\r\n\r\n");
            let Lane::WebSocket { close, .. } = lane_of(&head) else { panic!("{opening:?}") };
            assert_eq!(close, wants_close, "{opening:?}");
        }
        for whole in [
            "POST / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: b\u{fc}cher\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?b=<c> HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?b=\"c\" HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a`b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b:c\r\n\r\n",
        ] {
            assert!(matches!(lane_of(whole), Lane::Session), "{whole:?}");
        }
    }
}
