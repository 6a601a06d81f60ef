//! Which servers may take a meeting, and which of them should: pure reading of the state, nothing is reserved here.
//!
//! Order of the rules: operator's state and health, exclusions, tenant's pool and tags, the server's own caps; then
//! region and big rooms apart; then the lowest score, at random among equals (load-model.md section 7, rules 4 to 7;
//! tags by scalelite-compat.md section 9).

use std::borrow::Cow;

use super::state::{ServerEntry, State};
use super::sums::{Sums, count};
use super::{Candidate, Excluded, Refusal, Why, Wish};
use crate::bbb::Tag;
use crate::clock::Millis;
use crate::config::{Profile, WhenFull};
use crate::ids::ServerId;
use crate::pool::Health;
use crate::store::{ServerRecord, ServerState};

/// Below this a server is free enough for a preference (region, big rooms apart) to bind.
const FREE_ENOUGH: f64 = 0.8;
/// Lines kept per list of an explanation.
const LISTED: usize = 8;

/// A server that may take the meeting, with the meeting on it.
struct Scored<'a> {
    id: ServerId,
    entry: &'a ServerEntry,
    utilisation: f64,
    /// At the admission quantile.
    worst: f64,
    score: f64,
    /// People carried there whom no figure knows.
    unseen: u32,
}

/// Why a server may not.
enum Bar {
    Words(Cow<'static, str>),
    /// Its own `max_meetings` or `max_people`.
    Cap(&'static str),
}

/// The server to take and the label for it.
pub(super) struct Pick {
    pub server: ServerId,
    pub reason: &'static str,
    pub why: Why,
}

impl State {
    /// Finds the server for a meeting that would contribute `share`.
    pub(super) fn pick(&self, wish: &Wish, share: &Sums, now: Millis) -> Result<Pick, Refusal> {
        let mut why = Why { expected_people: tidy(share.expected_people()), ..Why::default() };
        if let Some(pinned) = wish.pinned {
            return self.pick_pinned(pinned, wish, share, why);
        }
        let mut candidates = Vec::new();
        let mut barred = Vec::new();
        for (id, entry) in &self.servers {
            match bar(*id, entry, wish, share) {
                Some(bar) => barred.push((entry, bar)),
                None => candidates.push(self.score(*id, entry, share)),
            }
        }
        let candidates = match by_tags(candidates, wish) {
            Ok(candidates) => candidates,
            Err(tag) if is_capped(&barred, |record| carries_wished_tag(record, wish)) => {
                why.notes.push(format!("all servers tagged {tag} are full").into());
                explain(&mut why, "full", &[], None, barred);
                return Err(Refusal::Full { why });
            }
            Err(tag) => return Err(Refusal::NoTaggedServer { tag }),
        };
        if candidates.is_empty() {
            let is_full = is_capped(&barred, |record| is_open_to_all(record, wish));
            explain(&mut why, if is_full { "full" } else { "no_server" }, &[], None, barred);
            return Err(if is_full { Refusal::Full { why } } else { Refusal::NoServer { why } });
        }
        let is_overfull = candidates.iter().all(|candidate| candidate.worst > 1.0);
        if is_overfull && wish.when_full == WhenFull::Refuse {
            explain(&mut why, "full", &candidates, None, barred);
            return Err(Refusal::Full { why });
        }
        let preferred = self.prefer(&candidates, wish, share, now, &mut why);
        let chosen = self.lowest(&preferred);
        let reason = match candidates.len() {
            _ if is_overfull => "over_full",
            1 => "only_candidate",
            _ => "least_load",
        };
        explain(&mut why, reason, &candidates, Some(chosen), barred);
        Ok(Pick { server: chosen, reason, why })
    }

    /// A breakout room goes where its parent is, as long as anybody could join it there: its people are there already.
    fn pick_pinned(&self, pinned: ServerId, wish: &Wish, share: &Sums, mut why: Why) -> Result<Pick, Refusal> {
        let usable = self.servers.get(&pinned).filter(|entry| {
            entry.health != Health::Down
                && entry.record.state != ServerState::Disabled
                && !wish.exclude.contains(&pinned)
        });
        let Some(entry) = usable else {
            why.notes.push("the parent meeting's server is not usable".into());
            explain(&mut why, "no_server", &[], None, Vec::new());
            return Err(Refusal::NoServer { why });
        };
        let candidates = [self.score(pinned, entry, share)];
        explain(&mut why, "pinned", &candidates, Some(pinned), Vec::new());
        Ok(Pick { server: pinned, reason: "pinned", why })
    }

    fn score<'a>(&self, id: ServerId, entry: &'a ServerEntry, share: &Sums) -> Scored<'a> {
        let load = &self.tuned.load;
        let capacity = entry.capacity();
        let there = entry.loaded(&self.tuned);
        let sums = there.plus(*share);
        let utilisation = sums.utilisation(&capacity, load);
        let worst = capacity.utilisation(sums.pessimistic_cost(self.tuned.z_admit), load);
        let score = match load.profile {
            Profile::Balanced => utilisation + capacity.join_pressure(sums.expected_people(), load),
            Profile::People => sums.people_in_the_end() / capacity.reference_cores(),
            Profile::Legacy => sums.legacy as f64 / entry.record.weight,
        };
        let unseen = count(there.pending - entry.all().pending);
        Scored { id, entry, utilisation, worst, score, unseen }
    }

