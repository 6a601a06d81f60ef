//! The list: what is sent, what must come of it, and whether nginx passes.

use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, frame,
};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;
/// The largest frame that need not be asked for.
const LARGEST: usize = 16_384;

pub struct Check {
    /// Of RFC 9113, or of RFC 7541 with an H before it.
    pub section: &'static str,
    pub what: &'static str,
    pub steps: Vec<Step>,
    pub wanted: Wanted,
    pub nginx_passes: bool,
    pub ours: Ours,
}

/// How Usher passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ours {
    Yes,
    /// The connection ends as it must, but with PROTOCOL_ERROR: the h2 library has no other code for frames that it cannot
    /// read. Clients do the same with each of them, and h2spec lets it pass.
    OtherCode,
    /// The h2 library lets it pass, and so does nginx.
    No,
}

pub enum Step {
    /// The preface, and the settings of both sides.
    Begin,
    Send(Vec<u8>),
    /// Until an answer has come to its end.
    AwaitEnd,
    /// One stream more than the server allows.
    OpenTooMany(fn(u32) -> Vec<u8>),
}

impl Check {
    /// What must come of it from Usher.
    pub fn of_ours(&self) -> Wanted {
        match self.ours {
            Ours::Yes | Ours::No => self.wanted,
            Ours::OtherCode => Wanted::Ended(&[PROTOCOL_ERROR]),
        }
    }
}

/// What must come of it.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// 200.
    Answer,
    Pong,
    /// Settings acknowledged.
    Settled,
    /// An error of the connection: GOAWAY with one of these, or it is closed.
    Connection(&'static [u32]),
    /// The same, and it is closed after GOAWAY.
    Ended(&'static [u32]),
    /// An error of a stream, which may be made one of the connection.
    Stream(&'static [u32]),
    /// A request that is none: an error of the stream, or an answer of the class 4xx.
    Malformed,
    /// The RFC no longer says which: an answer, or PROTOCOL_ERROR.
    Tolerated,
    /// A DATA frame of this size.
    Content(usize),
}

const CLOSED: Wanted = Wanted::Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]);
const PROTOCOL: Wanted = Wanted::Connection(&[PROTOCOL_ERROR]);
const SIZE: Wanted = Wanted::Connection(&[FRAME_SIZE_ERROR]);
const FLOW: Wanted = Wanted::Connection(&[FLOW_CONTROL_ERROR]);
const COMPRESSION: Wanted = Wanted::Connection(&[COMPRESSION_ERROR]);

type Field<'a> = (&'a str, &'a str);

