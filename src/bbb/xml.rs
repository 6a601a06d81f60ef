//! A bounded, strict reading of one XML document.
//!
//! The tree holds places in the text, not copies, so that a `<meeting>` can be cut out exactly as the server wrote it.
//! Strictness protects the front ends: quick-xml lets pass what their parsers refuse (names such as `1a`, control
//! characters, unclosed roots), so those are checked here. Document types and entities of their own are refused: BBB
//! sends none, and they are how XML bombs are built. Size and depth are bounded.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::reader::Reader;

use crate::bbb::read::Reply;
use crate::bbb::xml_write::{is_legal, is_name, legal};

/// The largest answer that is read, in bytes: a pool server with 2 000 people answers getMeetings in about 1 MiB.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The deepest nesting of elements. BBB's deepest answer (recording previews) has nine levels.
const MAX_DEPTH: usize = 32;

/// The most attributes of one element. BBB's richest element (a preview's image) has three.
const MAX_ATTRIBUTES: usize = 64;

/// Before a document it is a mark, inside it is a character like others.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why an answer of a BBB server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    #[error("the answer is not well-formed XML")]
    NotXml,
    #[error("the answer has no returncode")]
    NoReturncode,
    #[error("the answer nests elements too deeply")]
    TooDeep,
    #[error("the answer is too large")]
    TooLarge,
    #[error("the answer is not UTF-8")]
    Encoding,
    #[error("the answer carries a document type")]
    Doctype,
    #[error("the answer lacks {0}")]
    Missing(&'static str),
    #[error("the server refused: {}", .0.key)]
    Failed(Reply),
}

impl From<quick_xml::Error> for BadAnswer {
    fn from(_: quick_xml::Error) -> Self {
        BadAnswer::NotXml
    }
}

/// The text of an answer: UTF-8, no byte order mark, without characters that XML forbids.
pub(crate) fn text_of(body: &[u8]) -> Result<Cow<'_, str>, BadAnswer> {
    if body.len() > MAX_ANSWER_BYTES {
        return Err(BadAnswer::TooLarge);
    }
    let text = std::str::from_utf8(body).map_err(|_| BadAnswer::Encoding)?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    Ok(legal(text))
}

/// An element's number in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element(usize);

#[derive(Debug)]
struct Node {
    name: Range<usize>,
    /// From `<` of the start tag to after `>` of the end tag.
    span: Range<usize>,
    /// Between the tags.
    inner: Range<usize>,
    parent: Option<usize>,
    /// The first node that is not inside this one.
    next: usize,
}

/// A well-formed document and the places of its elements.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    source: &'a str,
    nodes: Vec<Node>,
    /// A name has a namespace prefix. BBB declares none, so namespace-aware parsers refuse such a document.
    pub has_prefix: bool,
}

impl<'a> Document<'a> {
    /// Reads `source`, which must be one element with at most a declaration, comments and blanks around it.
    pub fn parse(source: &'a str) -> Result<Self, BadAnswer> {
        Self::parse_at_most(source, usize::MAX)
    }

