//! What a request gets, whichever way it came: ours or a server's answer, written, and booked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::{Carried, Facts};
use super::answer::{Answer, TEXT};
use super::app::{PublicApp, farewell, linger};
use super::body::Inbound;
use super::edge::{self, Failure, Fault, Passing, Reply, Way};
use super::limit::Place;
use super::request::Request;
use super::route::Route;
use super::write::After;
use super::{api, challenge, limit, pages, secure, write};
use crate::bbb::Method;
use crate::config::{Config, EdgeMode};
use crate::stream::Stream;

/// An answer before it is written.
pub(super) struct Made {
    pub answer: Answer,
    /// A server's answer, of which `answer` is what the books want to know.
    pub passing: Option<Box<Passing>>,
    pub facts: Facts,
    started: Instant,
    took: Duration,
}

impl Made {
    /// Ours, in the place of a server's.
    pub fn answered(answer: Answer, started: Instant) -> Self {
        let facts = Facts { carried: Some(Carried::default()), ..Facts::default() };
        Self { answer, passing: None, facts, started, took: started.elapsed() }
    }

    /// A server's.
    pub fn carried(status: u16, way: &Way<'_>, passing: Option<Box<Passing>>, started: Instant) -> Self {
        let answer = Answer::carried(status, &way.place.record);
        Self { passing, ..Self::answered(answer, started) }
    }

    /// Nothing can follow on this connection, because only its end tells where the body ends.
    pub fn ends_by_close(&self, is_old: bool) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.ends_by_close(is_old))
    }

    /// What became of a server's answer.
    pub fn passed(&mut self, bytes: u64, fault: Option<Fault>) {
        self.facts.carried = Some(Carried { bytes, broken: fault.map(Fault::word) });
        self.took = self.started.elapsed();
    }
}

impl PublicApp {
    /// The answer to a request, in all lanes.
    pub(super) async fn make(
        &self,
        request: &Request<'_>,
        inbound: &mut Inbound<'_>,
        config: &Arc<Config>,
        place: &Place,
    ) -> Made {
        let started = Instant::now();
        let route = Route::of(request.path);
        let redirect = secure::redirect(&self.shared, config, request, route);
        if let Some(way) = self.way(request, route, config).filter(|_| redirect.is_none()) {
            return self.carry(request, &way, inbound, config, place, started).await;
        }
        let mut facts = Facts::default();
        let answer = match redirect {
            Some(redirect) => redirect,
            None => self.ask(request, route, inbound, config, started, &mut facts).await,
        };
        let mut answer = limit::settle(&self.shared, config, request, (route, place), &mut facts, answer);
        secure::dress(config, request, &mut answer);
        facts.body_read = inbound.read;
        let took = started.elapsed();
        if facts.flooding {
            limit::slow_down(&self.shared, place).await;
        }
        Made { answer, passing: None, facts, started, took }
    }

    async fn ask(
        &self,
        request: &Request<'_>,
        route: Route<'_>,
        inbound: &mut Inbound<'_>,
        config: &Arc<Config>,
        at: Instant,
        facts: &mut Facts,
    ) -> Answer {
        if let Some(answer) = self.edge.brought_home(&self.shared.placer.ledger, request, route, config) {
            return answer;
        }
        match route {
            Route::Api { tenant, segment } => {
                let called = api::Called { tenant, segment, config, at };
                api::answer(&self.shared, request, called, inbound, facts).await
            }
            Route::Livez => Answer::new(200, TEXT, "alive\n"),
            Route::Readyz => {
                let (status, text) = self.shared.readiness();
                Answer::new(status, TEXT, text)
            }
            Route::Landing => pages::landing(request.query),
            Route::Challenge(token) => challenge::answer(token, config.tls.challenge_webroot.as_deref()).await,
            Route::Client | Route::Nothing => {
                Answer::new(404, TEXT, "Nothing here. The BBB API is at /bigbluebutton/api.\n")
            }
        }
    }

    /// The server that the edge carries this request to, if it does.
    pub(super) fn way<'r>(&self, request: &Request<'r>, route: Route<'_>, config: &Config) -> Option<Way<'r>> {
        let is_free = match config.edge.mode {
            EdgeMode::Redirect => false,
            EdgeMode::Host => true,
            // Our own paths come first.
            EdgeMode::Path => route == Route::Nothing,
        };
        // These are about the connection itself, and no browser sends them.
        if !is_free || matches!(request.method_text, "CONNECT" | "TRACE") {
            return None;
        }
        self.edge.find(&self.shared.placer.ledger, request, config)
    }

    /// The answer of the request's server.
    async fn carry(
        &self,
        request: &Request<'_>,
        way: &Way<'_>,
        inbound: &mut Inbound<'_>,
        config: &Arc<Config>,
        place: &Place,
        started: Instant,
    ) -> Made {
        let shared = &self.shared;
        if let Some(refusal) = edge::refused(way, config.listen.public_base()) {
            return Made::answered(refusal, started);
        }
        let claim = match limit::carried_for(shared, config, request, way, place) {
            Ok(claim) => claim,
            Err(refusal) => return Made::answered(limit::not_carried(shared, request, refusal), started),
        };
        let admit = || limit::carries(shared, config, request, claim, place);
        let mut made = match self.edge.answer(request, way, inbound, config, &admit).await {
            Ok(Reply::Passing(passing)) => {
                let fields = |with: &mut dyn FnMut(&str, &[u8])| _ = passing.each_field(with);
                let sessions = &shared.limiter.sessions;
                edge::learn(sessions, request, way, (claim, passing.status()), fields, Instant::now());
                Made::carried(passing.status(), way, Some(passing), started)
            }
            Ok(Reply::Kept(answer)) => Made::answered(answer, started),
            Err(Failure::Limited(refusal)) => Made::answered(limit::not_carried(shared, request, refusal), started),
            Err(failure) => Made::answered(edge::refusal(&failure, &way.place.record), started),
        };
        made.facts.body_read = inbound.read;
        secure::dress(config, request, &mut made.answer);
        made
    }

    /// Writes the answer and the books; true if another request may follow.
    pub(super) async fn deliver(
        &self,
        stream: &mut Stream,
        request: &Request<'_>,
        mut made: Made,
        after: After,
        config: &Config,
    ) -> bool {
        let written = match made.passing.take() {
            None => {
                let head_only = request.method == Method::Head;
                let limit = config.limits.body_timeout;
                write::answer(stream, &made.answer, &request.id, head_only, after, limit).await
            }
            Some(mut passing) => {
                let lines = write::last_lines(&made.answer, &request.id, after);
                let passed = passing.write(stream, &lines, request.is_old).await;
                made.passed(passed.bytes, passed.fault);
                if passed.whole {
                    self.edge.keep(*passing, config);
                }
                passed.whole
            }
        };
        self.note(request, &made, config);
        match after {
            _ if !written => {}
            After::Keep | After::KeepOld => {}
            After::Close => linger(stream, config.limits.body_timeout).await,
            After::Farewell => _ = farewell(stream, config.limits.body_timeout).await,
        }
        written && after.keeps()
    }

    /// The books of an answer that has been written.
    pub(super) fn note(&self, request: &Request<'_>, made: &Made, config: &Config) {
        let Made { answer, facts, took, .. } = made;
        let route = if facts.carried.is_some() { Route::Client } else { Route::of(request.path) };
        let log_access = config.log.access && !facts.flooding;
        self.access.record(request, route, answer, facts, *took, log_access);
    }
}
