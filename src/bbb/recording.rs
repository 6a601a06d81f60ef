//! Recordings as BBB servers list them (bbb-api.md sections 3.8 and 6), and merging the lists of several servers.
//!
//! BBB's own order is a hash map's; ours is newest first, so that pages mean something. A recording may be on two servers
//! after a move or a copy: the first list given wins.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use crate::bbb::fields::Fields;
use crate::bbb::read::list_of;
use crate::bbb::xml::{BadAnswer, Document, Element, text_of};
use crate::ids::{BbbMeetingId, InternalId};

/// One `<recording>`. Times in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct Recording {
    pub record_id: InternalId,
    /// BBB puts the record id here when it has lost the meeting's.
    pub meeting_id: BbbMeetingId,
    /// The record id where the server sends none.
    pub internal_meeting_id: InternalId,
    pub name: String,
    /// What metadata.xml says; `available` on some formats of published recordings.
    pub state: String,
    /// The reliable flag (section 6.2).
    pub published: bool,
    pub start_time: u64,
    pub end_time: u64,
    pub participants: u32,
    /// User keys in lower case, BBB's own in mixed case.
    pub metadata: Vec<(String, String)>,
    /// The element as received.
    pub xml: Bytes,
}

impl Recording {
    fn from_element(document: &Document<'_>, element: Element) -> Option<Recording> {
        let fields = Fields { document, element };
        let record_id = fields.text("recordID");
        if record_id.is_empty() {
            return None;
        }
        let or_record_id = |text: String| if text.is_empty() { record_id.clone() } else { text };
        Some(Recording {
            meeting_id: BbbMeetingId::new(or_record_id(fields.text("meetingID"))),
            internal_meeting_id: InternalId::new(or_record_id(fields.text("internalMeetingID"))),
            name: fields.text("name"),
            state: fields.text("state"),
            published: fields.is_true("published"),
            start_time: fields.number("startTime"),
            end_time: fields.number("endTime"),
            participants: fields.count("participants"),
            metadata: document.entries(element, "metadata"),
            xml: Bytes::copy_from_slice(document.raw(element).as_bytes()),
            record_id: InternalId::new(record_id),
        })
    }

    /// The metadata value of that key, exactly as spelled.
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("record_id", &self.record_id)
            .field("state", &self.state)
            .field("start_time", &self.start_time)
            .finish_non_exhaustive()
    }
}

/// Reads a getRecordings answer. Entries without a record id are left out: nothing could be done with them.
pub fn read_recordings(body: &[u8]) -> Result<Vec<Recording>, BadAnswer> {
    let source = text_of(body)?;
    let document = Document::parse(&source)?;
    let entries = list_of(&document, "recordings", "recording")?;
    Ok(entries.into_iter().filter_map(|entry| Recording::from_element(&document, entry)).collect())
}

/// One list of all: each record id once, latest start first, then by record id.
pub fn merge(lists: Vec<Vec<Recording>>) -> Vec<Recording> {
    let mut seen = HashSet::new();
    let mut merged: Vec<Recording> =
        lists.into_iter().flatten().filter(|recording| seen.insert(recording.record_id.clone())).collect();
    merged.sort_by(|a, b| b.start_time.cmp(&a.start_time).then_with(|| a.record_id.cmp(&b.record_id)));
    merged
}

