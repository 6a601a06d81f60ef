//! What `usher check` warns of: things that work, and that somebody can reach who should not, or cannot who should.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use url::Host;

use crate::config::{Config, Problem, StoreUrl};

pub fn warnings(config: &Config) -> Vec<Problem> {
    let warning = |path: &str, text: String| Problem { path: path.to_owned(), line: None, text };
    let mut found = Vec::new();
    found.extend(public_url(config).map(|text| warning("listen.public_url", text)));
    found.extend(public_port(config).map(|text| warning("listen.public_url", text)));
    found.extend(admin(config).map(|text| warning("admin.listen", text)));
    let StoreUrl::Sqlite(store) = &config.store.url;
    found.extend(root(store, &config.upgrade_socket()).map(|text| warning("store.url", text)));
    found
}

/// Whether front ends and browsers elsewhere can get to the host that they are told.
fn public_url(config: &Config) -> Option<String> {
    let url = &config.listen.public_url;
    let told = config.listen.public_base();
    let is_own = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
        Host::Ipv6(address) => address.is_loopback() || address.is_unspecified(),
    };
    if is_own {
        return Some(format!(
            "{told} leads every other machine to itself: front ends and browsers there cannot reach it, and Moodle refuses it; \
             write the address that they see"
        ));
    }
    let address = match url.host()? {
        Host::Domain(_) => return None,
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
    };
    is_private(address).then(|| {
        format!("{told} is a private address: only its own network can reach it, and Moodle refuses it unless its cURL blocked hosts list is changed")
    })
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Whether anything here listens where `public_url` points. A proxy or a port mapping may stand between, and TLS ended
/// by a proxy is the usual reason for one; so the text says what else would be right.
fn public_port(config: &Config) -> Option<String> {
    let listen = &config.listen;
    let wanted = listen.public_url.port_or_known_default()?;
    let (scheme, here): (&str, Vec<_>) = match listen.public_url.scheme() {
        "https" => ("https", config.https_addresses().collect()),
        _ => ("http", listen.http.clone()),
    };
    if here.is_empty() {
        return None;
    }
    let there: Vec<_> = here.iter().filter(|address| address.port() == wanted).collect();
    let told = listen.public_base();
    if there.is_empty() {
        let ports: Vec<String> = here.iter().map(|address| address.port().to_string()).collect();
        return Some(format!(
            "{told} is port {wanted}, and listen.{scheme} has {}: right only if a proxy or a port mapping leads from there to here",
            ports.join(", ")
        ));
    }
    let is_public = matches!(listen.public_url.host(), Some(Host::Domain(name)) if name != "localhost");
    (is_public && there.iter().all(|address| address.ip().is_loopback())).then(|| {
        format!("{told} is a name for others, and port {wanted} is only listened to on loopback: write listen.{scheme} = [\"[::]:{wanted}\"]")
    })
}

/// Metrics and status name servers, tenants and load.
fn admin(config: &Config) -> Option<String> {
    let listen = config.admin.listen.filter(|listen| !listen.ip().is_loopback())?;
    let lacking = match (&config.admin.tls, &config.admin.client_ca) {
        (Some(_), Some(_)) => return None,
        (Some(_), None) => "without asking for a certificate (admin.client_ca)",
        (None, _) => "without TLS and a client's certificate (admin.cert, admin.key, admin.client_ca)",
    };
    Some(format!(
        "{listen} shows the names and the load of servers and tenants to everybody who can connect, {lacking}; write a \
         loopback address, or let a firewall decide who may connect"
    ))
}

