//! The XML body of `create` and `insertDocument` (bbb-api.md section 4.2), as far as Usher looks at it: not at all, but
//! for whether it is XML.
//!
//! BBB registers the meeting before it reads the slides, and answers HTTP 500 if they are no XML. Passed on, such a body
//! would leave a meeting behind and look like the failure of a server that is well.

use quick_xml::events::Event;
use quick_xml::reader::Reader;

/// True if `body` is one element, properly nested and closed. Other encodings than UTF-8 are left to BBB to judge.
pub fn is_well_formed(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return true };
    let mut reader = Reader::from_str(text);
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => {
                roots += usize::from(depth == 0);
                depth += 1;
            }
            Ok(Event::Empty(_)) => roots += usize::from(depth == 0),
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Eof) => return depth == 0 && roots == 1,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_xml_from_what_is_none() {
        for (body, expected) in [
            ("<modules/>", true),
            ("\u{feff}<?xml version=\"1.0\"?>\n<modules><module name=\"p\"><![CDATA[<x>]]></module></modules>\n", true),
            ("<modules><module></modules>", false),
            ("<modules><module", false),
            ("<modules>", false),
            ("</modules>", false),
            ("<a/><b/>", false),
            ("plain", false),
        ] {
            assert_eq!(is_well_formed(body.as_bytes()), expected, "{body}");
        }
        assert!(is_well_formed(b"\xff\xfe<\x00a\x00/\x00>\x00"));
    }
}
