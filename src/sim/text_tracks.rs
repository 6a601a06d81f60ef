//! `getRecordingTextTracks` and `putRecordingTextTrack`: JSON, but XML for a bad checksum (bbb-api.md section 3.9).
//!
//! Uploads are remembered as tracks; the files themselves are dropped and the links in answers lead nowhere.

use serde_json::json;

use super::answer::Answer;
use super::api;
use super::call::Call;
use super::recording_calls::check_record_id;
use super::recordings::SimTextTrack;
use super::server::Shared;
use super::world::random_text;

/// The caption tracks of one recording.
pub(super) fn get(shared: &Shared, call: &Call) -> Answer {
    if let Some(refusal) = api::old_refusal(shared, call, "getRecordingTextTracks", check_record_id) {
        return refusal.answer();
    }
    let world = shared.world.lock();
    let record_id = call.text("recordID").unwrap_or_default();
    let Some(recording) = world.recordings.iter().find(|it| it.is_visible() && it.has_id(record_id)) else {
        return Answer::failed_json("noRecordings", "No recording found");
    };
    if recording.text_tracks.is_empty() {
        return Answer::failed_json("noCaptionsFound", "No captions found for the recording");
    }
    let tracks: Vec<serde_json::Value> = recording
        .text_tracks
        .iter()
        .map(|track| {
            let (token, file) = (random_text(16), format!("{}_{}.vtt", track.kind, track.lang));
            let href = format!("{}/bigbluebutton/textTrack/{token}/{}/{file}", shared.origin(), recording.record_id);
            json!({"href": href, "kind": track.kind, "label": track.label, "lang": track.lang, "source": track.source})
        })
        .collect();
    Answer::json(&json!({"response": {"returncode": "SUCCESS", "tracks": tracks}}))
}

/// Adds an uploaded track, or replaces the one of the same kind and language.
pub(super) fn put(shared: &Shared, call: &Call) -> Answer {
    if call.text("recordID").is_none() && call.text("checksum").is_some() {
        return Answer::failed_json("paramError", "Missing param recordID.");
    }
    if let Some(refusal) = api::old_refusal(shared, call, "putRecordingTextTrack", check_record_id) {
        return refusal.answer();
    }
    let mut world = shared.world.lock();
    let record_id = call.text("recordID").unwrap_or_default();
    let Some(recording) = world.recordings.iter_mut().find(|it| it.is_visible() && it.has_id(record_id)) else {
        return Answer::failed_json("noRecordings", &format!("No recording found for {record_id}"));
    };
    let Some(kind) = call.text("kind") else { return Answer::failed_json("paramError", "Missing param kind.") };
    if kind != "subtitles" && kind != "captions" {
        return Answer::failed_json("invalidKind", "Invalid kind parameter, expected='subtitles|captions'");
    }
    let Some(lang) = call.text("lang") else { return Answer::failed_json("paramError", "Missing param lang.") };
    if !is_locale(lang) {
        return Answer::failed_json("invalidLang", "Malformed lang param");
    }
    if call.parts.iter().find(|part| part.name == "file").is_none_or(|part| part.content.is_empty()) {
        return Answer::failed_json("empty_uploaded_text_track", "Empty uploaded text track.");
    }
    recording.text_tracks.retain(|track| track.kind != kind || track.lang != lang);
    recording.text_tracks.push(SimTextTrack {
        kind: kind.to_owned(),
        label: call.text("label").unwrap_or(lang).to_owned(),
        lang: lang.to_owned(),
        source: "upload".to_owned(),
    });
    let message = "Text track uploaded successfully";
    Answer::json(&json!({"response": {
        "returncode": "SUCCESS", "recordId": recording.record_id, "messageKey": "upload_text_track_success", "message": message,
    }}))
}

/// `xx` or `xx-YY`.
fn is_locale(lang: &str) -> bool {
    let mut parts = lang.split('-');
    let is_language =
        parts.next().is_some_and(|part| part.len() == 2 && part.bytes().all(|it| it.is_ascii_lowercase()));
    let is_region = parts.next().is_none_or(|part| part.len() == 2 && part.bytes().all(|it| it.is_ascii_uppercase()));
    is_language && is_region && parts.next().is_none()
}
