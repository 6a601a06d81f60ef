//! Errors that reach a caller of the BBB API: a messageKey, a text for people, and whose fault it is.
//!
//! Built where the cause is known, turned into an answer only in `proxy/answer`, logged once. Keys are BBB's own
//! (bbb-api.md section 3.2) or, where BBB has none, those that front ends know from Scalelite
//! (scalelite-compat.md section 4). Texts never contain secrets, checksums or the names of other tenants.

use std::borrow::Cow;

/// Whose fault an error is; decides the log level and the `result` label's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller sent something wrong: worth no line above `info`.
    Client,
    /// A BBB server failed.
    Server,
    /// Usher or its store failed: somebody must act.
    Us,
}

/// A failed BBB API call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ApiError {
    pub key: Cow<'static, str>,
    pub message: Cow<'static, str>,
    pub blame: Blame,
}

impl ApiError {
    pub fn client(key: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { key: Cow::Borrowed(key), message: message.into(), blame: Blame::Client }
    }
    pub fn server(key: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { key: Cow::Borrowed(key), message: message.into(), blame: Blame::Server }
    }
    pub fn us(message: impl Into<Cow<'static, str>>) -> Self {
        Self { key: Cow::Borrowed("internalError"), message: message.into(), blame: Blame::Us }
    }

    pub fn checksum() -> Self {
        Self::client("checksumError", "Checksums do not match")
    }
    /// Answered with HTTP 413.
    pub fn too_large(message: &'static str) -> Self {
        Self::client("requestTooLarge", message)
    }
    pub fn missing_meeting_id() -> Self {
        Self::client("missingParamMeetingID", "You must specify a meeting ID for the meeting.")
    }
    pub fn not_found() -> Self {
        Self::client("notFound", "A meeting with that ID does not exist")
    }
    pub fn unsupported() -> Self {
        Self::client("unsupportedRequest", "This request is not supported.")
    }
}
