//! Checksums of BBB calls: `hex(H(call + query + secret))`, bbb-api.md section 2.
//!
//! Always on the raw bytes as they arrived: decoding and encoding again changes the digest (section 2.5). Removing the
//! checksum from a query imitates bbb-web's substring replacement, oddities included, because the caller's library and
//! BBB agree on exactly that. An empty secret never matches; in bbb-web it would switch the check off.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use memchr::memmem;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};
use url::form_urlencoded;

use crate::bbb::params::{Params, decode, split_pair};
use crate::ids::Secret;

/// A digest's longest form in bytes (SHA-512).
const LONGEST_DIGEST: usize = 64;

/// A digest that signs calls; the checksum's length in hexadecimal says which (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    /// All of them, weakest first: BBB's default of `supportedChecksumAlgorithms`.
    pub const ALL: [Algorithm; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The algorithm whose digest has `length` hexadecimal digits.
    pub fn from_hex_len(length: usize) -> Option<Self> {
        match length {
            40 => Some(Self::Sha1),
            64 => Some(Self::Sha256),
            96 => Some(Self::Sha384),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// BBB's name: `sha1`, `sha256`, `sha384`, `sha512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Writes the digest of all `parts` to `out` and returns its length in bytes.
    fn digest(self, parts: [&[u8]; 3], out: &mut [u8; LONGEST_DIGEST]) -> usize {
        fn run<D: Digest>(parts: [&[u8]; 3], out: &mut [u8; LONGEST_DIGEST]) -> usize {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            let digest = hash.finalize();
            out[..digest.len()].copy_from_slice(&digest);
            digest.len()
        }
        match self {
            Self::Sha1 => run::<Sha1>(parts, out),
            Self::Sha256 => run::<Sha256>(parts, out),
            Self::Sha384 => run::<Sha384>(parts, out),
            Self::Sha512 => run::<Sha512>(parts, out),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names none of the four algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown checksum algorithm; known are sha1, sha256, sha384, sha512")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(UnknownAlgorithm)
    }
}

/// A query without its checksum. No `Debug`: neither part belongs into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Stripped<'a> {
    /// Value of the first `checksum` parameter, form-decoded; `None` when there is no such parameter.
    pub checksum: Option<Cow<'a, [u8]>>,
    /// What is signed.
    pub rest: Cow<'a, [u8]>,
}

/// Takes the checksum out of a raw query as bbb-web does (section 2.3): every occurrence of `&checksum=v`, then of
/// `checksum=v&`, then of `checksum=v`, where `v` is the value of the first `checksum` parameter.
pub fn strip_checksum(query: &[u8]) -> Stripped<'_> {
    let ends = memchr::memchr_iter(b'&', query).chain([query.len()]);
    let pairs = ends.scan(0, |start, end| Some(&query[std::mem::replace(start, end + 1)..end]));
    let Some(pair) = { pairs }.find(|pair| is_checksum(split_pair(pair).0)) else {
        return Stripped { checksum: None, rest: Cow::Borrowed(query) };
    };
    let checksum = decode(split_pair(pair).1);
    let rest = match checksum {
        // The usual case: the pair itself is what BBB looks for.
        Cow::Borrowed(_) if pair.starts_with(NAMED) => cut_all(query, pair),
        _ => cut_all(query, &[NAMED, checksum.as_ref()].concat()),
    };
    Stripped { checksum: Some(checksum), rest }
}

const NAMED: &[u8] = b"checksum=";
/// Made once: building a finder costs more than using it.
static NAMES: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(NAMED));

fn is_checksum(name: &[u8]) -> bool {
    name == b"checksum" || (name.contains(&b'%') && *decode(name) == *b"checksum")
}

