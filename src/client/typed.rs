//! The calls Usher makes for itself: version, getMeetings, getMeetingInfo, end.
//!
//! An HTTP status other than 200 or a body that is not BBB's XML is a failure of the server, whatever it says.

use std::time::Duration;

use http::StatusCode;

use super::{Answer, BbbClient, Body, CallError};
use crate::bbb::{self, Meeting, MeetingList, Params, Reply, Version};
use crate::ids::{BbbMeetingId, Secret};
use crate::store::ServerRecord;

impl BbbClient {
    /// What the server says about itself; needs no secret.
    pub async fn version(&self, server: &ServerRecord, limit: Duration) -> Result<Version, CallError> {
        let answer = ok(self.index(server, limit).await?)?;
        Ok(bbb::read_version(&answer.body)?)
    }

    /// All meetings of the server.
    pub async fn meetings(&self, server: &ServerRecord, limit: Duration) -> Result<MeetingList, CallError> {
        let answer = ok(self.poll(server, "getMeetings", limit).await?)?;
        Ok(bbb::read_meetings(&answer.body)?)
    }

    /// One meeting by its external or whole internal id, `None` if the server does not know it.
    pub async fn meeting(
        &self,
        server: &ServerRecord,
        meeting: &BbbMeetingId,
        limit: Duration,
    ) -> Result<Option<Meeting>, CallError> {
        let query = meeting_query(meeting, None);
        let answer = ok(self.call(server, "getMeetingInfo", &query, Body::None, limit).await?)?;
        let found = bbb::read_meeting_info(&answer.body)?;
        // BBB 2.4 and later also resolve prefixes of internal ids (bbb-api.md section 3.5).
        Ok(found.filter(|found| found.meeting_id == *meeting || found.internal_id.as_str() == meeting.as_str()))
    }

    /// Ends a meeting; the reply says whether the server agreed.
    pub async fn end(
        &self,
        server: &ServerRecord,
        meeting: &BbbMeetingId,
        moderator_pw: Option<&Secret>,
        limit: Duration,
    ) -> Result<Reply, CallError> {
        let query = meeting_query(meeting, moderator_pw);
        let answer = ok(self.call(server, "end", &query, Body::None, limit).await?)?;
        Ok(bbb::read_reply(&answer.body)?)
    }
}

fn meeting_query(meeting: &BbbMeetingId, password: Option<&Secret>) -> String {
    let mut params = Params::default();
    params.set("meetingID", meeting.as_str());
    if let Some(password) = password {
        params.set("password", password.reveal());
    }
    params.to_query()
}

/// Refuses everything but HTTP 200.
pub fn ok(answer: Answer) -> Result<Answer, CallError> {
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    Err(CallError::Status(answer.status.as_u16()))
}
