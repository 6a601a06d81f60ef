//! Where a chunked body ends (RFC 9112 section 7.1), without copying it: the bytes go on as they came.
//!
//! Strict: sizes are hexadecimal and at most 15 digits, lines end with CRLF, trailers are fields. What is not so is an error,
//! because the two ends could disagree on where the body stops.

/// Bytes of one line of size and extensions, or of all trailers.
const LONGEST_LINE: usize = 8192;

/// A body that breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunks;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size {
        size: u64,
        digits: u8,
    },
    /// Space that some servers pad sizes with.
    SizeSpace {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeFeed {
        size: u64,
    },
    Bytes {
        left: u64,
    },
    BytesReturn,
    BytesFeed,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerFeed,
    LastFeed,
    End,
}

/// How far a chunked body has been looked through.
#[derive(Debug)]
pub struct Chunks {
    place: Place,
    line: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { place: Place::Size { size: 0, digits: 0 }, line: 0 }
    }
}

impl Chunks {
    /// Looks at the next bytes and hands the content among them to `content`. Gives how many of them belong to the body,
    /// once it has ended.
    pub fn scan(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<Option<usize>, BadChunks> {
        let mut at = 0;
        while at < bytes.len() {
            if let Place::Bytes { left } = self.place {
                let length = left.min((bytes.len() - at) as u64);
                content(&bytes[at..at + length as usize]);
                at += length as usize;
                self.place = if left == length { Place::BytesReturn } else { Place::Bytes { left: left - length } };
                continue;
            }
            self.line += 1;
            if self.line > LONGEST_LINE {
                return Err(BadChunks);
            }
            self.place = step(self.place, bytes[at])?;
            at += 1;
            match self.place {
                Place::End => return Ok(Some(at)),
                Place::Bytes { .. } | Place::BytesReturn => self.line = 0,
                _ => {}
            }
        }
        Ok(None)
    }
}

fn step(place: Place, byte: u8) -> Result<Place, BadChunks> {
    Ok(match (place, byte) {
        (Place::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
            let digit = (byte as char).to_digit(16).unwrap_or_default();
            Place::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
        }
        (Place::Size { size, digits: 1.. }, b'\r') => Place::SizeFeed { size },
        (Place::Size { size, digits: 1.. } | Place::SizeSpace { size }, b' ' | b'\t') => Place::SizeSpace { size },
        (Place::Size { size, digits: 1.. } | Place::SizeSpace { size }, b';') => Place::Extension { size },
        (Place::SizeSpace { size }, b'\r') => Place::SizeFeed { size },
        (Place::Extension { size }, b'\r') => Place::SizeFeed { size },
        (Place::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => Place::Extension { size },
        (Place::SizeFeed { size: 0 }, b'\n') => Place::TrailerStart,
        (Place::SizeFeed { size }, b'\n') => Place::Bytes { left: size },
        (Place::BytesReturn, b'\r') => Place::BytesFeed,
        (Place::BytesFeed, b'\n') => Place::Size { size: 0, digits: 0 },
        (Place::TrailerStart, b'\r') => Place::LastFeed,
        (Place::LastFeed, b'\n') => Place::End,
        (Place::Trailer, b'\r') => Place::TrailerFeed,
        (Place::TrailerStart | Place::TrailerName, _) if is_token(byte) => Place::TrailerName,
        (Place::TrailerName, b':') => Place::Trailer,
        (Place::Trailer, b'\t' | b' '..=b'~' | 0x80..) => Place::Trailer,
        (Place::TrailerFeed, b'\n') => Place::TrailerStart,
        _ => return Err(BadChunks),
    })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Result<Option<usize>, BadChunks>, Vec<u8>) {
        let (mut chunks, mut content) = (Chunks::default(), Vec::new());
        let mut last = Ok(None);
        for piece in pieces {
            last = chunks.scan(piece, |bytes| content.extend_from_slice(bytes));
            if !matches!(last, Ok(None)) {
                break;
            }
        }
        (last, content)
    }

    #[test]
    fn the_end_is_found_however_it_comes() {
        let body = b"4\r\nWiki\r\n5;x=\"y\"\r\npedia\r\n0\r\nA: b\r\n\r\n";
        for size in 1..body.len() {
            let pieces: Vec<&[u8]> = body.chunks(size).collect();
            let (end, content) = read(&pieces);
            assert_eq!(content, b"Wikipedia", "pieces of {size}");
            let last = body.len() - (body.len() - 1) / size * size;
            assert_eq!(end, Ok(Some(last)), "pieces of {size}");
        }
        assert_eq!(read(&[b"0\r\n\r\nnext"]), (Ok(Some(5)), Vec::new()));
        assert_eq!(read(&[b"2 \t;x\r\nab\r\n0 \r\nA:\r\n\r\n"]), (Ok(Some(21)), b"ab".to_vec()));
        assert_eq!(read(&[b"3\r\nab"]), (Ok(None), b"ab".to_vec()));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b"4\nWiki\r\n",
            b"4\r\nWikiX\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"-1\r\n",
            b"0x4\r\nWiki",
            b"1000000000000000\r\n",
            b"4;a\nb\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\n",
            b"4 5\r\nWiki",
            b"0\r\nno field\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\nA: b\r\n folded\r\n\r\n",
        ] {
            assert_eq!(read(&[bad]).0, Err(BadChunks), "{bad:?}");
        }
        let mut long = b"1;".to_vec();
        long.resize(LONGEST_LINE + 10, b'a');
        assert_eq!(read(&[&long]).0, Err(BadChunks));
    }
}
