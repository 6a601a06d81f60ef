//! What must hold after every step, and in the end.

use std::collections::BTreeSet;

use super::super::super::sums::Sums;
use super::super::*;
use super::servers::{internal_id, serial_of};
use super::steps::MEETINGS;
use super::world::{World, bbb_id, key_of, meeting_of};

impl World {
    pub fn check(&self) {
        self.ledger.state.lock().assert_consistent();
        self.check_shares();
        self.check_places();
        self.check_lists();
        self.check_counts();
        self.check_carried();
    }

    /// Carried people are the least that is there, and never come on top of what is known of them.
    fn check_carried(&self) {
        let state = self.ledger.state.lock();
        for entry in state.servers.values() {
            let (known, loaded) = (entry.all(), entry.loaded(&state.tuned));
            let (before, after) = (known.people_in_the_end(), loaded.people_in_the_end());
            let carried = f64::from(entry.carried);
            assert!(
                after > carried - 1.0 && after <= before.max(carried),
                "{carried} carried: {before} became {after}"
            );
            if before >= carried {
                assert_eq!(loaded, known);
            }
            assert!(loaded.cpu >= known.cpu && loaded.people == known.people && loaded.ghosts == known.ghosts);
        }
    }

    /// Every contribution, made again from the meeting alone.
    fn check_shares(&self) {
        let state = self.ledger.state.lock();
        for (key, entry) in &state.meetings {
            let audio = state.servers[&entry.server].audio(&state.tuned);
            let mut anew = entry.clone();
            if self.has_ticked {
                anew.pending.expire(self.now);
                anew.make_forecast(&state.tuned, self.now);
                let recent = |(meeting, at): &&(u8, Millis)| {
                    key_of(*meeting) == *key && self.now.since(*at) < Duration::from_secs(60)
                };
                assert!(
                    anew.pending.count() as usize <= self.joins.iter().filter(recent).count(),
                    "{key:?}: too many expected"
                );
            }
            let mut anew = anew.contribution(&state.tuned, audio, self.now);
            if !self.has_ticked {
                anew.legacy = entry.share.legacy; // it also depends on the time
            }
            assert_eq!(entry.share, anew, "{key:?}");
        }
    }

    /// Each meeting is where the model has it, and nowhere else.
    fn check_places(&self) {
        for meeting in 0..MEETINGS {
            let found = self.ledger.find(&key_of(meeting)).map(|view| (view.server, view.internal_id));
            let placed = self.placed.get(&meeting).map(|one| (one.server, one.confirmed.map(internal_id)));
            assert_eq!(found, placed, "meeting {meeting}");
            let Some((server, internal)) = placed else { continue };
            let by_bbb = self.ledger.find_by_bbb_id(&bbb_id(meeting)).unwrap();
            assert_eq!((by_bbb.key, by_bbb.server), (key_of(meeting), server));
            if let Some(internal) = internal {
                assert_eq!(self.ledger.find_internal(&internal), Some(key_of(meeting)));
            }
        }
        for server in self.ids.iter().flatten() {
            let here: BTreeSet<u8> = self.ledger.meetings_on(*server).iter().map(meeting_of).collect();
            let placed = self.placed.iter().filter(|(_, placed)| placed.server == *server);
            assert_eq!(here, placed.map(|(meeting, _)| *meeting).collect());
        }
    }

    /// `getMeetings` shows what is confirmed: all of it, once, to its own tenant only.
    fn check_lists(&self) {
        for tenant in [1, 2].map(TenantId) {
            let shown = self.ledger.meetings_of(tenant).fragments;
            let shown = shown.iter().filter(|one| !one.bbb_id.as_str().starts_with("room"));
            let mut shown: Vec<(String, u64)> =
                shown.map(|one| (one.meeting.as_str().to_owned(), serial_of(&one.confirmation.internal_id))).collect();
            let own = self.placed.iter().filter(|(meeting, _)| key_of(**meeting).tenant == tenant);
            let confirmed = own.filter_map(|(meeting, placed)| Some((meeting.to_string(), placed.confirmed?)));
            shown.sort();
            assert_eq!(shown, confirmed.collect::<Vec<_>>(), "tenant {tenant:?}");
        }
    }

