//! Meetings that are over: what callers have ended, and what servers have said of meetings since.
//!
//! BBB answers `end` at once and ends the meeting some seconds later (bbb-api.md section 3.7). The caller has been told that it is
//! over, so it is over here at once: no list shows it, it counts against no limit, and its id is free. A server that
//! lists it again is believed only when `ended_grace` has passed: then it was not ended after all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::MeetingEntry;
use super::poll::Moment;
use super::try_server::Try;
use super::unwritten::Unwritten;
use super::{CallMade, CreateOrder, EndedMeeting, Ledger, Placer, Wish};
use crate::bbb::{self, Params};
use crate::client::CallError;
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingKey, ServerId, TenantId};
use crate::store::{Known, Phase, ServerRecord};

/// Bound of the memory; with that many fresh ones no more are remembered.
const TOMBSTONES: usize = 50_000;
/// Between two creates for a meeting that its server is still ending, and how long it is waited for there.
const STILL_ENDING: Duration = Duration::from_millis(250);
const ENDING_LIMIT: Duration = Duration::from_secs(4);

/// Internal ids of meetings that are not believed to live, each until a moment.
#[derive(Debug, Default)]
pub struct Tombstones(HashMap<InternalId, Millis>);

impl Tombstones {
    pub fn bury(&mut self, id: InternalId, until: Millis, now: Millis) {
        if self.0.len() >= TOMBSTONES {
            self.0.retain(|_, until| now <= *until);
        }
        if self.0.len() < TOMBSTONES {
            self.0.insert(id, until);
        }
    }

    pub fn holds(&self, id: &InternalId, at: Millis) -> bool {
        self.0.get(id).is_some_and(|until| at <= *until)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Ledger {
    /// `end` for the meeting with this internal id was accepted by `server`: it is over. A late answer does not concern the
    /// meeting that was created there since. Where a create is under way, what it makes is the next meeting.
    pub fn note_end(
        &self,
        key: &MeetingKey,
        server: ServerId,
        internal_id: Option<&InternalId>,
        now: Millis,
    ) -> Option<EndedMeeting> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let until = now + state.tuned.ended_grace;
        let is_meant = |entry: &&MeetingEntry| entry.server == server && entry.internal_id.as_ref() == internal_id;
        let entry = state.meetings.get(key).filter(is_meant)?;
        let rooms = entry.breakouts.iter().map(|room| &room.confirmation.internal_id);
        for id in rooms.chain(&entry.internal_id) {
            state.ended.bury(id.clone(), until, now);
        }
        let ended = EndedMeeting { key: key.clone(), internal_id: entry.internal_id.clone(), version: entry.version };
        if entry.is_creating(&state.tuned, now) {
            state.change(key, now, |entry| entry.claim_anew(now));
        } else {
            state.remove(key);
        }
        Some(ended)
    }

    /// The same for a breakout room.
    pub fn note_breakout_end(&self, tenant: TenantId, room: &BbbMeetingId, now: Millis) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(parent) = state.breakouts.get(room).filter(|parent| parent.tenant == tenant).cloned() else { return };
        let rooms = state.meetings.get(&parent).into_iter().flat_map(|entry| &entry.breakouts);
        let internal_id =
            rooms.filter(|one| one.bbb_id == *room).map(|one| one.confirmation.internal_id.clone()).next();
        if let Some(internal_id) = internal_id {
            state.ended.bury(internal_id, now + state.tuned.ended_grace, now);
        }
        state.change(&parent, now, |entry| entry.breakouts.retain(|one| one.bbb_id != *room));
    }

    /// The store has it no more: another process has found it to be over. `true` if it was there.
    pub fn forget(&self, key: &MeetingKey, now: Millis) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.remove(key) else { return false };
        let until = now + state.tuned.ended_grace;
        let rooms = entry.breakouts.into_iter().map(|room| room.confirmation.internal_id);
        for id in rooms.chain(entry.internal_id) {
            state.ended.bury(id, until, now);
        }
        true
    }

    /// True if this very meeting was ended a moment ago: its server may still take it for living.
    pub fn has_ended(&self, internal_id: &InternalId, at: Millis) -> bool {
        self.state.lock().ended.holds(internal_id, at)
    }

    /// What the meeting's server has just said of it, asked at `sent`: the picture says the same from now on. `false` if
    /// it is another meeting than the one that is known here.
    pub fn note_info(
        &self,
        key: &MeetingKey,
        server: ServerId,
        sent: Millis,
        now: Millis,
        meeting: bbb::Meeting,
    ) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let tuned = state.tuned;
        let Some(entry) = state.meetings.get(key).filter(|entry| entry.server == server) else { return false };
        if entry.phase != Phase::Confirmed || entry.internal_id.as_ref() != Some(&meeting.internal_id) {
            return false;
        }
        if entry.polled_at.is_some_and(|polled| polled > sent) {
            return true; // something newer is known
        }
        let moment = Moment { sent, received: now, told_at: None };
        state.change(key, now, |entry| {
            entry.note_end_seen(&meeting, &tuned, moment);
            entry.show(meeting, moment);
        });
        true
    }
}

impl MeetingEntry {
    /// The meeting is over, but not the create of the next one under the same id.
    fn claim_anew(&mut self, now: Millis) {
        self.start_anew(now);
        self.phase = Phase::Claimed;
        self.internal_id = None;
        self.create_time = 0;
        self.attendee_pw = None;
        self.moderator_pw = None;
    }
}

impl Placer {
    /// A create that meets the meeting which was ended a moment ago is sent again until the server makes a new one.
    pub(super) async fn send_anew(
        &self,
        made: CallMade,
        server: &Arc<ServerRecord>,
        params: &Params,
        order: &CreateOrder,
        limit: Duration,
        patience: Option<(Duration, &Wish)>,
    ) -> Try {
        let started = Instant::now();
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let outcome = self.send(made, server, params, order, left, patience).await;
            let Try::Done(created, _) = &outcome else { return outcome };
            if !self.ledger.has_ended(&created.internal_id, self.clock.now()) {
                return outcome;
            }
            if started.elapsed() + STILL_ENDING > limit.min(ENDING_LIMIT) {
                return Try::Failed(CallError::Refused("the meeting that had this id is still ending".to_owned()));
            }
            tokio::time::sleep(STILL_ENDING).await;
        }
    }

    /// A caller has ended the meeting, and its server has agreed. Picture and store know before he is answered.
    pub async fn end(&self, key: &MeetingKey, server: ServerId, internal_id: Option<&InternalId>) {
        let Some(ended) = self.ledger.note_end(key, server, internal_id, self.clock.now()) else { return };
        self.metrics.meetings_ended.inc();
        if let Some(tenant) = self.tenants.load().get(key.tenant) {
            self.condemn_copies(&tenant.bbb_id(&key.meeting));
        }
        let known = ended.internal_id.map_or(Known::Version(ended.version), Known::Internal);
        self.write_or_keep(Unwritten::Released(ended.key, server, known)).await;
    }
}
