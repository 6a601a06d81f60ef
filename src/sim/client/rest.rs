//! Facts the client fetches before it opens a socket: `/api/rest/…` (bbb-http-surface.md sections 1.2, 2.3, 2.4).
//!
//! Every address in them is absolute and built from the configured base, never from the request: a proxy that changes
//! the `Host` cannot change them.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::server::Shared;
use super::SimClient;
use super::session::{Carrier, unauthorized, with_session};

/// `None` if nothing is at that path.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    let facts = match call.path.as_str() {
        "/api/rest/meetingStaticData" => static_facts as fn(&Shared, &Call) -> Option<Value>,
        "/api/rest/userMetadata" => user_metadata,
        _ => return None,
    };
    let client = shared.client();
    if call.method == Method::OPTIONS {
        // A preflight carries no session, so it needs none.
        let answer = Answer::empty(StatusCode::NO_CONTENT)
            .with("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,OPTIONS")
            .with("Access-Control-Allow-Headers", "content-type, x-session-token")
            .with("Access-Control-Max-Age", "1728000");
        return Some(with_cors(answer, call, &client));
    }
    if call.method != Method::GET {
        return Some(Answer::status_page(StatusCode::METHOD_NOT_ALLOWED));
    }
    let answer = facts(shared, call).map_or_else(unauthorized, |facts| Answer::json(&facts));
    Some(with_cors(answer, call, &client))
}

/// Allows the asking origin with credentials: the configured one, or any if none is configured.
fn with_cors(answer: Answer, call: &Call, client: &SimClient) -> Answer {
    let Some(origin) = call.header("origin") else { return answer };
    if client.cors_origin.as_deref().is_some_and(|allowed| allowed != origin) {
        return answer;
    }
    answer.with("Access-Control-Allow-Origin", origin).with("Access-Control-Allow-Credentials", "true")
}

fn static_facts(shared: &Shared, call: &Call) -> Option<Value> {
    let settings = settings(shared);
    with_session(shared, call, Carrier::Header, |_, meeting| {
        json!({"meeting": [{
            "meetingId": meeting.internal_id,
            "extId": meeting.meeting_id,
            "name": meeting.name,
            "presentationUploadExternalUrl": "",
            "logoutUrl": shared.origin(),
            "bannerText": shared.options.name,
            "clientSettings": {"clientSettingsJson": settings},
        }]})
    })
}

fn user_metadata(shared: &Shared, call: &Call) -> Option<Value> {
    with_session(shared, call, Carrier::Header, |session, meeting| {
        let attendee = meeting.attendees.iter().find(|attendee| attendee.internal_id == session.internal_user_id);
        let custom = attendee.map(|attendee| attendee.custom.as_slice()).unwrap_or_default();
        let rows: Vec<Value> = custom.iter().map(|(name, value)| json!({"parameter": name, "value": value})).collect();
        json!({"user_metadata": rows})
    })
}

/// The part of BBB's settings that holds addresses (section 3.3).
fn settings(shared: &Shared) -> Value {
    let client = shared.client();
    let base = shared.client_base();
    let sockets = base.replacen("http", "ws", 1);
    let host = base.split_once("://").map_or("", |(_, rest)| rest);
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({"public": {
        "app": {
            "bbbWebBase": format!("{base}/bigbluebutton"),
            "basename": format!("{}/html5client", client.mount.as_deref().unwrap_or_default()),
            "learningDashboardBase": format!("{base}/learning-analytics-dashboard"),
        },
        "media": {
            "stunTurnServersFetchAddress": format!("{base}/bigbluebutton/api/stuns"),
            "sip_ws_host": host,
            "livekit": {"url": format!("{sockets}/livekit")},
        },
        "kurento": {"wsUrl": format!("{sockets}/bbb-webrtc-sfu")},
        "presentation": {"uploadEndpoint": format!("{base}/bigbluebutton/presentation/upload")},
        "pads": {"url": format!("{base}/pad")},
        "notes": {"hocuspocusUrl": format!("{sockets}/hocuspocus/collaboration")},
        "stats": {"rttInterval": milliseconds(client.rtt_interval), "retryInterval": milliseconds(client.retry_interval)},
    }})
}
