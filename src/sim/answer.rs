//! What a call answers, before any fault spoils it, and BBB's error envelopes (bbb-api.md section 3.1).
//!
//! Almost everything is HTTP 200; the exceptions are named here: join's redirect, the servlet container's own pages.

use hyper::StatusCode;
use serde_json::json;

use super::client::socket::Opened;
use super::xml::Xml;

/// An answer with its headers; the body is complete.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// What the connection becomes after a 101.
    pub socket: Option<Box<Opened>>,
}

const NO_CACHE: (&str, &str) = ("Cache-Control", "no-cache");

impl Answer {
    fn new(status: StatusCode, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type", content_type.to_owned())], body: body.into(), socket: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// XML that no cache may keep: most answers.
    pub(super) fn xml(xml: Xml) -> Self {
        Self::cacheable_xml(xml).with(NO_CACHE.0, NO_CACHE.1)
    }

    /// getMeetingInfo and the recording calls say nothing about caching (section 0).
    pub(super) fn cacheable_xml(xml: Xml) -> Self {
        Self::new(StatusCode::OK, "text/xml;charset=utf-8", xml.finish())
    }

    /// Pretty-printed JSON, as given: the caller adds the `response` object.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        Self::new(StatusCode::OK, "application/json;charset=utf-8", text)
    }

    pub(super) fn of_type(status: StatusCode, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, content_type, body)
    }

    pub(super) fn html(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "text/html;charset=utf-8", body)
    }

    /// A page of the servlet container or of nginx.
    pub(super) fn status_page(status: StatusCode) -> Self {
        let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        Self::html(
            status,
            format!("<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"),
        )
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), socket: None }
    }

    pub(super) fn redirect(location: &str) -> Self {
        Self::empty(StatusCode::FOUND).with("Location", location).with(NO_CACHE.0, NO_CACHE.1)
    }

    /// Form 1.
    pub(super) fn failed(key: &str, message: &str) -> Self {
        let mut xml = Xml::response("FAILED");
        xml.leaf("messageKey", key);
        xml.leaf("message", message);
        Self::xml(xml)
    }

    /// Form 2, the list without a top-level messageKey.
    pub(super) fn failed_list(key: &str, message: &str) -> Self {
        let mut xml = Xml::response("FAILED");
        xml.open("errors");
        xml.open("error");
        xml.leaf("key", key);
        xml.leaf("message", message);
        Self::xml(xml)
    }

    /// Form 4.
    pub(super) fn failed_json(key: &str, message: &str) -> Self {
        Self::json(&json!({"response": {"returncode": "FAILED", "messageKey": key, "message": message}}))
    }
}

/// Why a call is refused; each call decides in which envelope it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub key: &'static str,
    pub message: &'static str,
}

impl Refusal {
    pub(super) const fn new(key: &'static str, message: &'static str) -> Self {
        Self { key, message }
    }
    pub(super) fn answer(self) -> Answer {
        Answer::failed(self.key, self.message)
    }
}
