//! Which server a browser's request belongs to, by host or by path (bbb-http-surface.md section 3.4, designs A and B).
//!
//! Names are compared as they came: no decoding and no normalising, and only servers that are in the table are ever
//! reached, so that this is no open relay. The path goes on byte for byte, because the servers' own authorisation looks
//! at it (trap 7).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use url::Url;

use super::upstream::Destination;
use crate::config::{ClientPrefix, Config, EdgeMode};
use crate::ids::ServerId;
use crate::placement::Ledger;
use crate::proxy::request::Request;
use crate::store::ServerRecord;

/// What every server's client plane is mounted at.
pub(super) const CLIENT: &str = "/html5client";
/// Etherpad asks for these at the root, wherever it is mounted.
const PAD_ASSETS: &str = "/static/";

/// One server as browsers' traffic reaches it.
pub struct Place {
    pub record: Arc<ServerRecord>,
    pub destination: Destination,
    /// Of its URL, in lower case.
    host: String,
    /// Whether its client is mounted under the prefix; `None` goes by the setting.
    keeps_prefix: Option<bool>,
    /// `https://host[:port]`.
    pub origin: String,
    /// What stands before `/bigbluebutton` in its address; mostly empty.
    pub base: String,
    /// Another number for another server, another way to it, or another version on it.
    pub build: u64,
}

/// Where one request goes.
pub struct Way<'r> {
    pub place: Arc<Place>,
    /// Path at the server, behind its base.
    pub path: &'r str,
    /// What the browser's path begins with: `/<server name>` in path mode, else empty.
    pub prefix: Option<&'r str>,
    /// What the server is called by, with a port.
    pub host: &'r str,
}

#[derive(Default)]
struct Map {
    of: Arc<Vec<Arc<ServerRecord>>>,
    by_name: HashMap<String, Arc<Place>>,
    by_host: HashMap<String, Arc<Place>>,
}

/// The servers by name and by host; follows the ledger's table.
#[derive(Default)]
pub struct Places {
    map: ArcSwap<Map>,
}

impl Places {
    /// The server of this request; `None` if it is ours to answer.
    pub fn find<'r>(&self, ledger: &Ledger, request: &Request<'r>, config: &Config) -> Option<Way<'r>> {
        match config.edge.mode {
            EdgeMode::Redirect => None,
            EdgeMode::Host => {
                let place = self.of(ledger).by_host.get(&*request.host)?.clone();
                // Our own name is ours, even if a server was added by it.
                let is_ours = config.listen.public_url.host_str() == Some(&*request.host);
                (!is_ours).then_some(Way { place, path: request.path, prefix: None, host: request.host_field })
            }
            EdgeMode::Path => {
                let map = self.of(ledger);
                if request.path.starts_with(PAD_ASSETS) {
                    let name = first_segment(referred_path(request.referer)?)?.0;
                    let place = map.by_name.get(&name[1..])?.clone();
                    return Some(Way { place, path: request.path, prefix: Some(name), host: request.host_field });
                }
                let (prefix, rest) = first_segment(request.path)?;
                let place = map.by_name.get(&prefix[1..])?.clone();
                let is_kept = rest.starts_with(CLIENT)
                    && place.keeps_prefix.unwrap_or(config.edge.client_prefix == ClientPrefix::Keep);
                let path = if is_kept { request.path } else { rest };
                Some(Way { place, path, prefix: Some(prefix), host: request.host_field })
            }
        }
    }

    /// `/<server name>` of the page that asks, if it is below a server's prefix.
    pub fn referring<'r>(&self, ledger: &Ledger, request: &Request<'r>) -> Option<&'r str> {
        let prefix = first_segment(referred_path(request.referer)?)?.0;
        self.of(ledger).by_name.contains_key(&prefix[1..]).then_some(prefix)
    }

    fn of(&self, ledger: &Ledger) -> Arc<Map> {
        let table = ledger.table();
        let known = self.map.load_full();
        if Arc::ptr_eq(&known.of, &table) {
            return known;
        }
        // Learned after the table was taken, or with another table that comes next.
        let versions = ledger.versions();
        let map = Arc::new(Map::new(table, &versions));
        self.map.store(map.clone());
        map
    }
}

impl Map {
    fn new(table: Arc<Vec<Arc<ServerRecord>>>, versions: &HashMap<ServerId, String>) -> Self {
        let mut map = Map { of: table.clone(), ..Map::default() };
        for record in table.iter() {
            let version = versions.get(&record.id).map(String::as_str);
            let Some(place) = Place::new(record.clone(), version).map(Arc::new) else { continue };
            map.by_name.insert(record.name.clone(), place.clone());
            // The first of several servers at one host.
            map.by_host.entry(place.host.clone()).or_insert(place);
        }
        map
    }
}

