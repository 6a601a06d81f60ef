//! The head of a server's answer: read, and written anew for the browser.
//!
//! Fields pass in order and in their own spelling, except those of one connection, and what `rewriting` changes in path
//! mode.

use bytes::BytesMut;

use super::chunks::Chunks;
use super::coding;
use super::find::Way;
use super::rewriting::{cookie, location, refresh};
use crate::config::{Coding, Headers};

/// Bytes. nginx in front of BBB sends a few hundred.
const LONGEST_HEAD: usize = 64 * 1024;
/// Header lines.
pub const MOST_LINES: usize = 128;

/// How the body ends.
#[derive(Debug)]
pub enum Framing {
    Nothing,
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    /// The connection is a WebSocket from here on.
    Switched,
}

/// A server's answer that cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    #[error("the answer is no HTTP")]
    NotHttp,
    #[error("the answer's head is too large")]
    TooLarge,
    #[error("the answer's length is not certain")]
    Framing,
    #[error("the answer switches to a protocol that nobody asked for")]
    Unasked,
}

/// A head as the browser gets it, but for its last lines.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    /// Status line and fields, each line complete but the last.
    pub text: BytesMut,
    pub framing: Framing,
    /// The server keeps the connection.
    pub keeps: bool,
    /// Bytes of the server's head.
    pub length: usize,
    /// The body is to be compressed on its way.
    pub coding: Option<Coding>,
}

/// What the request was, as far as the answer's meaning depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub head_only: bool,
    pub websocket: bool,
    /// The browser's connection cannot take chunks.
    pub old: bool,
    /// Our own address as browsers write it, without a slash at the end.
    pub public_base: &'a str,
    pub headers: &'a Headers,
    pub compressing: Compressing,
}

/// Whether this answer's body may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressing {
    /// For other browsers, at least: caches have to know.
    pub varies: bool,
    /// What this browser takes.
    pub coding: Option<Coding>,
    /// Bytes from which on it is done.
    pub min_length: u64,
}

/// Reads a head if all of it is there; interim answers (1xx) are skipped and cut off.
pub fn read(bytes: &mut BytesMut, way: &Way<'_>, asked: Asked<'_>) -> Result<Option<Head>, BadReply> {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
        let mut parsed = httparse::Response::new(&mut lines);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(BadReply::TooLarge),
            Err(_) => return Err(BadReply::NotHttp),
        };
        let status = parsed.code.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            let _interim = bytes.split_to(length);
            continue;
        }
        // RFC 9110 section 15 knows none below.
        if status < 100 {
            return Err(BadReply::NotHttp);
        }
        if status == 101 && !asked.websocket {
            return Err(BadReply::Unasked);
        }
        return written(&parsed, length, way, asked).map(Some);
    }
}

fn written(
    parsed: &httparse::Response<'_, '_>,
    length: usize,
    way: &Way<'_>,
    asked: Asked<'_>,
) -> Result<Head, BadReply> {
    let status = parsed.code.unwrap_or_default();
    let mut text = BytesMut::with_capacity(length + 128);
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    text.extend_from_slice(b" ");
    text.extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
    let mut fields = Fields::default();
    parsed.headers.iter().for_each(|line| fields.note(line.name, line.value));
    let framing = fields.framing(status, asked)?;
    let compressing = Some(asked.compressing).filter(|how| how.varies && fields.shrinks(status, how.min_length));
    let coding = compressing.and_then(|how| how.coding);
    let mut put = |name: &str, value: &[u8]| {
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
    };
    let mut has_length = false;
    for line in parsed.headers.iter() {
        let is = |wanted: &str| line.name.eq_ignore_ascii_case(wanted);
        match line.name.len() {
            10 if is("connection") || is("keep-alive") => {}
            7 if is("upgrade") => {}
            16 if is("proxy-connection") => {}
            17 if is("transfer-encoding") => {}
            // Two lengths at once: the chunks win, and the other must not go on (RFC 9112 section 6.3).
            14 if is("content-length") && (matches!(framing, Framing::Chunked(_)) || coding.is_some()) => {}
            // The bytes are others than the server's, what they mean is the same.
            4 if is("etag") && coding.is_some() && !line.value.starts_with(b"W/") => {
                put(line.name, &[b"W/", line.value].concat());
            }
            13 if is("accept-ranges") && coding.is_some() => {}
            8 | 16 if way.prefix.is_some() && (is("location") || is("content-location")) => {
                put(line.name, &location(line.value, way, asked.public_base))
            }
            7 if is("refresh") && way.prefix.is_some() => put(line.name, &refresh(line.value, way, asked.public_base)),
            10 if is("set-cookie") && way.prefix.is_some() => put(line.name, &cookie(line.value, way)),
            // Nobody's word takes the length away from a body that has one. Once is enough.
            14 if is("content-length") => {
                if !std::mem::replace(&mut has_length, true) {
                    put(line.name, line.value);
                }
            }
            _ if fields.names(line.name) || asked.headers.drops(line.name) => {}
            _ => put(line.name, line.value),
        }
    }
    if compressing.is_some() {
        put("Vary", b"Accept-Encoding");
    }
    if let Some(coding) = coding {
        put("Content-Encoding", coding.name().as_bytes());
    }
    match framing {
        Framing::Length(_) | Framing::UntilClose if coding.is_some() => put("Transfer-Encoding", b"chunked"),
        Framing::Chunked(_) if !asked.old => put("Transfer-Encoding", b"chunked"),
        Framing::Switched => {
            put("Connection", b"upgrade");
            put("Upgrade", b"websocket");
        }
        _ => {}
    }
    let keeps =
        parsed.version == Some(1) && !fields.closes() && !matches!(framing, Framing::UntilClose | Framing::Switched);
    Ok(Head { status, text, framing, keeps, length, coding })
}

