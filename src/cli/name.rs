//! Names of servers and tenants: `[a-z0-9][a-z0-9.-]{0,62}`; and the words that may be tags.
//!
//! A name becomes a metrics label, a path segment (`/t/<name>/`, `/<server>/`) and a host label, so the alphabet is
//! what all three allow. Tags are compared with `meta_server-tag`, whose grammar gives `;`, `,` and `!` a meaning
//! (scalelite-compat.md).

const MAX_NAME: usize = 63;

/// Checks a name; clap calls it as a value parser.
pub fn parse_name(text: &str) -> Result<String, String> {
    let is_start = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let good = text.starts_with(is_start)
        && text.len() <= MAX_NAME
        && text.chars().all(|letter| is_start(letter) || letter == '.' || letter == '-');
    if good {
        return Ok(text.to_string());
    }
    Err(format!(
        "a name has 1 to {MAX_NAME} of the letters a-z, 0-9, `.` and `-` and starts with a letter or digit, unlike `{text}`"
    ))
}

/// In path mode browsers reach a server below its name, and our own paths come first there.
pub fn refuse_own_path(name: &str) -> Result<(), String> {
    const OWN: [&str; 8] = ["t", "usher", "livez", "readyz", "bigbluebutton", "html5client", "static", "playback"];
    if OWN.contains(&name) {
        return Err(format!("`{name}` is one of Usher's own paths and cannot be a server's name; choose another name"));
    }
    Ok(())
}

/// Checks a tag.
pub fn parse_tag(text: &str) -> Result<String, String> {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, ',' | ';' | '!');
    if text.is_empty() || text.len() > MAX_NAME || text.contains(bad) {
        return Err(format!("a tag has 1 to {MAX_NAME} characters without spaces, `,`, `;` and `!`, unlike `{text}`"));
    }
    Ok(text.to_string())
}

/// Checks a host name of a tenant: lower case, without scheme, port or path.
pub fn parse_host(text: &str) -> Result<String, String> {
    let lower = text.trim().trim_end_matches('.').to_ascii_lowercase();
    match url::Host::parse(&lower) {
        Ok(host) if host.to_string() == lower => Ok(lower),
        _ => Err(format!("`{text}` is not a host name; write it like rooms.example.org, without https:// and port")),
    }
}

/// The nearest valid name, if anything of `text` remains.
pub fn as_name(text: &str) -> Option<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    let spelled: String =
        text.to_ascii_lowercase().chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    let trimmed = spelled.trim_matches(['-', '.']);
    let short: String = trimmed.chars().take(MAX_NAME).collect();
    (!short.is_empty()).then_some(short)
}

/// `wish`, or `wish-2`, `wish-3`, … whatever is free.
pub fn unique(wish: &str, taken: &[&str]) -> String {
    if !taken.contains(&wish) {
        return wish.to_string();
    }
    let free = (2u64..).map(|number| {
        let ending = format!("-{number}");
        let kept: String = wish.chars().take(MAX_NAME - ending.len()).collect();
        format!("{kept}{ending}")
    });
    free.into_iter().find(|name| !taken.contains(&name.as_str())).unwrap_or_else(|| wish.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "bbb1", "bbb1.example.org", "0-1", &"x".repeat(63)] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", ".a", "Bbb", "a_b", "a b", "ä", "a/b", &"x".repeat(64)] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_keep_clear_of_the_tag_grammar() {
        for good in ["big", "GPU-2", "größe"] {
            assert!(parse_tag(good).is_ok(), "{good}");
        }
        for bad in ["", "a,b", "a;b", "a!", "a b"] {
            assert!(parse_tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_lower_case_and_bare() {
        assert_eq!(parse_host("Rooms.Example.org.").as_deref(), Ok("rooms.example.org"));
        assert_eq!(parse_host("127.0.0.1").as_deref(), Ok("127.0.0.1"));
        for bad in ["", "https://x.org", "x.org:443", "x.org/a", "a b"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_made_name_is_always_a_valid_one() {
        for text in ["bbb1", "B_B", "--x--", "ip6-::1", &"y".repeat(200)] {
            let name = as_name(text).unwrap_or_default();
            assert_eq!(parse_name(&name).as_deref(), Ok(name.as_str()));
        }
        assert_eq!(as_name("__"), None);
        let long = "y".repeat(63);
        assert_eq!(unique(&long, &[&long]).len(), 63);
    }
}
