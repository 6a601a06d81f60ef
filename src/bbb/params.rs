//! Parameters of a call, in the caller's order and in the caller's own bytes.
//!
//! What nobody changed goes on to BBB byte for byte, because order, duplicates and encoding are part of what was signed
//! and of what BBB reads (bbb-api.md sections 2.1, 2.5). Reading a value follows the servlet's rules: the first of
//! several wins, control characters go, surrounding blanks go (section 0). The checksum is never kept.
//!
//! Values hold passwords and people's names, so `Debug` shows names of parameters only.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use url::form_urlencoded;

/// Bytes that servlet containers refuse in a query (section 2.5), and the apostrophe, which browsers encode on their way to
/// where a redirect leads: what is signed must survive that. Everything beyond ASCII is encoded anyway.
const REFUSED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Not in [`REFUSED`], and ASCII; in a form that the compiler turns into a few comparisons of many bytes at once.
fn is_legal(byte: u8) -> bool {
    let is_graphic = byte.wrapping_sub(b'!') < 94;
    let is_refused =
        (byte == b'"') | (byte == b'#') | (byte == b'\'') | (byte == b'<') | (byte == b'>') | (byte == b'`');
    // From `[` to `^`, from `{` to `}`.
    is_graphic & !is_refused & (byte.wrapping_sub(b'[') >= 4) & (byte.wrapping_sub(b'{') >= 3)
}

/// Room for the pairs of most calls.
const EXPECTED_PAIRS: usize = 16;

/// More `name=value` pairs than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} parameters")]
pub struct TooManyParams {
    pub limit: usize,
}

/// Ordered parameters without the checksum.
///
/// All text stands in one buffer and is never moved or changed there; pairs point into it. Bytes that a container would
/// refuse are encoded on the way in, so all of it is text and goes out again as it stands. Reading a query of any number
/// of parameters takes two allocations.
#[derive(Clone, Default)]
pub struct Params {
    text: String,
    pairs: Vec<Pair>,
}

/// A piece of the buffer: from, to.
#[derive(Clone, Copy)]
struct Span(u32, u32);

#[derive(Clone, Copy)]
struct Pair {
    /// `name=value` as it is sent; empty between two ampersands.
    raw: Span,
    /// Decoded.
    name: Span,
    value: Span,
    /// The value as BBB sees it.
    read: Span,
}

impl Params {
    /// Reads a raw query (without `?`) of at most `limit` pairs, empty ones counted. Bytes that are not UTF-8 after
    /// decoding read as U+FFFD and are passed on as they are.
    pub fn parse(query: &[u8], limit: usize) -> Result<Params, TooManyParams> {
        let mut params = Params::default();
        params.append_form(query, limit)?;
        Ok(params)
    }

    /// Adds the pairs of a form body after those of the query, as servlets order them; `limit` covers both.
    pub fn append_form(&mut self, body: &[u8], limit: usize) -> Result<(), TooManyParams> {
        if body.is_empty() {
            return Ok(());
        }
        self.text.reserve(body.len() + body.len() / 2);
        self.pairs.reserve(EXPECTED_PAIRS);
        let all = self.write_legal(body);
        let mut next = all.0;
        let mut count = 0;
        while next <= all.1 {
            if count >= limit || self.pairs.len() >= limit {
                return Err(TooManyParams { limit });
            }
            count += 1;
            let rest = self.str(Span(next, all.1)).as_bytes();
            let end = memchr::memchr(b'&', rest).map_or(all.1, |length| next + length as u32);
            let pair = self.read(Span(next, end));
            if self.str(pair.name) != "checksum" {
                self.pairs.push(pair);
            }
            next = end + 1;
        }
        Ok(())
    }

    /// What a raw pair in the buffer means.
    fn read(&mut self, raw: Span) -> Pair {
        let bytes = self.str(raw).as_bytes();
        let (name, value) = split_pair(bytes);
        let (name_end, value_start) = (raw.0 + name.len() as u32, raw.1 - value.len() as u32);
        let (name, value) = (Span(raw.0, name_end), Span(value_start, raw.1));
        if memchr::memchr2(b'%', b'+', bytes).is_none() {
            // Neither blanks nor control characters stand in the buffer undecoded.
            return Pair { raw, name, value, read: value };
        }
        let (name, value) = (self.decoded(name), self.decoded(value));
        Pair { raw, name, value, read: self.as_read(value) }
    }

