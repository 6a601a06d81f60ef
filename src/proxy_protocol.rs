//! The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): who the client of a relayed connection is.
//!
//! Pure functions on bytes. Whether a header is expected at all is not decided here and must never be guessed from the
//! bytes: only a peer that the operator trusts may say who somebody else is. A header is complete or it is nothing; what
//! breaks the rules is refused and never read as something near to it. Addresses of other families than IP, and
//! connections that a proxy made for itself, say nothing about a client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::ProxyOut;

/// Longest line of version 1, its end included.
pub const MAX_V1: usize = 107;
/// Most bytes after the first 16 of version 2: addresses and extensions. UNIX paths take 216; certificates in extensions
/// may take some hundred more.
pub const MAX_V2_REST: usize = 4096;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_START: &[u8] = b"PROXY ";
const V2_HEAD: usize = 16;
/// The extension that holds a CRC-32C of the whole header.
const TYPE_CRC32C: u8 = 0x03;

/// What the bytes that have come so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The beginning of a header.
    NeedsMore,
    /// A header of `length` bytes; what follows belongs to the connection.
    Complete { length: usize, said: Said },
    /// No header, or a broken one.
    Wrong(Fault),
}

/// Whom a header speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A connection of `source` to `destination`.
    Proxied { source: SocketAddr, destination: SocketAddr },
    /// The proxy's own connection, such as a probe of its.
    Local,
    /// A kind of connection that has no IP addresses, or none that the proxy knows.
    Unknown,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// A proxy's connection of its own, or of nobody whom it knows. The address is the proxy's, but whoever speaks there is
    /// no trusted proxy.
    pub is_proxys_own: bool,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address, is_proxys_own: false }
    }
}

impl Peer {
    pub fn proxys_own(address: SocketAddr) -> Self {
        Self { address, is_proxys_own: true }
    }

