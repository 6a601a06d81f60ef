//! The certificates in use: read at the start, read again when asked or when a file has changed, swapped at once.
//!
//! A handshake takes what is there at its beginning; connections that are open keep what they have. A new file that
//! cannot be served, or that clients would refuse while they take the old one, changes nothing but the log.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::choose::Picture;
use super::pair::{self, Pair, Stamp};
use super::trouble::{Trouble, Troubles};
use crate::clock::Millis;
use crate::config::{CertificateFiles, Config};

/// The certificates of the public listeners, or of the admin listener.
#[derive(Debug)]
pub struct Certificates {
    key: &'static str,
    picture: ArcSwap<Picture>,
    watched: Mutex<Watched>,
}

/// The files, and what they looked like.
#[derive(Debug, Default)]
struct Watched {
    files: Vec<PathBuf>,
    /// When they were last read, whatever came of it.
    read: Vec<Stamp>,
    /// A change seen once: whoever writes two files needs a moment between them.
    changing: Option<Vec<Stamp>>,
}

/// What a reading brought.
#[derive(Debug, Default)]
pub struct Outcome {
    pub troubles: Vec<Trouble>,
    /// Certificates whose files cannot be taken as they are now.
    pub refused: usize,
    /// Names of the certificates that are shown from now on and were not before.
    pub changed: Vec<String>,
}

impl Certificates {
    /// Empty: every handshake fails until something is loaded.
    pub fn new(key: &'static str) -> Self {
        Self { key, picture: ArcSwap::default(), watched: Mutex::default() }
    }

    /// Reads `wanted`, and shows from now on what can be shown. `also` are files that somebody else reads, and that
    /// `have_changed` looks at too.
    pub fn load(&self, wanted: &[CertificateFiles], also: &[PathBuf], config: &Config, now: Millis) -> Outcome {
        let mut watched = self.watched.lock();
        let pairs = wanted.iter().flat_map(|files| [&files.cert, &files.key]);
        watched.files = pairs.chain(also).cloned().collect();
        watched.changing = None;
        // Before the files are read: a change during the reading is seen as one afterwards.
        watched.read = stamps(&watched.files);
        let old = self.picture.load_full();
        let mut outcome = Outcome::default();
        let mut pairs = Vec::new();
        for (place, files) in wanted.iter().enumerate() {
            let place = if self.key == "tls.certificates" { format!("[{place}]") } else { String::new() };
            let mut troubles = Troubles::of(config, self.key, &place);
            let new = pair::load(files, now, &mut troubles);
            let before = old.pairs.iter().find(|pair| pair.files == *files);
            let taken = match (new, before) {
                (Some(new), Some(before)) if new.is_wrong && !before.is_wrong_at(now) => None,
                (new, _) => new,
            };
            match (taken, before) {
                (Some(new), before) => {
                    if before.is_none_or(|before| before.shown.cert != new.shown.cert) {
                        outcome.changed.push(new.names.first());
                    }
                    pairs.push(Arc::new(new));
                }
                (None, before) => {
                    outcome.refused += 1;
                    pairs.extend(before.cloned());
                }
            }
            outcome.troubles.append(&mut troubles.found);
        }
        self.picture.store(Arc::new(Picture::new(pairs)));
        outcome
    }

    /// Whether files have changed since they were read, and have stayed so since the last time this was asked.
    pub fn have_changed(&self) -> bool {
        let mut watched = self.watched.lock();
        let now = stamps(&watched.files);
        if now == watched.read {
            watched.changing = None;
            return false;
        }
        let is_settled = watched.changing.as_ref() == Some(&now);
        watched.changing = Some(now);
        is_settled
    }

    pub fn is_empty(&self) -> bool {
        self.picture.load().pairs.is_empty()
    }

    /// Whether a client that asks for `host` gets a certificate with that name.
    pub fn cover(&self, host: &str) -> bool {
        self.picture.load().cover(host)
    }

    /// Name and end of each certificate, seconds since 1970.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        self.picture.load().pairs.iter().map(|pair| (pair.names.first(), pair.not_after)).collect()
    }
}

impl Pair {
    fn is_wrong_at(&self, now: Millis) -> bool {
        self.is_wrong || u64::try_from(self.not_after).unwrap_or(0).saturating_mul(1000) <= now.0
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| pair::stamp(file)).collect()
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.picture.load().choose(hello.server_name(), hello.signature_schemes())
    }
}
