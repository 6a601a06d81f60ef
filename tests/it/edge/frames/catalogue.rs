//! What one side sends: everything that RFC 6455 allows and forbids, in the order of Autobahn's sections 1 to 7, 9 and 10.
//!
//! Each case ends with a close frame of ours, or with the other side's because of what is wrong.

use std::sync::LazyLock;

use super::frame::{BINARY, CLOSE, CONTINUATION, Frame, Length, PING, PONG, TEXT};

/// How the bytes are cut into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chop {
    /// All frames at once.
    Whole,
    Frames,
    Octets,
    Of(usize),
}

#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub frames: Vec<Frame>,
    pub chop: Chop,
    /// With which code the other side closes.
    pub ends: u16,
}

/// The frames are wrong.
const WRONG: u16 = 1002;
/// The text is no UTF-8.
const NO_TEXT: u16 = 1007;
const CHOPS: [Chop; 3] = [Chop::Whole, Chop::Frames, Chop::Octets];
const KIB: usize = 1024;
/// The largest message.
const LARGEST: usize = 4096 * KIB;

pub fn catalogue() -> Vec<Case> {
    let mut cases = Cases::default();
    lengths(&mut cases);
    pings(&mut cases);
    reserved_bits(&mut cases);
    opcodes(&mut cases);
    fragments(&mut cases);
    texts(&mut cases);
    closes(&mut cases);
    masks(&mut cases);
    large(&mut cases);
    cases.0
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    /// Everything is right, and we say goodbye.
    fn right(&mut self, name: &str, chop: Chop, frames: &[Frame]) {
        let frames = [frames, &[close(1000, b"")]].concat();
        self.0.push(Case { name: format!("{name}, {chop:?}"), frames, chop, ends: 1000 });
    }

    /// The other side ends it; it may not wait for more.
    fn wrong(&mut self, name: &str, chop: Chop, ends: u16, frames: &[Frame]) {
        self.0.push(Case { name: format!("{name}, {chop:?}"), frames: frames.to_vec(), chop, ends });
    }
}

fn close(code: u16, reason: &[u8]) -> Frame {
    Frame::new(CLOSE, [&code.to_be_bytes()[..], reason].concat())
}

fn text(text: &'static str) -> Frame {
    Frame::new(TEXT, text.as_bytes())
}

/// Letters, no two blocks of a MiB alike.
fn letters(size: usize) -> Vec<u8> {
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let word = |number: u32| number.wrapping_mul(2_654_435_761).to_be_bytes().map(|byte| b'a' + byte % 26);
        (0..LARGEST as u32 / 4).flat_map(word).collect()
    });
    ALL[..size].to_vec()
}

/// Sections 1.1 and 1.2, and lengths that are not written in their shortest form.
fn lengths(cases: &mut Cases) {
    for opcode in [TEXT, BINARY] {
        for size in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537] {
            let name = format!("{size} bytes of opcode {opcode}");
            cases.right(&name, Chop::Whole, &[Frame::new(opcode, letters(size))]);
            let chop = if size < 200 { Chop::Octets } else { Chop::Of(997) };
            cases.right(&name, chop, &[Frame::new(opcode, letters(size))]);
        }
    }
    for (size, length) in [(0, Length::Two), (125, Length::Two), (5, Length::Eight), (300, Length::Eight)] {
        for chop in CHOPS {
            let frame = Frame::new(BINARY, letters(size)).length(length);
            cases.right(&format!("{size} bytes, length as {length:?}"), chop, &[frame]);
        }
    }
    for claimed in [1 << 40, 1 << 63, u64::MAX] {
        let frame = Frame::new(BINARY, letters(20)).length(Length::Claimed(claimed));
        // The size is beyond what the other side takes.
        cases.wrong(&format!("{claimed} bytes announced"), Chop::Whole, 1009, &[frame]);
    }
}

