//! What a `getMeetings` answer changes (load-model.md section 7, rules 2 and 3).
//!
//! A poll tells what was true some time between its sending and its arrival, so it is believed only about what
//! happened before it was sent: it never undoes a create, a confirmation, a join or an end that came later.
//! A meeting ends when its server, asked late enough, no longer lists it; never because a server does not answer.
//! After `end` and a new create BBB lists the old meeting and the new one under the same id for a while.

use super::entry::{BreakoutEntry, Figures, MeetingEntry};
use super::state::State;
use super::sums::Sums;
use super::{ChangedMeeting, EndedMeeting, HashMap, HashSet, Ledger, PollOutcome, Tuned};
use crate::bbb;
use crate::clock::Millis;
use crate::ids::{BbbMeetingId, InternalId, MeetingKey, ServerId};
use crate::store::{Confirmation, Phase};

/// When a poll was sent and its answer received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub sent: Millis,
    pub received: Millis,
    /// What the server's own clock showed when it answered, if it said so.
    pub told_at: Option<Millis>,
}

impl Moment {
    /// A moment as the server tells it, by our clock, which may be hours from the server's; `None` if it tells none.
    /// A server that does not show its clock is believed to have the right time, but no moment is in the future.
    pub fn by_our_clock(&self, told: u64) -> Option<Millis> {
        let told = Some(Millis(told)).filter(|told| told.0 > 0)?;
        Some(match self.told_at {
            Some(told_at) => self.received - told_at.since(told),
            None => told.min(self.received),
        })
    }

    /// When a meeting that was not created through us began.
    pub fn born(&self, meeting: &bbb::Meeting) -> Millis {
        self.by_our_clock(meeting.create_time).unwrap_or(self.sent)
    }
}

impl Ledger {
    /// Takes in one server's list of meetings, breakout rooms included. From a list with unreadable entries nothing is
    /// concluded about the meetings that are not in it.
    pub fn note_poll(
        &self,
        server: ServerId,
        sent_at: Millis,
        received_at: Millis,
        list: impl Into<bbb::MeetingList>,
    ) -> PollOutcome {
        let list = list.into();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut outcome = PollOutcome::default();
        let Some(entry) = state.servers.get_mut(&server) else {
            outcome.is_stale = true;
            return outcome;
        };
        if entry.poll_sent.is_some_and(|last| last > sent_at) {
            outcome.is_stale = true;
            return outcome;
        }
        entry.poll_sent = Some(sent_at);
        entry.poll_received = Some(received_at);
        entry.unseen_join = entry.unseen_join.filter(|join| *join >= sent_at);
        let moment = Moment { sent: sent_at, received: received_at, told_at: list.told_at };
        let mut meetings = list.meetings;
        if !state.ended.is_empty() {
            meetings.retain(|meeting| !state.ended.holds(&meeting.internal_id, sent_at));
        }
        let (mine, rest) = state.sort_out(server, meetings);
        let listed: HashSet<MeetingKey> = mine.keys().cloned().collect();
        for (key, meeting) in mine {
            state.take_in(&key, meeting, moment, &mut outcome);
        }
        outcome.unknown = state.take_in_breakouts(server, rest, &listed, moment);
        state.weigh_unknown(server, &outcome.unknown);
        if list.unreadable == 0 {
            outcome.is_doubtful = state.doubt(server, &listed, moment);
        }
        if list.unreadable == 0 && !outcome.is_doubtful {
            state.end_missing(server, &listed, moment, &mut outcome);
        }
        outcome
    }
}

impl State {
    /// Splits a list into the meetings placed here (one per entry) and all others. Of two under one id the one whose
    /// internal id we know wins, then the one that is not over, then the younger; the loser is of no interest.
    fn sort_out(
        &self,
        server: ServerId,
        meetings: Vec<bbb::Meeting>,
    ) -> (HashMap<MeetingKey, bbb::Meeting>, Vec<bbb::Meeting>) {
        let mut mine: HashMap<MeetingKey, bbb::Meeting> = HashMap::default();
        let mut rest = Vec::new();
        for meeting in meetings {
            let placed = self.by_bbb.get(&meeting.meeting_id).and_then(|key| Some((key, self.meetings.get(key)?)));
            let Some((key, entry)) = placed.filter(|(_, entry)| entry.server == server) else {
                rest.push(meeting);
                continue;
            };
            let is_known = |one: &bbb::Meeting| entry.internal_id.as_ref() == Some(&one.internal_id);
            let rank = |one: &bbb::Meeting| (is_known(one), !one.forcibly_ended, one.create_time);
            match mine.get(key) {
                Some(other) if rank(other) >= rank(&meeting) => {}
                _ => {
                    mine.insert(key.clone(), meeting);
                }
            }
        }
        (mine, rest)
    }

