//! Recording calls, answered by the servers that have the recordings.
//!
//! `getRecordings` asks every server and merges; a server that is silent has the part that it had when it last spoke, and
//! what nobody can know is a failure in words rather than a list that lacks it; the changing calls first find out which server has which record and
//! whether it is the caller's own, then go only there. Paging happens on the merged list: a server would slice its own
//! (bbb-api.md section 6.4). The central recording store will stand behind the same functions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use percent_encoding::percent_decode_str;

use super::Caller;
use super::forward::no_answer;
use super::last_words::{Asked, ask};
use crate::bbb::{self, Call, Page, Pagination, Params, Recording, Rewrite};
use crate::client::{self, Body, CallError};
use crate::error::{ApiError, Blame};
use crate::ids::MeetingId;
use crate::placement::{CallMade, ServerView};
use crate::pool::Health;
use crate::proxy::answer::{Answer, JSON};
use crate::proxy::body::Inbound;
use crate::store::ServerRecord;
use crate::tenant::{HIDDEN_META_PREFIX, drop_hidden_meta};

/// The recordings of one server that belong to the caller, each with the tenant's own meeting id.
struct Found {
    server: Arc<ServerRecord>,
    recordings: Vec<(Recording, MeetingId)>,
}

struct Search {
    found: Vec<Found>,
    /// Parts of servers that did not answer now, and of which nothing is known.
    unknown: usize,
    /// Parts that are what a silent server said last, and how old the oldest is.
    remembered: usize,
    age: Duration,
}

pub async fn get(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let started = Instant::now();
    let page = Page::from_params(&caller.params);
    let mut query = caller.params.clone();
    query.remove("offset");
    query.remove("limit");
    drop_hidden_meta(&mut query);
    let empty_filters = take_empty_filters(&mut query);
    scope_meeting_ids(caller, &mut query);
    let mut search = search(caller, &query).await;
    for found in &mut search.found {
        let is_meant = |recording: &Recording| empty_filters.iter().all(|key| recording.meta(key) == Some(""));
        found.recordings.retain(|(recording, _)| is_meant(recording));
    }
    if search.unknown > 0 && !has_all(&query, &search) {
        return Err(nothing_known());
    }
    let memory = (search.remembered, search.age);
    let lists = search.found.into_iter().map(|found| {
        found.recordings.into_iter().map(|(recording, own)| for_tenant(caller, recording, &own)).collect()
    });
    let merged = bbb::merge(lists.collect());
    let (shown, pagination) = match page {
        None => (merged, None),
        Some(Page { offset, limit }) => {
            let (shown, total) = bbb::page(merged, offset, limit);
            (shown, Some(Pagination { offset, limit, total }))
        }
    };
    let body = bbb::recordings(shown.iter().map(|recording| &recording.xml), pagination);
    let mut answer = Answer::xml(body);
    answer.upstream = Some(started.elapsed());
    Ok(super::last_words::marked(answer, memory))
}

pub async fn publish(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let records = record_ids(caller)?;
    let Some(publish) = caller.params.get("publish").filter(|value| !value.is_empty()) else {
        return Err(ApiError::client("missingParamPublish", "You must specify a publish value true or false."));
    };
    change(caller, &records).await?;
    // Read as leniently as BBB reads it.
    let published = ["true", "1", "y", "yes"].iter().any(|word| publish.eq_ignore_ascii_case(word));
    Ok(Answer::xml(bbb::published(published)))
}

pub async fn delete(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let records = record_ids(caller)?;
    change(caller, &records).await?;
    Ok(Answer::xml(bbb::deleted()))
}

pub async fn update(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let records = record_ids(caller)?;
    change(caller, &records).await?;
    Ok(Answer::xml(bbb::updated(true)))
}

/// JSON, from the server that has the recording; without a recordID BBB answers in XML (bbb-api.md section 3.9).
pub async fn text_tracks(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    if let Err(missing) = record_ids(caller) {
        return Ok(Answer::error(&missing));
    }
    let server = owner_of_single(caller).await?;
    let started = Instant::now();
    let placer = &caller.shared.placer;
    let query = caller.params.to_query();
    let made = placer.monitor.calling(server.id, caller.call);
    let answer = placer.client.call(&server, caller.call.name(), &query, Body::None, caller.left()).await;
    relay_json(caller, &server, made, answer, started)
}

pub async fn put_text_track(caller: &Caller<'_>, inbound: &mut Inbound<'_>) -> Result<Answer, ApiError> {
    record_ids(caller).map_err(|_| ApiError::client("paramError", "Missing param recordID."))?;
    let server = owner_of_single(caller).await?;
    let held = match inbound.whole(caller.config.api.max_slides).await {
        Ok(held) => held,
        Err(failure) => return Ok(Answer::body_failure(failure)),
    };
    let started = Instant::now();
    let length = Some(held.bytes.len() as u64);
    let body = Body::Stream(caller.request.content_type.to_owned(), length, held.bytes.clone().into());
    let placer = &caller.shared.placer;
    let made = placer.monitor.calling(server.id, caller.call);
    let answer = placer.client.call(&server, caller.call.name(), &caller.params.to_query(), body, caller.left()).await;
    relay_json(caller, &server, made, answer, started)
}