/// A field that touches no table and is not compressed.
fn field((name, value): Field<'_>) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127);
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn block(fields: &[Field<'_>]) -> Vec<u8> {
    fields.iter().flat_map(|one| field(*one)).collect()
}

const GET: [Field<'static>; 4] =
    [(":method", "GET"), (":scheme", "https"), (":path", "/livez"), (":authority", "bbb.example.test")];
const POST: [Field<'static>; 4] =
    [(":method", "POST"), (":scheme", "https"), (":path", "/bbb1/upload"), (":authority", "bbb.example.test")];

fn with(fields: &[Field<'static>], more: &[Field<'static>]) -> Vec<u8> {
    block(&[fields, more].concat())
}

/// A request without a body.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET))
}

/// The head of one with a body.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&POST))
}

/// A request with this header block.
fn asked(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"whatever")
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

pub fn checks() -> Vec<Check> {
    let mut list = List(Vec::new());
    beginnings(&mut list);
    frames(&mut list);
    streams(&mut list);
    data_and_headers(&mut list);
    control(&mut list);
    windows(&mut list);
    continuations(&mut list);
    requests(&mut list);
    compression(&mut list);
    for check in &mut list.0 {
        let name = (check.section, check.what);
        check.nginx_passes = !BEYOND_NGINX.contains(&name);
        check.ours = match name {
            ("3.4", "no settings behind the preface") => Ours::No,
            name if OTHER_CODES.contains(&name) => Ours::OtherCode,
            _ => Ours::Yes,
        };
    }
    list.0
}

struct List(Vec<Check>);

impl List {
    fn steps(&mut self, section: &'static str, what: &'static str, steps: Vec<Step>, wanted: Wanted) {
        self.0.push(Check { section, what, steps, wanted, nginx_passes: true, ours: Ours::Yes });
    }

    /// These frames behind a right beginning.
    fn add(&mut self, section: &'static str, what: &'static str, wanted: Wanted, frames: &[Vec<u8>]) {
        self.steps(section, what, vec![Step::Begin, Step::Send(frames.concat())], wanted);
    }

    /// These frames behind a request that has been answered.
    fn after(&mut self, section: &'static str, what: &'static str, wanted: Wanted, frames: &[Vec<u8>]) {
        let steps = vec![Step::Begin, Step::Send(get(1)), Step::AwaitEnd, Step::Send(frames.concat())];
        self.steps(section, what, steps, wanted);
    }
}

/// What nginx does not pass.
const BEYOND_NGINX: [(&str, &str); 19] = [
    ("3.4", "no settings behind the preface"),
    ("4.2", "DATA that is larger"),
    ("4.2", "HEADERS that is larger"),
    ("5.1", "DATA on an idle stream"),
    ("5.1", "RST_STREAM on an idle stream"),
    ("5.1", "WINDOW_UPDATE on an idle stream"),
    ("5.1", "DATA on a closed stream"),
    ("6.9.2", "settings that make a window too large"),
    ("8.2.2", "Connection"),
    ("8.2.2", "Proxy-Connection"),
    ("8.2.2", "Keep-Alive"),
    ("8.2.2", "Transfer-Encoding"),
    ("8.2.2", "Upgrade"),
    ("8.2.2", "TE that is not trailers"),
    ("8.3", "a pseudo-field behind others"),
    ("8.3.1", ":authority with a user"),
    ("H4.2", "a change of the table's size behind a field"),
    ("H5.2", "a string longer than its block"),
    ("H5.2", "padding of a whole byte"),
];

/// Where the h2 library says PROTOCOL_ERROR instead of FRAME_SIZE_ERROR, FLOW_CONTROL_ERROR or COMPRESSION_ERROR.
const OTHER_CODES: [(&str, &str); 19] = [
    ("4.3", "a header block that cannot be read"),
    ("6.3", "PRIORITY of four bytes"),
    ("6.4", "RST_STREAM of three bytes"),
    ("6.5", "an acknowledgement with settings"),
    ("6.5", "SETTINGS of three bytes"),
    ("6.5.2", "INITIAL_WINDOW_SIZE beyond the largest"),
    ("6.7", "PING of six bytes"),
    ("6.8", "GOAWAY that is too short"),
    ("6.9", "WINDOW_UPDATE of three bytes"),
    ("H2.3.3", "an index beyond the tables"),
    ("H6.1", "index 0"),
    ("H2.3.3", "a name beyond the tables"),
    ("H4.2", "a change of the table's size behind a field"),
    ("H6.3", "a larger table than allowed"),
    ("H5.1", "a number without end"),
    ("H5.2", "a string longer than its block"),
    ("H5.2", "padding of a whole byte"),
    ("H5.2", "padding that is not of ones"),
    ("H5.2", "the end of a string within it"),
];

/// Section 3.4.
fn beginnings(list: &mut List) {
    list.add("3.4", "settings come first", Wanted::Answer, &[get(1)]);
    let raw = |bytes: &[u8]| vec![Step::Send(bytes.to_vec())];
    list.steps("3.4", "another preface", raw(b"INVALID CONNECTION PREFACE\r\n\r\n"), PROTOCOL);
    list.steps(
        "3.4",
        "HTTP/1.1 where HTTP/2 was agreed",
        raw(b"GET / HTTP/1.1\r\nHost: bbb.example.test\r\n\r\n"),
        PROTOCOL,
    );
    list.steps("3.4", "no settings behind the preface", raw(&[PREFACE, &ping()].concat()), PROTOCOL);
    let own = frame(SETTINGS, 0, 0, &[setting(2, 0), setting(4, 65_535)].concat());
    list.steps("3.4", "settings and a request at once", raw(&[PREFACE, &own, &get(1)].concat()), Wanted::Answer);
}

/// Sections 4.1 to 4.3.
fn frames(list: &mut List) {
    list.add("4.1", "an unknown kind of frame", Wanted::Pong, &[frame(0x16, 0, 0, b"12345678"), ping()]);
    list.add("4.1", "an unknown kind of frame on a stream", Wanted::Answer, &[frame(0xee, 0xff, 1, b"x"), get(1)]);
    list.add("4.1", "unknown flags", Wanted::Pong, &[frame(PING, 0x16, 0, b"whatever")]);
    let mut with_bit = ping();
    with_bit[5] |= 0x80;
    list.add("4.1", "the reserved bit", Wanted::Pong, &[with_bit]);
    let upload = |size: usize| [post(1), frame(DATA, END_STREAM, 1, &vec![b'x'; size])];
    list.add("4.2", "the largest frame", Wanted::Tolerated, &upload(LARGEST));
    list.add("4.2", "DATA that is larger", Wanted::Stream(&[FRAME_SIZE_ERROR]), &upload(LARGEST + 1));
    let long = [block(&GET), vec![0; LARGEST]].concat();
    list.add("4.2", "HEADERS that is larger", SIZE, &[asked(&long)]);
    list.add("4.3", "a header block that cannot be read", COMPRESSION, &[asked(&[0xff; 12])]);
    let begun = || frame(HEADERS, END_STREAM, 1, &block(&GET));
    for (what, between) in [
        ("PRIORITY within a header block", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255])),
        ("another stream's HEADERS within a header block", get(3)),
        ("DATA within a header block", frame(DATA, 0, 1, b"x")),
        ("PING within a header block", ping()),
        ("SETTINGS within a header block", frame(SETTINGS, 0, 0, &[])),
        ("an unknown kind of frame within a header block", frame(0x16, 0, 1, b"x")),
        ("another stream's CONTINUATION within a header block", frame(CONTINUATION, END_HEADERS, 3, &[])),
    ] {
        list.add("4.3", what, PROTOCOL, &[begun(), between, frame(CONTINUATION, END_HEADERS, 1, &[])]);
    }
}

