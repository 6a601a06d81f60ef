//! Scalelite's grammar for `meta_server-tag`, the caller's wish for a kind of server (scalelite-compat.md section 9).
//!
//! `a;b` asks for a server tagged `a` or `b`, `none` stands for an untagged one, and a trailing `!` makes the wish a
//! condition. No tag, or `!` alone, asks for untagged servers: tagged servers never serve those who did not ask.

/// What a wished-for server carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    Named(String),
    Untagged,
}

/// A caller's wish. `any_of` is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagWish {
    pub any_of: Vec<Tag>,
    /// True: no such server means no meeting (`serverTagUnavailable`). False: an untagged server will do.
    pub required: bool,
}

impl TagWish {
    /// Reads the value of `meta_server-tag`. Every text means something: what names no tag wishes for untagged.
    pub fn parse(text: &str) -> TagWish {
        let (list, required) = match text.trim().strip_suffix('!') {
            Some(list) => (list, true),
            None => (text, false),
        };
        let mut any_of = Vec::new();
        for word in list.split(';').map(str::trim).filter(|word| !word.is_empty()) {
            let tag = if word == "none" { Tag::Untagged } else { Tag::Named(word.to_owned()) };
            if !any_of.contains(&tag) {
                any_of.push(tag);
            }
        }
        if any_of.is_empty() {
            return TagWish::untagged();
        }
        TagWish { any_of, required }
    }

    /// The wish of a caller who names no tag.
    pub fn untagged() -> TagWish {
        TagWish { any_of: vec![Tag::Untagged], required: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Tag {
        Tag::Named(name.to_owned())
    }

    #[test]
    fn reads_scalelites_grammar() {
        let cases = [
            ("", vec![Tag::Untagged], false),
            ("!", vec![Tag::Untagged], false),
            (" ; ", vec![Tag::Untagged], false),
            ("a", vec![named("a")], false),
            ("a!", vec![named("a")], true),
            ("a;b", vec![named("a"), named("b")], false),
            ("a; none ;a !", vec![named("a"), Tag::Untagged], true),
            ("none!", vec![Tag::Untagged], true),
            ("None", vec![named("None")], false),
        ];
        for (text, any_of, required) in cases {
            assert_eq!(TagWish::parse(text), TagWish { any_of, required }, "{text:?}");
        }
    }
}
