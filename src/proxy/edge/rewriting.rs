//! Path mode: where an answer leads, and which cookies it sets.
//!
//! Redirects and cookies are put under the server's prefix, so that the browser keeps the servers' sessions apart
//! (bbb-http-surface.md section 3.4 B, trap 3). The server is written in many ways: by its own address, by a path, and by
//! the name that the browser has called, which it knows from `Host`.

use url::{Position, Url};

use super::find::Way;

/// A redirect as the browser must follow it: where it leads at the server, it leads under the server's prefix.
///
/// Browsers read more than RFC 3986 has: backslashes are slashes, tabs are nothing, dots climb. What is not plain is read by
/// the same rules (the URL standard) and written anew.
pub fn location(value: &[u8], way: &Way<'_>, public_base: &str) -> Vec<u8> {
    let Some(prefix) = way.prefix else { return value.to_vec() };
    let is_path = |rest: &&[u8]| matches!(rest, [] | [b'/' | b'?' | b'#', ..]);
    if let Some(rest) = value.strip_prefix(way.place.origin.as_bytes()).filter(is_path).filter(|rest| is_plain(rest)) {
        return [public_base.as_bytes(), &under(rest, way, prefix)].concat();
    }
    match value {
        [b'/', rest @ ..] if !matches!(rest, [b'/', ..]) && is_plain(value) => under(value, way, prefix),
        _ => resolved(value, way, prefix, public_base).unwrap_or_else(|| value.to_vec()),
    }
}

/// Every reader finds the same path in it: nothing climbs, and nothing is dropped or taken for something else.
fn is_plain(rest: &[u8]) -> bool {
    let is_usual = |byte: &u8| matches!(byte, b'!'..=b'~' | 0x80..) && *byte != b'\\';
    rest.iter().all(is_usual)
        && memchr::memmem::find(rest, b"/.").is_none()
        && !rest.windows(3).any(|three| three.eq_ignore_ascii_case(b"%2e"))
}

/// The same for what is not plain; `None` if it stays as it is: it leads elsewhere, or it is relative and stays where the
/// browser is.
fn resolved(value: &[u8], way: &Way<'_>, prefix: &str, public_base: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let asked = Url::parse(&[&way.place.origin, &way.place.base, way.path].concat()).ok()?;
    let target = asked.join(text).ok()?;
    if target.origin() != asked.origin() && !is_browsers(&target, way, public_base) {
        return None;
    }
    let path = under(target[Position::BeforePath..].as_bytes(), way, prefix);
    let mut letters = text.trim_start_matches(|letter| letter <= ' ').chars().filter(|letter| *letter != '\t');
    let is_slash = |letter: Option<char>| matches!(letter, Some('/' | '\\'));
    let is_absolute = match letters.next() {
        first if is_slash(first) => is_slash(letters.next()),
        _ => Url::parse(text).is_ok(),
    };
    if is_absolute {
        return Some([public_base.as_bytes(), &path].concat());
    }
    // Relative, and no step leads out of the prefix.
    let is_relative = is_plain(value) && !value.contains(&b':') && !matches!(value, [b'/' | b'.', ..]);
    let stays = is_relative && way.path != "/";
    (!stays).then_some(path)
}

/// What a BBB server mounts, by the first segment (bbb-http-surface.md section 1). Everything else at the browser's own host
/// may be a front end's.
const MOUNTED: [&str; 27] = [
    "api",
    "bbb-exporter",
    "bbb-webrtc-sfu",
    "bigbluebutton",
    "default.pdf",
    "favicon.ico",
    "graphql",
    "hocuspocus",
    "html5Log",
    "html5client",
    "images",
    "learning-analytics-dashboard",
    "learning-dashboard",
    "livekit",
    "notes",
    "pad",
    "playback",
    "plugins",
    "podcast",
    "presentation",
    "presentation_export",
    "recording",
    "slides",
    "static",
    "verto",
    "video",
    "ws",
];

/// Whether it is the server under the name that the browser has called it by: the server's nginx makes whole addresses of
/// `Host` and of its own idea of scheme and port.
fn is_browsers(target: &Url, way: &Way<'_>, public_base: &str) -> bool {
    let is_web = matches!(target.scheme(), "http" | "https");
    let is_one = |own: &Url| {
        let port = target.port();
        let is_port = port.is_none() || port == own.port() || port == Some(way.place.destination.port);
        is_port && target.host() == own.host()
    };
    let called = || Url::parse(&["http://", way.host].concat()).ok();
    let is_name = || Url::parse(public_base).is_ok_and(|own| is_one(&own)) || called().is_some_and(|own| is_one(&own));
    let first_of = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    let first = first_of(target.path());
    let is_prefix = way.prefix.is_some_and(|prefix| prefix[1..] == first);
    let is_servers = || is_prefix || MOUNTED.contains(&first.as_str()) || first == first_of(way.path);
    is_web && !first.is_empty() && is_servers() && is_name()
}

