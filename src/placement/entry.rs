//! One meeting in the ledger, and what it contributes to its server's sums.
//!
//! A contribution is a pure function of the entry, the settings and the server's audio rule. The forecast is made anew
//! on creation, by polls and once a second; in between each join takes one person out of it.

use std::time::Duration;

use bytes::Bytes;

use super::pending::Pending;
use super::poll::Moment;
use super::sums::{Sums, milli, units};
use super::{Tuned, Wish};
use crate::bbb;
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, Secret, ServerId};
use crate::pool::load::{Audio, Cost, Forecast, Media, Room};
use crate::store::{Confirmation, Phase, Placement, Version};

/// Scalelite's floor for fresh meetings and how long it holds (scalelite-compat.md section 9).
const LEGACY_FLOOR: i64 = 15;
pub(super) const LEGACY_FRESH: Duration = Duration::from_secs(15 * 60);
/// No room has more; keeps absurd counters of a broken server from swamping the sums.
const MOST_PEOPLE: u32 = 100_000;

/// A breakout room as a poll listed it.
#[derive(Clone, Debug)]
pub(super) struct BreakoutEntry {
    pub bbb_id: BbbMeetingId,
    pub confirmation: Confirmation,
    pub figures: Figures,
    pub xml: Bytes,
    /// When what stands here was learned: a poll that was sent earlier cannot take the room away.
    pub known_at: Millis,
}

/// Counters of the last poll.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub media: Media,
    pub listeners: u32,
}

impl Figures {
    pub fn of(meeting: &bbb::Meeting) -> Self {
        let media = Media {
            people: meeting.participants.min(MOST_PEOPLE),
            moderators: meeting.moderators.min(MOST_PEOPLE),
            voice: meeting.voice.min(MOST_PEOPLE),
            videos: meeting.videos.min(MOST_PEOPLE),
            shares: 0,
            recorded: meeting.recording,
            webcams_only_for_moderator: false,
        };
        Self { media, listeners: meeting.listeners.min(MOST_PEOPLE) }
    }

    /// Contribution of the people and streams alone.
    pub fn share(&self, tuned: &Tuned, audio: Audio) -> Sums {
        let cost = self.media.cost(&tuned.load, audio);
        Sums {
            people: i64::from(self.media.people),
            voice: i64::from(self.media.voice),
            listeners: i64::from(self.listeners),
            videos: i64::from(self.media.videos),
            cpu: milli(cost.cpu),
            net: milli(cost.net),
            ..Sums::default()
        }
    }
}

/// One meeting.
#[derive(Clone, Debug)]
pub(super) struct MeetingEntry {
    pub bbb_id: BbbMeetingId,
    pub server: ServerId,
    /// Of the store's row as last written or read here.
    pub version: Version,
    pub phase: Phase,
    pub internal_id: Option<InternalId>,
    /// By its server's clock, for callers; nothing here is reckoned from it.
    pub create_time: u64,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
    /// When it came into being, by our clock: the reserve's beginning. For a meeting that was found on its server this is
    /// what the server tells, in our time.
    pub claimed_at: Millis,
    pub confirmed_at: Option<Millis>,
    /// Creates under way in this process.
    pub creating: u32,
    /// When the last of them began.
    pub creating_since: Millis,
    /// When `end` was sent, or the server first said that the meeting is over.
    pub ending: Option<Millis>,
    pub size_hint: Option<u32>,
    pub max_participants: Option<u32>,
    pub recorded: bool,
    pub webcams_only_for_moderator: bool,
    pub figures: Figures,
    pub running: bool,
    /// When the poll was sent that these figures come from.
    pub polled_at: Option<Millis>,
    pub first_join: Option<Millis>,
    pub pending: Pending,
    /// Joins since the last poll was sent, for the legacy profile.
    pub legacy_joins: u32,
    pub forecast: Forecast,
    /// Joins since the forecast was made.
    pub taken: u32,
    pub breakouts: Vec<BreakoutEntry>,
    pub xml: Bytes,
    /// What it contributes to the sums now.
    pub share: Sums,
    /// It is among the ledger's `awake`.
    pub is_in_awake: bool,
}

