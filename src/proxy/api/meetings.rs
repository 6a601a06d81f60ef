//! Calls about live meetings: end, isMeetingRunning, getMeetingInfo, getMeetings, getSessions.
//!
//! The picture answers what it knows for certain; where only the server knows, it is asked; and where the server does
//! not answer, the last known picture does, with its age, rather than an error that would make a front end believe the
//! meeting gone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::forward::{Target, no_answer};
use super::last_words::{Asked, ask, marked};
use super::{AGE_HEADER, Caller};
use crate::bbb::{self, Call, Created, NewMeeting, Params, Rewrite};
use crate::client::Body;
use crate::config::{GetMeetingInfo, GetMeetings, IsRunning};
use crate::error::ApiError;
use crate::ids::{BbbMeetingId, MeetingKey};
use crate::placement::{Glance, MeetingFragment, MeetingView, ServerView};
use crate::pool::Health;
use crate::proxy::answer::Answer;
use crate::store::Phase;
use crate::tenant::HIDDEN_META_PREFIX;

/// messageKey of a meeting that a server does not know.
const NOT_FOUND: &str = "notFound";
/// How long an answer waits for another look at the server that has contradicted the picture.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// What the picture knows about the meeting of a call.
enum Found {
    Meeting(Box<MeetingView>),
    Breakout(Target),
    Nothing,
}

/// What the picture knows; the store is asked before it is nothing.
async fn find(caller: &Caller<'_>, key: &MeetingKey) -> Found {
    if let Some(found) = find_here(caller, key) {
        return found;
    }
    caller.shared.placer.catch_up().await;
    find_here(caller, key).unwrap_or(Found::Nothing)
}

fn find_here(caller: &Caller<'_>, key: &MeetingKey) -> Option<Found> {
    let ledger = &caller.shared.placer.ledger;
    if let Some(view) = ledger.find(key) {
        return Some(Found::Meeting(Box::new(view)));
    }
    let breakout = ledger.find_breakout(key.tenant, key.meeting.as_str())?;
    Some(Found::Breakout(Target {
        server: breakout.record,
        called: breakout.bbb_id.clone(),
        bbb_id: breakout.bbb_id,
        meeting: key.meeting.clone(),
    }))
}

fn target_of(view: &MeetingView, key: &MeetingKey) -> Target {
    Target {
        server: view.record.clone(),
        bbb_id: view.bbb_id.clone(),
        called: view.called.clone(),
        meeting: key.meeting.clone(),
    }
}

/// The server decides; a wrong password changes nothing. What it has agreed to end is over for everybody at once.
pub async fn end(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let key = caller.meeting_key()?;
    let placer = &caller.shared.placer;
    let view = match find(caller, &key).await {
        Found::Nothing => return Err(ApiError::not_found()),
        Found::Breakout(target) => {
            let (reply, answer) = caller.forward(&target, Body::None).await?;
            if reply.success {
                placer.ledger.note_breakout_end(key.tenant, &target.bbb_id, placer.clock.now());
            }
            return Ok(answer.no_cache());
        }
        Found::Meeting(view) if view.health == Health::Down => return Err(no_answer()),
        Found::Meeting(view) => view,
    };
    let (reply, answer) = caller.forward(&target_of(&view, &key), Body::None).await?;
    if reply.success {
        placer.end(&key, view.server, view.internal_id.as_ref()).await;
    } else if reply.key == NOT_FOUND {
        placer.look_again(view.server, caller.left().min(LOOK_LIMIT)).await;
    }
    Ok(answer.no_cache())
}

/// From the picture where it is certain; else its server is asked, and the picture, which all other calls are answered from, is
/// brought up to date before the caller is told anything that differs from it.
pub async fn is_meeting_running(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let key = caller.meeting_key()?;
    let placer = &caller.shared.placer;
    let ledger = &placer.ledger;
    let as_seen = |seen: &Glance| {
        Answer::xml(bbb::running(seen.running)).no_cache().with(AGE_HEADER, age_of(caller.since_poll(seen)))
    };
    // "Running" from a recent poll is certain enough; "not running" may have changed with the last join.
    let is_certain = |seen: &Glance| seen.running && !seen.ending && caller.is_fresh(seen);
    let is_live = caller.config.api.is_meeting_running == IsRunning::Live;
    if let Some(seen) = ledger.glance(&key).filter(|seen| seen.is_down || is_live && is_certain(seen)) {
        return Ok(as_seen(&seen));
    }
    let nothing = || Answer::xml(bbb::running(false)).no_cache();
    let view = match find(caller, &key).await {
        Found::Nothing => return Ok(nothing()),
        Found::Breakout(target) => return Ok(caller.forward(&target, Body::None).await?.1.no_cache()),
        Found::Meeting(view) => view,
    };
    let told = caller.forward(&target_of(&view, &key), Body::None).await;
    let Some(seen) = ledger.glance(&key) else { return Ok(nothing()) };
    match told {
        Ok((reply, answer)) if !reply.success || bbb::read_running(&answer.body) == Some(seen.running) => {
            Ok(answer.no_cache())
        }
        Ok(_) => {
            placer.look_again(view.server, caller.left().min(LOOK_LIMIT)).await;
            Ok(ledger.glance(&key).map_or_else(nothing, |seen| as_seen(&seen)))
        }
        Err(_) => Ok(as_seen(&seen)),
    }
}