    /// The same of something that has no business to hold more than `most` elements.
    pub fn parse_at_most(source: &'a str, most: usize) -> Result<Self, BadAnswer> {
        // A mark that is left here is a second one; quick-xml would skip it.
        if source.starts_with(BYTE_ORDER_MARK) {
            return Err(BadAnswer::NotXml);
        }
        let mut reader = Reader::from_str(source);
        reader.config_mut().check_comments = true;
        let mut document = Document { source, nodes: Vec::new(), has_prefix: false };
        let mut open: Vec<usize> = Vec::new();
        loop {
            let start = position(&reader);
            let event = reader.read_event()?;
            let end = position(&reader);
            if document.nodes.len() > most {
                return Err(BadAnswer::TooLarge);
            }
            match event {
                Event::Start(tag) => {
                    document.begin(&tag, start..end, &open)?;
                    open.push(document.nodes.len() - 1);
                }
                Event::Empty(tag) => {
                    document.begin(&tag, start..end, &open)?;
                }
                Event::End(_) => {
                    let closed = open.pop().ok_or(BadAnswer::NotXml)?;
                    let next = document.nodes.len();
                    let node = &mut document.nodes[closed];
                    node.span.end = end;
                    node.inner.end = start;
                    node.next = next;
                }
                Event::Text(text) => {
                    let is_blank = text.trim_ascii().is_empty();
                    if (open.is_empty() && !is_blank) || text.contains("]]>") {
                        return Err(BadAnswer::NotXml);
                    }
                }
                Event::CData(_) if open.is_empty() => return Err(BadAnswer::NotXml),
                Event::GeneralRef(reference) => {
                    if open.is_empty() || resolve(&reference).is_none() {
                        return Err(BadAnswer::NotXml);
                    }
                }
                Event::Decl(declaration) => {
                    if start != 0 || !is_declaration(&declaration) {
                        return Err(BadAnswer::NotXml);
                    }
                    let encoding = declaration.encoding().transpose().map_err(|_| BadAnswer::NotXml)?;
                    if encoding.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
                        return Err(BadAnswer::Encoding);
                    }
                }
                Event::PI(instruction) => {
                    let target = instruction.target();
                    if !is_name(target) || target.eq_ignore_ascii_case("xml") {
                        return Err(BadAnswer::NotXml);
                    }
                }
                Event::DocType(_) => return Err(BadAnswer::Doctype),
                Event::CData(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        if !open.is_empty() || document.nodes.is_empty() {
            return Err(BadAnswer::NotXml);
        }
        Ok(document)
    }

    fn begin(&mut self, tag: &BytesStart<'_>, span: Range<usize>, open: &[usize]) -> Result<(), BadAnswer> {
        if open.len() >= MAX_DEPTH {
            return Err(BadAnswer::TooDeep);
        }
        let is_second_root = open.is_empty() && !self.nodes.is_empty();
        let name = tag.name().into_inner();
        if is_second_root || !is_name(name) {
            return Err(BadAnswer::NotXml);
        }
        // Looked at in any case: this is also where attributes are refused.
        let is_attribute_prefixed = has_prefixed_attribute(tag)?;
        self.has_prefix |= is_attribute_prefixed || name.contains(':');
        self.nodes.push(Node {
            name: span.start + 1..span.start + 1 + name.len(),
            inner: span.end..span.end,
            span,
            parent: open.last().copied(),
            next: self.nodes.len() + 1,
        });
        Ok(())
    }

    pub fn root(&self) -> Element {
        Element(0)
    }

    /// All elements in document order.
    pub fn elements(&self) -> impl Iterator<Item = Element> + use<> {
        (0..self.nodes.len()).map(Element)
    }

    pub fn children(&self, parent: Element) -> impl Iterator<Item = Element> {
        let mut next = parent.0 + 1;
        let end = self.nodes[parent.0].next;
        std::iter::from_fn(move || {
            let current = next;
            next = self.nodes.get(current)?.next;
            (current < end).then_some(Element(current))
        })
    }

    /// The first child of that name.
    pub fn child(&self, parent: Element, name: &str) -> Option<Element> {
        self.children(parent).find(|&child| self.name(child) == name)
    }

    pub fn parent(&self, element: Element) -> Option<Element> {
        self.nodes[element.0].parent.map(Element)
    }

    pub fn name(&self, element: Element) -> &'a str {
        &self.source[self.nodes[element.0].name.clone()]
    }

    /// Where the element stands, tags included.
    pub fn span(&self, element: Element) -> Range<usize> {
        self.nodes[element.0].span.clone()
    }

    /// Where the element's content stands; empty for `<a/>`.
    pub fn inner(&self, element: Element) -> Range<usize> {
        self.nodes[element.0].inner.clone()
    }

    /// What stands there.
    pub fn slice(&self, place: Range<usize>) -> &'a str {
        &self.source[place]
    }