/// Sections 5.1 to 5.5.
fn streams(list: &mut List) {
    list.add("5.1", "DATA on an idle stream", PROTOCOL, &[frame(DATA, END_STREAM, 1, b"x")]);
    list.add("5.1", "RST_STREAM on an idle stream", PROTOCOL, &[reset(1)]);
    list.add("5.1", "WINDOW_UPDATE on an idle stream", PROTOCOL, &[window(1, 100)]);
    list.add("5.1", "CONTINUATION on an idle stream", PROTOCOL, &[frame(CONTINUATION, END_HEADERS, 1, &block(&GET))]);
    list.add("5.1", "PRIORITY on an idle stream", Wanted::Answer, &[frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 255]), get(1)]);
    let data = || frame(DATA, END_STREAM, 1, b"x");
    let more = || frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-a", "b")]));
    let whole = || [post(1), data()].concat();
    list.add("5.1", "DATA behind the end", CLOSED, &[whole(), data()]);
    list.add("5.1", "HEADERS behind the end", CLOSED, &[whole(), get(1)]);
    list.add("5.1", "CONTINUATION behind the end", CLOSED, &[whole(), more()]);
    list.add("5.1", "WINDOW_UPDATE behind the end", Wanted::Pong, &[whole(), window(1, 10), ping()]);
    list.add("5.1", "CONTINUATION behind RST_STREAM", CLOSED, &[post(1), reset(1), more()]);
    list.after("5.1", "DATA on a closed stream", CLOSED, &[data()]);
    list.after("5.1", "HEADERS on a closed stream", CLOSED, &[get(1)]);
    list.after("5.1", "CONTINUATION on a closed stream", CLOSED, &[more()]);
    list.after("5.1", "WINDOW_UPDATE on a closed stream", Wanted::Pong, &[window(1, 10), ping()]);
    list.after("5.1", "RST_STREAM on a closed stream", Wanted::Pong, &[reset(1), ping()]);
    list.after("5.1", "PRIORITY on a closed stream", Wanted::Pong, &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), ping()]);
    list.add("5.1.1", "an even stream", PROTOCOL, &[get(2)]);
    list.add(
        "5.1.1",
        "a smaller stream than before",
        Wanted::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        &[post(5), get(3)],
    );
    list.after("5.1.1", "a larger stream than the next", Wanted::Answer, &[get(77)]);
    let steps = vec![Step::Begin, Step::OpenTooMany(post)];
    list.steps("5.1.2", "too many streams", steps, Wanted::Stream(&[PROTOCOL_ERROR, REFUSED_STREAM]));
    let depends = |on: u32| [&on.to_be_bytes()[..], &[15], &block(&GET)].concat();
    let with_priority = END_HEADERS | END_STREAM | WITH_PRIORITY;
    list.add(
        "5.3",
        "HEADERS that depends on itself",
        Wanted::Tolerated,
        &[frame(HEADERS, with_priority, 1, &depends(1))],
    );
    let on_itself = frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 15]);
    list.add("5.3", "PRIORITY that depends on itself", Wanted::Tolerated, &[on_itself, get(1)]);
    list.add("5.3", "HEADERS with a priority", Wanted::Answer, &[frame(HEADERS, with_priority, 3, &depends(1))]);
    list.add(
        "5.4.1",
        "an error ends the connection",
        Wanted::Ended(&[PROTOCOL_ERROR]),
        &[frame(PING, 0, 3, b"whatever")],
    );
    list.add(
        "5.5",
        "an unknown setting and an unknown frame",
        Wanted::Answer,
        &[frame(SETTINGS, 0, 0, &setting(0xff, 1)), frame(0x42, 0, 7, b"extension"), get(1)],
    );
}

