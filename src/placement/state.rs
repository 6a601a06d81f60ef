//! Everything behind the ledger's lock: servers, meetings, their indexes and the sums.
//!
//! The sums are kept by difference: whoever changes an entry calls `refresh`, which takes the entry's old contribution
//! out of its server and tenant and puts the new one in. Choosing therefore reads one sum per server and never walks
//! the meetings. Every index is written by `insert`, `remove` and `set_internal` only.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use super::entry::{BreakoutEntry, MeetingEntry};
use super::sums::Sums;
use super::{HashMap, HashSet, Tombstones, Tuned};
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingKey, ServerId, TenantId};
use crate::pool::Health;
use crate::pool::load::{Audio, Capacity};
use crate::store::ServerRecord;

/// One server of the table.
#[derive(Debug)]
pub(super) struct ServerEntry {
    pub record: Arc<ServerRecord>,
    pub health: Health,
    pub health_since: Millis,
    /// As the server says it.
    pub version: Option<String>,
    /// Of the meetings placed here.
    pub sums: Sums,
    /// Of meetings that the last poll listed and no entry claims.
    foreign: Sums,
    /// The same, one by one: a meeting that is placed here after all leaves it at once, or it would count twice.
    strangers: HashMap<BbbMeetingId, Sums>,
    /// People whose client is carried to it by this process.
    pub carried: u32,
    /// Creates fail here and work elsewhere: until then other servers are better.
    pub avoided_until: Option<Millis>,
    pub keys: HashSet<MeetingKey>,
    /// A join that the last poll was sent too early for.
    pub unseen_join: Option<Millis>,
    /// A list without any of the meetings that were here came at this moment, and is not believed yet.
    pub doubted: Option<Millis>,
    pub poll_sent: Option<Millis>,
    pub poll_received: Option<Millis>,
}

impl ServerEntry {
    pub fn new(record: ServerRecord, now: Millis) -> Self {
        Self {
            record: Arc::new(record),
            health: Health::Unknown,
            health_since: now,
            version: None,
            sums: Sums::default(),
            foreign: Sums::default(),
            strangers: HashMap::default(),
            carried: 0,
            avoided_until: None,
            keys: HashSet::default(),
            unseen_join: None,
            doubted: None,
            poll_sent: None,
            poll_received: None,
        }
    }

    pub fn version(&self) -> Option<&str> {
        self.record.version.as_deref().or(self.version.as_deref())
    }

    pub fn audio(&self, tuned: &Tuned) -> Audio {
        Audio::of(tuned.load.audio.tlo, self.version())
    }

    pub fn capacity(&self) -> Capacity {
        Capacity { cores: self.record.cores, weight: self.record.weight, nic_mbit: self.record.nic_mbit }
    }

    pub fn set_strangers(&mut self, strangers: HashMap<BbbMeetingId, Sums>) {
        self.foreign = strangers.values().fold(Sums::default(), |sum, share| sum.plus(*share));
        self.strangers = strangers;
    }

    fn forget_stranger(&mut self, bbb_id: &BbbMeetingId) {
        if let Some(share) = self.strangers.remove(bbb_id) {
            self.foreign -= share;
        }
    }

    /// By polls, joins and forecasts.
    pub fn all(&self) -> Sums {
        self.sums.plus(self.foreign)
    }

    /// The same, with those who are carried here and whom none of these knows.
    pub fn loaded(&self, tuned: &Tuned) -> Sums {
        let all = self.all();
        all.plus(all.unseen(self.carried, &tuned.load))
    }
}

/// What a tenant has.
#[derive(Debug, Default)]
pub(super) struct TenantEntry {
    pub sums: Sums,
    pub keys: HashSet<MeetingKey>,
    /// Changes with whatever getMeetings shows; never the same twice, whichever tenant.
    pub edition: u64,
    /// When the oldest poll was sent among those of its meetings; `None` if it has to be looked for again.
    pub oldest_poll: Option<Option<Millis>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub tuned: Tuned,
    pub servers: BTreeMap<ServerId, ServerEntry>,
    pub meetings: HashMap<MeetingKey, MeetingEntry>,
    pub tenants: HashMap<TenantId, TenantEntry>,
    pub by_bbb: HashMap<BbbMeetingId, MeetingKey>,
    pub by_internal: HashMap<InternalId, MeetingKey>,
    /// Breakout rooms made by BBB → their parent.
    pub breakouts: HashMap<BbbMeetingId, MeetingKey>,
    /// The same by their internal ids.
    pub breakouts_internal: HashMap<InternalId, MeetingKey>,
    /// What callers have ended, and a server may still list for a while.
    pub ended: Tombstones,
    /// Meetings whose contribution changes with time alone.
    pub awake: HashSet<MeetingKey>,
    /// The last edition given out.
    editions: u64,
}

impl State {
    pub fn new(tuned: Tuned) -> Self {
        Self {
            tuned,
            servers: BTreeMap::new(),
            meetings: HashMap::default(),
            tenants: HashMap::default(),
            by_bbb: HashMap::default(),
            by_internal: HashMap::default(),
            breakouts: HashMap::default(),
            breakouts_internal: HashMap::default(),
            ended: Tombstones::default(),
            awake: HashSet::default(),
            editions: 0,
        }
    }

