//! One request as the calls see it: raw query for the checksum, decoded parameters, body.
//!
//! Decodes as a servlet does: query parameters before those of a form body, the first of a name wins, `+` and `%20` are
//! spaces, control characters are stripped and surrounding whitespace is trimmed (bbb-api.md section 0).

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, COOKIE, HeaderMap};

/// A part of a multipart body.
pub(super) struct Part {
    pub name: String,
    pub content: Bytes,
}

/// A request that was read completely.
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    /// Path and query exactly as they arrived.
    pub target: String,
    /// Exactly as it arrived, without `?`.
    pub raw_query: String,
    pub content_type: Option<String>,
    /// Whether the request announced a body.
    pub has_body: bool,
    pub body: Bytes,
    /// Filled for multipart bodies only.
    pub parts: Vec<Part>,
    pub headers: HeaderMap,
    /// Every `JSESSIONID` the browser sent, in its order.
    pub cookies: Vec<String>,
    /// `X-Session-Token`.
    pub session_header: Option<String>,
    parameters: Vec<(String, String)>,
    /// Names of parameters whose value lost control characters or surrounding whitespace.
    cleaned: Vec<String>,
}

impl Call {
    pub(super) fn new(
        method: Method,
        path: String,
        raw_query: String,
        headers: HeaderMap,
        body: Bytes,
        parts: Vec<Part>,
    ) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = header(CONTENT_TYPE.as_str());
        let session_header = header("x-session-token");
        let mut arrived = decoded(raw_query.as_bytes());
        if method == Method::POST && media_type(content_type.as_deref()) == FORM {
            arrived.extend(decoded(&body));
        }
        let mut cleaned = Vec::new();
        let mut parameters = Vec::with_capacity(arrived.len());
        for (name, value) in arrived {
            let clean = clean(&value);
            if clean != value {
                cleaned.push(name.clone());
            }
            parameters.push((name, clean));
        }
        Self {
            method,
            target: if raw_query.is_empty() { path.clone() } else { format!("{path}?{raw_query}") },
            path,
            raw_query,
            content_type,
            has_body: !body.is_empty(),
            body,
            parts,
            cookies: headers
                .get_all(COOKIE)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(jsessionids)
                .collect(),
            session_header,
            headers,
            parameters,
            cleaned,
        }
    }

    /// The first value of a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A parameter of the query itself, as the sub-requests of nginx see it: no form counts, nothing is cleaned.
    pub(super) fn query_value(&self, name: &str) -> Option<String> {
        decoded(self.raw_query.as_bytes()).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Whether cleaning changed a value of that name.
    pub(super) fn was_cleaned(&self, name: &str) -> bool {
        self.cleaned.iter().any(|cleaned| cleaned == name)
    }

    /// All parameters in order of arrival.
    pub(super) fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// The first parameter of that name, even if it is empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same, where BBB treats empty as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.given(name) == Some(value)
    }

    /// Decimal digits only; anything else is as good as absent.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|value| value.parse().ok())
    }

    /// The media type without parameters, lower case; empty if there is none.
    pub(super) fn media_type(&self) -> String {
        media_type(self.content_type.as_deref())
    }

    /// `meta_*` parameters as BBB stores them: names `meta_[a-zA-Z][a-zA-Z0-9-]*` only, without the prefix, lower-cased
    /// (section 1.4).
    pub(super) fn metadata(&self) -> Vec<(String, String)> {
        let mut kept: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.parameters {
            let Some(key) = name.strip_prefix("meta_") else { continue };
            let well_formed = key.starts_with(|first: char| first.is_ascii_alphabetic())
                && key.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
            let lower = key.to_ascii_lowercase();
            if well_formed && !kept.iter().any(|(seen, _)| *seen == lower) {
                kept.push((lower, value.clone()));
            }
        }
        kept
    }
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const MULTIPART: &str = "multipart/form-data";

/// `text/xml; charset=utf-8` → `text/xml`.
pub(super) fn media_type(content_type: Option<&str>) -> String {
    let value = content_type.unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn jsessionids(header: &str) -> impl Iterator<Item = String> {
    header.split(';').filter_map(|pair| pair.trim().strip_prefix("JSESSIONID=")).map(str::to_owned)
}

fn decoded(bytes: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(bytes).map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

fn clean(value: &str) -> String {
    let kept: String = value.chars().filter(|character| !character.is_control()).collect();
    kept.trim().to_owned()
}

/// Decodes once more, as BBB does for the lists of recording calls (section 2.5).
pub(super) fn decoded_again(value: &str) -> String {
    let spaced = value.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn call(query: &str, content_type: &str, body: &'static str) -> Call {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        Call::new(
            Method::POST,
            String::new(),
            query.to_owned(),
            headers,
            Bytes::from_static(body.as_bytes()),
            Vec::new(),
        )
    }

    #[test]
    fn query_parameters_come_before_those_of_the_form() {
        let call =
            call("name=A%00+B&name=C", "application/x-www-form-urlencoded; charset=utf-8", "name=D&meetingID=+x+");
        assert_eq!(call.text("name"), Some("A B"));
        assert_eq!(call.text("meetingID"), Some("x"));
        assert!(call.was_cleaned("meetingID") && call.was_cleaned("name") && !call.was_cleaned("checksum"));
    }

    #[test]
    fn metadata_keys_with_underscores_are_dropped_and_the_rest_lower_cased() {
        let call = call("meta_endCallbackUrl=u&meta_a_b=x&meta_1=y&meta_bbb-origin=z", "text/xml", "");
        let expected = [("endcallbackurl", "u"), ("bbb-origin", "z")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(call.metadata(), expected);
    }
}
