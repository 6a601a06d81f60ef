//! The XML body of `create` and `insertDocument` (bbb-api.md section 4.2), as far as Usher looks at it: not at all, but
//! for whether it is XML.
//!
//! BBB registers the meeting before it reads the slides, and answers HTTP 500 if they are no XML. Passed on, such a body
//! would leave a meeting behind and look like the failure of a server that is well. So this is as strict as the parser
//! that BBB has: namespace-aware, and without document types.

use std::borrow::Cow;

use super::xml::{BadAnswer, Document};
use super::xml_write::legal;

/// Elements. Three are needed for a document; BBB would be busy for days with a tenth of it.
const MOST_ELEMENTS: usize = 10_000;
/// Bytes in which a declaration of XML ends.
const DECLARATION: usize = 256;

/// True if `body` is one element that an XML parser takes. Other encodings than UTF-8 are left to BBB to judge.
pub fn is_well_formed(body: &[u8]) -> bool {
    if has_other_encoding(body) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if matches!(legal(text), Cow::Owned(_)) {
        return false;
    }
    match Document::parse_at_most(text, MOST_ELEMENTS) {
        // A prefix that is nowhere declared.
        Ok(document) => !document.has_prefix || text.contains("xmlns"),
        Err(BadAnswer::Encoding) => true,
        Err(_) => false,
    }
}

/// Marked as UTF-16, or declared as something that is not UTF-8.
fn has_other_encoding(body: &[u8]) -> bool {
    if [&b"\xff\xfe"[..], b"\xfe\xff", b"\0<", b"<\0"].iter().any(|mark| body.starts_with(mark)) {
        return true;
    }
    let Some(rest) = body.strip_prefix(b"<?xml") else { return false };
    let head = String::from_utf8_lossy(&rest[..rest.len().min(DECLARATION)]).to_ascii_lowercase();
    let declaration = head.split("?>").next().unwrap_or_default();
    declaration.contains("encoding") && !declaration.contains("utf-8")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What another parser says, of which only the encoding is not asked.
    fn judge(body: &[u8]) -> bool {
        std::str::from_utf8(body).is_ok_and(|text| roxmltree::Document::parse(text).is_ok())
    }

    #[test]
    fn tells_xml_from_what_is_none() {
        for (body, expected) in [
            ("<modules/>", true),
            ("\u{feff}<?xml version=\"1.0\"?>\n<modules><module name=\"p\"><![CDATA[<x>]]></module></modules>\n", true),
            (
                "<?xml version='1.0' encoding='UTF-8' standalone='yes'?><!-- a - b --><?pi x?><a b='&amp;&#252;&#xfc;'>&lt;</a>",
                true,
            ),
            ("<a xmlns:x='urn:x'><x:b/></a>", true),
            ("<modules><module></modules>", false),
            ("<modules><module", false),
            ("<modules>", false),
            ("</modules>", false),
            ("<a/><b/>", false),
            ("plain", false),
            ("", false),
            // bare & and entities that nobody has declared, in attributes and in text
            ("<a n='R&D.pdf'/>", false),
            ("<a n='R& D.pdf'/>", false),
            ("<a n='&nbsp;'/>", false),
            ("<a n='&amp'/>", false),
            ("<a>R&D</a>", false),
            ("<a>R & D</a>", false),
            ("<a>&uuml;</a>", false),
            // characters that XML does not have
            ("<a>&#0;</a>", false),
            ("<a n='&#0;'/>", false),
            ("<a>&#x1F;</a>", false),
            ("<a>&#xFFFE;</a>", false),
            ("<a>&#xD800;</a>", false),
            ("<a>\u{1}</a>", false),
            ("<a n='\u{1b}'/>", false),
            ("<a><![CDATA[\0]]></a>", false),
            ("<!--\u{8}--><a/>", false),
            // attributes
            ("<a n=x/>", false),
            ("<a n/>", false),
            ("<a n='1' n='2'/>", false),
            ("<a n='1'm='2'/>", false),
            ("<a n='<'/>", false),
            ("<a n='1/>", false),
            ("<a 1n='1'/>", false),
            // around the root
            ("words<a/>", false),
            ("<a/>words", false),
            ("<a/>&amp;", false),
            ("<![CDATA[x]]><a/>", false),
            // declarations
            (" <?xml version='1.0'?><a/>", false),
            ("<a/><?xml version='1.0'?>", false),
            ("<a><?xml version='1.0'?></a>", false),
            ("<?xml?><a/>", false),
            ("<?xml encoding='UTF-8'?><a/>", false),
            // the rest
            ("<!-- a -- b --><a/>", false),
            ("<!-- a --->\n<a/>", false),
            ("<a>]]></a>", false),
            ("<a></b>", false),
            ("<a></A>", false),
            ("<1a/>", false),
            ("< a/>", false),
            ("<x:a/>", false),
            ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", false),
            ("<a><![CDATA[x]></a>", false),
        ] {
            assert_eq!(is_well_formed(body.as_bytes()), expected, "{body}");
            // The judge is lenient with the number of half a character and with an empty declaration.
            let is_lenient = body.contains("&#xD800;") || body.starts_with("<?xml?>");
            assert!(judge(body.as_bytes()) == expected || is_lenient, "{body}: the judge");
        }
        assert!(!is_well_formed(b"<a n='M\xfcller'/>"), "not UTF-8");
        assert!(is_well_formed(b"<?xml version='1.0' encoding='ISO-8859-1'?><a n='M\xfcller'/>"), "BBB will see");
        assert!(is_well_formed(b"\xff\xfe<\x00a\x00/\x00>\x00"));
        assert!(!is_well_formed("<a/>".repeat(MOST_ELEMENTS + 2).as_bytes()));
        assert!(!is_well_formed(format!("<a>{}</a>", "<a/>".repeat(MOST_ELEMENTS + 2)).as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_is_taken_another_parser_takes(
            body in "(<a>|</a>|<b n='|<b n=\"|'/>|\"/>|'>|</b>|&amp;|&lt;|&#|x41;|;|&|<!--|-->|-|<!\\[CDATA\\[|\\]\\]>|<\\?xml version='1.0'\\?>|<\\?p |\\?>|[a-z =/<>'\"]){0,9}"
        ) {
            let whole = format!("<m>{body}</m>");
            for text in [&body, &whole] {
                if is_well_formed(text.as_bytes()) {
                    prop_assert!(judge(text.as_bytes()), "{text}");
                }
            }
        }
    }
}