/// `needle` begins with [`NAMED`].
fn cut_all<'a>(query: &'a [u8], needle: &[u8]) -> Cow<'a, [u8]> {
    let mut places = NAMES.find_iter(query).filter(|place| query[*place..].starts_with(needle));
    let Some(start) = places.next() else {
        return Cow::Borrowed(query);
    };
    let end = start + needle.len();
    let is_only = places.next().is_none();
    if is_only && end == query.len() {
        let amp = usize::from(start > 0 && query[start - 1] == b'&');
        return Cow::Borrowed(&query[..start - amp]);
    }
    if is_only && start == 0 && query[end] == b'&' {
        return Cow::Borrowed(&query[end + 1..]);
    }
    let with_amp_before = remove_every(query, &[b"&", needle].concat());
    let with_amp_after = remove_every(&with_amp_before, &[needle, b"&"].concat());
    Cow::Owned(remove_every(&with_amp_after, needle))
}

fn remove_every(text: &[u8], needle: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut from = 0;
    for place in memmem::find_iter(text, needle) {
        kept.extend_from_slice(&text[from..place]);
        from = place + needle.len();
    }
    kept.extend_from_slice(&text[from..]);
    kept
}

/// True if `given` (hexadecimal, any case) signs `call` + `query` with one of `secrets` and an algorithm of `allowed`.
///
/// Takes the same time whichever secret matches; allocates nothing.
pub fn verify<'s>(
    call: &str,
    query: &[u8],
    given: &[u8],
    secrets: impl Iterator<Item = &'s Secret>,
    allowed: &[Algorithm],
) -> bool {
    let Some(algorithm) = Algorithm::from_hex_len(given.len()).filter(|algorithm| allowed.contains(algorithm)) else {
        return false;
    };
    let mut wanted = [0; LONGEST_DIGEST];
    if const_hex::decode_to_slice(given, &mut wanted[..given.len() / 2]).is_err() {
        return false;
    }
    let mut found = Choice::from(0);
    for secret in secrets {
        let mut digest = [0; LONGEST_DIGEST];
        algorithm.digest([call.as_bytes(), query, secret.reveal().as_bytes()], &mut digest);
        found |= same(&digest, &wanted) & Choice::from(u8::from(!secret.is_empty()));
    }
    found.into()
}

/// The checksum of `call` + `query` under `secret`, in lower-case hexadecimal.
pub fn sign(call: &str, query: &str, secret: &Secret, algorithm: Algorithm) -> String {
    let mut digest = [0; LONGEST_DIGEST];
    let length = algorithm.digest([call.as_bytes(), query.as_bytes(), secret.reveal().as_bytes()], &mut digest);
    const_hex::encode(&digest[..length])
}

/// `hex(sha1(meetingID))`: the first part of BBB's internal meeting id and of the recording id (section 0).
pub fn internal_prefix(meeting_id: &str) -> String {
    const_hex::encode(Sha1::digest(meeting_id.as_bytes()))
}

/// What BBB 2.4 to 2.6.17 and 2.7.0 to 2.7.7 sign for a form POST without a query (era B, section 2.4): all parameters
/// but the checksum, sorted by name in Java's string order, names as they are, values form-encoded.
pub fn form_signature_base(params: &Params) -> Vec<u8> {
    let mut pairs: Vec<(&str, &str)> = params.iter_untrimmed().collect();
    // Stable, so that the first of several stays in front.
    pairs.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    pairs.dedup_by_key(|(name, _)| *name);
    let mut base = Vec::new();
    for (name, value) in pairs {
        if !base.is_empty() {
            base.push(b'&');
        }
        base.extend_from_slice(name.as_bytes());
        base.push(b'=');
        for piece in form_urlencoded::byte_serialize(value.as_bytes()) {
            base.extend_from_slice(piece.as_bytes());
        }
    }
    base
}

