//! `join`: answered from memory with a redirect to the meeting's server, signed anew.
//!
//! The browser itself must reach the server's `join`, because the session cookie is set there (bbb-api.md 3.6); so
//! nothing is forwarded. The person is counted at once. Errors redirect as BBB's do: to `errorRedirectUrl`, else
//! `logoutURL`, else our own page; never to a target taken from a request whose signature did not hold.

use std::sync::Arc;

use super::Caller;
use crate::bbb;
use crate::config::{Config, EdgeMode, Pacing};
use crate::error::{ApiError, Blame};
use crate::ids::{MeetingKey, Secret};
use crate::pacing::{Decision, Verdict};
use crate::placement::{JoinRefusal, MeetingView};
use crate::pool::Health;
use crate::proxy::answer::Answer;
use crate::proxy::pages;
use crate::store::{ParamCall, ServerRecord, ServerState};

/// What follows the signed part at most.
const CHECKSUM_ROOM: usize = "&checksum=".len() + 128;

pub async fn join(caller: &mut Caller<'_>) -> Answer {
    let key = match caller.meeting_key() {
        Ok(key) => key,
        Err(error) => return failed(caller, &error),
    };
    if caller.params.get("fullName").is_none_or(str::is_empty) {
        return failed(caller, &ApiError::client("missingParamFullName", "You must specify a name for the attendee."));
    }
    if let Some(page) = pace(caller, &key) {
        return page;
    }
    let shared = caller.shared;
    let (placer, ledger) = (&shared.placer, &shared.placer.ledger);
    let admit = || ledger.admit_join(&key, &caller.tenant.limits(), caller.now);
    let mut admitted = admit();
    if matches!(admitted, Err(JoinRefusal::Unknown)) {
        placer.catch_up().await;
        admitted = admit();
    }
    match admitted {
        Ok(ticket) => {
            if ticket.is_first {
                placer.expect_somebody(ticket.record.id);
            }
            redirect(caller, &ticket.record, ticket.called.as_str())
        }
        Err(JoinRefusal::Unknown) => match ledger.find_breakout(key.tenant, key.meeting.as_str()) {
            Some(breakout) => redirect(caller, &breakout.record, breakout.bbb_id.as_str()),
            None => failed(
                caller,
                &ApiError::client(
                    "invalidMeetingIdentifier",
                    "The meeting ID that you supplied did not match any existing meetings",
                ),
            ),
        },
        Err(JoinRefusal::TenantPeople { limit }) => {
            caller.shared.metrics.tenant_limit_hits.with_label_values(&[caller.tenant.name()]).inc();
            let text = format!("The limit of {limit} people is reached.");
            failed(caller, &ApiError::client("participantLimitReached", text))
        }
        Err(JoinRefusal::ServerDown { .. }) => {
            let error = ApiError::server("serverUnavailable", "The server of this meeting does not answer.");
            if wants_xml(caller) {
                return Answer::error(&error);
            }
            pages::waiting().failed_with("serverUnavailable", Blame::Server)
        }
        Err(JoinRefusal::ServerDisabled) => {
            failed(caller, &ApiError::client("serverUnavailable", "The server of this meeting is disabled."))
        }
    }
}

