//! From what an operator types (host, base or API address) to the one form the store keeps, and to a name.
//!
//! `bbb-conf --secret` prints the base (`https://host/bigbluebutton/`), front ends ask for the API address, people type
//! the host; all three mean the same. Anything else is refused rather than guessed: a wrong path would show up only
//! as a server that is always down.

use url::{Host, Url};

use super::name::{as_name, unique};

const API_PATH: &str = "/bigbluebutton/api/";

/// API address, always ending in `/bigbluebutton/api/`; a host without scheme means `https`.
pub fn api_address(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_string() } else { format!("https://{text}") };
    let mut url = Url::parse(&with_scheme)
        .map_err(|error| format!("`{text}` is not an address ({error}); write for example https://bbb1.example.org"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{text}` must begin with http:// or https://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("`{text}` has no host; write for example https://bbb1.example.org"));
    }
    if url.port() == Some(0) {
        return Err(format!(
            "`{text}` has port 0, at which nobody can be reached; leave the port out or write a real one"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address must not contain a user or password; the secret goes to --secret".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "`{text}` must not contain `?` or `#`; give the host, or the address up to /bigbluebutton/api"
        ));
    }
    let path = url.path().trim_end_matches('/');
    let full = if path.is_empty() {
        API_PATH.to_string()
    } else if path.ends_with("/bigbluebutton") {
        format!("{path}/api/")
    } else if path.ends_with("/bigbluebutton/api") {
        format!("{path}/")
    } else {
        return Err(format!(
            "the path `{path}` is none of BBB's; give the host, or the address up to /bigbluebutton/api"
        ));
    };
    url.set_path(&full);
    Ok(url)
}

/// A free name made of the host: its first label, or the whole address if it is a number.
pub fn name_from(address: &Url, taken: &[&str]) -> String {
    let wish = match address.host() {
        Some(Host::Domain(host)) => as_name(host.split('.').next().unwrap_or(host)),
        Some(Host::Ipv4(ip)) => as_name(&ip.to_string()),
        Some(Host::Ipv6(ip)) => as_name(&format!("ip6-{ip}")),
        None => None,
    };
    unique(&wish.unwrap_or_else(|| "server".into()), taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn host_base_and_api_address_mean_the_same() {
        let forms = [
            "https://bbb1.example.org",
            "https://bbb1.example.org/",
            "bbb1.example.org",
            " https://BBB1.example.org/bigbluebutton ",
            "https://bbb1.example.org/bigbluebutton/",
            "https://bbb1.example.org/bigbluebutton/api",
            "https://bbb1.example.org:443/bigbluebutton/api/",
        ];
        for form in forms {
            assert_eq!(api_address(form).unwrap().as_str(), "https://bbb1.example.org/bigbluebutton/api/", "{form}");
        }
    }

    #[test]
    fn http_ports_and_a_path_in_front_are_kept() {
        let cases = [
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090/bigbluebutton/api/"),
            ("http://[::1]:8090/", "http://[::1]:8090/bigbluebutton/api/"),
            ("bbb.example.org:8443", "https://bbb.example.org:8443/bigbluebutton/api/"),
            ("https://x.example.org/t/a/bigbluebutton/api", "https://x.example.org/t/a/bigbluebutton/api/"),
        ];
        for (given, wanted) in cases {
            assert_eq!(api_address(given).unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn other_things_are_refused() {
        for given in [
            "",
            "ftp://bbb1.example.org",
            "https://",
            "https://bbb1.example.org/moodle",
            "https://bbb1.example.org/bigbluebutton/api/create",
            "https://bbb1.example.org/bigbluebutton/api?checksum=1",
            "https://bbb1.example.org/#x",
            "https://user:pw@bbb1.example.org/",
            "https://bbb1.example.org:0",
            "bbb1.example.org:0",
            "http://127.0.0.1:00/",
        ] {
            assert!(api_address(given).is_err(), "{given}");
        }
    }

    #[test]
    fn names_come_from_the_host_and_are_unique() {
        let named = |text: &str, taken: &[&str]| name_from(&api_address(text).unwrap(), taken);
        assert_eq!(named("https://bbb1.example.org", &[]), "bbb1");
        assert_eq!(named("https://bbb1.example.org", &["bbb1", "bbb1-2"]), "bbb1-3");
        assert_eq!(named("http://10.0.0.7:8090", &[]), "10.0.0.7");
        assert_eq!(named("http://[::1]:8090", &[]), "ip6---1");
        assert_eq!(named("http://_x_", &[]), "x");
    }
}
