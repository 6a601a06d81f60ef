//! What must hold for every request head: where it ends, which lane takes it, and what is read there
//! (src/proxy/head.rs). The judges are a reader by lines, one that forgives everything, one that forgives nothing
//! (RFC 9112), and the session that the other lane uses.
//!
//! An input is how the bytes come, in its first line, and the bytes. Each byte of that line is the end of a piece, in
//! 256ths of the whole; a first byte `!` makes the peer one of the trusted proxies.

use std::io::Cursor;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use ipnet::IpNet;
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use usher::bbb::Method;
use usher::proxy::{Lane, Lines, Request, Scan, lane};

/// Header lines that the direct lane takes at least.
const FIELDS: usize = 64;

pub fn check(data: &[u8]) {
    let Some(line_end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (cuts, text) = (&data[..line_end], &data[line_end + 1..]);
    let (peer, cuts) = match cuts {
        [b'!', cuts @ ..] => ("10.0.0.1:5", cuts),
        cuts => ("192.0.2.1:5", cuts),
    };
    let peer: SocketAddr = peer.parse().expect("an address");

    let (mut scan, mut scan_of_pieces) = (Scan::default(), Scan::default());
    let end = scan.end(text);
    assert_eq!(end, end_by_lines(text));
    assert_eq!(end_by_pieces(&mut scan_of_pieces, text, cuts), end);
    let Some(end) = end else { return };
    let (head, behind) = text.split_at(end);
    assert_eq!(Scan::default().end(head), Some(end));

    let taken = lane(head, &scan, Some(peer), &trusted());
    let taken_of_pieces = lane(head, &scan_of_pieces, Some(peer), &trusted());
    let by_session = by_session(text);
    match (&taken, taken_of_pieces) {
        (Lane::WebSocket { request, close }, Lane::WebSocket { request: of_pieces, close: close_of_pieces }) => {
            assert_eq!(*close, close_of_pieces);
            assert_same(request, &of_pieces);
            opens_a_websocket(head, request, *close);
            let Some(read) = by_session else { panic!("a session refuses it") };
            assert_same(request, &Request::read(&read.head, Some(peer), &trusted()).expect("a session reads it"));
        }
        (Lane::Session, Lane::Session) => assert!(!must_be_direct(head), "a plain request needs no session"),
        (Lane::Direct { request, close }, Lane::Direct { request: of_pieces, close: close_of_pieces }) => {
            assert_eq!(*close, close_of_pieces);
            assert_same(request, &of_pieces);
            hides_nothing(head);
            let strict = is_strict(head, request, *close);
            let Some(read) = by_session else { panic!("a session refuses it") };
            let other = Request::read(&read.head, Some(peer), &trusted()).expect("a session reads it");
            assert_same(request, &other);
            assert!(read.has_no_body);
            // Of several `Connection` lines Pingora looks at the first alone, and `session.rs` at the others.
            assert!(read.keeps != *close || strict.values("connection").count() > 1);
            assert_eq!(read.behind, behind);
        }
        _ => panic!("the lane depends on the pieces"),
    }
}

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).to_vec()
}

/// The rule: a head ends with its first line that holds nothing but its end, lines before the request line not counted.
fn end_by_lines(text: &[u8]) -> Option<usize> {
    let mut end = 0;
    let mut has_begun = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        end += line.len();
        has_begun |= line.iter().any(|byte| !b"\r\n".contains(byte));
        if has_begun && (line == b"\n" || line == b"\r\n") {
            return Some(end);
        }
    }
    None
}

fn end_by_pieces(scan: &mut Scan, text: &[u8], cuts: &[u8]) -> Option<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| text.len() * usize::from(cut) / 256).collect();
    cuts.sort_unstable();
    cuts.push(text.len());
    cuts.into_iter().find_map(|cut| scan.end(&text[..cut]))
}

/// What a session of Pingora's makes of it.
struct BySession {
    head: RequestHeader,
    keeps: bool,
    has_no_body: bool,
    behind: Vec<u8>,
}

