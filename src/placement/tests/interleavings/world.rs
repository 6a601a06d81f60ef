//! Takes the steps: calls the ledger as the create flow, the sweep and the follower do, and keeps a model beside it.
//!
//! The model knows no load and no times but those of the callers. Whether the ledger was right to end, confirm or
//! change a meeting is judged by the truth on the servers, not by rules like the ledger's own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;
use super::servers::{Machines, confirmation, create_time, internal_id, serial_of};
use super::steps::{MEETINGS, SERVERS, Step};
use crate::placement::poll::Moment;
use crate::placement::twins::{Verdict, judge};

pub struct World {
    pub ledger: Ledger,
    pub now: Millis,
    pub machines: Machines,
    /// Each machine's id in the table.
    pub ids: Vec<Option<ServerId>>,
    next_id: i64,
    states: Vec<ServerState>,
    creates: BTreeMap<u8, VecDeque<Create>>,
    ends: VecDeque<(u8, ServerId, Option<InternalId>)>,
    polls: Vec<Poll>,
    last_poll: BTreeMap<ServerId, Millis>,
    strangers: VecDeque<(ServerId, bbb::Meeting, Millis)>,
    /// Meetings that the ledger was told to be over.
    buried: BTreeSet<u64>,
    pub placed: BTreeMap<u8, Placed>,
    /// What the last poll of a server listed without a placement there.
    pub unknown: BTreeMap<ServerId, BTreeSet<BbbMeetingId>>,
    pub joins: Vec<(u8, Millis)>,
    pub has_ticked: bool,
}

/// The model of one meeting.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub server: ServerId,
    pub confirmed: Option<u64>,
}

/// A create under way.
struct Create {
    server: ServerId,
    since: Millis,
    /// It holds the meeting's turn: others wait.
    first: bool,
    worked: Option<u64>,
    /// Where the meeting was before its server was lost.
    before: Option<(Snapshot, Placed)>,
}

struct Poll {
    server: ServerId,
    sent: Millis,
    list: Option<Vec<bbb::Meeting>>,
}

pub fn bbb_id(meeting: u8) -> BbbMeetingId {
    BbbMeetingId::new(format!("m{}", if meeting == 5 { 0 } else { meeting }))
}

pub fn key_of(meeting: u8) -> MeetingKey {
    MeetingKey { tenant: TenantId(if meeting < 4 { 1 } else { 2 }), meeting: MeetingId::new(meeting.to_string()) }
}

pub fn meeting_of(key: &MeetingKey) -> u8 {
    key.meeting.as_str().parse().unwrap()
}

