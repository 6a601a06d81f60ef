//! Flags and file entries that say how a server is reached, and what of it makes no sense.

use clap::Args;
use url::{Host, Url};

use super::trust::{self, TrustArgs};
use super::value::Change;
use crate::config::{ClientPrefix, ProxyOut};
use crate::store::{Address, Reach};

#[derive(Args, Default)]
pub struct ReachArgs {
    /// Where the server really is, instead of where DNS says that the name in its URL is; or `none`
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_address)]
    pub address: Option<Change<Address>>,
    /// Carried connections of browsers to it begin with a PROXY header: off, v1 or v2
    #[arg(long, value_name = "VERSION", value_parser = parse_send_proxy)]
    pub send_proxy: Option<ProxyOut>,
    /// Port for these connections, if it is not the port of the URL; or `none`
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    pub send_proxy_port: Option<Change<u16>>,
    /// Whether it sees its name in front of /html5client in path mode: strip, keep, or auto (by its version)
    #[arg(long, value_name = "WORD", value_parser = parse_client_prefix)]
    pub client_prefix: Option<Change<ClientPrefix>>,
    #[command(flatten)]
    pub trust: TrustArgs,
}

impl ReachArgs {
    /// What was given takes the place of what was there.
    pub fn apply(self, reach: &mut Reach) {
        if let Some(address) = self.address {
            reach.address = address.value();
        }
        if let Some(version) = self.send_proxy {
            reach.send_proxy = version;
            if version == ProxyOut::Off {
                reach.send_proxy_port = None;
            }
        }
        if let Some(port) = self.send_proxy_port {
            reach.send_proxy_port = port.value();
        }
        if let Some(prefix) = self.client_prefix {
            reach.client_prefix = prefix.value();
        }
        self.trust.apply(&mut reach.trust);
    }
}

/// What a server's entries mean together; `url` is its API address.
pub fn check(reach: &Reach, url: &str) -> Result<(), String> {
    let host = Url::parse(url).ok().and_then(|url| url.host().map(|host| host.to_owned()));
    if let Some(address) = &reach.address
        && !matches!(host, Some(Host::Domain(_)))
    {
        return Err(format!(
            "the server's URL has an IP address, so Usher connects there and not to {address}; give a URL with a name, or no address"
        ));
    }
    if reach.send_proxy == ProxyOut::Off && reach.send_proxy_port.is_some() {
        return Err("the port is for connections with a PROXY header; say which version (v1 or v2), too".into());
    }
    trust::check(&reach.trust, url)
}

fn parse_address(text: &str) -> Result<Change<Address>, String> {
    if text == "none" { Ok(Change::Clear) } else { text.parse().map(Change::To) }
}

pub fn parse_send_proxy(text: &str) -> Result<ProxyOut, String> {
    ProxyOut::of(text).ok_or_else(|| format!("`{text}` is not a version of the PROXY protocol; choose off, v1 or v2"))
}

fn parse_port(text: &str) -> Result<Change<u16>, String> {
    if text == "none" {
        return Ok(Change::Clear);
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Change::To(port)),
        _ => Err(format!("`{text}` is neither a port nor `none`")),
    }
}

/// `auto` goes by the server's version.
pub fn parse_client_prefix(text: &str) -> Result<Change<ClientPrefix>, String> {
    if text == "auto" {
        return Ok(Change::Clear);
    }
    let prefix = ClientPrefix::of(text).map(Change::To);
    prefix.ok_or_else(|| format!("`{text}` is none of strip, keep and auto"))
}

/// As it is written in commands and files.
pub fn client_prefix_word(reach: &Reach) -> &'static str {
    reach.client_prefix.map_or("auto", ClientPrefix::as_str)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        let by_address = Reach { address: Some("10.0.0.5".parse().unwrap()), ..Reach::default() };
        assert_eq!(check(&by_address, "https://bbb1.example.org/bigbluebutton/api/"), Ok(()));
        for url in ["https://10.0.0.1/bigbluebutton/api/", "http://[fd00::1]/bigbluebutton/api/"] {
            assert!(check(&by_address, url).unwrap_err().contains("10.0.0.5"), "{url}");
            assert_eq!(check(&Reach::default(), url), Ok(()));
        }
        let port = Reach { send_proxy_port: Some(81), ..Reach::default() };
        assert!(check(&port, "https://bbb1.example.org/bigbluebutton/api/").is_err());
        let both = Reach { send_proxy: ProxyOut::V1, ..port };
        assert_eq!(check(&both, "https://bbb1.example.org/bigbluebutton/api/"), Ok(()));
    }

    #[test]
    fn switching_the_header_off_forgets_its_port() {
        let mut reach = Reach { send_proxy: ProxyOut::V2, send_proxy_port: Some(81), ..Reach::default() };
        let args = ReachArgs { send_proxy: Some(ProxyOut::Off), ..ReachArgs::default() };
        args.apply(&mut reach);
        assert_eq!(reach, Reach::default());
    }
}
