//! One call to the server that has a meeting, and its answer made fit for the tenant.
//!
//! A server's own failure (no answer, no XML, our signature refused) never reaches the caller as it is: the caller
//! would look for the fault at home. Nor does a caller's request that a server cannot digest reach the server's health:
//! the monitor tells one from the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Caller;
use crate::bbb::{self, Call, Params, Reply, Rewrite};
use crate::client::{self, Body, CallError};
use crate::error::{ApiError, Blame};
use crate::ids::{BbbMeetingId, MeetingId};
use crate::proxy::answer::Answer;
use crate::store::ServerRecord;
use crate::tenant::HIDDEN_META_PREFIX;

/// Where a meeting lives, breakout rooms included.
pub struct Target {
    pub server: Arc<ServerRecord>,
    pub bbb_id: BbbMeetingId,
    /// What to call it towards the server.
    pub called: BbbMeetingId,
    pub meeting: MeetingId,
}

impl Caller<'_> {
    /// Calls the meeting's server with the caller's parameters. The answer is BBB's own; `Err` means that the server
    /// gave none that could be used.
    pub async fn forward(&self, target: &Target, body: Body) -> Result<(Reply, Answer), ApiError> {
        let (reply, body, took) = self.ask_server(target, body).await?;
        self.pass_on(target, reply, body, took)
    }

    /// The first half of `forward`: the answer as the server gave it.
    pub async fn ask_server(&self, target: &Target, body: Body) -> Result<(Reply, Bytes, Duration), ApiError> {
        let mut params = self.params.clone();
        params.ensure("meetingID", target.called.as_str());
        self.call_server(&target.server, &params, body).await
    }

    /// The second half: made fit for the tenant.
    pub fn pass_on(
        &self,
        target: &Target,
        reply: Reply,
        body: Bytes,
        took: Duration,
    ) -> Result<(Reply, Answer), ApiError> {
        let mut answer = Answer::xml(self.for_tenant(body, &target.bbb_id, &target.meeting)?);
        answer = answer.from_server(&target.server, took);
        if !reply.success {
            answer = answer.failed_with(&reply.key, Blame::Client);
        }
        Ok((reply, answer))
    }

    /// One signed call; the monitor hears how it went, unless that speaks of the caller's request alone.
    pub async fn call_server(
        &self,
        server: &Arc<ServerRecord>,
        params: &Params,
        body: Body,
    ) -> Result<(Reply, Bytes, Duration), ApiError> {
        let placer = &self.shared.placer;
        let started = Instant::now();
        let made = placer.monitor.calling(server.id, self.call);
        let carries_document = matches!(body, Body::Stream(..));
        let call = placer.client.call(server, self.call.name(), &params.to_query(), body, self.left()).await;
        let usable = call.and_then(client::ok).and_then(|answer| {
            let (reply, body) = match self.call {
                Call::GetMeetingInfo => bbb::repair_meeting_info(answer.body)?,
                _ => (bbb::read_reply(&answer.body)?, answer.body),
            };
            // An error of its own may be about the document.
            let is_about_document = carries_document && reply.key == "internalError";
            match reply.blames_server() && !is_about_document {
                true => Err(CallError::Refused(reply.key)),
                false => Ok((reply, body)),
            }
        });
        match usable {
            Ok((reply, body)) => {
                placer.monitor.call_worked(made);
                Ok((reply, body, started.elapsed()))
            }
            Err(error) => {
                if let Some(callers_fault) = self.callers_fault(&error) {
                    return Err(callers_fault);
                }
                let is_servers = placer.monitor.call_failed(made, &error);
                log::info!(request_id = self.request.id.as_str(), server = server.name.as_str(), call = self.call.name(),
                    reason:% = error; "call to a server failed");
                Err(if is_servers { no_answer() } else { cannot_do_it(&error) })
            }
        }
    }

    /// What the caller asked for that no sound server of that version would answer: calls that are newer than the server
    /// are not there.
    fn callers_fault(&self, error: &CallError) -> Option<ApiError> {
        let may_be_missing = matches!(self.call, Call::InsertDocument | Call::SendChatMessage);
        match error {
            error if error.refuses_request() => {
                Some(ApiError::too_large("The BigBlueButton server does not take a request of this size."))
            }
            CallError::Status(404 | 405) if may_be_missing => Some(ApiError::unsupported()),
            _ => None,
        }
    }

    /// A BBB document as this tenant may see it: its own meeting id, none of our metadata.
    pub fn for_tenant(&self, body: Bytes, bbb_id: &BbbMeetingId, meeting: &MeetingId) -> Result<Bytes, ApiError> {
        if self.tenant.record.scope.is_none() {
            return Ok(body);
        }
        let rules =
            Rewrite { meeting_id: Some((bbb_id.as_str(), meeting.as_str())), hide_meta_prefix: HIDDEN_META_PREFIX };
        bbb::rewrite(&body, &rules).map(Bytes::from).map_err(|_| no_answer())
    }
}

/// The server of the meeting is there no more, or talks nonsense.
pub fn no_answer() -> ApiError {
    ApiError::server("internalError", "The server of this meeting does not answer. Try again in a moment.")
}

/// The server answered, but did not do it; whether because of what was asked, nobody can say.
fn cannot_do_it(error: &CallError) -> ApiError {
    let how = match error {
        CallError::Status(status) => format!("with HTTP status {status}"),
        CallError::Silent(_) => return no_answer(),
        CallError::Refused(_) => "with a refusal".to_owned(),
        _ => "with nothing that can be read".to_owned(),
    };
    ApiError::server("internalError", format!("The BigBlueButton server answered this call {how}."))
}
