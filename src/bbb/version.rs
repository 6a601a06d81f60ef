//! What a BBB server's version answer tells (bbb-api.md sections 3.3 and 7).
//!
//! `version` is `2.0` on every BBB, and `bbbVersion` is empty unless the operator of the server allows it, so the line is
//! mostly guessed from which elements are there. The guess is a lower bound.

use std::fmt;

use crate::bbb::fields::Fields;
use crate::bbb::read::succeeded;
use crate::bbb::xml::{BadAnswer, Document, text_of};

/// A line of BBB releases, ordered by age. The development line called 3.1 became 4.0 and sorts between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    pub major: u16,
    pub minor: u16,
}

impl Generation {
    pub const V2_4: Generation = Generation { major: 2, minor: 4 };
    pub const V2_6: Generation = Generation { major: 2, minor: 6 };
    pub const V2_7: Generation = Generation { major: 2, minor: 7 };
    pub const V3_0: Generation = Generation { major: 3, minor: 0 };
    pub const V4_0: Generation = Generation { major: 4, minor: 0 };

    /// Reads `3.0.19`, `2.7.8-beta.1` and the like; `None` without two leading numbers.
    pub fn parse(text: &str) -> Option<Generation> {
        let mut numbers = text.trim().split(['.', '-', '+', '~', '_']);
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Generation { major, minor })
    }
}

/// Whether a server of this version signs a form that has no query over its sorted parameters, as 2.4 to 2.6.17 and 2.7.0
/// to 2.7.7 do (bbb-api.md section 2.4). A guess where the version is not known to the last number.
pub fn signs_forms(version: Option<&str>) -> bool {
    // Servers before 2.6 that do not tell their version are more likely 2.4 or 2.5 than older.
    let Some(version) = version else { return true };
    let Some(Generation { major, minor }) = Generation::parse(version) else { return false };
    let patch = version.split(['.', '-', '+', '~', '_']).nth(2).and_then(|patch| patch.parse::<u32>().ok());
    match (major, minor) {
        (2, 4 | 5) => true,
        (2, 6) => patch.is_some_and(|patch| patch <= 17),
        (2, 7) => patch.is_some_and(|patch| patch <= 7),
        _ => false,
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A server's version answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `version`, 2.0 since BBB 2.0.
    pub api: String,
    /// `bbbVersion`, if the server reveals it.
    pub bbb: Option<String>,
    /// Present since 3.0.
    pub has_graphql: bool,
    /// Present since 2.6.
    pub has_api_version: bool,
}

impl Version {
    /// The version in words, as exactly as it is known.
    pub fn text(&self) -> Option<String> {
        self.bbb.clone().filter(|revealed| !revealed.is_empty()).or_else(|| Some(self.generation()?.to_string()))
    }

    /// The server's line: revealed, or the oldest that answers like this; `None` before 2.6.
    pub fn generation(&self) -> Option<Generation> {
        if let Some(revealed) = self.bbb.as_deref().and_then(Generation::parse) {
            return Some(revealed);
        }
        if self.has_graphql {
            return Some(Generation::V3_0);
        }
        self.has_api_version.then_some(Generation::V2_6)
    }
}

/// Reads the answer of the bare API address.
pub fn read_version(body: &[u8]) -> Result<Version, BadAnswer> {
    let source = text_of(body)?;
    let document = Document::parse(&source)?;
    succeeded(&document)?;
    let root = document.root();
    let fields = Fields { document: &document, element: root };
    let bbb = fields.text("bbbVersion");
    Ok(Version {
        api: fields.text("version"),
        bbb: (!bbb.is_empty()).then_some(bbb),
        has_graphql: document.child(root, "graphqlWebsocketUrl").is_some(),
        has_api_version: document.child(root, "apiVersion").is_some(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn generation(children: &str) -> Option<Generation> {
        let body = format!("<response><returncode>SUCCESS</returncode><version>2.0</version>{children}</response>");
        read_version(body.as_bytes()).unwrap().generation()
    }

    #[test]
    fn guesses_the_line() {
        assert_eq!(generation(""), None);
        assert_eq!(generation("<apiVersion>2.0</apiVersion><bbbVersion></bbbVersion>"), Some(Generation::V2_6));
        let graphql = "<graphqlWebsocketUrl>wss://h/graphql</graphqlWebsocketUrl>";
        assert_eq!(generation(&format!("<bbbVersion/><apiVersion>2.0</apiVersion>{graphql}")), Some(Generation::V3_0));
        assert_eq!(generation(&format!("<bbbVersion>4.0.0-beta.3</bbbVersion>{graphql}")), Some(Generation::V4_0));
    }

    #[test]
    fn forms_are_signed_by_era() {
        for version in ["2.4", "2.5.9", "2.6.0", "2.6.17", "2.7.0-rc.1", "2.7.7"] {
            assert!(signs_forms(Some(version)), "{version}");
        }
        for version in ["2.3.6", "2.6", "2.6.18", "2.7.8", "3.0", "3.0.19", "4.0.0"] {
            assert!(!signs_forms(Some(version)), "{version}");
        }
        assert!(signs_forms(None));
    }

    #[test]
    fn lines_are_ordered() {
        let lines = ["2.3.6", "2.4", "2.6.17", "2.7.8-beta.1", "2.10.0", "3.0.19", "3.1.0-beta.1", "4.0.0"];
        assert!(lines.map(Generation::parse).is_sorted());
        assert_eq!(Generation::parse("x.y"), None);
        assert_eq!(Generation::parse("3"), None);
        assert_eq!(Generation::parse("2.7.8").unwrap().to_string(), "2.7");
    }

    #[test]
    fn reads_what_is_there() {
        let body = b"<response><returncode>SUCCESS</returncode><version>2.0</version><apiVersion>2.0</apiVersion>\
            <bbbVersion>3.0.19</bbbVersion></response>";
        let version = read_version(body).unwrap();
        assert_eq!(version.api, "2.0");
        assert_eq!(version.bbb.as_deref(), Some("3.0.19"));
        assert!(version.has_api_version && !version.has_graphql);
    }
}
