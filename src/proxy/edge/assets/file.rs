//! One file in memory: which answers may be kept, for how long, and what they become.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::wish::Wish;
use super::words;
use crate::config::Lines;
use crate::proxy::answer::Answer;
use crate::proxy::edge::passing::Passing;
use crate::store::ServerRecord;

const FRESH: Duration = Duration::from_secs(60);
const FRESH_FOR_EVER: Duration = Duration::from_secs(3600);

/// What was answered, and until when it is good.
pub struct File {
    /// All fields but those of one connection, of one moment, and the length.
    pub lines: Arc<Lines>,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
    pub body: Bytes,
    since: Instant,
    fresh: Duration,
}

impl File {
    /// The file without its body, if this answer can be kept.
    pub fn begin(passing: &Passing, wish: &Wish<'_>, limit: u64) -> Option<Self> {
        let mut may_be_kept = passing.status() == 200 && passing.body_length().is_none_or(|length| length <= limit);
        let mut lines = Lines { text: Vec::new(), fields: Vec::new() };
        let (mut etag, mut modified, mut max_age) = (None, None, None);
        let (mut has_type, mut expires) = (false, false);
        passing.each_field(|name, value| {
            let lower = name.to_ascii_lowercase();
            match lower.as_str() {
                "content-length" | "transfer-encoding" | "date" | "age" | "x-request-id" => return,
                "set-cookie" | "content-range" | "pragma" => may_be_kept = false,
                "expires" => expires = true,
                "vary" => may_be_kept &= words(value).all(|word| word.eq_ignore_ascii_case(b"accept-encoding")),
                "content-encoding" => may_be_kept &= wish.key.accepts.coding(value),
                "content-type" => {
                    // An old client plane answers any path with the page.
                    has_type = true;
                    may_be_kept &= !value.to_ascii_lowercase().starts_with(b"text/html");
                }
                "cache-control" => {
                    for word in words(value) {
                        match word.to_ascii_lowercase().as_slice() {
                            b"no-store" | b"no-cache" | b"private" => may_be_kept = false,
                            [b'm', b'a', b'x', b'-', b'a', b'g', b'e', b'=', digits @ ..] => {
                                let seconds = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                                max_age = Some(Duration::from_secs(seconds.unwrap_or(0)));
                            }
                            _ => {}
                        }
                    }
                }
                // Who asks from elsewhere is told so by name.
                "access-control-allow-origin" => may_be_kept &= value == b"*",
                "etag" => etag = HeaderValue::from_bytes(value).ok(),
                "last-modified" => modified = HeaderValue::from_bytes(value).ok(),
                _ => {}
            }
            match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                (Ok(field), Ok(told)) => lines.fields.push((field, told)),
                _ => may_be_kept = false,
            }
            lines.text.extend_from_slice(&[b"\r\n", name.as_bytes(), b": ", value].concat());
        });
        let longest = if wish.is_immutable { FRESH_FOR_EVER } else { FRESH };
        let fresh = max_age.map_or(longest, |age: Duration| age.min(longest));
        let may_be_kept = may_be_kept && has_type && !fresh.is_zero() && (!expires || max_age.is_some());
        let since = Instant::now();
        may_be_kept.then(|| Self { lines: Arc::new(lines), etag, modified, body: Bytes::new(), since, fresh })
    }

    pub fn answer(&self, wish: &Wish<'_>, server: &Arc<ServerRecord>, now: Instant) -> Answer {
        let (status, body) = if self.is_known(wish) { (304, Bytes::new()) } else { (200, self.body.clone()) };
        let mut answer = Answer::new(status, "", body);
        let age = now.saturating_duration_since(self.since).as_secs();
        if age > 0 {
            answer = answer.with("Age", age.to_string());
        }
        answer.fields = Some(self.lines.clone());
        answer.server = Some(server.clone());
        answer.result = "kept";
        answer
    }

    pub fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.fresh
    }

    /// The browser has this very file (RFC 9110 section 13.2.2; of dates only the one we sent, like nginx).
    fn is_known(&self, wish: &Wish<'_>) -> bool {
        match (wish.none_match, &self.etag) {
            (Some(list), Some(etag)) => {
                let strong = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
                let etag = strong(etag.as_bytes());
                words(list).any(|tag| tag == b"*" || strong(tag) == etag)
            }
            (Some(_), None) => false,
            (None, _) => {
                wish.modified_since.is_some_and(|since| self.modified.as_ref().is_some_and(|date| date == since))
            }
        }
    }
}
