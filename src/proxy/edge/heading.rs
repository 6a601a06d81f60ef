//! The request's head as the server gets it.
//!
//! Method, path, query and all end-to-end fields go on as they came. What belongs to one connection only goes, and what
//! says who the caller is comes from us alone: servers behind trust these fields (bbb-http-surface.md, trap 6).

use std::net::IpAddr;

use bytes::BytesMut;

use super::find::Way;
use crate::proxy::forwarded::NOBODY;
use crate::proxy::request::{Lines, Request};

/// Goes round with requests, so that one that comes back is seen.
pub const HOP: &str = "X-Usher-Hop";

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Nothing,
    Length(u64),
    Chunks,
    /// Nothing, and the connection becomes another.
    WebSocket,
}

/// Writes the head. `hop` is this process's own mark.
pub fn write(out: &mut BytesMut, request: &Request<'_>, way: &Way<'_>, sent: Sent, hop: &str) {
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    put(request.method_text.as_bytes());
    put(b" ");
    put(way.place.base.as_bytes());
    put(way.path.as_bytes());
    if request.has_query {
        put(b"?");
        put(request.query);
    }
    put(b" HTTP/1.1\r\nHost: ");
    put(request.host_field.as_bytes());
    let named = Named::by(request.lines);
    let mut forwarded_for = Vec::new();
    let mut has_proto = false;
    // HTTP/2 may split them, HTTP/1.1 has one line (RFC 9113 section 8.2.3).
    let mut cookies = Vec::new();
    request.lines.each(|name, value| {
        let keep = match fate(name) {
            Fate::Keep => !named.contains(name),
            Fate::Drop => false,
            Fate::Cookie => {
                cookies.push(value);
                false
            }
            Fate::FromProxy => {
                if request.behind_proxy && name.eq_ignore_ascii_case(b"x-forwarded-for") {
                    forwarded_for.push(value);
                    false
                } else {
                    has_proto |= name.eq_ignore_ascii_case(b"x-forwarded-proto");
                    request.behind_proxy
                }
            }
        };
        if keep {
            put(b"\r\n");
            put(name);
            put(b": ");
            put(value);
        }
    });
    for (position, cookie) in cookies.into_iter().enumerate() {
        put(if position == 0 { b"\r\nCookie: " } else { b"; " });
        put(cookie);
    }
    put(b"\r\nX-Forwarded-For: ");
    for list in forwarded_for {
        put(list);
        put(b", ");
    }
    put(text_of(request.peer).as_bytes());
    put(b"\r\nX-Real-IP: ");
    put(text_of(request.client.filter(|client| *client != NOBODY).or(request.peer)).as_bytes());
    if !(request.behind_proxy && has_proto) {
        put(b"\r\nX-Forwarded-Proto: ");
        put(request.listener.label().as_bytes());
    }
    put(b"\r\nX-Forwarded-Host: ");
    put(request.host_field.as_bytes());
    put(b"\r\nX-Request-Id: ");
    put(request.id.as_bytes());
    put(b"\r\n");
    put(HOP.as_bytes());
    put(b": ");
    put(hop.as_bytes());
    match sent {
        Sent::Nothing => {}
        Sent::Length(length) => {
            put(b"\r\nContent-Length: ");
            put(itoa::Buffer::new().format(length).as_bytes());
        }
        Sent::Chunks => put(b"\r\nTransfer-Encoding: chunked"),
        Sent::WebSocket => put(b"\r\nConnection: Upgrade\r\nUpgrade: websocket"),
    }
    put(b"\r\n\r\n");
}

/// Whether this request has been here before: a server's name that leads back to us.
pub fn comes_again(request: &Request<'_>, hop: &str) -> bool {
    let mut found = false;
    request.lines.each(|name, value| found |= name.eq_ignore_ascii_case(HOP.as_bytes()) && value == hop.as_bytes());
    found
}

enum Fate {
    Keep,
    Drop,
    Cookie,
    /// A trusted proxy's word stays, everybody else's goes.
    FromProxy,
}

fn fate(name: &[u8]) -> Fate {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    match name.len() {
        2 if is("te") => Fate::Drop,
        4 if is("host") => Fate::Drop,
        6 if is("expect") => Fate::Drop,
        6 if is("cookie") => Fate::Cookie,
        7 if is("upgrade") || is("trailer") || is("user-id") => Fate::Drop,
        9 if is("x-real-ip") || is("user-name") => Fate::Drop,
        9 if is("forwarded") => Fate::FromProxy,
        10 if is("connection") || is("keep-alive") || is("meeting-id") => Fate::Drop,
        11 if is(HOP) => Fate::Drop,
        12 if is("voice-bridge") || is("x-request-id") => Fate::Drop,
        14 if is("content-length") => Fate::Drop,
        15 if is("x-forwarded-for") => Fate::FromProxy,
        16 if is("proxy-connection") || is("x-forwarded-host") => Fate::Drop,
        16 if is("x-forwarded-port") => Fate::FromProxy,
        17 if is("transfer-encoding") => Fate::Drop,
        17 if is("x-forwarded-proto") => Fate::FromProxy,
        _ => Fate::Keep,
    }
}

/// Fields that `Connection` names: they belong to this connection.
struct Named<'h>(Vec<&'h [u8]>);

impl<'h> Named<'h> {
    fn by(lines: Lines<'h>) -> Self {
        let mut named = Vec::new();
        lines.each(|name, value| {
            if name.len() == 10 && name.eq_ignore_ascii_case(b"connection") {
                let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                let is_field = |option: &&[u8]| {
                    !option.is_empty()
                        && ![&b"close"[..], b"keep-alive", b"upgrade"]
                            .iter()
                            .any(|word| word.eq_ignore_ascii_case(option))
                };
                named.extend(options.filter(is_field));
            }
        });
        Self(named)
    }

    fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(name))
    }
}

fn text_of(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}
