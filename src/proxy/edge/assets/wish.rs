//! Which requests may be answered from memory, and what they ask for.

use super::words;
use crate::bbb::Method;
use crate::config::{Coding, Config, EdgeMode};
use crate::proxy::edge::find::CLIENT;
use crate::proxy::edge::{Way, coding};
use crate::proxy::request::Request;

/// Endings of what is kept. Compressed, all of them together are some 5 MB of a server.
const ENDINGS: [&str; 23] = [
    "js", "mjs", "css", "json", "wasm", "woff2", "woff", "ttf", "otf", "eot", "svg", "png", "jpg", "jpeg", "gif",
    "webp", "ico", "mp3", "wav", "ogg", "tflite", "data", "bin",
];
const LONGEST_QUERY: usize = 100;

/// What a request says of the file it wants.
pub struct Wish<'r> {
    pub key: Key,
    pub none_match: Option<&'r [u8]>,
    pub modified_since: Option<&'r [u8]>,
    pub is_immutable: bool,
}

/// Under which it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Of the server and its build.
    place: u64,
    pub accepts: Accepts,
    pub target: String,
}

/// What the browser can decompress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accepts {
    gzip: bool,
    brotli: bool,
}

impl Accepts {
    /// Whether an answer with this `Content-Encoding` can be read.
    pub fn coding(self, value: &[u8]) -> bool {
        match value.trim_ascii().to_ascii_lowercase().as_slice() {
            b"gzip" => self.gzip,
            b"br" => self.brotli,
            b"identity" => true,
            _ => false,
        }
    }
}

/// The file that the request asks for, if it is one that may be kept.
pub fn wish<'r>(request: &Request<'r>, way: &Way<'r>, config: &Config) -> Option<Wish<'r>> {
    let is_on = config.edge.asset_cache > 0 && config.edge.mode == EdgeMode::Path;
    if !is_on || !matches!(request.method, Method::Get | Method::Head) || request.has_body() || request.is_old {
        return None;
    }
    let path = request.path.strip_prefix(way.prefix?)?.strip_prefix(CLIENT)?;
    // Who asks under another name may get another answer.
    let is_ours = config.listen.public_url.host_str() == Some(&*request.host);
    if !is_ours || !is_file(path) || !is_plain_query(request.query) {
        return None;
    }
    let (mut accept, mut is_own) = (Vec::new(), false);
    let (mut none_match, mut modified_since) = (None, None);
    request.lines.each(|name, value| {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            5 if is("range") => is_own = true,
            6 if is("pragma") => is_own = true,
            8 if is("if-range") || is("if-match") => is_own = true,
            13 if is("authorization") => is_own = true,
            13 if is("if-none-match") => none_match = Some(value),
            13 if is("cache-control") => is_own |= words(value).any(|word| matches!(word, b"no-cache" | b"no-store")),
            15 if is("accept-encoding") => accept.push(value),
            15 if is("x-session-token") => is_own = true,
            17 if is("if-modified-since") => modified_since = Some(value),
            19 if is("if-unmodified-since") => is_own = true,
            _ => {}
        }
    });
    if is_own {
        return None;
    }
    let accepts = |coding| coding::accepts(accept.iter().copied(), coding);
    let accepts = Accepts { gzip: accepts(Coding::Gzip), brotli: accepts(Coding::Brotli) };
    let query = std::str::from_utf8(request.query).ok()?;
    let mark = if query.is_empty() { "" } else { "?" };
    let target = [request.path, mark, query].concat();
    let key = Key { place: way.place.build, accepts, target };
    Some(Wish { key, none_match, modified_since, is_immutable: is_immutable(path) })
}

/// A path that means one file to everybody: nothing to decode, nothing to climb.
fn is_file(path: &str) -> bool {
    let is_plain =
        path.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_'));
    let ending = path.rsplit_once('.').map(|(_, ending)| ending);
    is_plain
        && path.starts_with('/')
        && !path.contains("..")
        && !path.contains("//")
        && ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// A version at most, and nobody's token.
fn is_plain_query(query: &[u8]) -> bool {
    let is_plain =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'=' | b'&' | b'.' | b'-' | b'_');
    query.len() <= LONGEST_QUERY
        && query.iter().all(is_plain)
        && !query.windows(5).any(|part| part.eq_ignore_ascii_case(b"token"))
}

/// Bundlers put a hash of the content into the name.
fn is_immutable(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_hash = |part: &str| {
        part.len() >= 8
            && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            && part.bytes().any(|byte| byte.is_ascii_digit())
    };
    name.split(['.', '-', '_']).any(is_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_paths() {
        for (path, is) in [
            ("/main.js", true),
            ("/locales/en.json", true),
            ("/fonts/icons/bbb-icons.woff2", true),
            ("/", false),
            ("/index.html", false),
            ("/sockjs/info", false),
            ("/a/../b.js", false),
            ("/a//b.js", false),
            ("/a%2e.js", false),
            ("/a;b.js", false),
            ("/js", false),
            ("main.js", false),
            ("", false),
        ] {
            assert_eq!(is_file(path), is, "{path}");
        }
    }

    #[test]
    fn queries_of_sessions_are_not_kept() {
        for (query, is) in [
            ("", true),
            ("v=3.0.4", true),
            ("hash=0a1b&meteor_js_resource=true", true),
            ("sessionToken=abc", false),
            ("SESSIONTOKEN=abc", false),
            ("a=%73", false),
            (&"a".repeat(LONGEST_QUERY + 1), false),
        ] {
            assert_eq!(is_plain_query(query.as_bytes()), is, "{query}");
        }
    }

    #[test]
    fn names_made_from_content() {
        for (path, is) in [
            ("/main.3f2a9b7c1d.js", true),
            ("/0123456789abcdef0123456789abcdef01234567.css", true),
            ("/chunk-1a2b3c4d.js", true),
            ("/main.js", false),
            ("/deadbeef.js", false),
            ("/adapter-7.7.1.js", false),
            ("/3f2a9b7c1d/main.js", false),
        ] {
            assert_eq!(is_immutable(path), is, "{path}");
        }
    }
}
