//! Copies of one meeting on two servers, and which of them goes.
//!
//! They come about when a server was lost and the meeting was created elsewhere, or when a server did a create's work without
//! being able to say so; an eviction in the store says what was left behind where. Usher ends no meeting with people in
//! it: only its owner does, or an operator. An empty copy goes. If people are in the one that was left behind and nobody
//! is in the new one, the old one is the meeting again; if there are people in both, both live, new joins go where more
//! are, and the log says so. Which is decided anew with each list, until one of them is empty.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::poll::Moment;
use super::unwritten::Unwritten;
use super::{MeetingView, Placer};
use crate::bbb::Meeting;
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, MeetingKey, ServerId};
use crate::store::{Change, Eviction, Phase, Placement, ServerRecord};

const END_LIMIT: Duration = Duration::from_secs(4);
/// Asking for the people of one meeting.
const PEOPLE_LIMIT: Duration = Duration::from_secs(2);
/// How long a poll waits for the store to move a placement; the next poll tries again.
const MOVE_LIMIT: Duration = Duration::from_secs(1);
/// Twins that live on are told of again after this time.
const REMINDER: Duration = Duration::from_secs(600);

/// What becomes of a copy that was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Goes,
    /// There are people in it, and not more than in the meeting as it is placed.
    LivesOn,
    /// More people are in it than in the meeting as it is placed: it is the meeting again.
    TakesOver,
}

/// Decides by the people in both; `ended` if the owner has ended the meeting since.
pub(super) fn judge(copy: u32, placed: u32, ended: bool) -> Verdict {
    match copy {
        _ if ended => Verdict::Goes,
        0 => Verdict::Goes,
        _ if copy > placed => Verdict::TakesOver,
        _ => Verdict::LivesOn,
    }
}

/// True if `meeting`, listed by the eviction's server, is what was left behind there.
pub(super) fn is_copy(eviction: &Eviction, meeting: &Meeting) -> bool {
    meeting.meeting_id == eviction.bbb_id && eviction.internal_id.as_ref().is_none_or(|id| *id == meeting.internal_id)
}

/// Copies whose meeting was ended by its owner while their server was away.
#[derive(Default)]
pub(super) struct Condemned(HashSet<(ServerId, BbbMeetingId)>);

impl Condemned {
    fn holds(&self, eviction: &Eviction) -> bool {
        self.0.contains(&(eviction.server, eviction.bbb_id.clone()))
    }

    pub fn keep(&mut self, evictions: &[Eviction]) {
        self.0.retain(|(server, id)| evictions.iter().any(|one| one.server == *server && one.bbb_id == *id));
    }
}

impl Placer {
    /// The meeting's owner has ended it: what was left behind of it elsewhere is over too.
    pub(super) fn condemn_copies(&self, bbb_id: &BbbMeetingId) {
        for eviction in self.evictions.load().iter().filter(|eviction| eviction.bbb_id == *bbb_id) {
            self.condemned.lock().0.insert((eviction.server, bbb_id.clone()));
            self.doubt(eviction.server);
        }
    }

    /// Deals with what evictions name on this server, and drops evictions that have nothing left to do; from a list that is
    /// not complete nothing is concluded about a copy that is not in it.
    pub(super) async fn settle_evictions(
        &self,
        server: &Arc<ServerRecord>,
        unknown: &[Meeting],
        is_complete: bool,
        moment: Moment,
    ) {
        let evictions = self.evictions.load_full();
        let mut settled = false;
        for eviction in evictions.iter().filter(|eviction| eviction.server == server.id) {
            let copy = unknown.iter().find(|meeting| is_copy(eviction, meeting));
            settled |= match copy {
                Some(copy) => {
                    let may_mean = |other: &Meeting| copy.meeting_id.may_mean(&copy.internal_id, &other.internal_id);
                    let called = match unknown.iter().any(may_mean) {
                        true => BbbMeetingId::new(copy.internal_id.as_str()),
                        false => self.ledger.name_on_server(server.id, &copy.meeting_id, &copy.internal_id),
                    };
                    self.settle(server, eviction, copy, &called, moment).await
                }
                None => is_complete && self.drop_if_stale(eviction, moment.received).await,
            };
        }
        if settled {
            self.reload_evictions().await;
        }
    }