    /// Nothing is counted twice, nothing is left out.
    fn check_counts(&self) {
        for view in self.ledger.servers() {
            let id = view.record.id;
            let placed = self.placed.values().filter(|placed| placed.server == id).count();
            let unknown = self.unknown.get(&id).map_or(0, BTreeSet::len);
            assert_eq!(view.meetings as usize, placed + unknown, "meetings of {id:?}");
            assert!(view.reserved >= 0.0 && view.load_mc >= 0.0);
        }
        for tenant in [1, 2].map(TenantId) {
            let own = self.placed.keys().filter(|meeting| key_of(**meeting).tenant == tenant);
            assert_eq!(self.ledger.tenant_usage(tenant).meetings as usize, own.count());
        }
    }

    /// After everything has settled the ledger says what is on the servers.
    pub fn expect_what_is_true(&self) {
        for meeting in 0..MEETINGS {
            let machines = (0..self.ids.len()).filter(|machine| self.ids[*machine].is_some());
            let mut copies = machines.filter_map(|machine| {
                let running = self.machines.running(machine, &bbb_id(meeting))?;
                Some((self.ids[machine]?, running.serial, running.people))
            });
            let placed = (0..MEETINGS).filter(|other| bbb_id(*other) == bbb_id(meeting));
            let placed: Vec<MeetingView> = placed.filter_map(|other| self.ledger.find(&key_of(other))).collect();
            match placed.as_slice() {
                [] => assert_eq!(copies.next(), None, "meeting {meeting} runs and is not known"),
                [view] => {
                    let serial = view.internal_id.as_ref().map(serial_of).unwrap();
                    let copies: Vec<_> = copies.collect();
                    assert!(copies.contains(&(view.server, serial, view.participants)), "{view:?}");
                    // A strange id is its first owner's; another meeting that the store gave it knows of no copies.
                    let owner = (0..MEETINGS).find(|other| bbb_id(*other) == bbb_id(meeting));
                    if owner.is_none_or(|owner| self.ledger.find(&key_of(owner)).is_none()) {
                        continue;
                    }
                    let most = copies.iter().map(|(_, _, people)| *people).max();
                    assert_eq!(most, Some(view.participants), "joins go where most people are: {copies:?}");
                    let empty = copies.iter().filter(|(_, other, people)| *other != serial && *people == 0);
                    assert_eq!(empty.count(), 0, "an empty copy goes: {copies:?}");
                }
                _ => panic!("two meetings have one id"),
            }
        }
        for (machine, id) in self.ids.iter().enumerate() {
            let Some(view) = id.and_then(|id| self.ledger.server(id)) else { continue };
            let running = &self.machines.all[machine].meetings;
            let rooms: u32 = running.iter().map(|one| u32::from(one.rooms)).sum();
            let people: u32 = running.iter().map(|one| one.people + u32::from(one.rooms) * (one.people / 2)).sum();
            assert_eq!((view.meetings as usize, view.breakouts, view.participants), (running.len(), rooms, people));
        }
    }

    /// After half a day no reservation is left, though the meetings go on.
    pub fn expect_nobody_to_come(&mut self) {
        self.now = self.now + Duration::from_secs(12 * 3600);
        self.ledger.tick(self.now);
        let state = self.ledger.state.lock();
        for server in state.servers.values() {
            let Sums { pending, ghosts, ghost_cpu, ghost_net, mean_ghosts, mean_cpu, mean_net, .. } = server.all();
            let Sums { variance_cpu, variance_net, .. } = server.all();
            let waiting = [pending, ghosts, ghost_cpu, ghost_net, mean_ghosts, mean_cpu, mean_net];
            assert_eq!((waiting, variance_cpu, variance_net), ([0; 7], 0, 0));
        }
        assert!(state.awake.is_empty());
    }

    pub fn expect_nothing(&self) {
        let state = self.ledger.state.lock();
        for server in state.servers.values() {
            assert_eq!((server.sums, server.all()), (Sums::default(), Sums::default()));
            assert!(server.keys.is_empty());
        }
        assert!(state.meetings.is_empty() && state.tenants.is_empty() && state.awake.is_empty());
        assert!(state.by_bbb.is_empty() && state.by_internal.is_empty());
        assert!(state.breakouts.is_empty() && state.breakouts_internal.is_empty());
    }
}