    /// The element as the server wrote it.
    pub fn raw(&self, element: Element) -> &'a str {
        &self.source[self.span(element)]
    }

    /// The element's own text without surrounding blanks, entities and CDATA resolved; text of children is left out.
    pub fn text(&self, element: Element) -> Cow<'a, str> {
        let raw = &self.source[self.inner(element)];
        if memchr::memchr2(b'<', b'&', raw.as_bytes()).is_none() {
            return Cow::Borrowed(raw.trim());
        }
        Cow::Owned(resolved_text(raw).trim().to_owned())
    }

    /// Text of the first child of that name; empty when absent.
    pub fn child_text(&self, parent: Element, name: &str) -> Cow<'a, str> {
        self.child(parent, name).map_or(Cow::Borrowed(""), |child| self.text(child))
    }

    /// The name of each child of `parent`'s child `list` with its text; empty when `list` is absent.
    pub fn entries(&self, parent: Element, list: &str) -> Vec<(String, String)> {
        let Some(list) = self.child(parent, list) else {
            return Vec::new();
        };
        self.children(list).map(|child| (self.name(child).to_owned(), self.text(child).into_owned())).collect()
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// Reads the attributes; true if one has a prefix or declares a namespace. The prefix `xml` needs no declaration.
fn has_prefixed_attribute(tag: &BytesStart<'_>) -> Result<bool, BadAnswer> {
    let mut has_prefix = false;
    for (number, attribute) in tag.attributes().enumerate() {
        let attribute = attribute.map_err(|_| BadAnswer::NotXml)?;
        let name = attribute.key.into_inner();
        let value = quick_xml::escape::unescape(&attribute.value).map_err(|_| BadAnswer::NotXml)?;
        let is_sound = is_name(name) && !attribute.value.contains('<') && value.chars().all(is_legal);
        if !is_sound || number >= MAX_ATTRIBUTES {
            return Err(BadAnswer::NotXml);
        }
        has_prefix |= name == "xmlns" || name.contains(':') && !name.starts_with("xml:");
    }
    if are_attributes_apart(tag) { Ok(has_prefix) } else { Err(BadAnswer::NotXml) }
}

/// True if a blank follows each value; quick-xml does without.
fn are_attributes_apart(tag: &str) -> bool {
    let mut rest = tag;
    while let Some((_, from_value)) = rest.split_once(['"', '\'']) {
        let quote = tag.as_bytes()[tag.len() - from_value.len() - 1];
        let Some(end) = memchr::memchr(quote, from_value.as_bytes()) else { return false };
        rest = &from_value[end + 1..];
        if !rest.is_empty() && !rest.starts_with([' ', '\t', '\r', '\n']) {
            return false;
        }
    }
    true
}

/// True if it says version, encoding and standalone, as far as it says them, in this order (XML 1.0, production 23).
fn is_declaration(declaration: &BytesDecl<'_>) -> bool {
    let tag = BytesStart::from_content(&**declaration, "xml".len());
    let mut expected = ["version", "encoding", "standalone"].into_iter();
    let mut is_expected = |attribute: Attribute<'_>| {
        let name = attribute.key.into_inner();
        let value = &*attribute.value;
        let is_said = match name {
            "version" => {
                let minor = value.strip_prefix("1.").unwrap_or_default();
                !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
            }
            "standalone" => matches!(value, "yes" | "no"),
            _ => true,
        };
        is_said && expected.any(|next| next == name)
    };
    let has_version =
        tag.attributes().next().is_some_and(|first| first.is_ok_and(|first| first.key.into_inner() == "version"));
    has_version && tag.attributes().map_while(Result::ok).all(&mut is_expected) && are_attributes_apart(&tag)
}

/// The character behind `&…;`: one of XML's own five, or a legal one by number.
fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    match &**reference {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => reference.resolve_char_ref().ok().flatten().filter(|&c| is_legal(c)),
    }
}

