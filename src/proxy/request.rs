//! A request's head as values: parsed once, here.
//!
//! The query stays raw bytes, because checksums are made over raw bytes. The client's address and request id are
//! believed from a header only if the peer is a trusted proxy. Nothing is copied that can be read where it came.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

use http::Version;
use ipnet::IpNet;
use pingora::http::RequestHeader;

use super::arrival::Listener;
use super::head::DIRECT_FIELDS;
use super::{forwarded, host};
use crate::bbb::Method;

/// What a request says before its body. The lifetime is that of the head it was read from.
#[derive(Debug)]
pub struct Request<'h> {
    pub method: Method,
    /// Raw path, as received.
    pub path: &'h str,
    /// Raw bytes after the first `?`.
    pub query: &'h [u8],
    /// Lower-case, without port; empty if there is none.
    pub host: Cow<'h, str>,
    /// Lower-case media type without parameters.
    pub media_type: Cow<'h, str>,
    /// The header as received, for multipart boundaries.
    pub content_type: &'h str,
    /// `None` without the header, which with `chunked` means unknown.
    pub content_length: Option<u64>,
    pub chunked: bool,
    pub expects_continue: bool,
    pub client: Option<IpAddr>,
    /// Where it has come in.
    pub listener: Listener,
    /// The client has come by HTTPS, to us or to a trusted proxy before us.
    pub is_secure: bool,
    /// What a trusted proxy said of that.
    pub told_secure: Option<bool>,
    pub id: String,
    /// As received, for what is carried on.
    pub method_text: &'h str,
    /// The host with its port as the client wrote it, or as a trusted proxy says.
    pub host_field: &'h str,
    pub referer: &'h str,
    /// Who opened the connection.
    pub peer: Option<IpAddr>,
    /// HTTP/1.0: no chunks.
    pub is_old: bool,
    /// The peer is a trusted proxy.
    pub behind_proxy: bool,
    pub lines: Lines<'h>,
    /// A question mark stands behind the path, even if nothing follows it.
    pub has_query: bool,
}

/// All header lines, in order and in their own spelling.
#[derive(Clone, Copy, Debug)]
pub enum Lines<'h> {
    /// A whole head, as it came.
    Raw(&'h [u8]),
    Read(&'h RequestHeader),
}

impl<'h> Lines<'h> {
    pub fn each(self, mut with: impl FnMut(&'h [u8], &'h [u8])) {
        match self {
            Self::Raw(head) => {
                let mut lines = [const { MaybeUninit::uninit() }; DIRECT_FIELDS];
                let mut parsed = httparse::Request::new(&mut []);
                if parsed.parse_with_uninit_headers(head, &mut lines).is_ok() {
                    for line in parsed.headers.iter() {
                        with(line.name.as_bytes(), line.value);
                    }
                }
            }
            Self::Read(head) if head.has_case() => {
                head.case_header_iter().for_each(|(name, value)| with(name.as_slice(), value.as_bytes()));
            }
            Self::Read(head) => {
                head.headers.iter().for_each(|(name, value)| with(name.as_str().as_bytes(), value.as_bytes()));
            }
        }
    }
}

/// The header fields that mean something here, as they came; the first of several wins.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    pub host: &'a str,
    pub hosts: u32,
    /// The first `Connection` line.
    pub connection: &'a str,
    pub connections: u32,
    /// Any of them lists `upgrade`, or `close`.
    pub wants_upgrade: bool,
    pub wants_close: bool,
    /// Something that only a session may judge: where a body ends, what the connection becomes, a host that is none.
    pub needs_session: bool,
    pub upgrades: u32,
    /// Any `Upgrade` line lists `websocket`.
    pub wants_websocket: bool,
    /// `Content-Length` lines that say 0.
    pub empty_lengths: u32,
    /// `Sec-WebSocket-Key` is there.
    pub has_key: bool,
    forwarded_host: &'a str,
    forwarded_proto: &'a str,
    /// All lines as one list: some proxies add a line of their own instead of extending the client's.
    forwarded_for: Cow<'a, str>,
    forwarded: Cow<'a, str>,
    request_id: &'a str,
    content_type: &'a str,
    content_length: &'a str,
    expect: &'a str,
    referer: &'a str,
    is_chunked: bool,
}

