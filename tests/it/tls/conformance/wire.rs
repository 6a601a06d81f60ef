//! A client that speaks frames, and judges what comes back.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::checks::{Check, Step, Wanted};
use crate::tls::client::connect;

/// A right outcome comes at once; a wrong one is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS; of SETTINGS and PING it means an acknowledgement.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// What a server did.
#[derive(Debug)]
enum Event {
    Answered(u16),
    Reset(u32),
    /// GOAWAY with this code.
    Gone(u32),
    Closed,
    Pong,
    /// It has acknowledged as many settings by now.
    Settled(u32),
    /// Bytes of a DATA frame, and whether it was the last of its stream.
    Content(usize, bool),
}

struct Conversation {
    stream: TlsStream<TcpStream>,
    settled: u32,
    /// What the server allows.
    streams_at_once: u32,
}

/// Plays a check. The error says what came instead.
pub async fn run(address: &str, tls: &Arc<ClientConfig>, check: &Check, wanted: Wanted) -> Result<(), String> {
    let played = tokio::time::timeout(PATIENCE, play(address, tls, check, wanted)).await;
    played.unwrap_or_else(|_| Err("nothing decisive came".to_owned()))
}

async fn play(address: &str, tls: &Arc<ClientConfig>, check: &Check, wanted: Wanted) -> Result<(), String> {
    let stream = connect(address, "bbb.example.test", tls).await.map_err(|error| error.to_string())?;
    let mut talk = Conversation { stream, settled: 0, streams_at_once: 100 };
    for step in &check.steps {
        match step {
            Step::Begin => talk.begin().await?,
            Step::Send(bytes) => talk.send(bytes).await,
            Step::AwaitEnd => while !matches!(talk.next().await, Event::Content(_, true) | Event::Closed) {},
            Step::OpenTooMany(make) => {
                let last = talk.streams_at_once.min(1000);
                let bytes: Vec<u8> = (0..=last).flat_map(|number| make(number * 2 + 1)).collect();
                talk.send(&bytes).await;
            }
        }
    }
    let mut seen = Vec::new();
    loop {
        let event = talk.next().await;
        match wanted.judge(&event) {
            Some(true) if matches!(wanted, Wanted::Ended(_)) && !matches!(event, Event::Closed) => {
                // Who has said goodbye also closes.
                while !matches!(talk.next().await, Event::Closed) {}
                return Ok(());
            }
            Some(true) => return Ok(()),
            Some(false) => return Err(format!("{event:?} after {seen:?}")),
            None => seen.push(event),
        }
        if seen.len() > 1000 {
            return Err("no end of frames".to_owned());
        }
    }
}

impl Wanted {
    /// `None`: not decided yet.
    fn judge(&self, event: &Event) -> Option<bool> {
        let is_one = |codes: &[u32], code: &u32| codes.contains(code);
        match (self, event) {
            (_, Event::Gone(0)) => None,
            (Self::Answer, Event::Answered(status)) => Some(*status == 200),
            (Self::Answer | Self::Pong | Self::Settled, Event::Reset(_) | Event::Gone(_) | Event::Closed) => {
                Some(false)
            }
            (Self::Pong, Event::Pong) => Some(true),
            // The first is for the settings of the beginning.
            (Self::Settled, Event::Settled(times)) => (*times >= 2).then_some(true),
            (Self::Connection(codes) | Self::Ended(codes), Event::Gone(code)) => Some(is_one(codes, code)),
            (Self::Connection(_) | Self::Ended(_), Event::Closed) => Some(true),
            (Self::Connection(_) | Self::Ended(_), Event::Pong) => Some(false),
            (Self::Stream(codes), Event::Gone(code) | Event::Reset(code)) => Some(is_one(codes, code)),
            (Self::Stream(_) | Self::Malformed, Event::Closed) => Some(true),
            // RFC 9113 section 8.1.1: an answer may come before the reset.
            (Self::Malformed, Event::Answered(status)) => Some((400..500).contains(status)),
            (Self::Malformed, Event::Gone(code) | Event::Reset(code)) => Some(*code == 1),
            (Self::Tolerated, Event::Answered(_)) => Some(true),
            (Self::Tolerated, Event::Gone(code) | Event::Reset(code)) => Some(*code == 1),
            (Self::Content(size), Event::Content(found, _)) => Some(size == found),
            (Self::Content(_), Event::Reset(_) | Event::Gone(_) | Event::Closed) => Some(false),
            _ => None,
        }
    }
}

impl Conversation {
    /// The preface, and the settings of both sides.
    async fn begin(&mut self) -> Result<(), String> {
        self.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        let first = self.frame().await.ok_or("closed before its settings")?;
        if (first.kind, first.flags & ACK) != (SETTINGS, 0) {
            return Err(format!("frame {} before the settings", first.kind));
        }
        for setting in first.payload.chunks_exact(6).filter(|setting| setting[..2] == [0, 3]) {
            self.streams_at_once = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
        }
        self.send(&frame(SETTINGS, ACK, 0, &[])).await;
        Ok(())
    }

    /// A server that has ended may take no more; what it has said is what counts.
    async fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    async fn next(&mut self) -> Event {
        loop {
            let Some(frame) = self.frame().await else { return Event::Closed };
            let number = |at: usize| {
                frame.payload.get(at..at + 4).map_or(u32::MAX, |four| u32::from_be_bytes(four.try_into().unwrap()))
            };
            match frame.kind {
                HEADERS if frame.stream > 0 => return Event::Answered(status(&frame.payload)),
                DATA => return Event::Content(frame.payload.len(), frame.flags & END_STREAM != 0),
                RST_STREAM => return Event::Reset(number(0)),
                GOAWAY => return Event::Gone(number(4)),
                PING if frame.flags & ACK != 0 => return Event::Pong,
                SETTINGS if frame.flags & ACK != 0 => {
                    self.settled += 1;
                    return Event::Settled(self.settled);
                }
                _ => {}
            }
        }
    }
}

/// The status of a header block, which begins with it (RFC 7541, appendix A: index 8 is its name).
fn status(block: &[u8]) -> u16 {
    // Changes of the table's size may stand before it.
    let block = &block[block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count()..];
    match block {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x48 | 0x08 | 0x18, length, value @ ..] => {
            let size = usize::from(length & 0x7f).min(value.len());
            let digits = if length & 0x80 == 0 { value[..size].to_vec() } else { digits(&value[..size]) };
            String::from_utf8_lossy(&digits).parse().unwrap_or_default()
        }
        _ => 0,
    }
}

/// Digits in Huffman's code (RFC 7541, appendix B): 0 to 2 have five bits, the others six.
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut at, mut digits) = (0, Vec::new());
    while let Some(five) = bits.get(at..at + 5).map(number) {
        if five <= 2 {
            digits.push(b'0' + five);
            at += 5;
        } else {
            let Some(six @ 0b01_1001..=0b01_1111) = bits.get(at..at + 6).map(number) else { break };
            digits.push(b'3' + six - 0b01_1001);
            at += 6;
        }
    }
    digits
}
