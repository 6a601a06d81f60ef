//! A gzip file without any compression (RFC 1952, stored blocks of RFC 1951): what matters is that the bytes are packed
//! and must be unpacked, not how small they are.

/// Largest stored block.
const BLOCK: usize = 0xffff;

pub(super) fn stored(content: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = content.chunks(BLOCK).peekable();
    if blocks.peek().is_none() {
        packed.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        packed.push(u8::from(blocks.peek().is_none()));
        // A block has at most `BLOCK` bytes.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    packed.extend(checksum(content).to_le_bytes());
    // The length modulo 2^32.
    packed.extend((content.len() as u32).to_le_bytes());
    packed
}

/// CRC-32 of the gzip format, bit by bit: the files are small.
fn checksum(content: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in content {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(stored(b"").len(), 10 + 5 + 8);
        assert_eq!(stored(&[7; BLOCK + 1]).len(), 10 + 5 + BLOCK + 5 + 1 + 8);
    }
}
