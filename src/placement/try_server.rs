//! A claimed meeting meets its server, and the next one if the first fails.
//!
//! A server that fails is left for the next best inside the same request. If it may have done the work it is asked
//! first, and whatever it may still bring to life is noted as an eviction in the same transaction that moves the
//! placement. A refusal that is the caller's fault would be the same everywhere and is passed on. A server that answers,
//! but not as BBB does, may have been asked something that it cannot digest: then one more is tried, and if that fails
//! likewise the request is at fault, and nobody else is to pay for it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::info;
use tokio::time::timeout;

use super::create::{Outcome, answered, late, store_failed, store_limit};
use super::settle::{Displaced, Reservation};
use super::unwritten::{Unwritten, Written};
use super::{CallMade, Choice, CreateAnswer, CreateOrder, Placer, Snapshot, Wish};
use crate::bbb::{self, Call, Created, Meeting, Params, Reply};
use crate::client::{Answer, Body, CallError, ok};
use crate::error::ApiError;
use crate::ids::{MeetingKey, ServerId};
use crate::store::{Change, Eviction, ServerRecord};

/// Asking a server about a meeting.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Asking whether it did the work after all, which it takes no time to know.
const ASK_AGAIN_LIMIT: Duration = Duration::from_secs(1);
/// Servers that may answer one create with an error or nonsense.
const MOST_BAD_ANSWERS: usize = 2;
/// Bytes. nginx and the servlet container behind it take a head of 8 KiB; the rest of it needs some.
const LONGEST_QUERY: usize = 6 * 1024;
/// Bytes of slides that are taken to reach a server in a second, on top of the time for an attempt.
const SLIDES_PER_SECOND: f64 = 1_000_000.0;
/// With less time left than this no further server is tried.
const LEAST_TRY: Duration = Duration::from_millis(500);
/// Share of the remaining time that one try may take, so that a silent server leaves time for another.
const TRY_SHARE: f64 = 0.6;
/// The same for asking afterwards.
const ASK_SHARE: f64 = 0.3;

/// How one try on one server went.
pub(super) enum Try {
    Done(Box<Created>, Bytes),
    /// BBB refused for a reason that is the caller's: the same everywhere.
    Refused(Reply, Bytes),
    /// The request is too long or too large for the server; nothing happened, and it would be so everywhere.
    TooMuch,
    /// This server cannot; if `may_have_happened`, it may have done the work, or may still do it.
    Failed(CallError),
}

