//! The limits of `crate::limit` as requests meet them: what counts as what, and what the caller is told.
//!
//! HTTP 429 with `Retry-After`; to API calls in BBB's form, so that a front end finds `returncode` and `messageKey`; to
//! browsers that join a page that tries again by itself. A join error would otherwise be a redirect to the front end, but
//! front ends show nothing of it or offer the same link again at once, and a redirect invites the next request.
//!
//! Who floods with requests that no tenant signed is answered late and loses the connection, because an answer at once
//! costs as much as any other and would only invite the next one. The signature is looked at all the same: a neighbour
//! behind the same address who has one is served.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::access::Facts;
use super::answer::{Answer, TEXT};
use super::api;
use super::arrival::Listener;
use super::pages;
use super::request::Request;
use super::route::Route;
use crate::bbb::Call;
use crate::config::Config;
use crate::error::ApiError;
use crate::limit::{Counted, Crowd, Reason, Refusal};
use crate::process::{self, Shared};
use crate::tenant::Tenant;

/// How long a flooding caller waits for its answer. With `limits.connections_per_address` it bounds what such an address
/// can send: 2048 connections, a request each 3 s.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a connection too many may take to say what it wants.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes; the HTTP library takes no longer target.
pub(super) const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// What the caller can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Xml,
    Json,
    /// For a person with a browser.
    Page,
    Text,
}

impl Form {
    /// In which form this call says what is wrong.
    pub fn of(call: Call) -> Self {
        match call {
            Call::Join => Self::Page,
            call if api::answers_in_json(call) => Self::Json,
            _ => Self::Xml,
        }
    }
}

/// What a caller is told who has had too much.
pub fn answer(refusal: Refusal, form: Form) -> Answer {
    let error = error(refusal.reason);
    let answer = match form {
        Form::Page => pages::too_many().failed_with(&error.key, error.blame),
        Form::Json => Answer::json_error(&error),
        Form::Xml => Answer::error(&error),
        Form::Text => Answer::new(429, TEXT, format!("{}\n", error.message)),
    };
    let seconds = refusal.retry_after.as_millis().div_ceil(1000).max(1);
    Answer { status: 429, ..answer }.with("Retry-After", seconds.to_string())
}

fn error(reason: Reason) -> ApiError {
    let text = match reason {
        Reason::AllConnections => "Too many connections at once. Try again in a moment.",
        Reason::Connections => "Too many connections from your address. Close some, or try again in a moment.",
        Reason::Unsigned => "Too many requests without a valid signature from your address. Try again later.",
        Reason::Carried => "Too many requests from your address. Try again in a moment.",
        Reason::SameJoin => "This join link has been used too often in a minute. Try again in a moment.",
        Reason::Forms => "Too much form data from your address at once. Try again in a moment.",
        Reason::TenantRequests => "More requests in a second than this tenant may send. Try again in a moment.",
        Reason::TenantCreates => "Too many meetings of this tenant are being created at once. Try again in a moment.",
        Reason::Fanouts => "Too many requests for lists at once. Try again in a moment.",
    };
    ApiError::client("tooManyRequests", text)
}

/// A connection's place among all and among those of its address, held until it has its answer.
pub struct Place {
    /// Nothing if there are too many.
    among_all: Option<[process::Open; 2]>,
    refused: Option<process::Open>,
    of_address: Counted,
    peer: Option<IpAddr>,
}

impl Place {
    /// `None`: so many are being refused that this one gets no answer.
    pub fn take(shared: &Shared, listener: Listener, peer: SocketAddr, config: &Config) -> Option<Self> {
        let peer = Some(peer.ip().to_canonical());
        let of_address = shared.limiter.connect(peer, config);
        let limit = config.limits.connections;
        let of_listener = match listener {
            Listener::Http => config.limits.http_connections,
            Listener::Https => config.limits.https_connections,
        };
        let of_listener = if of_listener == 0 { limit } else { of_listener };
        let among_all = shared
            .process
            .begin_connection(limit)
            .and_then(|open| Some([open, shared.process.begin_connection_of(listener.slot(), of_listener)?]));
        let is_over = among_all.is_none() || of_address.crowd == Crowd::Over;
        let refused = if is_over { Some(shared.process.begin_refusal(limit / 8 + 16)?) } else { None };
        Some(Self { among_all, refused, of_address, peer })
    }