    /// Adds a meeting whose server is in the table, in place of any earlier one under the same key. The store binds an
    /// id of BBB to one meeting only, so another one that has it here is one that the store has forgotten.
    pub fn insert(&mut self, key: MeetingKey, mut entry: MeetingEntry, now: Millis) {
        self.remove(&key);
        entry.share = Sums::default();
        if !self.servers.contains_key(&entry.server) {
            return;
        }
        if let Some(other) = self.by_bbb.get(&entry.bbb_id).cloned() {
            self.remove(&other);
        }
        let Some(server) = self.servers.get_mut(&entry.server) else { return };
        server.keys.insert(key.clone());
        server.forget_stranger(&entry.bbb_id);
        self.tenants.entry(key.tenant).or_default().keys.insert(key.clone());
        self.by_bbb.insert(entry.bbb_id.clone(), key.clone());
        if let Some(internal_id) = &entry.internal_id {
            self.by_internal.entry(internal_id.clone()).or_insert_with(|| key.clone());
        }
        self.link_breakouts(&key, &entry.breakouts);
        self.meetings.insert(key.clone(), entry);
        self.new_edition(key.tenant);
        self.refresh(&key, now);
    }

    /// What the tenant's getMeetings shows is not what it was.
    fn new_edition(&mut self, tenant: TenantId) {
        self.editions += 1;
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            tenant.edition = self.editions;
            tenant.oldest_poll = None;
        }
    }

    /// Takes a meeting out of every index and sum.
    pub fn remove(&mut self, key: &MeetingKey) -> Option<MeetingEntry> {
        let entry = self.meetings.remove(key)?;
        if let Some(server) = self.servers.get_mut(&entry.server) {
            server.sums -= entry.share;
            server.keys.remove(key);
        }
        if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
            tenant.sums -= entry.share;
            tenant.keys.remove(key);
            if tenant.keys.is_empty() {
                self.tenants.remove(&key.tenant);
            }
        }
        unlink(&mut self.by_bbb, &entry.bbb_id, key);
        if let Some(internal_id) = &entry.internal_id {
            unlink(&mut self.by_internal, internal_id, key);
        }
        self.unlink_breakouts(key, &entry.breakouts);
        self.awake.remove(key);
        self.new_edition(key.tenant);
        Some(entry)
    }

    /// Changes an entry and brings indexes and sums up to date, with a new forecast. `None` if there is no such meeting.
    pub fn change<T>(
        &mut self,
        key: &MeetingKey,
        now: Millis,
        change: impl FnOnce(&mut MeetingEntry) -> T,
    ) -> Option<T> {
        let entry = self.meetings.get_mut(key)?;
        let before = entry.internal_id.clone();
        let old_breakouts = entry.breakouts.clone();
        let old_xml = entry.xml.clone();
        let old_proof = entry.confirmation();
        let result = change(entry);
        let is_shown_otherwise = entry.xml != old_xml
            || entry.confirmation() != old_proof
            || !entry.breakouts.iter().map(|room| &room.xml).eq(old_breakouts.iter().map(|room| &room.xml));
        if before != entry.internal_id {
            if let Some(internal_id) = before {
                unlink(&mut self.by_internal, &internal_id, key);
            }
            if let Some(internal_id) = &entry.internal_id {
                self.by_internal.entry(internal_id.clone()).or_insert_with(|| key.clone());
            }
        }
        let breakouts = entry.breakouts.clone();
        self.unlink_breakouts(key, &old_breakouts);
        self.link_breakouts(key, &breakouts);
        if is_shown_otherwise {
            self.new_edition(key.tenant);
        } else if let Some(tenant) = self.tenants.get_mut(&key.tenant) {
            tenant.oldest_poll = None;
        }
        self.refresh(key, now);
        Some(result)
    }

    fn link_breakouts(&mut self, key: &MeetingKey, rooms: &[BreakoutEntry]) {
        for room in rooms {
            self.breakouts.insert(room.bbb_id.clone(), key.clone());
            let internal_id = room.confirmation.internal_id.clone();
            self.breakouts_internal.entry(internal_id).or_insert_with(|| key.clone());
        }
    }

    fn unlink_breakouts(&mut self, key: &MeetingKey, rooms: &[BreakoutEntry]) {
        for room in rooms {
            unlink(&mut self.breakouts, &room.bbb_id, key);
            unlink(&mut self.breakouts_internal, &room.confirmation.internal_id, key);
        }
    }

    /// Makes a new forecast for the meeting and brings the sums up to date.
    pub fn refresh(&mut self, key: &MeetingKey, now: Millis) {
        let Some(entry) = self.meetings.get_mut(key) else { return };
        entry.pending.expire(now);
        entry.make_forecast(&self.tuned, now);
        entry.is_in_awake = entry.is_awake(&self.tuned, now);
        if entry.is_in_awake {
            self.awake.insert(key.clone());
        } else {
            self.awake.remove(key);
        }
        if let Some(server) = self.servers.get_mut(&entry.server) {
            entry.reshare(server, self.tenants.get_mut(&key.tenant), &self.tuned, now);
        }
    }

    pub fn refresh_server(&mut self, server: ServerId, now: Millis) {
        let Some(entry) = self.servers.get(&server) else { return };
        for key in entry.keys.clone() {
            self.refresh(&key, now);
        }
    }
}

