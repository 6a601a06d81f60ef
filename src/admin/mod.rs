//! The admin listener: metrics, liveness, readiness and the status that `usher status` shows.
//!
//! Read-only and without secrets; it listens on loopback unless the operator says otherwise. Each connection carries one
//! request, within the deadlines of the public side: who asks comes every few seconds, and nothing can pile up.

mod own;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::ADMIN_CONNECTIONS;
use crate::process::Shared;
use crate::stream::Stream;

/// Answers the admin listener.
pub struct AdminApp {
    shared: Arc<Shared>,
    places: Semaphore,
}

impl AdminApp {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, places: Semaphore::new(ADMIN_CONNECTIONS) }
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
                let (status, text) = self.shared.readiness();
                (status, TEXT, text.into_bytes())
            }
            "/metrics" => {
                status::write_gauges(&self.shared);
                own::write_gauges(&self.shared.metrics);
                (200, "text/plain; version=0.0.4", self.shared.metrics.render())
            }
            "/api/v1/status" => (200, JSON, status::json(&self.shared)),
            "/api/v1/meetings" => (200, JSON, status::meetings_json(&self.shared)),
            _ => (404, TEXT, b"Here are /metrics, /livez, /readyz, /api/v1/status and /api/v1/meetings.\n".to_vec()),
        }
    }
}

impl AdminApp {
    /// Answers the one request of a connection.
    pub async fn serve(&self, stream: Stream) {
        let Ok(_place) = self.places.try_acquire() else { return };
        let mut session = ServerSession::new_http1(stream.into_boxed());
        let limits = self.shared.config.load().limits.clone();
        match timeout(limits.header_timeout, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false) | Err(_)) | Err(_) => return,
        }
        let head = session.req_header();
        let head_only = head.method == http::Method::HEAD;
        let (status, content_type, body) = self.answer(head.method.as_str(), head.uri.path());
        let _ = timeout(limits.body_timeout, write(&mut session, status, content_type, body, head_only)).await;
        session.shutdown().await;
    }
}

/// A whole answer, the only one on its connection.
async fn write(
    session: &mut ServerSession,
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    head_only: bool,
) -> pingora::Result<()> {
    let mut header = ResponseHeader::build(status, Some(3))?;
    header.insert_header(CONTENT_TYPE, content_type)?;
    header.insert_header(CONTENT_LENGTH, body.len())?;
    header.insert_header(CONNECTION, "close")?;
    session.set_keepalive(None);
    session.write_response_header(Box::new(header)).await?;
    let body = if head_only { Bytes::new() } else { body.into() };
    session.write_response_body(body, true).await
}
