//! What must hold for every redirect and every cookie of a server in path mode (src/proxy/edge/rewriting.rs): where a redirect
//! leads at the server, it leads under the server's prefix; and a cookie is the same but for its path and domain. The judges
//! are the URL standard, asked from the server's and from the browser's side, and a reader of cookies by RFC 6265.
//!
//! An input is one letter for the request's path, and the value. A value that a head cannot carry is none.

use std::sync::{Arc, LazyLock};

use url::Url;
use usher::ids::{Secret, ServerId};
use usher::proxy::edge::rewriting::{cookie, location, refresh};
use usher::proxy::edge::{Place, Way};
use usher::store::ServerRecord;

const SITE: &str = "https://p.example";
const PREFIX: &str = "/bbb1";

pub fn check(data: &[u8]) {
    let Some((&first, value)) = data.split_first() else { return };
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) || value.trim_ascii() != value {
        return;
    }
    let (place, path) = match first {
        b'a'..=b'm' => (&*AT_ROOT, "/"),
        b'n'..=b'z' => (&*AT_ROOT, "/html5client/x/index.html"),
        _ => (&*BELOW, "/html5client/"),
    };
    let way = Way { place: place.clone(), path, prefix: Some(PREFIX), host: "p.example" };
    leads_to_the_same(value, &way);
    is_the_same_cookie(value, &way);
    let refreshed = refresh(&[b"0; url=", value].concat(), &way, SITE);
    let is_quoted = matches!(value.first(), Some(b'"' | b'\''));
    assert!(is_quoted || value.is_empty() || refreshed == [b"0; url=", &location(value, &way, SITE)[..]].concat());
    let elsewhere = Way { place: place.clone(), path, prefix: None, host: "p.example" };
    assert!(location(value, &elsewhere, SITE) == value && cookie(value, &elsewhere) == value, "without a prefix");
}

static AT_ROOT: LazyLock<Arc<Place>> = LazyLock::new(|| place("https://bbb1.example/bigbluebutton/api/"));
static BELOW: LazyLock<Arc<Place>> = LazyLock::new(|| place("https://bbb1.example:8443/b/bigbluebutton/api/"));

fn place(url: &str) -> Arc<Place> {
    let record =
        ServerRecord { id: ServerId(1), ..ServerRecord::new("bbb1".to_owned(), url.to_owned(), Secret::new("s")) };
    Arc::new(Place::new(Arc::new(record), None).expect("a place"))
}

fn leads_to_the_same(value: &[u8], way: &Way<'_>) {
    let rewritten = location(value, way, SITE);
    let (Ok(value), Ok(rewritten)) = (std::str::from_utf8(value), std::str::from_utf8(&rewritten)) else { return };
    let base = &way.place.base;
    let at_server = Url::parse(&[&way.place.origin, base, way.path].concat()).expect("a URL");
    let at_site = Url::parse(&[SITE, PREFIX, way.path].concat()).expect("a URL");
    let (wanted, found) = (at_server.join(value), at_site.join(rewritten));
    let Ok(wanted) = wanted else {
        assert_eq!(rewritten, value, "what leads nowhere stays");
        return;
    };
    let found = found.expect("it still leads somewhere");
    // The browser's own host is the server too, for what the server mounts.
    if wanted.host() == at_site.host() && rewritten != value {
        let found = found.as_str().replacen(PREFIX, "", 1);
        let is_web = matches!(wanted.scheme(), "http" | "https");
        assert!(is_web && found.starts_with(SITE) && wanted.path() != "/", "{value:?} became {rewritten:?}");
        return;
    }
    if wanted.origin() != at_server.origin() {
        assert_eq!((rewritten, found), (value, wanted), "what leads elsewhere stays");
        return;
    }
    assert_eq!(found.origin(), at_site.origin(), "{value:?} became {rewritten:?}");
    assert_eq!(found.path(), path_of_ours(wanted.path(), base), "{value:?} became {rewritten:?}");
    assert_eq!(
        (found.query(), found.fragment()),
        (wanted.query(), wanted.fragment()),
        "{value:?} became {rewritten:?}"
    );
}

fn path_of_ours(path: &str, base: &str) -> String {
    let is_below =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_below(PREFIX) {
        return path.to_owned();
    }
    let rest = if is_below(base) { &path[base.len()..] } else { path };
    if rest.is_empty() { format!("{PREFIX}/") } else { format!("{PREFIX}{rest}") }
}

/// A cookie as browsers read it (RFC 6265, section 5.2), attributes in order.
struct Cookie<'a> {
    pair: &'a [u8],
    attributes: Vec<(Vec<u8>, &'a [u8])>,
}

impl<'a> Cookie<'a> {
    fn read(value: &'a [u8]) -> Self {
        let mut parts = value.split(|&byte| byte == b';');
        let pair = parts.next().unwrap_or_default();
        let attributes = parts.map(|part| {
            let at = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
            let value = part.get(at + 1..).unwrap_or_default();
            (trim(&part[..at]).to_ascii_lowercase(), trim(value))
        });
        Self { pair, attributes: attributes.collect() }
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().take_while(|byte| is_space(byte)).count();
    let end = text[begin..].iter().rev().take_while(|byte| is_space(byte)).count();
    &text[begin..text.len() - end]
}

fn is_the_same_cookie(value: &[u8], way: &Way<'_>) {
    let rewritten = cookie(value, way);
    let (before, after) = (Cookie::read(value), Cookie::read(&rewritten));
    assert_eq!(before.pair, after.pair, "name and value are the server's own");
    let wanted = before.attributes.iter().filter(|(name, _)| name != b"domain").map(|(name, value)| {
        let is_path = name == b"path" && value.first() == Some(&b'/');
        (name.clone(), if is_path { cookie_path(value, &way.place.base) } else { value.to_vec() })
    });
    let found = after.attributes.iter().map(|(name, value)| (name.clone(), value.to_vec()));
    assert_eq!(wanted.collect::<Vec<_>>(), found.collect::<Vec<_>>(), "{:?}", String::from_utf8_lossy(&rewritten));
}

fn cookie_path(path: &[u8], base: &str) -> Vec<u8> {
    let is_below =
        |folder: &str| path.strip_prefix(folder.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    if is_below(PREFIX) {
        return path.to_vec();
    }
    let rest = if is_below(base) { &path[base.len()..] } else { path };
    let rest: &[u8] = if rest.is_empty() { b"/" } else { rest };
    [PREFIX.as_bytes(), rest].concat()
}
