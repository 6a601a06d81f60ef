//! One answer of a BBB server, read whole within a bound, or the reason why there is none.
//!
//! The reasons are for operators: they name the cause, never the URL (it carries a checksum).

use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE};

use crate::bbb::BadAnswer;
use crate::clock::Millis;
use crate::tls;

/// A complete HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    /// The server's own clock, as it printed it.
    pub date: Option<String>,
    pub body: Bytes,
}

impl Answer {
    /// The server's own clock, to a second.
    pub fn told_at(&self) -> Option<Millis> {
        let told = httpdate::parse_http_date(self.date.as_deref()?).ok()?;
        Some(Millis(told.duration_since(UNIX_EPOCH).ok()?.as_millis() as u64))
    }
}

/// Why a call gave no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The server cannot have seen the call: name, connect or TLS failure.
    #[error("{0}")]
    NotSent(String),
    /// HTTP has no form for this request.
    #[error("{0}")]
    Unsendable(String),
    /// No complete answer in time; the call may have been carried out.
    #[error("{0}")]
    Silent(String),
    /// The connection broke off; the call may have been carried out.
    #[error("{0}")]
    Unclear(String),
    /// The server answered, with this HTTP status instead of 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// BBB itself answered, and refused for a reason of the server's: this messageKey.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server answered, but not as BBB does.
    #[error("{0}")]
    Unreadable(String),
}

impl CallError {
    /// What is refused with a status of 400 to 499 has not been worked on.
    pub fn may_have_happened(&self) -> bool {
        !matches!(self, Self::NotSent(_) | Self::Unsendable(_) | Self::Status(400..=499))
    }

    /// Label of metrics and logs; bounded.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "connect",
            Self::Unsendable(_) => "unsendable",
            Self::Silent(_) => "silent",
            Self::Unclear(_) => "broken_off",
            Self::Status(_) => "status",
            Self::Refused(_) => "refused",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// The HTTP server or servlet container refused the request for its form or size, before BBB saw it: nothing has
    /// happened, and nothing is wrong with the server.
    pub fn refuses_request(&self) -> bool {
        matches!(self, Self::Status(400 | 413 | 414 | 431))
    }
}

impl From<BadAnswer> for CallError {
    fn from(bad: BadAnswer) -> Self {
        match bad {
            BadAnswer::Failed(reply) => Self::Refused(reply.key),
            bad => Self::Unreadable(bad.to_string()),
        }
    }
}

/// Sends the request and reads the whole answer, at most `max` bytes of it.
pub(super) async fn read(request: reqwest::RequestBuilder, max: u64) -> Result<Answer, CallError> {
    let mut response = request.send().await.map_err(describe)?;
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let date = header(DATE).map(str::to_owned);
    let too_large = || CallError::Unreadable(format!("answer larger than {max} bytes"));
    if response.content_length().is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if (body.len() + chunk.len()) as u64 > max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, content_type, date, body: body.freeze() })
}

fn describe(error: reqwest::Error) -> CallError {
    let (no_connection, no_request) = (error.is_connect(), error.is_builder());
    let text = causes(&error.without_url());
    match (no_connection, no_request) {
        (true, _) => CallError::NotSent(text),
        (false, true) => CallError::Unsendable(text),
        (false, false) => CallError::Unclear(text),
    }
}

/// The innermost causes of an error in one line; the outer ones only say "error sending request".
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = tls::tls_error(cause) {
            return tls::in_words(error);
        }
        text = cause.to_string();
        next = cause.source();
    }
    tls::cut_short(&text).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_header_is_the_servers_clock() {
        let told_at = |date: Option<&str>| {
            let date = date.map(str::to_owned);
            Answer { status: StatusCode::OK, content_type: String::new(), date, body: Bytes::new() }.told_at()
        };
        assert_eq!(told_at(Some("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Millis(784_111_777_000)));
        for bad in [None, Some(""), Some("now"), Some("Sun, 06 Nov 1994 08:49:37 CET")] {
            assert_eq!(told_at(bad), None, "{bad:?}");
        }
    }
}