/// Sections 6.1 and 6.2.
fn data_and_headers(list: &mut List) {
    list.add("6.1", "DATA on stream 0", PROTOCOL, &[frame(DATA, 0, 0, b"x")]);
    let padded = |pad: u8, rest: &[u8]| [&[pad], rest].concat();
    list.add(
        "6.1",
        "DATA with padding",
        Wanted::Tolerated,
        &[post(1), frame(DATA, END_STREAM | PADDED, 1, &padded(3, b"text\0\0\0"))],
    );
    list.add("6.1", "DATA of padding only", Wanted::Tolerated, &[post(1), frame(DATA, END_STREAM | PADDED, 1, &[0])]);
    for (what, payload) in [
        ("DATA with as much padding as it is long", padded(5, b"text")),
        ("DATA with more padding than it is long", padded(200, b"text")),
    ] {
        list.add("6.1", what, PROTOCOL, &[post(1), frame(DATA, END_STREAM | PADDED, 1, &payload)]);
    }
    let all = END_HEADERS | END_STREAM | PADDED;
    list.add("6.2", "HEADERS on stream 0", PROTOCOL, &[get(0)]);
    let fields = block(&GET);
    list.add(
        "6.2",
        "HEADERS with padding",
        Wanted::Answer,
        &[frame(HEADERS, all, 1, &padded(4, &[&fields[..], &[0; 4]].concat()))],
    );
    list.add(
        "6.2",
        "HEADERS with more padding than it is long",
        PROTOCOL,
        &[frame(HEADERS, all, 1, &padded(250, &fields[..9]))],
    );
    list.add(
        "6.2",
        "HEADERS too short for its priority",
        Wanted::Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        &[frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, &[0, 0])],
    );
}