    /// Narrows the candidates by preference; a preference that nobody free enough can meet is dropped.
    fn prefer<'a, 'b>(
        &self,
        candidates: &'b [Scored<'a>],
        wish: &Wish,
        share: &Sums,
        now: Millis,
        why: &mut Why,
    ) -> Vec<&'b Scored<'a>> {
        let mut preferred: Vec<&Scored<'a>> = candidates.iter().collect();
        let can_create = |candidate: &&Scored<'a>| candidate.entry.avoided_until.is_none_or(|until| until <= now);
        let able = preferred.iter().filter(|candidate| can_create(candidate)).count();
        if (1..preferred.len()).contains(&able) {
            preferred.retain(can_create);
            why.notes.push("servers on which creates fail are avoided".into());
        }
        let is_free = |candidate: &&Scored<'a>| candidate.utilisation < FREE_ENOUGH;
        if let Some(region) = &wish.region {
            let is_near = |candidate: &&Scored<'a>| candidate.entry.record.region.as_ref() == Some(region);
            if preferred.iter().any(|candidate| is_near(candidate) && is_free(candidate)) {
                preferred.retain(is_near);
                why.notes.push("only servers of the preferred region".into());
            }
        }
        if share.big_rooms > 0 {
            let has_none = |candidate: &&Scored<'a>| candidate.entry.all().big_rooms == 0;
            if preferred.iter().any(|candidate| has_none(candidate) && is_free(candidate)) {
                preferred.retain(has_none);
                why.notes.push("a big room: servers that have one already are avoided".into());
            }
        }
        preferred
    }

    /// One of those within the tie of the lowest score; there is always at least one.
    fn lowest(&self, preferred: &[&Scored<'_>]) -> ServerId {
        let best = preferred.iter().map(|candidate| candidate.score).fold(f64::INFINITY, f64::min);
        let enough = best * (1.0 + self.tuned.load.choose.tie) + f64::EPSILON;
        let equal: Vec<ServerId> =
            preferred.iter().filter(|candidate| candidate.score <= enough).map(|candidate| candidate.id).collect();
        equal[rand::random_range(0..equal.len())]
    }
}

