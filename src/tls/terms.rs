//! What a listener agrees to: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1, session tickets, and whose clients may come.
//!
//! Versions below 1.2 and ciphers without authentication do not exist in rustls. The terms outlive a change of
//! certificates, so a client can resume its session across one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{Error, RootCertStore};

use super::live::{Certificates, Outcome};
use super::pair;
use super::provider::{provider, ticketer};
use super::trouble::{Troubles, Weight};
use crate::config::Config;

/// In the order of our preference. Browsers open WebSockets over HTTP/1.1, so it must not be missing.
const PUBLIC: &[&[u8]] = &[b"h2", b"http/1.1"];
const ADMIN: &[&[u8]] = &[b"http/1.1"];

/// The TLS of a kind of listener.
pub struct Terms {
    pub certificates: Arc<Certificates>,
    protocols: &'static [&'static [u8]],
    config: ArcSwap<ServerConfig>,
    /// Authorities whose clients may come; `None` if all may.
    clients: Mutex<Option<Vec<CertificateDer<'static>>>>,
}

impl Terms {
    pub fn public() -> Result<Self, Error> {
        Self::new("tls.certificates", PUBLIC)
    }

    pub fn admin() -> Result<Self, Error> {
        Self::new("admin", ADMIN)
    }

    fn new(key: &'static str, protocols: &'static [&'static [u8]]) -> Result<Self, Error> {
        let certificates = Arc::new(Certificates::new(key));
        let config = ArcSwap::from_pointee(build(&certificates, protocols, None)?);
        Ok(Self { certificates, protocols, config, clients: Mutex::default() })
    }

    /// For the next handshake.
    pub fn for_handshake(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Lets only clients in that `admin.client_ca` has signed, if it is set. A file that cannot be used leaves things as
    /// they are; at a start the outcome says that it must not go on.
    pub fn demand_clients(&self, config: &Config) -> Outcome {
        let mut outcome = Outcome::default();
        let mut troubles = Troubles::of(config, "admin.client_ca", "");
        let wanted = match &config.admin.client_ca {
            Some(path) => match pair::authorities(path, &mut troubles) {
                Some(authorities) => Some(authorities),
                None => {
                    outcome.refused += 1;
                    outcome.troubles = troubles.found;
                    return outcome;
                }
            },
            None => None,
        };
        let mut clients = self.clients.lock();
        if *clients == wanted {
            return outcome;
        }
        // With tickets of its own: a session of before must not be a way around the new rule.
        match build(&self.certificates, self.protocols, wanted.as_deref()) {
            Ok(new) => {
                self.config.store(Arc::new(new));
                *clients = wanted;
            }
            Err(error) => {
                outcome.refused += 1;
                troubles.add(Weight::Unusable, "", format!("holds no authority that can be used ({error})"));
                outcome.troubles = troubles.found;
            }
        }
        outcome
    }
}

fn build(
    certificates: &Arc<Certificates>,
    protocols: &[&[u8]],
    clients: Option<&[CertificateDer<'static>]>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| Error::General(error.to_string()))?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = ticketer()?;
    Ok(config)
}
