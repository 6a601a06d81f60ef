//! Compression of a server's answer on its way: for text that comes uncompressed, if the browser takes it.
//!
//! BBB servers compress much by themselves; this is for the rest. Never what is compressed already (a coding, an image, a
//! video), a part of something, or a recording, which players fetch in parts.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::{self, Coding};

/// Media types that shrink.
const TEXT: [&str; 9] = [
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/xml",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/",
    "application/x-javascript",
];
/// An event of these has to arrive when it happens.
const EVENTS: &str = "text/event-stream";
/// Where recordings are (bbb-http-surface.md section 6).
const RECORDINGS: [&str; 7] =
    ["/presentation/", "/playback/", "/recording/", "/podcast/", "/video/", "/notes/", "/screenshare/"];

/// About as good as gzip's usual level, at half its time.
const BROTLI_QUALITY: i32 = 4;
/// Bits of brotli's window: 128 KiB, which bounds what one answer takes.
const BROTLI_WINDOW: i32 = 17;
const GZIP_LEVEL: u32 = 5;
/// Bytes of brotli's inner buffer.
const PIECE: usize = 8 * 1024;

/// Whether this path of a server is a recording's.
pub fn is_recording(path: &str) -> bool {
    RECORDINGS.iter().any(|folder| path.starts_with(folder))
}

/// The coding for an answer to `accept`, all lines of `Accept-Encoding`.
pub fn choose<'a>(wanted: &config::Compression, accept: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Coding> {
    let mut best = None;
    for coding in &wanted.algorithms {
        let quality = quality(accept.clone(), coding.name());
        if quality > best.map_or(0, |(_, quality)| quality) {
            best = Some((*coding, quality));
        }
    }
    best.map(|(coding, _)| coding)
}

/// Whether a browser that says `accept` takes this coding.
pub fn accepts<'a>(accept: impl Iterator<Item = &'a [u8]>, coding: Coding) -> bool {
    quality(accept, coding.name()) > 0
}

/// How much a coding is wanted, in thousandths (RFC 9110 section 12.5.3).
fn quality<'a>(accept: impl Iterator<Item = &'a [u8]>, name: &str) -> u16 {
    let (mut named, mut any) = (None, None);
    for entry in accept.flat_map(|line| line.split(|byte| *byte == b',')) {
        let mut parts = entry.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| match part {
            [b'q' | b'Q', b'=', digits @ ..] => Some(weight(digits)),
            _ => None,
        });
        let weight = weight.unwrap_or(1000);
        if coding.eq_ignore_ascii_case(name.as_bytes()) {
            named = Some(weight);
        } else if coding == b"*" {
            any = Some(weight);
        }
    }
    named.or(any).unwrap_or(0)
}

/// `0.5` as 500; what cannot be read as nothing.
fn weight(digits: &[u8]) -> u16 {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<f32>().ok());
    number.filter(|number| (0.0..=1.0).contains(number)).map_or(0, |number| (number * 1000.0) as u16)
}

/// Whether a body of this type shrinks.
pub fn is_text(content_type: &[u8]) -> bool {
    let starts =
        |known: &str| content_type.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()));
    TEXT.iter().any(|known| starts(known)) && !starts(EVENTS)
}

/// Compresses one body.
pub struct Encoder {
    kind: Kind,
    /// Something was given since the last flush.
    holds: bool,
}

enum Kind {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
}

impl Encoder {
    pub fn new(coding: Coding) -> Self {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))),
            Coding::Brotli => {
                let params =
                    BrotliEncoderParams { quality: BROTLI_QUALITY, lgwin: BROTLI_WINDOW, ..Default::default() };
                Kind::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), PIECE, &params)))
            }
        };
        Self { kind, holds: false }
    }

    pub fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        self.holds = true;
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.write_all(piece),
            Kind::Brotli(encoder) => encoder.write_all(piece),
        }
    }

    /// Something is in it that cannot be taken yet.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// All that was given so far can be taken afterwards.
    pub fn flush(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.holds) {
            return Ok(());
        }
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Brotli(encoder) => encoder.flush(),
        }
    }

    /// What is ready.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.kind {
            Kind::Gzip(encoder) => std::mem::take(encoder.get_mut()),
            Kind::Brotli(encoder) => std::mem::take(encoder.get_mut()),
        }
    }

    /// The rest.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.kind {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Brotli(encoder) => Ok(encoder.into_inner()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(accept: &[&str]) -> Option<Coding> {
        let wanted = config::Compression { algorithms: vec![Coding::Brotli, Coding::Gzip], min_length: 0 };
        choose(&wanted, accept.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn the_browser_decides_and_then_the_order() {
        for (accept, coding) in [
            (&["gzip, deflate, br"][..], Some(Coding::Brotli)),
            (&["gzip", "br;q=0.5"], Some(Coding::Gzip)),
            (&["GZIP;Q=0.5"], Some(Coding::Gzip)),
            (&["*"], Some(Coding::Brotli)),
            (&["*;q=0.1, br;q=0"], Some(Coding::Gzip)),
            (&["br; q=0, gzip;q=0"], None),
            (&["br;q=2, gzip;q=x"], None),
            (&["identity"], None),
            (&[], None),
            (&["brx, xgzip"], None),
        ] {
            assert_eq!(chosen(accept), coding, "{accept:?}");
        }
        assert!(is_recording("/playback/presentation/2.3/x.js") && !is_recording("/html5client/x.js"));
    }

    #[test]
    fn types_that_shrink() {
        for (content_type, is) in [
            ("text/html;charset=utf-8", true),
            ("Application/JavaScript", true),
            ("image/svg+xml", true),
            ("image/png", false),
            ("text/event-stream", false),
            ("video/webm", false),
            ("application/octet-stream", false),
            ("", false),
        ] {
            assert_eq!(is_text(content_type.as_bytes()), is, "{content_type}");
        }
    }

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        use std::io::Read;
        let mut found = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut found).map(drop).unwrap(),
            Coding::Brotli => brotli::BrotliDecompress(&mut &*bytes, &mut found).unwrap(),
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..20), br: bool) {
            let coding = if br { Coding::Brotli } else { Coding::Gzip };
            let mut encoder = Encoder::new(coding);
            let mut sent = Vec::new();
            for (number, piece) in pieces.iter().enumerate() {
                encoder.add(piece).unwrap();
                if number % 3 == 0 {
                    encoder.flush().unwrap();
                }
                sent.extend(encoder.take());
            }
            sent.extend(encoder.finish().unwrap());
            prop_assert_eq!(decoded(coding, &sent), pieces.concat());
        }

        #[test]
        fn any_header_can_be_read(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let wanted = config::Compression { algorithms: vec![Coding::Brotli, Coding::Gzip], min_length: 0 };
            choose(&wanted, std::iter::once(&line[..]));
        }
    }
}
