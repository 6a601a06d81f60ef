//! What a poll teaches: meetings that ended, claims that came true, twins to end, strangers to take over.
//!
//! A poll never ends a meeting with people in it, with one exception: a copy that was left behind when its meeting
//! was placed elsewhere, which is what an eviction says. Everything else only changes what Usher knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::Placer;
use super::poll::Moment;
use super::unwritten::Unwritten;
use crate::bbb::{Meeting, MeetingList};
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingKey, ServerId};
use crate::store::{Claim, Eviction, Known, Phase, Placement, ServerRecord, ServerState, StoreError, Version};

/// An ended meeting may still be listed for some seconds, and a poll may be that late.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(120);
/// Bound of the memory; with that many fresh ones no more are remembered.
const TOMBSTONES: usize = 50_000;
const END_LIMIT: Duration = Duration::from_secs(4);
/// How long a poll waits for the store to take over a stranger; the next poll meets it again.
const CLAIM_LIMIT: Duration = Duration::from_secs(1);

/// Internal ids of meetings that ended a short while ago.
#[derive(Default)]
pub struct Tombstones(HashMap<InternalId, Millis>);

impl Tombstones {
    pub fn bury(&mut self, id: InternalId, now: Millis) {
        if self.0.len() >= TOMBSTONES {
            self.0.retain(|_, since| now.since(*since) < TOMBSTONE_LIFE);
        }
        if self.0.len() < TOMBSTONES {
            self.0.insert(id, now);
        }
    }

    pub fn holds(&self, id: &InternalId, now: Millis) -> bool {
        self.0.get(id).is_some_and(|since| now.since(*since) < TOMBSTONE_LIFE)
    }
}

/// True if `meeting`, listed by the eviction's server, is what is to be ended there.
fn is_copy(eviction: &Eviction, meeting: &Meeting) -> bool {
    meeting.meeting_id == eviction.bbb_id && eviction.internal_id.as_ref().is_none_or(|id| *id == meeting.internal_id)
}

impl Placer {
    /// Takes in a getMeetings answer of `server` to a poll sent at `sent`.
    pub async fn sweep(&self, server: &Arc<ServerRecord>, sent: Millis, list: MeetingList) {
        let now = self.clock.now();
        let is_complete = list.unreadable == 0;
        let moment = Moment { sent, received: now, told_at: list.told_at };
        let listed_none = is_complete && list.meetings.iter().all(|meeting| meeting.is_breakout);
        let outcome = self.ledger.note_poll(server.id, sent, now, list);
        if outcome.is_stale {
            return;
        }
        for (key, confirmation) in outcome.confirmed {
            self.write_or_keep(Unwritten::Confirmed(key, server.id, confirmation)).await;
        }
        for changed in outcome.changed {
            self.ended.lock().bury(changed.before, now);
            self.write_or_keep(Unwritten::Confirmed(changed.key, server.id, changed.confirmation)).await;
        }
        for ended in outcome.ended {
            self.metrics.meetings_ended.inc();
            if let Some(internal_id) = &ended.internal_id {
                self.ended.lock().bury(internal_id.clone(), now);
            }
            if ended.internal_id.is_none() {
                self.keep_original(&ended.key).await;
            }
            let known = ended.internal_id.map_or(Known::Version(ended.version), Known::Internal);
            self.write_or_keep(Unwritten::Released(ended.key, server.id, known)).await;
        }
        self.settle_evictions(server, &outcome.unknown, is_complete, now).await;
        let evictions = self.evictions.load_full();
        let is_to_go = |meeting: &Meeting| {
            evictions.iter().any(|eviction| eviction.server == server.id && is_copy(eviction, meeting))
        };
        for meeting in outcome.unknown.into_iter().filter(|meeting| !is_to_go(meeting)) {
            self.meet_stranger(server, meeting, moment).await;
        }
        if server.state == ServerState::Draining && listed_none && self.ledger.meetings_on(server.id).is_empty() {
            self.finish_drain(server).await;
        }
    }

    /// A meeting that no placement on this server explains.
    async fn meet_stranger(&self, server: &Arc<ServerRecord>, meeting: Meeting, moment: Moment) {
        let now = moment.received;
        if meeting.is_breakout || meeting.forcibly_ended || self.ended.lock().holds(&meeting.internal_id, now) {
            return;
        }
        let tenants = self.tenants.load();
        let owner = tenants
            .iter()
            .find_map(|tenant| Some((tenant, tenant.own_id(meeting.meeting_id.as_str(), &meeting.metadata)?)));
        let Some((tenant, own_id)) = owner else { return };
        let key = MeetingKey { tenant: tenant.id(), meeting: own_id };
        if self.ledger.find(&key).is_some() {
            return; // placed elsewhere: if this is a copy of ours, an eviction says so
        }
        let placement = Placement {
            tenant: key.tenant,
            meeting: key.meeting.clone(),
            bbb_id: meeting.meeting_id.clone(),
            server: server.id,
            phase: Phase::Confirmed,
            internal_id: Some(meeting.internal_id.clone()),
            create_time: meeting.create_time,
            attendee_pw: meeting.attendee_pw.clone(),
            moderator_pw: meeting.moderator_pw.clone(),
            claimed_at: moment.born(&meeting),
            why: r#"{"reason":"adopted","text":"The meeting was found running on this server."}"#.to_owned(),
            version: Version::default(),
        };
        match self.placed_in_store("claim", &key, CLAIM_LIMIT, self.store.claim(placement.clone())).await {
            Ok(Claim::Won(version)) => {
                self.metrics.meetings_adopted.inc();
                info!(server = server.name.as_str(), meeting = key.meeting.as_str(); "unknown meeting taken over");
                self.ledger.adopt(Placement { version, ..placement }, meeting, moment);
            }
            Ok(Claim::Taken(theirs)) => {
                self.ledger.put(theirs, now);
            }
            Err(error) => warn!(server = server.name.as_str(), error:% = error; "unknown meeting not taken over"),
        }
    }