pub async fn get_meeting_info(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let key = caller.meeting_key()?;
    let placer = &caller.shared.placer;
    let ledger = &placer.ledger;
    let fresh = || ledger.glance(&key).filter(|seen| caller.is_fresh(seen));
    if caller.config.api.get_meeting_info == GetMeetingInfo::Live
        && let Some(answer) = fresh().and_then(|seen| info(caller, &key, &seen))
    {
        return Ok(answer);
    }
    let view = match find(caller, &key).await {
        Found::Nothing => return Err(ApiError::not_found()),
        Found::Breakout(target) => return Ok(caller.forward(&target, Body::None).await?.1),
        Found::Meeting(view) => view,
    };
    let as_seen = || ledger.glance(&key).and_then(|seen| info(caller, &key, &seen));
    if view.health == Health::Down {
        return as_seen().ok_or_else(no_answer);
    }
    let sent = placer.clock.now();
    let told = caller.ask_server(&target_of(&view, &key), Body::None).await;
    let (reply, body, took) = match told {
        Ok(told) => told,
        Err(failure) => return as_seen().ok_or(failure),
    };
    let target = target_of(&view, &key);
    let theirs = bbb::read_meeting_info(&body).ok().flatten();
    // What this caller is told all others are told from now on.
    if theirs.is_some_and(|meeting| ledger.note_info(&key, view.server, sent, placer.clock.now(), meeting)) {
        return Ok(caller.pass_on(&target, reply, body, took)?.1);
    }
    let is_about_us = reply.success || reply.key == NOT_FOUND;
    match ledger.find(&key) {
        None => return Err(ApiError::not_found()), // ended meanwhile
        Some(now) if now.phase == Phase::Claimed || !is_about_us => {
            return Ok(caller.pass_on(&target, reply, body, took)?.1);
        }
        Some(_) => {}
    }
    // It is not there, or another one is: the picture finds out, and answers.
    placer.look_again(view.server, caller.left().min(LOOK_LIMIT)).await;
    match (ledger.find(&key), as_seen()) {
        (None, _) => Err(ApiError::not_found()),
        (Some(_), Some(answer)) if !reply.success => Ok(answer),
        (Some(_), _) => Ok(caller.pass_on(&target, reply, body, took)?.1),
    }
}

/// The meeting as the last poll saw it.
fn info(caller: &Caller<'_>, key: &MeetingKey, seen: &Glance) -> Option<Answer> {
    if !seen.confirmed || seen.ending || seen.xml.is_empty() {
        return None;
    }
    let body = Bytes::from(bbb::meeting_info(&seen.xml));
    let body = caller.for_tenant(body, &seen.bbb_id, &key.meeting).ok()?;
    Some(Answer::xml(body).with(AGE_HEADER, age_of(caller.since_poll(seen))))
}

impl Caller<'_> {
    fn since_poll(&self, seen: &Glance) -> Option<Duration> {
        seen.polled_at.map(|polled| self.now.since(polled))
    }

    fn is_fresh(&self, seen: &Glance) -> bool {
        self.since_poll(seen).is_some_and(|age| age <= self.config.health.poll_interval * 2)
    }
}

pub async fn get_meetings(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    if caller.config.api.get_meetings == GetMeetings::Fanout {
        ask_all_servers(caller).await;
    }
    let placer = &caller.shared.placer;
    let edition = placer.ledger.edition_of(caller.tenant.id());
    let age = edition.oldest_poll.map(|polled| placer.clock.now().since(polled));
    let body = caller.tenant.listing.body(edition.number).unwrap_or_else(|| render(caller));
    Ok(Answer::xml(body).no_cache().with(AGE_HEADER, age_of(age)))
}