/// Whether the Usher that uses this store is root, by what it made: its socket, else the store, else what a start now would.
fn root(store: &Path, socket: &Path) -> Option<String> {
    let owner = |path: &Path| std::fs::metadata(path).ok().map(|found| found.uid());
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = owner(socket).or_else(|| owner(store)).or_else(|| owner(folder));
    let is_root = made.unwrap_or_else(|| rustix::process::geteuid().as_raw()) == 0;
    is_root.then(|| {
        "Usher runs as root with it, which it never needs: give it an account of its own, as the package does (docs/install.md)".to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let config = Config::parse(text, std::iter::empty()).unwrap();
        let paths = ["listen.public_url", "admin.listen"];
        let all = warnings(&config).into_iter().filter(|one| paths.contains(&one.path.as_str()));
        all.map(|one| format!("{}: {}", one.path, one.text)).collect()
    }

    #[test]
    fn an_address_that_others_cannot_reach_is_told() {
        for (url, word) in [
            ("http://127.0.0.1:8080", "leads every other machine to itself"),
            ("http://localhost:8080", "leads every other machine to itself"),
            ("http://[::1]:8080", "leads every other machine to itself"),
            ("http://192.168.1.5:8080", "private"),
            ("http://10.0.0.5:8080", "private"),
            ("http://172.20.0.5:8080", "private"),
            ("http://100.64.3.4:8080", "private"),
            ("http://[fd00::5]:8080", "private"),
            ("http://bbb.example.org:8080", "only listened to on loopback"),
            ("http://bbb.example.org", "port 80, and listen.http has 8080"),
        ] {
            let warned = told(&format!("[listen]\npublic_url = \"{url}\"\n"));
            assert!(warned.len() == 1 && warned[0].contains(word), "{url}: {warned:?}");
        }
        let warned = told(
            "[listen]\nhttps = [\"[::]:8443\"]\npublic_url = \"https://bbb.example.org\"\n\
             [tls]\ncertificates = [{ cert = \"/c\", key = \"/k\" }]\n",
        );
        assert!(warned.len() == 1 && warned[0].contains("port 443, and listen.https has 8443"), "{warned:?}");
    }

    #[test]
    fn what_can_be_reached_is_not_warned_of() {
        for text in [
            // A proxy of this machine ends TLS.
            "[listen]\npublic_url = \"https://bbb.example.org\"\n",
            "[listen]\nhttp = [\"0.0.0.0:80\"]\npublic_url = \"http://bbb.example.org\"\n",
            "[listen]\nhttp = [\"0.0.0.0:8080\"]\npublic_url = \"http://203.0.113.7:8080\"\n",
            "[listen]\nhttps = [\"[::]:443\"]\npublic_url = \"https://bbb.example.org\"\n\
             [tls]\ncertificates = [{ cert = \"/c\", key = \"/k\" }]\n",
        ] {
            assert_eq!(told(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn an_admin_listener_for_everybody_is_told() {
        let url = "[listen]\npublic_url = \"https://bbb.example.org\"\n[admin]\n";
        let tls = "cert = \"/c\"\nkey = \"/k\"\n";
        for (text, word) in [
            ("listen = \"0.0.0.0:8081\"\n".to_owned(), Some("without TLS")),
            ("listen = \"10.0.0.5:8081\"\n".to_owned(), Some("without TLS")),
            (format!("listen = \"[::]:8081\"\n{tls}"), Some("without asking")),
            (format!("listen = \"[::]:8081\"\n{tls}client_ca = \"/ca\"\n"), None),
            ("listen = \"127.0.0.1:8081\"\n".to_owned(), None),
            ("listen = \"off\"\n".to_owned(), None),
        ] {
            let warned = told(&format!("{url}{text}"));
            assert_eq!(warned.len(), usize::from(word.is_some()), "{text}: {warned:?}");
            assert!(word.is_none_or(|word| warned[0].contains(word)), "{text}: {warned:?}");
        }
    }

    #[test]
    fn a_store_of_root_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("usher.db");
        std::fs::write(&store, "").unwrap();
        let owner = std::fs::metadata(&store).unwrap().uid();
        assert_eq!(root(&store, &folder.path().join("none")).is_some(), owner == 0);
        if owner == 0 {
            std::os::unix::fs::chown(&store, Some(1234), Some(1234)).unwrap();
            assert_eq!(root(&store, &folder.path().join("none")), None);
            std::fs::write(folder.path().join("socket"), "").unwrap();
            assert!(root(&store, &folder.path().join("socket")).is_some(), "the one that runs is root");
        }
    }
}
