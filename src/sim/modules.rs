//! Reads the XML body of `create` and `insertDocument` (bbb-api.md section 4.2).
//!
//! Keeps the documents as they came; downloads and converts nothing.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::meetings::SimDocument;

/// What the body said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Modules {
    /// The documents of the last `presentation` module; empty if there was none.
    Documents(Vec<SimDocument>),
    /// A document's name cannot be decoded (`fileNameError`).
    BadFileName,
    /// BBB fails with a server error, not with an answer.
    Malformed,
}

/// Reads `<modules>`.
pub(super) fn read(body: &[u8]) -> Modules {
    let Some(documents) = std::str::from_utf8(body).ok().and_then(documents) else {
        return Modules::Malformed;
    };
    if documents.iter().filter_map(|document| document.attribute("name")).any(|name| !is_decodable(name)) {
        return Modules::BadFileName;
    }
    // Java's URL wants a protocol.
    if documents.iter().filter_map(|document| document.attribute("url")).any(|url| url::Url::parse(url).is_err()) {
        return Modules::Malformed;
    }
    Modules::Documents(documents)
}

fn documents(text: &str) -> Option<Vec<SimDocument>> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut path: Vec<String> = Vec::new();
    let mut in_presentation = false;
    let mut found = Vec::new();
    let mut has_root = false;
    loop {
        let (start, is_empty) = match reader.read_event().ok()? {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Text(part) if in_presentation && path.last().is_some_and(|name| name == "document") => {
                add_text(&mut found, &part.xml10_content());
                continue;
            }
            Event::CData(part) if in_presentation && path.last().is_some_and(|name| name == "document") => {
                add_text(&mut found, &part.xml10_content());
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        let name = start.name().as_ref().to_owned();
        let attributes = attributes(&start)?;
        has_root = true;
        match path.len() {
            // Of modules with one name the last wins.
            1 if name == "module" => {
                in_presentation = attributes.iter().any(|(key, value)| key == "name" && value == "presentation");
                if in_presentation {
                    found.clear();
                }
            }
            2 if in_presentation && name == "document" => {
                found.push(SimDocument { attributes, content: String::new() });
            }
            _ => {}
        }
        if !is_empty {
            path.push(name);
        }
    }
    for document in &mut found {
        document.content = document.content.trim().to_owned();
    }
    (has_root && path.is_empty()).then_some(found)
}

fn add_text(found: &mut [SimDocument], text: &str) {
    if let Some(document) = found.last_mut() {
        document.content.push_str(text);
    }
}

fn attributes(start: &BytesStart<'_>) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned();
        all.push((attribute.key.as_ref().to_owned(), value));
    }
    Some(all)
}

/// Whether every `%` starts an escape.
fn is_decodable(name: &str) -> bool {
    let after_percent = name.split('%').skip(1);
    after_percent.into_iter().all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_attributes_and_content() {
        let body = "<?xml version='1.0'?><modules><module name=\"presentation\"><document name='lost.pdf'/></module>\
                    <module name=\"other\"><document name='not this.pdf'>bm8=</document></module><module name=\"presentation\">\
                    <document url=\"https://f.example.org/a?b&amp;c\" filename='a.pdf'/>\
                    <document name='b.pdf'>\n JVBE\nRi0x \n</document></module></modules>";
        let Modules::Documents(documents) = read(body.as_bytes()) else { panic!("not read") };
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].attribute("url"), Some("https://f.example.org/a?b&c"));
        assert_eq!(documents[1].content, "JVBE\nRi0x");
    }

    #[test]
    fn malformed_bodies_and_bad_names_are_told_apart() {
        assert_eq!(read(b"<modules><module name='presentation'>"), Modules::Malformed);
        assert_eq!(read(b"no xml"), Modules::Malformed);
        assert_eq!(read(b"<modules/>"), Modules::Documents(Vec::new()));
        let bad = "<modules><module name='presentation'><document name='100%'>YQ==</document></module></modules>";
        assert_eq!(read(bad.as_bytes()), Modules::BadFileName);
    }
}