    fn take_in(&mut self, key: &MeetingKey, meeting: bbb::Meeting, moment: Moment, outcome: &mut PollOutcome) {
        let tuned = self.tuned;
        let Some(entry) = self.meetings.get(key) else { return };
        let is_another = entry.internal_id.as_ref().is_some_and(|known| *known != meeting.internal_id);
        // Under a running create the answer of that create decides which meeting this is; one that is over proves
        // nothing; and a list older than our confirmation shows its predecessor.
        let is_ours_to_judge = !entry.is_creating(&tuned, moment.sent) && !meeting.forcibly_ended;
        let is_older = entry.confirmed_at.is_some_and(|confirmed| moment.sent <= confirmed);
        let is_known = entry.internal_id.as_ref() == Some(&meeting.internal_id);
        if !is_known && (!is_ours_to_judge || is_older) {
            return;
        }
        let confirmation = Confirmation::from(&meeting);
        let proof = (is_another || (entry.phase == Phase::Claimed && is_ours_to_judge)).then(|| confirmation.clone());
        if is_another && let Some(before) = entry.internal_id.clone() {
            outcome.changed.push(ChangedMeeting { key: key.clone(), before, confirmation });
        } else if entry.phase == Phase::Claimed && is_ours_to_judge {
            outcome.confirmed.push((key.clone(), confirmation));
        }
        self.change(key, moment.received, |entry| {
            if is_another {
                entry.start_anew(moment.born(&meeting));
            }
            if let Some(proof) = proof {
                entry.prove(proof, moment.sent);
            }
            // The meeting itself may have been asked for since this list was.
            if entry.polled_at.is_none_or(|polled| polled <= moment.sent) {
                entry.note_end_seen(&meeting, &tuned, moment);
                entry.show(meeting, moment);
            }
        });
    }

    /// Hangs breakout rooms under their parents and returns what belongs to nobody.
    fn take_in_breakouts(
        &mut self,
        server: ServerId,
        meetings: Vec<bbb::Meeting>,
        listed: &HashSet<MeetingKey>,
        moment: Moment,
    ) -> Vec<bbb::Meeting> {
        let mut by_parent: HashMap<MeetingKey, Vec<BreakoutEntry>> = HashMap::default();
        let mut seen: HashSet<BbbMeetingId> = HashSet::default();
        let mut unknown = Vec::new();
        for meeting in meetings {
            let parent = self.parent_of(server, &meeting).filter(|parent| listed.contains(parent));
            let is_free = |id: &BbbMeetingId, parent: &MeetingKey| {
                self.breakouts.get(id).is_none_or(|other| other == parent) && !self.by_bbb.contains_key(id)
            };
            let Some(parent) = parent.filter(|parent| is_free(&meeting.meeting_id, parent)) else {
                unknown.push(meeting);
                continue;
            };
            if seen.insert(meeting.meeting_id.clone()) {
                by_parent.entry(parent).or_default().push(breakout(meeting, moment.sent));
            }
        }
        for key in listed {
            let mut breakouts = by_parent.remove(key).unwrap_or_default();
            let known = self.meetings.get(key).map_or(&[][..], |entry| &entry.breakouts);
            for room in &mut breakouts {
                if let Some(same) = known.iter().find(|old| old.xml == room.xml) {
                    room.xml = same.xml.clone();
                }
            }
            let had_some = !known.is_empty();
            let is_newer = |room: &&BreakoutEntry| room.known_at >= moment.sent && !seen.contains(&room.bbb_id);
            breakouts.extend(known.iter().filter(is_newer).cloned());
            if had_some || !breakouts.is_empty() {
                self.change(key, moment.received, |entry| entry.breakouts = breakouts);
            }
        }
        unknown
    }

    fn parent_of(&self, server: ServerId, meeting: &bbb::Meeting) -> Option<MeetingKey> {
        let parent: &InternalId = meeting.parent.as_ref().filter(|_| meeting.is_breakout)?;
        let key = self.by_internal.get(parent)?;
        self.meetings.get(key).filter(|entry| entry.server == server)?;
        Some(key.clone())
    }

