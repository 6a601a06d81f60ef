//! Whose request this is: BBB's `checkAuthorization` and `checkGraphqlAuthorization` (bbb-http-surface.md 1.1, 2.1).
//!
//! Both want the session token *and* the cookie of the HTTP session that holds it; they differ in where the token
//! stands. A token alone or a cookie alone is nobody.

use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::meetings::SimMeeting;
use super::super::server::Shared;
use super::super::world::{Session, World};

/// Where a request carries its session token.
#[derive(Clone, Copy)]
pub(in crate::sim) enum Carrier {
    /// `checkAuthorization`: the query of the original URI.
    Query,
    /// `checkGraphqlAuthorization`: the header `X-Session-Token`.
    Header,
}

/// The session behind a request, with its meeting.
pub(in crate::sim) fn with_session<T>(
    shared: &Shared,
    call: &Call,
    carrier: Carrier,
    use_it: impl FnOnce(&Session, &SimMeeting) -> T,
) -> Option<T> {
    let token = match carrier {
        Carrier::Query => call.query_value("sessionToken")?,
        Carrier::Header => call.session_header.clone()?,
    };
    with_token(shared, &token, &call.cookies, use_it)
}

/// The same for a token that came another way, such as in the first message of a socket.
pub(super) fn with_token<T>(
    shared: &Shared,
    token: &str,
    cookies: &[String],
    use_it: impl FnOnce(&Session, &SimMeeting) -> T,
) -> Option<T> {
    let world = shared.world.lock();
    let session = world.sessions.get(token)?;
    let meeting = world.meetings.iter().find(|meeting| meeting.internal_id == session.internal_meeting_id)?;
    let is_cookie_needless = shared.options.allow_requests_without_session || meeting.allow_requests_without_session;
    let is_allowed = is_cookie_needless || world.http_session(cookies) == Some(&session.http_session);
    is_allowed.then(|| use_it(session, meeting))
}

/// Whose socket or page this is, as nginx learns it from `checkAuthorization`.
pub(super) fn by_query(shared: &Shared, call: &Call) -> Option<Session> {
    with_session(shared, call, Carrier::Query, |session, _| session.clone())
}

/// Whether the browser has a session of that meeting, whatever its token.
pub(super) fn is_of_meeting(shared: &Shared, call: &Call, internal_meeting_id: &str) -> bool {
    let world = shared.world.lock();
    let Some(meeting) = world.meetings.iter().find(|meeting| meeting.internal_id == internal_meeting_id) else {
        return false;
    };
    let http_session = world.http_session(&call.cookies);
    let is_held = |world: &World| {
        let of_meeting = world.sessions.values().filter(|session| session.internal_meeting_id == internal_meeting_id);
        of_meeting.into_iter().any(|session| Some(&session.http_session) == http_session)
    };
    shared.options.allow_requests_without_session || meeting.allow_requests_without_session || is_held(&world)
}

/// What nginx says when the sub-request refuses.
pub(super) fn unauthorized() -> Answer {
    Answer::status_page(StatusCode::UNAUTHORIZED)
}
