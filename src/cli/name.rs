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

/// A host name of a tenant as clients send it: lower case, without scheme, port or path, and with `ü` as browsers spell it.
pub fn parse_host(text: &str) -> Result<String, String> {
    let lower = text.trim().strip_suffix('.').unwrap_or(text.trim()).to_lowercase();
    if lower.contains('*') {
        return Err(format!(
            "`{text}` stands for many names; name each of a tenant's hosts, with an option of its own"
        ));
    }
    let wrong = || format!("`{text}` is not a host name; write it like rooms.example.org, without https:// and port");
    match url::Host::parse(&lower).map_err(|_| wrong())? {
        url::Host::Domain(name) if is_dns_name(&name) => Ok(name),
        // Other spellings of an address are no names that anybody calls.
        url::Host::Ipv4(address) if address.to_string() == lower => Ok(lower),
        url::Host::Ipv6(address) => Ok(format!("[{address}]")),
        _ => Err(wrong()),
    }
}

/// Labels of 1 to 63 letters, digits, `-` and `_`, 253 in all (RFC 1035); no `-` at an end.
fn is_dns_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=MAX_NAME).contains(&label.len())
            && label.bytes().all(is_letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
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
#[allow(clippy::unwrap_used)]
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
        assert_eq!(parse_host("[2001:DB8::1]").as_deref(), Ok("[2001:db8::1]"));
        // As servers' names are: what browsers and front ends send.
        assert_eq!(parse_host("Bücher.example").as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(parse_host("BÜCHER.example").as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(parse_host("xn--bcher-kva.example").as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(parse_host("my_host").as_deref(), Ok("my_host"));
        let long = format!("{}.org", "a".repeat(63));
        assert_eq!(parse_host(&long).as_deref(), Ok(long.as_str()));
        for bad in [
            "",
            ".",
            "https://x.org",
            "x.org:443",
            "x.org/a",
            "a b",
            "a..b",
            ".a",
            "a..",
            "-a.org",
            "a-.org",
            "a,b",
            "a;b",
            "a@b",
            "user@a.org",
            "127.1",
            "0x7f.1",
            "a+b",
            "a!b",
            "[::1",
            "::1",
            "xn--\u{fc}",
        ] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
        for bad in [format!("{}.org", "a".repeat(64)), "a.".repeat(127) + "a"] {
            assert!(parse_host(&bad).is_err(), "{bad}");
        }
        for pattern in ["*", "*.example.org", "rooms*.example.org"] {
            assert!(parse_host(pattern).unwrap_err().contains("stands for many names"), "{pattern}");
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
