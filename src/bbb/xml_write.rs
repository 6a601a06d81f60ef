//! Writing XML: legal characters, escaping, names.
//!
//! What people type ends up in answers, so whatever goes through here is well-formed: characters that XML 1.0 forbids are
//! dropped rather than refused, because a person's name must not cost a whole answer.

use std::borrow::Cow;

/// `text` without the characters that XML 1.0 forbids.
pub(crate) fn legal(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_legal) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|&c| is_legal(c)).collect())
}

pub(crate) fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// True if `name` may name an element (XML 1.0, production 5).
pub(crate) fn is_name(name: &str) -> bool {
    fn may_start(c: char) -> bool {
        matches!(c, ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
            | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
            | '\u{10000}'..='\u{effff}')
    }
    fn may_follow(c: char) -> bool {
        may_start(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    }
    let mut letters = name.chars();
    letters.next().is_some_and(may_start) && letters.all(may_follow)
}

/// Writes elements one after the other, escaped, without blanks between them.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// With room for that many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub fn open(&mut self, name: &str) -> &mut Self {
        self.raw(b"<").raw(name.as_bytes()).raw(b">")
    }

    pub fn close(&mut self, name: &str) -> &mut Self {
        self.raw(b"</").raw(name.as_bytes()).raw(b">")
    }

    /// `<name>text</name>`, the text escaped and without characters that XML forbids.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.open(name).raw(escape(text).as_bytes()).close(name)
    }

    /// A number or a truth value.
    pub fn plain(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text(name, &value.to_string())
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Text as it may stand between tags.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    quick_xml::escape::escape(legal(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bbb::xml::{Document, text_of};

    #[test]
    fn writes_only_legal_characters() {
        let mut writer = Writer::default();
        writer.text("a", "<\u{1}&\u{fffe}\"ü\n>");
        let written = writer.finish();
        assert_eq!(String::from_utf8_lossy(&written), "<a>&lt;&amp;&quot;ü\n&gt;</a>");
        assert_eq!(text_of(b"\xef\xbb\xbf<a>\x01x</a>").unwrap(), "<a>x</a>");
    }

    #[test]
    fn names_are_those_of_xml() {
        for name in ["a", "_", "ü", "a-b.c1", "a:b"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1", "-a", ".", "a b", "a<", "a&"] {
            assert!(!is_name(name), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_is_written_reads_back(text in any::<String>()) {
            let mut writer = Writer::default();
            writer.open("r").text("a", &text).close("r");
            let written = String::from_utf8(writer.finish()).unwrap();
            let document = Document::parse(&written).unwrap();
            let expected = legal(&text);
            prop_assert_eq!(document.child_text(document.root(), "a"), expected.trim());
        }
    }
}