#[derive(Default)]
struct Fields<'a> {
    connection: &'a [u8],
    /// Further lines of the same.
    connections: Vec<&'a [u8]>,
    length: Option<&'a [u8]>,
    lengths_differ: bool,
    encoding: Option<&'a [u8]>,
    encodings: u32,
    content_type: &'a [u8],
    /// It is compressed already, a part of something, or nobody may change it.
    is_fixed: bool,
}

impl<'a> Fields<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            12 if is("content-type") => self.content_type = value,
            13 if is("content-range") => self.is_fixed = true,
            13 if is("cache-control") => {
                self.is_fixed |= value.to_ascii_lowercase().windows(12).any(|part| part == b"no-transform");
            }
            16 if is("content-encoding") => self.is_fixed = true,
            10 if is("connection") && self.connection.is_empty() => self.connection = value,
            10 if is("connection") => self.connections.push(value),
            14 if is("content-length") => {
                self.lengths_differ |= self.length.is_some_and(|length| length != value);
                self.length = Some(value);
            }
            17 if is("transfer-encoding") => {
                self.encoding = Some(value);
                self.encodings += 1;
            }
            _ => {}
        }
    }

    /// The body is worth compressing.
    fn shrinks(&self, status: u16, min_length: u64) -> bool {
        let length = self.length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        status == 200
            && !self.is_fixed
            && coding::is_text(self.content_type)
            && length.is_none_or(|length| length >= min_length)
    }

    /// `Connection` names this option or field.
    fn names(&self, wanted: &str) -> bool {
        let is_in = |list: &[u8]| {
            list.split(|&byte| byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
        };
        is_in(self.connection) || self.connections.iter().any(|list| is_in(list))
    }

    fn closes(&self) -> bool {
        self.names("close")
            // Two opinions on the length: nothing may follow.
            || (self.encoding.is_some() && self.length.is_some())
    }

    /// RFC 9112 section 6.3.
    fn framing(&self, status: u16, asked: Asked<'_>) -> Result<Framing, BadReply> {
        if status == 101 {
            return Ok(Framing::Switched);
        }
        if asked.head_only || matches!(status, 204 | 304) {
            return Ok(Framing::Nothing);
        }
        if let Some(encoding) = self.encoding {
            let is_plain = self.encodings == 1 && encoding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            return if is_plain { Ok(Framing::Chunked(Chunks::default())) } else { Err(BadReply::Framing) };
        }
        match self.length {
            None => Ok(Framing::UntilClose),
            Some(_) if self.lengths_differ => Err(BadReply::Framing),
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                length.map(Framing::Length).ok_or(BadReply::Framing)
            }
            Some(_) => Err(BadReply::Framing),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::find::Place;
    use super::*;

    use crate::config::ServerLine;
    use crate::ids::{Secret, ServerId};
    use crate::store::ServerRecord;

    fn record() -> ServerRecord {
        ServerRecord {
            id: ServerId(1),
            ..ServerRecord::new(
                "bbb1".to_owned(),
                "https://bbb1.example/bigbluebutton/api/".to_owned(),
                Secret::new("s"),
            )
        }
    }

    pub fn way(prefix: Option<&str>) -> Way<'_> {
        let place = Place::new(Arc::new(record()), None).unwrap();
        Way { place: Arc::new(place), path: "/", prefix, host: "p.example" }
    }

    static HEADERS: Headers = Headers { server: ServerLine::Off, set: Vec::new(), remove: Vec::new(), lines: None };

    pub const ASKED: Asked<'static> = Asked {
        head_only: false,
        websocket: false,
        old: false,
        public_base: "https://p.example",
        headers: &HEADERS,
        compressing: Compressing { varies: false, coding: None, min_length: 0 },
    };

    fn read_all(text: &str, prefix: Option<&str>) -> Result<Head, BadReply> {
        let mut bytes = BytesMut::from(text);
        read(&mut bytes, &way(prefix), ASKED).map(Option::unwrap)
    }

    #[test]
    fn the_length_of_a_body_is_certain_or_refused() {
        let head = |lines: &str| read_all(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), None);
        assert!(matches!(head("Content-Length: 5\r\n").unwrap().framing, Framing::Length(5)));
        assert!(matches!(head("Content-Length: 5\r\nContent-Length: 5\r\n").unwrap().framing, Framing::Length(5)));
        assert!(matches!(head("").unwrap().framing, Framing::UntilClose));
        assert!(!head("").unwrap().keeps);
        let both = head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n").unwrap();
        assert!(matches!(both.framing, Framing::Chunked(_)) && !both.keeps);
        assert!(!String::from_utf8_lossy(&both.text).contains("Content-Length"));
        for bad in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(head(bad).unwrap_err(), BadReply::Framing, "{bad:?}");
        }
        assert_eq!(read_all("HTTP/1.1 101 X\r\n\r\n", None).unwrap_err(), BadReply::Unasked);
        assert_eq!(read_all("SSH-2.0\r\n\r\n", None).unwrap_err(), BadReply::NotHttp);
        for status in ["000", "001", "099"] {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(read_all(&answer, None).unwrap_err(), BadReply::NotHttp, "{status}");
        }
        let twice = head("Content-Length: 5\r\nX-A: 1\r\ncontent-length: 5\r\n").unwrap();
        assert_eq!(&twice.text[..], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1");
    }

    #[test]
    fn addresses_stay_under_the_prefix_in_all_fields() {
        let text = "HTTP/1.1 301 X\r\nLocation: http://p.example/playback/x/\r\nContent-Location: /a\r\n\
            Refresh: 5; url=/b\r\nContent-Length: 0\r\n\r\n";
        let head = String::from_utf8(read_all(text, Some("/bbb1")).unwrap().text.to_vec()).unwrap();
        for line in
            ["Location: https://p.example/bbb1/playback/x/", "Content-Location: /bbb1/a", "Refresh: 5; url=/bbb1/b"]
        {
            assert!(head.contains(line), "{head}");
        }
        let head = String::from_utf8(read_all(text, None).unwrap().text.to_vec()).unwrap();
        assert!(
            head.contains("Location: http://p.example/playback/x/") && head.contains("Refresh: 5; url=/b"),
            "{head}"
        );
    }

    #[test]
    fn fields_of_the_connection_stay_there() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nconnection: x-a, keep-alive\r\nX-A: 1\r\n\
            ETag: \"e\"\r\nContent-Length: 0\r\n\r\n";
        let head = read_all(text, None).unwrap();
        assert_eq!(&head.text[..], &b"HTTP/1.1 404 Not Found\r\nETag: \"e\"\r\nContent-Length: 0"[..]);
        assert!(head.keeps);
        let text = "HTTP/1.1 200 OK\r\nConnection: x-a\r\nConnection: close, X-B\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n";
        let head = read_all(text, None).unwrap();
        assert_eq!(&head.text[..], &b"HTTP/1.1 200 OK\r\nContent-Length: 0"[..]);
        assert!(!head.keeps);
        let head =
            read_all("HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\n", None).unwrap();
        assert!(head.text.ends_with(b"Content-Length: 2") && matches!(head.framing, Framing::Length(2)));
    }
}
