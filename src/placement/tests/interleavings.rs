//! Random interleavings of everything that can happen, on a virtual clock, against simulated servers that know the
//! truth. After each step: one server per meeting, every sum equal to a recomputation, nothing negative, and no
//! confirmed meeting missing from `meetings_of` while its server has it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SERVERS: i64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Choose {
        name: u8,
        hint: Option<u32>,
    },
    Rechoose {
        name: u8,
        exclude: i64,
    },
    /// The create reaches the server and its answer reaches us.
    Confirm {
        name: u8,
    },
    Cancel {
        name: u8,
    },
    Release {
        name: u8,
    },
    Hold {
        name: u8,
    },
    Join {
        name: u8,
    },
    End {
        name: u8,
    },
    /// The server drops the meeting on its own.
    Vanish {
        name: u8,
    },
    Put {
        name: u8,
        server: i64,
        confirmed: bool,
    },
    Forget {
        name: u8,
    },
    SendPoll {
        server: i64,
        people: u32,
        breakouts: bool,
    },
    /// The oldest poll under way arrives.
    ReceivePoll,
    Health {
        server: i64,
        health: usize,
    },
    RemoveServer {
        server: i64,
    },
    AddServers,
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0u8..5;
    let server = || 1..=SERVERS;
    prop_oneof![
        4 => (name(), proptest::option::of(0u32..500)).prop_map(|(name, hint)| Step::Choose { name, hint }),
        1 => (name(), server()).prop_map(|(name, exclude)| Step::Rechoose { name, exclude }),
        4 => name().prop_map(|name| Step::Confirm { name }),
        1 => name().prop_map(|name| Step::Cancel { name }),
        1 => name().prop_map(|name| Step::Release { name }),
        1 => name().prop_map(|name| Step::Hold { name }),
        4 => name().prop_map(|name| Step::Join { name }),
        1 => name().prop_map(|name| Step::End { name }),
        1 => name().prop_map(|name| Step::Vanish { name }),
        1 => (name(), server(), any::<bool>()).prop_map(|(name, server, confirmed)| Step::Put { name, server, confirmed }),
        1 => name().prop_map(|name| Step::Forget { name }),
        4 => (server(), 0u32..300, any::<bool>())
            .prop_map(|(server, people, breakouts)| Step::SendPoll { server, people, breakouts }),
        4 => Just(Step::ReceivePoll),
        1 => (server(), 0usize..4).prop_map(|(server, health)| Step::Health { server, health }),
        1 => server().prop_map(|server| Step::RemoveServer { server }),
        1 => Just(Step::AddServers),
        4 => (1u64..120).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

struct World {
    stage: Stage,
    now: u64,
    /// What each server really has.
    truth: BTreeMap<i64, BTreeSet<String>>,
    polls: Vec<(ServerId, u64, Vec<bbb::Meeting>)>,
    /// Confirmed by us and neither ended by a poll nor forgotten.
    promised: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let truth = (1..=SERVERS).map(|id| (id, BTreeSet::new())).collect();
        Self { stage: Stage::new(SERVERS), now: 0, truth, polls: Vec::new(), promised: BTreeSet::new() }
    }

    fn holder(&self, name: &str) -> Option<ServerId> {
        self.stage.ledger.find(&key(name)).map(|view| view.server)
    }

    fn take(&mut self, step: Step) {
        let ledger = &self.stage.ledger;
        let at = second(self.now);
        match step {
            Step::Choose { name, hint } => {
                let name = name.to_string();
                let is_taken = ledger.find(&key(&name)).is_some();
                let chosen = ledger.choose(&Wish { size_hint: hint, ..wish(&name) }, at);
                assert_eq!(matches!(chosen, Err(Refusal::Exists)), is_taken);
            }
            Step::Rechoose { name, exclude } => {
                let name = name.to_string();
                let wish = Wish { exclude: vec![ServerId(exclude)], ..wish(&name) };
                if let Ok(choice) = ledger.rechoose(&wish, at) {
                    assert_ne!(choice.server, ServerId(exclude));
                    self.promised.remove(&name);
                }
            }
            Step::Confirm { name } => {
                let name = name.to_string();
                let Some(server) = self.holder(&name) else { return };
                self.truth.entry(server.0).or_default().insert(name.clone());
                assert!(self.stage.ledger.confirm(&key(&name), server, confirmed(&name, at)));
                self.promised.insert(name);
            }
            Step::Cancel { name } => {
                let name = name.to_string();
                let Some(server) = self.holder(&name) else { return };
                if self.stage.ledger.cancel(&key(&name), server) {
                    assert!(!self.promised.contains(&name), "a confirmed meeting was cancelled");
                }
            }
            Step::Release { name } => {
                let name = name.to_string();
                let Some(server) = self.holder(&name) else { return };
                self.stage.ledger.release(&key(&name), server);
            }
            Step::Hold { name } => {
                let name = name.to_string();
                let Some(server) = self.holder(&name) else { return };
                assert!(self.stage.ledger.hold(&key(&name), server, at));
            }
            Step::Join { name } => {
                let people = self.stage.usage().people;
                let ticket = ledger.admit_join(&key(&name.to_string()), &TenantLimits::default(), at);
                assert_eq!(self.stage.usage().people, people + u32::from(ticket.is_ok()));
            }
            Step::End { name } => {
                let name = name.to_string();
                ledger.note_end(&key(&name), at);
                self.truth.values_mut().for_each(|meetings| meetings.retain(|one| *one != name));
            }
            Step::Vanish { name } => {
                self.truth.values_mut().for_each(|meetings| meetings.retain(|one| *one != name.to_string()));
            }
            Step::Put { name, server, confirmed } => {
                let phase = if confirmed { Phase::Confirmed } else { Phase::Claimed };
                let name = name.to_string();
                let before = self.holder(&name);
                if self.stage.ledger.put(placement(&name, server, phase), at) && before != Some(ServerId(server)) {
                    self.promised.remove(&name);
                }
            }
            Step::Forget { name } => {
                ledger.forget(&key(&name.to_string()));
                self.promised.remove(&name.to_string());
            }
            Step::SendPoll { server, people, breakouts } => {
                let mut meetings: Vec<bbb::Meeting> =
                    self.truth[&server].iter().map(|name| listed(name, people)).collect();
                if breakouts {
                    let rooms = self.truth[&server].iter().map(|name| breakout(&format!("{name}b"), name, people / 3));
                    meetings.extend(rooms.collect::<Vec<_>>());
                }
                self.polls.push((ServerId(server), self.now, meetings));
            }
            Step::ReceivePoll => {
                if self.polls.is_empty() {
                    return;
                }
                let (server, sent, meetings) = self.polls.remove(0);
                let names: BTreeSet<String> = meetings.iter().map(|one| one.meeting_id.as_str().to_owned()).collect();
                let outcome = ledger.note_poll(server, second(sent), at, meetings);
                for ended in outcome.ended {
                    assert!(!names.contains(ended.key.meeting.as_str()), "a listed meeting was ended");
                    self.promised.remove(ended.key.meeting.as_str());
                }
                assert!(outcome.changed.is_empty(), "internal ids never change here");
            }
            Step::Health { server, health } => ledger.set_health(ServerId(server), Health::ALL[health], at),
            Step::RemoveServer { server } => {
                let kept = (1..=SERVERS).filter(|id| *id != server).map(record).collect();
                for key in ledger.set_servers(kept, at) {
                    self.promised.remove(key.meeting.as_str());
                }
            }
            Step::AddServers => {
                let dropped = ledger.set_servers((1..=SERVERS).map(record).collect(), at);
                assert!(dropped.is_empty());
                (1..=SERVERS).for_each(|id| ledger.set_health(ServerId(id), Health::Up, at));
            }
            Step::Wait { seconds } => {
                self.now += seconds;
                ledger.tick(second(self.now));
            }
        }
    }

    fn check(&self) {
        self.stage.check();
        let shown: BTreeSet<String> = self
            .stage
            .ledger
            .meetings_of(TenantId(1))
            .fragments
            .iter()
            .map(|one| one.meeting.as_str().to_owned())
            .collect();
        assert!(self.promised.is_subset(&shown), "promised {:?}, shown {shown:?}", self.promised);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_books_balance(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
        // In the end everything can be given back, to exactly nothing.
        for name in 0..5 {
            world.stage.ledger.forget(&key(&name.to_string()));
        }
        let state = world.stage.ledger.state.lock();
        prop_assert!(state.servers.values().all(|server| server.sums == super::super::sums::Sums::default()));
        prop_assert!(state.tenants.is_empty() && state.awake.is_empty() && state.breakouts.is_empty());
    }
}
