//! What a poll teaches: meetings that ended, claims that came true, twins to end, strangers to take over.
//!
//! A poll never ends a meeting with people in it; it only changes what Usher knows. Copies that were left behind when
//! their meeting was placed elsewhere are dealt with in `twins.rs`.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::Placer;
use super::poll::Moment;
use super::twins::is_copy;
use super::unwritten::Unwritten;
use crate::bbb::{Meeting, MeetingList};
use crate::clock::Millis;
use crate::ids::{InternalId, MeetingKey, ServerId};
use crate::store::{Claim, Eviction, Known, Phase, Placement, ServerRecord, ServerState, StoreError, Version};

/// An ended meeting may still be listed for some seconds, and a poll may be that late.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(120);
/// How long a poll waits for the store to take over a stranger; the next poll meets it again.
const CLAIM_LIMIT: Duration = Duration::from_secs(1);

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
        if outcome.is_doubtful {
            warn!(server = server.name.as_str(); "server lists none of its meetings any more, it is asked again before that is believed");
            self.metrics.lists_doubted.inc();
            self.doubt(server.id);
        }
        for (key, confirmation) in outcome.confirmed {
            self.write_or_keep(Unwritten::Confirmed(key, server.id, confirmation)).await;
        }
        for changed in outcome.changed {
            self.bury(changed.before, now);
            self.write_or_keep(Unwritten::Confirmed(changed.key, server.id, changed.confirmation)).await;
        }
        for ended in outcome.ended {
            self.metrics.meetings_ended.inc();
            if let Some(internal_id) = &ended.internal_id {
                self.bury(internal_id.clone(), now);
            }
            if ended.internal_id.is_none() {
                self.keep_original(&ended.key).await;
            }
            let known = ended.internal_id.map_or(Known::Version(ended.version), Known::Internal);
            self.write_or_keep(Unwritten::Released(ended.key, server.id, known)).await;
        }
        self.settle_evictions(server, &outcome.unknown, is_complete, moment).await;
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

    /// The meeting is over: a list that comes late does not bring it back.
    pub(super) fn bury(&self, id: InternalId, now: Millis) {
        self.ended.lock().bury(id, now + TOMBSTONE_LIFE, now);
    }

    /// A meeting that no placement on this server explains.
    async fn meet_stranger(&self, server: &Arc<ServerRecord>, meeting: Meeting, moment: Moment) {
        let now = moment.received;
        if meeting.is_breakout || meeting.forcibly_ended {
            return;
        }
        let tenants = self.tenants.load();
        let owner = tenants
            .iter()
            .find_map(|tenant| Some((tenant, tenant.own_id(meeting.meeting_id.as_str(), &meeting.metadata)?)));
        let Some((tenant, own_id)) = owner else { return };
        let key = MeetingKey { tenant: tenant.id(), meeting: own_id };
        if let Some(view) = self.ledger.find(&key) {
            return self.meet_twin(server, &meeting, &view, now).await;
        }
        if self.ended.lock().holds(&meeting.internal_id, now) {
            return;
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
