//! What must hold for every value of `meta_server-tag` (src/bbb/tag.rs).

use usher::bbb::{MAX_TAGS, Params, Tag, TagWish};

pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let wish = TagWish::parse(&text);
    assert_eq!(wish, as_the_grammar_says(&text));
    assert!((1..=MAX_TAGS).contains(&wish.any_of.len()));
    for (place, tag) in wish.any_of.iter().enumerate() {
        assert!(!wish.any_of[..place].contains(tag), "each tag once");
        if let Tag::Named(name) = tag {
            assert!(!name.is_empty() && name != "none" && !name.contains(';') && name.trim() == name);
        }
    }
    let written = write(&wish);
    assert_eq!(TagWish::parse(&written), wish, "what is written reads back: {written}");
    // As it arrives: in a query.
    if let Ok(params) = Params::parse(data, 512) {
        let value = params.get("meta_server-tag").unwrap_or_default();
        assert_eq!(TagWish::parse(value), as_the_grammar_says(value));
    }
}

/// The grammar letter by letter: words between semicolons, one `!` at the end of all makes them a condition.
fn as_the_grammar_says(text: &str) -> TagWish {
    let mut letters: Vec<char> = text.trim().chars().collect();
    let required = letters.last() == Some(&'!');
    if required {
        letters.pop();
    }
    let mut words = vec![String::new()];
    for letter in letters {
        if letter == ';' {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let mut any_of: Vec<Tag> = Vec::new();
    for word in words {
        let tag = match word.trim() {
            "" => continue,
            "none" => Tag::Untagged,
            name => Tag::Named(name.to_owned()),
        };
        if !any_of.contains(&tag) {
            any_of.push(tag);
        }
    }
    any_of.truncate(MAX_TAGS);
    if any_of.is_empty() { TagWish::untagged() } else { TagWish { any_of, required } }
}

fn write(wish: &TagWish) -> String {
    let words: Vec<&str> = wish
        .any_of
        .iter()
        .map(|tag| match tag {
            Tag::Named(name) => name.as_str(),
            Tag::Untagged => "none",
        })
        .collect();
    // A separator at the end keeps a `!` that belongs to the last name.
    format!("{};{}", words.join(";"), if wish.required { "!" } else { "" })
}
