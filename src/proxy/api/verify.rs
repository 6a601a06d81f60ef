//! The signature of a call, over the raw bytes that were received (bbb-api.md section 2).
//!
//! With a query the query is what is signed. A form POST without a query is signed over its sorted and re-encoded
//! parameters (BBB 2.4 to 2.6); the later rule, which leaves the form unsigned, is accepted only if the operator says
//! so, because whoever learns one such checksum can send any parameters with it. For the same reason a form beside a
//! signed query is refused unless that setting is on.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Called, Caller, allows_media_type, is_read};
use crate::bbb::{self, Call, Params};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::ApiError;
use crate::proxy::Shared;
use crate::proxy::answer::Answer;
use crate::proxy::body::{Held, Inbound};
use crate::proxy::request::Request;
use crate::tenant::Tenant;

const FORM: &str = "application/x-www-form-urlencoded";

pub async fn verify<'a>(
    shared: &'a Shared,
    called: &Called<'_>,
    request: &'a Request<'a>,
    call: Call,
    tenant: &Arc<Tenant>,
    inbound: &mut Inbound<'_>,
) -> Result<Caller<'a>, Answer> {
    let config = called.config.clone();
    let now = shared.placer.clock.now();
    if request.query.len() > config.api.max_query {
        let error = ApiError::too_large("The query is too long.");
        return Err(Answer { status: 414, ..Answer::error(&error) });
    }
    let form = read_form(shared, &config, request, inbound).await?;
    let stripped = bbb::strip_checksum(request.query);
    let form_bytes = form.as_ref().map_or(&b""[..], |form| &form.bytes);
    let body_params = Params::parse(form_bytes, config.api.max_params).map_err(|_| too_many())?;
    let given = stripped.checksum.unwrap_or_else(|| {
        let in_form = bbb::first_value(form_bytes, "checksum");
        Cow::Owned(in_form.unwrap_or_default().into_owned().into_bytes())
    });
    let holds = |signed: &[u8]| {
        let allowed = &config.api.checksum_algorithms;
        // The operator named the moment at which a secret retires, by the time of day.
        let secrets = tenant.secrets(|| SystemClock.now());
        !given.is_empty() && bbb::verify(call.name(), signed, &given, secrets, allowed)
    };
    let unsigned_forms = config.api.unsigned_form_bodies;
    let has_form = !body_params.is_empty();
    let signed = if stripped.rest.is_empty() && has_form {
        holds(&bbb::form_signature_base(&body_params)) || (unsigned_forms && holds(b""))
    } else {
        (!has_form || unsigned_forms) && holds(&stripped.rest)
    };
    if !signed {
        return Err(Answer::error(&ApiError::checksum()));
    }
    if request.has_body() && !is_read(request.method) && !allows_media_type(call, &request.media_type) {
        let error = ApiError::client("unsupportedContentType", "POST request Content-Type is missing or unsupported");
        return Err(Answer::error(&error));
    }
    let mut params = Params::parse(&stripped.rest, config.api.max_params).map_err(|_| too_many())?;
    params.append_form(form_bytes, config.api.max_params).map_err(|_| too_many())?;
    let tenant = tenant.clone();
    Ok(Caller { shared, config, request, call, tenant, params, checksum: given, form, now, at: called.at })
}

/// A form is part of what may be signed, so it is read before the signature is looked at, within its own bound.
async fn read_form(
    shared: &Shared,
    config: &Config,
    request: &Request<'_>,
    inbound: &mut Inbound<'_>,
) -> Result<Option<Held>, Answer> {
    if is_read(request.method) || !request.has_body() || request.media_type != FORM {
        return Ok(None);
    }
    let room = |kib| {
        let room = shared.limiter.form(request.client, kib, config);
        room.map_err(|refusal| shared.limiter.tell(refusal.reason, request.client, None)).ok()
    };
    inbound.whole_unsigned(config.api.max_body, room).await.map(Some).map_err(Answer::body_failure)
}

fn too_many() -> Answer {
    Answer::error(&ApiError::too_large("The request has too many parameters."))
}
