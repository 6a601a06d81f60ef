//! The table of servers: what the store, the health state machine and the servers themselves say about them.
//!
//! The table follows the store's rows and keeps the live figures of servers that stay. Nothing in the ledger ever
//! points to a server that is gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::state::{ServerEntry, State};
use super::sums::count;
use super::{Ledger, LedgerSettings, ServerView};
use crate::clock::Millis;
use crate::ids::{MeetingKey, ServerId};
use crate::pool::Health;
use crate::store::ServerRecord;

impl Ledger {
    /// New settings, effective at once for everything that is there.
    pub fn set_settings(&self, settings: LedgerSettings, now: Millis) {
        let mut state = self.state.lock();
        state.tuned = settings.into();
        let servers: Vec<ServerId> = state.servers.keys().copied().collect();
        for server in servers {
            state.refresh_server(server, now);
        }
    }

    /// Replaces the table. Meetings of servers that are gone are dropped and returned.
    pub fn set_servers(&self, records: Vec<ServerRecord>, now: Millis) -> Vec<MeetingKey> {
        let mut state = self.state.lock();
        let kept: HashSet<ServerId> = records.iter().map(|record| record.id).collect();
        let gone: Vec<ServerId> = state.servers.keys().filter(|id| !kept.contains(id)).copied().collect();
        let mut dropped: Vec<MeetingKey> = Vec::new();
        for server in gone {
            let keys = state.servers.get(&server).map(|entry| entry.keys.clone()).unwrap_or_default();
            for key in &keys {
                state.remove(key);
            }
            dropped.extend(keys);
            state.servers.remove(&server);
        }
        for record in records {
            state.set_record(record, now);
        }
        self.table.store(Arc::new(state.servers.values().map(|entry| entry.record.clone()).collect()));
        dropped.sort();
        dropped
    }

    /// Health as the state machine judges it; remembers since when.
    pub fn set_health(&self, server: ServerId, health: Health, now: Millis) {
        let mut state = self.state.lock();
        let Some(entry) = state.servers.get_mut(&server) else { return };
        if entry.health != health {
            entry.health = health;
            entry.health_since = now;
        }
    }

    /// New meetings go elsewhere until then, as long as there is another server for them. True if they did not before.
    pub fn avoid(&self, server: ServerId, until: Option<Millis>) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.servers.get_mut(&server) else { return false };
        std::mem::replace(&mut entry.avoided_until, until).is_none()
    }

    /// How many people's clients this process carries to each server now; to those that are not listed nobody's. Told once
    /// a second, so that people count before the next poll knows them.
    pub fn set_carried(&self, carried: &[(ServerId, u32)]) {
        let mut state = self.state.lock();
        state.servers.values_mut().for_each(|entry| entry.carried = 0);
        for (server, people) in carried {
            if let Some(entry) = state.servers.get_mut(server) {
                entry.carried = *people;
            }
        }
    }

    /// BBB's version as the server says it, such as `3.0.19` or `3.0`.
    pub fn set_version(&self, server: ServerId, version: String, now: Millis) {
        let mut state = self.state.lock();
        let tuned = state.tuned;
        let Some(entry) = state.servers.get_mut(&server) else { return };
        if entry.version.as_ref() == Some(&version) {
            return;
        }
        let before = entry.audio(&tuned);
        entry.version = Some(version);
        if entry.audio(&tuned) != before {
            state.refresh_server(server, now);
        }
        // Who follows the table looks at versions too.
        self.table.store(Arc::new(self.table.load().to_vec()));
    }

    /// The versions of all servers that are known: the operator's word, else what the server said.
    pub fn versions(&self) -> HashMap<ServerId, String> {
        let state = self.state.lock();
        let known = state.servers.iter().filter_map(|(id, entry)| Some((*id, entry.version()?.to_owned())));
        known.collect()
    }

    pub fn server(&self, server: ServerId) -> Option<ServerView> {
        let state = self.state.lock();
        state.servers.get(&server).map(|entry| state.server_view(entry))
    }

    pub fn server_named(&self, name: &str) -> Option<ServerView> {
        let state = self.state.lock();
        state.servers.values().find(|entry| entry.record.name == name).map(|entry| state.server_view(entry))
    }

    /// What the operator said of all servers, by id: the same `Arc` until something was said anew, or a server's version
    /// became another.
    pub fn table(&self) -> Arc<Vec<Arc<ServerRecord>>> {
        self.table.load_full()
    }

    /// All servers, by id.
    pub fn servers(&self) -> Vec<ServerView> {
        let state = self.state.lock();
        state.servers.values().map(|entry| state.server_view(entry)).collect()
    }
}

impl State {
    fn set_record(&mut self, record: ServerRecord, now: Millis) {
        let tuned = self.tuned;
        let id = record.id;
        let Some(entry) = self.servers.get_mut(&id) else {
            self.servers.insert(id, ServerEntry::new(record, now));
            return;
        };
        let before = entry.audio(&tuned);
        entry.record = record.into();
        if entry.audio(&tuned) != before {
            self.refresh_server(id, now);
        }
    }

    fn server_view(&self, entry: &ServerEntry) -> ServerView {
        let all = entry.loaded(&self.tuned);
        ServerView {
            record: entry.record.clone(),
            health: entry.health,
            health_since: entry.health_since,
            meetings: count(all.meetings),
            breakouts: count(all.breakouts),
            participants: count(all.people),
            voice: count(all.voice),
            listeners: count(all.listeners),
            videos: count(all.videos),
            carried: entry.carried,
            reserved: all.expected_people(),
            load_mc: all.expected_cost().cpu,
            utilisation: all.utilisation(&entry.capacity(), &self.tuned.load),
            last_poll: entry.poll_received,
            version: entry.version().map(str::to_owned),
        }
    }
}