/// The first rule that keeps this server from taking the meeting.
fn bar(id: ServerId, entry: &ServerEntry, wish: &Wish, share: &Sums) -> Option<Bar> {
    let record = &entry.record;
    if record.state != ServerState::Enabled {
        return Some(Bar::Words(record.state.as_str().into()));
    }
    if entry.health != Health::Up {
        return Some(Bar::Words(entry.health.as_str().into()));
    }
    if wish.exclude.contains(&id) {
        return Some(Bar::Words("tried already".into()));
    }
    if !is_in_pool(record, wish) {
        return Some(Bar::Words("not in the tenant's pool".into()));
    }
    let sums = entry.all();
    if record.max_meetings.is_some_and(|max| sums.meetings >= i64::from(max)) {
        return Some(Bar::Cap("max_meetings reached"));
    }
    let known = (sums.people + sums.pending) as f64 + sums.mean_ghosts as f64 / 1000.0;
    let people = known.max(f64::from(entry.carried)) + share.mean_ghosts.min(1000) as f64 / 1000.0;
    if record.max_people.is_some_and(|max| people > f64::from(max)) {
        return Some(Bar::Cap("max_people reached"));
    }
    None
}

fn is_in_pool(record: &ServerRecord, wish: &Wish) -> bool {
    wish.pool.is_empty() || record.tags.iter().any(|tag| wish.pool.contains(tag))
}

/// May serve a request that names no tag: untagged, or chosen by the tenant's pool.
fn is_open_to_all(record: &ServerRecord, wish: &Wish) -> bool {
    if wish.pool.is_empty() { record.tags.is_empty() } else { is_in_pool(record, wish) }
}

fn carries_wished_tag(record: &ServerRecord, wish: &Wish) -> bool {
    wish.tags.any_of.iter().any(|tag| match tag {
        Tag::Named(name) => record.tags.contains(name),
        Tag::Untagged => is_open_to_all(record, wish),
    })
}

/// The candidates that the tags allow; an error is the required list of which there is none.
fn by_tags<'a>(candidates: Vec<Scored<'a>>, wish: &Wish) -> Result<Vec<Scored<'a>>, String> {
    let (wished, rest): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| carries_wished_tag(&candidate.entry.record, wish));
    let names_a_tag = wish.tags.any_of.iter().any(|tag| matches!(tag, Tag::Named(_)));
    if !wished.is_empty() {
        return Ok(wished);
    }
    if wish.tags.required && names_a_tag {
        let words = wish.tags.any_of.iter().map(|tag| match tag {
            Tag::Named(name) => name.as_str(),
            Tag::Untagged => "none",
        });
        return Err(words.collect::<Vec<_>>().join(";"));
    }
    Ok(rest.into_iter().filter(|candidate| is_open_to_all(&candidate.entry.record, wish)).collect())
}

fn is_capped(barred: &[(&ServerEntry, Bar)], concerns: impl Fn(&ServerRecord) -> bool) -> bool {
    barred.iter().any(|(entry, bar)| matches!(bar, Bar::Cap(_)) && concerns(&entry.record))
}

/// Fills in the lists of the explanation, best candidates and barred servers first come.
fn explain(
    why: &mut Why,
    reason: &'static str,
    candidates: &[Scored<'_>],
    chosen: Option<ServerId>,
    barred: Vec<(&ServerEntry, Bar)>,
) {
    why.reason = reason.into();
    let mut sorted: Vec<&Scored<'_>> = candidates.iter().collect();
    sorted.sort_by(|a, b| (chosen != Some(a.id)).cmp(&(chosen != Some(b.id))).then(a.score.total_cmp(&b.score)));
    why.omitted = sorted.len().saturating_sub(LISTED) + barred.len().saturating_sub(LISTED);
    why.candidates.extend(sorted.into_iter().take(LISTED).map(|candidate| Candidate {
        server: candidate.entry.record.name.clone(),
        utilisation: tidy(candidate.utilisation),
        score: tidy(candidate.score),
        chosen: chosen == Some(candidate.id),
        unseen_people: candidate.unseen,
    }));
    why.excluded.extend(barred.into_iter().take(LISTED).map(|(entry, bar)| Excluded {
        server: entry.record.name.clone(),
        because: match bar {
            Bar::Words(words) => words,
            Bar::Cap(words) => words.into(),
        },
    }));
}

/// Four digits are enough for people.
fn tidy(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}
