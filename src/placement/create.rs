//! A `create`, from the claim to BBB's answer.
//!
//! The order keeps the promises: reserve in the ledger, make the claim durable, only then call the server. A server
//! that fails is left for the next one inside the same request; if it may have done the work it is asked first, and
//! whatever it may still bring to life is noted as an eviction in the same transaction that moves the placement, so
//! that a meeting never has a twin. Passwords, ids and the body go to every server unchanged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{info, warn};
use tokio::sync::OwnedSemaphorePermit;

use super::unwritten::Unwritten;
use super::{Choice, Confirmed, MeetingView, Placer, Refusal, Snapshot, Wish};
use crate::bbb::{self, Created, Meeting, NewMeeting, Params, Reply};
use crate::client::{Body, CallError, ok};
use crate::error::ApiError;
use crate::ids::{MeetingKey, ServerId};
use crate::pool::Health;
use crate::store::{Claim, Confirmation, Eviction, Phase, Placement, ServerRecord, ServerState, StoreError};

/// Asking a server whether it did the work after all.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// With less time left than this no further server is tried.
const LEAST_TRY: Duration = Duration::from_millis(500);
/// How long an answer waits for the store to take the confirmation.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);
/// Share of the remaining time that one try may take, so that a silent server leaves time for another.
const TRY_SHARE: f64 = 0.6;
/// The same for asking afterwards.
const ASK_SHARE: f64 = 0.3;

/// Everything a create needs, independent of the server that will take it.
pub struct CreateOrder {
    pub wish: Wish,
    /// Final parameters: rules applied, ids scoped.
    pub params: Params,
    /// XML or multipart body with its content type.
    pub body: Option<(&'static str, Bytes)>,
    pub deadline: Instant,
    /// What the request was lent (its place among the creates, memory for slides); given back with the order.
    pub lent: Vec<OwnedSemaphorePermit>,
}

/// BBB's own answer, for the caller.
pub struct CreateAnswer {
    pub body: Bytes,
    pub server: Arc<ServerRecord>,
    pub upstream: Duration,
    /// The answer is a SUCCESS.
    pub success: bool,
    /// messageKey of a FAILED answer.
    pub key: String,
}

/// How one try on one server went.
enum Try {
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
    /// Creates the meeting, or finds it created. Errors have changed nothing.
    ///
    /// Runs on a task of its own, bounded by the order's deadline: a caller who hangs up must leave no reservation and
    /// no placement half made.
    pub async fn create(self: &Arc<Self>, order: CreateOrder) -> Result<CreateAnswer, ApiError> {
        let placer = self.clone();
        let work = tokio::spawn(async move { placer.create_in_turn(&order).await });
        work.await.unwrap_or_else(|error| {
            log::error!(error:% = error; "create broken off");
            Err(ApiError::us("The meeting could not be created. Try again in a moment."))
        })
    }

    async fn create_in_turn(&self, order: &CreateOrder) -> Result<CreateAnswer, ApiError> {
        let key = &order.wish.key;
        let limit = order.deadline.saturating_duration_since(Instant::now());
        let turn = tokio::time::timeout(limit, self.gate.enter(key)).await;
        let turn =
            turn.map_err(|_| ApiError::server("internalError", "Another create of this meeting is still running."))?;
        loop {
            let Some(view) = self.ledger.find(key) else { return self.place(order).await };
            match self.fate(&view, order).await? {
                Fate::Moves(eviction) => return self.replace(order, &view, eviction).await,
                // Held before others get their turn: from here on no poll ends it, and no news replaces it.
                Fate::Stays if self.ledger.hold(key, view.server, self.clock.now()) => {
                    drop(turn);
                    return self.repeat(order, &view).await;
                }
                Fate::Stays => {} // it ended in this very moment
            }
        }
    }

