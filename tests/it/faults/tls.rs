//! HTTPS before a simulated server, with the certificate a test wants.
//!
//! What comes in is decrypted and passed on to the server's plain port. A change of certificate closes what is open: a
//! connection that is already there does not look at certificates again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    OtherName,
    /// Signed by an authority that nobody trusts.
    Unknown,
}

/// An authority that Usher trusts, and one that it does not.
#[derive(Clone)]
pub struct Authority(Arc<Keys>);

struct Keys {
    trusted: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
    roots: tempfile::NamedTempFile,
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Authority {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (trusted, stranger) = (issuer("trusted"), issuer("stranger"));
        let roots = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(roots.path(), trusted.pem()).unwrap();
        Self(Arc::new(Keys { trusted, stranger, roots }))
    }

    /// A file with the one authority to trust, for `SSL_CERT_FILE`.
    pub fn roots(&self) -> &Path {
        self.0.roots.path()
    }

    fn acceptor(&self, certificate: Certificate) -> TlsAcceptor {
        let name = if certificate == Certificate::OtherName { "other.example" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if certificate == Certificate::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let issuer = if certificate == Certificate::Unknown { &self.0.stranger } else { &self.0.trusted };
        let signed = params.signed_by(&key, issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![signed.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// One server's HTTPS port; ends when it is dropped.
pub struct TlsFront {
    authority: Authority,
    addr: SocketAddr,
    shown: Arc<Mutex<TlsAcceptor>>,
    /// Counts the changes; connections end at each.
    changes: watch::Sender<u64>,
}

impl TlsFront {
    pub async fn start(authority: Authority, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shown = Arc::new(Mutex::new(authority.acceptor(Certificate::Good)));
        let changes = watch::Sender::new(0);
        tokio::spawn(accept(listener, server, shown.clone(), changes.subscribe()));
        Self { authority, addr, shown, changes }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn present(&self, certificate: Certificate) {
        *self.shown.lock() = self.authority.acceptor(certificate);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    shown: Arc<Mutex<TlsAcceptor>>,
    mut changes: watch::Receiver<u64>,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let acceptor = shown.lock().clone();
        let mut until = changes.clone();
        tokio::spawn(async move {
            let passed_on = async {
                let mut secure = acceptor.accept(stream).await?;
                let mut plain = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut secure, &mut plain).await
            };
            tokio::select! {
                _ = passed_on => {}
                _ = until.changed() => {}
            }
        });
    }
}
