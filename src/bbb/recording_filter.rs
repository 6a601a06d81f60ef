//! What a caller of getRecordings asks for (bbb-api.md section 6.4), applied to a merged list.
//!
//! The rules are BBB's own: record ids are prefixes and silence meeting ids, metadata filters must all match and may
//! carry `%` at their ends. Unlike BBB, an empty metadata value asks for an empty value instead of failing, and pages count
//! recordings, not formats.

use crate::bbb::checksum::internal_prefix;
use crate::bbb::params::Params;
use crate::bbb::recording::Recording;

/// The most recordings on one page.
const MAX_LIMIT: i64 = 100;

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub offset: usize,
    /// 1 to 100.
    pub limit: usize,
}

impl Page {
    /// Reads `offset` and `limit`. Without a valid limit there is no page and the offset counts for nothing; limits are
    /// clamped to 1..=100, a negative or unreadable offset is 0.
    pub fn from_params(params: &Params) -> Option<Page> {
        let limit: i64 = params.get("limit")?.parse().ok()?;
        let limit = usize::try_from(limit.clamp(1, MAX_LIMIT)).ok()?;
        let offset = params.get("offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
        Some(Page { offset, limit })
    }
}

/// How a metadata value must look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaMatch {
    Is(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
}

impl MetaMatch {
    /// Reads `x`, `x%`, `%x`, `%x%`.
    pub fn parse(text: &str) -> MetaMatch {
        let (before, rest) = text.strip_prefix('%').map_or((false, text), |rest| (true, rest));
        let (after, word) = rest.strip_suffix('%').map_or((false, rest), |word| (true, word));
        let word = word.to_owned();
        match (before, after) {
            (true, true) => MetaMatch::Contains(word),
            (true, false) => MetaMatch::EndsWith(word),
            (false, true) => MetaMatch::StartsWith(word),
            (false, false) => MetaMatch::Is(word),
        }
    }

    pub fn matches(&self, value: &str) -> bool {
        match self {
            MetaMatch::Is(word) => value == word,
            MetaMatch::StartsWith(word) => value.starts_with(word),
            MetaMatch::EndsWith(word) => value.ends_with(word),
            MetaMatch::Contains(word) => value.contains(word),
        }
    }
}

/// Everything getRecordings can filter by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// Prefixes of record ids; when there are any, `meeting_ids` is ignored.
    pub record_ids: Vec<String>,
    /// Meeting ids as the caller spells them.
    pub meeting_ids: Vec<String>,
    /// State words as given; empty means published and unpublished, `any` means all.
    pub states: Vec<String>,
    /// Lower-case keys.
    pub meta: Vec<(String, MetaMatch)>,
    pub page: Option<Page>,
}

impl RecordingFilter {
    pub fn from_params(params: &Params) -> RecordingFilter {
        let meta = params.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix("meta_").filter(|key| !key.is_empty())?;
            Some((key.to_lowercase(), MetaMatch::parse(value)))
        });
        RecordingFilter {
            record_ids: id_list(params, "recordID"),
            meeting_ids: id_list(params, "meetingID"),
            states: id_list(params, "state"),
            meta: meta.collect(),
            page: Page::from_params(params),
        }
    }

    /// True if `recording` is asked for. Its metadata and ids must be those that the caller knows: for a tenant with
    /// scoped ids, `meeting_ids` must have been scoped before.
    pub fn matches(&self, recording: &Recording) -> bool {
        self.matches_id(recording) && self.matches_state(recording) && self.matches_meta(recording)
    }

    fn matches_id(&self, recording: &Recording) -> bool {
        let record_id = recording.record_id.as_str();
        if !self.record_ids.is_empty() {
            return self.record_ids.iter().any(|prefix| record_id.starts_with(prefix.as_str()));
        }
        self.meeting_ids.is_empty() || self.meeting_ids.iter().any(|id| record_id.starts_with(&internal_prefix(id)))
    }

    fn matches_state(&self, recording: &Recording) -> bool {
        // Published video and screenshare formats call themselves `available` (section 6.2).
        let state = if recording.state == "available" { "published" } else { recording.state.as_str() };
        if self.states.is_empty() {
            return matches!(state, "" | "published" | "unpublished");
        }
        self.states.iter().any(|wanted| wanted == "any" || wanted == state)
    }

    fn matches_meta(&self, recording: &Recording) -> bool {
        self.meta.iter().all(|(key, wanted)| recording.meta(key).is_some_and(|value| wanted.matches(value)))
    }
}

/// The entries of a comma list, without empty ones (`recordID`, `meetingID`, `state`).
pub fn id_list(params: &Params, name: &str) -> Vec<String> {
    let text = params.get(name).unwrap_or_default();
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bbb::recording::tests::recording;

    fn filter(query: &str) -> RecordingFilter {
        RecordingFilter::from_params(&Params::parse(query.as_bytes(), 100).unwrap())
    }

    fn sample() -> Recording {
        let mut sample = recording("cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000", 1_700_000_000_000);
        sample.state = "published".to_owned();
        sample.metadata = vec![("course".to_owned(), "biology".to_owned()), ("empty".to_owned(), String::new())];
        sample
    }

    #[test]
    fn filters_as_bbb_does() {
        let cases = [
            ("", true),
            ("recordID=cd2ba3", true),
            ("recordID=xx,cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000", true),
            ("recordID=d2ba3", false),
            ("meetingID=phy-101", true),
            ("meetingID=other,+phy-101", true),
            ("meetingID=phy-10", false),
            ("recordID=xx&meetingID=phy-101", false),
            ("recordID=&meetingID=phy-101", true),
            ("state=any", true),
            ("state=unpublished,published", true),
            ("state=deleted", false),
            ("meta_course=biology", true),
            ("meta_COURSE=bio%25", true),
            ("meta_course=%25logy", true),
            ("meta_course=%25olo%25", true),
            ("meta_course=bio", false),
            ("meta_course=%25bio", false),
            ("meta_course=bio%25&meta_missing=x", false),
            ("meta_empty=", true),
        ];
        for (query, expected) in cases {
            assert_eq!(filter(query).matches(&sample()), expected, "{query}");
        }
    }

    #[test]
    fn states_are_those_of_the_directory() {
        let with_state = |state: &str| Recording { state: state.to_owned(), ..sample() };
        assert!(filter("state=published").matches(&with_state("available")));
        assert!(filter("").matches(&with_state("unpublished")));
        assert!(!filter("").matches(&with_state("deleted")));
        assert!(filter("state=any").matches(&with_state("processing")));
    }

    #[test]
    fn pages_need_a_valid_limit() {
        let cases = [
            ("", None),
            ("offset=5", None),
            ("limit=&offset=5", None),
            ("limit=x", None),
            ("limit=10", Some((0, 10))),
            ("limit=0", Some((0, 1))),
            ("limit=-3&offset=-3", Some((0, 1))),
            ("limit=500&offset=7", Some((7, 100))),
            ("limit=5&offset=x", Some((0, 5))),
        ];
        for (query, expected) in cases {
            assert_eq!(filter(query).page, expected.map(|(offset, limit)| Page { offset, limit }), "{query}");
        }
    }
}