impl Placer {
    /// Calls the chosen server and, as long as it fails through no fault of the caller, the next best one.
    pub(super) async fn try_servers(
        &self,
        order: &CreateOrder,
        first: Arc<ServerRecord>,
        displaced: Option<Displaced>,
        reserved: &mut Reservation<'_>,
    ) -> Result<Outcome, ApiError> {
        let key = &order.wish.key;
        let started = Instant::now();
        let mut server = first;
        let mut wish = order.wish.clone();
        // Those that have answered badly, and what the last of them said.
        let mut puzzled: Vec<ServerId> = Vec::new();
        loop {
            let left = order.left();
            if left.is_zero() {
                // Nothing was sent to this server yet; a call without time would only look like its failure.
                self.give_up(key, &server, reserved.version, None, displaced).await;
                return Err(late());
            }
            let limit = left.mul_f64(TRY_SHARE).max(LEAST_TRY.min(left));
            wish.exclude.push(server.id);
            let made = self.monitor.calling(server.id, Call::Create);
            let patience = Some((self.patience(order), &wish));
            let (error, leftover) = match self.send_anew(made, &server, &order.params, order, limit, patience).await {
                Try::Done(created, body) => {
                    self.monitor.create_worked_elsewhere(&puzzled);
                    let written = self.confirm(key, &server, &created, order, reserved.version).await;
                    return Ok(told(written, || answered(&server, body, started, None)));
                }
                Try::Refused(reply, body) => {
                    self.give_up(key, &server, reserved.version, None, displaced).await;
                    return Ok(Outcome::Answered(answered(&server, body, started, Some(reply))));
                }
                Try::TooMuch => {
                    self.give_up(key, &server, reserved.version, None, displaced).await;
                    return Err(ApiError::too_large("The BigBlueButton server does not take a request of this size."));
                }
                Try::Failed(error) if !error.may_have_happened() => (error, None),
                Try::Failed(error) => match self.ask(&server, order).await {
                    Some(meeting) => {
                        self.monitor.call_failed(made, &error);
                        info!(server = server.name.as_str(), meeting = key.meeting.as_str(), reason:% = error;
                            "create was unclear but had happened, meeting kept");
                        let body = Bytes::from(bbb::created_from_meeting(&meeting));
                        let written = self.confirm_meeting(key, &server, &meeting).await;
                        return Ok(told(written, || answered(&server, body, started, None)));
                    }
                    None => (error, Some(self.eviction(&server, order))),
                },
            };
            // Said after the server was asked: one that speaks about everything else was not silent.
            if !self.monitor.call_failed(made, &error) {
                self.monitor.create_failed(server.id, key);
                puzzled.push(server.id);
            }
            let is_over = puzzled.len() >= MOST_BAD_ANSWERS || order.left() < LEAST_TRY;
            let next = if is_over { None } else { self.next_server(key, &wish) };
            let Some((choice, next, before)) = next else {
                self.give_up(key, &server, reserved.version, leftover, displaced).await;
                return Err(self.nobody_could(key, &puzzled, &error));
            };
            info!(server = server.name.as_str(), meeting = key.meeting.as_str(), next = next.name.as_str(),
                reason:% = error; "create failed on a server, trying the next");
            let from = std::mem::replace(&mut server, next);
            reserved.server = choice.server;
            let has_leftover = leftover.is_some();
            let why = choice.why.to_json();
            let moved = self.store.move_placement(key, reserved.version, choice.server, why, leftover.clone());
            match self.placed_in_store("move", key, store_limit(order), moved).await {
                Ok(Change::Made(version)) => {
                    reserved.version = version;
                    self.ledger.note_version(key, choice.server, version);
                    if has_leftover {
                        self.reload_evictions().await;
                    }
                }
                // Another process has moved it, or has had an answer from the server that failed us.
                Ok(Change::Lost(theirs)) => {
                    self.ledger.cancel(key, choice.server);
                    let is_there = theirs.as_ref().is_some_and(|theirs| theirs.server == from.id);
                    if let Some(eviction) = leftover.filter(|_| !is_there) {
                        self.write_or_keep(Unwritten::Evicted(eviction)).await;
                    }
                    if let Some(theirs) = theirs {
                        self.ledger.put(theirs, self.clock.now());
                    }
                    return Ok(Outcome::Elsewhere);
                }
                Err(error) => {
                    // The claim on the failed server is still what the store says; polls of it decide.
                    self.ledger.put_back(key, before, self.clock.now());
                    self.ledger.release(key, from.id);
                    return Err(store_failed(&error));
                }
            }
            self.metrics.create_retries.inc();
            self.metrics.placements.with_label_values(&[&server.name, "retry"]).inc();
        }
    }

    /// The next best server with the reservation moved there, and what the ledger had before.
    fn next_server(&self, key: &MeetingKey, wish: &Wish) -> Option<(Choice, Arc<ServerRecord>, Snapshot)> {
        let before = self.ledger.snapshot(key)?;
        let choice = self.ledger.rechoose(wish, self.clock.now()).ok()?;
        let Some(record) = self.server_of(&choice) else {
            self.ledger.put_back(key, before, self.clock.now());
            return None;
        };
        Some((choice, record, before))
    }

    /// What the caller is told when no server could. Of several that answered, the request is what they have in common,
    /// unless they fail at everything.
    fn nobody_could(&self, key: &MeetingKey, puzzled: &[ServerId], last: &CallError) -> ApiError {
        info!(meeting = key.meeting.as_str(), servers = puzzled.len(), reason:% = last; "no server could create the meeting");
        if puzzled.len() >= MOST_BAD_ANSWERS && !self.monitor.can_create_nothing(puzzled) {
            return ApiError::client(
                "validationError",
                "Several BigBlueButton servers failed at this request. Look at what it contains: groups, slides and \
                 their addresses.",
            );
        }
        ApiError::server("internalError", "No server could create the meeting. Try again in a moment.")
    }

