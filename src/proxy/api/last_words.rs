//! Questions that only the servers can answer, and what is told while one of them is silent: what it said last.
//!
//! A list without a silent server's part would look complete, and front ends take what is missing for deleted.

use std::time::Duration;

use bytes::Bytes;

use super::{AGE_HEADER, Caller, INCOMPLETE_HEADER};
use crate::bbb::Call;
use crate::client::{self, Body, CallError};
use crate::ids::ServerId;
use crate::placement::ServerView;
use crate::pool::Health;
use crate::proxy::answer::Answer;

/// One server's part of an answer.
pub enum Asked<T> {
    Now(T),
    /// It is silent; this is what it said so long ago.
    Before(T, Duration),
    /// It is silent, and has never answered this question.
    Unknown,
}

/// Asks a server that may answer. One that is `down`, or `suspect` and known, is not waited for.
pub async fn ask<T>(
    caller: &Caller<'_>,
    view: &ServerView,
    call: Call,
    query: &str,
    limit: Duration,
    read: impl Fn(&Bytes) -> Result<T, CallError>,
) -> Asked<T> {
    let (server, said) = (&view.record, &caller.shared.said);
    let before = || {
        let (body, age) = last(caller, server.id, call, query)?;
        Some(Asked::Before(read(&body).ok()?, age))
    };
    let is_silent = matches!(view.health, Health::Down | Health::Suspect);
    if is_silent && let Some(known) = before() {
        return known;
    }
    if view.health == Health::Down {
        return Asked::Unknown;
    }
    let placer = &caller.shared.placer;
    let made = placer.monitor.calling(server.id, call);
    let (era, sent) = (said.era(server.id), placer.clock.now());
    let told = placer.client.call(server, call.name(), query, Body::None, limit).await.and_then(client::ok);
    match told.and_then(|answer| Ok((read(&answer.body)?, answer.body))) {
        Ok((told, body)) => {
            said.keep(server.id, &question(call, query), body, sent, era);
            placer.monitor.call_worked(made);
            Asked::Now(told)
        }
        Err(error) => {
            placer.monitor.call_failed(made, &error);
            before().unwrap_or(Asked::Unknown)
        }
    }
}

/// What the server said last, and how long ago.
pub fn last(caller: &Caller<'_>, server: ServerId, call: Call, query: &str) -> Option<(Bytes, Duration)> {
    let (body, at) = caller.shared.said.last(server, &question(call, query))?;
    Some((body, caller.shared.placer.clock.now().since(at)))
}

fn question(call: Call, query: &str) -> String {
    [call.name(), "?", query].concat()
}

/// Says of how many servers the answer has what they said last, and how old the oldest of that is.
pub fn marked(answer: Answer, (parts, age): (usize, Duration)) -> Answer {
    if parts == 0 {
        return answer;
    }
    answer.with(INCOMPLETE_HEADER, parts.to_string()).with(AGE_HEADER, age.as_millis().to_string())
}
