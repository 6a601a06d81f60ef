//! Scalelite's grammar for `meta_server-tag`, the caller's wish for a kind of server (scalelite-compat.md section 9).
//!
//! `a;b` asks for a server tagged `a` or `b`, `none` stands for an untagged one, and a trailing `!` makes the wish a
//! condition. No tag, or `!` alone, asks for untagged servers: tagged servers never serve those who did not ask.

/// The most tags of one wish; further ones are not looked at. A wish is compared with every server, and a form has room
/// for hundreds of thousands of tags.
pub const MAX_TAGS: usize = 64;

/// What a wished-for server carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    Named(String),
    Untagged,
}

/// A caller's wish. `any_of` has 1 to `MAX_TAGS` tags, each once.
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
            if any_of.len() == MAX_TAGS {
                break;
            }
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

    #[test]
    fn looks_at_the_first_tags_only() {
        let list: String = (0..200_000).map(|number| format!("t{number};")).collect();
        let wish = TagWish::parse(&(list + "!"));
        assert_eq!((wish.any_of.len(), wish.required), (MAX_TAGS, true));
        assert_eq!(wish.any_of.last(), Some(&named("t63")));
    }
}
