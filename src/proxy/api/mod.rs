//! The BBB API: who calls, whether the signature holds, and which file answers the call.
//!
//! The order is BBB's own since 2.4: the checksum before every other complaint (bbb-api.md section 2.7), so that a
//! stranger learns nothing. Every answer is BBB's form, whatever went wrong.

mod create;
mod documents;
mod forward;
mod join;
mod last_words;
mod limits;
mod meetings;
mod recordings;
mod verify;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::access::Facts;
use super::answer::{Answer, JSON, XML};
use super::body::{Held, Inbound};
use super::request::Request;
use crate::bbb::{self, Call, Method, Params};
use crate::clock::Millis;
use crate::config::Config;
use crate::error::ApiError;
use crate::ids::{MeetingId, MeetingKey};
use crate::tenant::Tenant;

/// How old the oldest part of an answer from memory is, in milliseconds.
const AGE_HEADER: &str = "X-Usher-Age-Ms";
/// Says how many servers did not answer, whose part of the list is what they said last.
const INCOMPLETE_HEADER: &str = "X-Usher-Incomplete";

/// A verified call.
struct Caller<'a> {
    shared: &'a Shared,
    config: Arc<Config>,
    request: &'a Request<'a>,
    call: Call,
    tenant: Arc<Tenant>,
    /// All parameters of query and form, without the checksum.
    params: Params,
    checksum: Cow<'a, [u8]>,
    /// What is left of the body: unread for documents, read and empty for forms.
    form: Option<Held>,
    now: Millis,
    /// When it was called.
    at: Instant,
}

impl Caller<'_> {
    /// The meeting the call is about; missing or malformed is the caller's error (bbb-api.md section 3.2).
    fn meeting_key(&self) -> Result<MeetingKey, ApiError> {
        let Some(id) = self.params.get("meetingID").filter(|id| !id.is_empty()) else {
            return Err(ApiError::missing_meeting_id());
        };
        let length = id.chars().count();
        if !(2..=256).contains(&length) || id.contains(',') {
            return Err(ApiError::client(
                "validationError",
                "Meeting ID must be between 2 and 256 characters and must not contain a comma",
            ));
        }
        Ok(MeetingKey { tenant: self.tenant.id(), meeting: MeetingId::new(id) })
    }

    /// When the caller is answered at the latest.
    fn deadline(&self) -> Instant {
        self.at + self.config.api.request_timeout
    }

    fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }
}

/// What the path says, and the settings that hold for this request from beginning to end.
pub struct Called<'a> {
    pub tenant: Option<&'a str>,
    pub segment: &'a str,
    pub config: &'a Arc<Config>,
    pub at: Instant,
}

/// Answers a request to the API of the tenant named by path or host.
pub async fn answer(
    shared: &Shared,
    request: &Request<'_>,
    called: Called<'_>,
    inbound: &mut Inbound<'_>,
    facts: &mut Facts,
) -> Answer {
    let config = called.config;
    let call = Call::from_segment(called.segment);
    facts.call = Some(call);
    let tenants = shared.placer.tenants.load();
    let tenant = tenants.resolve(called.tenant, &request.host);
    facts.tenant = tenant.cloned();
    if call == Call::Index {
        return index(request);
    }
    if let Some(answer) = refuse_outright(call, request) {
        return answer;
    }
    let verified = match tenant {
        Some(tenant) => verify::verify(shared, &called, request, call, tenant, inbound).await,
        // An unknown tenant must look like a wrong secret.
        None => Err(Answer::error(&ApiError::checksum())),
    };
    let mut caller = match verified {
        Ok(caller) => caller,
        Err(answer) if call == Call::Join => return join::refused(config, answer),
        Err(answer) => return answer,
    };
    facts.signed = true;
    let _places = match limits::admit(&caller, facts).await {
        Ok(places) => places,
        Err(refused) => return refused,
    };
    // Another process may have made or ended something just now. Calls about one meeting ask when they do not find it.
    if matches!(call, Call::GetMeetings | Call::GetSessions) {
        shared.placer.catch_up().await;
    }
    let mut answer = match call {
        Call::Join => join::join(&mut caller).await,
        _ => match dispatch(&caller, inbound).await {
            Ok(answer) => answer,
            Err(error) if answers_in_json(call) => Answer::json_error(&error),
            Err(error) => Answer::error(&error),
        },
    };
    if answer.blame.is_some() {
        name_meeting(&caller, &mut answer, facts);
    }
    answer
}

