//! Reading the named children of an element as the values they stand for.
//!
//! Lenient on purpose: what is absent is empty, zero or false, and numbers may be grouped as old BBB groups them
//! (bbb-api.md sections 0 and 3.5).

use crate::bbb::checksum::internal_prefix;
use crate::bbb::xml::{Document, Element};
use crate::ids::{InternalId, Secret};

/// BBB's word for "no parent" in create answers.
pub(crate) const NO_PARENT: &str = "bbb-none";

/// Internal id and createTime make each other up when a server leaves one out (section 0).
pub(crate) fn identity(meeting_id: &str, internal_id: &str, create_time: u64) -> (InternalId, u64) {
    if internal_id.is_empty() {
        return (InternalId::new(format!("{}-{create_time}", internal_prefix(meeting_id))), create_time);
    }
    let told_by_id = || internal_id.rsplit_once('-').and_then(|(_, time)| time.parse().ok());
    let create_time = if create_time == 0 { told_by_id().unwrap_or(0) } else { create_time };
    (InternalId::new(internal_id), create_time)
}

/// The named children of one element.
pub(crate) struct Fields<'d, 'a> {
    pub document: &'d Document<'a>,
    pub element: Element,
}

impl Fields<'_, '_> {
    pub fn text(&self, name: &str) -> String {
        self.document.child_text(self.element, name).into_owned()
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.document.child_text(self.element, name) == "true"
    }

    pub fn number(&self, name: &str) -> u64 {
        number(&self.document.child_text(self.element, name))
    }

    pub fn count(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }

    pub fn secret(&self, name: &str) -> Option<Secret> {
        let text = self.document.child_text(self.element, name);
        (!text.is_empty()).then(|| Secret::new(&*text))
    }

    pub fn parent(&self) -> Option<InternalId> {
        let text = self.document.child_text(self.element, "parentMeetingID");
        (!text.is_empty() && text != NO_PARENT).then(|| InternalId::new(&*text))
    }
}

/// A non-negative number, which old BBB groups by thousands in the server's own language: `1,234`, `1.234`, `1 234`
/// (section 3.5). Anything else is 0.
pub(crate) fn number(text: &str) -> u64 {
    let mut value = 0_u64;
    for c in text.chars() {
        match c.to_digit(10) {
            Some(digit) => value = value.saturating_mul(10).saturating_add(u64::from(digit)),
            None if matches!(c, ',' | '.' | '\'' | '’' | ' ' | '\u{a0}' | '\u{202f}') => {}
            None => return 0,
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_grouped() {
        let cases = [("", 0), ("7", 7), ("1,234", 1234), ("1.234.567", 1_234_567), ("1\u{202f}234", 1234), ("-1", 0)];
        for (text, value) in cases {
            assert_eq!(number(text), value, "{text}");
        }
        assert_eq!(number("99999999999999999999999"), u64::MAX);
    }

    #[test]
    fn ids_and_times_make_each_other_up() {
        let hash = "cd2ba3add6da5251b431d853ae201fccce8e877b";
        let whole = format!("{hash}-1700000000000");
        let expected = (InternalId::new(whole.as_str()), 1_700_000_000_000);
        assert_eq!(identity("phy-101", &whole, 0), expected);
        assert_eq!(identity("phy-101", "", 1_700_000_000_000), expected);
        assert_eq!(identity("phy-101", "odd", 0), (InternalId::new("odd"), 0));
    }
}
