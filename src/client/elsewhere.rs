//! Connections of calls to servers that are not where DNS says (`Reach::address`).
//!
//! The URL keeps its name, because certificates and `Host` go by it; only the question where that name is gets another
//! answer. Each address has pools of its own: a connection is never used for a server that has moved away from it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use url::{Position, Url};

use super::{CallError, ClientSettings, Pools, builder, built};
use crate::store::Address;

/// Addresses whose pools are kept. More than any pool has servers; addresses that are no longer used count too.
const MOST_ADDRESSES: usize = 4096;

pub(super) struct Elsewhere {
    settings: ClientSettings,
    /// One for all, made at the first need: it reads all authorities of the machine.
    tls: OnceLock<Result<ClientConfig, String>>,
    pools: Mutex<HashMap<String, Pools>>,
}

impl Elsewhere {
    pub fn new(settings: &ClientSettings) -> Self {
        Self { settings: settings.clone(), tls: OnceLock::new(), pools: Mutex::default() }
    }

    /// The pools of an address.
    pub fn pools(&self, address: &Address) -> Result<Pools, CallError> {
        if let Some(pools) = self.pools.lock().get(&address.host) {
            return Ok(pools.clone());
        }
        let pool = || self.pool(&address.host).map_err(CallError::NotSent);
        let made = Pools { calls: pool()?, polls: pool()? };
        let mut pools = self.pools.lock();
        if pools.len() >= MOST_ADDRESSES {
            pools.clear();
        }
        // Somebody else may have been quicker; connections are to be in one place.
        Ok(pools.entry(address.host.clone()).or_insert(made).clone())
    }

    fn pool(&self, host: &str) -> Result<reqwest::Client, String> {
        let tls = self.tls.get_or_init(|| {
            let mut tls = ClientConfig::with_platform_verifier().map_err(|error| error.to_string())?;
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(tls)
        });
        let tls = tls.clone()?;
        built(builder(&self.settings).dns_resolver(There(host.to_owned())).tls_backend_preconfigured(tls))
    }
}

/// The URL that leads to the address, and what `Host` has to say if that is not the URL's own.
pub(super) fn addressed(mut url: Url, address: &Address) -> (Url, Option<String>) {
    let Some(port) = address.port else { return (url, None) };
    let host = url[Position::BeforeHost..Position::AfterPort].to_owned();
    // A URL with a host takes any port.
    let _ = url.set_port(Some(port));
    (url, Some(host))
}

/// Whatever name is asked for, it is there.
struct There(String);

impl Resolve for There {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            // The port is the URL's, here only the addresses matter.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_its_own_leaves_the_host_as_the_url_has_it() {
        let url = Url::parse("https://bbb1.example.org:8443/bigbluebutton/api/?a=b").unwrap();
        let (to, host) = addressed(url.clone(), &"10.0.0.5:444".parse().unwrap());
        assert_eq!(to.as_str(), "https://bbb1.example.org:444/bigbluebutton/api/?a=b");
        assert_eq!(host.as_deref(), Some("bbb1.example.org:8443"));
        assert_eq!(addressed(url.clone(), &"10.0.0.5".parse().unwrap()), (url, None));
        let usual = Url::parse("https://bbb1.example.org/").unwrap();
        assert_eq!(addressed(usual, &"10.0.0.5:444".parse().unwrap()).1.as_deref(), Some("bbb1.example.org"));
    }
}
