//! The life of a placement: chosen and reserved in one step, then confirmed or cancelled; and the store's view of it.
//!
//! `choose` leaves the meeting claimed with its expected load on the server before anybody calls that server
//! (load-model.md section 7, rule 1). While a create runs here, `creating` keeps polls from judging the claim.

use bytes::Bytes;

use super::entry::{BreakoutEntry, Figures, MeetingEntry};
use super::poll::Moment;
use super::state::State;
use super::sums::Sums;
use super::{Choice, Confirmed, Ledger, Refusal, Wish};
use crate::bbb::{Created, Meeting};
use crate::clock::Millis;
use crate::ids::{MeetingKey, ServerId};
use crate::pool::load::Audio;
use crate::store::{Confirmation, Phase, Placement, Version};

impl Ledger {
    /// Chooses a server for a new meeting and reserves its expected load there, or reserves nothing. The create counts
    /// as running until `confirm`, `cancel` or `release`, at most for the claim timeout.
    pub fn choose(&self, wish: &Wish, now: Millis) -> Result<Choice, Refusal> {
        let mut state = self.state.lock();
        if state.meetings.contains_key(&wish.key) {
            return Err(Refusal::Exists);
        }
        let usage = state.usage(wish.key.tenant);
        if let Some(limit) = wish.limits.max_meetings.filter(|limit| usage.meetings >= *limit) {
            return Err(Refusal::TenantMeetings { limit });
        }
        if let Some(limit) = wish.limits.max_people.filter(|limit| usage.people >= *limit) {
            return Err(Refusal::TenantPeople { limit });
        }
        state.place(wish, now)
    }

    /// Chooses another server for a meeting whose create failed, or whose server is dead, and moves its reservation;
    /// the servers not to take are those in `wish.exclude`. On refusal everything stays as it was. The tenant's limits
    /// are not asked again. A meeting that ended meanwhile is chosen for like a new one.
    pub fn rechoose(&self, wish: &Wish, now: Millis) -> Result<Choice, Refusal> {
        let mut state = self.state.lock();
        let Some(before) = state.remove(&wish.key) else {
            return state.place(wish, now);
        };
        match state.place(wish, now) {
            Ok(mut choice) => {
                if choice.reason != "pinned" {
                    choice.reason = if before.phase == Phase::Confirmed { "failover" } else { "retry" };
                    choice.why.reason = choice.reason.into();
                }
                Ok(choice)
            }
            Err(refusal) => {
                state.insert(wish.key.clone(), before, now);
                Err(refusal)
            }
        }
    }

    /// True if a server beside those in `wish.exclude` would take the meeting.
    pub(super) fn has_server_for(&self, wish: &Wish, now: Millis) -> bool {
        let state = self.state.lock();
        let (_, share) = state.claim(wish, now);
        state.pick(wish, &share, now).is_ok()
    }

    /// The meeting as it is, to be put back if moving it comes to nothing.
    pub fn snapshot(&self, key: &MeetingKey) -> Option<Snapshot> {
        self.state.lock().meetings.get(key).cloned().map(Snapshot)
    }

    /// Undoes a `rechoose`. A server that has left the table meanwhile has taken its meetings with it.
    pub fn put_back(&self, key: &MeetingKey, before: Snapshot, now: Millis) {
        let mut state = self.state.lock();
        state.remove(key);
        state.insert(key.clone(), before.0, now);
    }