impl MeetingEntry {
    pub fn claimed(wish: &Wish, server: ServerId, now: Millis) -> Self {
        Self {
            bbb_id: wish.bbb_id.clone(),
            server,
            version: Version::default(),
            phase: Phase::Claimed,
            internal_id: None,
            create_time: 0,
            attendee_pw: None,
            moderator_pw: None,
            claimed_at: now,
            confirmed_at: None,
            creating: 1,
            creating_since: now,
            ending: None,
            size_hint: wish.size_hint.filter(|hint| *hint > 0).map(|hint| hint.min(MOST_PEOPLE)),
            max_participants: wish.max_participants.filter(|max| *max > 0),
            recorded: wish.recorded,
            webcams_only_for_moderator: wish.webcams_only_for_moderator,
            figures: Figures::default(),
            running: false,
            polled_at: None,
            first_join: None,
            pending: Pending::default(),
            legacy_joins: 0,
            forecast: Forecast::default(),
            taken: 0,
            breakouts: Vec::new(),
            xml: Bytes::new(),
            share: Sums::default(),
            is_in_awake: false,
        }
    }

    /// What the store says. A clock that was set back before a start must not leave a meeting in the future: it would
    /// never be seen to end.
    pub fn placed(placement: &Placement, confirmed_at: Millis, now: Millis) -> Self {
        let wish = Wish::new(placement.key(), placement.bbb_id.clone());
        let mut entry = Self::claimed(&wish, placement.server, placement.claimed_at.min(now));
        entry.creating = 0;
        entry.adopt(placement, confirmed_at.min(now));
        entry
    }

    /// Takes over what the store says, keeping the live figures.
    pub fn adopt(&mut self, placement: &Placement, confirmed_at: Millis) {
        self.version = placement.version;
        let (known, told) = (self.internal_id.as_ref(), placement.internal_id.as_ref());
        if known.is_some() && told.is_some() && known != told {
            self.start_anew(placement.claimed_at.min(confirmed_at));
        }
        let is_confirmed = placement.phase == Phase::Confirmed;
        if is_confirmed || self.phase == Phase::Claimed {
            self.phase = placement.phase;
            self.internal_id = placement.internal_id.clone().or(self.internal_id.take());
            self.create_time = placement.create_time.max(self.create_time);
            self.attendee_pw = placement.attendee_pw.clone().or(self.attendee_pw.take());
            self.moderator_pw = placement.moderator_pw.clone().or(self.moderator_pw.take());
        }
        if is_confirmed && self.confirmed_at.is_none() {
            self.confirmed_at = Some(confirmed_at);
        }
    }

    /// The server has it: by its answer to a create, or because it lists it.
    pub fn prove(&mut self, confirmation: Confirmation, at: Millis) {
        self.phase = Phase::Confirmed;
        self.confirmed_at = Some(at);
        self.internal_id = Some(confirmation.internal_id);
        self.create_time = confirmation.create_time;
        self.attendee_pw = confirmation.attendee_pw.or(self.attendee_pw.take());
        self.moderator_pw = confirmation.moderator_pw.or(self.moderator_pw.take());
    }

    /// What is known of it from its server; `None` if it was never confirmed.
    pub fn confirmation(&self) -> Option<Confirmation> {
        Some(Confirmation {
            internal_id: self.internal_id.clone().filter(|_| self.phase == Phase::Confirmed)?,
            create_time: self.create_time,
            attendee_pw: self.attendee_pw.clone(),
            moderator_pw: self.moderator_pw.clone(),
        })
    }

    /// Forgets the live figures of an earlier meeting under the same id; this one began at `born`.
    pub fn start_anew(&mut self, born: Millis) {
        self.claimed_at = born;
        self.confirmed_at = None;
        self.ending = None;
        self.figures = Figures::default();
        self.running = false;
        self.polled_at = None;
        self.first_join = None;
        self.pending.clear();
        self.legacy_joins = 0;
        self.breakouts.clear();
        self.xml = Bytes::new();
    }

    /// True while a create runs here. One that was broken off without a word is believed for the claim's time only.
    pub fn is_creating(&self, tuned: &Tuned, at: Millis) -> bool {
        self.creating > 0 && at <= self.creating_since + tuned.claim_timeout
    }

    /// People there and on their way.
    pub fn people(&self) -> u32 {
        self.figures.media.people + self.pending.count()
    }

    pub fn note_join(&mut self, now: Millis) {
        self.pending.add(now);
        self.first_join = Some(self.first_join.map_or(now, |join| join.min(now)));
        self.taken = self.taken.saturating_add(1);
        self.legacy_joins = self.legacy_joins.saturating_add(1);
    }

