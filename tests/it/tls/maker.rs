//! Makes certificates of every kind, good and bad, and pools that serve them.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;

use crate::harness::{Builder, free_port};

pub type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority, an intermediate one, and a folder for what they sign.
pub struct Maker {
    pub root: Issuer,
    pub between: Issuer,
    pub dir: tempfile::TempDir,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
    params
}

impl Maker {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = CertifiedIssuer::self_signed(authority("test root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let between = CertifiedIssuer::signed_by(authority("test intermediate"), key, &root).unwrap();
        Self { root, between, dir: tempfile::tempdir().unwrap() }
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path(name);
        // As an ACME client does it: a new file in the place of the old one.
        let new = self.path(&format!("{name}.new"));
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    /// A good certificate with its chain, as `name.pem` and `name.key`.
    pub fn good(&self, name: &str, hosts: &[&str]) -> Files {
        self.signed(name, params(hosts))
    }

    pub fn signed(&self, name: &str, params: CertificateParams) -> Files {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.between).unwrap();
        let chain = format!("{}{}", certificate.pem(), self.between.pem());
        let cert = self.write(&format!("{name}.pem"), &chain);
        Files { cert, key: self.write(&format!("{name}.key"), &key.serialize_pem()) }
    }
}

/// The list of the setting.
pub fn certificates(files: &[&Files]) -> String {
    let one = |files: &&Files| format!("{{ cert = {:?}, key = {:?} }}", files.cert, files.key);
    format!("certificates = [{}]\n", files.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A pool with an HTTPS listener; its address comes with it. `[tls]` is the last section.
pub fn secure(count: usize, files: &[&Files]) -> (Builder, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let builder = Builder::new(count).set("USHER_LISTEN__HTTPS", &address);
    (builder.config(&format!("[tls]\n{}", certificates(files))), address)
}
