//! Saving the meetings of an answer that one participant's client has made ill-formed.
//!
//! BBB prints the names of `userdata-*` parameters as element names without looking at them, so a single
//! `userdata-my key=1` breaks the whole getMeetings document of its server (bbb-api.md section 3.5). Here the text is cut
//! at meeting borders, and in the meetings that do not parse alone, first `customdata`, then all attendees are dropped.
//! This is the only place that searches XML as text; every result is parsed strictly again. An answer that was cut off
//! stays an error: half a list must never look like a whole one.

use std::ops::Range;

use crate::bbb::xml::Document;

/// An answer taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// The answer with an empty `<meetings>`.
    pub frame: String,
    /// What stood from each `<meeting>` to the next.
    pub meetings: Vec<String>,
}

/// Takes a getMeetings answer apart; `None` if it has no complete `<meetings>` list.
pub(crate) fn take_apart(source: &str) -> Option<Pieces> {
    const OPEN: &str = "<meetings>";
    const CLOSE: &str = "</meetings>";
    let start = source.find(OPEN)? + OPEN.len();
    let end = start + source.get(start..)?.rfind(CLOSE)?;
    let list = &source[start..end];
    // Both in the order of the text, so one walk along both is enough.
    let mut unsafe_places = customdata(list).into_iter().peekable();
    let mut is_unsafe = |place: usize| {
        while unsafe_places.next_if(|range| range.end <= place).is_some() {}
        unsafe_places.peek().is_some_and(|range| range.contains(&place))
    };
    let starts: Vec<usize> =
        list.match_indices("<meeting>").map(|(place, _)| place).filter(|&place| !is_unsafe(place)).collect();
    let ends = starts.iter().skip(1).copied().chain([list.len()]);
    let meetings = starts.iter().zip(ends).map(|(&from, to)| list[from..to].trim().to_owned()).collect();
    let frame = [&source[..start], &source[end..]].concat();
    Some(Pieces { frame, meetings })
}

/// The least changed form of `element` that is well-formed; `None` if even the smallest is not.
pub(crate) fn well_formed(element: &str) -> Option<String> {
    if is_sound(element) {
        return Some(element.to_owned());
    }
    let without_customdata = without(element, &customdata(element));
    if is_sound(&without_customdata) {
        return Some(without_customdata);
    }
    let without_attendees = replace_attendees(element)?;
    is_sound(&without_attendees).then_some(without_attendees)
}

/// True if strict parsers, namespace-aware ones too, take `source`.
pub(crate) fn is_sound(source: &str) -> bool {
    Document::parse(source).is_ok_and(|document| !document.has_prefix)
}

/// The places of all `<customdata>` elements: each ends at the last end tag before its attendee ends.
fn customdata(source: &str) -> Vec<Range<usize>> {
    const OPEN: &str = "<customdata>";
    const CLOSE: &str = "</customdata>";
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(found) = source[from..].find(OPEN) {
        let start = from + found;
        let attendee_end = source[start..].find("</attendee>").map_or(source.len(), |length| start + length);
        let end = source[start..attendee_end].rfind(CLOSE).map_or(attendee_end, |length| start + length + CLOSE.len());
        places.push(start..end);
        from = end.max(start + OPEN.len());
    }
    places
}

fn without(source: &str, places: &[Range<usize>]) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut from = 0;
    for place in places {
        kept.push_str(&source[from..place.start]);
        from = place.end;
    }
    kept.push_str(&source[from..]);
    kept
}

fn replace_attendees(source: &str) -> Option<String> {
    const CLOSE: &str = "</attendees>";
    let start = source.find("<attendees>")?;
    let end = source.rfind(CLOSE).filter(|&end| end > start)? + CLOSE.len();
    Some([&source[..start], "<attendees/>", &source[end..]].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attendee(customdata: &str) -> String {
        format!("<attendee><fullName>A</fullName><customdata>{customdata}</customdata></attendee>")
    }

    fn meeting(attendees: &str) -> String {
        format!("<meeting><meetingID>m</meetingID><attendees>{attendees}</attendees><metadata/></meeting>")
    }

    #[test]
    fn drops_as_little_as_possible() {
        let good = meeting(&attendee("<role>x</role>"));
        assert_eq!(well_formed(&good).unwrap(), good);

        for bad_name in ["my key", "1st", "a:b", "a<b", "&", "customdata><x"] {
            let broken = meeting(&(attendee("<ok>1</ok>") + &attendee(&format!("<{bad_name}>1</{bad_name}>"))));
            let expected = "<attendee><fullName>A</fullName></attendee>".repeat(2);
            assert_eq!(well_formed(&broken).unwrap(), meeting(&expected), "{bad_name}");
        }

        let broken = meeting(&attendee("</attendee><x>"));
        assert_eq!(well_formed(&broken).unwrap(), "<meeting><meetingID>m</meetingID><attendees/><metadata/></meeting>");
        assert_eq!(well_formed("<meeting><meetingID>m</meeting>"), None);
    }

    #[test]
    fn cuts_at_meeting_borders_only() {
        let inner = attendee("<meeting>1</meeting>");
        let source = format!("<r><meetings>{}\n{}</meetings><x/></r>", meeting(&inner), meeting(""));
        let pieces = take_apart(&source).unwrap();
        assert_eq!(pieces.frame, "<r><meetings></meetings><x/></r>");
        assert_eq!(pieces.meetings, [meeting(&inner), meeting("")]);
    }

    #[test]
    fn half_a_list_is_no_list() {
        assert_eq!(take_apart("<r><meetings><meeting><meetingID>m</meetingID></meeting><meeting>"), None);
        assert_eq!(take_apart("<r/>"), None);
        assert_eq!(take_apart("</meetings><meetings>"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn never_panics(source in "(<meetings>|</meetings>|<meeting>|</meeting>|<attendees>|</attendees>|</attendee>|<customdata>|</customdata>|[ü<>]){0,25}") {
            if let Some(pieces) = take_apart(&source) {
                for piece in pieces.meetings {
                    prop_assert!(well_formed(&piece).is_none_or(|repaired| is_sound(&repaired)));
                }
            }
        }
    }
}
