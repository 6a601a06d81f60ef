//! Recordings on a server's disk, and which of them a request selects (bbb-api.md sections 6.1, 6.2, 6.4).
//!
//! BBB keeps each playback format of a recording in a directory of its own, with a state of its own. So do we: what is
//! selected, paged, published and deleted are formats, and an answer merges those of one recording.

use std::collections::HashMap;

use super::answer::Answer;
use super::call::{Call, decoded_again};
use super::meetings::SimMeeting;
use super::world::sha1_hex;
use crate::clock::Millis;

/// The directory a format lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SimRecordingState {
    Processing,
    Processed,
    Published,
    Unpublished,
    Deleted,
}

impl SimRecordingState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Processed => "processed",
            Self::Published => "published",
            Self::Unpublished => "unpublished",
            Self::Deleted => "deleted",
        }
    }
}

/// One playback format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimFormat {
    /// `presentation`, `video`, `screenshare`, `podcast`, `notes`.
    pub kind: String,
    pub url: String,
    pub state: SimRecordingState,
    pub processing_time_ms: u64,
    pub length_ms: u64,
    pub size: u64,
    /// URLs of preview images.
    pub preview: Vec<String>,
}

impl SimFormat {
    /// A published format of one hour.
    pub fn new(kind: &str, url: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            url: url.to_owned(),
            state: SimRecordingState::Published,
            processing_time_ms: 7_177,
            length_ms: 3_600_000,
            size: 1_104_836,
            preview: Vec::new(),
        }
    }

    /// What metadata.xml says: `available` for published video and screenshare.
    pub(super) fn state_text(&self) -> &'static str {
        let is_media = self.kind == "video" || self.kind == "screenshare";
        if is_media && self.state == SimRecordingState::Published { "available" } else { self.state.as_str() }
    }
}

/// A caption track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimTextTrack {
    /// `subtitles` or `captions`.
    pub kind: String,
    pub label: String,
    pub lang: String,
    /// `live`, `automatic` or `upload`.
    pub source: String,
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRecording {
    /// The meeting's internal ID.
    pub record_id: String,
    /// The external ID; `None` = metadata.xml lacks its `meeting` node.
    pub meeting_id: Option<String>,
    pub name: Option<String>,
    pub is_breakout: bool,
    pub start_time: Millis,
    pub end_time: Millis,
    pub participants: u64,
    pub raw_size: u64,
    pub metadata: Vec<(String, String)>,
    pub formats: Vec<SimFormat>,
    pub text_tracks: Vec<SimTextTrack>,
}

impl SimRecording {
    /// A recording of one hour with one published presentation.
    pub fn new(record_id: &str, meeting_id: &str, name: &str) -> Self {
        let start_time = Millis(record_id.rsplit('-').next().and_then(|time| time.parse().ok()).unwrap_or(0));
        let url = format!("https://bbb.example.org/playback/presentation/2.3/{record_id}");
        let internal = [("isBreakout", "false"), ("meetingId", meeting_id), ("meetingName", name)];
        Self {
            record_id: record_id.to_owned(),
            meeting_id: Some(meeting_id.to_owned()),
            name: Some(name.to_owned()),
            is_breakout: false,
            start_time,
            end_time: Millis(start_time.0 + 3_600_000),
            participants: 3,
            raw_size: 951_067,
            metadata: internal.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            formats: vec![SimFormat::new("presentation", &url)],
            text_tracks: Vec::new(),
        }
    }

    /// The recording a meeting would leave.
    pub fn of_meeting(meeting: &SimMeeting) -> Self {
        let mut recording = Self::new(&meeting.internal_id, &meeting.meeting_id, &meeting.name);
        recording.metadata.extend(meeting.metadata.iter().cloned());
        recording
    }

    /// Whether calls by record ID see it: some format published or unpublished.
    pub(super) fn is_visible(&self) -> bool {
        let visible = [SimRecordingState::Published, SimRecordingState::Unpublished];
        self.formats.iter().any(|format| visible.contains(&format.state))
    }