/// The recordings from `offset` on, at most `limit` of them, and how many there were.
pub fn page(recordings: Vec<Recording>, offset: usize, limit: usize) -> (Vec<Recording>, usize) {
    let total = recordings.len();
    (recordings.into_iter().skip(offset).take(limit).collect(), total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// A recording with every element of section 3.8.
    const FULL: &str = "<recording>\n <recordID>aa-1700000000000</recordID><meetingID>phy &amp; co</meetingID>\
        <internalMeetingID>aa-1700000000000</internalMeetingID><name>Physics</name><isBreakout>false</isBreakout>\
        <published>true</published><state>published</state><startTime>1700000000000</startTime>\
        <endTime>1700003600000</endTime><participants>1,234</participants><rawSize>99</rawSize>\
        <metadata><course>bio</course><meetingId>phy &amp; co</meetingId><empty></empty></metadata>\
        <breakout><parentId>p</parentId><sequence>1</sequence><freeJoin>false</freeJoin></breakout><size>7</size>\
        <playback><format><type>presentation</type><url>\n https://h/playback/presentation/2.3/aa\n</url>\
        <processingTime>7</processingTime><length>60</length><size>5</size><preview><images>\
        <image alt=\"\" height=\"136\" width=\"176\">https://h/t.png</image></images></preview></format></playback>\
        <data></data></recording>";

    pub(crate) fn recording(record_id: &str, start_time: u64) -> Recording {
        let xml = format!("<recording><recordID>{record_id}</recordID><startTime>{start_time}</startTime></recording>");
        read_recordings(answer(&xml).as_bytes()).unwrap().remove(0)
    }

    fn answer(recordings: &str) -> String {
        format!("<response>\n <returncode>SUCCESS</returncode>\n <recordings>{recordings}</recordings></response>")
    }

    #[test]
    fn reads_every_field() {
        let list =
            read_recordings(answer(&format!("{FULL}\n<recording><name>lost</name></recording>")).as_bytes()).unwrap();
        assert_eq!(list.len(), 1);
        let recording = &list[0];
        assert_eq!(recording.record_id.as_str(), "aa-1700000000000");
        assert_eq!(recording.meeting_id.as_str(), "phy & co");
        assert_eq!((recording.start_time, recording.end_time), (1_700_000_000_000, 1_700_003_600_000));
        assert_eq!((recording.participants, recording.published, recording.state.as_str()), (1234, true, "published"));
        assert_eq!(recording.meta("course"), Some("bio"));
        assert_eq!(recording.meta("empty"), Some(""));
        assert_eq!(recording.meta("Course"), None);
        assert_eq!(&recording.xml[..], FULL.as_bytes());
    }

    #[test]
    fn missing_fields_fall_back() {
        let recording = recording("aa-1", 5);
        assert_eq!(recording.meeting_id.as_str(), "aa-1");
        assert_eq!(recording.internal_meeting_id.as_str(), "aa-1");
        assert_eq!(recording.metadata, []);
    }

    #[test]
    fn none_found_is_a_success() {
        let none = "<messageKey>noRecordings</messageKey><message>x</message>";
        let without_list = format!("<response><returncode>SUCCESS</returncode>{none}</response>");
        assert_eq!(read_recordings(without_list.as_bytes()).unwrap(), []);
        let without_both = "<response><returncode>SUCCESS</returncode></response>";
        assert_eq!(read_recordings(without_both.as_bytes()), Err(BadAnswer::Missing("recordings")));
    }

    #[test]
    fn merges_newest_first_and_once() {
        let mut moved = recording("b", 20);
        moved.name = "second copy".to_owned();
        let merged = merge(vec![
            vec![recording("c", 10), recording("b", 20)],
            vec![moved, recording("d", 30), recording("a", 10)],
        ]);
        let ids: Vec<&str> = merged.iter().map(|recording| recording.record_id.as_str()).collect();
        assert_eq!(ids, ["d", "b", "a", "c"]);
        assert_eq!(merged[1].name, "");
    }

    #[test]
    fn pages_never_run_over() {
        let list = || merge(vec![(0..5).map(|n| recording(&n.to_string(), n)).collect()]);
        let ids = |(page, total): (Vec<Recording>, usize)| {
            (page.iter().map(|recording| recording.start_time).collect::<Vec<_>>(), total)
        };
        assert_eq!(ids(page(list(), 1, 2)), (vec![3, 2], 5));
        assert_eq!(ids(page(list(), 4, 2)), (vec![0], 5));
        assert_eq!(ids(page(list(), 9, 2)), (vec![], 5));
    }
}
