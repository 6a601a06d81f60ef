//! TLS of the listeners: certificates, keys, and what is agreed with a client.
//!
//! `pair` reads and checks one certificate, `chain` and `names` judge it, `choose` picks one for a handshake, `live`
//! swaps them while connections are open, `terms` says which versions and protocols we speak, `provider` which library
//! does the mathematics. Nothing here knows HTTP or Pingora; the handshake itself happens in `serve/door.rs`.

mod chain;
mod choose;
mod live;
mod names;
mod pair;
mod provider;
mod servers;
mod terms;
mod trouble;
mod words;

use std::sync::Arc;

use crate::clock::Millis;
use crate::config::Config;

pub use live::{Certificates, Outcome};
pub use provider::install as install_provider;
pub use servers::{Servers, describe, pem_file};
pub use terms::Terms;
pub use trouble::{Trouble, Weight};
pub use words::{cut_short, in_words, io_in_words, tls_error};

/// TLS of all listeners of a process.
pub struct Tls {
    pub public: Terms,
    pub admin: Terms,
    /// Towards BBB servers.
    pub servers: Arc<Servers>,
}

impl Tls {
    /// Reads everything that `config` names; what cannot be read is in the outcome, and nobody is shown anything of it.
    pub fn load(config: &Config, now: Millis) -> Result<(Self, Outcome), rustls::Error> {
        let (servers, unusable) = match Servers::load(config.tls.server_ca.as_deref()) {
            Ok(servers) => (servers, None),
            Err(problem) => (Servers::default(), Some(problem)),
        };
        let tls = Self { public: Terms::public()?, admin: Terms::admin()?, servers: Arc::new(servers) };
        let mut outcome = tls.reload(config, now);
        if let Some(problem) = unusable {
            let mut troubles = trouble::Troubles::of(config, "tls.server_ca", "");
            troubles.add(Weight::Unusable, "", problem);
            outcome.troubles.append(&mut troubles.found);
        }
        Ok((tls, outcome))
    }

    /// Reads all of it again.
    pub fn reload(&self, config: &Config, now: Millis) -> Outcome {
        let mut outcome = self.public.certificates.load(&config.tls.certificates, &[], config, now);
        let also = config.admin.client_ca.as_slice();
        outcome.add(self.admin.certificates.load(config.admin.tls.as_slice(), also, config, now));
        outcome.add(self.admin.demand_clients(config));
        self.judge_public_url(config, &mut outcome);
        outcome
    }

    pub fn have_changed(&self) -> bool {
        // Both are asked, or the second would never see a change twice.
        self.public.certificates.have_changed() | self.admin.certificates.have_changed()
    }

    /// Name and end of each certificate, seconds since 1970.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        let mut all = self.public.certificates.expiries();
        all.extend(self.admin.certificates.expiries());
        all
    }

    /// Whether browsers that follow `listen.public_url` get a certificate that they take.
    fn judge_public_url(&self, config: &Config, outcome: &mut Outcome) {
        if config.https_addresses().next().is_none() || self.public.certificates.is_empty() {
            return;
        }
        let mut troubles = trouble::Troubles::of(config, "listen.public_url", "");
        let url = &config.listen.public_url;
        let host = url.host_str().unwrap_or_default();
        if url.scheme() != "https" {
            troubles.add(Weight::Doubtful, "", "is not https:// although there are HTTPS listeners");
        } else if !self.public.certificates.cover(host) {
            troubles.add(Weight::Doubtful, "", format!("no certificate in tls.certificates has the name {host}"));
        }
        outcome.troubles.append(&mut troubles.found);
    }
}

impl Outcome {
    fn add(&mut self, mut other: Outcome) {
        self.troubles.append(&mut other.troubles);
        self.changed.append(&mut other.changed);
        self.refused += other.refused;
    }

    /// What a start cannot live with.
    pub fn unusable(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.iter().filter(|trouble| trouble.weight == Weight::Unusable)
    }
}
