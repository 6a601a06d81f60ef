//! Questions that every hot path asks, and what real traffic tells: joins, and the passing of time.
//!
//! A join counts at once (load-model.md section 7, rule 2): limits and the next choice must see it before any poll does.

use super::entry::{BreakoutEntry, MeetingEntry};
use super::state::State;
use super::sums::count;
use super::{
    BreakoutView, Edition, JoinRefusal, JoinTicket, Ledger, MeetingFragment, MeetingView, TenantMeetings, Usage,
};
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, ServerId, TenantId};
use crate::pool::Health;
use crate::store::{Confirmation, ServerState};
use crate::tenant::TenantLimits;

/// Meetings refreshed under one lock by `tick`, so that a full pool does not hold up a join.
const TICK_BATCH: usize = 256;

impl Ledger {
    pub fn find(&self, key: &MeetingKey) -> Option<MeetingView> {
        let state = self.state.lock();
        state.meeting_view(key, state.meetings.get(key)?)
    }

    /// A breakout room that BBB made by itself under one of this tenant's meetings.
    pub fn find_breakout(&self, tenant: TenantId, meeting_id: &str) -> Option<BreakoutView> {
        let state = self.state.lock();
        let bbb_id = BbbMeetingId::new(meeting_id);
        let parent = state.breakouts.get(&bbb_id).filter(|parent| parent.tenant == tenant)?;
        let entry = state.meetings.get(parent)?;
        let record = state.servers.get(&entry.server)?.record.clone();
        Some(BreakoutView { bbb_id, record })
    }

    /// The meeting with this internal id; for a breakout room its parent.
    pub fn find_internal(&self, internal_id: &InternalId) -> Option<MeetingKey> {
        let state = self.state.lock();
        state.by_internal.get(internal_id).or_else(|| state.breakouts_internal.get(internal_id)).cloned()
    }

    /// What to call a meeting towards its server, as in `MeetingView`, be it placed there or not.
    pub fn name_on_server(&self, server: ServerId, bbb_id: &BbbMeetingId, own: &InternalId) -> BbbMeetingId {
        self.state.lock().name_on_server(server, bbb_id, Some(own))
    }

    /// Where to send somebody who wants to join, counted at once. The limit of people is checked under the same lock,
    /// so that a rush cannot slip past it.
    pub fn admit_join(&self, key: &MeetingKey, limits: &TenantLimits, now: Millis) -> Result<JoinTicket, JoinRefusal> {
        let mut guard = self.state.lock();
        // Each table is asked once: in a large pool every look is one into memory that no cache has.
        let State { meetings, servers, tenants, awake, tuned, .. } = &mut *guard;
        let entry = meetings.get_mut(key).ok_or(JoinRefusal::Unknown)?;
        let server = servers.get_mut(&entry.server).ok_or(JoinRefusal::Unknown)?;
        if server.record.state == ServerState::Disabled {
            return Err(JoinRefusal::ServerDisabled);
        }
        if server.health == Health::Down {
            return Err(JoinRefusal::ServerDown { since: server.health_since });
        }
        let tenant = tenants.get_mut(&key.tenant);
        let people = tenant.as_ref().map_or(0, |tenant| count(tenant.sums.own_people));
        if let Some(limit) = limits.max_people.filter(|limit| people >= *limit) {
            return Err(JoinRefusal::TenantPeople { limit });
        }
        entry.note_join(now);
        if !entry.is_in_awake {
            entry.is_in_awake = true;
            awake.insert(key.clone());
        }
        entry.reshare(server, tenant, tuned, now);
        let is_first = server.unseen_join.is_none();
        server.unseen_join = Some(now);
        let record = server.record.clone();
        if !entry.bbb_id.may_begin_internal() {
            return Ok(JoinTicket { record, called: entry.bbb_id.clone(), is_first });
        }
        let (server, bbb_id, own) = (entry.server, entry.bbb_id.clone(), entry.internal_id.clone());
        Ok(JoinTicket { record, called: guard.name_on_server(server, &bbb_id, own.as_ref()), is_first })
    }

    pub fn tenant_usage(&self, tenant: TenantId) -> Usage {
        self.state.lock().usage(tenant)
    }

    /// Usage of all tenants that have a meeting, by id.
    pub fn tenant_usages(&self) -> Vec<(TenantId, Usage)> {
        let state = self.state.lock();
        let mut usages: Vec<_> = state.tenants.keys().map(|tenant| (*tenant, state.usage(*tenant))).collect();
        usages.sort_by_key(|(tenant, _)| *tenant);
        usages
    }