impl<'a> Fields<'a> {
    pub fn of(head: &'a RequestHeader) -> Self {
        let mut fields = Self::default();
        for (name, value) in &head.headers {
            fields.note(name.as_str().as_bytes(), value.as_bytes());
        }
        fields
    }

    pub fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            4 if is("host") => {
                self.hosts += 1;
                self.needs_session |= !host::is_name(value);
                first(&mut self.host, value);
            }
            6 if is("expect") => {
                self.needs_session = true;
                first(&mut self.expect, value);
            }
            7 if is("upgrade") => {
                self.upgrades += 1;
                self.wants_websocket |= elements(value).any(|element| element.eq_ignore_ascii_case(b"websocket"));
            }
            7 if is("trailer") => self.needs_session = true,
            7 if is("referer") => first(&mut self.referer, value),
            10 if is("connection") => {
                self.connections += 1;
                first(&mut self.connection, value);
                for option in elements(value) {
                    self.wants_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    self.wants_close |= option.eq_ignore_ascii_case(b"close");
                    self.needs_session |= !option.iter().all(is_token);
                }
            }
            17 if is("sec-websocket-key") => self.has_key = true,
            12 if is("content-type") => first(&mut self.content_type, value),
            12 if is("x-request-id") => first(&mut self.request_id, value),
            14 if is("content-length") => {
                let is_zero = value == b"0";
                self.empty_lengths += u32::from(is_zero);
                self.needs_session |= !is_zero;
                first(&mut self.content_length, value);
            }
            9 if is("forwarded") => add(&mut self.forwarded, value),
            15 if is("x-forwarded-for") => add(&mut self.forwarded_for, value),
            16 if is("x-forwarded-host") => first(&mut self.forwarded_host, value),
            17 if is("x-forwarded-proto") => first(&mut self.forwarded_proto, value),
            17 if is("transfer-encoding") => (self.needs_session, self.is_chunked) = (true, true),
            _ => {}
        }
    }
}

fn first<'a>(field: &mut &'a str, value: &'a [u8]) {
    if field.is_empty() {
        *field = text(value);
    }
}

/// What a list names; empty elements are nothing (RFC 9110 section 5.6.1).
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// One line more of a list.
fn add<'a>(list: &mut Cow<'a, str>, value: &'a [u8]) {
    let value = match text(value) {
        // Something is said, and nobody can read it.
        "" if !value.is_empty() => "?",
        value => value,
    };
    if list.is_empty() {
        *list = Cow::Borrowed(value);
    } else {
        let list = list.to_mut();
        list.push(',');
        list.push_str(value);
    }
}

/// A field's value if it is plain ASCII, else nothing.
fn text(value: &[u8]) -> &str {
    let is_plain = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    std::str::from_utf8(value).ok().filter(|_| is_plain).unwrap_or_default()
}

impl<'h> Request<'h> {
    /// `None` if the path is not UTF-8, which no path of ours is.
    pub fn read(head: &'h RequestHeader, peer: Option<SocketAddr>, trusted: &[IpNet]) -> Option<Self> {
        let authority = head.uri.authority().map(|authority| authority.as_str());
        Self::new(head.method.as_str(), head.raw_path(), authority, &Fields::of(head), Lines::Read(head), peer, trusted)
    }

