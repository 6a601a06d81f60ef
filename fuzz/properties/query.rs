//! What must hold for every query and form body (src/bbb/params.rs).

use std::borrow::Cow;

use usher::bbb::{Page, Params, first_value, form_signature_base, id_list};

const LIMIT: usize = 512;

pub fn check(data: &[u8]) {
    // The first zero byte divides the query from the form; neither can hold one that a server would let through.
    let (query, form) = match data.iter().position(|&byte| byte == 0) {
        Some(place) => (&data[..place], &data[place + 1..]),
        None => (data, &b""[..]),
    };
    limit_is_kept(query, form);
    let Ok(mut params) = Params::parse(query, LIMIT) else { return };
    reads_as_a_servlet_does(query, &params);
    writes_what_was_read(query, &params);
    let of_query: Vec<(String, String)> = owned(&params);
    if params.append_form(form, LIMIT).is_err() {
        return;
    }
    let all = owned(&params);
    assert_eq!(all[..of_query.len()], of_query[..], "the query's pairs stay in front");
    assert!(!params.contains("checksum"));
    signs_every_name_once(&params);
    let _ = Page::from_params(&params).inspect(|page| assert!((1..=100).contains(&page.limit)));
    for entry in id_list(&params, "recordID") {
        assert!(!entry.is_empty() && !entry.contains(',') && entry.trim() == entry);
    }
    changes_one_name_only(&params);
}

fn limit_is_kept(query: &[u8], form: &[u8]) {
    let pairs = |text: &[u8]| if text.is_empty() { 0 } else { text.split(|&byte| byte == b'&').count() };
    for limit in [0, 1, 3, LIMIT] {
        let Ok(mut params) = Params::parse(query, limit) else {
            assert!(pairs(query) > limit, "refused although there are few pairs");
            continue;
        };
        assert!(pairs(query) <= limit && params.len() <= limit);
        if params.append_form(form, limit).is_ok() {
            assert!(params.len() <= limit && pairs(form) <= limit);
        }
    }
}

/// The rules once more, on what the `url` crate decodes: other code, same meaning.
fn reads_as_a_servlet_does(query: &[u8], params: &Params) {
    let clean = |value: Cow<'_, str>| value.replace(char::is_control, "").trim_matches(' ').to_owned();
    let expected: Vec<(String, String)> = url::form_urlencoded::parse(query)
        .filter(|(name, _)| name != "checksum")
        .map(|(name, value)| (name.into_owned(), clean(value)))
        .collect();
    assert_eq!(owned(params), expected);
    for (name, _) in &expected {
        let first = expected.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        assert_eq!(params.get(name), first);
        assert_eq!(first_value(query, name).as_deref(), first);
    }
    assert_eq!(params.is_empty(), expected.is_empty());
}

/// What goes on to a server says the same, is legal in a request line, and is as it came where that is legal and no browser
/// would encode it (the apostrophe).
fn writes_what_was_read(query: &[u8], params: &Params) {
    let sent = params.to_query();
    assert!(sent.bytes().all(|byte| byte.is_ascii_graphic() && !br#"`"<>[\]^{|}#"#.contains(&byte)), "illegal: {sent}");
    let again = Params::parse(sent.as_bytes(), LIMIT).expect("no more pairs than before");
    assert!(params.iter().eq(again.iter()), "the server reads what we read");
    assert_eq!(again.to_query(), sent, "writing is stable");
    let was_legal = query.iter().all(|byte| byte.is_ascii_graphic() && !br#"`"<>[\]^{|}#"#.contains(byte));
    if was_legal && first_value(query, "checksum").is_none() {
        let query = String::from_utf8_lossy(query).replace('\'', "%27");
        assert_eq!(sent, query, "legal bytes pass unchanged");
    }
}

fn signs_every_name_once(params: &Params) {
    let base = form_signature_base(params);
    let names = params.iter().map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>();
    let shortest: usize = names.iter().map(|name| name.len() + 2).sum();
    assert!(base.len() + 1 >= shortest, "every name is signed");
    let clashes = names.iter().any(|name| name.contains('&'));
    if !clashes && !names.is_empty() {
        assert_eq!(base.split(|&byte| byte == b'&').count(), names.len(), "each once");
    }
}

fn changes_one_name_only(params: &Params) {
    let before = owned(params);
    let mut targets: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).take(3).collect();
    targets.push("never-there");
    let value = before.last().map_or("ä &=%\u{1f600}", |(_, value)| value.as_str());
    for name in targets {
        let others = |list: &[(String, String)]| -> Vec<(String, String)> {
            list.iter().filter(|(other, _)| other != name).cloned().collect()
        };
        let count = |list: &[(String, String)]| list.iter().filter(|(other, _)| other == name).count();
        for change in [Params::set, Params::ensure] {
            let mut changed = params.clone();
            change(&mut changed, name, value);
            let read = Params::parse(changed.to_query().as_bytes(), 2 * LIMIT).expect("one more at most");
            assert!(read.iter().eq(changed.iter()));
            assert_eq!(changed.get(name), Some(value));
            assert_eq!(count(&owned(&changed)), 1);
            assert_eq!(others(&owned(&changed)), others(&before));
        }
        let mut removed = params.clone();
        assert_eq!(removed.remove(name), count(&before) > 0);
        assert_eq!(owned(&removed), others(&before));
        let mut defaulted = params.clone();
        defaulted.set_default(name, value);
        assert_eq!(owned(&defaulted).len(), before.len() + usize::from(count(&before) == 0));
    }
}

fn owned(params: &Params) -> Vec<(String, String)> {
    params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
