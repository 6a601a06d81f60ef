//! The admin listener: metrics, liveness, readiness and the status that `usher status` shows.
//!
//! Read-only and without secrets; it listens on loopback unless the operator says otherwise. The operators' API will
//! grow here.

mod status;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, header::CONTENT_TYPE};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::process::Shared;

/// Answers the admin listener.
pub struct AdminApp {
    shared: Arc<Shared>,
}

impl AdminApp {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn answer(&self, method: &str, path: &str) -> (u16, &'static str, Vec<u8>) {
        const TEXT: &str = "text/plain; charset=utf-8";
        const JSON: &str = "application/json";
        if !matches!(method, "GET" | "HEAD") {
            return (405, TEXT, b"Only GET here.\n".to_vec());
        }
        match path {
            "/livez" => (200, TEXT, b"alive\n".to_vec()),
            "/readyz" => {
                let reasons = self.shared.process.not_ready(&self.shared.placer);
                match reasons.is_empty() {
                    true => (200, TEXT, b"ready\n".to_vec()),
                    false => (503, TEXT, (reasons.join("\n") + "\n").into_bytes()),
                }
            }
            "/metrics" => {
                status::write_gauges(&self.shared);
                (200, "text/plain; version=0.0.4", self.shared.metrics.render())
            }
            "/api/v1/status" => (200, JSON, status::json(&self.shared)),
            _ => (404, TEXT, b"Here are /metrics, /livez, /readyz and /api/v1/status.\n".to_vec()),
        }
    }
}

#[async_trait]
impl ServeHttp for AdminApp {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let (status, content_type, body) = self.answer(head.method.as_str(), head.uri.path());
        let body = if head.method == http::Method::HEAD { Vec::new() } else { body };
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        let length = http::HeaderValue::from(response.body().len());
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        response
    }
}
