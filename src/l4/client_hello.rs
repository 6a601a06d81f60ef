//! What a TLS client says before anything is encrypted: the server's name (SNI) and the protocols it offers (ALPN).
//!
//! Pure functions on bytes, read as they come: a ClientHello may be spread over several records and any number of
//! segments, since keys that withstand quantum computers make it longer than one packet. Nothing is decrypted, answered or changed. What is
//! not exactly a ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301) is refused here, because a name that
//! two readers understand differently would lead a connection to a server that it does not name.

use std::ops::ControlFlow;

/// Bytes of the ClientHello and its records together. Browsers send 0.5 to 2 KiB.
pub const MAX_HELLO: usize = 32 * 1024;

/// Type, version and length of a record.
const RECORD_HEAD: usize = 5;
/// Longest record that is not encrypted.
const MAX_RECORD: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Type and length of a handshake message.
const MESSAGE_HEAD: usize = 4;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// What a ClientHello asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server's name in lower case, without a dot at its end.
    pub name: Option<String>,
    /// The offered protocols as they came: a length of one byte before each.
    protocols: Vec<u8>,
}

impl Hello {
    /// The offered protocols, the client's favourite first.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = Fields(&self.protocols);
        std::iter::from_fn(move || left.list::<1>())
    }

    /// The same with another name.
    pub fn naming(&self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), protocols: self.protocols.clone() }
    }

    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.protocols().any(|offered| offered == protocol)
    }
}

/// What the bytes that have come so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    NeedsMore,
    Hello(Hello),
    /// Another protocol, or a ClientHello that is broken or too long.
    NotTls,
}

/// Reads a ClientHello as it comes. Each byte is looked at once, however small the pieces are.
#[derive(Debug, Default)]
pub struct Reader {
    /// Where the next record begins, or the current one goes on.
    at: usize,
    /// Bytes that the current record still has.
    left: usize,
    /// The handshake message without the heads of its records.
    message: Vec<u8>,
}

impl Reader {
    /// Goes on with `bytes`: everything that has come so far, those of the calls before included.
    pub fn read(&mut self, bytes: &[u8]) -> Reading {
        let bytes = &bytes[..bytes.len().min(MAX_HELLO)];
        loop {
            match self.step(bytes) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Reading::NeedsMore) if bytes.len() == MAX_HELLO => return Reading::NotTls,
                ControlFlow::Break(reading) => return reading,
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> ControlFlow<Reading> {
        if let Some(whole) = self.whole_message() {
            return ControlFlow::Break(whole);
        }
        let new = bytes.get(self.at..).unwrap_or_default();
        if self.left == 0 {
            return self.record_head(new);
        }
        if new.is_empty() {
            return ControlFlow::Break(Reading::NeedsMore);
        }
        let taken = new.len().min(self.left);
        self.message.extend_from_slice(&new[..taken]);
        self.at += taken;
        self.left -= taken;
        ControlFlow::Continue(())
    }

    fn record_head(&mut self, new: &[u8]) -> ControlFlow<Reading> {
        // The first bytes already tell other protocols apart, which may never send five.
        let is_tls = new.iter().zip([HANDSHAKE, 3]).all(|(byte, wanted)| *byte == wanted);
        let is_version = new.get(2).is_none_or(|minor| *minor <= 4);
        if !is_tls || !is_version {
            return ControlFlow::Break(Reading::NotTls);
        }
        let Some(head) = new.first_chunk::<RECORD_HEAD>() else { return ControlFlow::Break(Reading::NeedsMore) };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > MAX_RECORD {
            return ControlFlow::Break(Reading::NotTls);
        }
        self.at += RECORD_HEAD;
        self.left = length;
        ControlFlow::Continue(())
    }

    fn whole_message(&mut self) -> Option<Reading> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Some(Reading::NotTls);
        }
        let &[_, high, middle, low] = self.message.first_chunk::<MESSAGE_HEAD>()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if length > MAX_HELLO {
            return Some(Reading::NotTls);
        }
        let body = self.message.get(MESSAGE_HEAD..MESSAGE_HEAD + length)?;
        // Nothing may share the record with a ClientHello: the client has to wait for its answer.
        if self.message.len() > MESSAGE_HEAD + length || self.left > 0 {
            return Some(Reading::NotTls);
        }
        Some(hello(body).map_or(Reading::NotTls, Reading::Hello))
    }
}