impl MeetingEntry {
    /// Brings the sums of its server and tenant up to date with the forecast as it is.
    pub fn reshare(&mut self, server: &mut ServerEntry, tenant: Option<&mut TenantEntry>, tuned: &Tuned, now: Millis) {
        let share = self.contribution(tuned, server.audio(tuned), now);
        server.sums -= self.share;
        server.sums += share;
        if let Some(tenant) = tenant {
            tenant.sums -= self.share;
            tenant.sums += share;
        }
        self.share = share;
    }
}

/// Removes `id` if it leads to `key`. A broken server may tell one id for two meetings: the first keeps it.
fn unlink<Id: Eq + Hash>(index: &mut HashMap<Id, MeetingKey>, id: &Id, key: &MeetingKey) {
    if index.get(id) == Some(key) {
        index.remove(id);
    }
}

#[cfg(test)]
impl State {
    /// Every index and sum, recomputed from the entries alone.
    pub fn assert_consistent(&self) {
        let mut servers: BTreeMap<ServerId, Sums> = self.servers.keys().map(|id| (*id, Sums::default())).collect();
        let mut tenants: HashMap<TenantId, Sums> = HashMap::default();
        for (key, entry) in &self.meetings {
            *servers.get_mut(&entry.server).expect("an entry points to a server that is gone") += entry.share;
            *tenants.entry(key.tenant).or_default() += entry.share;
            assert!(entry.share.is_nowhere_negative(), "{key:?}: {:?}", entry.share);
            assert!(self.servers[&entry.server].keys.contains(key));
            assert_eq!(self.by_bbb.get(&entry.bbb_id), Some(key));
            if let Some(internal_id) = &entry.internal_id {
                let holder = &self.meetings[&self.by_internal[internal_id]];
                assert_eq!(holder.internal_id.as_ref(), Some(internal_id));
            }
            for breakout in &entry.breakouts {
                assert_eq!(self.breakouts.get(&breakout.bbb_id), Some(key));
                assert!(self.breakouts_internal.contains_key(&breakout.confirmation.internal_id));
            }
        }
        for (id, server) in &self.servers {
            assert_eq!(server.sums, servers[id], "sums of server {id}");
            let strangers = server.strangers.values().fold(Sums::default(), |sum, share| sum.plus(*share));
            assert_eq!(server.foreign, strangers, "strangers of server {id}");
            let is_placed = |one: &BbbMeetingId| self.by_bbb.get(one).is_some_and(|key| server.keys.contains(key));
            assert!(!server.strangers.keys().any(is_placed), "a placed meeting counts as a stranger's");
            assert!(server.keys.iter().all(|key| self.meetings[key].server == *id));
        }
        let placed: usize = self.servers.values().map(|server| server.keys.len()).sum();
        assert_eq!(placed, self.meetings.len(), "each meeting has one server");
        for (bbb_id, key) in &self.by_bbb {
            assert_eq!(self.meetings[key].bbb_id, *bbb_id);
        }
        for (internal_id, key) in &self.by_internal {
            assert_eq!(self.meetings[key].internal_id.as_ref(), Some(internal_id));
        }
        for (bbb_id, key) in &self.breakouts {
            assert!(self.meetings[key].breakouts.iter().any(|room| room.bbb_id == *bbb_id));
        }
        for (internal_id, key) in &self.breakouts_internal {
            assert!(self.meetings[key].breakouts.iter().any(|room| room.confirmation.internal_id == *internal_id));
        }
        assert_eq!(self.tenants.len(), tenants.len());
        for (id, tenant) in &self.tenants {
            assert_eq!(tenant.sums, tenants[id], "sums of tenant {id}");
            assert!(tenant.keys.iter().all(|key| key.tenant == *id && self.meetings.contains_key(key)));
        }
        let internal: HashSet<_> = self.meetings.values().filter_map(|entry| entry.internal_id.as_ref()).collect();
        let rooms = self.meetings.values().flat_map(|entry| &entry.breakouts);
        let rooms: HashSet<_> = rooms.map(|room| &room.confirmation.internal_id).collect();
        assert_eq!(self.breakouts_internal.len(), rooms.len());
        let breakouts: usize = self.meetings.values().map(|entry| entry.breakouts.len()).sum();
        assert_eq!(self.by_bbb.len(), self.meetings.len());
        assert_eq!((self.by_internal.len(), self.breakouts.len()), (internal.len(), breakouts));
        assert!(self.awake.iter().all(|key| self.meetings.contains_key(key)));
        assert!(self.meetings.iter().all(|(key, entry)| entry.is_in_awake == self.awake.contains(key)));
    }
}