/// For the log of a call that failed: which meeting it was about, and where that is.
fn name_meeting(caller: &Caller<'_>, answer: &mut Answer, facts: &mut Facts) {
    let Ok(key) = caller.meeting_key() else { return };
    if answer.server.is_none() {
        answer.server = caller.shared.placer.ledger.find(&key).map(|view| view.record);
    }
    facts.meeting = Some(key.meeting.as_str().to_owned());
}

async fn dispatch(caller: &Caller<'_>, inbound: &mut Inbound<'_>) -> Result<Answer, ApiError> {
    match caller.call {
        Call::Create => create::create(caller, inbound).await,
        Call::End => meetings::end(caller).await,
        Call::IsMeetingRunning => meetings::is_meeting_running(caller).await,
        Call::GetMeetingInfo => meetings::get_meeting_info(caller).await,
        Call::GetMeetings => meetings::get_meetings(caller).await,
        Call::GetSessions => meetings::get_sessions(caller).await,
        Call::InsertDocument => documents::insert_document(caller, inbound).await,
        Call::SendChatMessage => documents::send_chat_message(caller).await,
        Call::GetRecordings => recordings::get(caller).await,
        Call::PublishRecordings => recordings::publish(caller).await,
        Call::DeleteRecordings => recordings::delete(caller).await,
        Call::UpdateRecordings => recordings::update(caller).await,
        Call::GetRecordingTextTracks => recordings::text_tracks(caller).await,
        Call::PutRecordingTextTrack => recordings::put_text_track(caller, inbound).await,
        Call::Index | Call::Join | Call::SessionBound(_) | Call::Removed(_) | Call::Hooks | Call::Unknown => {
            Err(ApiError::unsupported())
        }
    }
}

/// The version document; needs no checksum, and ignores one.
fn index(request: &Request<'_>) -> Answer {
    let answer = if request.media_type == "application/json" {
        Answer::new(200, JSON, bbb::version_json())
    } else {
        Answer::new(200, XML, bbb::version_xml())
    };
    answer.no_cache()
}

/// Calls that are refused without looking at a signature.
fn refuse_outright(call: Call, request: &Request<'_>) -> Option<Answer> {
    match call {
        Call::SessionBound(session_call) => {
            let error = ApiError::client(
                "sessionCall",
                "This call belongs to the session of a user and is answered by the BigBlueButton server that the user \
                 has joined; call it there.",
            );
            Some(if session_call.answers_in_json() { Answer::json_error(&error) } else { Answer::error(&error) })
        }
        Call::Removed(_) | Call::Hooks | Call::Unknown => Some(Answer::error(&ApiError::unsupported())),
        _ if !call.allows(request.method) => Some(Answer::error(&ApiError::unsupported())),
        _ => None,
    }
}

pub(super) fn answers_in_json(call: Call) -> bool {
    matches!(call, Call::GetRecordingTextTracks | Call::PutRecordingTextTrack)
}

/// Content types allowed with a body (bbb-api.md section 4.1).
fn allows_media_type(call: Call, media_type: &str) -> bool {
    let form = matches!(media_type, "application/x-www-form-urlencoded" | "multipart/form-data");
    let xml = matches!(media_type, "application/xml" | "text/xml");
    match call {
        Call::Create => form || xml,
        Call::InsertDocument => xml,
        Call::PutRecordingTextTrack => media_type == "multipart/form-data",
        _ => form,
    }
}

fn is_read(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head)
}