    fn decoded(&mut self, raw: Span) -> Span {
        match decode_text(self.str(raw).as_bytes()) {
            Cow::Borrowed(_) => raw,
            Cow::Owned(text) => self.write(&text),
        }
    }

    /// A decoded value without control characters and surrounding blanks.
    fn as_read(&mut self, value: Span) -> Span {
        let text = self.str(value);
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.contains(char::is_control) {
            let stripped = text.replace(char::is_control, "");
            let stripped = self.write(&stripped);
            return self.trimmed(stripped);
        }
        self.trimmed(value)
    }

    fn trimmed(&self, Span(from, to): Span) -> Span {
        let text = self.str(Span(from, to)).as_bytes();
        let blanks = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| **byte == b' ').count() as u32;
        let before = blanks(&mut text.iter());
        let after = if before == to - from { 0 } else { blanks(&mut text.iter().rev()) };
        Span(from + before, to - after)
    }

    fn write(&mut self, text: &str) -> Span {
        let from = self.text.len() as u32;
        self.text.push_str(text);
        Span(from, self.text.len() as u32)
    }

    fn write_legal(&mut self, raw: &[u8]) -> Span {
        let from = self.text.len() as u32;
        match std::str::from_utf8(raw) {
            Ok(text) if raw.iter().fold(true, |legal, byte| legal & is_legal(*byte)) => self.text.push_str(text),
            _ => self.text.extend(percent_encode(raw, REFUSED)),
        }
        Span(from, self.text.len() as u32)
    }

    fn str(&self, Span(from, to): Span) -> &str {
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }

    /// The first value of `name` as BBB reads it: decoded, without control characters and surrounding blanks.
    pub fn get(&self, name: &str) -> Option<&str> {
        Some(self.str(self.named().find(|pair| self.has_name(pair, name))?.read))
    }

    /// True if `name` is present, even without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Names and values as `get` gives them, in order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.named().map(|pair| (self.str(pair.name), self.str(pair.read)))
    }

    /// Names and decoded values with their blanks and control characters: what an old BBB signs.
    pub(crate) fn iter_untrimmed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.named().map(|pair| (self.str(pair.name), self.str(pair.value)))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.named().count()
    }

    /// True without any pair.
    pub fn is_empty(&self) -> bool {
        self.named().next().is_none()
    }

    /// Gives `name` this one value: in the place of its first pair, further ones removed; at the end when absent.
    /// A checksum cannot be set: it is made when the query is signed.
    pub fn set(&mut self, name: &str, value: &str) {
        if name == "checksum" {
            return;
        }
        let mut raw = form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>();
        raw.push('=');
        raw.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        let raw = self.write(&raw);
        let fresh = self.read(raw);
        let Some(place) = self.position(name) else {
            self.pairs.push(fresh);
            return;
        };
        self.keep_first(name);
        self.pairs[place] = fresh;
    }

    /// Makes every BBB read this value: exactly one of that name, in the caller's own bytes if they say so already.
    pub fn ensure(&mut self, name: &str, value: &str) {
        if self.get(name) != Some(value) {
            return self.set(name, value);
        }
        self.keep_first(name);
    }

    /// Sets `name` only when it is absent; an empty value counts as present.
    pub fn set_default(&mut self, name: &str, value: &str) {
        if !self.contains(name) {
            self.set(name, value);
        }
    }

    /// Removes every pair of that name; true if there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.pairs.len();
        self.remove_where(|present| present == name);
        self.pairs.len() < before
    }

    /// Removes every pair whose name satisfies `f`.
    pub fn remove_where(&mut self, f: impl Fn(&str) -> bool) {
        self.retain(|params, pair| !f(params.str(pair.name)));
    }

    fn keep_first(&mut self, name: &str) {
        let mut is_first = true;
        self.retain(|params, pair| !params.has_name(pair, name) || std::mem::take(&mut is_first));
    }

    /// Keeps what `f` says, and whatever is no pair at all.
    fn retain(&mut self, mut f: impl FnMut(&Self, &Pair) -> bool) {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.retain(|pair| pair.raw.is_empty() || f(self, pair));
        self.pairs = pairs;
    }

    /// The query to sign and send, without checksum: untouched pairs in the caller's bytes, except that what a servlet
    /// container would refuse is percent-encoded.
    pub fn to_query(&self) -> String {
        let mut query = String::new();
        self.write_query(&mut query, 0);
        query
    }

    /// Adds what `to_query` gives to `out`, with room for `more` bytes behind it.
    pub fn write_query(&self, out: &mut String, more: usize) {
        let length: usize = self.pairs.iter().map(|pair| (pair.raw.1 - pair.raw.0) as usize + 1).sum();
        out.reserve(length + more);
        for (position, pair) in self.pairs.iter().enumerate() {
            if position > 0 {
                out.push('&');
            }
            out.push_str(self.str(pair.raw));
        }
    }

    fn named(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| !pair.raw.is_empty())
    }

    fn has_name(&self, pair: &Pair, name: &str) -> bool {
        self.str(pair.name) == name
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.pairs.iter().position(|pair| !pair.raw.is_empty() && self.has_name(pair, name))
    }
}