    /// Whether a create for a placed meeting goes to its server or to another one.
    async fn fate(&self, view: &MeetingView, order: &CreateOrder) -> Result<Fate, ApiError> {
        let now = self.clock.now();
        let server = &view.record;
        if view.health == Health::Down {
            let down_for = view.down_since.map_or(Duration::ZERO, |since| now.since(since));
            let patience = self.settings.load().failover_after;
            if down_for < patience {
                let rest = (patience - down_for).as_secs() + 1;
                return Err(unavailable(format!(
                    "The server of this meeting does not answer. Try again in {rest} seconds."
                )));
            }
            info!(server = server.name.as_str(), meeting = view.key.meeting.as_str(), down_for = down_for.as_secs();
                "meeting is created elsewhere, its server stays down");
            return Ok(Fate::Moves(Some(eviction_of(view, now))));
        }
        if server.state == ServerState::Enabled {
            return Ok(Fate::Stays);
        }
        // A server being emptied keeps what runs on it, but gets nothing back that has ended.
        let limit = order.deadline.saturating_duration_since(Instant::now()).min(ASK_LIMIT);
        match self.client.meeting(server, &view.called, limit).await {
            Ok(Some(_)) => Ok(Fate::Stays),
            Ok(None) => Ok(Fate::Moves(None)),
            Err(error) => {
                self.monitor.call_failed(server.id, &error);
                Err(unavailable("The server of this meeting does not answer. Try again in a moment."))
            }
        }
    }

    /// A create for a meeting that has its server, held by the caller: BBB answers it as the duplicate it is.
    async fn repeat(&self, order: &CreateOrder, view: &MeetingView) -> Result<CreateAnswer, ApiError> {
        let server = &view.record;
        let started = Instant::now();
        let params = with_known_passwords(&order.params, view);
        let limit = order.deadline.saturating_duration_since(started);
        match self.send(server, &params, order, limit).await {
            Try::Done(created, body) => {
                self.confirm(&order.wish.key, server, &created, order).await;
                Ok(answered(server, body, started, None))
            }
            Try::Refused(reply, body) => {
                self.ledger.release(&order.wish.key, server.id);
                Ok(answered(server, body, started, Some(reply)))
            }
            Try::TooMuch => {
                self.ledger.release(&order.wish.key, server.id);
                Err(ApiError::too_large("The BigBlueButton server does not take a request of this size."))
            }
            Try::Failed(reason) | Try::Unclear(reason) => {
                self.ledger.release(&order.wish.key, server.id);
                warn!(server = server.name.as_str(), reason = reason.as_str(); "create for a running meeting failed");
                Err(unavailable("The server of this meeting does not answer. Try again in a moment."))
            }
        }
    }

    /// A meeting nobody has placed: choose, claim, call.
    async fn place(&self, order: &CreateOrder) -> Result<CreateAnswer, ApiError> {
        let key = &order.wish.key;
        let now = self.clock.now();
        let choice = self.ledger.choose(&order.wish, now).map_err(|refusal| self.refused(refusal, order))?;
        let mut reserved = Reservation { placer: self, key, server: choice.server, kept: false };
        let server = self.server_of(&choice);
        let server = server.ok_or_else(|| ApiError::us("The chosen server has just been removed. Try again."))?;
        let placement = Placement {
            tenant: key.tenant,
            meeting: key.meeting.clone(),
            bbb_id: order.wish.bbb_id.clone(),
            server: choice.server,
            phase: Phase::Claimed,
            internal_id: None,
            create_time: 0,
            attendee_pw: None,
            moderator_pw: None,
            claimed_at: now,
            why: choice.why.to_json(),
        };
        match self.timed_store("claim", self.store.claim(placement)).await {
            Ok(Claim::Won) => {}
            Ok(Claim::Taken(theirs)) => {
                // Another process was first; its server answers ours as a duplicate.
                self.metrics.placement_conflicts.inc();
                drop(reserved);
                self.ledger.put(theirs, self.clock.now());
                let view = self.ledger.find(key).filter(|view| self.ledger.hold(key, view.server, now));
                let view = view.ok_or_else(|| ApiError::us("The meeting's server is unknown here."))?;
                return self.repeat(order, &view).await;
            }
            Err(StoreError::Conflict(_)) => {
                return Err(ApiError::client("idNotUnique", "A meeting already exists with that meeting ID."));
            }
            Err(error) => return Err(store_failed(&error)),
        }
        self.metrics.placements.with_label_values(&[&server.name, choice.reason]).inc();
        let outcome = self.try_servers(order, server, None, &mut reserved).await;
        reserved.kept = true; // from here on the outcome has settled it
        outcome
    }

