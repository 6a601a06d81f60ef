//! The public listener's application: connections, deadlines, one request after the other.
//!
//! Requests that never go upstream are answered without Pingora's proxy machinery. Pingora keeps an HTTP/1.1
//! connection open for ever unless told otherwise (its issue #447) and has no deadline for a whole header, so both are
//! set here; a request line with a query is never given to Pingora's log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use log::debug;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::access::{self, Facts};
use super::answer::{Answer, TEXT};
use super::body::Inbound;
use super::request::{self, Request};
use super::route::Route;
use super::{Shared, api, host, limit, pages};
use crate::bbb::Method;
use crate::config::Limits;

/// How much of a refused body is read before the connection is closed.
const LINGER_BYTES: usize = 8 * 1024 * 1024;
const LINGER_PIECE: usize = 16 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The public side of Usher.
pub struct PublicApp {
    shared: Arc<Shared>,
    options: HttpServerOptions,
}

impl PublicApp {
    pub fn new(shared: Arc<Shared>) -> Self {
        let mut options = HttpServerOptions::default();
        options.keepalive_request_limit = Some(shared.config.load().limits.requests_per_connection);
        Self { shared, options }
    }

    /// How long the next head may take. On a new connection it must come at once, on a used one the idle time is added.
    fn patience(&self, session: &ServerSession, limits: &Limits) -> Duration {
        let is_new = session.get_keepalive_reuses_remaining() == self.options.keepalive_request_limit;
        if is_new { limits.header_timeout } else { limits.keepalive + limits.header_timeout }
    }

    /// Answers what cannot become a request, and closes.
    async fn refuse(&self, mut session: ServerSession, answer: Answer) -> Option<ReusedHttpStream> {
        access::record_refused(&self.shared.metrics, &answer);
        if write(&mut session, &answer, &request::new_request_id(), false, true).await {
            linger(session).await;
        }
        None
    }

    async fn answer(
        &self,
        request: &Request,
        route: Route<'_>,
        inbound: &mut Inbound<'_>,
        facts: &mut Facts,
    ) -> Answer {
        match route {
            Route::Api { tenant, segment } => api::answer(&self.shared, request, tenant, segment, inbound, facts).await,
            Route::Livez => Answer::new(200, TEXT, "alive\n"),
            Route::Readyz => {
                let (status, text) = self.shared.readiness();
                Answer::new(status, TEXT, text)
            }
            Route::Landing => pages::landing(&request.query),
            Route::Nothing => Answer::new(404, TEXT, "Nothing here. The BBB API is at /bigbluebutton/api.\n"),
        }
    }
}

#[async_trait]
impl HttpServerApp for PublicApp {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let config = self.shared.config.load_full();
        let patience = self.patience(&session, &config.limits);
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(config.limits.header_timeout));
        session.set_write_timeout(Some(config.limits.body_timeout));
        let peer = session.client_addr().and_then(|address| address.as_inet().copied());
        let place = limit::Place::take(&self.shared, peer, &config)?;
        let read = tokio::time::timeout(place.patience(patience), limit::in_few_pieces(session.read_request())).await;
        match read {
            Ok(Some(Ok(true))) => {}
            Ok(Some(Ok(false))) | Err(_) => return None,
            Ok(None) => return self.refuse(session, limit::in_crumbs()).await,
            Ok(Some(Err(error))) => {
                debug!(kind = error.etype().as_str(); "unreadable request");
                return self.refuse(session, limit::unreadable(Some(&error))).await;
            }
        }
        if let Some(refusal) = place.refusal(&self.shared) {
            return self.refuse(session, refusal).await;
        }
        let counted = self.shared.process.begin_request();
        let started = Instant::now();
        let head = session.req_header();
        let request = host::is_one(head).then(|| Request::read(head, peer, &config.listen.trusted_proxies)).flatten();
        let Some(request) = request else {
            return self.refuse(session, limit::unreadable(None)).await;
        };
        // Pingora has looked at the version and at `Connection`; what the client wants closed stays so.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(config.limits.keepalive.as_secs().max(1)));
        }

        let route = Route::of(&request.path);
        let mut facts = Facts::default();
        let mut inbound = Inbound::new(&mut session, &request, &self.shared.body_memory, config.limits.body_timeout);
        let answer = self.answer(&request, route, &mut inbound, &mut facts).await;
        facts.body_read = inbound.read;
        let is_broken = inbound.is_broken;
        let answer = limit::settle(&self.shared, &config, &request, route, &mut facts, answer).await;

        // A body that was not read to its end cannot be followed by another request.
        let stopping = *shutdown.borrow() || self.shared.process.is_draining();
        let reusable = !stopping
            && !is_broken
            // Pingora takes a missing chunk size for the end of the body; others need not.
            && !request.chunked
            && !facts.flooding
            && !place.is_crowded()
            && session.is_body_done()
            && session.get_keepalive().is_some();
        let took = started.elapsed();
        let counted = if facts.flooding {
            drop(counted);
            limit::slow_down(&self.shared).await;
            None
        } else {
            Some(counted)
        };
        let written = write(&mut session, &answer, &request.id, request.method == Method::Head, !reusable).await;
        access::record(
            &self.shared.metrics,
            &request,
            route,
            &answer,
            &facts,
            took,
            config.log.access && !facts.flooding,
        );
        if !written {
            return None;
        }
        drop(counted);
        if !reusable {
            linger(session).await;
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Closing while the client still sends would make the kernel reset the connection and the answer could be lost, so
/// what is on its way is read and thrown away, within bounds. Below HTTP: after a broken head there is no body to read.
async fn linger(session: ServerSession) {
    let ServerSession::H1(session) = session else { return };
    let mut stream = session.into_inner();
    let drain = async {
        // The client sees the end of the answer.
        stream.shutdown().await?;
        let mut piece = vec![0; LINGER_PIECE];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut piece).await? {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}

/// Writes a whole answer; false if the connection is broken.
async fn write(session: &mut ServerSession, answer: &Answer, id: &str, head_only: bool, close: bool) -> bool {
    let Ok(header) = header_of(answer, id, close) else {
        return false;
    };
    if close {
        session.set_keepalive(None);
    }
    if session.write_response_header(Box::new(header)).await.is_err() {
        return false;
    }
    let body = if head_only { Bytes::new() } else { answer.body.clone() };
    session.write_response_body(body, true).await.is_ok()
}

fn header_of(answer: &Answer, id: &str, close: bool) -> pingora::Result<ResponseHeader> {
    let mut header = ResponseHeader::build(answer.status, Some(answer.headers.len() + 4))?;
    if !answer.body.is_empty() {
        header.insert_header(CONTENT_TYPE, answer.content_type.as_ref())?;
    }
    header.insert_header(CONTENT_LENGTH, answer.body.len())?;
    header.insert_header("X-Request-Id", id)?;
    for (name, value) in &answer.headers {
        header.append_header(*name, value.as_str())?;
    }
    if close {
        header.insert_header(CONNECTION, "close")?;
    }
    Ok(header)
}
