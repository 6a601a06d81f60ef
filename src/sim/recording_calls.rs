//! `getRecordings`, `publishRecordings`, `deleteRecordings`, `updateRecordings` (bbb-api.md sections 3.7, 3.8, 6.4).
//!
//! They never went through the validation layer: their checksum error and order of checks are those of 2.3 everywhere.

use super::answer::{Answer, Refusal};
use super::api;
use super::call::Call;
use super::recordings::{self, Page, SimFormat, SimRecording, SimRecordingState};
use super::server::Shared;
use super::version::SimVersion;
use super::xml::Xml;

const NOT_FOUND: Refusal = Refusal::new("notFound", "We could not find recordings");

fn nothing(_: &Call, _: SimVersion) -> Option<Refusal> {
    None
}

/// `recordID` is present.
pub(super) fn check_record_id(call: &Call, _: SimVersion) -> Option<Refusal> {
    let missing = Refusal::new("missingParamRecordID", "You must specify one or more a record IDs.");
    call.text("recordID").is_none().then_some(missing)
}

fn check_publish(call: &Call, generation: SimVersion) -> Option<Refusal> {
    let missing = Refusal::new("missingParamPublish", "You must specify a publish value true or false.");
    check_record_id(call, generation).or_else(|| call.text("publish").is_none().then_some(missing))
}

/// The recordings that match all filters, a page of them if `limit` says so.
pub(super) fn get_recordings(shared: &Shared, call: &Call) -> Answer {
    let generation = shared.options.generation;
    if let Some(refusal) = api::old_refusal(shared, call, "getRecordings", nothing) {
        return refusal.answer();
    }
    let has_bounds = ["recordID", "meetingID", "limit"].iter().any(|name| call.text(name).is_some());
    if !shared.options.allow_fetch_all_recordings && !has_bounds {
        let mut xml = Xml::response("SUCCESS");
        no_recordings(&mut xml);
        return Answer::cacheable_xml(xml);
    }
    let world = shared.world.lock();
    let selection = match recordings::select(&world.recordings, call, generation.has_pagination()) {
        Ok(selection) => selection,
        Err(page) => return page,
    };
    let mut xml = Xml::response("SUCCESS");
    xml.open("recordings");
    for (place, formats) in selection.by_recording() {
        let recording = &world.recordings[place];
        let formats: Vec<&SimFormat> = formats.iter().map(|format| &recording.formats[*format]).collect();
        write_recording(&mut xml, recording, &formats);
    }
    xml.close();
    if selection.entries.is_empty() {
        no_recordings(&mut xml);
    }
    if let Some(page) = &selection.page {
        write_page(&mut xml, page);
    }
    Answer::cacheable_xml(xml)
}

fn no_recordings(xml: &mut Xml) {
    xml.leaf("messageKey", "noRecordings");
    xml.leaf("message", "There are no recordings for the meeting(s).");
}

fn write_recording(xml: &mut Xml, recording: &SimRecording, formats: &[&SimFormat]) {
    let Some(first) = formats.first() else { return };
    let by_metadata = recording.metadata.iter().find(|(key, _)| key == "meetingName").map(|(_, name)| name.as_str());
    xml.open("recording");
    xml.leaf("recordID", &recording.record_id);
    xml.leaf("meetingID", recording.meeting_id.as_deref().unwrap_or(&recording.record_id));
    if recording.meeting_id.is_some() {
        xml.leaf("internalMeetingID", &recording.record_id);
    }
    xml.leaf("name", recording.name.as_deref().or(by_metadata).unwrap_or("unknown"));
    xml.leaf("isBreakout", recording.is_breakout);
    xml.leaf("published", first.state == SimRecordingState::Published);
    xml.leaf("state", first.state_text());
    xml.leaf("startTime", recording.start_time);
    xml.leaf("endTime", recording.end_time);
    xml.leaf("participants", recording.participants);
    xml.leaf("rawSize", recording.raw_size);
    if !recording.metadata.is_empty() {
        xml.open("metadata");
        for (key, value) in &recording.metadata {
            xml.leaf(key, value);
        }
        xml.close();
    }
    xml.leaf("size", formats.iter().map(|format| format.size).sum::<u64>());
    xml.open("playback");
    for format in formats {
        write_format(xml, format);
    }
    xml.close();
    xml.open("data");
    xml.close();
    xml.close();
}

