//! What arrived: a bounded record of requests, sockets and uploads, so that a test can say which server was asked what,
//! how often, and what a proxy made of it on the way.
//!
//! Holds queries with their checksums: for tests only, never for a log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use hyper::header::{COOKIE, HeaderMap};

use crate::clock::Millis;

/// One request that was read completely, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCall {
    /// `create`, `hooks/list`, …; `index` for the version call; the path for anything outside the API.
    pub call: String,
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// The query as it arrived, without `?`.
    pub raw_query: String,
    /// Bytes of the body.
    pub body_length: usize,
    pub content_type: Option<String>,
    /// Every header but cookies, names in lower case, in order of arrival.
    pub headers: Vec<(String, String)>,
    /// Names of the cookies; their values are secrets.
    pub cookies: Vec<String>,
    pub at: Millis,
    /// What the PROXY header of its connection said, on a port that demands one: an address, or that it has none.
    pub announced: Option<Option<SocketAddr>>,
}

impl SeenCall {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// One WebSocket that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSocket {
    pub path: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// As in `SeenCall`; what a client says about itself (`User-Id`, …) is here.
    pub headers: Vec<(String, String)>,
    pub cookies: Vec<String>,
    /// Who it is, as nginx on the server says it to the service (`User-Id`), overwriting what the client said.
    pub user_id: Option<String>,
    pub meeting_id: Option<String>,
    /// The session token of the first message of a GraphQL socket.
    pub token: Option<String>,
    pub texts: u64,
    pub binaries: u64,
    pub pings: u64,
    pub pongs: u64,
    /// Payload bytes of all messages.
    pub bytes: u64,
    pub is_open: bool,
    /// The code of the close frame that the other side sent first or answered with.
    pub close_code: Option<u16>,
}

impl SeenSocket {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// One presentation that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenUpload {
    pub token: String,
    /// The declared length; `None` for a chunked body.
    pub content_length: Option<u64>,
    pub is_chunked: bool,
    /// Bytes of the body so far; none if it was refused before the body.
    pub bytes: u64,
    /// Reads in which they came. More than a few, and the first one while the client was still sending: it streamed.
    pub pieces: u64,
    /// When the header, the first byte and the last one had come.
    pub asked_at: Millis,
    pub first_byte_at: Option<Millis>,
    pub complete_at: Option<Millis>,
    /// The status decided before the body.
    pub status: u16,
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Headers and names of cookies, as the records keep them.
pub(super) fn headers_and_cookies(headers: &HeaderMap) -> (Vec<(String, String)>, Vec<String>) {
    let (cookies, others): (Vec<_>, Vec<_>) = headers.iter().partition(|(name, _)| *name == COOKIE);
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let kept = others.into_iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let pairs: Vec<String> = cookies.into_iter().map(|(_, value)| text(value)).collect();
    let names = pairs.iter().flat_map(|pairs| pairs.split(';'));
    let names = names.map(|pair| pair.split('=').next().unwrap_or_default().trim().to_owned());
    (kept, names.collect())
}

/// Requests, sockets and uploads kept; older ones are only counted.
const KEPT: usize = 10_000;

/// The record; counts are exact, the lists are bounded.
#[derive(Default)]
pub(super) struct Seen {
    latest: VecDeque<SeenCall>,
    counts: HashMap<String, u64>,
    /// By number, so in the order of opening.
    sockets: BTreeMap<u64, SeenSocket>,
    uploads: BTreeMap<u64, SeenUpload>,
    /// Faults for single sockets.
    doomed: HashMap<u64, super::client::trouble::SocketFault>,
    number: u64,
}

impl Seen {
    pub(super) fn add(&mut self, seen: SeenCall) {
        *self.counts.entry(seen.call.clone()).or_default() += 1;
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(seen);
    }

    pub(super) fn latest(&self) -> Vec<SeenCall> {
        self.latest.iter().cloned().collect()
    }

    pub(super) fn count(&self, call: &str) -> u64 {
        self.counts.get(call).copied().unwrap_or(0)
    }

    /// What is finished is forgotten; what is open goes on being counted.
    pub(super) fn forget(&mut self) {
        self.latest.clear();
        self.counts.clear();
        self.sockets.retain(|_, socket| socket.is_open);
        self.uploads.retain(|_, upload| upload.complete_at.is_none() && upload.status == 200);
    }

    /// Gives the number by which it is found again.
    pub(super) fn open(&mut self, socket: SeenSocket) -> u64 {
        self.number += 1;
        if self.sockets.len() >= KEPT {
            let finished = self.sockets.iter().find(|(_, socket)| !socket.is_open).map(|(number, _)| *number);
            finished.and_then(|number| self.sockets.remove(&number));
        }
        self.sockets.insert(self.number, socket);
        self.number
    }

    pub(super) fn on_socket(&mut self, number: u64, change: impl FnOnce(&mut SeenSocket)) {
        if let Some(socket) = self.sockets.get_mut(&number) {
            change(socket);
        }
    }

    pub(super) fn sockets(&self) -> Vec<SeenSocket> {
        self.sockets.values().cloned().collect()
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.sockets.values().filter(|socket| socket.is_open).count()
    }

    /// Marks the open sockets below a path.
    pub(super) fn doom(&mut self, path: &str, fault: &super::client::trouble::SocketFault) {
        let meant = self.sockets.iter().filter(|(_, socket)| socket.is_open && socket.path.starts_with(path));
        let meant: Vec<u64> = meant.map(|(number, _)| *number).collect();
        self.doomed.extend(meant.into_iter().map(|number| (number, fault.clone())));
    }

    /// The mark of a socket, taken off.
    pub(super) fn take_doom(&mut self, number: u64) -> Option<super::client::trouble::SocketFault> {
        self.doomed.remove(&number)
    }

    pub(super) fn begin_upload(&mut self, upload: SeenUpload) -> u64 {
        self.number += 1;
        if self.uploads.len() >= KEPT {
            self.uploads.pop_first();
        }
        self.uploads.insert(self.number, upload);
        self.number
    }

    pub(super) fn on_upload(&mut self, number: u64, change: impl FnOnce(&mut SeenUpload)) {
        if let Some(upload) = self.uploads.get_mut(&number) {
            change(upload);
        }
    }

    pub(super) fn uploads(&self) -> Vec<SeenUpload> {
        self.uploads.values().cloned().collect()
    }
}