/// Section 2.
fn pings(cases: &mut Cases) {
    for chop in CHOPS {
        for size in [0, 1, 124, 125] {
            cases.right(&format!("ping of {size} bytes"), chop, &[Frame::new(PING, letters(size))]);
            cases.right(
                &format!("pong of {size} bytes that nobody asked for"),
                chop,
                &[Frame::new(PONG, letters(size))],
            );
        }
        cases.right("ping that is no text", chop, &[Frame::new(PING, &b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"[..])]);
        for opcode in [PING, PONG] {
            for size in [126, 127, 65_536] {
                if size < 200 || chop == Chop::Whole {
                    let frame = Frame::new(opcode, letters(size));
                    cases.wrong(&format!("control {opcode} of {size} bytes"), chop, WRONG, &[frame]);
                }
            }
        }
        let pong_and_ping = [Frame::new(PONG, &b"unsolicited"[..]), Frame::new(PING, &b"ping"[..])];
        cases.right("pong, then ping", chop, &pong_and_ping);
        let pings: Vec<Frame> =
            (0..10).map(|number| Frame::new(PING, format!("payload-{number}").into_bytes())).collect();
        cases.right("ten pings", chop, &pings);
    }
}

/// Section 3.
fn reserved_bits(cases: &mut Cases) {
    for bits in 1..8 {
        for chop in CHOPS {
            for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
                let payload = if opcode == CLOSE { vec![3, 232] } else { letters(20) };
                let odd = Frame::new(opcode, payload).reserved(bits);
                let frames = [text("Hello, world!"), odd, Frame::new(PING, &b""[..])];
                cases.wrong(&format!("reserved bits {bits} in opcode {opcode}"), chop, WRONG, &frames);
            }
        }
    }
}

/// Section 4.
fn opcodes(cases: &mut Cases) {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for chop in CHOPS {
            for payload in [&b""[..], b"reserved"] {
                let odd = Frame::new(opcode, payload);
                let name = format!("opcode {opcode} with {} bytes", payload.len());
                cases.wrong(&name, chop, WRONG, std::slice::from_ref(&odd));
                cases.wrong(
                    &format!("text, {name}, ping"),
                    chop,
                    WRONG,
                    &[text("Hello"), odd, Frame::new(PING, &b""[..])],
                );
            }
        }
    }
}

/// Section 5, and 10.1.
fn fragments(cases: &mut Cases) {
    let begin = || text("fragment1").open();
    let more = || Frame::new(CONTINUATION, &b"fragment2"[..]).open();
    let end = || Frame::new(CONTINUATION, &b"fragment3"[..]);
    let ping = || Frame::new(PING, &b"ping"[..]);
    for chop in CHOPS {
        cases.right("text in two", chop, &[begin(), end()]);
        cases.right("text in three", chop, &[begin(), more(), end()]);
        cases.right(
            "text in three, two of them empty",
            chop,
            &[text("").open(), Frame::new(CONTINUATION, &b""[..]).open(), end()],
        );
        cases.right(
            "nothing in three",
            chop,
            &[text("").open(), Frame::new(CONTINUATION, &b""[..]).open(), Frame::new(CONTINUATION, &b""[..])],
        );
        cases.right("a ping between", chop, &[begin(), ping(), end()]);
        cases.right("a pong between", chop, &[begin(), Frame::new(PONG, &b"pong"[..]), end()]);
        cases.right("pings between", chop, &[begin(), ping(), more(), ping(), more(), ping(), end(), ping()]);
        cases.right("two messages with pings", chop, &[begin(), ping(), end(), begin(), ping(), more(), end()]);
        cases.right("binary in three", chop, &[Frame::new(BINARY, &b"\xff\x00"[..]).open(), more(), end()]);
        cases.wrong("ping in two", chop, WRONG, &[ping().open(), end()]);
        cases.wrong("pong in two", chop, WRONG, &[Frame::new(PONG, &b"pong"[..]).open(), end()]);
        cases.wrong("nothing to continue", chop, WRONG, &[end(), text("Hello")]);
        cases.wrong("nothing to continue, open", chop, WRONG, &[more(), text("Hello")]);
        cases.wrong("nothing more to continue", chop, WRONG, &[begin(), end(), end()]);
        cases.wrong("a message within a message", chop, WRONG, &[begin(), text("another"), end()]);
        cases.wrong("an open message within a message", chop, WRONG, &[begin(), text("another").open(), end()]);
        cases.right("a close within a message", chop, &[begin()]);
    }
    for size in [1, 2, 125, 126, 1300] {
        let bytes = letters(if size < 10 { 500 } else { 64 * KIB });
        cases.right(&format!("{} bytes by {size}", bytes.len()), Chop::Frames, &cut(TEXT, &bytes, size));
    }
}

/// A message in frames of `size` bytes.
fn cut(opcode: u8, bytes: &[u8], size: usize) -> Vec<Frame> {
    let last = bytes.len().div_ceil(size) - 1;
    let piece = |(place, piece): (usize, &[u8])| {
        let frame = Frame::new(if place == 0 { opcode } else { CONTINUATION }, piece.to_vec());
        if place == last { frame } else { frame.open() }
    };
    bytes.chunks(size).enumerate().map(piece).collect()
}

/// Section 6.
fn texts(cases: &mut Cases) {
    let good: [&[u8]; 22] = [
        "Hello-µ@ßöäüàá-UTF-8!!".as_bytes(),
        "κόσμε".as_bytes(),
        b"\x00",
        b"\x7f",
        "\u{80}".as_bytes(),
        "\u{7ff}".as_bytes(),
        "\u{800}".as_bytes(),
        "\u{d7ff}".as_bytes(),
        "\u{e000}".as_bytes(),
        "\u{fdd0}".as_bytes(),
        "\u{fffd}".as_bytes(),
        "\u{fffe}".as_bytes(),
        "\u{ffff}".as_bytes(),
        "\u{10000}".as_bytes(),
        "\u{1fffe}".as_bytes(),
        "\u{fffff}".as_bytes(),
        "\u{10fffd}".as_bytes(),
        "\u{10ffff}".as_bytes(),
        "\u{feff}bom".as_bytes(),
        "\u{0}\u{0}\u{0}".as_bytes(),
        "𝄞𝄞".as_bytes(),
        "日本語 עברית العربية".as_bytes(),
    ];
    for bytes in good {
        let name = format!("text {}", bytes.escape_ascii());
        for chop in [Chop::Whole, Chop::Octets] {
            cases.right(&name, chop, &[Frame::new(TEXT, bytes)]);
        }
        // Every code point is split.
        cases.right(&format!("{name} by one"), Chop::Frames, &cut(TEXT, bytes, 1));
    }
    let bad: [&[u8]; 29] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\x80",
        b"\xbf",
        b"\x80\xbf\x80",
        b"\xc0 ",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xf5\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"Hello\xffworld",
        b"\xe2\x82A",
        b"\xf0\x9d\x84A",
        b"\xc3(",
        b"\xe2(\xa1",
    ];
    for bytes in bad {
        let name = format!("no text {}", bytes.escape_ascii());
        for chop in [Chop::Whole, Chop::Octets] {
            cases.wrong(&name, chop, NO_TEXT, &[Frame::new(TEXT, bytes)]);
        }
        cases.wrong(&format!("{name} by one"), Chop::Frames, NO_TEXT, &cut(TEXT, bytes, 1));
        // It is refused before the message is whole, which it never is.
        cases.wrong(
            &format!("{name}, and no end"),
            Chop::Frames,
            NO_TEXT,
            &[
                text("It begins well: ").open(),
                Frame::new(CONTINUATION, bytes).open(),
                Frame::new(CONTINUATION, &b" and goes on"[..]).open(),
            ],
        );
        cases.right(&format!("bytes {}", bytes.escape_ascii()), Chop::Whole, &[Frame::new(BINARY, bytes)]);
    }
    for cut_off in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9d\x84", b"whole, then \xe2"] {
        let name = format!("half a letter at the end {}", cut_off.escape_ascii());
        for chop in [Chop::Whole, Chop::Octets] {
            cases.wrong(&name, chop, NO_TEXT, &[Frame::new(TEXT, cut_off)]);
        }
        let split = [Frame::new(TEXT, cut_off).open(), Frame::new(CONTINUATION, &b""[..])];
        cases.wrong(&format!("{name}, split"), Chop::Frames, NO_TEXT, &split);
    }
}

