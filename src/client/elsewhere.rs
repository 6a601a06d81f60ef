//! Connections of calls to servers that are not where DNS says (`Reach::address`), or prove themselves in a way of their
//! own (`Reach::trust`).
//!
//! Mostly the URL keeps its name, because certificates and `Host` go by it; only the question where that name is gets another
//! answer. Each way has pools of its own: a connection is never used for a server that has moved away from it, nor for one
//! that is trusted otherwise.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Position, Url};

use super::{CallError, ClientSettings, Pools, builder, built};
use crate::store::{Authorities, Reach, Trust};
use crate::tls;

/// Ways whose pools are kept. More than any pool has servers; those that are no longer used count too.
const MOST_WAYS: usize = 4096;

pub(super) struct Elsewhere {
    settings: ClientSettings,
    tls: Arc<tls::Servers>,
    pools: Mutex<HashMap<Way, Pools>>,
}

/// What decides whether two servers may share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Way {
    /// Where to connect to; `None` for where DNS says that the URL's name is.
    host: Option<String>,
    trust: Trust,
}

impl Elsewhere {
    pub fn new(settings: &ClientSettings, tls: Arc<tls::Servers>) -> Self {
        Self { settings: settings.clone(), tls, pools: Mutex::default() }
    }

    /// The pools of a way.
    pub fn pools(&self, way: Way) -> Result<Pools, CallError> {
        if let Some(pools) = self.pools.lock().get(&way) {
            return Ok(pools.clone());
        }
        let pool = || self.pool(&way).map_err(CallError::NotSent);
        let made = Pools { calls: pool()?, polls: pool()? };
        let mut pools = self.pools.lock();
        if pools.len() >= MOST_WAYS {
            pools.clear();
        }
        // Somebody else may have been quicker; connections are to be in one place.
        Ok(pools.entry(way).or_insert(made).clone())
    }

    fn pool(&self, way: &Way) -> Result<reqwest::Client, String> {
        let tls = self.tls.settings(way.trust.ca.as_ref().map(Authorities::pem), way.trust.insecure)?;
        let builder = builder(&self.settings).tls_backend_preconfigured((*tls).clone());
        built(match &way.host {
            Some(host) => builder.dns_resolver(There(host.clone())),
            None => builder,
        })
    }
}

/// The way, the URL that leads there, and what `Host` has to say if that is not the URL's own.
pub(super) fn addressed(mut url: Url, reach: &Reach) -> (Way, Url, Option<String>) {
    let own = url[Position::BeforeHost..Position::AfterPort].to_owned();
    let mut host = reach.address.as_ref().map(|address| address.host.clone());
    if let Some(name) = &reach.trust.name {
        let bare = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        host = host.or(Some(bare));
        // What is asked for and checked is the URL's name. A URL with a host takes any other.
        let _ = url.set_host(Some(name));
    }
    if let Some(port) = reach.address.as_ref().and_then(|address| address.port) {
        // A URL with a host takes any port.
        let _ = url.set_port(Some(port));
    }
    let is_own = url[Position::BeforeHost..Position::AfterPort] == own;
    (Way { host, trust: reach.trust.clone() }, url, (!is_own).then_some(own))
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

    fn to(url: &Url, address: &str, name: Option<&str>) -> (Option<String>, String, Option<String>) {
        let trust = Trust { name: name.map(str::to_owned), ..Trust::default() };
        let address = (!address.is_empty()).then(|| address.parse().unwrap());
        let (way, url, host) = addressed(url.clone(), &Reach { address, trust, ..Reach::default() });
        (way.host, url.into(), host)
    }

    #[test]
    fn a_port_of_its_own_leaves_the_host_as_the_url_has_it() {
        let url = Url::parse("https://bbb1.example.org:8443/bigbluebutton/api/?a=b").unwrap();
        let there = Some("10.0.0.5".to_owned());
        let (host, at, said) = to(&url, "10.0.0.5:444", None);
        assert_eq!(at, "https://bbb1.example.org:444/bigbluebutton/api/?a=b");
        assert_eq!((host, said.as_deref()), (there.clone(), Some("bbb1.example.org:8443")));
        assert_eq!(to(&url, "10.0.0.5", None), (there, url.clone().into(), None));
        let usual = Url::parse("https://bbb1.example.org/").unwrap();
        assert_eq!(to(&usual, "10.0.0.5:444", None).2.as_deref(), Some("bbb1.example.org"));
    }

    #[test]
    fn a_certificates_name_is_asked_for_where_the_server_is() {
        let url = Url::parse("https://bbb1.example.org:8443/x").unwrap();
        let name = Some("proof.example");
        let (host, at, said) = to(&url, "", name);
        assert_eq!((host.as_deref(), at.as_str()), (Some("bbb1.example.org"), "https://proof.example:8443/x"));
        assert_eq!(said.as_deref(), Some("bbb1.example.org:8443"));
        let (host, at, said) = to(&url, "10.0.0.5:444", name);
        assert_eq!((host.as_deref(), at.as_str()), (Some("10.0.0.5"), "https://proof.example:444/x"));
        assert_eq!(said.as_deref(), Some("bbb1.example.org:8443"));
        let by_address = Url::parse("https://[fd00::1]/x").unwrap();
        let (host, at, said) = to(&by_address, "", name);
        assert_eq!((host.as_deref(), at.as_str()), (Some("fd00::1"), "https://proof.example/x"));
        assert_eq!(said.as_deref(), Some("[fd00::1]"));
    }
}