/// As `session.rs` does it. `None`: refused. A whole head needs nothing more from the connection.
fn by_session(text: &[u8]) -> Option<BySession> {
    let mut session = ServerSession::new_http1(Box::new(Cursor::new(Vec::new())));
    session.set_pipelining_enabled(true);
    session.set_pipelined_prefix(BytesMut::from(text));
    session.set_keepalive(Some(60));
    match at_once(session.read_request()) {
        Ok(true) => {}
        Ok(false) => panic!("a session sees nobody there"),
        Err(error) => {
            assert_ne!(error.etype(), &ErrorType::ConnectionClosed, "a session waits for more than the head");
            return None;
        }
    }
    let head = session.req_header().clone();
    let (keeps, has_no_body) = (session.get_keepalive().is_some(), session.is_body_done());
    let behind = match keeps && has_no_body {
        true => at_once(session.finish()).ok().flatten().and_then(|reused| reused.into_parts().1),
        false => Some(BytesMut::from(&text[end_by_lines(text).unwrap_or_default()..])),
    };
    Some(BySession { head, keeps, has_no_body, behind: behind.unwrap_or_default().to_vec() })
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a session waits"),
    }
}

fn assert_same(one: &Request, other: &Request) {
    // Without `..`: a new field is to be compared too.
    let Request {
        method,
        path,
        query,
        host,
        media_type,
        content_type,
        content_length,
        chunked,
        expects_continue,
        client,
        listener,
        is_secure,
        told_secure,
        id,
        method_text,
        host_field,
        referer,
        peer,
        is_old,
        behind_proxy,
        lines,
        has_query,
    } = one;
    assert_eq!((method_text, host_field), (&other.method_text, &other.host_field));
    assert_eq!((referer, has_query), (&other.referer, &other.has_query));
    assert_eq!((peer, is_old, behind_proxy), (&other.peer, &other.is_old, &other.behind_proxy));
    assert_eq!(sorted(*lines), sorted(other.lines));
    assert_eq!((method, path, query), (&other.method, &other.path, &other.query));
    assert_eq!((host, media_type, content_type), (&other.host, &other.media_type, &other.content_type));
    assert_eq!((content_length, chunked), (&other.content_length, &other.chunked));
    assert_eq!((expects_continue, client), (&other.expects_continue, &other.client));
    let way = (&other.listener, &other.is_secure, &other.told_secure);
    assert_eq!((listener, is_secure, told_secure), way);
    let is_made_up = |id: &str| id.len() == 16 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    assert!(is_made_up(id) && is_made_up(&other.id) || *id == other.id, "{id} {}", other.id);
}

/// A session groups lines of one name.
fn sorted<'a>(lines: Lines<'a>) -> Vec<(String, &'a [u8])> {
    let mut sorted = Vec::new();
    lines.each(|name, value| sorted.push((String::from_utf8_lossy(name).into_owned(), value)));
    sorted.sort();
    sorted
}

/// The strictest reader finds a GET without a body that asks for a WebSocket, perhaps beside something else.
fn opens_a_websocket(head: &[u8], request: &Request, close: bool) {
    let Some(strict) = Strict::read(head) else { panic!("a strict reader refuses it") };
    assert_eq!((strict.method, request.method), (&b"GET"[..], Method::Get));
    let mut upgrades = strict.values("upgrade").flat_map(|value| value.split(|&byte| byte == b','));
    assert!(upgrades.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket")));
    let options = strict.options().expect("a list");
    assert!(options.iter().any(|option| option == b"upgrade"));
    assert_eq!(close, options.iter().any(|option| option == b"close"), "{options:?}");
    assert!(strict.values("content-length").all(|length| length == b"0") && !request.has_body());
    assert!(strict.values("content-length").count() <= 1);
    assert!(strict.values("sec-websocket-key").count() > 0);
    for name in ["transfer-encoding", "expect", "trailer"] {
        assert_eq!(strict.values(name).count(), 0, "{name}");
    }
}

/// Not even a reader that ends lines at anything, and takes anything round a name for space, finds a body, another
/// protocol, a second host or an end before the end.
fn hides_nothing(head: &[u8]) {
    let head = &head[head.iter().take_while(|byte| b"\r\n".contains(byte)).count()..];
    let text = head.strip_suffix(b"\r\n\r\n").expect("it ends with an empty line");
    for (place, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(text.get(place + 1), Some(&b'\n'), "a lone carriage return"),
            b'\n' => assert!(place > 0 && text[place - 1] == b'\r', "a lone line feed"),
            byte => assert!(byte == b'\t' || !byte.is_ascii_control(), "a control character"),
        }
    }
    let lines = text.split(|byte| b"\r\n\0\x0b\x0c".contains(byte)).filter(|line| !line.is_empty());
    let mut hosts = 0;
    for line in lines.skip(1) {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let is_space = |byte: &u8| *byte <= b' ' || *byte >= 0x7f;
        let begin = name.iter().position(|byte| !is_space(byte)).expect("a line without a name");
        let end = name.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
        match name[begin..end].to_ascii_lowercase().as_slice() {
            b"content-length" | b"transfer-encoding" | b"upgrade" | b"expect" | b"trailer" => panic!("{line:?}"),
            b"host" => hosts += 1,
            _ => {}
        }
    }
    assert_eq!(hosts, 1);
}

