//! How BBB tells a browser that a join failed: a redirect to the front end with `errors=[…]` (bbb-api.md section 3.6).
//!
//! The target comes from the request (`errorRedirectUrl`, `logoutURL`), so only absolute http(s) URLs are taken; the
//! result is what the URL parser prints, which can hold no line break and thus no second header.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use url::Url;

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Serialize)]
struct JoinError<'a> {
    key: &'a str,
    message: &'a str,
}

/// `target` with `errors=[{"key":…,"message":…}]` after its query and before its fragment, for the `(key, message)`
/// pairs in `errors`. `None` if `target` is not an absolute http(s) URL.
pub fn error_redirect(target: &str, errors: &[(&str, &str)]) -> Option<String> {
    let mut url = Url::parse(target).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    let list: Vec<JoinError<'_>> = errors.iter().map(|&(key, message)| JoinError { key, message }).collect();
    let json = serde_json::to_string(&list).ok()?;
    let errors = format!("errors={}", utf8_percent_encode(&json, ENCODED));
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{errors}"),
        _ => errors,
    };
    url.set_query(Some(&query));
    Some(url.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ERRORS: &[(&str, &str)] = &[("checksumError", "Checksums do not match")];
    const ENCODED_ERRORS: &str =
        "errors=%5B%7B%22key%22%3A%22checksumError%22%2C%22message%22%3A%22Checksums%20do%20not%20match%22%7D%5D";

    #[test]
    fn appends_to_any_query_and_before_the_fragment() {
        let cases = [
            ("https://lms.example.org/back", "https://lms.example.org/back?", ""),
            ("https://lms.example.org/back?", "https://lms.example.org/back?", ""),
            ("https://lms.example.org/back?id=1&x=%20#top", "https://lms.example.org/back?id=1&x=%20&", "#top"),
            ("http://lms.example.org", "http://lms.example.org/?", ""),
        ];
        for (target, before, after) in cases {
            assert_eq!(error_redirect(target, ERRORS).unwrap(), format!("{before}{ENCODED_ERRORS}{after}"));
        }
    }

    #[test]
    fn lists_every_error_as_json() {
        let url = Url::parse(&error_redirect("https://a.example/", &[("a", "\"ü\""), ("b", "")]).unwrap()).unwrap();
        let (name, value) = url.query_pairs().next().unwrap();
        assert_eq!(name, "errors");
        assert_eq!(value, r#"[{"key":"a","message":"\"ü\""},{"key":"b","message":""}]"#);
    }

    #[test]
    fn refuses_other_targets() {
        for target in
            ["", "/back", "//a.example/", "javascript:alert(1)", "data:text/html,x", "ftp://a.example/", "https://"]
        {
            assert_eq!(error_redirect(target, ERRORS), None, "{target}");
        }
    }

    #[test]
    fn leaves_no_line_break() {
        let url = error_redirect("https://a.example/\r\nSet-Cookie: x=1", ERRORS).unwrap();
        assert!(!url.contains(['\r', '\n', ' ']));
    }
}
