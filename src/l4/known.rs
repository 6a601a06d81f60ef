//! The known servers by name and by host, as layer 4 looks them up: for each connection, so without the ledger's lock.
//!
//! Follows the ledger's table, as the edge does. State and health of a server are not looked at: people in its meetings
//! need it as long as it answers.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use url::{Host, Url};

use crate::placement::Placer;
use crate::store::ServerRecord;

#[derive(Default)]
pub struct Known {
    servers: ArcSwap<Servers>,
}

/// The servers at one moment.
#[derive(Debug, Default)]
pub struct Servers {
    of: Arc<Vec<Arc<ServerRecord>>>,
    hosts: HashMap<String, String>,
    names: HashMap<String, String>,
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
            let Some(host) = host(&record.url) else { continue };
            servers.hosts.entry(host.clone()).or_insert_with(|| record.name.clone());
            servers.names.insert(record.name.clone(), host);
        }
        servers
    }

    /// The name of the server with this host.
    pub fn by_host(&self, host: &str) -> Option<&str> {
        self.hosts.get(host).map(String::as_str)
    }

    /// The host of the server with this name.
    pub fn by_name(&self, name: &str) -> Option<&str> {
        self.names.get(name).map(String::as_str)
    }
}

/// In lower case, an IPv6 address without brackets.
fn host(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(match url.host()? {
        Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

#[cfg(test)]
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
            assert_eq!(host(url).as_deref(), Some(expected), "{url}");
        }
    }
}
