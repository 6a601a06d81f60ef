//! A `create`, from the claim to BBB's answer.
//!
//! The order keeps the promises: reserve in the ledger, make the claim durable, only then call the server. A meeting
//! that has its server stays there; one whose server is lost or being emptied is moved first, with a note in the same
//! transaction of what the old server may still have, so that a meeting never has a twin. Passwords, ids and the body
//! go to every server unchanged. The calls themselves are `try_server.rs`, what becomes of the claim `settle.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{info, warn};
use tokio::sync::OwnedSemaphorePermit;

use super::settle::{Displaced, Reservation};
use super::try_server::{ASK_LIMIT, Try, told};
use super::{Choice, MeetingView, Placer, Refusal, Wish};
use crate::bbb::{Call, Params, Reply};
use crate::clock::Millis;
use crate::error::ApiError;
use crate::pool::Health;
use crate::store::{Change, Claim, Eviction, Phase, Placement, ServerRecord, ServerState, StoreError, Version};

/// After the deadline the work itself says what came of it; it gets this long to do so.
const LAST_WORD: Duration = Duration::from_millis(100);
/// How often a create begins anew because another process has moved its meeting.
const MOST_TURNS: usize = 3;
/// Longest wait for the store to take a claim. It takes milliseconds unless another process holds the database.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// Share of the remaining time that waiting for the store may take, so that some is left for the server.
const STORE_SHARE: f64 = 0.5;

/// Everything a create needs, independent of the server that will take it.
pub struct CreateOrder {
    pub wish: Wish,
    /// Final parameters: rules applied, ids scoped.
    pub params: Params,
    /// XML or multipart body with its content type.
    pub body: Option<(&'static str, Bytes)>,
    /// The caller sent a form: parameters that are too long for a URL go on as one.
    pub is_form: bool,
    pub deadline: Instant,
    /// What the request was lent (its place among the creates, memory for slides); given back with the order.
    pub lent: Vec<OwnedSemaphorePermit>,
}

impl CreateOrder {
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
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

/// How one turn of a create ended.
pub(super) enum Outcome {
    Answered(CreateAnswer),
    /// Another process has placed the meeting elsewhere meanwhile: what this turn was told is void.
    Elsewhere,
}

/// What becomes of a placed meeting at a further create.
enum Fate {
    Stays,
    /// To another server; the old copy, if there may be one, is to be ended.
    Moves(Option<Eviction>),
}

impl Placer {
    /// Creates the meeting, or finds it created. Errors have changed nothing.
    ///
    /// Runs on a task of its own: a caller who hangs up must leave no reservation and no placement half made. The caller
    /// is answered at the deadline, whatever holds the work up; the task goes on and puts things in order.
    pub async fn create(self: &Arc<Self>, order: CreateOrder) -> Result<CreateAnswer, ApiError> {
        let placer = self.clone();
        let deadline = tokio::time::Instant::from_std(order.deadline + LAST_WORD);
        // Boxed: the task would be copied as a whole whenever it is handed on.
        let work = tokio::spawn(Box::pin(async move { placer.create_in_turn(&order).await }));
        match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                log::error!(error:% = error; "create broken off");
                Err(ApiError::us("The meeting could not be created. Try again in a moment."))
            }
            Err(_) => Err(late()),
        }
    }

    async fn create_in_turn(&self, order: &CreateOrder) -> Result<CreateAnswer, ApiError> {
        for _ in 0..MOST_TURNS {
            match self.one_turn(order).await? {
                Outcome::Answered(answer) => return Ok(answer),
                Outcome::Elsewhere => self.metrics.placement_conflicts.inc(),
            }
        }
        Err(unavailable("This meeting is being moved. Try again in a moment."))
    }

    async fn one_turn(&self, order: &CreateOrder) -> Result<Outcome, ApiError> {
        let key = &order.wish.key;
        let turn = tokio::time::timeout(order.left(), self.gate.enter(key)).await;
        let turn =
            turn.map_err(|_| ApiError::server("internalError", "Another create of this meeting is still running."))?;
        if self.ledger.find(key).is_none() {
            self.first_look().await;
        }
        loop {
            let Some(view) = self.ledger.find(key) else {
                let now = self.clock.now();
                match self.ledger.choose(&order.wish, now) {
                    Ok(choice) => return self.place(order, choice, now).await,
                    Err(Refusal::Exists) if self.ledger.find(key).is_some() => continue, // found in this very moment
                    Err(refusal) => return Err(self.refused(refusal, order)),
                }
            };
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
            return Ok(Fate::Moves(Some(eviction_of(view, now))));
        }
        if server.state == ServerState::Enabled {
            return Ok(Fate::Stays);
        }
        // A server being emptied keeps what runs on it, but gets nothing back that has ended.
        let limit = order.left().min(ASK_LIMIT);
        let made = self.monitor.calling(server.id, Call::GetMeetingInfo);
        match self.client.meeting(server, &view.called, limit).await {
            Ok(Some(_)) => Ok(Fate::Stays),
            Ok(None) => Ok(Fate::Moves(None)),
            Err(error) => {
                self.monitor.call_failed(made, &error);
                Err(unavailable("The server of this meeting does not answer. Try again in a moment."))
            }
        }
    }