    /// A placed meeting whose server is lost or being emptied: move the placement, then as a fresh one.
    async fn replace(
        &self,
        order: &CreateOrder,
        view: &MeetingView,
        eviction: Option<Eviction>,
    ) -> Result<CreateAnswer, ApiError> {
        let key = &order.wish.key;
        let mut wish = order.wish.clone();
        wish.exclude.push(view.server);
        let Some(before) = self.ledger.snapshot(key) else {
            return Err(unavailable("This meeting has just ended. Try again in a moment."));
        };
        let choice = self.ledger.rechoose(&wish, self.clock.now()).map_err(|refusal| self.refused(refusal, order))?;
        let Some(server) = self.server_of(&choice) else {
            self.ledger.put_back(key, before, self.clock.now());
            return Err(ApiError::us("The chosen server has just been removed. Try again."));
        };
        let moved = self.store.move_placement(key, view.server, choice.server, choice.why.to_json(), eviction.clone());
        match self.timed_store("move", moved).await {
            Ok(true) => {}
            Ok(false) => {
                self.ledger.put_back(key, before, self.clock.now());
                self.reread(key).await;
                return Err(unavailable("This meeting is being moved. Try again in a moment."));
            }
            Err(error) => {
                self.ledger.put_back(key, before, self.clock.now());
                return Err(store_failed(&error));
            }
        }
        self.reload_evictions().await;
        self.metrics.placements.with_label_values(&[&server.name, choice.reason]).inc();
        let mut reserved = Reservation { placer: self, key, server: choice.server, kept: false };
        // Nothing to go back to where the server has said that the meeting is over.
        let displaced = eviction.map(|eviction| Displaced { server: view.server, before, eviction });
        let outcome = self.try_servers(order, server, displaced, &mut reserved).await;
        reserved.kept = true;
        outcome
    }