impl Span {
    fn is_empty(self) -> bool {
        self.0 == self.1
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        let raws = |params: &'_ Params| params.pairs.iter().map(|pair| params.str(pair.raw).to_owned()).collect();
        let (ours, theirs): (Vec<String>, Vec<String>) = (raws(self), raws(other));
        ours == theirs
    }
}

impl Eq for Params {}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.named().map(|pair| self.str(pair.name))).finish()
    }
}

/// What `Params::get` would give, found in a raw query without reading the rest of it.
pub fn first_value<'a>(query: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let raw = query
        .split(|&byte| byte == b'&')
        .filter(|raw| !raw.is_empty())
        .map(split_pair)
        .find(|(raw_name, _)| *raw_name == name.as_bytes() || decode_text(raw_name) == name)?
        .1;
    let value = decode_text(raw);
    if value.contains(char::is_control) {
        return Some(Cow::Owned(trim_blanks(&value.replace(char::is_control, "")).to_owned()));
    }
    Some(match value {
        Cow::Borrowed(text) => Cow::Borrowed(trim_blanks(text)),
        Cow::Owned(text) => Cow::Owned(trim_blanks(&text).to_owned()),
    })
}

/// Java's `trim`, once control characters are gone; wider blanks belong to the value.
fn trim_blanks(text: &str) -> &str {
    text.trim_matches(' ')
}

/// Name and value of a raw pair; without `=` the value is empty.
pub(crate) fn split_pair(raw: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', raw) {
        Some(place) => (&raw[..place], &raw[place + 1..]),
        None => (raw, b""),
    }
}

/// Form-decodes; borrows when there is nothing to decode.
pub(crate) fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut bytes = Vec::with_capacity(raw.len());
    for (position, piece) in raw.split(|&byte| byte == b'+').enumerate() {
        if position > 0 {
            bytes.push(b' ');
        }
        bytes.extend(percent_encoding::percent_decode(piece));
    }
    Cow::Owned(bytes)
}