    /// How long the head may take. A connection too many must not wait for long, but an answer before the head would break
    /// the protocol.
    pub fn patience(&self, patience: Duration) -> Duration {
        if self.refused.is_some() { patience.min(SHORT_PATIENCE) } else { patience }
    }

    /// To be closed after the answer, to make room.
    pub fn is_crowded(&self) -> bool {
        self.of_address.crowd != Crowd::Free
    }

    /// What a connection too many is told.
    pub fn refusal(&self, shared: &Shared) -> Option<Answer> {
        if self.of_address.crowd == Crowd::Over {
            shared.limiter.tell(Reason::Connections, self.peer, None);
            return Some(answer(Refusal { reason: Reason::Connections, retry_after: SHORT_PATIENCE * 2 }, Form::Text));
        }
        if self.among_all.is_none() {
            shared.limiter.tell(Reason::AllConnections, self.peer, None);
            return Some(Answer::overloaded());
        }
        None
    }
}

/// What cannot be read as HTTP is refused in words that say what to change.
pub fn unreadable(error: Option<&pingora::Error>) -> Answer {
    let reason = error.map(ToString::to_string).unwrap_or_default();
    let (status, text) = match reason {
        reason if reason.contains("Request header larger than") => (431, "The head of the request is too large."),
        reason if reason.contains("too many headers") => return too_many_fields(),
        // It says no more than that, and the whole target.
        reason if reason.contains("invalid uri") && reason.len() > LONGEST_TARGET => {
            (414, "The address of the request is too long.")
        }
        _ => (400, "Bad request."),
    };
    Answer::new(status, TEXT, format!("{text}\n"))
}

pub fn too_many_fields() -> Answer {
    Answer::new(431, TEXT, "The head of the request has too many fields.\n")
}

/// A request on a connection that was opened for another name, which leads elsewhere (RFC 9110 section 15.5.20). Browsers
/// come again on a new one.
pub fn misdirected() -> Answer {
    Answer::new(421, TEXT, "This name is served elsewhere. Open a connection for it.\n")
}

/// After the answer is known: what no tenant has signed is counted, and beyond the limit the answer is another one.
pub fn settle(
    shared: &Shared,
    config: &Config,
    request: &Request<'_>,
    route: Route<'_>,
    facts: &mut Facts,
    made: Answer,
) -> Answer {
    // Whoever asks for readiness decides by it where traffic goes.
    if facts.signed || matches!(route, Route::Livez | Route::Readyz) {
        return made;
    }
    match shared.limiter.unsigned(request.client, config, Instant::now()) {
        Ok(()) => made,
        Err(refusal) => {
            facts.flooding = true;
            shared.limiter.tell(refusal.reason, request.client, facts.tenant.as_deref().map(Tenant::name));
            let form = match route {
                Route::Api { segment, .. } => Form::of(Call::from_segment(segment)),
                _ => Form::Text,
            };
            answer(refusal, form)
        }
    }
}

/// A request that is to be carried, if its address has sent too many: a page for who wants one.
pub fn carried(shared: &Shared, config: &Config, request: &Request<'_>) -> Option<Answer> {
    let refusal = shared.limiter.carried(request.client, config, Instant::now()).err()?;
    shared.limiter.tell(refusal.reason, request.client, None);
    Some(answer(refusal, if wants_page(request) { Form::Page } else { Form::Text }))
}

/// A browser that goes somewhere, and not a script of a page.
fn wants_page(request: &Request<'_>) -> bool {
    let mut found = false;
    request.lines.each(|name, value| {
        found |= name.eq_ignore_ascii_case(b"accept") && value.windows(9).any(|part| part == b"text/html");
    });
    found
}

/// Makes a flooding caller wait; what is being finished before a stop does not.
pub async fn slow_down(shared: &Shared) {
    let end = tokio::time::Instant::now() + PAUSE;
    while tokio::time::Instant::now() < end && !shared.process.is_stopping() {
        tokio::time::sleep(PAUSE / 10).await;
    }
}
