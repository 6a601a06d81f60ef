//! What a signed call may have: its tenant's rate, a place among the calls to all servers, and a join link's uses.

use tokio::sync::OwnedSemaphorePermit;

use super::{Caller, join};
use crate::bbb::Call;
use crate::config::GetMeetings;
use crate::limit::{Reason, Refusal};
use crate::proxy::access::Facts;
use crate::proxy::answer::Answer;
use crate::proxy::limit;

/// Share of the time for a call that it may wait for a place.
const WAIT_SHARE: f64 = 0.5;

/// Lets the call in, with what it holds until it is answered; otherwise the answer.
pub async fn admit(caller: &Caller<'_>, facts: &mut Facts) -> Result<Option<[OwnedSemaphorePermit; 2]>, Answer> {
    let limiter = &caller.shared.limiter;
    let client = caller.request.client;
    let tenant = &caller.tenant;
    let now = caller.at;
    let mut admitted = limiter.tenant(tenant.id(), tenant.record.max_requests, &caller.config, now);
    if admitted.is_ok() && caller.call == Call::Join {
        admitted = limiter.join(client, &caller.checksum, &caller.config, now);
    }
    let places = match admitted {
        Err(refusal) => Err(refusal),
        Ok(()) if asks_all_servers(caller) => {
            limiter.fanout(tenant.id(), &caller.config, caller.left().mul_f64(WAIT_SHARE)).await.map(Some)
        }
        Ok(()) => Ok(None),
    };
    places.map_err(|refusal| {
        facts.flooding = refusal.reason == Reason::SameJoin;
        refuse(caller, refusal)
    })
}

/// Counts the refusal and makes it an answer.
pub fn refuse(caller: &Caller<'_>, refusal: Refusal) -> Answer {
    let tenant = caller.tenant.name();
    caller.shared.limiter.tell(refusal.reason, caller.request.client, Some(tenant));
    if refusal.reason != Reason::SameJoin {
        caller.shared.metrics.tenant_limit_hits.with_label_values(&[tenant]).inc();
    }
    let form = match caller.call {
        Call::Join if join::wants_xml(caller) => limit::Form::Xml,
        call => limit::Form::of(call),
    };
    limit::answer(refusal, form)
}

fn asks_all_servers(caller: &Caller<'_>) -> bool {
    match caller.call {
        Call::GetMeetings => caller.config.api.get_meetings == GetMeetings::Fanout,
        Call::GetSessions
        | Call::GetRecordings
        | Call::PublishRecordings
        | Call::DeleteRecordings
        | Call::UpdateRecordings
        | Call::GetRecordingTextTracks
        | Call::PutRecordingTextTrack => true,
        _ => false,
    }
}
