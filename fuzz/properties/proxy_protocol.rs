//! What must hold for every PROXY header (src/l4/proxy_protocol.rs), whoever writes it. An input is what comes on the
//! connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use usher::proxy_protocol::{Fault, MAX_V1, MAX_V2_REST, Reading, Said, read, write_v1, write_v2};

pub fn check(data: &[u8]) {
    let whole = read(data);
    decides_once(data, whole);
    if data.starts_with(b"PROXY ") {
        assert_eq!(said_in(whole), by_words(data), "version 1 word by word");
    }
    match whole {
        Reading::NeedsMore => assert!(data.len() < 16 + MAX_V2_REST),
        Reading::Complete { length, said } => {
            let bound = if data.starts_with(b"PROXY") { MAX_V1 } else { 16 + MAX_V2_REST };
            assert!(length <= bound && length <= data.len());
            if let Said::Proxied { source, destination } = said {
                reads_back(source, destination);
            }
        }
        Reading::Wrong(_) => {}
    }
}

/// No beginning is read as something else than the whole: nothing is decided too early or changed later.
fn decides_once(data: &[u8], whole: Reading) {
    let mut decided = None;
    for end in (0..data.len().min(400)).chain([data.len()]) {
        let reading = read(&data[..end]);
        match (decided, reading) {
            (None, Reading::NeedsMore) => {}
            (None, reading) => decided = Some(reading),
            (Some(before), reading) => assert_eq!(before, reading, "decided twice, at {end}"),
        }
        if let (Reading::Complete { length, .. }, true) = (reading, end < data.len()) {
            assert!(length <= end);
        }
    }
    assert_eq!(decided.unwrap_or(Reading::NeedsMore), whole);
    if let Reading::Complete { length, .. } = whole {
        assert_eq!(read(&data[..length]), whole, "nothing behind it counts");
        assert_eq!(read(&data[..length - 1]), Reading::NeedsMore, "all of it counts");
    }
}

fn said_in(reading: Reading) -> Option<Said> {
    match reading {
        Reading::Complete { said, .. } => Some(said),
        Reading::NeedsMore | Reading::Wrong(Fault::Line) => None,
        Reading::Wrong(other) => panic!("{other}"),
    }
}

/// The same by the words of the line.
fn by_words(data: &[u8]) -> Option<Said> {
    let text = String::from_utf8_lossy(&data[..data.len().min(MAX_V1)]).into_owned();
    let (line, _) = text.split_once("\r\n")?;
    if line.contains(['\r', '\n']) {
        return None;
    }
    if line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ") {
        return Some(Said::Unknown);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let ["PROXY", family, source, destination, from, to] = words[..] else { return None };
    let port = |word: &str| word.parse::<u16>().ok().filter(|port| port.to_string() == word);
    let (from, to) = (port(from)?, port(to)?);
    let (source, destination) = match family {
        "TCP4" => {
            let address = |word: &str| word.parse::<Ipv4Addr>().ok().filter(|address| address.to_string() == word);
            (SocketAddr::from((address(source)?, from)), SocketAddr::from((address(destination)?, to)))
        }
        "TCP6" => {
            let address = |word: &str| word.parse::<Ipv6Addr>().ok();
            (SocketAddr::from((address(source)?, from)), SocketAddr::from((address(destination)?, to)))
        }
        _ => return None,
    };
    Some(Said::Proxied { source, destination })
}

fn reads_back(source: SocketAddr, destination: SocketAddr) {
    let same = |one: SocketAddr, other: SocketAddr| {
        one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
    };
    for header in [write_v1(source, destination), write_v2(source, destination)] {
        let Reading::Complete { length, said: Said::Proxied { source: from, destination: to } } = read(&header) else {
            panic!("{header:?}")
        };
        assert!(length == header.len() && same(from, source) && same(to, destination), "{from} {to}");
    }
}