fn resolved_text(raw: &str) -> String {
    let mut reader = Reader::from_str(raw);
    let mut text = String::with_capacity(raw.len());
    let mut depth = 0_usize;
    // quick-xml takes it for the mark of a document and skips it.
    if raw.starts_with(BYTE_ORDER_MARK) {
        text.push(BYTE_ORDER_MARK);
    }
    // The document was read once without error, so the first error here would mean its end.
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(piece) if depth == 0 => text.push_str(&piece),
            Event::CData(piece) if depth == 0 => text.push_str(&piece),
            Event::GeneralRef(reference) if depth == 0 => text.extend(resolve(&reference)),
            Event::Eof => break,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(source: &str) -> Option<BadAnswer> {
        Document::parse(source).err()
    }

    #[test]
    fn finds_children_texts_and_raw_spans() {
        let source = "<?xml version='1.0' encoding='utf-8'?>\n<r><a> x &amp; y<b>no</b><![CDATA[<z>]]>&#252; </a><c/><a>2</a></r>";
        let document = Document::parse(source).unwrap();
        let root = document.root();
        let a = document.child(root, "a").unwrap();
        assert_eq!(document.text(a), "x & y<z>ü");
        assert_eq!(document.raw(a), "<a> x &amp; y<b>no</b><![CDATA[<z>]]>&#252; </a>");
        assert_eq!(document.children(root).map(|child| document.name(child)).collect::<Vec<_>>(), ["a", "c", "a"]);
        assert_eq!(document.child_text(root, "c"), "");
        let marked = Document::parse("<a>\u{feff}&amp;</a>").unwrap();
        assert_eq!(marked.text(marked.root()), "\u{feff}&");
        assert_eq!(document.raw(document.child(root, "c").unwrap()), "<c/>");
        assert_eq!(document.parent(document.child(a, "b").unwrap()), Some(a));
    }

    #[test]
    fn refuses_what_front_ends_would_refuse() {
        for source in [
            "",
            " ",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a/>x",
            "x<a/>",
            "<1/>",
            "<a><b c></a>",
            "<a b=c/>",
            "<a b='<'/>",
            "<a b='1' b='2'/>",
            "<a>&unknown;</a>",
            "<a>&#0;</a>",
            "<a>&#xFFFE;</a>",
            "<a>& b</a>",
            "<a>]]></a>",
            "<a><!-- -- --></a>",
            "<a><b</a>",
            "<a><>x</></a>",
            " <?xml version='1.0'?><a/>",
            "<a/>&amp;",
            "\u{feff}<a/>",
            "<a b='1'c='2'/>",
            "<a b='&#1;'/>",
            "<a:b c/>",
            "<?xml?><a/>",
            "<?xml encoding='utf-8' version='1.0'?><a/>",
            "<?xml version='2'?><a/>",
            "<?xml version='1.0' standalone='1'?><a/>",
            "<?xml version='1.0'encoding='utf-8'?><a/>",
            "<?1?><a/>",
            "<a/><?XML x?>",
        ] {
            assert_eq!(error(source), Some(BadAnswer::NotXml), "{source}");
        }
        assert_eq!(error("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), Some(BadAnswer::Doctype));
        assert_eq!(error("<?xml version='1.0' encoding='ISO-8859-1'?><a/>"), Some(BadAnswer::Encoding));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert_eq!(error(&nested(MAX_DEPTH)), None);
        assert_eq!(error(&nested(MAX_DEPTH + 1)), Some(BadAnswer::TooDeep));
        let with_attributes = |count: usize| {
            let attributes: String = (0..count).map(|number| format!(" a{number}=''")).collect();
            format!("<a{attributes}/>")
        };
        assert_eq!(error(&with_attributes(MAX_ATTRIBUTES)), None);
        assert_eq!(error(&with_attributes(MAX_ATTRIBUTES + 1)), Some(BadAnswer::NotXml));
        assert_eq!(text_of(&vec![b' '; MAX_ANSWER_BYTES + 1]), Err(BadAnswer::TooLarge));
        assert_eq!(text_of(b"<a>\xff</a>"), Err(BadAnswer::Encoding));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn never_panics(source in "(<a>|</a>|<b/>|<a b='|'>|&amp;|&#1;|&|;|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<\\?|\\?>|[a-zü<> ]){0,20}") {
            if let Ok(document) = Document::parse(&source) {
                for element in document.elements() {
                    let inside = document.inner(element);
                    let span = document.span(element);
                    prop_assert!(span.start < inside.start && inside.end <= span.end);
                    let _ = document.text(element);
                }
            }
        }
    }
}
