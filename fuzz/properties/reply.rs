//! What must hold for every answer of a server (src/proxy/edge/reply.rs, chunks.rs): whatever is passed on means to a browser
//! what it meant to another client that read it from the server. The judge is hyper, which reads both; a reader by lines says
//! which fields have to be there.
//!
//! An input is how the request was, in its first byte (bit 0: HEAD, bit 1: path mode), and the bytes of the answer.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use usher::config::{Headers, ServerLine};
use usher::ids::{Secret, ServerId};
use usher::proxy::edge::chunks::Chunks;
use usher::proxy::edge::reply::{Asked, BadReply, Compressing, Framing, Head, read};
use usher::proxy::edge::{Place, Way};
use usher::store::ServerRecord;

const SITE: &str = "https://p.example";
const MANY: usize = 90;
static HEADERS: Headers = Headers { server: ServerLine::Keep, set: Vec::new(), remove: Vec::new(), lines: None };

pub fn check(data: &[u8]) {
    let Some((&how, answer)) = data.split_first() else { return };
    let (head_only, prefix) = (how & 1 != 0, (how & 2 != 0).then_some("/bbb1"));
    let way = Way { place: PLACE.clone(), path: "/x", prefix, host: "p.example" };
    let asked = Asked {
        head_only,
        websocket: false,
        old: false,
        public_base: SITE,
        headers: &HEADERS,
        compressing: Compressing::default(),
    };
    let mut bytes = BytesMut::from(answer);
    let whole = read(&mut bytes, &way, asked);
    in_pieces(answer, &way, asked, &whole);
    let Ok(Some(head)) = whole else { return };
    fields_pass(&bytes[..head.length], &head, prefix.is_some());
    let Some(passed) = passed(&head, &bytes[head.length..]) else { return };
    // hyper takes fewer lines.
    if passed.iter().filter(|&&byte| byte == b'\n').count() > MANY {
        return;
    }
    let by_server = ask(head_only, answer);
    let by_us = ask(head_only, &passed);
    // What another client refuses from the server itself, it may refuse from us.
    assert!(by_server.is_none() || by_us == by_server, "{:?}", String::from_utf8_lossy(&passed));
}

static PLACE: LazyLock<Arc<Place>> = LazyLock::new(|| {
    let record = ServerRecord {
        id: ServerId(1),
        ..ServerRecord::new("bbb1".to_owned(), "https://bbb1.example/bigbluebutton/api/".to_owned(), Secret::new("s"))
    };
    Arc::new(Place::new(Arc::new(record), None).expect("a place"))
});

/// Nothing is decided before the head is whole, and then as if it had come at once.
fn in_pieces(answer: &[u8], way: &Way<'_>, asked: Asked<'_>, whole: &Result<Option<Head>, BadReply>) {
    let step = (answer.len() / 16).max(1);
    let mut bytes = BytesMut::new();
    let mut decided = Ok(None);
    for piece in answer.chunks(step) {
        bytes.extend_from_slice(piece);
        decided = read(&mut bytes, way, asked);
        if !matches!(decided, Ok(None)) {
            break;
        }
    }
    match (&decided, whole) {
        (Ok(Some(one)), Ok(Some(other))) => {
            assert_eq!(
                (one.status, &one.text, one.keeps, one.length),
                (other.status, &other.text, other.keeps, other.length)
            );
        }
        (Ok(None), Ok(None)) => {}
        (Err(one), Err(other)) => assert_eq!(one, other),
        _ => panic!("it depends on the pieces: {decided:?}, {whole:?}"),
    }
}

/// Fields of the connection go, all others stay as they are and where they are.
fn fields_pass(original: &[u8], head: &Head, is_rewritten: bool) {
    let before = lines(original);
    let named: Vec<Vec<u8>> = before
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, value)| value.split(|&byte| byte == b','))
        .map(|option| option.trim_ascii().to_ascii_lowercase())
        .collect();
    let is_chunked = matches!(head.framing, Framing::Chunked(_));
    let goes = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        let of_connection = [&b"connection"[..], b"keep-alive", b"proxy-connection", b"upgrade", b"transfer-encoding"];
        of_connection.contains(&name.as_slice())
            || (is_chunked && name == b"content-length")
            // What the framing needs is no field of the connection, whatever is said.
            || (named.contains(&name) && !is_framing(&name))
            || (is_rewritten && [&b"location"[..], b"set-cookie"].contains(&name.as_slice()))
    };
    let mut after = lines(&head.text);
    if is_chunked {
        assert_eq!(after.pop(), Some((&b"Transfer-Encoding"[..], &b"chunked"[..])));
    }
    let is_kept = |(name, _): &&(&[u8], &[u8])| !goes(name);
    // Once is enough for a length.
    let mut lengths = 0;
    let is_first = |(name, _): &&(&[u8], &[u8])| {
        lengths += u32::from(name.eq_ignore_ascii_case(b"content-length"));
        lengths < 2 || !name.eq_ignore_ascii_case(b"content-length")
    };
    let wanted: Vec<_> = before.iter().filter(is_kept).filter(is_first).collect();
    assert_eq!(wanted, after.iter().filter(is_kept).collect::<Vec<_>>());
    let closes = named.iter().any(|option| option == b"close");
    assert!(!(closes && head.keeps), "the server closes, and it is kept");
}

fn is_framing(name: &[u8]) -> bool {
    name == b"content-length"
}

/// Names and values, from what the head reader has accepted.
fn lines(head: &[u8]) -> Vec<(&[u8], &[u8])> {
    let start = head.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let lines = head[start..].split(|&byte| byte == b'\n').skip(1).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
        .collect()
}

/// What a browser gets; `None` if the answer breaks off or is not whole.
fn passed(head: &Head, rest: &[u8]) -> Option<Vec<u8>> {
    let end = match head.framing {
        Framing::Nothing | Framing::Switched => 0,
        Framing::Length(length) => usize::try_from(length).ok().filter(|length| *length <= rest.len())?,
        Framing::Chunked(_) => Chunks::default().scan(rest, |_| {}).ok()??,
        Framing::UntilClose => rest.len(),
    };
    let last: &[u8] = if head.keeps { b"\r\n\r\n" } else { b"\r\nConnection: close\r\n\r\n" };
    Some([&head.text[..], last, &rest[..end]].concat())
}

/// Status and content as hyper's client reads them; `None`: it refuses.
fn ask(head_only: bool, answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
    }
    RUNTIME.with_borrow_mut(|runtime| runtime.block_on(exchange(head_only, answer)))
}

async fn exchange(head_only: bool, answer: &[u8]) -> Option<(u16, Vec<u8>)> {
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
        let method = if head_only { http::Method::HEAD } else { http::Method::GET };
        let request = http::Request::builder().method(method).uri("/").header("host", "h").body(String::new()).ok()?;
        let exchange = async {
            let response = sender.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.into_body().collect().await.ok()?.to_bytes().to_vec()))
        };
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    };
    tokio::join!(serve, fetch).1
}