/// Reads from the front; `None` is the end in the middle of something.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `SIZE` bytes.
    fn number<const SIZE: usize>(&mut self) -> Option<usize> {
        Some(self.take(SIZE)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Bytes with their length, a number of `SIZE` bytes, before them.
    fn list<const SIZE: usize>(&mut self) -> Option<&'a [u8]> {
        let length = self.number::<SIZE>()?;
        self.take(length)
    }
}

fn hello(body: &[u8]) -> Option<Hello> {
    let mut fields = Fields(body);
    let version = fields.number::<2>()?;
    let _random = fields.take(32)?;
    let session = fields.list::<1>()?;
    let suites = fields.list::<2>()?;
    let compressions = fields.list::<1>()?;
    let is_plausible = version >> 8 == 3
        && session.len() <= 32
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compressions.is_empty();
    if !is_plausible {
        return None;
    }
    let mut found = Hello::default();
    if fields.0.is_empty() {
        return Some(found);
    }
    let mut extensions = Fields(fields.list::<2>()?);
    if !fields.0.is_empty() {
        return None;
    }
    let (mut has_name, mut has_protocols) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.number::<2>()? as u16;
        let content = extensions.list::<2>()?;
        match kind {
            SERVER_NAME if !has_name => {
                has_name = true;
                found.name = Some(server_name(content)?);
            }
            ALPN if !has_protocols => {
                has_protocols = true;
                found.protocols = protocols(content)?.to_vec();
            }
            SERVER_NAME | ALPN => return None,
            _ => {}
        }
    }
    Some(found)
}

/// The one name of the list. Other kinds of names have never been defined.
fn server_name(content: &[u8]) -> Option<String> {
    let mut content = Fields(content);
    let mut list = Fields(content.list::<2>()?);
    let kind = list.number::<1>()?;
    let name = list.list::<2>()?;
    if kind != 0 || !list.0.is_empty() || !content.0.is_empty() {
        return None;
    }
    host_name(name)
}

/// A DNS name in lower case; an underscore is in no host's name by the rules, and in some by practice.
pub fn host_name(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_label = |label: &[u8]| {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.iter().all(is_letter)
    };
    let is_name = name.len() <= 253 && name.split(|byte| *byte == b'.').all(is_label);
    let text = std::str::from_utf8(name).ok().filter(|_| is_name)?;
    Some(text.to_ascii_lowercase())
}

