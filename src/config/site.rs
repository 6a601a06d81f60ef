//! `[headers]` and `[compression]`: what a site wants to have in its answers.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::raw::Value;
use super::value;

/// `[headers]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers {
    pub server: ServerLine,
    /// Fields that replace a server's.
    pub set: Vec<Field>,
    /// Names of fields of servers that browsers do not get.
    pub remove: Vec<HeaderName>,
    /// What is added to an answer, made by `prepare`; `None` if that is nothing.
    pub lines: Option<Arc<Lines>>,
}

/// What the `Server` field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerLine {
    Off,
    /// What the server says that a request was carried to.
    Keep,
    Text(HeaderValue),
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: HeaderName,
    /// In the operator's spelling.
    pub spelled: String,
    pub value: HeaderValue,
}

/// Fields of an answer, for both versions of HTTP.
#[derive(Debug, PartialEq)]
pub struct Lines {
    /// Each line begins with CRLF, the last is not ended.
    pub text: Vec<u8>,
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// Fields that Usher or the server answers for; a second opinion would break something. Lower case.
const NOT_TO_BE_SET: [&str; 22] = [
    "accept-ranges",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "location",
    "proxy-connection",
    "retry-after",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-request-id",
];

impl Default for Headers {
    fn default() -> Self {
        Self { server: ServerLine::Off, set: Vec::new(), remove: Vec::new(), lines: None }
    }
}

impl Headers {
    /// Makes `lines`.
    pub fn prepare(&mut self) {
        let mut fields: Vec<_> =
            self.set.iter().map(|field| (field.spelled.as_str(), field.name.clone(), field.value.clone())).collect();
        if let ServerLine::Text(text) = &self.server {
            fields.push(("Server", http::header::SERVER, text.clone()));
        }
        let line = |(spelled, _, value): &(&str, _, HeaderValue)| {
            [b"\r\n", spelled.as_bytes(), b": ", value.as_bytes()].concat()
        };
        let text = fields.iter().flat_map(line).collect();
        let fields: Vec<_> = fields.into_iter().map(|(_, name, value)| (name, value)).collect();
        self.lines = (!fields.is_empty()).then(|| Arc::new(Lines { text, fields }));
    }

    /// Whether browsers do not get this field of a server.
    pub fn drops(&self, name: &str) -> bool {
        if name.len() == 6 && name.eq_ignore_ascii_case("server") {
            return self.server != ServerLine::Keep;
        }
        let is = |known: &HeaderName| name.eq_ignore_ascii_case(known.as_str());
        self.set.iter().any(|field| is(&field.name)) || self.remove.iter().any(is)
    }
}

/// `Name: value`.
pub fn field(text: &str) -> Result<Field, String> {
    let (spelled, value) = text.split_once(':').ok_or_else(|| format!("\"{text}\": write \"Name: value\""))?;
    let spelled = spelled.trim();
    let name = name(spelled)?;
    match name.as_str() {
        "strict-transport-security" => return Err("write tls.hsts for Strict-Transport-Security".to_owned()),
        known if NOT_TO_BE_SET.contains(&known) => {
            return Err(format!("{spelled} cannot be set: it says something about each answer"));
        }
        _ => {}
    }
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("{spelled}: the value has characters that no header may have"))?;
    Ok(Field { name, spelled: spelled.to_owned(), value })
}

/// A field that may be removed.
pub fn removable(text: &str) -> Result<HeaderName, String> {
    let name = name(text.trim())?;
    let is_needed = matches!(name.as_str(), "server" | "content-type" | "location" | "set-cookie" | "vary")
        || (NOT_TO_BE_SET.contains(&name.as_str()) && !matches!(name.as_str(), "etag" | "accept-ranges"));
    match is_needed {
        true if name == http::header::SERVER => Err("write headers.server for Server".to_owned()),
        true => Err(format!("{text} cannot be removed: the answer would mean something else")),
        false => Ok(name),
    }
}

fn name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("\"{text}\" is no name of a header"))
}

/// `"off"`, `"keep"`, or what it says.
pub fn server_line(found: &Value) -> Result<ServerLine, String> {
    match value::text(found)? {
        "off" | "" => Ok(ServerLine::Off),
        "keep" => Ok(ServerLine::Keep),
        text => HeaderValue::from_str(text).map(ServerLine::Text).map_err(|_| "write plain text".to_owned()),
    }
}

/// `[compression]`: of carried answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// In this order, if the browser takes several equally; none switches it off.
    pub algorithms: Vec<Coding>,
    /// Bytes of a body from which on it is worth it.
    pub min_length: u64,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
}

impl Coding {
    /// As `Accept-Encoding` and `Content-Encoding` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }

    pub fn read(text: &str) -> Result<Self, String> {
        let known = [Self::Gzip, Self::Brotli].into_iter().find(|coding| coding.name() == text);
        known.ok_or_else(|| format!("\"{text}\" is not known; write \"gzip\" or \"br\""))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_looked_at() {
        let good = field("Content-Security-Policy: frame-ancestors 'self' https://moodle.example.org").unwrap();
        assert_eq!(good.spelled, "Content-Security-Policy");
        for (text, reason) in [
            ("X-Frame-Options", "write \"Name: value\""),
            ("X Frame: a", "is no name"),
            ("X-A: a\r\nX-B: b", "no header may have"),
            ("content-length: 3", "cannot be set"),
            ("Strict-Transport-Security: max-age=1", "tls.hsts"),
        ] {
            let error = field(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(removable("X-Powered-By").is_ok() && removable("ETag").is_ok());
        assert!(removable("Content-Length").is_err() && removable("server").unwrap_err().contains("headers.server"));
    }

    #[test]
    fn what_is_dropped_and_added() {
        let mut headers = Headers::default();
        headers.prepare();
        assert!(headers.lines.is_none() && headers.drops("Server") && !headers.drops("X-Frame-Options"));
        headers.set = vec![field("X-Frame-Options: DENY").unwrap()];
        headers.remove = vec![removable("x-powered-by").unwrap()];
        headers.server = ServerLine::Text(HeaderValue::from_static("ours"));
        headers.prepare();
        assert!(headers.drops("x-frame-options") && headers.drops("X-Powered-By") && headers.drops("server"));
        let lines = headers.lines.unwrap();
        assert_eq!(lines.text, b"\r\nX-Frame-Options: DENY\r\nServer: ours");
        assert_eq!(lines.fields.len(), 2);
    }
}