    /// What edition of its meetings the tenant would be shown, and since when the oldest of them is known.
    pub fn edition_of(&self, tenant: TenantId) -> Edition {
        let mut guard = self.state.lock();
        let State { meetings, tenants, .. } = &mut *guard;
        let Some(tenant) = tenants.get_mut(&tenant) else { return Edition::default() };
        let look = || {
            let confirmed = tenant.keys.iter().filter_map(|key| meetings.get(key));
            confirmed.filter(|entry| entry.confirmation().is_some()).filter_map(|entry| entry.polled_at).min()
        };
        let oldest_poll = *tenant.oldest_poll.get_or_insert_with(look);
        Edition { number: tenant.edition, oldest_poll }
    }

    /// The tenant's confirmed meetings and their breakout rooms, those on servers that are down included.
    pub fn meetings_of(&self, tenant: TenantId) -> TenantMeetings {
        let state = self.state.lock();
        let Some(tenant) = state.tenants.get(&tenant) else { return TenantMeetings::default() };
        let with_proof = |key| {
            let entry: &MeetingEntry = state.meetings.get(key)?;
            Some((key, entry, entry.confirmation()?))
        };
        let mut confirmed: Vec<(&MeetingKey, &MeetingEntry, Confirmation)> =
            tenant.keys.iter().filter_map(with_proof).collect();
        confirmed.sort_by_key(|(key, entry, _)| (entry.create_time, *key));
        let mut fragments = Vec::with_capacity(confirmed.len());
        for (key, entry, confirmation) in confirmed {
            let (bbb_id, meeting, xml) = (entry.bbb_id.clone(), key.meeting.clone(), entry.xml.clone());
            fragments.push(MeetingFragment { bbb_id, meeting, xml, confirmation });
            fragments.extend(entry.breakouts.iter().map(BreakoutEntry::fragment));
        }
        TenantMeetings { fragments, edition: tenant.edition }
    }

    /// All placements that point to this server, sorted.
    pub fn meetings_on(&self, server: ServerId) -> Vec<MeetingKey> {
        let state = self.state.lock();
        let mut keys: Vec<MeetingKey> =
            state.servers.get(&server).map(|entry| entry.keys.iter().cloned().collect()).unwrap_or_default();
        keys.sort();
        keys
    }

    /// To be called once a second: time alone changes what fresh meetings still expect. Locks in short stretches.
    pub fn tick(&self, now: Millis) {
        let awake: Vec<MeetingKey> = self.state.lock().awake.iter().cloned().collect();
        for batch in awake.chunks(TICK_BATCH) {
            let mut state = self.state.lock();
            for key in batch {
                state.refresh(key, now);
            }
        }
    }
}

impl State {
    pub(super) fn usage(&self, tenant: TenantId) -> Usage {
        let Some(tenant) = self.tenants.get(&tenant) else { return Usage::default() };
        Usage { meetings: count(tenant.sums.meetings), people: count(tenant.sums.own_people) }
    }

    /// BBB tries every id as the beginning of an internal id first, so an id such as `ab` may mean a stranger's
    /// meeting; the whole internal id means ours.
    fn name_on_server(&self, server: ServerId, bbb_id: &BbbMeetingId, own: Option<&InternalId>) -> BbbMeetingId {
        let Some(own) = own.filter(|_| bbb_id.may_begin_internal()) else { return bbb_id.clone() };
        let others = self.servers.get(&server).into_iter().flat_map(|server| &server.keys);
        let is_taken = others.filter_map(|key| self.meetings.get(key)).any(|other| {
            let rooms = other.breakouts.iter().map(|room| &room.confirmation.internal_id);
            rooms.chain(&other.internal_id).any(|internal| bbb_id.may_mean(own, internal))
        });
        if is_taken { BbbMeetingId::new(own.as_str()) } else { bbb_id.clone() }
    }

    fn meeting_view(&self, key: &MeetingKey, entry: &MeetingEntry) -> Option<MeetingView> {
        let server = self.servers.get(&entry.server)?;
        Some(MeetingView {
            key: key.clone(),
            bbb_id: entry.bbb_id.clone(),
            called: self.name_on_server(entry.server, &entry.bbb_id, entry.internal_id.as_ref()),
            server: entry.server,
            version: entry.version,
            record: server.record.clone(),
            health: server.health,
            down_since: (server.health == Health::Down).then_some(server.health_since),
            phase: entry.phase,
            internal_id: entry.internal_id.clone(),
            attendee_pw: entry.attendee_pw.clone(),
            moderator_pw: entry.moderator_pw.clone(),
            claimed_at: entry.claimed_at,
            participants: entry.figures.media.people,
            running: entry.running,
            polled_at: entry.polled_at,
            ending: entry.ending.is_some(),
        })
    }
}

impl BreakoutEntry {
    fn fragment(&self) -> MeetingFragment {
        MeetingFragment {
            bbb_id: self.bbb_id.clone(),
            meeting: MeetingId::new(self.bbb_id.as_str()),
            xml: self.xml.clone(),
            confirmation: self.confirmation.clone(),
        }
    }
}
