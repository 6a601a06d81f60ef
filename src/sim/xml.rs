//! Writes BBB's XML: no declaration, entity-escaped text, no CDATA (bbb-api.md section 0).
//!
//! Element names are written as given: BBB does not check the names that callers choose (`userdata-*`), and one bad name
//! spoils its whole document (section 3.5). So must this writer be able to.

/// A document under construction, rooted at `<response>`.
pub(super) struct Xml {
    text: String,
    open: Vec<String>,
}

impl Xml {
    /// `<response><returncode>…`.
    pub(super) fn response(returncode: &str) -> Self {
        let mut xml = Self { text: String::with_capacity(512), open: Vec::new() };
        xml.open("response");
        xml.leaf("returncode", returncode);
        xml
    }

    pub(super) fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
        self.open.push(name.to_owned());
    }

    /// Closes the element opened last.
    pub(super) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.text.push_str("</");
            self.text.push_str(&name);
            self.text.push('>');
        }
    }

    pub(super) fn leaf(&mut self, name: &str, value: impl std::fmt::Display) {
        self.open(name);
        escape_into(&mut self.text, &value.to_string());
        self.close();
    }

    pub(super) fn empty(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str("/>");
    }

    /// Text that BBB forgets to escape.
    pub(super) fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Closes what is open and gives the text.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }
}

/// Appends `value` with the five entities escaped.
pub(super) fn escape_into(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&apos;"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_open_elements_closed() {
        let mut xml = Xml::response("SUCCESS");
        xml.open("meetings");
        xml.leaf("name", "a<b> & \"c\" 'd'");
        xml.empty("attendees");
        assert_eq!(
            xml.finish(),
            "<response><returncode>SUCCESS</returncode><meetings><name>a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;</name>\
             <attendees/></meetings></response>"
        );
    }
}
