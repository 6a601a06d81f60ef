//! What must hold for every chunked body (src/proxy/edge/chunks.rs): where it ends and what is in it, in whatever pieces it
//! comes. The judges are a reader by lines, and hyper, a client that others are built on.
//!
//! An input is how the bytes come, in its first line, and the bytes. Each byte of that line is the end of a piece, in 256ths
//! of the whole.

use std::cell::RefCell;

use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use usher::proxy::edge::chunks::{BadChunks, Chunks};

/// Longer lines and more of them are refused, by the product and by hyper, at different numbers.
const LONG: usize = 4096;
const MANY: usize = 90;

pub fn check(data: &[u8]) {
    let Some(line_end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (cuts, body) = (&data[..line_end], &data[line_end + 1..]);
    let (end, content) = read([body].into_iter());
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| body.len() * usize::from(cut) / 256).collect();
    cuts.sort_unstable();
    let pieces = std::iter::once(0).chain(cuts.iter().copied()).zip(cuts.iter().copied().chain([body.len()]));
    let (end_of_pieces, content_of_pieces) = read(pieces.map(|(from, to)| &body[from..to]));
    assert_eq!((end, &content), (end_of_pieces, &content_of_pieces), "it depends on the pieces");

    let is_long = body.split(|&byte| byte == b'\n').any(|line| line.len() > LONG);
    if !is_long {
        match by_lines(body) {
            Lines::Whole(length, wanted) => {
                assert_eq!((end, content.as_slice()), (Ok(Some(length)), wanted.as_slice()))
            }
            Lines::Begun => assert_eq!(end, Ok(None)),
            Lines::Wrong => assert_eq!(end, Err(BadChunks)),
        }
    }
    if let Ok(Some(length)) = end {
        assert_eq!(Chunks::default().scan(&body[..length], |_| {}), Ok(Some(length)), "nothing behind it counts");
        assert_eq!(Chunks::default().scan(&body[..length - 1], |_| {}), Ok(None), "all of it counts");
        let lines = body[..length].iter().filter(|&&byte| byte == b'\n').count();
        if !is_long && lines < MANY {
            assert_eq!(by_hyper(&body[..length]), Some(content), "another client finds something else");
        }
    }
}

/// The end, counted from the beginning of all pieces, and the content.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Result<Option<usize>, BadChunks>, Vec<u8>) {
    let (mut chunks, mut content, mut before) = (Chunks::default(), Vec::new(), 0);
    for piece in pieces {
        match chunks.scan(piece, |bytes| content.extend_from_slice(bytes)) {
            Ok(None) => before += piece.len(),
            Ok(Some(end)) => return (Ok(Some(before + end)), content),
            Err(bad) => return (Err(bad), Vec::new()),
        }
    }
    (Ok(None), content)
}

enum Lines {
    Whole(usize, Vec<u8>),
    Begun,
    Wrong,
}

/// RFC 9112, section 7.1, a whole line at a time.
fn by_lines(body: &[u8]) -> Lines {
    let (mut at, mut content) = (0, Vec::new());
    loop {
        let Some((line, next)) = line(body, at) else { return begun_or_wrong(&body[at..], true) };
        let Some(size) = size(line) else { return Lines::Wrong };
        at = next;
        if size == 0 {
            break;
        }
        let rest = &body[at..];
        if (rest.len() as u64) < size {
            return Lines::Begun;
        }
        let (piece, behind) = rest.split_at(size as usize);
        match behind {
            [] | [b'\r'] => return Lines::Begun,
            [b'\r', b'\n', ..] => {}
            _ => return Lines::Wrong,
        }
        content.extend_from_slice(piece);
        at += piece.len() + 2;
    }
    loop {
        let Some((line, next)) = line(body, at) else { return begun_or_wrong(&body[at..], false) };
        at = next;
        if line.is_empty() {
            return Lines::Whole(at, content);
        }
        let Some((name, value)) = field(line) else { return Lines::Wrong };
        if !is_name(name) || !value.iter().all(is_text) {
            return Lines::Wrong;
        }
    }
}

/// A line and where the next begins. A line ends with CRLF; a lone line feed or carriage return is no end, and wrong in it.
fn line(body: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = body[at..].windows(2).position(|two| two == b"\r\n")?;
    Some((&body[at..at + length], at + length + 2))
}

/// What has come of a line, without its end: could it still become one?
fn begun_or_wrong(rest: &[u8], is_size: bool) -> Lines {
    let line = rest.strip_suffix(b"\r").unwrap_or(rest);
    let has_ended = line.len() < rest.len();
    let is_right = match is_size {
        _ if line.is_empty() => !(is_size && has_ended),
        true => size(line).is_some(),
        false => match field(line) {
            Some((name, value)) => is_name(name) && value.iter().all(is_text),
            None => is_name(line) && !has_ended,
        },
    };
    if is_right { Lines::Begun } else { Lines::Wrong }
}

fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    let spaces = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let is_extension = matches!(extension[spaces..], [] | [b';', ..]) && extension.iter().all(is_text);
    let is_short = (1..=15).contains(&digits) && is_extension;
    is_short.then(|| u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()).flatten()
}

/// Name and value of a trailer.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The content as hyper's client reads it.
fn by_hyper(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        static RUNTIME: RefCell<Runtime> =
            RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
    }
    let answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
    RUNTIME.with_borrow_mut(|runtime| runtime.block_on(ask(&answer)))
}

async fn ask(answer: &[u8]) -> Option<Vec<u8>> {
    let (near, mut far) = tokio::io::duplex(answer.len().max(4096));
    let serve = async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.ok()?);
        }
        far.write_all(answer).await.ok()
    };
    let fetch = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.ok()?;
        let request = http::Request::get("/").header("host", "h").body(String::new()).ok()?;
        let exchange = async {
            let response = sender.send_request(request).await.ok()?;
            Some(response.into_body().collect().await.ok()?.to_bytes().to_vec())
        };
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            content = &mut exchange => content,
            _ = &mut connection => exchange.await,
        }
    };
    tokio::join!(serve, fetch).1
}