/// Sections 6.3 to 6.8.
fn control(list: &mut List) {
    list.add("6.3", "PRIORITY on stream 0", PROTOCOL, &[frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 9])]);
    list.add(
        "6.3",
        "PRIORITY of four bytes",
        Wanted::Stream(&[FRAME_SIZE_ERROR]),
        &[post(1), frame(PRIORITY, 0, 1, &[0; 4])],
    );
    list.add("6.4", "RST_STREAM on stream 0", PROTOCOL, &[reset(0)]);
    list.add("6.4", "RST_STREAM of three bytes", SIZE, &[post(1), frame(RST_STREAM, 0, 1, &[0; 3])]);
    list.add("6.4", "RST_STREAM", Wanted::Pong, &[post(1), reset(1), ping()]);
    let settings = |payload: &[u8]| frame(SETTINGS, 0, 0, payload);
    list.add("6.5", "an acknowledgement with settings", SIZE, &[frame(SETTINGS, ACK, 0, &setting(3, 9))]);
    list.add("6.5", "SETTINGS on a stream", PROTOCOL, &[frame(SETTINGS, 0, 1, &setting(3, 9))]);
    list.add("6.5", "SETTINGS of three bytes", SIZE, &[settings(&[0, 3, 0])]);
    list.add("6.5.2", "ENABLE_PUSH of 2", PROTOCOL, &[settings(&setting(2, 2))]);
    list.add("6.5.2", "INITIAL_WINDOW_SIZE beyond the largest", FLOW, &[settings(&setting(4, 1 << 31))]);
    list.add("6.5.2", "MAX_FRAME_SIZE below the smallest", PROTOCOL, &[settings(&setting(5, 16_383))]);
    list.add("6.5.2", "MAX_FRAME_SIZE beyond the largest", PROTOCOL, &[settings(&setting(5, 1 << 24))]);
    list.add("6.5.2", "an unknown setting", Wanted::Settled, &[settings(&setting(0xff, 7))]);
    list.add(
        "6.5.2",
        "all known settings",
        Wanted::Settled,
        &[settings(
            &[setting(1, 0), setting(2, 0), setting(3, 0), setting(4, 0), setting(5, 16_384), setting(6, 4096)]
                .concat(),
        )],
    );
    list.add("6.5.3", "settings are acknowledged", Wanted::Settled, &[settings(&[])]);
    list.add(
        "6.5.3",
        "of a setting that comes twice, the last counts",
        Wanted::Content(1),
        &[settings(&[setting(4, 100), setting(4, 1)].concat()), get(1)],
    );
    list.add(
        "6.6",
        "PUSH_PROMISE of a client",
        PROTOCOL,
        &[post(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&GET)].concat())],
    );
    list.add("6.7", "PING", Wanted::Pong, &[ping()]);
    list.add(
        "6.7",
        "an acknowledgement that nobody waits for",
        Wanted::Answer,
        &[frame(PING, ACK, 0, b"whatever"), get(1)],
    );
    list.add("6.7", "PING on a stream", PROTOCOL, &[frame(PING, 0, 1, b"whatever")]);
    list.add("6.7", "PING of six bytes", SIZE, &[frame(PING, 0, 0, b"whatev")]);
    list.add("6.8", "GOAWAY on a stream", PROTOCOL, &[frame(GOAWAY, 0, 1, &[0; 8])]);
    list.add("6.8", "GOAWAY that is too short", SIZE, &[frame(GOAWAY, 0, 0, &[0; 7])]);
    list.add(
        "7",
        "RST_STREAM with an unknown code",
        Wanted::Pong,
        &[post(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xff]), ping()],
    );
}

/// Section 6.9.
fn windows(list: &mut List) {
    let settings = |value| frame(SETTINGS, 0, 0, &setting(4, value));
    list.add("6.9", "no more window of the connection", PROTOCOL, &[window(0, 0)]);
    list.add("6.9", "no more window of a stream", Wanted::Stream(&[PROTOCOL_ERROR]), &[post(1), window(1, 0)]);
    list.add("6.9", "WINDOW_UPDATE of three bytes", SIZE, &[frame(WINDOW_UPDATE, 0, 0, &[0; 3])]);
    list.add("6.9.1", "a window of one byte", Wanted::Content(1), &[settings(1), get(1)]);
    list.add(
        "6.9.1",
        "more window of the connection than there is",
        FLOW,
        &[window(0, i32::MAX as u32), window(0, i32::MAX as u32)],
    );
    list.add(
        "6.9.1",
        "more window of a stream than there is",
        Wanted::Stream(&[FLOW_CONTROL_ERROR]),
        &[post(1), window(1, i32::MAX as u32), window(1, i32::MAX as u32)],
    );
    list.add("6.9.2", "a window that opens later", Wanted::Content(1), &[settings(0), get(1), settings(1)]);
    list.add("6.9.2", "a window below nothing", Wanted::Content(1), &[settings(3), settings(0), get(1), window(1, 1)]);
    list.add(
        "6.9.2",
        "settings that make a window too large",
        FLOW,
        &[post(1), window(1, i32::MAX as u32 - 65_535), settings(i32::MAX as u32)],
    );
}

/// Section 6.10.
fn continuations(list: &mut List) {
    let fields = block(&GET);
    let (start, rest) = fields.split_at(20);
    let (middle, end) = rest.split_at(10);
    let begun = || frame(HEADERS, END_STREAM, 1, start);
    let more = |flags: u8, stream: u32, part: &[u8]| frame(CONTINUATION, flags, stream, part);
    list.add("6.10", "CONTINUATION", Wanted::Answer, &[begun(), more(0, 1, middle), more(END_HEADERS, 1, end)]);
    list.add("6.10", "an empty CONTINUATION", Wanted::Answer, &[begun(), more(0, 1, &[]), more(END_HEADERS, 1, rest)]);
    list.add("6.10", "CONTINUATION on stream 0", PROTOCOL, &[begun(), more(END_HEADERS, 0, rest)]);
    list.add("6.10", "CONTINUATION behind the end of a head", CLOSED, &[post(1), more(END_HEADERS, 1, end)]);
    list.add(
        "6.10",
        "CONTINUATION behind CONTINUATION that ends a head",
        CLOSED,
        &[frame(HEADERS, 0, 1, &block(&POST)), more(END_HEADERS, 1, &[]), more(END_HEADERS, 1, end)],
    );
    list.add(
        "6.10",
        "CONTINUATION behind DATA",
        CLOSED,
        &[post(1), frame(DATA, 0, 1, b"x"), more(END_HEADERS, 1, end)],
    );
}