/// The page of somebody who has to wait for his turn. Asked before the join counts: who waits is nobody yet. Moderators do
/// not wait, because a meeting cannot begin without them; nor do programs.
fn pace(caller: &Caller<'_>, key: &MeetingKey) -> Option<Answer> {
    let (mode, joins) = (caller.config.edge.join_pacing, &caller.config.load.joins);
    if mode == Pacing::Off || wants_xml(caller) {
        return None;
    }
    let shared = caller.shared;
    let meeting = shared.placer.ledger.find(key)?;
    let is_usable = meeting.record.state != ServerState::Disabled && meeting.health != Health::Down;
    if !is_usable || is_moderator(caller, &meeting) {
        return None;
    }
    let who = (&*caller.checksum, caller.request.client);
    let decision = shared.pacer.ask(&meeting.record, who, (mode, joins), caller.now);
    let note = |outcome| shared.metrics.joins_paced.with_label_values(&[meeting.record.name.as_str(), outcome]).inc();
    let page = match decision {
        Decision::Observed(would_wait) => {
            if would_wait {
                note("observed");
            }
            return None;
        }
        Decision::Join(Verdict::Go { waited }) => {
            if waited {
                note("let_in");
            }
            return None;
        }
        Decision::Join(Verdict::Wait(place)) => {
            if place.is_new {
                note("waited");
            }
            pages::queue(Some(place), place.pause)
        }
        Decision::Join(Verdict::Full { pause }) => {
            note("full");
            pages::queue(None, pause)
        }
    };
    Some(Answer { result: "joinWaits", server: Some(meeting.record), ..page })
}

/// As BBB decides: by the role, or without one by the password (bbb-api.md section 3.6).
fn is_moderator(caller: &Caller<'_>, meeting: &MeetingView) -> bool {
    let given = |name| caller.params.get(name).filter(|value| !value.is_empty());
    match given("role") {
        Some(role) => role.eq_ignore_ascii_case("MODERATOR"),
        None => given("password").is_some_and(|password| meeting.moderator_pw == Some(Secret::new(password))),
    }
}

/// 302 to the server's own `join`, parameters in the caller's order and bytes.
fn redirect(caller: &mut Caller<'_>, server: &Arc<ServerRecord>, called: &str) -> Answer {
    let params = &mut caller.params;
    caller.tenant.apply_rules(ParamCall::Join, params);
    params.ensure("meetingID", called);
    let mut location = match caller.config.edge.mode {
        // The session's cookie must be set on the name that the browser goes on with.
        EdgeMode::Path => {
            let public = caller.config.listen.public_base();
            [public, "/", server.name.as_str(), "/bigbluebutton/api/join?"].concat()
        }
        EdgeMode::Redirect | EdgeMode::Host => [server.url.as_str(), "join?"].concat(),
    };
    let signed_from = location.len();
    params.write_query(&mut location, CHECKSUM_ROOM);
    let checksum = bbb::sign("join", &location[signed_from..], &server.secret, server.checksum);
    location.push_str("&checksum=");
    location.push_str(&checksum);
    let mut answer = Answer::redirect(location);
    answer.server = Some(server.clone());
    answer
}

/// A join whose signature did not hold: BBB redirects here too, but only our own page is a safe target.
pub fn refused(config: &Config, answer: Answer) -> Answer {
    let error = ApiError::checksum();
    if answer.result != error.key {
        return answer;
    }
    match bbb::error_redirect(&own_page(config), &[(error.key.as_ref(), error.message.as_ref())]) {
        Some(location) => Answer::redirect(location).failed_with(&error.key, error.blame),
        None => answer,
    }
}

fn own_page(config: &Config) -> String {
    let own = || format!("{}/", config.listen.public_base());
    config.api.logout_url.as_ref().map_or_else(own, |configured| configured.to_string())
}

/// BBB's failure: a redirect that carries the error.
fn failed(caller: &Caller<'_>, error: &ApiError) -> Answer {
    let named = |name: &str| caller.params.get(name).filter(|target| !target.is_empty());
    let own = own_page(&caller.config);
    let errors = [(error.key.as_ref(), error.message.as_ref())];
    let location = [named("errorRedirectUrl"), named("logoutURL"), Some(own.as_str())]
        .into_iter()
        .flatten()
        .find_map(|target| bbb::error_redirect(target, &errors));
    match location {
        Some(location) => Answer::redirect(location).failed_with(&error.key, error.blame),
        None => Answer::error(error),
    }
}

/// A program that joins, and wants no redirect.
pub fn wants_xml(caller: &Caller<'_>) -> bool {
    caller.params.get("redirect").is_some_and(|value| value.eq_ignore_ascii_case("false"))
}