/// The address in a `Refresh`, which is a redirect too.
pub fn refresh(value: &[u8], way: &Way<'_>, public_base: &str) -> Vec<u8> {
    let Some(mark) = value.iter().position(|byte| matches!(byte, b';' | b',')) else { return value.to_vec() };
    let mut target = value[mark + 1..].trim_ascii_start();
    if target.get(..3).is_some_and(|word| word.eq_ignore_ascii_case(b"url"))
        && let Some(rest) = target[3..].trim_ascii_start().strip_prefix(b"=")
    {
        target = rest.trim_ascii_start();
    }
    let quote = target.first().copied().filter(|byte| matches!(byte, b'"' | b'\''));
    let begin = value.len() - target.len() + usize::from(quote.is_some());
    let length = quote.and_then(|quote| value[begin..].iter().position(|byte| *byte == quote));
    let end = begin + length.unwrap_or(value.len() - begin);
    if begin == end {
        return value.to_vec();
    }
    [&value[..begin], &location(&value[begin..end], way, public_base), &value[end..]].concat()
}

/// A path of the server as a path of ours.
fn under(path: &[u8], way: &Way<'_>, prefix: &str) -> Vec<u8> {
    if is_below(path, prefix) {
        return path.to_vec();
    }
    let base = way.place.base.as_str();
    let path = if is_below(path, base) { &path[base.len()..] } else { path };
    let slash: &[u8] = if path.first() == Some(&b'/') { b"" } else { b"/" };
    [prefix.as_bytes(), slash, path].concat()
}