/// Section 8.
fn requests(list: &mut List) {
    let trailers = |fields: &[Field<'_>], flags: u8| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    let data = || frame(DATA, 0, 1, b"x");
    list.add("8.1", "HEAD", Wanted::Answer, &[asked(&block(&[(":method", "HEAD"), GET[1], GET[2], GET[3]]))]);
    list.add("8.1", "trailers", Wanted::Tolerated, &[post(1), data(), trailers(&[("x-a", "b")], END_STREAM)]);
    list.add(
        "8.1",
        "trailers that do not end the stream",
        Wanted::Malformed,
        &[post(1), data(), trailers(&[("x-a", "b")], 0)],
    );
    list.add(
        "8.1",
        "trailers with a pseudo-field",
        Wanted::Malformed,
        &[post(1), data(), trailers(&[(":path", "/")], END_STREAM)],
    );
    for (section, what, fields) in [
        ("8.2.1", "a name with capital letters", with(&GET, &[("X-Upper", "a")])),
        ("8.2.1", "a name with a space", with(&GET, &[("x a", "b")])),
        ("8.2.1", "a name with a colon", with(&GET, &[("x:a", "b")])),
        ("8.2.1", "an empty name", with(&GET, &[("", "b")])),
        ("8.2.1", "a value with a line feed", with(&GET, &[("x-a", "b\nc: d")])),
        ("8.2.1", "a value with a carriage return", with(&GET, &[("x-a", "b\rc")])),
        ("8.2.1", "a value with a zero", with(&GET, &[("x-a", "b\0c")])),
        ("8.2.2", "Connection", with(&GET, &[("connection", "keep-alive")])),
        ("8.2.2", "Proxy-Connection", with(&GET, &[("proxy-connection", "keep-alive")])),
        ("8.2.2", "Keep-Alive", with(&GET, &[("keep-alive", "5")])),
        ("8.2.2", "Transfer-Encoding", with(&GET, &[("transfer-encoding", "chunked")])),
        ("8.2.2", "Upgrade", with(&GET, &[("upgrade", "websocket")])),
        ("8.2.2", "TE that is not trailers", with(&GET, &[("te", "trailers, deflate")])),
        ("8.3", "an unknown pseudo-field", with(&GET, &[(":test", "test")])),
        ("8.3", "a pseudo-field of answers", with(&GET, &[(":status", "200")])),
        ("8.3", "a pseudo-field behind others", block(&[GET[0], GET[1], GET[3], ("x-a", "b"), GET[2]])),
        ("8.3.1", "an empty :path", block(&[GET[0], GET[1], (":path", ""), GET[3]])),
        ("8.3.1", "a :path without a slash", block(&[GET[0], GET[1], (":path", "livez"), GET[3]])),
        ("8.3.1", "no :method", block(&[GET[1], GET[2], GET[3]])),
        ("8.3.1", "no :scheme", block(&[GET[0], GET[2], GET[3]])),
        ("8.3.1", "no :path", block(&[GET[0], GET[1], GET[3]])),
        ("8.3.1", "two :method", with(&GET[..1], &GET)),
        ("8.3.1", "two :scheme", block(&[GET[0], GET[1], GET[1], GET[2], GET[3]])),
        ("8.3.1", "two :path", block(&[GET[0], GET[1], GET[2], GET[2], GET[3]])),
        ("8.3.1", "neither :authority nor Host", block(&GET[..3])),
        ("8.3.1", "another Host than :authority", with(&GET, &[("host", "other.example.test")])),
        ("8.3.1", ":authority with a user", block(&[GET[0], GET[1], GET[2], (":authority", "a@bbb.example.test")])),
    ] {
        list.add(section, what, Wanted::Malformed, &[asked(&fields)]);
    }
    list.add("8.2.2", "TE: trailers", Wanted::Answer, &[asked(&with(&GET, &[("te", "trailers")]))]);
    list.add(
        "8.2.3",
        "cookies in crumbs",
        Wanted::Answer,
        &[asked(&with(&GET, &[("cookie", "a=b"), ("cookie", "c=d")]))],
    );
    list.add(
        "8.3.1",
        "Host instead of :authority",
        Wanted::Answer,
        &[asked(&with(&GET[..3], &[("host", "bbb.example.test")]))],
    );
    let long = |length: &'static str| frame(HEADERS, END_HEADERS, 1, &with(&POST, &[("content-length", length)]));
    list.add(
        "8.1.1",
        "a shorter body than announced",
        Wanted::Malformed,
        &[long("5"), frame(DATA, END_STREAM, 1, b"test")],
    );
    list.add(
        "8.1.1",
        "a longer body than announced",
        Wanted::Malformed,
        &[long("1"), frame(DATA, END_STREAM, 1, b"test")],
    );
    list.add(
        "8.1.1",
        "a longer body in pieces than announced",
        Wanted::Malformed,
        &[long("5"), frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test")],
    );
    list.add(
        "8.1.1",
        "a length that is no number",
        Wanted::Malformed,
        &[long("five"), frame(DATA, END_STREAM, 1, b"test")],
    );
    unread(list);
}

/// The same where nobody reads the body: the answer is known before it has come.
fn unread(list: &mut List) {
    for (path, what) in [
        ("/livez", ["/livez, shorter", "/livez, longer", "/livez, longer in pieces"]),
        ("/bigbluebutton/api/create", ["create, shorter", "create, longer", "create, longer in pieces"]),
        ("/bigbluebutton/api", ["index, shorter", "index, longer", "index, longer in pieces"]),
    ] {
        let post = [POST[0], POST[1], (":path", path), POST[3]];
        let long = |length| frame(HEADERS, END_HEADERS, 1, &with(&post, &[("content-length", length)]));
        let data = |flags| frame(DATA, flags, 1, b"test");
        list.add("8.1.1", what[0], Wanted::Malformed, &[long("5"), data(END_STREAM)]);
        list.add("8.1.1", what[1], Wanted::Malformed, &[long("1"), data(END_STREAM)]);
        list.add("8.1.1", what[2], Wanted::Malformed, &[long("5"), data(0), data(END_STREAM)]);
    }
}

/// RFC 7541, where it decides what a connection may be.
fn compression(list: &mut List) {
    let behind = |bytes: &[u8]| asked(&[&block(&GET)[..], bytes].concat());
    list.add("H2.3.3", "an index beyond the tables", COMPRESSION, &[behind(&[0xc6])]);
    list.add("H6.1", "index 0", COMPRESSION, &[behind(&[0x80])]);
    list.add("H2.3.3", "a name beyond the tables", COMPRESSION, &[behind(&[0x7e, 1, b'a'])]);
    list.add("H4.2", "a change of the table's size behind a field", COMPRESSION, &[behind(&[0x20])]);
    list.add(
        "H6.3",
        "a larger table than allowed",
        COMPRESSION,
        &[asked(&[&[0x3f, 0xe2, 0x1f][..], &block(&GET)].concat())],
    );
    list.add("H6.3", "a smaller table", Wanted::Answer, &[asked(&[&[0x20][..], &block(&GET)].concat())]);
    list.add("H5.1", "a number without end", COMPRESSION, &[behind(&[&[0xff][..], &[0xff; 16], &[0]].concat())]);
    list.add("H5.2", "a string longer than its block", COMPRESSION, &[behind(&[0, 5, b'a'])]);
    list.add(
        "H5.2",
        "padding of a whole byte",
        COMPRESSION,
        &[behind(&[0, 3, b'x', b'-', b'a', 0x84, 0x1c, 0x64, 0xff, 0xff])],
    );
    list.add("H5.2", "padding that is not of ones", COMPRESSION, &[behind(&[0, 3, b'x', b'-', b'a', 0x81, 0x18])]);
    list.add(
        "H5.2",
        "the end of a string within it",
        COMPRESSION,
        &[behind(&[0, 3, b'x', b'-', b'a', 0x84, 0xff, 0xff, 0xff, 0xff])],
    );
    list.add(
        "H6.2.1",
        "a field that is remembered and used",
        Wanted::Answer,
        &[behind(&[0x40, 3, b'x', b'-', b'a', 1, b'b', 0xbe])],
    );
}
