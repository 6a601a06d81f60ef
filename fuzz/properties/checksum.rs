//! What must hold for taking checksums out of queries and for signatures (src/bbb/checksum.rs).

use std::borrow::Cow;

use usher::bbb::{Algorithm, Params, first_value, form_signature_base, sign, strip_checksum, verify};
use usher::ids::Secret;

const CALLS: [&str; 4] = ["create", "join", "getMeetings", "hooks/create"];

pub fn check(data: &[u8]) {
    strips_as_the_rule_says(data);
    strips_nothing_else(data);
    any_checksum_is_no_checksum(data);
    let Some((&choice, query)) = data.split_first() else { return };
    signed_queries_verify(choice, query);
    signed_forms_verify(choice, query);
}

/// bbb-api.md section 2.3 word by word: three replacements of the first value, found with other code.
fn strips_as_the_rule_says(query: &[u8]) {
    let stripped = strip_checksum(query);
    let first = query.split(|&byte| byte == b'&').map(|pair| {
        let mut sides = pair.splitn(2, |&byte| byte == b'=');
        (decode(sides.next().unwrap_or_default()), decode(sides.next().unwrap_or_default()))
    });
    let value = first.into_iter().find(|(name, _)| name == b"checksum").map(|(_, value)| value);
    assert_eq!(stripped.checksum.as_deref(), value.as_deref(), "the first parameter of that name");
    let Some(value) = value else {
        assert_eq!(stripped.rest, query);
        return;
    };
    let needle = [b"checksum=", &value[..]].concat();
    let expected = [[b"&", &needle[..]].concat(), [&needle[..], b"&"].concat(), needle]
        .iter()
        .fold(query.to_vec(), |text, needle| without_each(&text, needle));
    assert_eq!(stripped.rest, expected);
}

/// What is left stood in the query, in this order.
fn strips_nothing_else(query: &[u8]) {
    let stripped = strip_checksum(query);
    let mut source = query.iter();
    assert!(stripped.rest.iter().all(|kept| source.any(|byte| byte == kept)), "bytes were added or moved");
    if stripped.checksum.is_none() {
        assert!(matches!(stripped.rest, Cow::Borrowed(_)), "nothing to copy");
        assert_eq!(first_value(query, "checksum"), None);
    }
}

fn decode(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut place = 0;
    while place < raw.len() {
        let hex = |offset: usize| raw.get(place + offset).and_then(|&byte| char::from(byte).to_digit(16));
        match (raw[place], hex(1), hex(2)) {
            (b'+', _, _) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                place += 2;
            }
            (byte, _, _) => out.push(byte),
        }
        place += 1;
    }
    out
}

fn without_each(text: &[u8], needle: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut place = 0;
    while place < text.len() {
        if text[place..].starts_with(needle) {
            place += needle.len();
        } else {
            kept.push(text[place]);
            place += 1;
        }
    }
    kept
}

fn any_checksum_is_no_checksum(query: &[u8]) {
    let stripped = strip_checksum(query);
    let given = stripped.checksum.unwrap_or_default();
    let secrets = [Secret::new("a secret that the input does not know")];
    assert!(!verify("create", &stripped.rest, &given, secrets.iter(), &Algorithm::ALL));
    assert!(!verify("create", &stripped.rest, query, secrets.iter(), &Algorithm::ALL));
    assert!(!verify("create", query, &given, [Secret::new("")].iter(), &Algorithm::ALL), "no secret, no entry");
}

/// A front end signs what it sends and puts the checksum at the end or in front: it verifies, and nothing near it does.
fn signed_queries_verify(choice: u8, query: &[u8]) {
    let Ok(query) = std::str::from_utf8(query) else { return };
    // A query with a checksum of its own is a contradiction, and text that looks like one is cut by the rule.
    if first_value(query.as_bytes(), "checksum").is_some() {
        return;
    }
    let algorithm = Algorithm::ALL[usize::from(choice) % 4];
    let call = CALLS[usize::from(choice / 4) % CALLS.len()];
    let secrets = [Secret::new("retired"), Secret::new("s3cr3t")];
    let given = sign(call, query, &secrets[1], algorithm);
    let holds = |call: &str, query: &[u8], given: &[u8]| verify(call, query, given, secrets.iter(), &Algorithm::ALL);

    let mut shapes = vec![format!("{query}&checksum={given}")];
    if query.is_empty() {
        shapes = vec![format!("checksum={given}")];
    } else if !query.starts_with('&') {
        shapes.push(format!("checksum={given}&{query}"));
    }
    for shape in shapes {
        // Only a query that ends in the letters before `checksum=` can grow into a second one.
        if shape.matches("checksum=").count() > 1 {
            continue;
        }
        let stripped = strip_checksum(shape.as_bytes());
        assert_eq!(stripped.rest, query.as_bytes());
        let found = stripped.checksum.expect("it was put there");
        assert!(holds(call, &stripped.rest, &found));
    }
    assert!(holds(call, query.as_bytes(), given.to_ascii_uppercase().as_bytes()), "any case");
    let others = Algorithm::ALL.map(|other| if other == algorithm { Algorithm::Sha1 } else { other });
    let not_allowed: Vec<Algorithm> = others.into_iter().filter(|other| *other != algorithm).collect();
    assert!(!verify(call, query.as_bytes(), given.as_bytes(), secrets.iter(), &not_allowed));

    // One byte of the query, of the checksum, of the call: none may be changed.
    if !query.is_empty() {
        let mut changed = query.as_bytes().to_vec();
        let place = usize::from(choice) % changed.len();
        changed[place] ^= 1 + choice % 255;
        assert!(!holds(call, &changed, given.as_bytes()));
        assert!(!holds(call, &query.as_bytes()[1..], given.as_bytes()));
    }
    let mut changed = given.clone().into_bytes();
    let place = usize::from(choice) % changed.len();
    changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
    assert!(!holds(call, query.as_bytes(), &changed));
    for length in [0, 1, given.len() - 1, 40, 64, 96] {
        if length < given.len() {
            assert!(!holds(call, query.as_bytes(), &given.as_bytes()[..length]), "cut to {length}");
        }
    }
    assert!(!holds("end", query.as_bytes(), given.as_bytes()));
}

/// A form without a query is signed over its sorted parameters, wherever its checksum stands.
fn signed_forms_verify(choice: u8, form: &[u8]) {
    let Ok(params) = Params::parse(form, 512) else { return };
    let base = form_signature_base(&params);
    let Ok(text) = std::str::from_utf8(&base) else { panic!("the base of UTF-8 parameters is UTF-8") };
    let secret = Secret::new("s3cr3t");
    let given = sign("create", text, &secret, Algorithm::ALL[usize::from(choice) % 4]);
    for body in
        [[form, b"&checksum=", given.as_bytes()].concat(), [b"checksum=", given.as_bytes(), b"&", form].concat()]
    {
        let Ok(read) = Params::parse(&body, 514) else { continue };
        assert_eq!(form_signature_base(&read), base);
        assert!(verify("create", &base, given.as_bytes(), [secret.clone()].iter(), &Algorithm::ALL));
    }
}
