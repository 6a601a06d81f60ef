//! Files that nginx serves from disk: the client with its hashed bundle and locales, dashboard, plugins
//! (bbb-http-surface.md section 1.2).
//!
//! Static means static: no session is looked at, and the page is there for any token and for none. nginx sends
//! validators only (`ETag`, `Last-Modified`), no lifetime.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::server::Shared;
use super::super::world::sha1_hex;
use super::gzip;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// All files of a build are made at one time.
const MADE: &str = "Mon, 02 Jun 2025 10:00:00 GMT";
const MADE_HEX: &str = "683d7600";
const LOCALES: [(&str, &str); 3] = [
    ("de.json", r#"{"app.chat.title":"Öffentlicher Chat"}"#),
    ("en.json", r#"{"app.chat.title":"Public Chat"}"#),
    ("fr.json", r#"{"app.chat.title":"Discussion publique"}"#),
];

/// `None` if there is no such file.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    let client = shared.client();
    let path = super::mounted(&client, &call.path);
    if let Some(file) = path.strip_prefix("/html5client/") {
        return shared.options.generation.has_graphql().then(|| client_file(&client.build, file, call)).flatten();
    }
    let is_dashboard = |path: &str| path == "/learning-analytics-dashboard/" || path == "/learning-dashboard/";
    match path {
        path if is_dashboard(path) => Some(file(call, "text/html", "<!doctype html><title>Learning dashboard</title>")),
        _ if path.starts_with("/plugins/") && call.method == Method::OPTIONS => {
            Some(Answer::empty(StatusCode::NO_CONTENT).with("Access-Control-Allow-Origin", "*"))
        }
        "/plugins/sample/manifest.json" => {
            let text = r#"{"requiredSdkVersion":"~0.0.95","name":"sample","javascriptEntrypointUrl":"sample.js"}"#;
            Some(file(call, "application/json", text).with("Access-Control-Allow-Origin", "*"))
        }
        "/default.pdf" => Some(file(call, "application/pdf", "%PDF-1.4 simulated")),
        "/" => Some(file(call, "text/html", "<!doctype html><title>BigBlueButton</title><h1>Welcome</h1>")),
        _ => None,
    }
}

/// Name of the script of a build.
pub(super) fn bundle(build: &str) -> String {
    format!("BigBlueButton.{}.js", &sha1_hex(build)[..20])
}

fn client_file(build: &str, name: &str, call: &Call) -> Option<Answer> {
    let hash = &sha1_hex(build)[..20];
    Some(match name {
        "" | "index.html" => file(call, "text/html", &PAGE.replace("{bundle}", &bundle(build)).replace("{hash}", hash)),
        "locales/" => file(call, "application/json", &listing()),
        // Names without a hash carry the build in the query, which nobody looks at.
        "stylesheets/page.css" => packed_file(call, "text/css", STYLE),
        "fonts/sample.woff" => file(call, "font/woff", &"f".repeat(4096)),
        "wasm/sample.wasm" => file(call, "application/wasm", "\0asm"),
        name if name == bundle(build) => packed_file(call, "application/javascript", SCRIPT),
        name => {
            let (_, text) = LOCALES.iter().find(|(locale, _)| name.strip_prefix("locales/") == Some(*locale))?;
            file(call, "application/json", text)
        }
    })
}

/// nginx's listing of a folder (`autoindex_format json`).
fn listing() -> String {
    let entry = |(name, text): &(&str, &str)| json!({"name": name, "type": "file", "mtime": MADE, "size": text.len()});
    serde_json::Value::from_iter(LOCALES.iter().map(entry)).to_string()
}

/// A file as nginx serves it: validators, 304 if the browser has it, one range.
pub(super) fn file(call: &Call, content_type: &str, content: &str) -> Answer {
    validated(call, content_type, content.as_bytes().to_vec())
}

/// The same for a file that lies packed beside itself (`gzip_static`). nginx does not say `Vary` (`gzip_vary` is off):
/// a cache that does not know by itself gives packed bytes to those who cannot unpack them.
fn packed_file(call: &Call, content_type: &str, content: &str) -> Answer {
    if !call.header("accept-encoding").is_some_and(|accepted| accepted.contains("gzip")) {
        return file(call, content_type, content);
    }
    validated(call, content_type, gzip::stored(content.as_bytes())).with("Content-Encoding", "gzip")
}

fn validated(call: &Call, content_type: &str, content: Vec<u8>) -> Answer {
    let etag = format!("\"{MADE_HEX}-{:x}\"", content.len());
    let is_same = |tags: &str| tags == "*" || tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let is_fresh = match call.header("if-none-match") {
        Some(tags) => is_same(tags),
        None => call.header("if-modified-since") == Some(MADE),
    };
    let whole = content.len();
    let answer = match (call.method.as_str(), call.header("range").and_then(|asked| range(asked, whole))) {
        ("GET" | "HEAD", _) if is_fresh => Answer::empty(StatusCode::NOT_MODIFIED),
        ("GET", Some((first, last))) => {
            Answer::of_type(StatusCode::PARTIAL_CONTENT, content_type, &content[first..=last])
                .with("Content-Range", format!("bytes {first}-{last}/{whole}"))
        }
        ("GET" | "HEAD", _) => Answer::of_type(StatusCode::OK, content_type, content).with("Accept-Ranges", "bytes"),
        _ => return Answer::status_page(StatusCode::METHOD_NOT_ALLOWED),
    };
    answer.with("ETag", etag).with("Last-Modified", MADE)
}

/// First and last byte of a single range that fits; anything else gets the whole file.
fn range(asked: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => (first, end),
        (Err(_), Ok(suffix)) if first.is_empty() && suffix > 0 => (length.saturating_sub(suffix), end),
        _ => return None,
    };
    (first <= last && last <= end).then_some((first, last))
}