/// Section 7.
fn closes(cases: &mut Cases) {
    let long: &'static [u8] = &[b'*'; 124];
    let mut ends = |name: &str, ends: u16, frames: &[Frame]| {
        for chop in CHOPS {
            cases.wrong(name, chop, ends, frames);
        }
    };
    ends("close at once", 1000, &[close(1000, b"")]);
    ends("close without a code", 1005, &[Frame::new(CLOSE, &b""[..])]);
    ends("close with half a code", WRONG, &[Frame::new(CLOSE, &b"\x03"[..])]);
    ends("close with a reason", 1000, &[close(1000, b"Hello World!")]);
    ends("close with the longest reason", 1000, &[close(1000, &long[..123])]);
    ends("close with a longer reason", WRONG, &[close(1000, long)]);
    ends("close with a reason that is no text", NO_TEXT, &[close(1000, b"\xce\xba\xed\xa0\x80edited")]);
    ends("close, open", WRONG, &[close(1000, b"").open()]);
    ends("close, then ping", 1000, &[close(1000, b""), Frame::new(PING, &b"late"[..])]);
    ends("close, then text", 1000, &[close(1000, b""), text("late")]);
    ends("close twice", 1000, &[close(1000, b""), close(1000, b"")]);
    ends("text, then close", 1000, &[text("Hello"), close(1000, b"")]);
    ends(
        "half a message, close, the rest",
        1000,
        &[text("half").open(), close(1000, b""), Frame::new(CONTINUATION, &b"rest"[..])],
    );
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        ends(&format!("close {code}"), code, &[close(code, b"why")]);
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        ends(&format!("close {code}"), WRONG, &[close(code, b"why")]);
    }
}

