//! One certificate with its chain and its key: read from files, checked, ready to be shown.
//!
//! Nothing bad may reach the listeners, so everything that a client would stumble over is looked for here and said in
//! words. Files are read anew at every reload; this is the one place outside `config` that does so.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::chain;
use super::names::Names;
use super::provider::provider;
use super::trouble::{Troubles, Weight};
use crate::clock::Millis;
use crate::config::CertificateFiles;

/// Bytes. A chain is a few KiB; more is another file.
const MAX_FILE: u64 = 1 << 20;
/// Signatures that no browser takes any more: MD5 and SHA-1, with RSA and ECDSA.
const BROKEN_SIGNATURES: [&str; 3] = ["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];
/// May be read by everybody.
const OTHERS_READ: u32 = 0o004;

/// A certificate that can be shown.
#[derive(Debug)]
pub struct Pair {
    pub files: CertificateFiles,
    pub shown: Arc<CertifiedKey>,
    pub names: Names,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Clients would refuse it at the time it was read.
    pub is_wrong: bool,
}

/// What tells that a file has changed: time, size and inode. `None` if it cannot be looked at.
pub type Stamp = Option<(i64, i64, u64, u64)>;

pub fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
}

/// Reads and checks; `None` if it cannot be served. What is wrong is added to `troubles`.
pub fn load(files: &CertificateFiles, now: Millis, troubles: &mut Troubles) -> Option<Pair> {
    let (cert, key) = (read(&files.cert, ".cert", troubles), read(&files.key, ".key", troubles));
    let chain = cert.and_then(|text| certificates(&files.cert, &text, troubles));
    let key = key.and_then(|text| private_key(files, &text, troubles));
    let (chain, key) = (chain?, key?);
    let signer = match provider().key_provider.load_private_key(key) {
        Ok(signer) => signer,
        Err(_) => {
            let text = format!(
                "{} holds a key that cannot be used; make one with RSA of 2048 bits or more, or ECDSA P-256 or P-384",
                files.key.display()
            );
            troubles.add(Weight::Unusable, ".key", text);
            return None;
        }
    };
    let shown = CertifiedKey::new(chain, signer);
    if !belong_together(&shown) {
        let other = shown
            .cert
            .iter()
            .skip(1)
            .position(|one| belong_together(&CertifiedKey::new(vec![one.clone()], shown.key.clone())));
        let text = match other {
            Some(place) => format!(
                "the key belongs to certificate {} in {}; put that one first, then what signed it",
                place + 2,
                files.cert.display()
            ),
            None => format!("{} is not the key of {}", files.key.display(), files.cert.display()),
        };
        troubles.add(Weight::Unusable, ".key", text);
        return None;
    }
    let mut parsed = Vec::new();
    for (place, der) in shown.cert.iter().enumerate() {
        let Ok((_, certificate)) = parse_x509_certificate(der) else {
            let text = format!("certificate {} in {} cannot be read", place + 1, files.cert.display());
            troubles.add(Weight::Unusable, ".cert", text);
            return None;
        };
        parsed.push(certificate);
    }
    let known = troubles.found.len();
    let leaf = parsed.first()?;
    examine(leaf, now, troubles);
    chain::examine(&parsed, troubles);
    let is_wrong = troubles.found[known..].iter().any(|trouble| trouble.weight >= Weight::Wrong);
    let (names, not_after) = (Names::of(leaf), leaf.validity().not_after.timestamp());
    Some(Pair { files: files.clone(), shown: Arc::new(shown), names, not_after, is_wrong })
}

/// Certificates of authorities, for checking those of clients.
pub fn authorities(path: &Path, troubles: &mut Troubles) -> Option<Vec<CertificateDer<'static>>> {
    let text = read(path, "", troubles)?;
    certificates_at(path, &text, "", troubles)
}

fn read(path: &Path, below: &str, troubles: &mut Troubles) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
    match read {
        Ok(length) if length as u64 <= MAX_FILE => Some(text),
        Ok(_) => {
            troubles.add(Weight::Unusable, below, format!("{} is far too large for a PEM file", path.display()));
            None
        }
        Err(error) => {
            let text = format!(
                "{} cannot be read ({error}); check the path, and that Usher's account may read it",
                path.display()
            );
            troubles.add(Weight::Unusable, below, text);
            None
        }
    }
}

fn certificates(path: &Path, text: &[u8], troubles: &mut Troubles) -> Option<Vec<CertificateDer<'static>>> {
    certificates_at(path, text, ".cert", troubles)
}

fn certificates_at(
    path: &Path,
    text: &[u8],
    below: &str,
    troubles: &mut Troubles,
) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            let text = format!("{} holds no certificate; it must be PEM, with BEGIN CERTIFICATE", path.display());
            troubles.add(Weight::Unusable, below, text);
            None
        }
        Err(error) => {
            troubles.add(Weight::Unusable, below, format!("{} is broken PEM ({error})", path.display()));
            None
        }
    }
}

fn private_key(files: &CertificateFiles, text: &[u8], troubles: &mut Troubles) -> Option<PrivateKeyDer<'static>> {
    let is_open = std::fs::metadata(&files.key).is_ok_and(|found| found.mode() & OTHERS_READ != 0);
    if is_open {
        let text = format!("everybody on this machine can read {}; chmod 640 it", files.key.display());
        troubles.add(Weight::Doubtful, ".key", text);
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Some(key),
        Err(_) => {
            let has_password = memchr::memmem::find(text, b"ENCRYPTED").is_some();
            let text = match has_password {
                true => format!("{} has a password; write one without: openssl pkey -in … -out …", files.key.display()),
                false => {
                    format!("{} holds no private key; it must be PEM, with BEGIN PRIVATE KEY", files.key.display())
                }
            };
            troubles.add(Weight::Unusable, ".key", text);
            None
        }
    }
}

/// Keys that do not say their public half are believed.
fn belong_together(pair: &CertifiedKey) -> bool {
    matches!(pair.keys_match(), Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)))
}

/// What a client would not like about the certificate itself.
fn examine(leaf: &X509Certificate<'_>, now: Millis, troubles: &mut Troubles) {
    let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let (from, until) = (leaf.validity().not_before, leaf.validity().not_after);
    if until.timestamp() <= now {
        troubles.add(Weight::Wrong, ".cert", format!("expired on {until}; renew it"));
    }
    if from.timestamp() > now {
        let text = format!("is not valid before {from}; check the clock of this machine, or wait");
        troubles.add(Weight::Wrong, ".cert", text);
    }
    if Names::of(leaf).is_empty() {
        let text = "names no host (no subjectAltName), so every browser refuses it; have it made anew with names";
        troubles.add(Weight::Wrong, ".cert", text);
    }
    if BROKEN_SIGNATURES.contains(&leaf.signature_algorithm.algorithm.to_id_string().as_str()) {
        troubles.add(Weight::Wrong, ".cert", "is signed with SHA-1 or MD5, which browsers refuse; have it made anew");
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        troubles.add(Weight::Wrong, ".cert", "is not meant for servers (extended key usage); have it made anew");
    }
}