    /// From a head in pieces; `authority` is that of an absolute-form target.
    pub fn new(
        method: &'h str,
        target: &'h [u8],
        authority: Option<&'h str>,
        fields: &Fields<'h>,
        lines: Lines<'h>,
        peer: Option<SocketAddr>,
        trusted: &[IpNet],
    ) -> Option<Self> {
        let (path, query) = split_target(target);
        let peer = peer.map(|address| address.ip().to_canonical());
        let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
        let behind_proxy = peer.is_some_and(is_trusted);
        let forwarded =
            behind_proxy.then(|| forwarded::client(&fields.forwarded_for, &fields.forwarded, is_trusted)).flatten();
        let given_host = fields.forwarded_host.split(',').next().unwrap_or_default().trim();
        let host = match behind_proxy.then_some(given_host).filter(|host| !host.is_empty()) {
            Some(host) => host,
            None => authority.unwrap_or(fields.host),
        };
        let given_id = behind_proxy.then_some(fields.request_id).filter(|id| is_request_id(id));
        let media_type = fields.content_type.split(';').next().unwrap_or_default().trim();
        let given_proto = fields.forwarded_proto.split(',').next().unwrap_or_default().trim();
        let told_secure = behind_proxy.then_some(given_proto).filter(|proto| !proto.is_empty());
        let told_secure = told_secure.map(|proto| proto.eq_ignore_ascii_case("https"));
        Some(Self {
            method: match method {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                "POST" => Method::Post,
                _ => Method::Other,
            },
            path: std::str::from_utf8(path).ok()?,
            query,
            host: bare_host(host),
            media_type: lower_case(media_type),
            content_type: fields.content_type,
            content_length: fields.content_length.trim().parse().ok(),
            chunked: fields.is_chunked,
            expects_continue: fields.expect.eq_ignore_ascii_case("100-continue"),
            client: forwarded.or(peer),
            listener: Listener::Http,
            is_secure: told_secure.unwrap_or(false),
            told_secure,
            id: given_id.map_or_else(new_request_id, str::to_owned),
            method_text: method,
            host_field: host,
            referer: fields.referer,
            peer,
            is_old: matches!(lines, Lines::Read(head) if head.version < Version::HTTP_11),
            behind_proxy,
            lines,
            has_query: memchr::memchr(b'?', target).is_some(),
        })
    }

    /// The same request, come in by that listener.
    pub fn come_by(mut self, listener: Listener) -> Self {
        self.listener = listener;
        self.is_secure = self.told_secure.unwrap_or(listener == Listener::Https);
        self
    }

    pub fn has_body(&self) -> bool {
        self.chunked || self.content_length.is_some_and(|length| length > 0)
    }
}

/// Path and query of an origin-form or absolute-form target.
fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    let target = match target {
        [b'/', ..] => target,
        _ => match memchr::memmem::find(target, b"://") {
            Some(scheme) => {
                let rest = &target[scheme + 3..];
                memchr::memchr2(b'/', b'?', rest).map_or(&b"/"[..], |slash| &rest[slash..])
            }
            None => target,
        },
    };
    match memchr::memchr(b'?', target) {
        Some(mark) => (&target[..mark], &target[mark + 1..]),
        None => (target, b""),
    }
}

fn bare_host(host: &str) -> Cow<'_, str> {
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let end = match host.strip_prefix('[') {
        Some(v6) => v6.find(']').map_or(host.len(), |bracket| bracket + 2),
        None => host.find(':').unwrap_or(host.len()),
    };
    lower_case(host[..end].trim_end_matches('.'))
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