/// What each role must do with its frames: a client's are masked, a server's are not.
fn masks(cases: &mut Cases) {
    for chop in CHOPS {
        for frame in [text("Hello"), Frame::new(PING, &b"ping"[..]), close(1000, b"")] {
            let name = format!("opcode {} masked as the other side must", frame.opcode);
            cases.wrong(&name, chop, WRONG, &[frame.masked_wrongly()]);
        }
    }
}

/// Section 9: large messages, in large and small frames and writes, and many small ones.
fn large(cases: &mut Cases) {
    for (opcode, most) in [(TEXT, 1024), (BINARY, LARGEST / KIB)] {
        for kib in [64, 256, 1024, 4096].into_iter().filter(|kib| *kib <= most) {
            let bytes = letters(kib * KIB);
            cases.right(&format!("{kib} KiB"), Chop::Whole, &[Frame::new(opcode, bytes.clone())]);
            for size in [4, 64].map(|kib| kib * KIB) {
                cases.right(&format!("{kib} KiB by {size}"), Chop::Frames, &cut(opcode, &bytes, size));
            }
        }
        for size in [64, 256, 1024, 2048] {
            cases.right("128 KiB", Chop::Of(size), &[Frame::new(opcode, letters(128 * KIB))]);
        }
        for size in [0, 16, 256, 1024] {
            let frames: Vec<Frame> = (0..300).map(|_| Frame::new(opcode, letters(size))).collect();
            for chop in [Chop::Whole, Chop::Frames] {
                cases.right(&format!("300 messages of {size} bytes"), chop, &frames);
            }
        }
    }
}