/// Makes the tenant's list anew; meetings that have not changed are taken as they were shown before.
fn render(caller: &Caller<'_>) -> Bytes {
    let picture = caller.shared.placer.ledger.meetings_of(caller.tenant.id());
    let fragments = &picture.fragments;
    let sources = fragments.iter().map(|fragment| fragment.xml.clone());
    let show = |position: usize| fragment_for_tenant(caller, &fragments[position]);
    caller.tenant.listing.renew(picture.edition, sources, show, |all| bbb::meetings(all.iter()))
}

/// `fanout`: polls every server that may answer, at once, before the picture is rendered. A server that fails leaves
/// its part of the picture as it was.
async fn ask_all_servers(caller: &Caller<'_>) {
    let placer = &caller.shared.placer;
    let servers = placer.ledger.servers();
    let limit = caller.left().min(caller.config.health.timeout);
    let polls = servers.iter().filter(|view| view.health != Health::Down).map(|view| async move {
        let sent = placer.clock.now();
        let made = placer.monitor.calling(view.record.id, Call::GetMeetings);
        match placer.client.meetings(&view.record, limit).await {
            Ok(list) => {
                // On its own task: a caller who hangs up must not leave a list half taken in.
                let (placer, server) = (placer.clone(), view.record.clone());
                let sweep = tokio::spawn(async move { placer.sweep(&server, sent, list).await });
                let _ = tokio::time::timeout(caller.left(), sweep).await;
            }
            Err(error) => {
                placer.monitor.call_failed(made, &error);
            }
        }
    });
    join_all(polls).await;
}

fn fragment_for_tenant(caller: &Caller<'_>, fragment: &MeetingFragment) -> Bytes {
    if fragment.xml.is_empty() {
        return unpolled(fragment);
    }
    if caller.tenant.record.scope.is_none() {
        return fragment.xml.clone();
    }
    let rules = Rewrite {
        meeting_id: Some((fragment.bbb_id.as_str(), fragment.meeting.as_str())),
        hide_meta_prefix: HIDDEN_META_PREFIX,
    };
    // Fragments in the picture have been read once, so they can be read again.
    bbb::rewrite(&fragment.xml, &rules).map(Bytes::from).unwrap_or_default()
}

/// A meeting known from the store alone, after a start and before its server's first poll.
fn unpolled(fragment: &MeetingFragment) -> Bytes {
    let confirmation = &fragment.confirmation;
    let created = Created {
        meeting_id: BbbMeetingId::new(fragment.meeting.as_str()),
        internal_id: confirmation.internal_id.clone(),
        create_time: confirmation.create_time,
        attendee_pw: confirmation.attendee_pw.clone(),
        moderator_pw: confirmation.moderator_pw.clone(),
        parent: None,
        voice_bridge: String::new(),
        dial_number: String::new(),
        create_date: String::new(),
        has_user_joined: false,
        duration: 0,
        forcibly_ended: false,
        duplicate: false,
        message_key: String::new(),
        message: String::new(),
    };
    bbb::new_meeting_fragment(&NewMeeting::from_create(&created, &Params::default())).into()
}

/// Only the servers know who is in a session: those that have a meeting of the tenant are asked, and what they say is merged.
pub async fn get_sessions(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let ledger = &caller.shared.placer.ledger;
    let homes = ledger.servers_of(caller.tenant.id());
    let servers: Vec<ServerView> = homes.into_iter().filter_map(|id| ledger.server(id)).collect();
    let limit = caller.left().min(caller.config.health.timeout);
    let read = |body: &Bytes| Ok(bbb::read_sessions(body)?);
    let parts = join_all(servers.iter().map(|view| ask(caller, view, Call::GetSessions, "", limit, read))).await;
    let (mut sessions, mut memory) = (Vec::new(), (0, Duration::ZERO));
    for part in parts {
        match part {
            Asked::Now(told) => sessions.extend(told),
            Asked::Before(told, age) => {
                sessions.extend(told);
                memory = (memory.0 + 1, memory.1.max(age));
            }
            Asked::Unknown => {
                return Err(ApiError::server(
                    "internalError",
                    "A server with meetings of yours does not answer, and nothing is known of who is there. Try again in a moment.",
                ));
            }
        }
    }
    let own = sessions.iter().filter(|session| {
        ledger.find_internal(&session.internal_id).is_some_and(|key| key.tenant == caller.tenant.id())
    });
    let answer = Answer::xml(bbb::sessions(own.map(|session| &session.xml))).no_cache();
    Ok(marked(answer, memory))
}

/// Milliseconds, or `unknown` before the first poll.
fn age_of(age: Option<Duration>) -> String {
    age.map_or_else(|| "unknown".to_owned(), |age| age.as_millis().to_string())
}