impl Place {
    /// `version` is the server's own word, or the operator's.
    pub fn new(record: Arc<ServerRecord>, version: Option<&str>) -> Option<Self> {
        let url = Url::parse(&record.url).ok()?;
        let host = url.host_str()?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let base = url.path().strip_suffix("/bigbluebutton/api/")?.to_owned();
        let origin = format!("{}://{authority}", url.scheme());
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let own_port = url.port_or_known_default()?;
        let reach = &record.reach;
        let port = reach.address.as_ref().map_or(own_port, |address| address.port_for(own_port, Some(own_port)));
        let destination = Destination {
            host: reach.address.as_ref().map_or_else(|| bare.clone(), |address| address.host.clone()),
            port: reach.send_proxy_port.unwrap_or(port),
            tls: (url.scheme() == "https").then(|| reach.trust.name.clone().unwrap_or(bare)),
            trust: reach.trust.clone(),
            send_proxy: reach.send_proxy,
        };
        let prefix = reach.client_prefix.or_else(|| version.and_then(ClientPrefix::of_version));
        let keeps_prefix = prefix.map(|prefix| prefix == ClientPrefix::Keep);
        let mut build = DefaultHasher::new();
        (record.id, &record.url, &destination, version).hash(&mut build);
        let build = build.finish();
        Some(Self { host: host.to_ascii_lowercase(), keeps_prefix, destination, record, origin, base, build })
    }
}

/// `/name` and what follows it, which is `/` at least.
fn first_segment(path: &str) -> Option<(&str, &str)> {
    let name = path.strip_prefix('/')?;
    let end = name.find('/').map_or(path.len(), |slash| slash + 1);
    let (prefix, rest) = path.split_at(end);
    (prefix.len() > 1).then_some((prefix, if rest.is_empty() { "/" } else { rest }))
}

/// The path in a `Referer`.
fn referred_path(referer: &str) -> Option<&str> {
    let rest = referer.split_once("://")?.1;
    rest.find('/').map(|slash| &rest[slash..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use crate::config::ProxyOut;
    use crate::ids::Secret;
    use crate::store::{Reach, Trust};

    fn place(url: &str, version: Option<&str>, change: impl FnOnce(&mut Reach)) -> Place {
        let mut reach = Reach::default();
        change(&mut reach);
        let record = ServerRecord {
            id: ServerId(1),
            reach,
            ..ServerRecord::new("bbb1".to_owned(), url.to_owned(), Secret::new("s"))
        };
        Place::new(Arc::new(record), version).unwrap()
    }

    #[test]
    fn connections_go_where_the_operator_says() {
        let to = |host: &str, port, tls: Option<&str>, send_proxy| Destination {
            host: host.to_owned(),
            port,
            tls: tls.map(str::to_owned),
            trust: Trust::default(),
            send_proxy,
        };
        let url = "https://BBB1.example:8443/bigbluebutton/api/";
        let name = Some("bbb1.example");
        assert_eq!(place(url, None, |_| ()).destination, to("bbb1.example", 8443, name, ProxyOut::Off));
        let there = |address: &str| Some(address.parse().unwrap());
        let place = |change: fn(&mut Reach), address: &str| {
            place(url, None, |reach| {
                change(reach);
                reach.address = there(address);
            })
        };
        let found = place(|_| (), "10.0.0.5");
        assert_eq!(found.destination, to("10.0.0.5", 8443, name, ProxyOut::Off));
        assert_eq!((found.host.as_str(), found.origin.as_str()), ("bbb1.example", "https://bbb1.example:8443"));
        assert_eq!(place(|_| (), "[fd00::5]:444").destination, to("fd00::5", 444, name, ProxyOut::Off));
        let announced =
            place(|reach| (reach.send_proxy, reach.send_proxy_port) = (ProxyOut::V2, Some(81)), "10.0.0.5:444");
        assert_eq!(announced.destination, to("10.0.0.5", 81, name, ProxyOut::V2));
        let by_address = self::place("http://[fd00::1]:80/bigbluebutton/api/", None, |_| ());
        assert_eq!(by_address.destination, to("fd00::1", 80, None, ProxyOut::Off));
    }

    #[test]
    fn the_prefix_goes_by_word_then_version_then_setting() {
        let url = "https://bbb1.example/bigbluebutton/api/";
        for (word, version, keeps) in [
            (None, Some("2.7.8"), Some(true)),
            (None, Some("2.6"), Some(true)),
            (None, Some("3.0"), Some(false)),
            (None, Some("4.0.0-beta.3"), Some(false)),
            (None, Some("unknown"), None),
            (None, None, None),
            (Some(ClientPrefix::Strip), Some("2.7.8"), Some(false)),
            (Some(ClientPrefix::Keep), None, Some(true)),
        ] {
            let place = place(url, version, |reach| reach.client_prefix = word);
            assert_eq!(place.keeps_prefix, keeps, "{word:?} {version:?}");
        }
    }

    #[test]
    fn paths_are_split_behind_the_name() {
        assert_eq!(first_segment("/bbb1/graphql"), Some(("/bbb1", "/graphql")));
        assert_eq!(first_segment("/bbb1/"), Some(("/bbb1", "/")));
        assert_eq!(first_segment("/bbb1"), Some(("/bbb1", "/")));
        assert_eq!(first_segment("/bbb1//a/../b"), Some(("/bbb1", "//a/../b")));
        assert_eq!(first_segment("//bbb1"), None);
        assert_eq!(first_segment("/"), None);
        assert_eq!(first_segment("bbb1/x"), None);
    }

    #[test]
    fn referers_have_paths() {
        assert_eq!(referred_path("https://p.example/bbb1/pad/p/x?a=b"), Some("/bbb1/pad/p/x?a=b"));
        assert_eq!(referred_path("https://p.example"), None);
        assert_eq!(referred_path("/bbb1/"), None);
    }
}
