//! `join`: answered from memory with a redirect to the meeting's server, signed anew.
//!
//! The browser itself must reach the server's `join`, because the session cookie is set there (bbb-api.md 3.6); so
//! nothing is forwarded. The person is counted at once. Errors redirect as BBB's do: to `errorRedirectUrl`, else
//! `logoutURL`, else our own page; never to a target taken from a request whose signature did not hold.

use std::sync::Arc;

use super::Caller;
use crate::bbb;
use crate::config::{Config, EdgeMode};
use crate::error::{ApiError, Blame};
use crate::placement::JoinRefusal;
use crate::proxy::answer::Answer;
use crate::proxy::pages;
use crate::store::{ParamCall, ServerRecord};

/// What follows the signed part at most.
const CHECKSUM_ROOM: usize = "&checksum=".len() + 128;

pub fn join(mut caller: Caller<'_>) -> Answer {
    let key = match caller.meeting_key() {
        Ok(key) => key,
        Err(error) => return failed(&caller, &error),
    };
    if caller.params.get("fullName").is_none_or(str::is_empty) {
        return failed(&caller, &ApiError::client("missingParamFullName", "You must specify a name for the attendee."));
    }
    let ledger = &caller.shared.placer.ledger;
    match ledger.admit_join(&key, &caller.tenant.limits(), caller.now) {
        Ok(ticket) => redirect(&mut caller, &ticket.record, ticket.called.as_str()),
        Err(JoinRefusal::Unknown) => match ledger.find_breakout(key.tenant, key.meeting.as_str()) {
            Some(breakout) => redirect(&mut caller, &breakout.record, breakout.bbb_id.as_str()),
            None => failed(
                &caller,
                &ApiError::client(
                    "invalidMeetingIdentifier",
                    "The meeting ID that you supplied did not match any existing meetings",
                ),
            ),
        },
        Err(JoinRefusal::TenantPeople { limit }) => {
            caller.shared.metrics.tenant_limit_hits.with_label_values(&[caller.tenant.name()]).inc();
            let text = format!("The limit of {limit} people is reached.");
            failed(&caller, &ApiError::client("participantLimitReached", text))
        }
        Err(JoinRefusal::ServerDown { .. }) => {
            let error = ApiError::server("serverUnavailable", "The server of this meeting does not answer.");
            if wants_xml(&caller) {
                return Answer::error(&error);
            }
            pages::waiting().failed_with("serverUnavailable", Blame::Server)
        }
        Err(JoinRefusal::ServerDisabled) => {
            failed(&caller, &ApiError::client("serverUnavailable", "The server of this meeting is disabled."))
        }
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
