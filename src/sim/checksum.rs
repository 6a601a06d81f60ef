//! BBB's checksum: `hex(H(call + Q + secret))` over the raw query without the checksum (bbb-api.md section 2).
//!
//! `Q` is made by plain replacement with the value of the first `checksum` parameter, as BBB does it, quirks included:
//! a second checksum with another value and a trailing `&` stay in. Only the rebuilt form of era B encodes anything.

use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

use super::version::{FormSignature, SimVersion};

/// A hash BBB knows by the length of its hex digest (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashName {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl HashName {
    pub const ALL: [HashName; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Lower-case hex digest of `text`.
    pub(super) fn hex(self, text: &str) -> String {
        match self {
            Self::Sha1 => hex(&Sha1::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha384 => hex(&Sha384::digest(text)),
            Self::Sha512 => hex(&Sha512::digest(text)),
        }
    }

    /// The hash a digest of `length` hex digits asks for, if this server may compute it.
    fn by_length(length: usize, generation: SimVersion, allowed: &[HashName]) -> Option<Self> {
        if generation == SimVersion::V2_3 {
            return Some(if length == 64 { Self::Sha256 } else { Self::Sha1 });
        }
        let name = match length {
            40 => Self::Sha1,
            64 => Self::Sha256,
            96 => Self::Sha384,
            128 => Self::Sha512,
            _ => return None,
        };
        if generation == SimVersion::V2_4 {
            return matches!(name, Self::Sha1 | Self::Sha256).then_some(name);
        }
        allowed.contains(&name).then_some(name)
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a checksum is verified against.
pub(super) struct Signed<'a> {
    /// BBB's own spelling of the call.
    pub call: &'a str,
    /// The query exactly as it arrived, without `?`.
    pub raw_query: &'a str,
    /// All parameters, decoded: the query's first, then those of a form body.
    pub parameters: &'a [(String, String)],
    /// The first `checksum` parameter.
    pub checksum: &'a str,
}

/// Whether the digest is right (sections 2.1 to 2.4). An empty secret accepts everything.
pub(super) fn is_valid(signed: &Signed<'_>, secret: &str, generation: SimVersion, allowed: &[HashName]) -> bool {
    if secret.is_empty() {
        return true;
    }
    let Some(hash) = HashName::by_length(signed.checksum.len(), generation, allowed) else { return false };
    let covered = covered_text(signed, generation.form_signature());
    let expected = hash.hex(&format!("{}{covered}{secret}", signed.call));
    if generation.has_validation() {
        expected.eq_ignore_ascii_case(signed.checksum)
    } else {
        expected == signed.checksum
    }
}

fn covered_text(signed: &Signed<'_>, rule: FormSignature) -> String {
    if rule == FormSignature::RebuiltIfNoQuery && signed.raw_query.is_empty() {
        return rebuilt(signed.parameters);
    }
    without_checksum(signed.raw_query, signed.checksum)
}

/// Section 2.3: three plain replacements, every occurrence, in this order.
fn without_checksum(raw_query: &str, value: &str) -> String {
    raw_query
        .replace(&format!("&checksum={value}"), "")
        .replace(&format!("checksum={value}&"), "")
        .replace(&format!("checksum={value}"), "")
}

/// Era B: keys sorted and left alone, the first value of each form-encoded.
fn rebuilt(parameters: &[(String, String)]) -> String {
    let mut first: Vec<(&str, &str)> = Vec::new();
    for (key, value) in parameters {
        if key != "checksum" && !first.iter().any(|(seen, _)| seen == key) {
            first.push((key, value));
        }
    }
    // Java compares UTF-16 units; that differs from code points only beyond the basic plane.
    first.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    let pairs: Vec<String> = first.iter().map(|(key, value)| format!("{key}={}", form_encoded(value))).collect();
    pairs.join("&")
}

fn form_encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const S1: &str = "s3cr3t-Rust-LB-0001";

    fn valid(call: &str, raw_query: &str, checksum: &str, generation: SimVersion) -> bool {
        let signed = Signed { call, raw_query, parameters: &[], checksum };
        is_valid(&signed, S1, generation, &HashName::ALL)
    }

    #[test]
    fn the_reference_vectors_verify_wherever_the_checksum_stands() {
        let digest = "69b8a37da06996dd633e83d33c04910bba2f4eb41b3bd55e9fa59da97315285b";
        for query in [
            format!("name=Physics+101&meetingID=phy-101&record=true&checksum={digest}"),
            format!("checksum={digest}&name=Physics+101&meetingID=phy-101&record=true"),
            format!("name=Physics+101&checksum={digest}&meetingID=phy-101&record=true"),
        ] {
            assert!(valid("create", &query, digest, SimVersion::V3_0), "{query}");
        }
        assert!(!valid(
            "create",
            &format!("name=Physics%20101&meetingID=phy-101&record=true&checksum={digest}"),
            digest,
            SimVersion::V3_0
        ));
        let sha512 = "493b9985ac66c8d656914af085b27b8dcdd2180dc67db0a424aca7f9a4d9a3f4cee25880709a1c38ad5558652fad41e95f4d122e62469e3e01269924e1020292";
        let query = format!("checksum={sha512}");
        assert!(valid("getMeetings", &query, sha512, SimVersion::V2_6));
        assert!(!valid("getMeetings", &query, sha512, SimVersion::V2_4), "SHA-512 came with 2.5");
        let leading = "9457d4ede25ba849a3e21819bc7d1a1c17c7c4de";
        let query = format!(
            "&fullName=Ann&meetingID=phy-101&role=VIEWER&redirect=true&existingUserID=w_abcdefghijkl&checksum={leading}"
        );
        assert!(valid("join", &query, leading, SimVersion::V3_0));
    }

    #[test]
    fn letter_case_of_the_digest_counts_only_up_to_2_3() {
        let digest = "0475C880B9CB93E9C053199826881ADFF1C045B8";
        let query = format!("checksum={digest}");
        assert!(valid("getMeetings", &query, digest, SimVersion::V2_4));
        assert!(!valid("getMeetings", &query, digest, SimVersion::V2_3));
    }

    #[test]
    fn form_posts_are_signed_by_era() {
        let parameters: Vec<(String, String)> =
            [("name", "Physics 101"), ("moderatorPW", "mp"), ("meetingID", "phy-101"), ("attendeePW", "ap")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec();
        let check = |checksum: &str, generation| {
            let signed = Signed { call: "create", raw_query: "", parameters: &parameters, checksum };
            is_valid(&signed, S1, generation, &HashName::ALL)
        };
        let rebuilt = "a3b9934e7957ccfb7d988372879c22de9239575b";
        let unsigned = "37a4a780b854f1c1269908cee3790dced584054ff79bc06c1b9fef6a5a0b28de";
        assert!(check(rebuilt, SimVersion::V2_6) && !check(unsigned, SimVersion::V2_6));
        assert!(!check(rebuilt, SimVersion::V2_7) && check(unsigned, SimVersion::V2_7));
        assert!(check(unsigned, SimVersion::V2_3));
    }

    #[test]
    fn an_algorithm_the_operator_removed_fails() {
        let digest = "0475c880b9cb93e9c053199826881adff1c045b8";
        let signed = Signed { call: "getMeetings", raw_query: "", parameters: &[], checksum: digest };
        assert!(!is_valid(&signed, S1, SimVersion::V3_0, &[HashName::Sha256]));
        assert!(is_valid(&signed, S1, SimVersion::V3_0, &[HashName::Sha1]));
    }
}