fn is_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Sixteen hex digits.
pub fn new_request_id() -> String {
    const_hex::encode(rand::random::<[u8; 8]>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The head lives as long as the test.
    fn request(target: &str, headers: &[(&'static str, &str)], peer: &str) -> Request<'static> {
        let head = Box::leak(Box::new(RequestHeader::build("GET", target.as_bytes(), None).unwrap()));
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        Request::read(head, Some(peer.parse().unwrap()), &trusted).unwrap()
    }

    #[test]
    fn the_query_stays_raw() {
        let got = request("/bigbluebutton/api/join?a=%c3&b=x+y&c=1?2", &[("host", "BBB.Example.org:443")], "1.2.3.4:5");
        assert_eq!(got.path, "/bigbluebutton/api/join");
        assert_eq!(got.query, b"a=%c3&b=x+y&c=1?2");
        assert_eq!(got.host, "bbb.example.org");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let headers = [("x-forwarded-for", "9.9.9.9, 5.5.5.5, 10.0.0.7"), ("x-request-id", "abc-1"), ("host", "h")];
        let direct = request("/", &headers, "1.2.3.4:5");
        assert_eq!(direct.client.unwrap().to_string(), "1.2.3.4");
        assert_ne!(direct.id, "abc-1");
        let proxied = request("/", &headers, "10.0.0.1:5");
        assert_eq!(proxied.client.unwrap().to_string(), "5.5.5.5", "the nearest address that is not ours");
        assert_eq!(proxied.id, "abc-1");
    }

    #[test]
    fn a_proxy_that_adds_its_own_line_is_read_to_the_end() {
        let two_lines = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "5.5.5.5")];
        assert_eq!(request("/", &two_lines, "10.0.0.1:5").client.unwrap().to_string(), "5.5.5.5");
        let ended = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "\"[2001:db8::5]:80\", ")];
        assert_eq!(request("/", &ended, "10.0.0.1:5").client.unwrap().to_string(), "2001:db8::5");
        let unreadable = [("x-forwarded-for", "5.5.5.5"), ("x-forwarded-for", "\u{fc}")];
        assert_eq!(request("/", &unreadable, "10.0.0.1:5").client.unwrap().to_string(), "0.0.0.0", "not the proxy");
        assert_eq!(request("/", &unreadable, "1.2.3.4:5").client.unwrap().to_string(), "1.2.3.4");
        let standard = [("forwarded", "for=9.9.9.9"), ("forwarded", "for=\"5.5.5.5:80\";proto=https")];
        assert_eq!(request("/", &standard, "10.0.0.1:5").client.unwrap().to_string(), "5.5.5.5");
        let broken = [("x-forwarded-for", "unknown, 5.5.5.5")];
        assert_eq!(request("/", &broken, "10.0.0.1:5").client.unwrap().to_string(), "5.5.5.5");
        let hosts = [("x-forwarded-host", "Moodle.example.org, proxy.internal"), ("host", "h")];
        assert_eq!(request("/", &hosts, "10.0.0.1:5").host, "moodle.example.org");
        assert_eq!(request("/", &hosts, "1.2.3.4:5").host, "h");
    }

    #[test]
    fn only_a_trusted_proxy_says_what_the_client_has_come_by() {
        let headers = [("x-forwarded-proto", "https, http"), ("host", "h")];
        assert!(request("/", &headers, "10.0.0.1:5").come_by(Listener::Http).is_secure);
        assert!(!request("/", &headers, "1.2.3.4:5").come_by(Listener::Http).is_secure);
        let headers = [("x-forwarded-proto", "http"), ("host", "h")];
        assert!(!request("/", &headers, "10.0.0.1:5").come_by(Listener::Https).is_secure);
        assert!(request("/", &headers, "1.2.3.4:5").come_by(Listener::Https).is_secure);
    }

    #[test]
    fn hosts() {
        assert_eq!(bare_host("[::1]:8080"), "[::1]");
        assert_eq!(bare_host("[::1"), "[::1");
        assert_eq!(bare_host("user@Host.:80"), "host");
        assert_eq!(bare_host(""), "");
    }

    #[test]
    fn absolute_form() {
        assert_eq!(split_target(b"http://h/p?q"), (&b"/p"[..], &b"q"[..]));
        assert_eq!(split_target(b"http://h?q"), (&b""[..], &b"q"[..]));
        assert_eq!(split_target(b"http://h"), (&b"/"[..], &b""[..]));
    }
}