/// A request as RFC 9112 has it, and nothing else.
struct Strict<'a> {
    method: &'a [u8],
    target: &'a [u8],
    fields: Vec<(String, &'a [u8])>,
}

impl<'a> Strict<'a> {
    fn read(head: &'a [u8]) -> Option<Self> {
        let mut head = head;
        while let Some(rest) = head.strip_prefix(b"\r\n") {
            head = rest;
        }
        let mut lines = head.strip_suffix(b"\r\n\r\n")?.split(|&byte| byte == b'\n').peekable();
        let mut next = || {
            let line = lines.next()?;
            // The last one's carriage return went with the empty line.
            Some(if lines.peek().is_some() { line.strip_suffix(b"\r") } else { Some(line) })
        };
        let mut words = next()??.split(|&byte| byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || version != b"HTTP/1.1" || !is_token(method) || !is_target(target) {
            return None;
        }
        let mut fields = Vec::new();
        while let Some(line) = next() {
            let line = line?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
            if !is_token(name) || !line[colon + 1..].iter().all(is_text) {
                return None;
            }
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
        }
        let request = Self { method, target, fields };
        let hosts: Vec<&[u8]> = request.values("host").collect();
        let has_host = hosts.len() == 1 && is_host(hosts[0]);
        (has_host && request.options().is_some()).then_some(request)
    }

    fn values(&self, wanted: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| *value)
    }

    /// What the `Connection` fields list, in lower case; `None` if that is no list.
    fn options(&self) -> Option<Vec<Vec<u8>>> {
        let elements = self.values("connection").flat_map(|value| value.split(|&byte| byte == b','));
        let options: Vec<_> = elements.map(|option| option.trim_ascii().to_ascii_lowercase()).collect();
        let options: Vec<_> = options.into_iter().filter(|option| !option.is_empty()).collect();
        options.iter().all(|option| is_token(option)).then_some(options)
    }
}

fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Path and query, with what browsers and old clients send unencoded: more than RFC 3986 has, but never what ends a
/// target, an attribute or a tag.
fn is_target(target: &[u8]) -> bool {
    target.starts_with(b"/") && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f && !b"#<>".contains(byte))
}

/// A name, or an address in brackets, with or without a port; also nothing at all.
fn is_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            ("", port)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.strip_prefix(':').map_or(port.is_empty(), |digits| digits.bytes().all(|b| b.is_ascii_digit()));
    is_port && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// What the direct lane took is a request for the strictest reader too, and the same one.
fn is_strict<'a>(head: &'a [u8], request: &Request, close: bool) -> Strict<'a> {
    let Some(strict) = Strict::read(head) else { panic!("a strict reader refuses it") };
    let method = match request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        _ => panic!("not a plain method"),
    };
    assert_eq!(strict.method, method.as_bytes());
    let mark = strict.target.iter().position(|&byte| byte == b'?').unwrap_or(strict.target.len());
    assert_eq!(request.path.as_bytes(), &strict.target[..mark]);
    assert_eq!(request.query, strict.target.get(mark + 1..).unwrap_or_default());
    let options = strict.options().expect("a list");
    assert_eq!(close, options.iter().any(|option| option == b"close"), "{options:?}");
    assert!(!request.has_body() && !request.expects_continue && request.content_length.is_none());
    strict
}

/// Whether there is no excuse for a session: what nearly every caller sends.
fn must_be_direct(head: &[u8]) -> bool {
    let Some(strict) = Strict::read(head) else { return false };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/?@!$&'()*+,;=%".contains(byte);
    let is_sessions =
        |name: &str| ["content-length", "transfer-encoding", "upgrade", "expect", "trailer"].contains(&name);
    let mut options = strict.values("connection");
    let is_usual = options
        .next()
        .is_none_or(|value| value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive"));
    matches!(strict.method, b"GET" | b"HEAD")
        && strict.target.iter().all(is_plain)
        && strict.fields.len() <= FIELDS
        && !strict.fields.iter().any(|(name, _)| is_sessions(name))
        && is_usual
        && options.next().is_none()
}
