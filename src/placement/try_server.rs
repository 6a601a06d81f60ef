//! A claimed meeting meets its server, and the next one if the first fails.
//!
//! A server that fails is left for the next best inside the same request. If it may have done the work it is asked
//! first, and whatever it may still bring to life is noted as an eviction in the same transaction that moves the
//! placement. A refusal that is the caller's fault would be the same everywhere and is passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{info, warn};

use super::create::{Outcome, answered, late, store_failed, store_limit};
use super::settle::{Displaced, Reservation};
use super::unwritten::{Unwritten, Written};
use super::{Choice, CreateAnswer, CreateOrder, Placer, Snapshot, Wish};
use crate::bbb::{self, Created, Meeting, Params, Reply};
use crate::client::{Body, CallError, ok};
use crate::error::ApiError;
use crate::ids::MeetingKey;
use crate::store::{Change, Eviction, ServerRecord};

/// Asking a server whether it did the work after all.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(2);
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
    /// This server cannot; nothing happened there.
    Failed(String),
    /// This server cannot; it may have done the work, or may still do it.
    Unclear(String),
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
        loop {
            let left = order.left();
            if left.is_zero() {
                // Nothing was sent to this server yet; a call without time would only look like its failure.
                self.give_up(key, &server, reserved.version, None, displaced).await;
                return Err(late());
            }
            let limit = left.mul_f64(TRY_SHARE).max(LEAST_TRY.min(left));
            let (reason, leftover) = match self.send_anew(&server, &order.params, order, limit).await {
                Try::Done(created, body) => {
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
                Try::Failed(reason) => (reason, None),
                Try::Unclear(reason) => match self.ask(&server, order).await {
                    Some(meeting) => {
                        info!(server = server.name.as_str(), meeting = key.meeting.as_str(), reason = reason.as_str();
                            "create was unclear but had happened, meeting kept");
                        let body = Bytes::from(bbb::created_from_meeting(&meeting));
                        let written = self.confirm_meeting(key, &server, &meeting).await;
                        return Ok(told(written, || answered(&server, body, started, None)));
                    }
                    None => (reason, Some(self.eviction(&server, order))),
                },
            };
            warn!(server = server.name.as_str(), meeting = key.meeting.as_str(), reason = reason.as_str();
                "create failed on a server, trying the next");
            wish.exclude.push(server.id);
            let out_of_time = order.left() < LEAST_TRY;
            let next = if out_of_time { None } else { self.next_server(key, &wish) };
            let Some((choice, next, before)) = next else {
                self.give_up(key, &server, reserved.version, leftover, displaced).await;
                return Err(ApiError::server(
                    "internalError",
                    "No server could create the meeting. Try again in a moment.",
                ));
            };
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

    /// One call of `create`.
    pub(super) async fn send(
        &self,
        server: &Arc<ServerRecord>,
        params: &Params,
        order: &CreateOrder,
        limit: Duration,
    ) -> Try {
        let body = match &order.body {
            None => Body::None,
            Some((content_type, bytes)) => Body::Bytes(content_type, bytes.clone()),
        };
        let answer = match self.client.call(server, "create", &params.to_query(), body, limit).await.and_then(ok) {
            Ok(answer) => answer,
            Err(error) if error.refuses_request() => return Try::TooMuch,
            Err(error) => {
                self.monitor.call_failed(server.id, &error);
                let reason = error.to_string();
                return if error.may_have_happened() { Try::Unclear(reason) } else { Try::Failed(reason) };
            }
        };
        match bbb::read_created(&answer.body) {
            Ok(Ok(created)) => {
                self.monitor.call_worked(server.id);
                Try::Done(Box::new(created), answer.body)
            }
            Ok(Err(reply)) if reply.blames_server() || reply.key.is_empty() => {
                let error = CallError::Refused(reply.key);
                self.monitor.call_failed(server.id, &error);
                Try::Failed(error.to_string())
            }
            Ok(Err(reply)) => Try::Refused(reply, answer.body),
            Err(bad) => {
                let error = CallError::from(bad);
                self.monitor.call_failed(server.id, &error);
                Try::Unclear(error.to_string())
            }
        }
    }

    /// Whether a server did the work of a create whose answer was lost.
    async fn ask(&self, server: &Arc<ServerRecord>, order: &CreateOrder) -> Option<Meeting> {
        let limit = order.left().mul_f64(ASK_SHARE).min(ASK_LIMIT);
        let found = self.client.meeting(server, &order.wish.bbb_id, limit).await.ok().flatten()?;
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