fn decode_text(raw: &[u8]) -> Cow<'_, str> {
    match decode(raw) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str) -> Params {
        Params::parse(query.as_bytes(), 100).unwrap()
    }

    #[test]
    fn reads_as_a_servlet_reads() {
        let params = parse("name=J%C3%BCrgen+M&meetingID=+a%09b%0A+&empty&x=1&x=2&n%61me2=y&nbsp=%C2%A0z");
        assert_eq!(params.get("name"), Some("Jürgen M"));
        assert_eq!(params.get("meetingID"), Some("ab"));
        assert_eq!(params.get("empty"), Some(""));
        assert_eq!(params.get("x"), Some("1"));
        assert_eq!(params.get("name2"), Some("y"));
        assert_eq!(params.get("nbsp"), Some("\u{a0}z"));
        assert_eq!(params.get("Name"), None);
        assert_eq!(params.len(), 7);
    }

    #[test]
    fn keeps_the_callers_bytes() {
        for query in ["", "&a=1&&b=%c3%bc+%20&b", "a=b=c&%zz=%", "=x", "meta_a=~*-._"] {
            assert_eq!(parse(query).to_query(), query);
        }
    }

    #[test]
    fn encodes_only_what_containers_refuse() {
        let params = Params::parse(b"a=[1]{|}\"<>\\^` #\x01\xfc&b=%20", 10).unwrap();
        assert_eq!(params.to_query(), "a=%5B1%5D%7B%7C%7D%22%3C%3E%5C%5E%60%20%23%01%FC&b=%20");
        assert_eq!(params.get("a"), Some("[1]{|}\"<>\\^` #\u{fffd}"));
    }

    #[test]
    fn both_lists_of_refused_bytes_agree() {
        for byte in 0..=255_u8 {
            let is_kept = percent_encode(&[byte], REFUSED).to_string().as_bytes() == [byte];
            assert_eq!(is_legal(byte), is_kept, "{byte:#04x}");
        }
    }

    #[test]
    fn never_keeps_a_checksum() {
        let mut params = parse("checksum=1&a=1&checksum=2&%63hecksum=3");
        params.append_form(b"checksum=4&b=2", 100).unwrap();
        params.set("checksum", "5");
        assert_eq!(params.to_query(), "a=1&b=2");
    }

    #[test]
    fn sets_in_place_and_once() {
        let mut params = parse("a=1&x=1&b=2&x=2&&x=3");
        params.set("x", "ä &=~");
        assert_eq!(params.to_query(), "a=1&x=%C3%A4+%26%3D%7E&b=2&");
        params.set("new", "");
        params.set_default("new", "other");
        params.set_default("c", "3");
        assert_eq!(params.to_query(), "a=1&x=%C3%A4+%26%3D%7E&b=2&&new=&c=3");
        assert_eq!(params.get("x"), Some("ä &=~"));
    }

    #[test]
    fn ensures_without_need_to_write() {
        let mut params = parse("n=+%61+&a=2&n=3");
        params.ensure("n", "a");
        assert_eq!(params.to_query(), "n=+%61+&a=2", "one of them, as it came");
        params.ensure("n", "b");
        assert_eq!(params.to_query(), "n=b&a=2");
    }

    #[test]
    fn removes_every_pair_of_a_name() {
        let mut params = parse("a=1&meta_x=1&a=2&b=3&meta_y=2");
        assert!(params.remove("a"));
        assert!(!params.remove("a"));
        params.remove_where(|name| name.starts_with("meta_"));
        assert_eq!(params.to_query(), "b=3");
        assert!(!params.is_empty());
    }

    #[test]
    fn query_values_come_before_body_values() {
        let mut params = parse("a=query");
        params.append_form(b"a=body&b=1", 100).unwrap();
        assert_eq!(params.get("a"), Some("query"));
        assert_eq!(params.to_query(), "a=query&a=body&b=1");
    }

    #[test]
    fn the_number_of_pairs_is_bounded() {
        assert!(Params::parse(b"a&b&c", 3).is_ok());
        assert_eq!(Params::parse(b"a&b&c&d", 3), Err(TooManyParams { limit: 3 }));
        assert!(Params::parse(&b"&".repeat(10), 3).is_err());
        assert!(Params::parse(&b"checksum=1&".repeat(10), 3).is_err());
        let mut params = Params::parse(b"a&b", 3).unwrap();
        assert!(params.append_form(b"c&d", 3).is_err());
    }

    #[test]
    fn debug_shows_no_values() {
        let shown = format!("{:?}", parse("moderatorPW=hush"));
        assert!(shown.contains("moderatorPW") && !shown.contains("hush"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn legal_bytes_pass_unchanged(query in "([a-zA-Z0-9_.~*!(),;:@/?$&=+-]|%[0-9a-fA-F]{2}){0,60}") {
            let params = Params::parse(query.as_bytes(), 100).unwrap();
            prop_assert_eq!(params.to_query(), query);
        }

        #[test]
        fn any_bytes_become_a_legal_query(query in proptest::collection::vec(any::<u8>(), 0..100)) {
            let Ok(params) = Params::parse(&query, 200) else { return Ok(()) };
            let sent = params.to_query();
            let is_legal = sent.bytes().all(|byte| byte.is_ascii_graphic() && !br#"`"<>[\]^{|}#"#.contains(&byte));
            prop_assert!(is_legal, "illegal byte in {sent}");
            let again = Params::parse(sent.as_bytes(), 200).unwrap();
            prop_assert!(params.iter().eq(again.iter()));
        }

        #[test]
        fn the_short_way_reads_the_same(query in "([ab&=+ ]|%61|%0A|%20|%FF){0,20}") {
            let params = Params::parse(query.as_bytes(), 100).unwrap();
            for name in ["a", "b", "ab", ""] {
                let short = first_value(query.as_bytes(), name);
                prop_assert_eq!(short.as_deref(), params.get(name));
            }
        }
    }
}
