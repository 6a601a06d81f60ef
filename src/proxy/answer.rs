//! Answers as values, and the one place where an error becomes an answer.
//!
//! BBB's form: HTTP 200 whether the call worked or not, `text/xml`, no XML declaration (bbb-api.md section 3). The
//! exceptions are join (302), bodies over the limit (413), overload (503) and pages for people.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::body::BodyFailure;
use crate::bbb;
use crate::config::Lines;
use crate::error::{ApiError, Blame};
use crate::store::ServerRecord;

pub const XML: &str = "text/xml;charset=utf-8";
pub const JSON: &str = "application/json;charset=utf-8";
pub const HTML: &str = "text/html;charset=utf-8";
pub const TEXT: &str = "text/plain;charset=utf-8";

const NO_CACHE: (&str, Cow<'static, str>) = ("Cache-Control", Cow::Borrowed("no-cache"));

const TOO_LARGE: &str = "requestTooLarge";

/// A complete answer, with what the log and the metrics want to know about it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: Cow<'static, str>,
    pub body: Bytes,
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// `ok` or a messageKey; bounded.
    pub result: &'static str,
    pub blame: Option<Blame>,
    /// For the log when something failed.
    pub reason: Option<String>,
    pub server: Option<Arc<ServerRecord>>,
    /// What a server said with it, if it was kept: all fields but those of this answer alone.
    pub fields: Option<Arc<Lines>>,
    /// What the site adds to every answer.
    pub site: Option<Arc<Lines>>,
    /// Time spent waiting for BBB servers.
    pub upstream: Option<Duration>,
}

impl Answer {
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Cow::Borrowed(content_type),
            body: body.into(),
            headers: Vec::new(),
            result: "ok",
            blame: None,
            reason: None,
            server: None,
            fields: None,
            site: None,
            upstream: None,
        }
    }

    /// BBB XML with HTTP 200.
    pub fn xml(body: impl Into<Bytes>) -> Self {
        Self::new(200, XML, body)
    }

    pub fn redirect(location: String) -> Self {
        let headers = vec![("Location", location.into()), NO_CACHE];
        Self { headers, ..Self::new(302, TEXT, Bytes::new()) }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A body, and its type is not among the kept fields.
    pub fn has_type(&self) -> bool {
        !self.body.is_empty() && self.fields.is_none()
    }

    /// Fields that were prepared for many answers.
    pub fn more(&self) -> impl Iterator<Item = &Lines> {
        self.fields.iter().chain(&self.site).map(|lines| &**lines)
    }

    pub fn no_cache(self) -> Self {
        let (name, value) = NO_CACHE;
        self.with(name, value)
    }

    pub fn from_server(mut self, server: &Arc<ServerRecord>, upstream: Duration) -> Self {
        self.server = Some(server.clone());
        self.upstream = Some(upstream);
        self
    }

    /// Marks an answer that says FAILED.
    pub fn failed_with(mut self, key: &str, blame: Blame) -> Self {
        self.result = known_key(key);
        self.blame = Some(blame);
        self
    }

    /// A failed call in BBB's own form.
    pub fn error(error: &ApiError) -> Self {
        let status = if error.key == TOO_LARGE { 413 } else { 200 };
        Self { status, ..Self::xml(bbb::failed(&error.key, &error.message)) }.marked(error)
    }

    /// The same for calls that answer in JSON.
    pub fn json_error(error: &ApiError) -> Self {
        Self::new(200, JSON, bbb::failed_json(&error.key, &error.message)).marked(error)
    }

    fn marked(mut self, error: &ApiError) -> Self {
        self.reason = (error.blame != Blame::Client).then(|| error.message.to_string());
        self.failed_with(&error.key, error.blame).no_cache()
    }

    /// A body that was not read; nothing has happened.
    pub fn body_failure(failure: BodyFailure) -> Self {
        let (status, error) = match failure {
            BodyFailure::TooLarge => (413, ApiError::too_large("The request body is too large.")),
            BodyFailure::TooSlow => (408, ApiError::client("requestTimeout", "The request body came too slowly.")),
            BodyFailure::NoMemory => (503, ApiError::us("Too many large requests at once. Try again in a moment.")),
            BodyFailure::Broken => (400, ApiError::client("badRequest", "The request body is broken.")),
        };
        Self { status, ..Self::error(&error) }
    }

    /// What a server answered, for the books; the answer itself goes on as it is.
    pub fn carried(status: u16, server: &Arc<ServerRecord>) -> Self {
        let mut answer = Self::new(status, TEXT, Bytes::new());
        answer.server = Some(server.clone());
        answer
    }

    /// More at once than this process will take.
    pub fn overloaded() -> Self {
        let error = ApiError::us("Too many requests at once. Try again in a moment.");
        Self { status: 503, ..Self::error(&error) }.with("Retry-After", "2")
    }
}

/// BBB servers may answer any key; labels and logs only take those that BBB is known to use.
pub fn known_key(key: &str) -> &'static str {
    const KEYS: &[&str] = &[
        "checksumError",
        "missingParamMeetingID",
        "missingParamFullName",
        "missingParamRecordID",
        "missingParamPublish",
        "validationError",
        "invalidPassword",
        "idNotUnique",
        "nonUniqueVoiceBridge",
        "parentMeetingIDMissing",
        "parentMeetingDoesNotExist",
        "unsupportedContentType",
        "unsupportedRequest",
        "fileNameError",
        "notFound",
        "invalidMeetingIdentifier",
        "meetingForciblyEnded",
        "meetingNotFound",
        "mismatchCreateTimeParam",
        "maxParticipantsReached",
        "noRecordings",
        "noCaptionsFound",
        "paramError",
        "invalidKind",
        "invalidLang",
        "internalError",
        "serverUnavailable",
        "serverTagUnavailable",
        "serversFull",
        "meetingLimitReached",
        "participantLimitReached",
        "requestTooLarge",
        "requestTimeout",
        "badRequest",
        "tooManyRequests",
        "sessionCall",
    ];
    KEYS.iter().find(|known| **known == key).copied().unwrap_or("other")
}
