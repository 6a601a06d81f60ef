//! Which server a browser's request belongs to, by host or by path (bbb-http-surface.md section 3.4, designs A and B).
//!
//! Names are compared as they came: no decoding and no normalising, and only servers that are in the table are ever
//! reached, so that this is no open relay. The path goes on byte for byte, because the servers' own authorisation looks
//! at it (trap 7).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use url::Url;

use super::upstream::Destination;
use crate::config::{ClientPrefix, Config, EdgeMode};
use crate::placement::Ledger;
use crate::proxy::request::Request;
use crate::store::ServerRecord;

/// What every server's client plane is mounted at.
const CLIENT: &str = "/html5client";
/// Etherpad asks for these at the root, wherever it is mounted.
const PAD_ASSETS: &str = "/static/";

/// One server as browsers' traffic reaches it.
pub struct Place {
    pub record: Arc<ServerRecord>,
    pub destination: Destination,
    /// `https://host[:port]`.
    pub origin: String,
    /// What stands before `/bigbluebutton` in its address; mostly empty.
    pub base: String,
}

/// Where one request goes.
pub struct Way<'r> {
    pub place: Arc<Place>,
    /// Path at the server, behind its base.
    pub path: &'r str,
    /// What the browser's path begins with: `/<server name>` in path mode, else empty.
    pub prefix: Option<&'r str>,
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
                (!is_ours).then_some(Way { place, path: request.path, prefix: None })
            }
            EdgeMode::Path => {
                let map = self.of(ledger);
                if request.path.starts_with(PAD_ASSETS) {
                    let name = first_segment(referred_path(request.referer)?)?.0;
                    let place = map.by_name.get(&name[1..])?.clone();
                    return Some(Way { place, path: request.path, prefix: Some(name) });
                }
                let (prefix, rest) = first_segment(request.path)?;
                let place = map.by_name.get(&prefix[1..])?.clone();
                let keeps = config.edge.client_prefix == ClientPrefix::Keep && rest.starts_with(CLIENT);
                Some(Way { place, path: if keeps { request.path } else { rest }, prefix: Some(prefix) })
            }
        }
    }

    fn of(&self, ledger: &Ledger) -> Arc<Map> {
        let table = ledger.table();
        let known = self.map.load_full();
        if Arc::ptr_eq(&known.of, &table) {
            return known;
        }
        let map = Arc::new(Map::new(table));
        self.map.store(map.clone());
        map
    }
}

impl Map {
    fn new(table: Arc<Vec<Arc<ServerRecord>>>) -> Self {
        let mut map = Map { of: table.clone(), ..Map::default() };
        for record in table.iter() {
            let Some(place) = Place::new(record.clone()).map(Arc::new) else { continue };
            map.by_name.insert(record.name.clone(), place.clone());
            // The first of several servers at one host.
            map.by_host.entry(place.destination.host.to_ascii_lowercase()).or_insert(place);
        }
        map
    }
}

impl Place {
    pub fn new(record: Arc<ServerRecord>) -> Option<Self> {
        let url = Url::parse(&record.url).ok()?;
        let host = url.host_str()?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let base = url.path().strip_suffix("/bigbluebutton/api/")?.to_owned();
        let origin = format!("{}://{authority}", url.scheme());
        let port = url.port_or_known_default()?;
        let destination = Destination { host, port, tls: url.scheme() == "https" };
        Some(Self { destination, record, origin, base })
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
