//! The known servers by name and by host, as layer 4 looks them up: for each connection, so without the ledger's lock.
//!
//! Follows the ledger's table, as the edge does. State and health of a server are not looked at: people in its meetings
//! need it as long as it answers.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use url::{Host, Url};

use super::targets::Target;
use crate::placement::Placer;
use crate::store::{Address, ServerRecord};

#[derive(Default)]
pub struct Known {
    servers: ArcSwap<Servers>,
}

/// The servers at one moment.
#[derive(Debug, Default)]
pub struct Servers {
    of: Arc<Vec<Arc<ServerRecord>>>,
    by_host: HashMap<String, Arc<Place>>,
    by_name: HashMap<String, Arc<Place>>,
}

/// Where one server is.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    /// What to connect to: its address if it has one, else the host of its URL.
    host: String,
    address: Option<Address>,
    /// Of the URL.
    port: Option<u16>,
}

impl Known {
    pub fn servers(&self, placer: &Placer) -> Arc<Servers> {
        let table = placer.ledger.table();
        let known = self.servers.load_full();
        if Arc::ptr_eq(&known.of, &table) {
            return known;
        }
        let servers = Servers::of(table.iter().map(AsRef::as_ref));
        let servers = Arc::new(Servers { of: table.clone(), ..servers });
        self.servers.store(servers.clone());
        servers
    }
}

impl Servers {
    fn of<'a>(records: impl Iterator<Item = &'a ServerRecord>) -> Self {
        let mut servers = Self::default();
        for record in records {
            let Some(url) = Url::parse(&record.url).ok() else { continue };
            let Some(host) = host(&url) else { continue };
            let address = record.reach.address.clone();
            let there = address.as_ref().map_or_else(|| host.clone(), |address| address.host.clone());
            let name = record.name.clone();
            let place = Arc::new(Place { name, host: there, address, port: url.port_or_known_default() });
            servers.by_host.entry(host).or_insert_with(|| place.clone());
            servers.by_name.insert(record.name.clone(), place);
        }
        servers
    }

    /// The server whose URL has this host.
    pub fn by_host(&self, host: &str) -> Option<&Place> {
        self.by_host.get(host).map(AsRef::as_ref)
    }

    pub fn by_name(&self, name: &str) -> Option<&Place> {
        self.by_name.get(name).map(AsRef::as_ref)
    }
}

impl Place {
    /// As a target for connections to `port` of the server.
    pub fn target(&self, port: u16) -> Target {
        let port = self.address.as_ref().map_or(port, |address| address.port_for(port, self.port));
        Target::server(&self.name, &self.host, port)
    }
}

/// In lower case, an IPv6 address without brackets.
fn host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_addresses() {
        for (url, expected) in [
            ("https://BBB1.example.org/bigbluebutton/api/", "bbb1.example.org"),
            ("http://bbb1.example.org.:8080/bigbluebutton/api/", "bbb1.example.org"),
            ("https://[FD00::1]/bigbluebutton/api/", "fd00::1"),
            ("https://10.0.0.1/bigbluebutton/api/", "10.0.0.1"),
        ] {
            assert_eq!(host(&Url::parse(url).unwrap()).as_deref(), Some(expected), "{url}");
        }
    }
}