/// Nothing is drawn by lot, so that a case goes the same way again.
fn settings() -> LedgerSettings {
    let mut settings = LedgerSettings::default();
    settings.load.choose.tie = 0.0;
    settings
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            ledger: Ledger::new(settings()),
            now: second(0),
            machines: Machines::new(),
            ids: vec![None; SERVERS.into()],
            next_id: 1,
            states: vec![ServerState::Enabled; SERVERS.into()],
            creates: BTreeMap::new(),
            ends: VecDeque::new(),
            polls: Vec::new(),
            last_poll: BTreeMap::new(),
            strangers: VecDeque::new(),
            buried: BTreeSet::new(),
            placed: BTreeMap::new(),
            unknown: BTreeMap::new(),
            joins: Vec::new(),
            has_ticked: false,
        };
        (0..SERVERS).for_each(|server| world.take(&Step::AddAgain { server }));
        world
    }

    pub fn machine(&self, server: ServerId) -> Option<usize> {
        self.ids.iter().position(|id| *id == Some(server))
    }

    pub fn take(&mut self, step: &Step) {
        self.has_ticked = false;
        match *step {
            Step::Create { meeting, hint, limit } => self.create(meeting, hint, limit),
            Step::Work { meeting } => self.work(meeting),
            Step::Success { meeting, last } => self.success(meeting, last),
            Step::GiveUp { meeting } => self.give_up(meeting),
            Step::Unclear { meeting, asked } => self.unclear(meeting, asked),
            Step::NextServer { meeting } => self.next_server(meeting),
            Step::Failover { meeting } => self.failover(meeting),
            Step::BreakOff { meeting } => drop(self.pop(meeting, |_| true)),
            Step::Join { meeting, limit } => self.join(meeting, limit),
            Step::End { meeting } => self.end(meeting),
            Step::EndAnswer => self.end_answer(),
            Step::People { meeting, people, rooms } => self.machines.change(None, &bbb_id(meeting), |one| {
                (one.people, one.rooms) = (people, rooms);
            }),
            Step::Over { meeting } => self.machines.change(None, &bbb_id(meeting), |one| one.is_over = true),
            Step::Bury { server } => self.machines.all[usize::from(server)].meetings.retain(|one| !one.is_over),
            Step::RestartEmpty { server } => self.machines.all[usize::from(server)].meetings.clear(),
            Step::SendPoll { server } => {
                if let Some(server) = self.ids[usize::from(server)] {
                    self.polls.push(Poll { server, sent: self.now, list: None });
                }
            }
            Step::ListForPoll => {
                if let Some(nth) = self.polls.iter().position(|poll| poll.list.is_none()) {
                    self.polls[nth].list = self.machine(self.polls[nth].server).map(|one| self.machines.list(one));
                }
            }
            Step::PollArrives { nth, unreadable } => self.poll_arrives(nth, unreadable),
            Step::Adopt => self.adopt(),
            Step::PutByOther { meeting, server, confirmed } => self.put_by_other(meeting, server.into(), confirmed),
            Step::ForgetByOther { meeting } => {
                if !self.ledger.is_creating(&key_of(meeting), self.now) {
                    assert_eq!(self.ledger.forget(&key_of(meeting), self.now), self.placed.remove(&meeting).is_some());
                }
            }
            Step::Health { server, health } => {
                if let Some(id) = self.ids[usize::from(server)] {
                    self.ledger.set_health(id, health, self.now);
                }
            }
            Step::State { server, state } => {
                self.states[usize::from(server)] = state;
                self.set_table();
            }
            Step::Version { server, new } => {
                if let Some(id) = self.ids[usize::from(server)] {
                    self.ledger.set_version(id, if new { "3.0.1" } else { "2.7.1" }.to_owned(), self.now);
                }
            }
            Step::Carried { server, people } => {
                let carried: Vec<(ServerId, u32)> =
                    self.ids[usize::from(server)].iter().map(|id| (*id, people)).collect();
                self.ledger.set_carried(&carried);
            }
            Step::Remove { server } => {
                self.ids[usize::from(server)] = None;
                self.set_table();
            }
            Step::AddAgain { server } => {
                let server = usize::from(server);
                if self.ids[server].is_none() {
                    self.ids[server] = Some(ServerId(self.next_id));
                    self.next_id += 1;
                }
                self.states[server] = ServerState::Enabled;
                self.set_table();
                self.ledger.set_health(self.ids[server].unwrap(), Health::Up, self.now);
            }
            Step::Wait { ms } => self.wait(ms),
            Step::Tick => {
                self.ledger.tick(self.now);
                self.has_ticked = true;
            }
        }
        for (server, unknown) in &mut self.unknown {
            let here = self.placed.iter().filter(|(_, placed)| placed.server == *server);
            let here: Vec<BbbMeetingId> = here.map(|(meeting, _)| bbb_id(*meeting)).collect();
            unknown.retain(|id| !here.contains(id));
        }
    }

    fn create(&mut self, meeting: u8, hint: Option<u32>, limit: Option<u32>) {
        let creates = self.creates.entry(meeting).or_default();
        if creates.iter().any(|create| create.first) {
            return; // waits for its turn
        }
        let (key, now) = (key_of(meeting), self.now);
        if let Some(placed) = self.placed.get(&meeting) {
            assert!(self.ledger.hold(&key, placed.server, now));
            creates.push_back(Create { server: placed.server, since: now, first: false, worked: None, before: None });
            return;
        }
        let mut wish = Wish { size_hint: hint, ..Wish::new(key.clone(), bbb_id(meeting)) };
        wish.limits.max_meetings = limit;
        let usage = self.ledger.tenant_usage(key.tenant);
        let is_foreign = self.placed.keys().any(|other| bbb_id(*other) == bbb_id(meeting));
        match self.ledger.choose(&wish, now) {
            Ok(choice) => {
                assert!(limit.is_none_or(|limit| usage.meetings < limit), "the tenant's limit of meetings");
                assert!(!is_foreign, "one id of BBB for two meetings");
                self.placed.insert(meeting, Placed { server: choice.server, confirmed: None });
                let create = Create { server: choice.server, since: now, first: true, worked: None, before: None };
                creates.push_back(create);
            }
            Err(Refusal::TenantMeetings { .. }) => assert!(limit.is_some_and(|limit| usage.meetings >= limit)),
            Err(Refusal::Exists) => assert!(is_foreign),
            Err(_) => {}
        }
    }

    fn pop(&mut self, meeting: u8, fits: impl Fn(&Create) -> bool) -> Option<Create> {
        let creates = self.creates.get_mut(&meeting)?;
        let nth = creates.iter().position(fits)?;
        creates.remove(nth)
    }

    fn work(&mut self, meeting: u8) {
        let Some(creates) = self.creates.get_mut(&meeting) else { return };
        let Some(create) = creates.iter_mut().find(|create| create.worked.is_none()) else { return };
        let machine = self.ids.iter().position(|id| *id == Some(create.server));
        create.worked = machine.map(|machine| self.machines.create(machine, &bbb_id(meeting)));
    }

    fn success(&mut self, meeting: u8, last: bool) {
        let Some(creates) = self.creates.get_mut(&meeting) else { return };
        let has_worked = |create: &Create| create.worked.is_some();
        let nth = if last { creates.iter().rposition(has_worked) } else { creates.iter().position(has_worked) };
        let Some(create) = nth.and_then(|nth| creates.remove(nth)) else { return };
        self.confirm(meeting, create.server, create.worked.unwrap());
    }

    fn confirm(&mut self, meeting: u8, server: ServerId, serial: u64) {
        let confirmed = Confirmed {
            confirmation: confirmation(serial),
            fragment: Bytes::from_static(b"<meeting>synthetic</meeting>"),
            created_at: self.now,
        };
        let is_taken = self.ledger.confirm(&key_of(meeting), server, confirmed);
        let placed = self.placed.get_mut(&meeting).filter(|placed| placed.server == server);
        assert_eq!(is_taken, placed.is_some());
        if placed.is_some() && self.ledger.has_ended(&internal_id(serial), self.now) {
            // Answered before it was ended: it makes nothing, and the last such create leaves nothing.
            if self.ledger.find(&key_of(meeting)).is_none() {
                assert_eq!(self.placed.remove(&meeting).unwrap().confirmed, None);
            }
            return;
        }
        if let Some(placed) = placed {
            // A late answer about the predecessor.
            placed.confirmed = placed.confirmed.max(Some(serial));
        }
    }

    fn give_up(&mut self, meeting: u8) {
        let Some(create) = self.pop(meeting, |create| create.worked.is_none()) else { return };
        let key = key_of(meeting);
        if let Some((before, placed)) = create.before {
            self.ledger.put_back(&key, before, self.now);
            self.displace_namesake(meeting, placed.server);
            match self.machine(placed.server) {
                Some(_) => self.placed.insert(meeting, placed),
                None => self.placed.remove(&meeting),
            };
        } else if !create.first {
            self.ledger.release(&key, create.server);
        } else if self.ledger.cancel(&key, create.server) {
            let placed = self.placed.remove(&meeting).unwrap();
            assert_eq!(placed, Placed { server: create.server, confirmed: None });
        }
    }

    fn unclear(&mut self, meeting: u8, asked: bool) {
        let Some(create) = self.pop(meeting, |_| true) else { return };
        let machine = self.machine(create.server).filter(|_| asked);
        let found = machine.and_then(|machine| self.machines.running(machine, &bbb_id(meeting)));
        match found.map(|running| running.serial) {
            Some(serial) => self.confirm(meeting, create.server, serial),
            None => self.ledger.release(&key_of(meeting), create.server),
        }
    }

    fn rechoose(&mut self, meeting: u8, exclude: ServerId) -> Option<Choice> {
        let wish = Wish { exclude: vec![exclude], ..Wish::new(key_of(meeting), bbb_id(meeting)) };
        let choice = self.ledger.rechoose(&wish, self.now).ok()?;
        assert_ne!(choice.server, exclude);
        self.placed.insert(meeting, Placed { server: choice.server, confirmed: None });
        Some(choice)
    }

    fn next_server(&mut self, meeting: u8) {
        let Some(mut create) = self.pop(meeting, |create| create.first) else { return };
        let is_there = self.placed.contains_key(&meeting);
        if is_there && let Some(choice) = self.rechoose(meeting, create.server) {
            (create.server, create.since, create.worked) = (choice.server, self.now, None);
        }
        self.creates.entry(meeting).or_default().push_back(create);
    }

    fn failover(&mut self, meeting: u8) {
        let creates = self.creates.entry(meeting).or_default();
        let Some(placed) = self.placed.get(&meeting).cloned().filter(|_| !creates.iter().any(|create| create.first))
        else {
            return;
        };
        let before = self.ledger.snapshot(&key_of(meeting)).unwrap();
        let server = placed.server;
        let Some(choice) = self.rechoose(meeting, server) else { return };
        let before = Some((before, placed));
        let create = Create { server: choice.server, since: self.now, first: true, worked: None, before };
        self.creates.entry(meeting).or_default().push_back(create);
    }

    fn join(&mut self, meeting: u8, limit: Option<u32>) {
        let key = key_of(meeting);
        let people = self.ledger.tenant_usage(key.tenant).people;
        let limits = TenantLimits { max_people: limit, ..TenantLimits::default() };
        let ticket = self.ledger.admit_join(&key, &limits, self.now);
        assert_eq!(self.ledger.tenant_usage(key.tenant).people, people + u32::from(ticket.is_ok()));
        match ticket {
            Ok(ticket) => {
                assert_eq!(ticket.record.id, self.placed[&meeting].server);
                assert!(limit.is_none_or(|limit| people < limit), "the tenant's limit of people");
                self.joins.push((meeting, self.now));
            }
            Err(JoinRefusal::Unknown) => assert!(!self.placed.contains_key(&meeting)),
            Err(JoinRefusal::TenantPeople { limit }) => assert!(people >= limit),
            Err(_) => {}
        }
    }

    fn end(&mut self, meeting: u8) {
        let Some(view) = self.ledger.find(&key_of(meeting)) else { return };
        let Some(machine) = self.machine(view.server) else { return };
        if self.machines.running(machine, &view.bbb_id).is_some() {
            self.machines.change(Some(machine), &view.bbb_id, |one| one.is_over = true);
            self.ends.push_back((meeting, view.server, view.internal_id));
        }
    }

    fn end_answer(&mut self) {
        let Some((meeting, server, internal_id)) = self.ends.pop_front() else { return };
        let before = self.ledger.find(&key_of(meeting));
        let ended = self.ledger.note_end(&key_of(meeting), server, internal_id.as_ref(), self.now);
        let is_meant = before.is_some_and(|before| (before.server, &before.internal_id) == (server, &internal_id));
        assert_eq!(ended.is_some(), is_meant, "only the meeting that was ended is over");
        if is_meant {
            self.over_at_once(meeting);
        }
    }

    /// The ledger was told that it is over: gone, or, where a create is under way, a claim again.
    fn over_at_once(&mut self, meeting: u8) {
        match self.ledger.find(&key_of(meeting)) {
            Some(view) => {
                assert_eq!((view.phase, &view.internal_id), (Phase::Claimed, &None));
                assert!(self.ledger.is_creating(&key_of(meeting), self.now));
                self.placed.get_mut(&meeting).unwrap().confirmed = None;
            }
            None => {
                self.placed.remove(&meeting);
            }
        }
    }

    fn poll_arrives(&mut self, nth: u8, unreadable: bool) {
        if self.polls.is_empty() {
            return;
        }
        let Poll { server, sent, list } = self.polls.remove(usize::from(nth) % self.polls.len());
        let machine = self.machine(server);
        let mut list = list.or_else(|| machine.map(|machine| self.machines.list(machine))).unwrap_or_default();
        let unreadable = usize::from(unreadable && !list.is_empty());
        list.drain(..unreadable);
        let is_stale = machine.is_none() || self.last_poll.get(&server).is_some_and(|last| *last > sent);
        let names: BTreeSet<InternalId> = list.iter().map(|one| one.internal_id.clone()).collect();
        let list = bbb::MeetingList { meetings: list, unreadable, ..Default::default() };
        let outcome = self.ledger.note_poll(server, sent, self.now, list);
        assert_eq!(outcome.is_stale, is_stale);
        let Some(machine) = machine.filter(|_| !is_stale) else { return };
        self.last_poll.insert(server, sent);
        for ended in outcome.ended {
            let meeting = meeting_of(&ended.key);
            let placed = self.placed.remove(&meeting).unwrap();
            let serial = ended.internal_id.as_ref().map(serial_of);
            assert_eq!(placed, Placed { server, confirmed: serial });
            match serial {
                Some(serial) => {
                    assert!(!self.machines.lives(machine, serial), "a meeting that runs was ended");
                    self.buried.insert(serial);
                }
                None => {
                    let mut creates = self.creates.get(&meeting).into_iter().flatten();
                    assert!(!creates.any(|create| create.server == server), "a create was still under way");
                }
            }
        }
        for (key, confirmation) in outcome.confirmed {
            assert!(names.contains(&confirmation.internal_id));
            let placed = self.placed.get_mut(&meeting_of(&key)).unwrap();
            assert_eq!((placed.server, placed.confirmed), (server, None));
            placed.confirmed = Some(serial_of(&confirmation.internal_id));
        }
        for changed in outcome.changed {
            let before = serial_of(&changed.before);
            let placed = self.placed.get_mut(&meeting_of(&changed.key)).unwrap();
            assert_eq!((placed.server, placed.confirmed), (server, Some(before)));
            assert!(!self.machines.lives(machine, before), "a meeting that runs was replaced");
            placed.confirmed = Some(serial_of(&changed.confirmation.internal_id));
            self.buried.insert(before);
        }
        let strangers = outcome.unknown.into_iter().filter(|one| !one.is_breakout && !one.forcibly_ended);
        let strangers: Vec<bbb::Meeting> = strangers.collect();
        self.unknown.insert(server, strangers.iter().map(|one| one.meeting_id.clone()).collect());
        self.strangers.extend(strangers.into_iter().map(|stranger| (server, stranger, sent)));
    }

    fn adopt(&mut self) {
        let Some((server, stranger, sent)) = self.strangers.pop_front() else { return };
        let serial = serial_of(&stranger.internal_id);
        let owner = (0..MEETINGS).find(|meeting| bbb_id(*meeting) == stranger.meeting_id).unwrap();
        let is_placed = self.placed.keys().any(|placed| bbb_id(*placed) == stranger.meeting_id);
        if self.buried.contains(&serial) || self.ledger.has_ended(&stranger.internal_id, self.now) {
            return;
        }
        if is_placed {
            return self.meet_twin(owner, server, stranger, sent);
        }
        let placement = self.placement(owner, server, Some(serial));
        let moment = Moment { sent, received: self.now, told_at: None };
        let is_taken = self.ledger.adopt(placement, stranger, moment);
        assert_eq!(is_taken, self.machine(server).is_some());
        if is_taken {
            self.placed.insert(owner, Placed { server, confirmed: Some(serial) });
        }
    }

    /// What the sweep does about a copy: nobody ends a meeting with people in it, and joins go where more are.
    fn meet_twin(&mut self, owner: u8, server: ServerId, copy: bbb::Meeting, sent: Millis) {
        let Some((placed, at)) = self.placed.iter().find(|(one, _)| bbb_id(**one) == copy.meeting_id) else { return };
        let (placed, at) = (*placed, at.clone());
        let is_busy = self.ledger.is_creating(&key_of(placed), self.now);
        let (Some(here), Some(there)) = (self.machine(server), self.machine(at.server)) else { return };
        let serial = serial_of(&copy.internal_id);
        if placed != owner || is_busy || at.server == server || !self.machines.lives(here, serial) {
            return;
        }
        let people_of = |machine| self.machines.running(machine, &copy.meeting_id).map_or(0, |one| one.people);
        match judge(copy.participants, people_of(there), false) {
            // Asked for its people once more.
            Verdict::Goes if people_of(here) == 0 => {
                self.machines.all[here].meetings.retain(|one| one.serial != serial);
            }
            Verdict::Goes | Verdict::LivesOn => {}
            Verdict::TakesOver => {
                let placement = self.placement(owner, server, Some(serial));
                let moment = Moment { sent, received: self.now, told_at: None };
                assert!(self.ledger.adopt(placement, copy, moment));
                self.placed.insert(owner, Placed { server, confirmed: Some(serial) });
            }
        }
    }

    fn placement(&self, meeting: u8, server: ServerId, serial: Option<u64>) -> Placement {
        Placement {
            tenant: key_of(meeting).tenant,
            meeting: key_of(meeting).meeting,
            bbb_id: bbb_id(meeting),
            server,
            phase: if serial.is_some() { Phase::Confirmed } else { Phase::Claimed },
            internal_id: serial.map(internal_id),
            create_time: serial.map_or(0, create_time),
            attendee_pw: None,
            moderator_pw: None,
            claimed_at: self.now,
            why: String::new(),
            version: Version::default(),
        }
    }

    fn put_by_other(&mut self, meeting: u8, machine: usize, confirmed: bool) {
        if self.ledger.is_creating(&key_of(meeting), self.now) {
            return;
        }
        let Some(server) = self.ids[machine] else { return };
        let serial = confirmed.then(|| self.machines.create(machine, &bbb_id(meeting)));
        let is_over = serial.is_some_and(|serial| self.ledger.has_ended(&internal_id(serial), self.now));
        assert!(self.ledger.put(self.placement(meeting, server, serial), self.now));
        if is_over {
            return; // old news
        }
        self.displace_namesake(meeting, server);
        let stays = self.placed.get(&meeting).filter(|placed| placed.server == server);
        let confirmed = serial.or(stays.and_then(|placed| placed.confirmed));
        self.placed.insert(meeting, Placed { server, confirmed });
    }

    /// The store binds an id of BBB to one meeting only: another one that had it is gone.
    fn displace_namesake(&mut self, meeting: u8, server: ServerId) {
        if self.machine(server).is_some() {
            self.placed.retain(|other, _| *other == meeting || bbb_id(*other) != bbb_id(meeting));
        }
    }

    fn set_table(&mut self) {
        let rows = self.ids.iter().zip(&self.states);
        let rows = rows.zip([1.0, 1.1, 1.3]); // never quite equal
        let rows =
            rows.filter_map(|((id, state), weight)| Some(ServerRecord { state: *state, weight, ..record((*id)?.0) }));
        let dropped = self.ledger.set_servers(rows.collect(), self.now);
        let dropped: BTreeSet<u8> = dropped.iter().map(meeting_of).collect();
        let kept: BTreeSet<ServerId> = self.ids.iter().flatten().copied().collect();
        let is_lost = |placed: &Placed| !kept.contains(&placed.server);
        let lost = self.placed.iter().filter(|(_, placed)| is_lost(placed)).map(|(meeting, _)| *meeting);
        assert_eq!(dropped, lost.collect());
        self.placed.retain(|_, placed| !is_lost(placed));
        self.unknown.retain(|server, _| kept.contains(server));
    }

    /// A create that lasts longer than any deadline is broken off without a word.
    fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        let patience = self.ledger.claim_timeout();
        for creates in self.creates.values_mut() {
            creates.retain(|create| self.now.since(create.since) <= patience);
        }
    }

    /// Whatever was under way comes to nothing, and every server is polled several times.
    pub fn settle(&mut self) {
        let late: Vec<Poll> = std::mem::take(&mut self.polls);
        self.creates.clear();
        self.ends.clear();
        self.strangers.clear();
        self.machines.all.iter_mut().for_each(|machine| machine.meetings.retain(|one| !one.is_over));
        self.take_all(&[Step::Wait { ms: 200_000 }, Step::Tick]);
        self.poll_all();
        self.polls = late;
        for _ in 0..self.polls.len() {
            self.take_all(&[Step::PollArrives { nth: 0, unreadable: false }]);
        }
        // A list without anything is asked for twice, and what then turns out to be free or empty is seen by the next.
        for _ in 0..4 {
            self.poll_all();
        }
    }

    pub fn end_everything(&mut self) {
        self.machines.all.iter_mut().for_each(|machine| machine.meetings.clear());
        self.take_all(&[Step::Wait { ms: 20_000 }]);
        self.poll_all();
        self.poll_all();
    }

    fn poll_all(&mut self) {
        self.take_all(&[Step::Wait { ms: 1000 }]);
        for server in 0..SERVERS {
            self.take_all(&[Step::SendPoll { server }, Step::PollArrives { nth: 0, unreadable: false }]);
            while !self.strangers.is_empty() {
                self.take_all(&[Step::Adopt]);
            }
        }
    }

    pub fn take_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.take(step);
            self.check();
        }
    }
}