fn is_below(path: &[u8], folder: &str) -> bool {
    path.strip_prefix(folder.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/' | b'?' | b'#', ..]))
}

/// The same for the path of a cookie, in which only slashes mean something.
fn cookie_path(path: &[u8], way: &Way<'_>, prefix: &str) -> Vec<u8> {
    let behind = |folder: &str| path.strip_prefix(folder.as_bytes()).filter(|rest| matches!(rest, [] | [b'/', ..]));
    if behind(prefix).is_some() {
        return path.to_vec();
    }
    let rest = behind(&way.place.base).unwrap_or(path);
    [prefix.as_bytes(), if rest.is_empty() { b"/" } else { rest }].concat()
}

/// A cookie that belongs to one server: its path lies under the prefix, and it names no other host.
pub fn cookie(value: &[u8], way: &Way<'_>) -> Vec<u8> {
    let Some(prefix) = way.prefix else { return value.to_vec() };
    let mut out = Vec::with_capacity(value.len() + prefix.len());
    for (position, part) in value.split(|&byte| byte == b';').enumerate() {
        let trimmed = part.trim_ascii();
        let split = trimmed.iter().position(|&byte| byte == b'=');
        let (name, given) = split.map_or((trimmed, &b""[..]), |at| (&trimmed[..at], &trimmed[at + 1..]));
        if position > 0 && name.trim_ascii().eq_ignore_ascii_case(b"domain") {
            continue;
        }
        if position > 0 {
            out.extend_from_slice(b";");
        }
        let given = given.trim_ascii();
        if position > 0 && name.trim_ascii().eq_ignore_ascii_case(b"path") && given.first() == Some(&b'/') {
            out.extend_from_slice(b" Path=");
            out.extend_from_slice(&cookie_path(given, way, prefix));
        } else {
            out.extend_from_slice(part);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::reply::tests::way;
    use super::*;

    #[test]
    fn redirects_stay_under_the_prefix() {
        let way = way(Some("/bbb1"));
        for (given, wanted) in [
            ("https://bbb1.example/html5client/?sessionToken=x", "https://p.example/bbb1/html5client/?sessionToken=x"),
            ("https://bbb1.example", "https://p.example/bbb1/"),
            ("https://bbb1.example.evil/x", "https://bbb1.example.evil/x"),
            ("https://p.example/bbb1/html5client/", "https://p.example/bbb1/html5client/"),
            ("/pad/p/x", "/bbb1/pad/p/x"),
            ("/bbb1/html5client/", "/bbb1/html5client/"),
            ("/bbb12/x", "/bbb1/bbb12/x"),
            ("//elsewhere/x", "//elsewhere/x"),
            ("../x", "/bbb1/x"),
            ("https://moodle.example/", "https://moodle.example/"),
            // As browsers read it.
            ("HTTPS://BBB1.Example:443/x?y=//../#z", "https://p.example/bbb1/x?y=//../#z"),
            ("https://bbb1.example/a/../../x", "https://p.example/bbb1/x"),
            ("/a/%2E%2e/x", "/bbb1/x"),
            ("/../x", "/bbb1/x"),
            ("\\x", "/bbb1/x"),
            ("/\t/elsewhere/x", "/\t/elsewhere/x"),
            ("\\\\bbb1.example\\x", "https://p.example/bbb1/x"),
            ("//bbb1.example/x", "https://p.example/bbb1/x"),
            ("x/y?z", "/bbb1/x/y?z"),
            ("https:/x", "https://p.example/bbb1/x"),
            ("javascript:alert(1)", "javascript:alert(1)"),
            // As the server's nginx writes them, with the browser's own host.
            ("https://p.example/playback/x/", "https://p.example/bbb1/playback/x/"),
            ("http://p.example/playback/x/?a=b#c", "https://p.example/bbb1/playback/x/?a=b#c"),
            ("http://p.example:80/pad/", "https://p.example/bbb1/pad/"),
            ("https://p.example:443/bigbluebutton/", "https://p.example/bbb1/bigbluebutton/"),
            ("HTTP://P.Example/html5client/", "https://p.example/bbb1/html5client/"),
            ("//p.example/presentation/x/", "https://p.example/bbb1/presentation/x/"),
            ("//P.EXAMPLE:443/presentation/x", "https://p.example/bbb1/presentation/x"),
            ("\\\\p.example\\pad\\", "https://p.example/bbb1/pad/"),
            ("http://p.example/bbb1/pad/", "https://p.example/bbb1/pad/"),
            ("https://p.example/x/../playback/y/", "https://p.example/bbb1/playback/y/"),
            // Not the server's: our own page, a front end beside us, another service.
            ("https://p.example/", "https://p.example/"),
            ("https://p.example/?errors=x", "https://p.example/?errors=x"),
            ("https://p.example/moodle/mod/view.php", "https://p.example/moodle/mod/view.php"),
            ("https://p.example:8443/playback/x", "https://p.example:8443/playback/x"),
            ("https://p.example.evil/playback/x", "https://p.example.evil/playback/x"),
            ("ftp://p.example/playback/x", "ftp://p.example/playback/x"),
        ] {
            assert_eq!(String::from_utf8(location(given.as_bytes(), &way, "https://p.example")).unwrap(), wanted);
        }
    }

    #[test]
    fn the_name_that_the_browser_uses_may_be_another() {
        let way = Way { host: "alias.example:8443", path: "/own/thing", ..way(Some("/bbb1")) };
        for (given, wanted) in [
            ("http://alias.example/playback/x/", "https://p.example/bbb1/playback/x/"),
            ("https://alias.example:8443/playback/x/", "https://p.example/bbb1/playback/x/"),
            ("http://p.example/playback/x/", "https://p.example/bbb1/playback/x/"),
            ("http://alias.example/own/thing/", "https://p.example/bbb1/own/thing/"),
            ("https://alias.example:9000/playback/x/", "https://alias.example:9000/playback/x/"),
            ("http://other.example/playback/x/", "http://other.example/playback/x/"),
        ] {
            assert_eq!(String::from_utf8(location(given.as_bytes(), &way, "https://p.example")).unwrap(), wanted);
        }
    }

    #[test]
    fn a_refresh_is_a_redirect() {
        let way = way(Some("/bbb1"));
        for (given, wanted) in [
            ("5", "5"),
            ("5;", "5;"),
            ("0;url=/pad/x", "0;url=/bbb1/pad/x"),
            ("0; URL = http://p.example/pad/x", "0; URL = https://p.example/bbb1/pad/x"),
            ("0, url='/pad/x' y", "0, url='/bbb1/pad/x' y"),
            ("0; url=\"//p.example/pad/x\"", "0; url=\"https://p.example/bbb1/pad/x\""),
            ("0; /pad/x", "0; /bbb1/pad/x"),
            ("0; url=https://elsewhere.example/", "0; url=https://elsewhere.example/"),
            ("0; url='/pad/x", "0; url='/bbb1/pad/x"),
            ("0; url=", "0; url="),
            ("0; url=''", "0; url=''"),
        ] {
            assert_eq!(String::from_utf8(refresh(given.as_bytes(), &way, "https://p.example")).unwrap(), wanted);
        }
    }

    #[test]
    fn cookies_belong_to_their_server() {
        let way = way(Some("/bbb1"));
        for (given, wanted) in [
            ("JSESSIONID=a; Path=/; HttpOnly", "JSESSIONID=a; Path=/bbb1/; HttpOnly"),
            ("a=b;path=/pad;Secure", "a=b; Path=/bbb1/pad;Secure"),
            ("a=b; Domain=bbb1.example; Path=/", "a=b; Path=/bbb1/"),
            ("a=b", "a=b"),
            ("path=/x; HttpOnly", "path=/x; HttpOnly"),
            ("a=b; Path=relative", "a=b; Path=relative"),
            ("a=b; Path=/bbb1?x", "a=b; Path=/bbb1/bbb1?x"),
        ] {
            assert_eq!(String::from_utf8(cookie(given.as_bytes(), &way)).unwrap(), wanted);
        }
    }
}