    /// Calls the chosen server and, as long as it fails through no fault of the caller, the next best one.
    async fn try_servers(
        &self,
        order: &CreateOrder,
        first: Arc<ServerRecord>,
        displaced: Option<Displaced>,
        reserved: &mut Reservation<'_>,
    ) -> Result<CreateAnswer, ApiError> {
        let key = &order.wish.key;
        let started = Instant::now();
        let mut server = first;
        let mut wish = order.wish.clone();
        loop {
            let left = order.deadline.saturating_duration_since(Instant::now());
            let limit = left.mul_f64(TRY_SHARE).max(LEAST_TRY.min(left));
            let (reason, leftover) = match self.send(&server, &order.params, order, limit).await {
                Try::Done(created, body) => {
                    self.confirm(key, &server, &created, order).await;
                    return Ok(answered(&server, body, started, None));
                }
                Try::Refused(reply, body) => {
                    self.give_up(key, &server, None, displaced).await;
                    return Ok(answered(&server, body, started, Some(reply)));
                }
                Try::TooMuch => {
                    self.give_up(key, &server, None, displaced).await;
                    return Err(ApiError::too_large("The BigBlueButton server does not take a request of this size."));
                }
                Try::Failed(reason) => (reason, None),
                Try::Unclear(reason) => match self.ask(&server, order).await {
                    Some(meeting) => {
                        info!(server = server.name.as_str(), meeting = key.meeting.as_str(), reason = reason.as_str();
                            "create was unclear but had happened, meeting kept");
                        let body = Bytes::from(bbb::created_from_meeting(&meeting));
                        self.confirm_meeting(key, &server, &meeting).await;
                        return Ok(answered(&server, body, started, None));
                    }
                    None => (reason, Some(self.eviction(&server, order))),
                },
            };
            warn!(server = server.name.as_str(), meeting = key.meeting.as_str(), reason = reason.as_str();
                "create failed on a server, trying the next");
            wish.exclude.push(server.id);
            let out_of_time = order.deadline.saturating_duration_since(Instant::now()) < LEAST_TRY;
            let next = if out_of_time { None } else { self.next_server(key, &wish) };
            let Some((choice, next, before)) = next else {
                self.give_up(key, &server, leftover, displaced).await;
                return Err(ApiError::server(
                    "internalError",
                    "No server could create the meeting. Try again in a moment.",
                ));
            };
            let from = std::mem::replace(&mut server, next);
            reserved.server = choice.server;
            let has_leftover = leftover.is_some();
            let moved = self.store.move_placement(key, from.id, choice.server, choice.why.to_json(), leftover.clone());
            match self.timed_store("move", moved).await {
                Ok(true) if has_leftover => self.reload_evictions().await,
                Ok(true) => {}
                Ok(false) => {
                    self.ledger.release(key, choice.server);
                    self.reread(key).await;
                    if let Some(eviction) = leftover {
                        self.write_or_keep(Unwritten::Evicted(eviction)).await;
                    }
                    return Err(unavailable("This meeting is being moved. Try again in a moment."));
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
    async fn send(&self, server: &Arc<ServerRecord>, params: &Params, order: &CreateOrder, limit: Duration) -> Try {
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
            Ok(Err(reply)) if is_servers_fault(&reply.key) => {
                let error = CallError::Unclear(format!("answered {}", reply.key));
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
        let left = order.deadline.saturating_duration_since(Instant::now());
        let limit = left.mul_f64(ASK_SHARE).min(ASK_LIMIT);
        let found = self.client.meeting(server, &order.wish.bbb_id, limit).await.ok().flatten()?;
        (!found.forcibly_ended).then_some(found)
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

    async fn confirm(&self, key: &MeetingKey, server: &Arc<ServerRecord>, created: &Created, order: &CreateOrder) {
        let fragment = Bytes::from(bbb::new_meeting_fragment(&NewMeeting::from_create(created, &order.params)));
        if created.meeting_id != order.wish.bbb_id
            && self.ledger.note_breakout(server.id, created, fragment.clone(), self.clock.now())
        {
            // Nobody will ever ask for the room by the id in the create.
            return self.give_up(key, server, None, None).await;
        }
        let confirmation = Confirmation {
            internal_id: created.internal_id.clone(),
            create_time: created.create_time,
            attendee_pw: created.attendee_pw.clone(),
            moderator_pw: created.moderator_pw.clone(),
        };
        self.confirm_with(key, server, confirmation, fragment).await;
    }

    async fn confirm_meeting(&self, key: &MeetingKey, server: &Arc<ServerRecord>, meeting: &Meeting) {
        let confirmation = Confirmation {
            internal_id: meeting.internal_id.clone(),
            create_time: meeting.create_time,
            attendee_pw: meeting.attendee_pw.clone(),
            moderator_pw: meeting.moderator_pw.clone(),
        };
        self.confirm_with(key, server, confirmation, meeting.xml.clone()).await;
    }

    /// Tells ledger and store what the server answered, before the caller hears of it: after a kill the meeting is
    /// listed at once. A store that fails now holds nobody up, because the claim is durable already.
    async fn confirm_with(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        confirmation: Confirmation,
        fragment: Bytes,
    ) {
        let confirmed = Confirmed {
            internal_id: confirmation.internal_id.clone(),
            create_time: confirmation.create_time,
            attendee_pw: confirmation.attendee_pw.clone(),
            moderator_pw: confirmation.moderator_pw.clone(),
            fragment,
            created_at: self.clock.now(),
        };
        self.ledger.confirm(key, server.id, confirmed);
        let change = Unwritten::Confirmed(key.clone(), server.id, confirmation);
        if tokio::time::timeout(CONFIRM_LIMIT, self.write_or_keep(change.clone())).await.is_err() {
            self.keep(change);
        }
    }

    /// Takes a placement back that came to nothing, leaving a note for what a server may still have done. A meeting
    /// that had a server before goes back there: it may live on, and must not be forgotten.
    ///
    /// The ledger lets go last, so that no poll takes the leftover for a stranger's meeting.
    async fn give_up(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        leftover: Option<Eviction>,
        displaced: Option<Displaced>,
    ) {
        if let Some(eviction) = leftover {
            self.write_or_keep(Unwritten::Evicted(eviction)).await;
        }
        if let Some(displaced) = displaced {
            return self.go_back(key, server, displaced).await;
        }
        match self.timed_store("release", self.store.release(key, server.id, None)).await {
            Ok(_) => {
                self.ledger.cancel(key, server.id);
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "placement not released, polls will do it");
                self.ledger.release(key, server.id);
            }
        }
    }

    async fn go_back(&self, key: &MeetingKey, server: &Arc<ServerRecord>, displaced: Displaced) {
        let Displaced { server: old, before, eviction } = displaced;
        let why = r#"{"reason":"kept","text":"No other server could take the meeting, so it stays where it was."}"#;
        let moved = self.store.move_placement(key, server.id, old, why.to_owned(), None);
        match self.timed_store("move", moved).await {
            Ok(true) => {}
            Ok(false) => {
                self.ledger.release(key, server.id);
                return self.reread(key).await;
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "placement not moved back, polls will decide");
                return self.ledger.release(key, server.id);
            }
        }
        let confirmation = before.confirmation();
        self.ledger.put_back(key, before, self.clock.now());
        if let Some(confirmation) = confirmation {
            self.write_or_keep(Unwritten::Confirmed(key.clone(), old, confirmation)).await;
        }
        // Should this fail, the copy is the placed meeting all the same, which no eviction touches.
        let _ = self.timed_store("update", self.store.remove_eviction(&eviction)).await;
        self.reload_evictions().await;
    }

    fn refused(&self, refusal: Refusal, order: &CreateOrder) -> ApiError {
        let hit = || {
            if let Some(tenant) = self.tenants.load().get(order.wish.key.tenant) {
                self.metrics.tenant_limit_hits.with_label_values(&[tenant.name()]).inc();
            }
        };
        match refusal {
            Refusal::TenantMeetings { limit } => {
                hit();
                ApiError::client("meetingLimitReached", format!("The limit of {limit} meetings is reached."))
            }
            Refusal::TenantPeople { limit } => {
                hit();
                ApiError::client("participantLimitReached", format!("The limit of {limit} people is reached."))
            }
            Refusal::NoTaggedServer { tag } => ApiError::client(
                "serverTagUnavailable",
                format!("There is no available server with the required tag={tag}."),
            ),
            Refusal::Full { .. } => ApiError::server("serversFull", "All servers are full. Try again later."),
            Refusal::NoServer { .. } | Refusal::Exists => {
                ApiError::server("internalError", "Could not find any available servers.")
            }
        }
    }

    fn server_of(&self, choice: &Choice) -> Option<Arc<ServerRecord>> {
        Some(self.ledger.server(choice.server)?.record)
    }
}

/// Where a meeting was before it was moved because its server is lost.
struct Displaced {
    server: ServerId,
    before: Snapshot,
    eviction: Eviction,
}

/// What becomes of a placed meeting at a further create.
enum Fate {
    Stays,
    /// To another server; the old copy, if there may be one, is to be ended.
    Moves(Option<Eviction>),
}

/// Gives the ledger's reservation back unless the create came to an end of its own: one that is broken off must not
/// leave load behind.
struct Reservation<'a> {
    placer: &'a Placer,
    key: &'a MeetingKey,
    server: ServerId,
    kept: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.placer.ledger.cancel(self.key, self.server);
        }
    }
}

/// Keys that say something about the server, not about the caller's request.
fn is_servers_fault(key: &str) -> bool {
    matches!(key, "checksumError" | "apiNotEnabled" | "internalError" | "")
}

fn eviction_of(view: &MeetingView, now: crate::clock::Millis) -> Eviction {
    Eviction {
        server: view.server,
        bbb_id: view.bbb_id.clone(),
        internal_id: view.internal_id.clone(),
        moderator_pw: view.moderator_pw.clone(),
        since: now,
    }
}

/// BBB before mid-2023 wants both passwords for a repeated create, even if the first had none (bbb-api.md 3.4).
fn with_known_passwords(params: &Params, view: &MeetingView) -> Params {
    let mut params = params.clone();
    let is_absent = |name: &str| params.get(name).is_none_or(str::is_empty);
    if is_absent("attendeePW")
        && is_absent("moderatorPW")
        && let (Some(attendee), Some(moderator)) = (&view.attendee_pw, &view.moderator_pw)
    {
        params.set("attendeePW", attendee.reveal());
        params.set("moderatorPW", moderator.reveal());
    }
    params
}

fn answered(server: &Arc<ServerRecord>, body: Bytes, started: Instant, failed: Option<Reply>) -> CreateAnswer {
    CreateAnswer {
        body,
        server: server.clone(),
        upstream: started.elapsed(),
        success: failed.is_none(),
        key: failed.map(|reply| reply.key).unwrap_or_default(),
    }
}

fn unavailable(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::server("serverUnavailable", message)
}

fn store_failed(error: &StoreError) -> ApiError {
    log::error!(error:% = error; "placement refused, the store does not work");
    ApiError::us("The meeting could not be recorded, so it was not created. Try again in a moment.")
}