    /// Deals with one copy, unless a create is deciding about that meeting in this moment or has placed it here again.
    /// `true` if the eviction is done with; an ended copy is settled when a later poll no longer lists it.
    async fn settle(
        &self,
        server: &Arc<ServerRecord>,
        eviction: &Eviction,
        copy: &Meeting,
        called: &BbbMeetingId,
        moment: Moment,
    ) -> bool {
        if copy.forcibly_ended {
            return false;
        }
        let tenants = self.tenants.load_full();
        let mut owners = tenants.iter();
        let key = owners.find_map(|tenant| {
            let meeting = tenant.own_id(copy.meeting_id.as_str(), &copy.metadata)?;
            Some(MeetingKey { tenant: tenant.id(), meeting })
        });
        let turn = key.as_ref().map(|key| self.gate.try_enter(key));
        let placed = self.ledger.find_by_bbb_id(&eviction.bbb_id);
        if matches!(turn, Some(None)) || placed.as_ref().is_some_and(|view| view.server == server.id) {
            return false;
        }
        // Another process may have placed it here again just now; the store knows.
        let row = match &key {
            Some(key) => self.timed_store("read", self.store.placement(key)).await,
            None => Ok(None),
        };
        let Ok(row) = row else { return false };
        if row.is_some_and(|placement| placement.server == server.id) {
            return false;
        }
        let is_ended = self.condemned.lock().holds(eviction);
        let people = match (&placed, copy.participants) {
            (Some(view), 1..) if !is_ended => match self.people_of(&view.record, &view.called).await {
                Some(people) => people,
                None => return false, // nobody knows; the next list
            },
            _ => 0,
        };
        match (judge(copy.participants, people, is_ended), placed) {
            (Verdict::Goes, _) => self.end_copy(server, eviction, copy, called, is_ended, moment.received).await,
            (Verdict::LivesOn, _) => self.tell_of_twins(server, copy, people, moment.received),
            (Verdict::TakesOver, Some(view)) => {
                return self.take_back(server, eviction, copy, &view, people, moment).await;
            }
            // It is the only one there is, and is taken over like any meeting that is found.
            (Verdict::TakesOver, None) => return self.store.remove_eviction(eviction).await.is_ok(),
        }
        false
    }

    async fn people_of(&self, server: &Arc<ServerRecord>, called: &BbbMeetingId) -> Option<u32> {
        match self.client.meeting(server, called, PEOPLE_LIMIT).await {
            Ok(found) => Some(found.filter(|found| !found.forcibly_ended).map_or(0, |found| found.participants)),
            Err(_) => None,
        }
    }

