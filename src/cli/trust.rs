//! Flags and file entries that say how a server proves itself over TLS.

use std::path::Path;

use clap::Args;
use url::Host;

use super::value::Change;
use crate::store::{Authorities, ServerRecord, Trust};
use crate::tls;

#[derive(Args, Default)]
pub struct TrustArgs {
    /// PEM file with the authority that signed the server's certificate (or with that certificate); nobody else is believed
    /// then. Its content is stored. Or `none`
    #[arg(long, value_name = "FILE", value_parser = read_ca)]
    pub ca: Option<Change<Authorities>>,
    /// The name in the server's certificate, if it is not that of the URL; or `none`
    #[arg(long, value_name = "HOST", value_parser = parse_tls_name)]
    pub tls_name: Option<Change<String>>,
    /// Believe any certificate. FOR TESTS ONLY: whoever is on the way reads secrets and meetings. =false takes it back
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure: Option<bool>,
}

impl TrustArgs {
    /// What was given takes the place of what was there.
    pub fn apply(self, trust: &mut Trust) {
        if let Some(ca) = self.ca {
            trust.ca = ca.value();
        }
        if let Some(name) = self.tls_name {
            trust.name = name.value();
        }
        trust.insecure = self.insecure.unwrap_or(trust.insecure);
    }
}

/// What the entries mean together; `url` is the server's API address.
pub fn check(trust: &Trust, url: &str) -> Result<(), String> {
    if *trust != Trust::default() && !url.starts_with("https:") {
        return Err(
            "the server's URL begins with http://, so it shows no certificate; leave ca, tls-name and insecure out"
                .into(),
        );
    }
    if trust.insecure && trust.ca.is_some() {
        return Err("insecure believes any certificate; choose either that or an authority of the server's own".into());
    }
    Ok(())
}

/// The certificates in this file.
pub fn authorities(file: &Path) -> Result<Authorities, String> {
    tls::pem_file(file).map(Authorities::new)
}

fn read_ca(text: &str) -> Result<Change<Authorities>, String> {
    if text == "none" { Ok(Change::Clear) } else { authorities(Path::new(text)).map(Change::To) }
}

fn parse_tls_name(text: &str) -> Result<Change<String>, String> {
    if text == "none" { Ok(Change::Clear) } else { tls_name(text).map(Change::To) }
}

/// A host name, in lower case.
pub fn tls_name(text: &str) -> Result<String, String> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) if !name.contains('*') => Ok(name),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) => Err(format!(
            "`{text}` is an address; a server whose certificate is for an address is added with it in its URL"
        )),
        _ => Err(format!("`{text}` is not a host name; write it like bbb1.example.org")),
    }
}

/// One line for each server whose certificate is not checked.
pub fn warnings<'a>(servers: impl IntoIterator<Item = &'a ServerRecord>) -> Vec<String> {
    let insecure = servers.into_iter().filter(|server| server.reach.trust.insecure);
    let told = insecure.map(|server| {
        format!(
            "the certificate of server {0} is NOT checked (--insecure): whoever is on the way can read secrets and meetings; \
             `usher server set {0} --insecure=false` ends that",
            server.name
        )
    });
    told.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        let https = "https://bbb1.example.org/bigbluebutton/api/";
        let insecure = Trust { insecure: true, ..Trust::default() };
        assert_eq!(check(&insecure, https), Ok(()));
        assert!(check(&insecure, "http://bbb1.example.org/bigbluebutton/api/").is_err());
        assert_eq!(check(&Trust::default(), "http://bbb1.example.org/bigbluebutton/api/"), Ok(()));
        assert!(check(&Trust { ca: Some(Authorities::new("x")), ..insecure }, https).is_err());
    }

    #[test]
    fn names_are_names() {
        assert_eq!(tls_name("BBB1.example.org").unwrap(), "bbb1.example.org");
        for bad in ["", "10.0.0.5", "[::1]", "a b", "https://a", "*.example.org"] {
            assert!(tls_name(bad).is_err(), "{bad}");
        }
    }
}