    /// Whose word this one's is worth: that of one of `proxies`, or nobody's.
    pub fn believing(self, proxies: &[IpNet]) -> &[IpNet] {
        if self.is_proxys_own { &[] } else { proxies }
    }
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    #[error("the PROXY line is not as version 1 has it")]
    Line,
    #[error("the PROXY header has a version, command, family or length that does not exist")]
    Head,
    #[error("the PROXY header is longer than {MAX_V2_REST} bytes")]
    TooLong,
    #[error("the extensions of the PROXY header do not fill it exactly")]
    Extensions,
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Reads the header at the beginning of `bytes`, which is everything that has come so far.
pub fn read(bytes: &[u8]) -> Reading {
    if begins_like(bytes, SIGNATURE) {
        return if bytes.len() < V2_HEAD { Reading::NeedsMore } else { read_v2(bytes) };
    }
    if begins_like(bytes, V1_START) {
        return read_v1(bytes);
    }
    Reading::Wrong(Fault::NoHeader)
}

/// Whether `bytes` begin with `start`, or are a beginning of it.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

fn read_v1(bytes: &[u8]) -> Reading {
    let window = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = memchr::memchr2(b'\n', b'\r', window) else {
        return if bytes.len() < MAX_V1 { Reading::NeedsMore } else { Reading::Wrong(Fault::Line) };
    };
    match window.get(end..end + 2) {
        Some(b"\r\n") => {}
        None if window[end] == b'\r' && end + 1 < MAX_V1 => return Reading::NeedsMore,
        _ => return Reading::Wrong(Fault::Line),
    }
    match v1_line(&window[..end]) {
        Some(said) => Reading::Complete { length: end + 2, said },
        None => Reading::Wrong(Fault::Line),
    }
}

fn v1_line(line: &[u8]) -> Option<Said> {
    let rest = line.strip_prefix(V1_START)?;
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Some(Said::Unknown);
    }
    let mut words = std::str::from_utf8(rest).ok()?.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let source = address(words.next()?, is_v4)?;
    let destination = address(words.next()?, is_v4)?;
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let is_whole = words.next().is_none();
    is_whole.then(|| Said::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn address(text: &str, is_v4: bool) -> Option<IpAddr> {
    // Both readers refuse leading zeros, signs, scopes and everything else that is not the plain form.
    if is_v4 { text.parse().ok().map(IpAddr::V4) } else { text.parse().ok().map(IpAddr::V6) }
}

fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// `bytes` has a head of version 2 at least.
fn read_v2(bytes: &[u8]) -> Reading {
    let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let is_local = match bytes[12] {
        0x20 => true,
        0x21 => false,
        _ => return Reading::Wrong(Fault::Head),
    };
    let (family, transport) = (bytes[13] >> 4, bytes[13] & 0x0f);
    if family > 3 || transport > 2 {
        return Reading::Wrong(Fault::Head);
    }
    let addresses = match family {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    // What LOCAL and UNSPEC carry is skipped whatever it is.
    if !is_local && rest < addresses {
        return Reading::Wrong(Fault::Head);
    }
    if rest > MAX_V2_REST {
        return Reading::Wrong(Fault::TooLong);
    }
    let length = V2_HEAD + rest;
    let Some(header) = bytes.get(..length) else { return Reading::NeedsMore };
    if is_local {
        return Reading::Complete { length, said: Said::Local };
    }
    if family == 0 {
        return Reading::Complete { length, said: Said::Unknown };
    }
    if let Err(fault) = check_extensions(header, V2_HEAD + addresses) {
        return Reading::Wrong(fault);
    }
    // Only TCP can be what is relayed here.
    let said = match (family, transport) {
        (1, 1) => v2_addresses::<4>(&header[V2_HEAD..]),
        (2, 1) => v2_addresses::<16>(&header[V2_HEAD..]),
        _ => Some(Said::Unknown),
    };
    said.map_or(Reading::Wrong(Fault::Head), |said| Reading::Complete { length, said })
}

fn v2_addresses<const SIZE: usize>(block: &[u8]) -> Option<Said>
where
    IpAddr: From<[u8; SIZE]>,
{
    let (source, block) = block.split_first_chunk::<SIZE>()?;
    let (destination, block) = block.split_first_chunk::<SIZE>()?;
    let (source_port, block) = block.split_first_chunk::<2>()?;
    let (destination_port, _) = block.split_first_chunk::<2>()?;
    let end = |address: &[u8; SIZE], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port));
    Some(Said::Proxied { source: end(source, source_port), destination: end(destination, destination_port) })
}

/// The extensions fill the rest of the header exactly, and a checksum among them is right.
fn check_extensions(header: &[u8], from: usize) -> Result<(), Fault> {
    let mut at = from;
    let mut checksum = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Err(Fault::Extensions) };
        let size = usize::from(u16::from_be_bytes([high, low]));
        let value = at + 3..at + 3 + size;
        if value.end > header.len() || (kind == TYPE_CRC32C && (size != 4 || checksum.is_some())) {
            return Err(Fault::Extensions);
        }
        if kind == TYPE_CRC32C {
            checksum = Some(value.start);
        }
        at = value.end;
    }
    let Some(place) = checksum else { return Ok(()) };
    let (before, rest) = header.split_at(place);
    let (told, after) = rest.split_at(4);
    let mut sum = Crc32c::default();
    sum.add(before);
    sum.add(&[0; 4]);
    sum.add(after);
    if sum.value().to_be_bytes() == told { Ok(()) } else { Err(Fault::Checksum) }
}

/// CRC-32C (Castagnoli), bit by bit: a header that has one comes once per connection and has a few hundred bytes.
struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                let carry = self.0 & 1;
                self.0 = (self.0 >> 1) ^ (0x82f6_3b78 * carry);
            }
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

