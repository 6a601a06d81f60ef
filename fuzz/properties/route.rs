//! What must hold for every request head: target, host, client address and route (src/proxy/request.rs, route.rs).
//!
//! An input is the target in its first line and a header in each further one; a first byte `!` makes the peer one of the
//! trusted proxies.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use pingora::http::RequestHeader;
use usher::bbb::Call;
use usher::proxy::{Request, Route};

const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

pub fn check(data: &[u8]) {
    if let Ok(path) = std::str::from_utf8(data) {
        routes_only_the_plain_spelling(path);
    }
    let (is_trusted, text) = match data {
        [b'!', rest @ ..] => (true, rest),
        _ => (false, data),
    };
    let peer: SocketAddr = if is_trusted { "10.0.0.1:5" } else { "192.0.2.1:5" }.parse().expect("an address");
    let mut lines = text.split(|&byte| byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let headers: Vec<(&str, &[u8])> = lines.filter_map(header).collect();
    let Some(head) = head(target, &headers) else { return };
    let Some(request) = Request::read(&head, Some(peer), &trusted()) else { return };
    splits_the_target(target, &request);
    routes_only_the_plain_spelling(request.path);
    names_a_host(&request, target);
    believes_trusted_proxies_only(target, &headers, peer, &request);
}

fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
}

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).to_vec()
}

/// The head as the server's parser hands it over; `None` if it would have refused.
fn head(target: &[u8], headers: &[(&str, &[u8])]) -> Option<RequestHeader> {
    let is_sent = |byte: u8| byte > b' ' && byte != 0x7f;
    if target.is_empty() || !target.iter().all(|&byte| is_sent(byte)) {
        return None;
    }
    let mut head = RequestHeader::build("GET", target, None).ok()?;
    for (name, value) in headers {
        head.append_header((*name).to_owned(), *value).ok()?;
    }
    Some(head)
}

/// Several slashes as one.
fn merged(path: &str) -> String {
    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    merged
}

/// A call is reached by exactly one spelling of its path but for slashes, and that spelling needs no decoding.
fn routes_only_the_plain_spelling(path: &str) {
    let route = Route::of(path);
    assert!(["api", "health", "landing", "challenge", "none"].contains(&route.label()));
    let (tenant, segment) = match route {
        Route::Api { tenant, segment } => (tenant, segment),
        Route::Livez => return assert_eq!(path, "/livez"),
        Route::Readyz => return assert_eq!(path, "/readyz"),
        Route::Landing => return assert_eq!(path, "/"),
        Route::Challenge(token) => return assert_eq!(path, format!("/.well-known/acme-challenge/{token}")),
        Route::Nothing => return,
        Route::Client => panic!("only the edge knows servers"),
    };
    let base = match tenant {
        Some(tenant) => {
            assert!(!tenant.contains('/'));
            format!("/t/{tenant}/bigbluebutton")
        }
        None => "/bigbluebutton".to_owned(),
    };
    let merged_path = merged(path);
    let path = match segment {
        "" => merged_path.as_str(),
        _ => merged_path.trim_end_matches('/'),
    };
    match Call::from_segment(segment) {
        Call::Index => assert!(["", "/", "/api", "/api/"].contains(&path.strip_prefix(&base).expect("its base"))),
        // Refused whatever stands behind.
        Call::Hooks | Call::Unknown => assert_eq!(path, merged(&format!("{base}/api/{segment}"))),
        call => {
            assert_eq!(path, format!("{base}/api/{}", call.name()));
            // A tenant is looked up by its plain name, so what needs decoding finds none.
            let behind = &path[base.len()..];
            let decoded: Vec<u8> = percent_encoding::percent_decode(behind.as_bytes()).collect();
            assert_eq!(decoded, behind.as_bytes());
            assert!(!behind.contains("//") && !behind.contains("/.") && !behind.contains([';', '\\', '%']));
        }
    }
}