    /// A create for a meeting that has its server, held by the caller: BBB answers it as the duplicate it is.
    async fn repeat(&self, order: &CreateOrder, view: &MeetingView) -> Result<Outcome, ApiError> {
        let server = &view.record;
        let started = Instant::now();
        let params = with_known_passwords(&order.params, view);
        let limit = order.left();
        if limit.is_zero() {
            self.ledger.release(&order.wish.key, server.id);
            return Err(late());
        }
        let made = self.monitor.calling(server.id, Call::Create);
        match self.send_anew(made, server, &params, order, limit, None).await {
            Try::Done(created, body) => {
                let written = self.confirm(&order.wish.key, server, &created, order, view.version).await;
                Ok(told(written, || answered(server, body, started, None)))
            }
            Try::Refused(reply, body) => {
                self.ledger.release(&order.wish.key, server.id);
                Ok(Outcome::Answered(answered(server, body, started, Some(reply))))
            }
            Try::TooMuch => {
                self.ledger.release(&order.wish.key, server.id);
                Err(ApiError::too_large("The BigBlueButton server does not take a request of this size."))
            }
            Try::Failed(error) => {
                self.ledger.release(&order.wish.key, server.id);
                self.monitor.call_failed(made, &error);
                info!(server = server.name.as_str(), meeting = view.key.meeting.as_str(), reason:% = error;
                    "create for a running meeting failed");
                Err(unavailable("The server of this meeting does not answer. Try again in a moment."))
            }
        }
    }

    /// A meeting nobody had placed, with its server chosen: claim, call.
    async fn place(&self, order: &CreateOrder, choice: Choice, now: Millis) -> Result<Outcome, ApiError> {
        let key = &order.wish.key;
        let version = Version::default();
        let mut reserved = Reservation { placer: self, key, server: choice.server, version, kept: false };
        let server = self.server_of(&choice);
        let server = server.ok_or_else(|| unavailable("The chosen server has just been removed. Try again."))?;
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
            version,
        };
        match self.placed_in_store("claim", key, store_limit(order), self.store.claim(placement)).await {
            Ok(Claim::Won(version)) => {
                reserved.version = version;
                self.ledger.note_version(key, choice.server, version);
            }
            Ok(Claim::Taken(theirs)) => {
                // Another process was first; its server answers ours as a duplicate.
                self.metrics.placement_conflicts.inc();
                drop(reserved);
                self.ledger.put(theirs, self.clock.now());
                let view = self.ledger.find(key).filter(|view| self.ledger.hold(key, view.server, now));
                let view = view.ok_or_else(|| ApiError::us("The meeting's server is unknown here."))?;
                return self.repeat(order, &view).await;
            }
            Err(StoreError::Conflict(_)) => return Err(id_not_unique()),
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
    ) -> Result<Outcome, ApiError> {
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
        let why = choice.why.to_json();
        let moved = self.store.move_placement(key, view.version, choice.server, why, eviction.clone());
        let version = match self.placed_in_store("move", key, store_limit(order), moved).await {
            Ok(Change::Made(version)) => version,
            // Moved by another process; or that one has just had an answer from the server we believe lost.
            Ok(Change::Lost(_)) => {
                self.ledger.put_back(key, before, self.clock.now());
                self.reread(key).await;
                return Err(unavailable("This meeting is being moved. Try again in a moment."));
            }
            Err(error) => {
                self.ledger.put_back(key, before, self.clock.now());
                return Err(store_failed(&error));
            }
        };
        self.ledger.note_version(key, choice.server, version);
        if eviction.is_some() {
            let down_for = view.down_since.map_or(Duration::ZERO, |since| self.clock.now().since(since));
            info!(server = view.record.name.as_str(), to = server.name.as_str(), meeting = key.meeting.as_str(),
                down_for_s = down_for.as_secs(); "meeting is created elsewhere, its server stays down");
        }
        self.reload_evictions().await;
        self.metrics.placements.with_label_values(&[&server.name, choice.reason]).inc();
        let mut reserved = Reservation { placer: self, key, server: choice.server, version, kept: false };
        // Nothing to go back to where the server has said that the meeting is over.
        let displaced = eviction.map(|eviction| Displaced { server: view.server, before, eviction });
        let outcome = self.try_servers(order, server, displaced, &mut reserved).await;
        reserved.kept = true;
        outcome
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
            Refusal::Exists => id_not_unique(),
            Refusal::NoServer { .. } => ApiError::server("internalError", "Could not find any available servers."),
        }
    }

    pub(super) fn server_of(&self, choice: &Choice) -> Option<Arc<ServerRecord>> {
        Some(self.ledger.server(choice.server)?.record)
    }
}

fn eviction_of(view: &MeetingView, now: Millis) -> Eviction {
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

pub(super) fn answered(
    server: &Arc<ServerRecord>,
    body: Bytes,
    started: Instant,
    failed: Option<Reply>,
) -> CreateAnswer {
    CreateAnswer {
        body,
        server: server.clone(),
        upstream: started.elapsed(),
        success: failed.is_none(),
        key: failed.map(|reply| reply.key).unwrap_or_default(),
    }
}

fn id_not_unique() -> ApiError {
    ApiError::client("idNotUnique", "A meeting already exists with that meeting ID.")
}

pub(super) fn unavailable(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::server("serverUnavailable", message)
}

pub(super) fn store_limit(order: &CreateOrder) -> Duration {
    order.left().mul_f64(STORE_SHARE).min(STORE_LIMIT)
}

/// The store, most likely, took all the time there was.
pub(super) fn late() -> ApiError {
    warn!("create not finished in time, the store is slow");
    ApiError::us("The meeting could not be recorded in time, so it was not created. Try again in a moment.")
}

pub(super) fn store_failed(error: &StoreError) -> ApiError {
    if matches!(error, StoreError::Refused(_)) {
        return unavailable("The chosen server has just been removed. Try again.");
    }
    log::error!(error:% = error; "placement refused, the store does not work");
    ApiError::us("The meeting could not be recorded, so it was not created. Try again in a moment.")
}