/// The header that a connection begins with, empty if it has none. Whoever demands one gets one for a client whom nobody
/// knows, too.
pub fn write(version: ProxyOut, source: Option<SocketAddr>, destination: SocketAddr) -> Vec<u8> {
    match (version, source) {
        (ProxyOut::Off, _) => Vec::new(),
        (ProxyOut::V1, Some(source)) => write_v1(source, destination),
        (ProxyOut::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyOut::V2, Some(source)) => write_v2(source, destination),
        (ProxyOut::V2, None) => [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat(),
    }
}

/// A line of version 1.
pub fn write_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let line = match same_family(source.ip(), destination.ip()) {
        Family::V4(from, to) => format!("PROXY TCP4 {from} {to} {} {}\r\n", source.port(), destination.port()),
        Family::V6(from, to) => {
            // In hexadecimal throughout: not every reader takes the form with an IPv4 address at its end.
            let (from, to) = (plain_v6(from), plain_v6(to));
            format!("PROXY TCP6 {from} {to} {} {}\r\n", source.port(), destination.port())
        }
    };
    line.into_bytes()
}

/// A header of version 2, without extensions.
pub fn write_v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = Vec::with_capacity(V2_HEAD + 36);
    header.extend_from_slice(SIGNATURE);
    header.push(0x21);
    match same_family(source.ip(), destination.ip()) {
        Family::V4(from, to) => {
            header.extend_from_slice(&[0x11, 0, 12]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        Family::V6(from, to) => {
            header.extend_from_slice(&[0x21, 0, 36]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

enum Family {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Both addresses in the family that can hold both: a header has one family only, and a socket for both families shows
/// IPv4 clients as IPv6.
fn same_family(one: IpAddr, other: IpAddr) -> Family {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Family::V4(one, other),
        (one, other) => Family::V6(as_v6(one), as_v6(other)),
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn plain_v6(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        Some(_) => {
            let [.., high, low] = address.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        None => address.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn proxied(source: &str, destination: &str) -> Said {
        Said::Proxied { source: at(source), destination: at(destination) }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    /// Of every beginning, and with something behind it.
    fn in_pieces(header: &[u8], said: Said) {
        for cut in 0..header.len() {
            assert_eq!(read(&header[..cut]), Reading::NeedsMore, "{cut} of {header:?}");
        }
        let whole = Reading::Complete { length: header.len(), said };
        assert_eq!(read(header), whole);
        assert_eq!(read(&[header, b"GET / HTTP/1.1\r\n"].concat()), whole);
    }

    #[test]
    fn lines() {
        in_pieces(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", proxied("192.0.2.1:56324", "198.51.100.2:443"));
        in_pieces(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", proxied("[2001:db8::1]:0", "[::1]:65535"));
        in_pieces(b"PROXY UNKNOWN\r\n", Said::Unknown);
        in_pieces(b"PROXY UNKNOWN ffff:: anything \xff at all\r\n", Said::Unknown);
    }

    #[test]
    fn nobody_has_a_header_too() {
        let to = at("192.0.2.1:443");
        assert_eq!(write(ProxyOut::Off, Some(to), to), b"");
        in_pieces(&write(ProxyOut::V1, None, to), Said::Unknown);
        in_pieces(&write(ProxyOut::V2, None, to), Said::Local);
        let from = at("[2001:db8::1]:0");
        for version in [ProxyOut::V1, ProxyOut::V2] {
            in_pieces(&write(version, Some(from), to), proxied("[2001:db8::1]:0", "[::ffff:192.0.2.1]:443"));
        }
    }

    #[test]
    fn lines_that_are_none() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 16));
        assert_eq!(read(longest.as_bytes()), Reading::Complete { length: MAX_V1, said: Said::Unknown });
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 15));
        for line in [
            &too_long,
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
            "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Reading::Wrong(Fault::Line), "{line}");
        }
        for start in ["GET ", "proxy TCP4", "\r\n\r\n\r", "\x16\x03\x01"] {
            assert_eq!(read(start.as_bytes()), Reading::Wrong(Fault::NoHeader), "{start}");
        }
    }

    #[test]
    fn binary_headers() {
        let v4 = [&[192, 0, 2, 1, 198, 51, 100, 2][..], &[0xdc, 4, 1, 0xbb]].concat();
        in_pieces(&v2(0x21, 0x11, &v4), proxied("192.0.2.1:56324", "198.51.100.2:443"));
        let (from, to) = (at("[2001:db8::1]:7"), at("[::2]:8"));
        in_pieces(&write_v2(from, to), Said::Proxied { source: from, destination: to });
        in_pieces(&v2(0x20, 0x00, b""), Said::Local);
        in_pieces(&v2(0x20, 0x11, b"no addresses"), Said::Local);
        in_pieces(&v2(0x21, 0x00, b"whatever"), Said::Unknown);
        in_pieces(&v2(0x21, 0x12, &v4), Said::Unknown);
        in_pieces(&v2(0x21, 0x31, &[b'/'; 216]), Said::Unknown);
        let extended = [&v4[..], &[0x04, 0, 2, 9, 9], &[0xea, 0, 0]].concat();
        in_pieces(&v2(0x21, 0x11, &extended), proxied("192.0.2.1:56324", "198.51.100.2:443"));
        in_pieces(&v2(0x20, 0x00, &[0; MAX_V2_REST]), Said::Local);
    }

    #[test]
    fn binary_headers_that_are_none() {
        let v4 = [0; 12];
        let cases = [
            (v2(0x31, 0x11, &v4), Fault::Head),
            (v2(0x22, 0x11, &v4), Fault::Head),
            (v2(0x21, 0x41, &v4), Fault::Head),
            (v2(0x21, 0x13, &v4), Fault::Head),
            (v2(0x21, 0x11, &v4[1..]), Fault::Head),
            (v2(0x21, 0x21, &v4), Fault::Head),
            (v2(0x20, 0x00, &[0; MAX_V2_REST + 1]), Fault::TooLong),
            (v2(0x21, 0x11, &[&v4[..], &[4, 0]].concat()), Fault::Extensions),
            (v2(0x21, 0x11, &[&v4[..], &[4, 0, 2, 1]].concat()), Fault::Extensions),
            (v2(0x21, 0x11, &[&v4[..], &[3, 0, 3, 1, 1, 1]].concat()), Fault::Extensions),
            (v2(0x21, 0x11, &[&v4[..], &[3, 0, 4, 1, 1, 1, 1]].concat()), Fault::Checksum),
        ];
        for (header, fault) in cases {
            assert_eq!(read(&header), Reading::Wrong(fault), "{header:?}");
        }
        // Refused as soon as it can be, so that nobody waits for what will not be used.
        assert_eq!(read(&v2(0x31, 0x11, &v4)[..V2_HEAD]), Reading::Wrong(Fault::Head));
    }

    #[test]
    fn checksums() {
        let mut sum = Crc32c::default();
        sum.add(b"123456789");
        assert_eq!(sum.value(), 0xe306_9283);
        let rest = [&[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2][..], &[3, 0, 4, 0, 0, 0, 0], &[4, 0, 1, 0]].concat();
        let mut header = v2(0x21, 0x11, &rest);
        let mut sum = Crc32c::default();
        sum.add(&header);
        header[V2_HEAD + 15..V2_HEAD + 19].copy_from_slice(&sum.value().to_be_bytes());
        in_pieces(&header, proxied("10.0.0.1:1", "10.0.0.2:2"));
        let last = header.len() - 1;
        header[last] ^= 1;
        assert_eq!(read(&header), Reading::Wrong(Fault::Checksum));
    }

    #[test]
    fn what_is_written_is_read() {
        for (source, destination) in [
            ("192.0.2.1:1", "192.0.2.2:65535"),
            ("[2001:db8::1]:1", "[fe80::2]:2"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.2:2"),
        ] {
            let canonical = |text: &str| SocketAddr::new(at(text).ip().to_canonical(), at(text).port());
            let said = Said::Proxied { source: canonical(source), destination: canonical(destination) };
            in_pieces(&write_v1(at(source), at(destination)), said);
            in_pieces(&write_v2(at(source), at(destination)), said);
        }
        let mixed = write_v1(at("192.0.2.1:1"), at("[2001:db8::1]:2"));
        assert_eq!(mixed, b"PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n");
        in_pieces(&mixed, proxied("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"));
    }
}
