//! Tests of the ledger on a clock that stands still: this file is the stage, the others are the plays.
//!
//! `Stage` speaks in servers numbered from 1, meetings named by text, and seconds after a full quarter of an hour; the
//! consistency of all indexes and sums is checked after every step that goes through it.

mod admission;
mod carried;
mod choosing;
mod interleavings;
mod late;
mod polling;
mod reserving;
mod servers;

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::bbb;
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, Secret, ServerId, TenantId};
use crate::pool::Health;
use crate::store::{Confirmation, Phase, Placement, ServerRecord, ServerState, Version};
use crate::tenant::TenantLimits;

/// A full quarter of an hour, so that a meeting made at second 0 has its bell at second 900.
pub const QUARTER: u64 = 1_900_000 * 900_000;

pub fn second(second: u64) -> Millis {
    Millis(QUARTER + second * 1000)
}

pub fn record(id: i64) -> ServerRecord {
    ServerRecord {
        id: ServerId(id),
        ..ServerRecord::new(
            format!("bbb{id}"),
            format!("https://bbb{id}.example.org/bigbluebutton/api/"),
            Secret::new("secret"),
        )
    }
}

pub fn key(name: &str) -> MeetingKey {
    MeetingKey { tenant: TenantId(1), meeting: MeetingId::new(name) }
}

pub fn wish(name: &str) -> Wish {
    Wish::new(key(name), BbbMeetingId::new(name))
}

pub fn internal(name: &str) -> InternalId {
    InternalId::new(format!("{name}-1"))
}

/// A meeting as a poll lists it.
pub fn listed(name: &str, people: u32) -> bbb::Meeting {
    bbb::Meeting {
        meeting_id: BbbMeetingId::new(name),
        internal_id: internal(name),
        name: name.to_owned(),
        create_time: QUARTER,
        create_date: String::new(),
        running: people > 0,
        recording: false,
        forcibly_ended: false,
        has_user_joined: people > 0,
        duration: 0,
        start_time: 0,
        end_time: 0,
        participants: people,
        moderators: people.min(1),
        voice: 0,
        listeners: 0,
        videos: 0,
        max_users: 0,
        voice_bridge: String::new(),
        dial_number: String::new(),
        is_breakout: false,
        parent: None,
        attendee_pw: None,
        moderator_pw: None,
        metadata: Vec::new(),
        xml: Bytes::from(format!("<meeting>{name} {people}</meeting>")),
    }
}

pub fn breakout(name: &str, parent: &str, people: u32) -> bbb::Meeting {
    bbb::Meeting { is_breakout: true, parent: Some(internal(parent)), ..listed(name, people) }
}

pub fn confirmed(name: &str, at: Millis) -> Confirmed {
    Confirmed {
        confirmation: Confirmation {
            internal_id: internal(name),
            create_time: QUARTER,
            attendee_pw: Some(Secret::new("ap")),
            moderator_pw: Some(Secret::new("mp")),
        },
        fragment: Bytes::from_static(b"<meeting>synthetic</meeting>"),
        created_at: at,
    }
}

pub fn placement(name: &str, server: i64, phase: Phase) -> Placement {
    let is_confirmed = phase == Phase::Confirmed;
    Placement {
        tenant: TenantId(1),
        meeting: MeetingId::new(name),
        bbb_id: BbbMeetingId::new(name),
        server: ServerId(server),
        phase,
        internal_id: is_confirmed.then(|| internal(name)),
        create_time: if is_confirmed { QUARTER } else { 0 },
        attendee_pw: None,
        moderator_pw: None,
        claimed_at: second(0),
        why: String::new(),
        version: Version::default(),
    }
}

/// A ledger with servers that are up.
pub struct Stage {
    pub ledger: Ledger,
}

impl Stage {
    pub fn new(servers: i64) -> Self {
        Self::with((1..=servers).map(record).collect(), LedgerSettings::default())
    }

    pub fn with(records: Vec<ServerRecord>, settings: LedgerSettings) -> Self {
        let ledger = Ledger::new(settings);
        let ids: Vec<ServerId> = records.iter().map(|record| record.id).collect();
        ledger.set_servers(records, second(0));
        for id in ids {
            ledger.set_health(id, Health::Up, second(0));
        }
        Self { ledger }
    }

    pub fn check(&self) {
        self.ledger.state.lock().assert_consistent();
    }

    pub fn choose(&self, wish: &Wish, at: u64) -> Result<Choice, Refusal> {
        let choice = self.ledger.choose(wish, second(at));
        self.check();
        choice
    }

    /// A meeting that is confirmed at the same second; returns its server.
    pub fn create(&self, name: &str, at: u64) -> ServerId {
        let server = self.choose(&wish(name), at).unwrap().server;
        assert!(self.ledger.confirm(&key(name), server, confirmed(name, second(at))));
        self.check();
        server
    }

    /// A poll sent at `sent` and received half a second later.
    pub fn poll(&self, server: ServerId, sent: u64, meetings: Vec<bbb::Meeting>) -> PollOutcome {
        let outcome = self.ledger.note_poll(server, second(sent), second(sent) + Duration::from_millis(500), meetings);
        self.check();
        outcome
    }

    pub fn join(&self, name: &str, at: u64) -> Result<JoinTicket, JoinRefusal> {
        let ticket = self.ledger.admit_join(&key(name), &TenantLimits::default(), second(at));
        self.check();
        ticket
    }

    /// `end` was sent and accepted at the same second.
    pub fn end(&self, name: &str, at: u64) {
        let MeetingView { key, server, internal_id, .. } = self.meeting(name);
        self.ledger.note_end(&key, server, internal_id.as_ref(), second(at));
        self.check();
    }

    pub fn tick(&self, at: u64) {
        self.ledger.tick(second(at));
        self.check();
    }

    pub fn server(&self, id: ServerId) -> ServerView {
        self.ledger.server(id).unwrap()
    }

    pub fn meeting(&self, name: &str) -> MeetingView {
        self.ledger.find(&key(name)).unwrap()
    }

    pub fn usage(&self) -> Usage {
        self.ledger.tenant_usage(TenantId(1))
    }

    /// Fills a server with a room that everybody has joined long ago, without any reserve.
    pub fn fill(&self, id: i64, people: u32) {
        let mut crowd = listed(&format!("crowd {id}"), people);
        crowd.voice = people;
        self.poll(ServerId(id), 0, vec![crowd]);
    }
}