    pub(super) fn has_id(&self, record_id: &str) -> bool {
        self.record_id.eq_ignore_ascii_case(record_id)
    }
}

/// Selected formats, as places in the list of recordings.
pub(super) struct Selection {
    pub entries: Vec<(usize, usize)>,
    pub page: Option<Page>,
}

/// The pagination block's numbers; they count formats, not recordings.
pub(super) struct Page {
    pub offset: usize,
    pub limit: usize,
    pub total: usize,
}

impl Selection {
    /// The same, merged by recording in no particular order.
    pub(super) fn by_recording(&self) -> HashMap<usize, Vec<usize>> {
        let mut merged: HashMap<usize, Vec<usize>> = HashMap::new();
        for (recording, format) in &self.entries {
            merged.entry(*recording).or_default().push(*format);
        }
        merged
    }
}

/// A comma list as recording calls read it: decoded a second time, empty items dropped.
pub(super) fn list(call: &Call, name: &str) -> Vec<String> {
    let value = decoded_again(call.text(name).unwrap_or_default());
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// What `getRecordings` selects (section 6.4). The error is a servlet page.
pub(super) fn select(recordings: &[SimRecording], call: &Call, has_pagination: bool) -> Result<Selection, Answer> {
    let server_error = || Answer::status_page(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let filters = call.metadata();
    if filters.iter().any(|(_, pattern)| pattern.is_empty()) {
        return Err(server_error());
    }
    let states = states(call);
    let mut entries = Vec::new();
    // A recording under two overlapping prefixes is found twice, as on a real server.
    for prefix in prefixes(call) {
        for (place, recording) in recordings.iter().enumerate() {
            let is_meant = recording.record_id.starts_with(&prefix)
                && filters.iter().all(|(key, pattern)| matches(recording, key, pattern));
            let formats = recording.formats.iter().enumerate();
            let chosen = formats.filter(|(_, format)| is_meant && states.contains(&format.state.as_str().to_owned()));
            entries.extend(chosen.map(|(format, _)| (place, format)));
        }
    }
    let limit = call.text("limit").and_then(|limit| limit.parse::<i64>().ok()).filter(|_| has_pagination);
    let Some(limit) = limit else { return Ok(Selection { entries, page: None }) };
    let limit = limit.clamp(1, 100) as usize;
    let offset = call.number("offset").unwrap_or(0) as usize;
    let total = entries.len();
    if offset > total {
        return Err(server_error());
    }
    let entries = entries.into_iter().skip(offset).take(limit).collect();
    Ok(Selection { entries, page: Some(Page { offset, limit, total }) })
}

/// Prefixes of record IDs; the empty one means all.
fn prefixes(call: &Call) -> Vec<String> {
    let record_ids = list(call, "recordID");
    if !record_ids.is_empty() {
        return record_ids;
    }
    let meeting_ids = list(call, "meetingID");
    if !meeting_ids.is_empty() {
        return meeting_ids.iter().map(|id| sha1_hex(id)).collect();
    }
    vec![String::new()]
}

fn states(call: &Call) -> Vec<String> {
    let named = list(call, "state");
    let all = ["processing", "processed", "published", "unpublished", "deleted"];
    if named.is_empty() {
        return vec!["published".to_owned(), "unpublished".to_owned()];
    }
    if named.iter().any(|state| state == "any") {
        return all.map(str::to_owned).to_vec();
    }
    named
}

/// `%x%` contains, `%x` ends with, `x%` starts with, `x` is.
fn matches(recording: &SimRecording, key: &str, pattern: &str) -> bool {
    let Some((_, value)) = recording.metadata.iter().find(|(name, _)| name == key) else { return false };
    match (pattern.strip_prefix('%'), pattern.strip_suffix('%')) {
        (Some(rest), Some(_)) => value.contains(rest.strip_suffix('%').unwrap_or(rest)),
        (Some(end), None) => value.ends_with(end),
        (None, Some(start)) => value.starts_with(start),
        (None, None) => value == pattern,
    }
}