fn protocols(content: &[u8]) -> Option<&[u8]> {
    let mut content = Fields(content);
    let list = content.list::<2>()?;
    if list.is_empty() || !content.0.is_empty() {
        return None;
    }
    let mut left = Fields(list);
    while !left.0.is_empty() {
        left.list::<1>().filter(|protocol| !protocol.is_empty())?;
    }
    Some(list)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn list<const SIZE: usize>(content: &[u8]) -> Vec<u8> {
        [&content.len().to_be_bytes()[8 - SIZE..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &list::<2>(content)].concat()
    }

    fn sni(name: &str) -> Vec<u8> {
        extension(0, &list::<2>(&[&[0][..], &list::<2>(name.as_bytes())].concat()))
    }

    fn alpn(names: &[&str]) -> Vec<u8> {
        let names: Vec<u8> = names.iter().flat_map(|name| list::<1>(name.as_bytes())).collect();
        extension(16, &list::<2>(&names))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let start = [&[3, 3][..], &[7; 32], &list::<1>(&[9; 32]), &list::<2>(&[0x13, 1]), &list::<1>(&[0])].concat();
        let body = [start, list::<2>(&extensions.concat())].concat();
        [&[1][..], &list::<3>(&body)].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|chunk| [&[22, 3, 1][..], &list::<2>(chunk)].concat()).collect()
    }

    fn read(bytes: &[u8]) -> Reading {
        Reader::default().read(bytes)
    }

    fn read_in_pieces(bytes: &[u8], size: usize) -> Reading {
        let mut reader = Reader::default();
        for end in (0..bytes.len()).step_by(size) {
            assert_eq!(reader.read(&bytes[..end]), Reading::NeedsMore);
        }
        reader.read(bytes)
    }

    #[test]
    fn name_and_protocols_in_any_pieces() {
        let filler = extension(51, &[5; 1300]);
        let message = message(&[filler, sni("BBB1.Example.org"), alpn(&["h2", "http/1.1"])]);
        for record in [1, 2, 7, 500, 1 << 14] {
            for piece in [1, 3, 1000, 100_000] {
                let Reading::Hello(hello) = read_in_pieces(&records(&message, record), piece) else {
                    panic!("records of {record}, pieces of {piece}")
                };
                assert_eq!(hello.name.as_deref(), Some("bbb1.example.org"));
                assert!(hello.protocols().eq([&b"h2"[..], b"http/1.1"]));
                assert!(hello.offers(b"h2") && !hello.offers(b"h"));
            }
        }
    }

    #[test]
    fn neither_is_needed() {
        assert_eq!(read(&records(&message(&[]), 999)), Reading::Hello(Hello::default()));
        let mut without = message(&[]);
        without.truncate(without.len() - 2);
        without[3] -= 2;
        assert_eq!(read(&records(&without, 999)), Reading::Hello(Hello::default()));
    }

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for start in
            [&b"G"[..], b"GET / HTTP/1.1\r\n", b"PROXY TCP4", b"\x16\x02", b"\x16\x03\x05", b"\x17\x03\x03", b"\0"]
        {
            assert_eq!(read(start), Reading::NotTls, "{start:?}");
        }
        for start in [&b""[..], b"\x16", b"\x16\x03", b"\x16\x03\x01\x00", b"\x16\x03\x01\x00\x01"] {
            assert_eq!(read(start), Reading::NeedsMore, "{start:?}");
        }
        assert_eq!(read(b"\x16\x03\x01\x00\x00"), Reading::NotTls);
        assert_eq!(read(b"\x16\x03\x01\x40\x01"), Reading::NotTls);
        assert_eq!(read(b"\x16\x03\x01\x00\x01\x02"), Reading::NotTls);
    }

    #[test]
    fn names_that_could_be_read_in_two_ways_are_refused() {
        let two = extension(0, &list::<2>(&[&[0][..], &list::<2>(b"a"), &[0], &list::<2>(b"b")].concat()));
        let trailing = extension(0, &[list::<2>(&[&[0][..], &list::<2>(b"a")].concat()), vec![0]].concat());
        let kind = extension(0, &list::<2>(&[&[1][..], &list::<2>(b"a")].concat()));
        let long = "a".repeat(64);
        for extensions in [
            vec![sni("a"), sni("a")],
            vec![alpn(&["h2"]), alpn(&["h2"])],
            vec![two],
            vec![trailing],
            vec![kind],
            vec![sni("")],
            vec![sni(".")],
            vec![sni("a..b")],
            vec![sni("a b")],
            vec![sni("a\0")],
            vec![sni("ä")],
            vec![sni(&long)],
            vec![sni("a/b")],
            vec![alpn(&[])],
            vec![alpn(&["h2", ""])],
            vec![vec![0]],
        ] {
            assert_eq!(read(&records(&message(&extensions), 9999)), Reading::NotTls, "{extensions:?}");
        }
        let Reading::Hello(hello) = read(&records(&message(&[sni("_a-1.B.")]), 9999)) else { panic!() };
        assert_eq!(hello.name.as_deref(), Some("_a-1.b"));
    }

    #[test]
    fn nothing_comes_behind_and_nothing_is_endless() {
        let good = message(&[sni("a")]);
        assert_eq!(read(&records(&[&good[..], &[1]].concat(), 9999)), Reading::NotTls);
        // What comes in a record of its own is the server's to judge.
        assert!(matches!(read(&[records(&good, 9999), vec![20, 3, 3, 0, 1, 1]].concat()), Reading::Hello(_)));
        let long = message(&[extension(21, &[0; 30_000])]);
        assert!(matches!(read(&records(&long, 9999)), Reading::Hello(_)));
        // Records of one byte each are six times as long.
        assert_eq!(read(&records(&long, 1)), Reading::NotTls);
        assert_eq!(read(&records(&message(&[extension(21, &[0; 33_000])]), 9999)), Reading::NotTls);
    }
}
