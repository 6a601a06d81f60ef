//! WebSocket frames as bytes, right and wrong ones (RFC 6455, section 5.2).

use std::borrow::Cow;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Always the same, so that two runs can be compared.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Shortest,
    /// In two bytes, even if one would do.
    Two,
    /// In eight bytes.
    Eight,
    /// Eight bytes that claim this, whatever follows.
    Claimed(u64),
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub fin: bool,
    /// The three reserved bits.
    pub reserved: u8,
    pub opcode: u8,
    pub length: Length,
    /// Masked as its sender's role demands.
    pub masked_rightly: bool,
    pub payload: Cow<'static, [u8]>,
}

impl Frame {
    pub fn new(opcode: u8, payload: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { fin: true, reserved: 0, opcode, length: Length::Shortest, masked_rightly: true, payload: payload.into() }
    }

    /// More of the message follows.
    pub fn open(self) -> Self {
        Self { fin: false, ..self }
    }

    pub fn reserved(self, bits: u8) -> Self {
        Self { reserved: bits, ..self }
    }

    pub fn length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    pub fn masked_wrongly(self) -> Self {
        Self { masked_rightly: false, ..self }
    }

    pub fn bytes(&self, by_client: bool) -> Vec<u8> {
        let is_masked = by_client == self.masked_rightly;
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        let mask = u8::from(is_masked) << 7;
        let size = self.payload.len() as u64;
        match (self.length, size) {
            (Length::Shortest, 0..126) => bytes.push(mask | size as u8),
            (Length::Shortest, 126..65536) | (Length::Two, _) => {
                bytes.push(mask | 126);
                bytes.extend((size as u16).to_be_bytes());
            }
            (Length::Shortest | Length::Eight, _) => {
                bytes.push(mask | 127);
                bytes.extend(size.to_be_bytes());
            }
            (Length::Claimed(claimed), _) => {
                bytes.push(mask | 127);
                bytes.extend(claimed.to_be_bytes());
            }
        }
        if is_masked {
            bytes.extend(KEY);
            let start = bytes.len();
            bytes.extend_from_slice(&self.payload);
            mask_all(&mut bytes[start..], KEY);
        } else {
            bytes.extend_from_slice(&self.payload);
        }
        bytes
    }
}

fn mask_all(payload: &mut [u8], key: [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        let masked = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]) ^ u32::from_ne_bytes(key);
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    words.into_remainder().iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

/// What was heard, with the masks taken off: libraries choose a new one for each frame. A rest that is no whole frame stays.
pub fn unmasked(heard: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(heard.len());
    let mut rest = heard;
    while let Some((header, key, size)) =
        header(rest).filter(|(header, key, size)| rest.len() >= header + key.map_or(0, |_| 4) + size)
    {
        plain.extend_from_slice(&rest[..header]);
        let start = plain.len() - header + 1;
        plain[start] &= 0x7f;
        let body = header + key.map_or(0, |_| 4);
        let payload = plain.len();
        plain.extend_from_slice(&rest[body..body + size]);
        if let Some(key) = key {
            mask_all(&mut plain[payload..], key);
        }
        rest = &rest[body + size..];
    }
    plain.extend_from_slice(rest);
    plain
}

/// Bytes before the mask, the mask, bytes of the payload.
fn header(bytes: &[u8]) -> Option<(usize, Option<[u8; 4]>, usize)> {
    let second = *bytes.get(1)?;
    let (header, size) = match second & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let key = match second & 0x80 {
        0 => None,
        _ => Some(bytes.get(header..header + 4)?.try_into().ok()?),
    };
    Some((header, key, size))
}

/// The code of the close frame that unmasked bytes end with; `None` if they do not, 1005 if it has none.
pub fn close_code(plain: &[u8]) -> Option<u16> {
    let mut rest = plain;
    let mut last = None;
    while let Some((header, None, size)) = header(rest).filter(|(header, _, size)| rest.len() >= header + size) {
        last = (rest[0] & 0x0f == CLOSE).then(|| match rest.get(header..header + 2) {
            Some(code) if size >= 2 => u16::from_be_bytes([code[0], code[1]]),
            _ => 1005,
        });
        rest = &rest[header + size..];
    }
    last.filter(|_| rest.is_empty())
}
