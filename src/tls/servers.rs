//! TLS towards BBB servers: whom we believe.
//!
//! The machine's authorities, those of `tls.server_ca`, or for one server only those that the operator gave for it. A
//! certificate that stands in such a file itself is believed as it is: what `openssl req -x509` makes calls itself an
//! authority, and libraries refuse that as a server's certificate.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::parse_x509_certificate;

use super::provider::provider;

/// Bytes. All authorities of a Debian machine are 220 KB of PEM.
const MAX_FILE: u64 = 1 << 20;
/// Settings that are kept. More than any pool has; those that are no longer used count too.
const MOST: usize = 1024;

type Made = Result<Arc<ClientConfig>, String>;

/// The settings of connections to BBB servers, made when first needed.
#[derive(Default)]
pub struct Servers {
    /// Of `tls.server_ca`: believed beside the machine's.
    own: Vec<CertificateDer<'static>>,
    /// By the server's own authorities, empty for none, and whether nothing is checked.
    made: Mutex<HashMap<(String, bool), Made>>,
}

impl Servers {
    /// With the authorities in this file, if there is one.
    pub fn load(server_ca: Option<&Path>) -> Result<Self, String> {
        let own = match server_ca {
            Some(path) => authorities(&pem_file(path)?)?,
            None => Vec::new(),
        };
        Ok(Self { own, made: Mutex::default() })
    }

    /// For a server with these authorities (PEM) of its own.
    pub fn settings(&self, ca: Option<&str>, insecure: bool) -> Made {
        let key = (ca.unwrap_or_default().to_owned(), insecure);
        if let Some(made) = self.made.lock().get(&key) {
            return made.clone();
        }
        // Not under the lock: it reads all authorities of the machine.
        let new = self.make(ca, insecure);
        let mut made = self.made.lock();
        if made.len() >= MOST {
            made.clear();
        }
        made.entry(key).or_insert(new).clone()
    }

    fn make(&self, ca: Option<&str>, insecure: bool) -> Made {
        let believed = match ca {
            _ if insecure => Believed::All,
            Some(pem) => Believed::of(RootCertStore::empty(), authorities(pem)?)?,
            None => Believed::of(of_the_machine(), self.own.clone())?,
        };
        let judge = Judge { believed, provider: provider() };
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| super::in_words(&error))?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(judge)).with_no_client_auth();
        // Servers speak HTTP/1.1 for WebSockets, and one reader of answers is enough.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn of_the_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!(reason:% = error; "some of this machine's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

#[derive(Debug)]
enum Believed {
    /// Whoever says so.
    All,
    /// Whom these have signed, and these.
    Some { roots: Option<Arc<WebPkiServerVerifier>>, themselves: Vec<CertificateDer<'static>> },
}

impl Believed {
    fn of(mut roots: RootCertStore, more: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        for one in &more {
            roots.add(one.clone()).map_err(|error| super::in_words(&error))?;
        }
        let roots = match roots.is_empty() {
            // A machine without authorities, where all servers are called over HTTP or have their own.
            true => None,
            false => {
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
                Some(verifier.map_err(|error| format!("the certificate authorities cannot be used: {error}"))?)
            }
        };
        Ok(Self::Some { roots, themselves: more })
    }
}

#[derive(Debug)]
struct Judge {
    believed: Believed,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Believed::Some { roots, themselves } = &self.believed else { return Ok(ServerCertVerified::assertion()) };
        if themselves.iter().any(|one| one == shown) {
            verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
            in_time(shown, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        match roots {
            Some(roots) => roots.verify_server_cert(shown, between, name, ocsp, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn in_time(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, certificate) = parse_x509_certificate(shown).map_err(|_| unreadable())?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > certificate.validity().not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    if now < certificate.validity().not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    Ok(())
}

/// The certificates of a PEM file as text, and nothing else of it: a key that stands beside them is left there.
pub fn pem_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 <= MAX_FILE => {}
        Ok(_) => return Err(format!("{} is far too large for a PEM file", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let path = path.display();
            return Err(format!("{path} is no text; it must be PEM: openssl x509 -inform der -in {path} -out ca.pem"));
        }
        Err(error) => return Err(format!("{} cannot be read ({error}); check the path", path.display())),
    }
    let mut pem = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside {
            pem.push_str(line);
            pem.push('\n');
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    authorities(&pem).map_err(|problem| format!("{} {problem}", path.display()))?;
    Ok(pem)
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| "is broken PEM; fetch it again".to_owned())?;
    if found.is_empty() {
        return Err("holds no certificate; it must be PEM, with BEGIN CERTIFICATE".to_owned());
    }
    let mut trial = RootCertStore::empty();
    for (place, one) in found.iter().enumerate() {
        let added = trial.add(one.clone());
        added.map_err(|_| format!("holds a certificate that cannot be read, number {}", place + 1))?;
    }
    Ok(found)
}

/// Whose certificates these are, and until when: `CN=our CA (until Jan  1 00:00:00 2030 +00:00)`.
pub fn describe(pem: &str) -> Vec<String> {
    let found = authorities(pem).unwrap_or_default();
    let told = found.iter().filter_map(|one| {
        let (_, certificate) = parse_x509_certificate(one).ok()?;
        Some(format!("{} (until {})", certificate.subject(), certificate.validity().not_after))
    });
    told.collect()
}
