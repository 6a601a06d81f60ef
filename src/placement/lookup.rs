//! Questions to the ledger that the placer asks: by the server's own id, and what is left to show of a meeting.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Glance, Ledger, MeetingView};
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingKey, ServerId, TenantId};
use crate::pool::Health;
use crate::store::Phase;

impl Ledger {
    /// The meeting that a server would know by this id, wherever it is placed.
    pub fn find_by_bbb_id(&self, bbb_id: &BbbMeetingId) -> Option<MeetingView> {
        let key = self.state.lock().by_bbb.get(bbb_id).cloned()?;
        self.find(&key)
    }

    /// The meeting as last seen, for calls that are answered without its server.
    pub fn glance(&self, key: &MeetingKey) -> Option<Glance> {
        let state = self.state.lock();
        let entry = state.meetings.get(key)?;
        Some(Glance {
            bbb_id: entry.bbb_id.clone(),
            is_down: state.servers.get(&entry.server)?.health == Health::Down,
            confirmed: entry.phase == Phase::Confirmed,
            running: entry.running,
            polled_at: entry.polled_at,
            ending: entry.ending.is_some(),
            xml: entry.xml.clone(),
        })
    }

    /// The servers that have meetings of the tenant.
    pub fn servers_of(&self, tenant: TenantId) -> BTreeSet<ServerId> {
        let state = self.state.lock();
        let keys = state.tenants.get(&tenant).into_iter().flat_map(|tenant| &tenant.keys);
        keys.filter_map(|key| state.meetings.get(key)).map(|entry| entry.server).collect()
    }

    /// Whether the meeting is this one, and not another under the same id.
    pub fn is_known_as(&self, key: &MeetingKey, internal_id: &InternalId) -> bool {
        self.state.lock().meetings.get(key).is_some_and(|entry| entry.internal_id.as_ref() == Some(internal_id))
    }

    /// A create of it runs in this process; one that was broken off without a word counts for the claim's time only.
    pub fn is_creating(&self, key: &MeetingKey, now: Millis) -> bool {
        let state = self.state.lock();
        state.meetings.get(key).is_some_and(|entry| entry.is_creating(&state.tuned, now))
    }

    /// Every meeting of the picture.
    pub fn all_keys(&self) -> Vec<MeetingKey> {
        self.state.lock().meetings.keys().cloned().collect()
    }

    /// Somebody was sent to a meeting on that server whom no poll has shown yet; `true` if the last poll could not.
    pub(super) fn expects_people(&self, server: ServerId) -> Option<bool> {
        let state = self.state.lock();
        let entry = state.servers.get(&server)?;
        let is_expected = entry.unseen_join.is_some() || entry.sums.pending > 0;
        is_expected.then_some(entry.unseen_join.is_some())
    }

    /// How long a create may still be at work somewhere after its claim.
    pub fn claim_timeout(&self) -> Duration {
        self.state.lock().tuned.claim_timeout
    }
}