fn relay_json(
    caller: &Caller<'_>,
    server: &Arc<ServerRecord>,
    made: CallMade,
    answer: Result<client::Answer, CallError>,
    started: Instant,
) -> Result<Answer, ApiError> {
    match answer.and_then(client::ok) {
        Ok(answer) if answer.content_type.starts_with("application/json") => {
            Ok(Answer::new(200, JSON, answer.body).from_server(server, started.elapsed()))
        }
        Ok(_) => {
            let error = CallError::Unreadable("the answer is not JSON".to_owned());
            caller.shared.placer.monitor.call_failed(made, &error);
            Err(no_answer())
        }
        Err(error) if error.refuses_request() => {
            Err(ApiError::too_large("The BigBlueButton server does not take a request of this size."))
        }
        Err(error) => {
            caller.shared.placer.monitor.call_failed(made, &error);
            Err(no_answer())
        }
    }
}

/// The comma list in `recordID`; BBB decodes it once more (bbb-api.md section 2.5), which ids do not need.
fn record_ids(caller: &Caller<'_>) -> Result<Vec<String>, ApiError> {
    let ids = bbb::id_list(&caller.params, "recordID");
    if ids.is_empty() {
        return Err(ApiError::client("missingParamRecordID", "You must specify a recordID."));
    }
    Ok(ids)
}

/// Sends a changing call to each server that has some of the caller's `records`, with just those.
async fn change(caller: &Caller<'_>, records: &[String]) -> Result<(), ApiError> {
    let by_server = locate(caller, records).await?;
    let ledger = &caller.shared.placer.ledger;
    let is_down = |id| ledger.server(id).is_none_or(|view| view.health == Health::Down);
    if by_server.values().any(|(server, _)| is_down(server.id)) {
        return Err(no_answer()); // and nothing is done by halves
    }
    let calls = by_server.values().map(|(server, ids)| async move {
        let mut params = caller.params.clone();
        drop_hidden_meta(&mut params);
        params.set("recordID", &ids.join(","));
        // What it is saying meanwhile may be of before or after.
        caller.shared.said.forget(server.id);
        let outcome = caller.call_server(server, &params, Body::None).await;
        caller.shared.said.forget(server.id);
        outcome
    });
    for outcome in join_all(calls).await {
        let (reply, ..) = outcome?;
        if !reply.success {
            return Err(ApiError { key: reply.key.into(), message: reply.message.into(), blame: Blame::Client });
        }
    }
    Ok(())
}

/// Which server has which of the records, leaving out what is not the caller's.
async fn locate(
    caller: &Caller<'_>,
    records: &[String],
) -> Result<BTreeMap<String, (Arc<ServerRecord>, Vec<String>)>, ApiError> {
    let mut query = Params::default();
    // Changes compare ids in any case, this search does not (bbb-api.md section 6.4); BBB makes them in lower case.
    let mut spellings = records.join(",");
    let lower = spellings.to_lowercase();
    if lower != spellings {
        spellings = format!("{spellings},{lower}");
    }
    query.set("recordID", &spellings);
    query.set("state", "any");
    let search = search(caller, &query).await;
    let mut by_server: BTreeMap<String, (Arc<ServerRecord>, Vec<String>)> = BTreeMap::new();
    let mut unknown: Vec<&String> = records.iter().collect();
    for found in search.found {
        for (recording, _) in found.recordings {
            // The filter finds prefixes; a change is only for whole ids.
            if records.iter().any(|id| id.eq_ignore_ascii_case(recording.record_id.as_str())) {
                let entry =
                    by_server.entry(found.server.name.clone()).or_insert_with(|| (found.server.clone(), Vec::new()));
                entry.1.push(recording.record_id.as_str().to_owned());
                unknown.retain(|id| !id.eq_ignore_ascii_case(recording.record_id.as_str()));
            }
        }
    }
    // BBB skips what it does not know. What a silent server may have is not unknown.
    if !unknown.is_empty() && search.unknown > 0 {
        return Err(nothing_known());
    }
    if by_server.is_empty() {
        return Err(ApiError::client("notFound", "We could not find recordings"));
    }
    Ok(by_server)
}

async fn owner_of_single(caller: &Caller<'_>) -> Result<Arc<ServerRecord>, ApiError> {
    let records = record_ids(caller)?;
    let located = locate(caller, &records[..1]).await.map_err(|error| match error.key.as_ref() {
        "notFound" => ApiError::client("noRecordings", "No recording was found for that recording ID"),
        _ => error,
    })?;
    located.into_values().next().map(|(server, _)| server).ok_or_else(no_answer)
}

