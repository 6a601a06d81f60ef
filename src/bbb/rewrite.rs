//! Showing a tenant its own meeting id instead of the one that the BBB server knows.
//!
//! Tenants other than the default one get scoped ids and metadata of ours (bbb-api.md section 7, "tenant prefixes").
//! Their answers are rewritten here: the text of `<meetingID>`, the recording's `<metadata><meetingId>`, and our hidden
//! metadata dropped. Every other byte stays as the server wrote it. What people typed (`customdata`) is not touched.

use crate::bbb::xml::{BadAnswer, Document, Element, text_of};
use crate::bbb::xml_write::escape;

/// What to change.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<'a> {
    /// (id that BBB knows, the tenant's own id); other ids pass unchanged.
    pub meeting_id: Option<(&'a str, &'a str)>,
    /// Metadata whose name starts so is dropped; empty: none is.
    pub hide_meta_prefix: &'a str,
}

/// Applies `rules` to a document or to one `<meeting>` or `<recording>` element.
pub fn rewrite(xml: &[u8], rules: &Rewrite<'_>) -> Result<Vec<u8>, BadAnswer> {
    let source = text_of(xml)?;
    let document = Document::parse(&source)?;
    let mut out = Vec::with_capacity(source.len());
    let mut copied = 0;
    for element in document.elements() {
        let (place, replacement) = if is_hidden(&document, element, rules.hide_meta_prefix) {
            (document.span(element), String::new())
        } else if let Some(own) = own_id(&document, element, rules) {
            let name = document.name(element);
            (document.span(element), format!("<{name}>{}</{name}>", escape(own)))
        } else {
            continue;
        };
        // Inside an element that is already replaced.
        if place.start < copied {
            continue;
        }
        out.extend_from_slice(&source.as_bytes()[copied..place.start]);
        out.extend_from_slice(replacement.as_bytes());
        copied = place.end;
    }
    out.extend_from_slice(&source.as_bytes()[copied..]);
    Ok(out)
}

fn is_hidden(document: &Document<'_>, element: Element, prefix: &str) -> bool {
    !prefix.is_empty() && is_metadata(document, element) && document.name(element).starts_with(prefix)
}

fn own_id<'r>(document: &Document<'_>, element: Element, rules: &Rewrite<'r>) -> Option<&'r str> {
    let (from, own) = rules.meeting_id?;
    let holds_id = match document.name(element) {
        "meetingID" => document
            .parent(element)
            .is_none_or(|parent| matches!(document.name(parent), "response" | "meeting" | "recording" | "hook")),
        "meetingId" => is_metadata(document, element),
        _ => false,
    };
    (holds_id && document.text(element) == from).then_some(own)
}

/// True for a child of a meeting's or recording's own `<metadata>`.
fn is_metadata(document: &Document<'_>, element: Element) -> bool {
    let Some(list) = document.parent(element).filter(|&list| document.name(list) == "metadata") else {
        return false;
    };
    document.parent(list).is_none_or(|owner| matches!(document.name(owner), "response" | "meeting" | "recording"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rewrite<'_> = Rewrite { meeting_id: Some(("t1-a&b", "a&b")), hide_meta_prefix: "usher-" };

    fn rewritten(xml: &str, rules: &Rewrite<'_>) -> String {
        String::from_utf8(rewrite(xml.as_bytes(), rules).unwrap()).unwrap()
    }

    #[test]
    fn changes_ids_and_hides_metadata_only() {
        let xml = "<meeting>\n <meetingID>t1-a&amp;b</meetingID> <internalMeetingID>t1-a&amp;b</internalMeetingID>\
            <attendees><attendee><customdata><meetingID>t1-a&amp;b</meetingID><usher-x>1</usher-x></customdata></attendee>\
            </attendees><metadata><usher-tenant>t1</usher-tenant><k>&#252;</k><usher-e/></metadata><breakoutRooms>\
            <breakout>x</breakout></breakoutRooms></meeting>";
        let expected = xml
            .replacen("<meetingID>t1-a&amp;b<", "<meetingID>a&amp;b<", 1)
            .replace("<usher-tenant>t1</usher-tenant>", "")
            .replace("<usher-e/>", "");
        assert_eq!(rewritten(xml, &RULES), expected);
    }

    #[test]
    fn recordings_name_the_meeting_twice() {
        let xml = "<response><recordings><recording><meetingID><![CDATA[t1-a&b]]></meetingID><metadata>\
            <meetingId>t1-a&amp;b</meetingId><meetingID>t1-a&amp;b</meetingID></metadata></recording><recording>\
            <meetingID>t1-other</meetingID></recording></recordings></response>";
        let expected = "<response><recordings><recording><meetingID>a&amp;b</meetingID><metadata>\
            <meetingId>a&amp;b</meetingId><meetingID>t1-a&amp;b</meetingID></metadata></recording><recording>\
            <meetingID>t1-other</meetingID></recording></recordings></response>";
        assert_eq!(rewritten(xml, &RULES), expected);
    }

    #[test]
    fn no_rules_change_nothing() {
        let xml = "<?xml version=\"1.0\"?>\n<response a='1'>\n<meetingID> x </meetingID><!-- c --><metadata><a/></metadata></response>\n";
        assert_eq!(rewritten(xml, &Rewrite { meeting_id: None, hide_meta_prefix: "" }), xml);
        assert_eq!(rewritten(xml, &RULES), xml);
    }

    #[test]
    fn nested_changes_happen_once() {
        let xml = "<meeting><metadata><usher-a><meeting><meetingID>t1-a&amp;b</meetingID></meeting></usher-a></metadata></meeting>";
        assert_eq!(rewritten(xml, &RULES), "<meeting><metadata></metadata></meeting>");
    }

    #[test]
    fn refuses_ill_formed_text() {
        assert_eq!(rewrite(b"<meeting>", &RULES), Err(BadAnswer::NotXml));
        assert_eq!(rewrite(b"\xff", &RULES), Err(BadAnswer::Encoding));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_comes_out_is_well_formed(xml in "<meeting>(<metadata>|</metadata>|<meetingID>|</meetingID>|<usher-a>|</usher-a>|<b/>|t1-a&amp;b|x){0,10}</meeting>") {
            if let Ok(out) = rewrite(xml.as_bytes(), &RULES) {
                let again = rewrite(&out, &RULES).unwrap();
                prop_assert_eq!(out, again);
            }
        }
    }
}