fn write_format(xml: &mut Xml, format: &SimFormat) {
    xml.open("format");
    xml.leaf("type", &format.kind);
    xml.leaf("url", &format.url);
    xml.leaf("processingTime", format.processing_time_ms);
    xml.leaf("length", format.length_ms / 60_000);
    xml.leaf("size", format.size);
    if !format.preview.is_empty() {
        xml.open("preview");
        xml.open("images");
        for url in &format.preview {
            xml.raw("<image alt=\"\" height=\"136\" width=\"176\">");
            let mut text = String::new();
            super::xml::escape_into(&mut text, url);
            xml.raw(&text);
            xml.raw("</image>");
        }
        xml.close();
        xml.close();
    }
    xml.close();
}

fn write_page(xml: &mut Xml, page: &Page) {
    xml.open("pagination");
    xml.open("pageable");
    xml.leaf("offset", page.offset);
    xml.leaf("limit", page.limit);
    xml.leaf("paged", true);
    xml.leaf("unpaged", false);
    xml.close();
    xml.leaf("totalElements", page.total);
    xml.leaf("empty", page.total == 0);
    xml.close();
}

/// Moves formats between the published and the unpublished directory.
pub(super) fn publish_recordings(shared: &Shared, call: &Call) -> Answer {
    if let Some(refusal) = api::old_refusal(shared, call, "publishRecordings", check_publish) {
        return refusal.answer();
    }
    let value = call.text("publish").unwrap_or_default();
    let is_published = ["true", "1", "y"].contains(&value.to_ascii_lowercase().as_str());
    let (from, to) = match is_published {
        true => (SimRecordingState::Unpublished, SimRecordingState::Published),
        false => (SimRecordingState::Published, SimRecordingState::Unpublished),
    };
    if !move_formats(shared, call, &[from], to) {
        return NOT_FOUND.answer();
    }
    let mut xml = Xml::response("SUCCESS");
    xml.open("published");
    // Echoed as it came, unescaped: BBB's own.
    xml.raw(value);
    Answer::cacheable_xml(xml)
}

/// Moves formats to the deleted directory.
pub(super) fn delete_recordings(shared: &Shared, call: &Call) -> Answer {
    if let Some(refusal) = api::old_refusal(shared, call, "deleteRecordings", check_record_id) {
        return refusal.answer();
    }
    let from = [SimRecordingState::Published, SimRecordingState::Unpublished];
    if !move_formats(shared, call, &from, SimRecordingState::Deleted) {
        return NOT_FOUND.answer();
    }
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("deleted", true);
    Answer::cacheable_xml(xml)
}

/// False if none of the recordings exists; missing ones are skipped otherwise.
fn move_formats(shared: &Shared, call: &Call, from: &[SimRecordingState], to: SimRecordingState) -> bool {
    let ids = recordings::list(call, "recordID");
    let mut world = shared.world.lock();
    let mut is_any_known = false;
    for recording in &mut world.recordings {
        if !recording.is_visible() || !ids.iter().any(|id| recording.has_id(id)) {
            continue;
        }
        is_any_known = true;
        for format in recording.formats.iter_mut().filter(|format| from.contains(&format.state)) {
            format.state = to;
        }
    }
    is_any_known
}

/// Sets and removes metadata, of every recording whose ID starts with a given one, deleted ones included.
pub(super) fn update_recordings(shared: &Shared, call: &Call) -> Answer {
    if let Some(refusal) = api::old_refusal(shared, call, "updateRecordings", check_record_id) {
        return refusal.answer();
    }
    let ids = recordings::list(call, "recordID");
    let changes = call.metadata();
    let mut world = shared.world.lock();
    if !world.recordings.iter().any(|it| it.is_visible() && ids.iter().any(|id| it.has_id(id))) {
        return NOT_FOUND.answer();
    }
    let meant = world.recordings.iter_mut().filter(|it| ids.iter().any(|id| it.record_id.starts_with(id)));
    for recording in meant.filter(|recording| !recording.metadata.is_empty()) {
        for (key, value) in &changes {
            recording.metadata.retain(|(name, _)| name != key);
            if !value.is_empty() {
                recording.metadata.push((key.clone(), value.clone()));
            }
        }
    }
    let mut xml = Xml::response("SUCCESS");
    xml.leaf("updated", true);
    Answer::cacheable_xml(xml)
}