    /// Takes in the counters of a poll. Growth replaces as many pending joins as were made before the poll was sent:
    /// a later one cannot be in it.
    pub fn note_figures(&mut self, meeting: &bbb::Meeting, moment: Moment) {
        let figures = Figures::of(meeting);
        let growth = figures.media.people.saturating_sub(self.figures.media.people);
        self.pending.arrived(growth, moment.sent);
        if figures.media.people > 0 && self.first_join.is_none() {
            let told = moment.by_our_clock(meeting.start_time).unwrap_or(moment.sent);
            self.first_join = Some(told.min(moment.sent).max(self.claimed_at));
        }
        self.max_participants = self.max_participants.or(Some(meeting.max_users).filter(|max| *max > 0));
        self.legacy_joins = self.pending.since(moment.sent);
        self.figures = figures;
        self.polled_at = Some(moment.sent);
    }

    fn room(&self) -> Room {
        Room {
            created: self.claimed_at,
            first_join: self.first_join,
            people: self.people(),
            size_hint: self.size_hint,
            max_participants: self.max_participants,
        }
    }

    pub fn make_forecast(&mut self, tuned: &Tuned, now: Millis) {
        let is_ending = self.ending.is_some();
        self.taken = 0;
        self.forecast = if is_ending { Forecast::default() } else { self.room().forecast(&tuned.load.reserve, now) };
    }

    /// True while its contribution changes with time alone.
    pub fn is_awake(&self, tuned: &Tuned, now: Millis) -> bool {
        let is_waiting = self.ending.is_none() && now < self.room().expires(&tuned.load.reserve);
        is_waiting
            || self.forecast != Forecast::default()
            || !self.pending.is_empty()
            || now.since(self.claimed_at) <= LEGACY_FRESH
    }

    /// What it contributes to the sums of its server and its tenant.
    pub fn contribution(&self, tuned: &Tuned, audio: Audio, now: Millis) -> Sums {
        let mut figures = self.figures;
        figures.media.recorded |= self.recorded;
        figures.media.webcams_only_for_moderator = self.webcams_only_for_moderator;
        let own = figures.media.cost(&tuned.load, audio);
        let people = f64::from(self.people());
        let taken = f64::from(self.taken);
        let ghosts = (self.forecast.at(tuned.z_choose) - taken).max(0.0);
        let mean = (self.forecast.mean - taken).max(0.0);
        // The cap by maxParticipants shortens the upper tail; the deviation that is summed up must not pass it.
        let deviation = (self.forecast.at(tuned.z_admit) - self.forecast.mean).max(0.0) / tuned.z_admit.max(0.1);
        let is_big = people + ghosts > f64::from(tuned.load.limits.big_room);
        let head = figures.media.cost_per_head(own, &tuned.load, is_big);
        let on_their_way = head * f64::from(self.pending.count());
        let mut share = Sums {
            meetings: 1,
            breakouts: self.breakouts.len() as i64,
            own_people: i64::from(self.people()),
            pending: i64::from(self.pending.count()),
            cpu: milli(on_their_way.cpu),
            net: milli(on_their_way.net),
            ghosts: milli(ghosts),
            mean_ghosts: milli(mean),
            big_rooms: i64::from(is_big),
            legacy: self.legacy_load(now),
            ..Sums::default()
        };
        let Cost { cpu, net } = head * ghosts;
        (share.ghost_cpu, share.ghost_net) = (milli(cpu), milli(net));
        let Cost { cpu, net } = head * mean;
        (share.mean_cpu, share.mean_net) = (milli(cpu), milli(net));
        let Cost { cpu, net } = head * deviation;
        (share.variance_cpu, share.variance_net) = (units(cpu * cpu), units(net * net * 1e6));
        share += figures.share(tuned, audio);
        for breakout in &self.breakouts {
            share += breakout.figures.share(tuned, audio);
        }
        share
    }

    /// Scalelite's load of one meeting: 1 for the create and each join, replaced by a count at the next poll.
    fn legacy_load(&self, now: Millis) -> i64 {
        let joins = i64::from(self.legacy_joins);
        if self.polled_at.is_none() {
            return 1 + joins;
        }
        let counted = i64::from(self.figures.media.people) + i64::from(self.figures.media.moderators);
        let is_fresh = now.since(self.claimed_at) < LEGACY_FRESH;
        joins + if is_fresh { counted.max(LEGACY_FLOOR) } else { counted }
    }
}