    /// How long a server may take for a create while another one could have it.
    fn patience(&self, order: &CreateOrder) -> Duration {
        let slides = order.body.as_ref().map_or(0, |(_, bytes)| bytes.len());
        self.settings.load().create_attempt + Duration::from_secs_f64(slides as f64 / SLIDES_PER_SECOND)
    }

    /// One call of `create`, of at most `limit`. After the patience it is left if another server could have the meeting.
    /// Whoever gets `Failed` tells the monitor.
    pub(super) async fn send(
        &self,
        made: CallMade,
        server: &Arc<ServerRecord>,
        params: &Params,
        order: &CreateOrder,
        limit: Duration,
        patience: Option<(Duration, &Wish)>,
    ) -> Try {
        let body = match &order.body {
            None => Body::None,
            Some((content_type, bytes)) => Body::Bytes(content_type, bytes.clone()),
        };
        let mut call = pin!(self.call_create(server, params, order.is_form, body, limit));
        let outcome = match patience {
            None => call.await,
            Some((patience, wish)) => match timeout(patience, &mut call).await {
                Ok(outcome) => outcome,
                Err(_) if self.ledger.has_server_for(wish, self.clock.now()) => {
                    Err(CallError::Silent(format!("no complete answer within {} ms", patience.as_millis())))
                }
                Err(_) => call.await,
            },
        };
        let answer = match outcome.and_then(ok) {
            Ok(answer) => answer,
            Err(error) if error.refuses_request() => return Try::TooMuch,
            Err(error) => return Try::Failed(error),
        };
        match bbb::read_created(&answer.body) {
            Ok(Ok(created)) => {
                self.monitor.call_worked(made);
                Try::Done(Box::new(created), answer.body)
            }
            Ok(Err(reply)) if reply.blames_server() || reply.key.is_empty() => {
                Try::Failed(CallError::Refused(reply.key))
            }
            Ok(Err(reply)) => Try::Refused(reply, answer.body),
            Err(bad) => Try::Failed(CallError::from(bad)),
        }
    }

    /// Parameters in the query, but for a form that is too long for one. Which signature of a form the server takes is
    /// guessed by its version; if it refuses that one, nothing has happened, and the other is right.
    async fn call_create(
        &self,
        server: &Arc<ServerRecord>,
        params: &Params,
        is_form: bool,
        body: Body,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let query = params.to_query();
        if !is_form || query.len() <= LONGEST_QUERY {
            return self.client.call(server, "create", &query, body, limit).await;
        }
        let started = Instant::now();
        let view = self.ledger.server(server.id);
        let rebuilt = bbb::signs_forms(view.as_ref().and_then(|view| view.version.as_deref()));
        let answer = self.client.post_form(server, "create", params, rebuilt, limit).await?;
        let is_refused = bbb::read_reply(&answer.body).is_ok_and(|reply| reply.key == "checksumError");
        let rest = limit.saturating_sub(started.elapsed());
        if is_refused { self.client.post_form(server, "create", params, !rebuilt, rest).await } else { Ok(answer) }
    }

    /// Whether a server did the work of a create whose answer was lost.
    async fn ask(&self, server: &Arc<ServerRecord>, order: &CreateOrder) -> Option<Meeting> {
        let limit = order.left().mul_f64(ASK_SHARE).min(ASK_AGAIN_LIMIT);
        let made = self.monitor.calling(server.id, Call::GetMeetingInfo);
        let found = self.client.meeting(server, &order.wish.bbb_id, limit).await.ok()?;
        self.monitor.call_worked(made);
        let found = found?;
        let is_over = found.forcibly_ended || self.ledger.has_ended(&found.internal_id, self.clock.now());
        (!is_over).then_some(found)
    }

    fn eviction(&self, server: &ServerRecord, order: &CreateOrder) -> Eviction {
        Eviction {
            server: server.id,
            bbb_id: order.wish.bbb_id.clone(),
            internal_id: None,
            moderator_pw: None,
            since: self.clock.now(),
        }
    }
}

pub(super) fn told(written: Written, answer: impl FnOnce() -> CreateAnswer) -> Outcome {
    match written {
        Written::Here => Outcome::Answered(answer()),
        Written::Elsewhere => Outcome::Elsewhere,
    }
}