    /// Ends what evictions name on this server, and drops evictions that have nothing left to do; from a list that is
    /// not complete nothing is concluded about a copy that is not in it.
    async fn settle_evictions(&self, server: &Arc<ServerRecord>, unknown: &[Meeting], is_complete: bool, now: Millis) {
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
                    self.evict(server, eviction, copy, &called, now).await;
                    false // settled when a later poll no longer lists it
                }
                None => is_complete && self.drop_if_stale(eviction, now).await,
            };
        }
        if settled {
            self.reload_evictions().await;
        }
    }

    /// Ends one stale copy, unless a create is deciding about that meeting in this moment or has placed it here again.
    async fn evict(
        &self,
        server: &Arc<ServerRecord>,
        eviction: &Eviction,
        copy: &Meeting,
        called: &BbbMeetingId,
        now: Millis,
    ) {
        if copy.forcibly_ended {
            return;
        }
        let tenants = self.tenants.load_full();
        let mut owners = tenants.iter();
        let key = owners.find_map(|tenant| {
            let meeting = tenant.own_id(copy.meeting_id.as_str(), &copy.metadata)?;
            Some(MeetingKey { tenant: tenant.id(), meeting })
        });
        let turn = key.as_ref().map(|key| self.gate.try_enter(key));
        let placed = self.ledger.find_by_bbb_id(&eviction.bbb_id);
        if matches!(turn, Some(None)) || placed.is_some_and(|view| view.server == server.id) {
            return;
        }
        // Another process may have placed it here again just now; the store knows.
        let row = match &key {
            Some(key) => self.timed_store("read", self.store.placement(key)).await,
            None => Ok(None),
        };
        if row.is_err() || row.is_ok_and(|row| row.is_some_and(|placement| placement.server == server.id)) {
            return;
        }
        let password = copy.moderator_pw.as_ref().or(eviction.moderator_pw.as_ref());
        match self.client.end(server, called, password, END_LIMIT).await {
            Ok(reply) => {
                info!(server = server.name.as_str(), meeting = copy.internal_id.as_str(), ended = reply.success, people = copy.participants;
                    "stale copy of a meeting that was placed elsewhere");
                if reply.success {
                    self.metrics.twins_ended.inc();
                    self.ended.lock().bury(copy.internal_id.clone(), now);
                }
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "stale copy not ended yet");
            }
        }
    }

    /// A claim has come to nothing. If it was to replace a meeting on a lost server, that one is the meeting after all
    /// and will be taken over when its server is back.
    async fn keep_original(&self, key: &MeetingKey) {
        let tenants = self.tenants.load_full();
        let Some(bbb_id) = tenants.get(key.tenant).map(|tenant| tenant.bbb_id(&key.meeting)) else { return };
        let evictions = self.evictions.load_full();
        let was_confirmed = |eviction: &&Eviction| eviction.bbb_id == bbb_id && eviction.internal_id.is_some();
        for eviction in evictions.iter().filter(was_confirmed) {
            if let Err(error) = self.store.remove_eviction(eviction).await {
                warn!(error:% = error; "eviction not removed");
            }
        }
        self.reload_evictions().await;
    }

    /// A server that has answered without the copy has none, once a create sent before could no longer be at work.
    async fn drop_if_stale(&self, eviction: &Eviction, now: Millis) -> bool {
        let patience = self.ledger.claim_timeout();
        now.since(eviction.since) > patience && self.store.remove_eviction(eviction).await.is_ok()
    }

    async fn finish_drain(&self, server: &Arc<ServerRecord>) {
        match self.timed_store("update", self.disable_drained(server.id)).await {
            Ok(false) => {}
            Ok(true) => {
                info!(server = server.name.as_str(); "server is empty, drained and disabled");
                if let Err(error) = self.reload_configuration().await {
                    warn!(error:% = error; "servers and tenants not read again");
                }
            }
            Err(error) => warn!(server = server.name.as_str(), error:% = error; "drained server not disabled yet"),
        }
    }

    /// False if the operator has changed his mind since the poll was sent, or another process has placed a meeting there.
    async fn disable_drained(&self, id: ServerId) -> Result<bool, StoreError> {
        let servers = self.store.servers().await?;
        let draining = servers.into_iter().find(|one| one.id == id && one.state == ServerState::Draining);
        let Some(mut record) = draining else { return Ok(false) };
        if self.store.placements().await?.iter().any(|placement| placement.server == id) {
            return Ok(false);
        }
        record.state = ServerState::Disabled;
        self.store.update_server(record).await?;
        Ok(true)
    }
}