    /// Another create for a meeting that has its server already is about to be sent there: until `confirm`, `cancel` or
    /// `release`, no poll ends the meeting. `false` if there is no such meeting on that server.
    pub fn hold(&self, key: &MeetingKey, server: ServerId, now: Millis) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.meetings.get_mut(key).filter(|entry| entry.server == server) else { return false };
        entry.creating += 1;
        entry.creating_since = now;
        true
    }

    /// A create is over and nobody knows how: polls decide from now on. Does not touch the reservation.
    pub fn release(&self, key: &MeetingKey, server: ServerId) {
        let mut state = self.state.lock();
        if let Some(entry) = state.meetings.get_mut(key).filter(|entry| entry.server == server) {
            entry.creating = entry.creating.saturating_sub(1);
        }
    }

    /// The server said SUCCESS. `false` if the placement no longer points to `server`; then nothing changes.
    pub fn confirm(&self, key: &MeetingKey, server: ServerId, confirmed: Confirmed) -> bool {
        let now = confirmed.created_at;
        let mut state = self.state.lock();
        if state.meetings.get(key).is_none_or(|entry| entry.server != server) {
            return false;
        }
        if state.ended.holds(&confirmed.confirmation.internal_id, now) {
            // Answered before it was ended, and come late.
            let is_over = state.change(key, now, |entry| {
                entry.creating = entry.creating.saturating_sub(1);
                entry.creating == 0 && entry.phase == Phase::Claimed
            });
            if is_over == Some(true) {
                state.remove(key);
            }
            return true;
        }
        state.change(key, now, |entry| entry.confirm(confirmed)).is_some()
    }

    /// A front end has made a breakout room, which BBB gave an id of its own (bbb-api.md section 3.4): it hangs under its
    /// parent like those that BBB makes itself. `false` if the parent is not on `server`.
    pub fn note_breakout(&self, server: ServerId, created: &Created, fragment: Bytes, now: Millis) -> bool {
        let mut state = self.state.lock();
        let parent = created.parent.as_ref().and_then(|parent| state.by_internal.get(parent)).cloned();
        let Some(parent) = parent.filter(|key| state.meetings.get(key).is_some_and(|entry| entry.server == server))
        else {
            return false;
        };
        let room = BreakoutEntry {
            bbb_id: created.meeting_id.clone(),
            confirmation: created.into(),
            figures: Figures::default(),
            xml: fragment,
            known_at: now,
        };
        let add = |entry: &mut MeetingEntry| {
            entry.breakouts.retain(|known| known.bbb_id != room.bbb_id);
            entry.breakouts.push(room);
        };
        state.change(&parent, now, add).is_some()
    }

    /// A create is over and there is no such meeting on `server`: the reservation is given back. A meeting that was
    /// confirmed before, or that another create is working on, stays. `true` if the entry was removed.
    pub fn cancel(&self, key: &MeetingKey, server: ServerId) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.meetings.get_mut(key).filter(|entry| entry.server == server) else { return false };
        entry.creating = entry.creating.saturating_sub(1);
        let is_over = entry.creating == 0 && entry.phase == Phase::Claimed;
        is_over && state.remove(key).is_some()
    }

    /// Takes over the store's placements at a start. Returns the keys of those whose server is not in the table.
    pub fn restore(&self, placements: Vec<Placement>, now: Millis) -> Vec<MeetingKey> {
        let mut state = self.state.lock();
        let mut lost = Vec::new();
        for placement in placements {
            let key = placement.key();
            if !state.servers.contains_key(&placement.server) {
                lost.push(key);
                continue;
            }
            state.insert(key, MeetingEntry::placed(&placement, placement.claimed_at, now), now);
        }
        lost
    }

    /// This process has written the meeting's row, which names `server`.
    pub fn note_version(&self, key: &MeetingKey, server: ServerId, version: Version) {
        let mut state = self.state.lock();
        if let Some(entry) = state.meetings.get_mut(key).filter(|entry| entry.server == server) {
            entry.version = entry.version.max(version);
        }
    }

    /// Takes over one placement that another process wrote; live figures stay if it is the same meeting on the same
    /// server. `false` if its server is not in the table.
    pub fn put(&self, placement: Placement, now: Millis) -> bool {
        self.state.lock().put(placement, now)
    }

    /// Takes over a meeting that a poll found on its server, figures included. `false` if that server is not in the
    /// table.
    pub(super) fn adopt(&self, placement: Placement, meeting: Meeting, moment: Moment) -> bool {
        let key = placement.key();
        let now = moment.received;
        let mut state = self.state.lock();
        state.put(placement, now) && state.change(&key, now, |entry| entry.show(meeting, moment)).is_some()
    }
}

/// A meeting as it was at a moment.
pub struct Snapshot(MeetingEntry);

impl Snapshot {
    /// What the store should know of it; `None` if it was never confirmed.
    pub fn confirmation(&self) -> Option<Confirmation> {
        self.0.confirmation()
    }
}

impl State {
    fn put(&mut self, placement: Placement, now: Millis) -> bool {
        if !self.servers.contains_key(&placement.server) {
            return false;
        }
        let key = placement.key();
        if placement.internal_id.as_ref().is_some_and(|id| self.ended.holds(id, now)) {
            return true; // read before it was ended
        }
        if self.meetings.get(&key).is_some_and(|entry| entry.version > placement.version) {
            return true; // read before a write of our own
        }
        if self.meetings.get(&key).is_some_and(|entry| entry.server == placement.server) {
            return self.change(&key, now, |entry| entry.adopt(&placement, now)).is_some();
        }
        self.insert(key, MeetingEntry::placed(&placement, now, now), now);
        true
    }

    /// The meeting as it would be claimed, and what it would add to a server. An empty one costs the same under either
    /// audio rule; the server's own applies on insert.
    fn claim(&self, wish: &Wish, now: Millis) -> (MeetingEntry, Sums) {
        let mut entry = MeetingEntry::claimed(wish, ServerId(0), now);
        entry.make_forecast(&self.tuned, now);
        let share = entry.contribution(&self.tuned, Audio::Duplex, now);
        (entry, share)
    }

    fn place(&mut self, wish: &Wish, now: Millis) -> Result<Choice, Refusal> {
        if self.by_bbb.contains_key(&wish.bbb_id) {
            return Err(Refusal::Exists); // another tenant's meeting, which must not be touched
        }
        let (mut entry, share) = self.claim(wish, now);
        let pick = self.pick(wish, &share, now)?;
        entry.server = pick.server;
        self.insert(wish.key.clone(), entry, now);
        Ok(Choice { server: pick.server, why: pick.why, reason: pick.reason })
    }
}

impl MeetingEntry {
    fn confirm(&mut self, confirmed: Confirmed) {
        let now = confirmed.created_at;
        self.creating = self.creating.saturating_sub(1);
        let told = &confirmed.confirmation;
        if self.internal_id.as_ref().is_some_and(|known| *known != told.internal_id) {
            // Answers may overtake each other: the younger meeting is the one that lives.
            if told.create_time < self.create_time {
                return;
            }
            self.start_anew(now);
        }
        self.prove(confirmed.confirmation, now);
        if self.polled_at.is_none() {
            self.xml = confirmed.fragment;
        }
    }
}
