//! Which certificate a client is shown: by the name it asks for, exact before wildcard; the first one if none fits.
//!
//! Several may have the same name, one with an RSA key and one with an ECDSA key: the first whose key the client can
//! check is taken, so the operator's order decides.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::names::parent_of;
use super::pair::Pair;

/// All certificates of a listener, ready to be chosen from.
#[derive(Debug, Default)]
pub struct Picture {
    pub pairs: Vec<Arc<Pair>>,
    /// Host names, and what follows `*.`, each with its certificates in the operator's order.
    exact: HashMap<String, Vec<usize>>,
    wildcard: HashMap<String, Vec<usize>>,
}

impl Picture {
    pub fn new(pairs: Vec<Arc<Pair>>) -> Self {
        let mut picture = Self::default();
        for (place, pair) in pairs.iter().enumerate() {
            for host in &pair.names.hosts {
                let (names, host) = match host.strip_prefix("*.") {
                    Some(parent) => (&mut picture.wildcard, parent),
                    None => (&mut picture.exact, host.as_str()),
                };
                names.entry(host.to_owned()).or_default().push(place);
            }
        }
        picture.pairs = pairs;
        picture
    }

    /// `name` as the client sent it; `None` only if there is no certificate at all.
    pub fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let places = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let wild = || self.wildcard.get(parent_of(&name)?);
            self.exact.get(&name).or_else(wild)
        });
        let named = places.into_iter().flatten().filter_map(|place| self.pairs.get(*place));
        let mut suitable = named.clone().filter(|pair| pair.shown.key.choose_scheme(schemes).is_some());
        let chosen = suitable.next().or(named.clone().next()).or(self.pairs.first())?;
        Some(chosen.shown.clone())
    }

    pub fn cover(&self, host: &str) -> bool {
        self.pairs.iter().any(|pair| pair.names.cover(host))
    }
}