    /// Meetings that nobody placed load their server all the same.
    fn weigh_unknown(&mut self, server: ServerId, unknown: &[bbb::Meeting]) {
        let Some(entry) = self.servers.get_mut(&server) else { return };
        let audio = entry.audio(&self.tuned);
        let mut strangers: HashMap<BbbMeetingId, Sums> = HashMap::default();
        for meeting in unknown.iter().filter(|meeting| !meeting.forcibly_ended) {
            let mut share = Figures::of(meeting).share(&self.tuned, audio);
            (share.meetings, share.breakouts) = if meeting.is_breakout { (0, 1) } else { (1, 0) };
            if !meeting.is_breakout {
                share.legacy = share.people + i64::from(meeting.moderators.min(meeting.participants));
            }
            *strangers.entry(meeting.meeting_id.clone()).or_default() += share;
        }
        entry.set_strangers(strangers);
    }

    /// Whether a list is to be asked for again because none of the meetings that the last ones showed is in it. A server
    /// that has just started gives such a list, or one whose meetings happen to end together, but also one that has lost touch
    /// with its own memory, and then its meetings would be created again elsewhere.
    fn doubt(&mut self, server: ServerId, listed: &HashSet<MeetingKey>, moment: Moment) -> bool {
        let Some(entry) = self.servers.get_mut(&server) else { return false };
        let before = entry.doubted.take();
        if !listed.is_empty() || before.is_some_and(|doubted| moment.sent >= doubted) {
            return false;
        }
        let shown = entry.keys.iter().filter_map(|key| self.meetings.get(key)).filter(|one| one.polled_at.is_some());
        let (mut meetings, mut people) = (0_usize, 0_u32);
        for one in shown.filter(|one| one.ending.is_none()) {
            meetings += 1;
            people = people.saturating_add(one.figures.media.people);
        }
        let is_strange = meetings > 1 || people > 0;
        entry.doubted = before.or(is_strange.then_some(moment.received));
        is_strange
    }

    fn end_missing(
        &mut self,
        server: ServerId,
        listed: &HashSet<MeetingKey>,
        moment: Moment,
        outcome: &mut PollOutcome,
    ) {
        let tuned = self.tuned;
        let Some(entry) = self.servers.get(&server) else { return };
        let is_gone = |key: &&MeetingKey| {
            !listed.contains(*key) && self.meetings.get(*key).is_some_and(|entry| entry.is_over(&tuned, moment))
        };
        let mut gone: Vec<MeetingKey> = entry.keys.iter().filter(is_gone).cloned().collect();
        gone.sort();
        for key in gone {
            let Some(entry) = self.remove(&key) else { continue };
            outcome.ended.push(EndedMeeting { key, internal_id: entry.internal_id, version: entry.version });
        }
    }
}

impl MeetingEntry {
    /// What the list says of it.
    pub(super) fn show(&mut self, meeting: bbb::Meeting, moment: Moment) {
        self.running = meeting.running;
        self.note_figures(&meeting, moment);
        // The same text stays in the same place: whoever keeps a rendering of it knows it by that.
        if self.xml != meeting.xml {
            self.xml = meeting.xml;
        }
    }

    /// BBB ends meetings in its own time; one that is still there after the grace was not ended.
    pub(super) fn note_end_seen(&mut self, meeting: &bbb::Meeting, tuned: &Tuned, moment: Moment) {
        let had_time = |ending: Millis| moment.sent > ending + tuned.ended_grace;
        if meeting.forcibly_ended {
            self.ending = self.ending.or(Some(moment.sent));
        } else if self.ending.is_some_and(had_time) {
            self.ending = None;
        }
    }

    /// True if a list that lacks it was asked for late enough to prove that it is over.
    fn is_over(&self, tuned: &Tuned, moment: Moment) -> bool {
        if self.is_creating(tuned, moment.sent) {
            return false;
        }
        match (self.phase, self.confirmed_at) {
            (Phase::Confirmed, Some(confirmed)) => {
                self.ending.is_some_and(|ending| moment.sent > ending) || moment.sent > confirmed + tuned.ended_grace
            }
            _ => moment.sent > self.claimed_at + tuned.claim_timeout,
        }
    }
}

fn breakout(meeting: bbb::Meeting, known_at: Millis) -> BreakoutEntry {
    BreakoutEntry {
        known_at,
        figures: Figures::of(&meeting),
        confirmation: Confirmation::from(&meeting),
        bbb_id: meeting.meeting_id,
        xml: meeting.xml,
    }
}