/// Path and query are the target's own bytes, divided at the first question mark. A fragment, which no client sends, is
/// either part of them or gone.
fn splits_the_target(target: &[u8], request: &Request) {
    let fragment = target.iter().position(|&byte| byte == b'#').unwrap_or(target.len());
    let is_kept = request.path.contains('#') || request.query.contains(&b'#');
    let target = if is_kept { target } else { &target[..fragment] };
    assert!(!request.path.contains('?'));
    let with_query = [request.path.as_bytes(), b"?", request.query].concat();
    let is_whole = target.ends_with(&with_query);
    let has_none = request.query.is_empty() && (target.ends_with(request.path.as_bytes()) || request.path == "/");
    assert!(is_whole || has_none, "{:?} {:?}", request.path, String::from_utf8_lossy(request.query));
    if target.starts_with(b"/") {
        let mark = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
        assert_eq!(request.path.as_bytes(), &target[..mark]);
        assert_eq!(request.query, target.get(mark + 1..).unwrap_or_default());
    }
}

/// A host is what a tenant's host is compared with: lower case, no port, no user, no final dot.
fn names_a_host(request: &Request, target: &[u8]) {
    let host = &request.host;
    assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase()) && !host.contains('@') && !host.ends_with('.'));
    assert!(host.starts_with('[') || !host.contains(':'), "{host}");
    assert!(request.media_type.bytes().all(|byte| !byte.is_ascii_uppercase() && byte != b';'));
    if target.starts_with(b"/") {
        let peer: SocketAddr = "192.0.2.1:5".parse().expect("an address");
        let head = head(b"/", &[("host", host.as_bytes())]).expect("a host is a field's value");
        let again = Request::read(&head, Some(peer), &trusted()).map(|request| request.host);
        assert_eq!(again.as_ref(), Some(host), "normalising is stable");
    }
}

fn believes_trusted_proxies_only(target: &[u8], headers: &[(&str, &[u8])], peer: SocketAddr, request: &Request) {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!((1..=64).contains(&request.id.len()) && request.id.bytes().all(is_safe), "{}", request.id);
    let networks = trusted();
    let is_ours = |address: &IpAddr| networks.iter().any(|net| net.contains(address));
    if !is_ours(&peer.ip()) {
        assert_eq!(request.client, Some(peer.ip()));
        let is_forwarded = |name: &str| name.to_ascii_lowercase().starts_with("x-");
        let plain: Vec<(&str, &[u8])> = headers.iter().copied().filter(|(name, _)| !is_forwarded(name)).collect();
        let head = head(target, &plain).expect("fewer headers are no worse");
        let without = Request::read(&head, Some(peer), &trusted()).expect("fewer headers are no worse");
        assert_eq!(without.host, request.host);
        return;
    }
    // From the last to the first: our own proxies are passed over, the first stranger is the client, and where what cannot
    // be read stands is nobody.
    let is_list = |name: &str| name.eq_ignore_ascii_case("x-forwarded-for");
    if headers.iter().any(|(name, value)| is_list(name) && !is_visible(value)) {
        return;
    }
    let has_words = headers.iter().any(|(name, _)| is_list(name) || name.eq_ignore_ascii_case("forwarded"));
    if !has_words {
        return assert_eq!(request.client, Some(peer.ip()));
    }
    let mut expected = None;
    let chain: Vec<String> = headers
        .iter()
        .filter(|(name, _)| is_list(name))
        .flat_map(|(_, value)| String::from_utf8_lossy(value).split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for part in chain.iter().rev().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        // Quotes, brackets and ports are for another test.
        let Ok(address) = part.parse::<IpAddr>() else {
            let is_decorated = part.contains([':', '[', '"']);
            return assert!(is_decorated || request.client == Some(NOBODY), "{part}");
        };
        expected = Some(address.to_canonical());
        if expected.is_some_and(|address| !is_ours(&address)) {
            break;
        }
    }
    if let Some(expected) = expected {
        assert_eq!(request.client, Some(expected));
    }
}

fn is_visible(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}
