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

use parking_lot::Mutex;

use super::access::Facts;
use super::answer::{Answer, TEXT};
use super::api;
use super::arrival::Listener;
use super::edge;
use super::pages;
use super::request::Request;
use super::route::Route;
use crate::bbb::Call;
use crate::config::Config;
use crate::error::ApiError;
use crate::limit::{Claim, Counted, Crowd, Reason, Refusal};
use crate::process::{self, Shared};
use crate::tenant::Tenant;

/// How long a flooding caller waits for its answer. With `limits.connections_per_address` it bounds what such an address
/// can send: 2048 connections, a request each 3 s.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a connection too many may take to say what it wants.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// A connection too many that carries what nobody speaks for.
const OVER: Refusal = Refusal { reason: Reason::Connections, retry_after: Duration::from_secs(2) };
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
    of_address: Mutex<OfAddress>,
    /// Its address is not counted, so nothing has to be looked at.
    is_exempt: bool,
    peer: Option<IpAddr>,
}

struct OfAddress {
    counted: Counted,
    /// Held while it is one too many and nobody has spoken for it.
    refused: Option<process::Open>,
}

impl Place {
    /// `None`: so many are being refused that this one gets no answer.
    pub fn take(shared: &Shared, listener: Listener, peer: SocketAddr, config: &Config) -> Option<Self> {
        let peer = Some(peer.ip().to_canonical());
        let counted = shared.limiter.connect(peer, config, Instant::now());
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
        let is_over = among_all.is_none() || counted.crowd() == Crowd::Over;
        let refused = if is_over { Some(shared.process.begin_refusal(limit / 8 + 16)?) } else { None };
        let is_exempt = counted.is_exempt();
        Some(Self { among_all, of_address: Mutex::new(OfAddress { counted, refused }), is_exempt, peer })
    }

    /// How long the head may take, or a part of a body. A connection too many must not wait for long, but an answer before the
    /// head would break the protocol, and the head says who speaks for it.
    pub fn patience(&self, patience: Duration) -> Duration {
        let is_refused = !self.is_exempt || self.among_all.is_none();
        let is_refused = is_refused && self.of_address.lock().refused.is_some();
        if is_refused { patience.min(SHORT_PATIENCE) } else { patience }
    }

    /// The connection is whose its present request is.
    pub fn claim(&self, shared: &Shared, claim: Claim, config: &Config) {
        if self.is_exempt {
            return;
        }
        let mut of_address = self.of_address.lock();
        if of_address.counted.is(claim) {
            return;
        }
        shared.limiter.claim(&mut of_address.counted, claim, config, Instant::now());
        if of_address.counted.crowd() != Crowd::Over && self.among_all.is_some() {
            of_address.refused = None;
        }
    }

    /// To be closed after the answer, to make room.
    pub fn is_crowded(&self) -> bool {
        self.crowd() != Crowd::Free
    }

    /// One too many of its address, and nobody speaks for it.
    pub fn is_over(&self) -> bool {
        self.crowd() == Crowd::Over
    }

    fn crowd(&self) -> Crowd {
        if self.is_exempt { Crowd::Free } else { self.of_address.lock().counted.crowd() }
    }

    /// The connection ends, and was its session's until now.
    pub fn leave(self, shared: &Shared) {
        if let Some(session) = self.of_address.lock().counted.session() {
            shared.limiter.sessions.renew(session, self.peer, Instant::now());
        }
    }

    /// What a connection too many in all is told.
    pub fn refusal(&self, shared: &Shared) -> Option<Answer> {
        if self.among_all.is_some() {
            return None;
        }
        shared.limiter.tell(Reason::AllConnections, self.peer, None);
        Some(Answer::overloaded())
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

/// After the answer is known: what no tenant has signed and no session speaks for is counted, and beyond the limit the answer is
/// another one.
pub fn settle(
    shared: &Shared,
    config: &Config,
    request: &Request<'_>,
    (route, place): (Route<'_>, &Place),
    facts: &mut Facts,
    made: Answer,
) -> Answer {
    if facts.signed {
        if !facts.flooding {
            place.claim(shared, Claim::Tenant, config);
        }
        return made;
    }
    let claim = edge::claim(&shared.limiter.sessions, request);
    place.claim(shared, claim, config);
    let counted = match route {
        _ if place.is_over() => Err(OVER),
        // Whoever asks for readiness decides by it where traffic goes.
        Route::Livez | Route::Readyz => Ok(()),
        _ => shared.limiter.unsigned(request.client, claim, config, Instant::now()),
    };
    match counted {
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

/// Whose a request is that is to be carried; an error if it is the same join over and over.
pub fn carried_for(
    shared: &Shared,
    config: &Config,
    request: &Request<'_>,
    way: &edge::Way<'_>,
    place: &Place,
) -> Result<Claim, Refusal> {
    let limiter = &shared.limiter;
    let claim = match edge::signature(request, way) {
        Some((call, checksum)) => {
            if call == Call::Join {
                limiter.join(request.client, &checksum, config, Instant::now())?;
            }
            Claim::Tenant
        }
        None => edge::claim(&limiter.sessions, request),
    };
    place.claim(shared, claim, config);
    Ok(claim)
}

/// Whether a request may go to its server; what is answered from memory is not asked.
pub fn carries(
    shared: &Shared,
    config: &Config,
    request: &Request<'_>,
    claim: Claim,
    place: &Place,
) -> Result<(), Refusal> {
    if place.is_over() {
        return Err(OVER);
    }
    shared.limiter.carried(request.client, claim, config, Instant::now())
}

/// A request that is not carried, because there have been too many: a page for who wants one.
pub fn not_carried(shared: &Shared, request: &Request<'_>, refusal: Refusal) -> Answer {
    shared.limiter.tell(refusal.reason, request.client, None);
    answer(refusal, if wants_page(request) { Form::Page } else { Form::Text })
}

/// A browser that goes somewhere, and not a script of a page.
fn wants_page(request: &Request<'_>) -> bool {
    let mut found = false;
    request.lines.each(|name, value| {
        found |= name.eq_ignore_ascii_case(b"accept") && value.windows(9).any(|part| part == b"text/html");
    });
    found
}

/// Makes a flooding caller wait, unless his connection takes a place among those being refused; what is being finished before a
/// stop does not.
pub async fn slow_down(shared: &Shared, place: &Place) {
    if place.is_over() {
        return;
    }
    let end = tokio::time::Instant::now() + PAUSE;
    while tokio::time::Instant::now() < end && !shared.process.is_stopping() {
        tokio::time::sleep(PAUSE / 10).await;
    }
}