/// Every server's part, and of it what is the caller's.
async fn search(caller: &Caller<'_>, query: &Params) -> Search {
    let servers = caller.shared.placer.ledger.servers();
    let limit = caller.left().mul_f64(0.8).min(caller.config.api.recordings_timeout);
    let question = &query.to_query();
    let parts = join_all(servers.iter().map(|view| async move {
        let read = |body: &Bytes| Ok(bbb::read_recordings(body)?);
        match ask(caller, view, Call::GetRecordings, question, limit, read).await {
            Asked::Unknown => (view, narrowed(caller, view, query)),
            known => (view, known),
        }
    }))
    .await;
    let mut search = Search { found: Vec::new(), unknown: 0, remembered: 0, age: Duration::ZERO };
    for (view, part) in parts {
        let recordings = match part {
            Asked::Unknown => {
                search.unknown += 1;
                continue;
            }
            Asked::Now(recordings) => recordings,
            Asked::Before(recordings, age) => {
                search.remembered += 1;
                search.age = search.age.max(age);
                recordings
            }
        };
        let own = recordings.into_iter().filter_map(|recording| {
            let id = caller.tenant.own_id(recording.meeting_id.as_str(), &recording.metadata)?;
            Some((recording, id))
        });
        search.found.push(Found { server: view.record.clone(), recordings: own.collect() });
    }
    search
}

/// What is known of a silent server from a wider question: the same without ids. BBB takes ids of recordings for beginnings,
/// and then looks at no meeting ids (bbb-api.md section 6.4).
fn narrowed(caller: &Caller<'_>, view: &ServerView, query: &Params) -> Asked<Vec<Recording>> {
    let (records, meetings) = (bbb::id_list(query, "recordID"), bbb::id_list(query, "meetingID"));
    if records.is_empty() && meetings.is_empty() {
        return Asked::Unknown;
    }
    let mut wider = query.clone();
    wider.remove("recordID");
    wider.remove("meetingID");
    let said = super::last_words::last(caller, view.record.id, Call::GetRecordings, &wider.to_query());
    let Some((body, age)) = said else { return Asked::Unknown };
    let Ok(mut recordings) = bbb::read_recordings(&body) else { return Asked::Unknown };
    recordings.retain(|recording| match records.is_empty() {
        true => meetings.iter().any(|id| id == recording.meeting_id.as_str()),
        false => records.iter().any(|id| recording.record_id.as_str().starts_with(id.as_str())),
    });
    Asked::Before(recordings, age)
}

/// True if the question was for recordings by their whole ids, and each is there: no other server can have more of them.
fn has_all(query: &Params, search: &Search) -> bool {
    let asked = bbb::id_list(query, "recordID");
    let is_found = |id: &String| {
        let mut all = search.found.iter().flat_map(|found| &found.recordings);
        all.any(|(recording, _)| recording.record_id.as_str() == id)
    };
    !asked.is_empty() && asked.iter().all(is_found)
}

fn nothing_known() -> ApiError {
    ApiError::server(
        "internalError",
        "A server that may have such recordings does not answer, and nothing is known of what it has. Try again in a moment.",
    )
}

/// Takes out the metadata filters that ask for an empty value, on which BBB itself fails (bbb-api.md section 6.4); gives
/// their keys as BBB stores them.
fn take_empty_filters(query: &mut Params) -> Vec<String> {
    let is_empty = |(name, value): &(&str, &str)| name.starts_with("meta_") && value.is_empty();
    let names: Vec<String> = query.iter().filter(is_empty).map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        query.remove(name);
    }
    names.iter().map(|name| name["meta_".len()..].to_lowercase()).collect()
}

/// The tenant's ids in the filter become the servers' ids. BBB decodes the list once more than other parameters
/// (bbb-api.md section 2.5); not every caller knows, so both readings are looked for.
fn scope_meeting_ids(caller: &Caller<'_>, query: &mut Params) {
    if caller.tenant.record.scope.is_none() {
        return;
    }
    if let Some(list) = query.get("meetingID").filter(|list| !list.is_empty()) {
        let again = percent_decode_str(&list.replace('+', " ")).decode_utf8_lossy().into_owned();
        let ids: BTreeSet<&str> = list.split(',').chain(again.split(',')).map(str::trim).collect();
        let scoped: Vec<String> =
            ids.into_iter().map(|id| caller.tenant.bbb_id(&MeetingId::new(id)).as_str().to_owned()).collect();
        query.set("meetingID", &scoped.join(","));
    }
}

fn for_tenant(caller: &Caller<'_>, mut recording: Recording, own: &MeetingId) -> Recording {
    if caller.tenant.record.scope.is_some() {
        let rules = Rewrite {
            meeting_id: Some((recording.meeting_id.as_str(), own.as_str())),
            hide_meta_prefix: HIDDEN_META_PREFIX,
        };
        recording.xml = bbb::rewrite(&recording.xml, &rules).map(Bytes::from).unwrap_or_default();
    }
    recording
}