/// In words, because comparing byte by byte in constant time costs as much as the digest.
fn same(a: &[u8; LONGEST_DIGEST], b: &[u8; LONGEST_DIGEST]) -> Choice {
    a.as_chunks()
        .0
        .iter()
        .zip(b.as_chunks().0)
        .fold(Choice::from(1), |same, (a, b)| same & u64::from_ne_bytes(*a).ct_eq(&u64::from_ne_bytes(*b)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Algorithm::{Sha1 as S1, Sha256 as S256, Sha384 as S384, Sha512 as S512};

    const DOCUMENTED: &str = "639259d4-9dd8-4b25-bf01-95f9567eaf4b";
    const OURS: &str = "s3cr3t-Rust-LB-0001";

    /// Section 2.8, in its order: secret, call, query, algorithm, digest.
    const VECTORS: [(&str, &str, &str, Algorithm, &str); 20] = [
        (
            DOCUMENTED,
            "create",
            "name=Test+Meeting&meetingID=abc123&attendeePW=111222&moderatorPW=333444",
            S1,
            "1fcbb0c4fc1f039f73aa6d697d2db9ba7f803f17",
        ),
        (OURS, "getMeetings", "", S1, "0475c880b9cb93e9c053199826881adff1c045b8"),
        (OURS, "getMeetings", "", S256, "365bc0145a0fdff72ddf097fb0a5f0dbfdc416722011072d5ac70aca8e5f6e6a"),
        (
            OURS,
            "getMeetings",
            "",
            S384,
            "b52f8e6a17c3141466a8409c6bf13139ef0c4c9ac778379dc320f7dedbc8e77e425998459efbad05ddf2352127a959f2",
        ),
        (
            OURS,
            "getMeetings",
            "",
            S512,
            "493b9985ac66c8d656914af085b27b8dcdd2180dc67db0a424aca7f9a4d9a3f4cee25880709a1c38ad5558652fad41e95f4d122e62469e3e01269924e1020292",
        ),
        (
            OURS,
            "create",
            "name=Physics+101&meetingID=phy-101&record=true",
            S256,
            "69b8a37da06996dd633e83d33c04910bba2f4eb41b3bd55e9fa59da97315285b",
        ),
        (
            OURS,
            "create",
            "name=Physics%20101&meetingID=phy-101&record=true",
            S256,
            "e026f92165513542fe34ee5ca85070b6d16b6e70b992d738a3bb8da58eb9f457",
        ),
        (
            OURS,
            "create",
            "meetingID=phy-101&name=Physics+101&record=true",
            S256,
            "3b8bbd7b36dd8c7f23311acdc2c4e298f3bdd5d7107a87475e6a5bc351df1c39",
        ),
        (
            OURS,
            "join",
            "fullName=J%C3%BCrgen+M%C3%BCller&meetingID=phy-101&role=VIEWER&redirect=false",
            S256,
            "707d555dc9d2f5fb289cddb25793e4611950ddd1ba74972d80f9fa8a19347749",
        ),
        (
            OURS,
            "join",
            "fullName=J%c3%bcrgen+M%c3%bcller&meetingID=phy-101&role=VIEWER&redirect=false",
            S256,
            "d7f8a964a7ff37000bdd96eddcc25f9fbdbfc513674c7a64262d77054cabf34b",
        ),
        (OURS, "isMeetingRunning", "meetingID=phy-101", S1, "4addb9df21b798f6dd66f7a70a6d8456a00676f2"),
        (OURS, "isMeetingRunning", "meetingID=a1&meetingID=b2", S1, "b204cc89e1d1f4f71dc90e4f9121d04589468468"),
        (
            OURS,
            "getMeetingInfo",
            "meetingID=phy-101",
            S256,
            "be44e57b581cb9fd37ee9a2ad4cb3929fb7d381f04991f3c6a980a5b7b97088b",
        ),
        (
            OURS,
            "getRecordings",
            "recordID=0f00ba47aa5b3a6ad0e51c1f6ffb5d7b3b5a8c11-1700000000000,77aa&state=published,unpublished&meta_course=bio",
            S256,
            "9f7f7c23240d450a4c9655a301c1b1a31708fd571a9faa8d0287e335ef4450ec",
        ),
        (OURS, "create", "", S256, "37a4a780b854f1c1269908cee3790dced584054ff79bc06c1b9fef6a5a0b28de"),
        (
            OURS,
            "create",
            "attendeePW=ap&meetingID=phy-101&moderatorPW=mp&name=Physics+101",
            S1,
            "a3b9934e7957ccfb7d988372879c22de9239575b",
        ),
        (
            OURS,
            "setConfigXML",
            "configXML=%3Cconfig%2F%3E&meetingID=phy-101",
            S1,
            "a47e032cf00a1191bd89fb0897662f6fe20beaf2",
        ),
        (
            OURS,
            "putRecordingTextTrack",
            "recordID=abc-1700000000000&kind=subtitles&lang=en-US",
            S256,
            "2f8f31af5614568e37eebdcbf1717e442c9f633ebad2829a3c47fd7c18311abe",
        ),
        (
            OURS,
            "hooks/create",
            "callbackURL=https%3A%2F%2Fapp.example.org%2Fhook%3Fx%3D1&meetingID=phy-101",
            S256,
            "11e52de3a79d279f793eb8e18e801624a0c6a76e46a85149d46821f0a302eb2b",
        ),
        (
            OURS,
            "join",
            "&fullName=Ann&meetingID=phy-101&role=VIEWER&redirect=true&existingUserID=w_abcdefghijkl",
            S1,
            "9457d4ede25ba849a3e21819bc7d1a1c17c7c4de",
        ),
    ];

    #[test]
    fn signs_the_documented_vectors() {
        for (number, (secret, call, query, algorithm, digest)) in VECTORS.into_iter().enumerate() {
            assert_eq!(sign(call, query, &Secret::new(secret), algorithm), digest, "vector {}", number + 1);
        }
        assert_eq!(internal_prefix("phy-101"), "cd2ba3add6da5251b431d853ae201fccce8e877b");
    }

    #[test]
    fn verifies_the_documented_vectors_wherever_the_checksum_stands() {
        for (number, (secret, call, query, _, digest)) in VECTORS.into_iter().enumerate() {
            let secrets = [Secret::new("retired"), Secret::new(secret)];
            let mut shapes = vec![format!("{query}&checksum={digest}"), format!("checksum={digest}&{query}")];
            if query.is_empty() {
                shapes = vec![format!("checksum={digest}")];
            } else if query.starts_with('&') {
                shapes.truncate(1);
            } else if let Some((first, others)) = query.split_once('&') {
                shapes.push(format!("{first}&checksum={digest}&{others}"));
            }
            for shape in shapes {
                let stripped = strip_checksum(shape.as_bytes());
                assert_eq!(stripped.rest, query.as_bytes(), "vector {}", number + 1);
                let given = stripped.checksum.unwrap();
                assert!(verify(call, &stripped.rest, &given, secrets.iter(), &Algorithm::ALL), "vector {}", number + 1);
            }
        }
    }

    #[test]
    fn rebuilds_a_form_post_of_era_b() {
        let digest = VECTORS[15].4;
        let body = format!("name=Physics%20101&moderatorPW=mp&checksum={digest}&meetingID=phy-101&attendeePW=ap");
        let params = Params::parse(body.as_bytes(), 10).unwrap();
        let base = form_signature_base(&params);
        assert_eq!(String::from_utf8(base.clone()).unwrap(), VECTORS[15].2);
        assert!(verify("create", &base, digest.as_bytes(), [Secret::new(OURS)].iter(), &Algorithm::ALL));
    }

    #[test]
    fn form_base_encodes_like_java() {
        let params = Params::parse(b"b=%7E*-._+x&a=%C3%BC&a=second&configXML=%3Cconfig%2F%3E&e=", 10).unwrap();
        let base = String::from_utf8(form_signature_base(&params)).unwrap();
        assert_eq!(base, "a=%C3%BC&b=%7E*-._+x&configXML=%3Cconfig%2F%3E&e=");
        let params = Params::parse("\u{ff5e}=2&\u{10000}=1".as_bytes(), 10).unwrap();
        assert_eq!(form_signature_base(&params), "\u{10000}=1&\u{ff5e}=2".as_bytes(), "order of UTF-16 units");
    }

    #[test]
    fn refuses_what_does_not_match() {
        let (secret, call, query, _, digest) = VECTORS[12];
        let right = [Secret::new(secret)];
        let check = |call: &str, query: &str, given: &str, secrets: &[Secret], allowed: &[Algorithm]| {
            verify(call, query.as_bytes(), given.as_bytes(), secrets.iter(), allowed)
        };
        assert!(check(call, query, &digest.to_uppercase(), &right, &[S256]));
        assert!(!check(call, query, digest, &right, &[S1, S384, S512]), "algorithm not allowed");
        assert!(!check("create", query, digest, &right, &[S256]), "other call");
        assert!(!check(call, "meetingID=phy-102", digest, &right, &[S256]), "other query");
        assert!(!check(call, query, digest, &[Secret::new("other")], &[S256]), "other secret");
        assert!(!check(call, query, digest, &[], &[S256]), "no secret");
        assert!(!check(call, query, &digest[..63], &right, &[S256]), "shorter");
        assert!(!check(call, query, "", &right, &[S256]), "empty");
        assert!(!check(call, query, &digest.replace('b', "x"), &right, &[S256]), "not hexadecimal");
        let unsecured = sign(call, query, &Secret::new(""), S256);
        assert!(!check(call, query, &unsecured, &[Secret::new("")], &[S256]), "an empty secret signs nothing");
    }

    #[test]
    fn strips_exactly_as_bbb_does() {
        let cases = [
            ("", None, ""),
            ("a=1", None, "a=1"),
            ("checksum", Some(""), "checksum"),
            ("a=1&checksum=", Some(""), "a=1"),
            ("a=1&checksum=x", Some("x"), "a=1"),
            ("a=1&checksum=x&", Some("x"), "a=1&"),
            ("a=1&checksum=x&checksum=y", Some("x"), "a=1&checksum=y"),
            ("a=1&checksum=x&b=2&checksum=x", Some("x"), "a=1&b=2"),
            ("checksum=x&a=1", Some("x"), "a=1"),
            ("xchecksum=v&checksum=v", Some("v"), "x"),
            ("checksum=ab&a=1&checksum=abcd", Some("ab"), "a=1cd"),
            ("a=checksum=x&checksum=x", Some("x"), "a="),
            ("&a=1&checksum=x", Some("x"), "&a=1"),
            ("a&chec&checksum=vksum=v", Some("vksum=v"), "a&chec"),
            ("%63hecksum=x&a=1", Some("x"), "%63hecksum=x&a=1"),
            ("a=1&checksum=%78", Some("x"), "a=1&checksum=%78"),
        ];
        for (query, checksum, rest) in cases {
            let stripped = strip_checksum(query.as_bytes());
            assert_eq!(stripped.checksum.as_deref(), checksum.map(str::as_bytes), "{query}");
            assert_eq!(String::from_utf8_lossy(&stripped.rest), rest, "{query}");
        }
    }

    #[test]
    fn borrows_when_only_an_end_is_cut() {
        for query in ["a=1", "a=1&checksum=abc", "checksum=abc&a=1", "checksum=abc"] {
            assert!(matches!(strip_checksum(query.as_bytes()).rest, Cow::Borrowed(_)), "{query}");
        }
    }

    #[test]
    fn algorithms_have_names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), format!("\"{algorithm}\""));
        }
        assert!("SHA1".parse::<Algorithm>().is_err());
        assert_eq!(Algorithm::from_hex_len(41), None);
    }

    /// Section 2.3 word by word, slow on purpose.
    fn strip_naively(query: &str) -> String {
        let Some(value) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "checksum") else {
            return query.to_owned();
        };
        let needle = format!("checksum={}", value.1);
        query.replace(&format!("&{needle}"), "").replace(&format!("{needle}&"), "").replace(&needle, "")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn strips_like_the_replacements(query in "([a&=x]|checksum=|checksum=x|sum=){0,9}") {
            let stripped = strip_checksum(query.as_bytes());
            prop_assert_eq!(String::from_utf8_lossy(&stripped.rest), strip_naively(&query));
        }

        #[test]
        fn survives_any_bytes(query in proptest::collection::vec(any::<u8>(), 0..80), given in proptest::collection::vec(any::<u8>(), 0..130)) {
            let stripped = strip_checksum(&query);
            prop_assert!(stripped.rest.len() <= query.len());
            prop_assert!(!verify("create", &stripped.rest, &given, [Secret::new("s")].iter(), &Algorithm::ALL));
        }
    }
}