    async fn end_copy(
        &self,
        server: &Arc<ServerRecord>,
        eviction: &Eviction,
        copy: &Meeting,
        called: &BbbMeetingId,
        is_ended: bool,
        now: Millis,
    ) {
        // Somebody may have come since the list was written.
        if !is_ended && self.people_of(server, called).await != Some(0) {
            return;
        }
        let password = copy.moderator_pw.as_ref().or(eviction.moderator_pw.as_ref());
        match self.client.end(server, called, password, END_LIMIT).await {
            Ok(reply) => {
                info!(server = server.name.as_str(), meeting = copy.internal_id.as_str(), ended = reply.success, people = copy.participants;
                    "stale copy of a meeting that was placed elsewhere");
                if reply.success {
                    self.metrics.twins_ended.inc();
                    self.bury(copy.internal_id.clone(), now);
                }
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "stale copy not ended yet");
            }
        }
    }

    /// The copy is the meeting again: placement, list and joins go there, and what was created instead is a copy from now on.
    async fn take_back(
        &self,
        server: &Arc<ServerRecord>,
        eviction: &Eviction,
        copy: &Meeting,
        view: &MeetingView,
        people: u32,
        moment: Moment,
    ) -> bool {
        let key = &view.key;
        let now = moment.received;
        let other = Eviction {
            server: view.server,
            bbb_id: view.bbb_id.clone(),
            internal_id: view.internal_id.clone(),
            moderator_pw: view.moderator_pw.clone(),
            since: now,
        };
        let why = r#"{"reason":"returned","text":"Its server came back with more people in it than the meeting had elsewhere."}"#;
        let moved = self.store.move_placement(key, view.version, server.id, why.to_owned(), Some(other));
        let version = match self.placed_in_store("move", key, MOVE_LIMIT, moved).await {
            Ok(Change::Made(version)) => version,
            Ok(Change::Lost(_)) => {
                self.reread(key).await;
                return false;
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "meeting not moved back to its server yet");
                return false;
            }
        };
        let placement = Placement {
            tenant: key.tenant,
            meeting: key.meeting.clone(),
            bbb_id: view.bbb_id.clone(),
            server: server.id,
            phase: Phase::Confirmed,
            internal_id: Some(copy.internal_id.clone()),
            create_time: copy.create_time,
            attendee_pw: copy.attendee_pw.clone(),
            moderator_pw: copy.moderator_pw.clone(),
            claimed_at: moment.born(copy),
            why: why.to_owned(),
            version,
        };
        self.ledger.adopt(placement, copy.clone(), moment);
        self.write_or_keep(Unwritten::Confirmed(key.clone(), server.id, copy.into())).await;
        self.metrics.twins_seen.with_label_values(&[&server.name]).inc();
        warn!(server = server.name.as_str(), meeting = key.meeting.as_str(), people = copy.participants,
            elsewhere = view.record.name.as_str(), people_elsewhere = people;
            "server is back with people in a meeting that was created elsewhere: the meeting is here again");
        // Should this fail, the copy is the placed meeting all the same, which no eviction touches.
        let _ = self.timed_store("update", self.store.remove_eviction(eviction)).await;
        true
    }

    /// Two copies with people: somebody should know.
    fn tell_of_twins(&self, server: &Arc<ServerRecord>, copy: &Meeting, people: u32, now: Millis) {
        if !self.is_news(copy, now) {
            return;
        }
        self.metrics.twins_seen.with_label_values(&[&server.name]).inc();
        warn!(server = server.name.as_str(), meeting = copy.meeting_id.as_str(), internal = copy.internal_id.as_str(), people = copy.participants,
            people_elsewhere = people; "two copies of a meeting have people in them, both go on; joins go to the larger one");
    }

    /// A meeting listed here is placed elsewhere, and no eviction says why. If it was known here a moment ago and believed over,
    /// it is dealt with as a copy that was left behind.
    pub(super) async fn meet_twin(&self, server: &Arc<ServerRecord>, copy: &Meeting, view: &MeetingView, now: Millis) {
        if self.is_news(copy, now) {
            self.metrics.twins_seen.with_label_values(&[&server.name]).inc();
            warn!(server = server.name.as_str(), meeting = view.key.meeting.as_str(), internal = copy.internal_id.as_str(),
                people = copy.participants, placed = view.record.name.as_str(), people_there = view.participants;
                "a meeting has a twin: it is placed on another server");
        }
        if self.ended.lock().holds(&copy.internal_id, now) {
            let copy = self.copy_of(copy.meeting_id.clone(), server.id, &copy.into());
            self.write_or_keep(Unwritten::Evicted(copy)).await;
            self.doubt(server.id);
        }
    }

    fn is_news(&self, copy: &Meeting, now: Millis) -> bool {
        let mut told = self.twins_told.lock();
        if told.holds(&copy.internal_id, now) {
            return false;
        }
        told.bury(copy.internal_id.clone(), now + REMINDER, now);
        true
    }

    /// A server that has answered without the copy has none, once a create sent before could no longer be at work.
    async fn drop_if_stale(&self, eviction: &Eviction, now: Millis) -> bool {
        let patience = self.ledger.claim_timeout();
        now.since(eviction.since) > patience && self.store.remove_eviction(eviction).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_owner_ends_a_meeting_with_people_in_it() {
        for copy in 0..4 {
            for placed in 0..4 {
                let verdict = judge(copy, placed, false);
                assert_eq!(verdict == Verdict::Goes, copy == 0, "{copy} {placed}");
                assert_eq!(verdict == Verdict::TakesOver, copy > placed, "{copy} {placed}");
                assert_eq!(judge(copy, placed, true), Verdict::Goes);
            }
        }
    }
}
