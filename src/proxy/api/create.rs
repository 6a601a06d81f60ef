//! `create`: parameters made final, then handed to placement.
//!
//! A form POST goes on as GET with everything in the query, which every BBB version takes, unless that is too long for the
//! server's nginx; slides in the body stay in the body (bbb-api.md sections 2.4 and 4).

use bytes::Bytes;

use super::Caller;
use crate::bbb::{self, Params, TagWish};
use crate::error::{ApiError, Blame};
use crate::ids::{InternalId, MeetingId, MeetingKey};
use crate::placement::{CreateOrder, MeetingView, Wish};
use crate::proxy::answer::Answer;
use crate::proxy::body::{Held, Inbound};
use crate::store::ParamCall;

/// XML up to this size is checked on the spot, bytes.
const READ_AT_ONCE: usize = 64 * 1024;

pub async fn create(caller: &Caller<'_>, inbound: &mut Inbound<'_>) -> Result<Answer, ApiError> {
    let key = caller.meeting_key()?;
    let Ok(place) = caller.shared.creates.clone().try_acquire_owned() else { return Ok(Answer::overloaded()) };
    let share = match caller.shared.limiter.create(caller.tenant.id(), &caller.config) {
        Ok(share) => share,
        Err(refusal) => return Ok(super::limits::refuse(caller, refusal)),
    };
    let slides = match read_slides(caller, inbound).await {
        Ok(slides) => slides,
        Err(answer) => return Ok(answer),
    };
    let mut params = caller.params.clone();
    caller.tenant.apply_rules(ParamCall::Create, &mut params);
    let mut wish = wish(caller, &key, &params);
    let bbb_id = wish.bbb_id.clone();
    params.ensure("meetingID", bbb_id.as_str());
    if let Some((name, value)) = caller.tenant.scope_parameter(&key.meeting) {
        params.set(&name, &value);
    }
    if let Some(parent) = parent_of_breakout(caller, &params)? {
        params.ensure("parentMeetingID", parent.called.as_str());
        wish.pinned = Some(parent.server);
    }
    let mut lent = vec![place, share];
    let body = slides.map(|slides| {
        lent.push(slides.share);
        // The bare media type: some releases refuse a charset parameter (bbb-api.md section 4.1).
        ("application/xml", slides.bytes)
    });
    let order = CreateOrder { wish, params, body, is_form: caller.form.is_some(), deadline: caller.deadline(), lent };
    let created = caller.shared.placer.create(order).await?;
    let body = caller.for_tenant(created.body, &bbb_id, &key.meeting)?;
    let answer = Answer::xml(body).no_cache().from_server(&created.server, created.upstream);
    Ok(if created.success { answer } else { answer.failed_with(&created.key, Blame::Client) })
}

/// XML modules; kept in memory, because another server may need them too.
async fn read_slides(caller: &Caller<'_>, inbound: &mut Inbound<'_>) -> Result<Option<Held>, Answer> {
    if caller.form.is_some() || super::is_read(caller.request.method) || !caller.request.has_body() {
        return Ok(None);
    }
    if caller.request.media_type == "multipart/form-data" {
        let error = ApiError::client("unsupportedContentType", "Send slides as application/xml.");
        return Err(Answer::error(&error));
    }
    let held = inbound.whole(caller.config.api.max_slides).await.map_err(Answer::body_failure)?;
    if held.bytes.is_empty() {
        return Ok(None);
    }
    if !is_well_formed(held.bytes.clone()).await {
        // BBB would make the meeting and then fail on its slides, and look like a broken server.
        return Err(Answer::error(&ApiError::client(
            "validationError",
            "The XML in the request body is not well-formed.",
        )));
    }
    Ok(Some(held))
}

/// Tens of megabytes take a while to read, which must not hold up other requests of this thread.
async fn is_well_formed(body: Bytes) -> bool {
    if body.len() <= READ_AT_ONCE {
        return bbb::is_well_formed(&body);
    }
    tokio::task::spawn_blocking(move || bbb::is_well_formed(&body)).await.unwrap_or(false)
}

fn wish(caller: &Caller<'_>, key: &MeetingKey, params: &Params) -> Wish {
    let number = |name: &str| params.get(name).and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
    let truth = |name: &str| params.get(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let tenant = &caller.tenant.record;
    Wish {
        key: key.clone(),
        bbb_id: caller.tenant.bbb_id(&key.meeting),
        tags: TagWish::parse(params.get("meta_server-tag").unwrap_or_default()),
        region: tenant.region.clone(),
        pool: tenant.pool.clone(),
        size_hint: number("meta_expected-participants").or_else(|| number("meta_size-hint")),
        max_participants: number("maxParticipants"),
        recorded: truth("record"),
        webcams_only_for_moderator: truth("webcamsOnlyForModerator"),
        limits: caller.tenant.limits(),
        exclude: Vec::new(),
        pinned: None,
        when_full: caller.config.api.when_full,
    }
}

/// A front end may make breakout rooms itself; they belong on their parent's server. A parent that is not the caller's
/// own must not reach a server, which would find it whoever it belongs to.
fn parent_of_breakout(caller: &Caller<'_>, params: &Params) -> Result<Option<MeetingView>, ApiError> {
    if !params.get("isBreakout").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let Some(parent) = params.get("parentMeetingID").filter(|id| !id.is_empty()) else { return Ok(None) };
    let ledger = &caller.shared.placer.ledger;
    let own = |key: &MeetingKey| key.tenant == caller.tenant.id();
    let by_id = MeetingKey { tenant: caller.tenant.id(), meeting: MeetingId::new(parent) };
    let by_internal = || ledger.find_internal(&InternalId::new(parent)).filter(own);
    let found = ledger.find(&by_id).or_else(|| ledger.find(&by_internal()?));
    found
        .map(Some)
        .ok_or_else(|| ApiError::client("parentMeetingDoesNotExist", "No parent meeting exists for the breakout room."))
}
