//! What the tests of layer 4 put behind and before it: TLS servers with their own certificates, plain servers that keep
//! what they get, and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::harness::{Builder, Pool, eventually, free_port};

/// Long enough for any answer that comes at all.
pub const SOON: Duration = Duration::from_secs(10);

/// A pool without BBB servers and with these listeners; `PORT` in the text is a free port, and its address comes back.
pub async fn pool(toml: &str) -> (Pool, SocketAddr) {
    let (builder, address) = builder(toml);
    (builder.start().await, address)
}

pub fn builder(toml: &str) -> (Builder, SocketAddr) {
    let port = free_port();
    let builder = Builder::new(0).config(&toml.replace("PORT", &port.to_string()));
    (builder, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The value of a metric's series, `name{labels}`; 0 if it is not there.
pub async fn metric(pool: &Pool, series: &str) -> u64 {
    let text = pool.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Waits until a series has this value.
pub async fn metric_becomes(pool: &Pool, series: &str, value: u64) {
    eventually(&format!("{series} is {value}"), || async { (metric(pool, series).await == value).then_some(()) }).await;
}

/// Waits until the log, which is written in its own time, has a line with all of `words`.
pub async fn log_says(pool: &Pool, words: &[&str]) {
    let has_all = |line: &str| words.iter().all(|word| line.contains(word));
    let what = format!("a line of the log with {words:?}");
    eventually(&what, || async { pool.log().lines().any(has_all).then_some(()) }).await;
}

/// A server that says its name and then echoes, behind TLS with a certificate for its names.
pub struct TlsServer {
    pub address: SocketAddr,
    certificate: CertificateDer<'static>,
    work: JoinHandle<()>,
}

impl TlsServer {
    pub async fn start(names: &[&str], label: &'static str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> = generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = ["h2", "http/1.1", "stun.turn"].map(|name| name.as_bytes().to_vec()).to_vec();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let work = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let _ = stream.write_all(format!("{label}\n").as_bytes()).await;
                    let (mut reads, mut writes) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                });
            }
        });
        Self { address, certificate: cert.der().clone(), work }
    }

    /// How a client that trusts this server, and no other, speaks.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A connection through `edge` that has been verified to end at this server.
    pub async fn reach(&self, edge: SocketAddr, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(edge).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connecting = TlsConnector::from(self.client(alpn)).connect(name, stream);
        tokio::time::timeout(SOON, connecting).await.expect("an answer")
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// The greeting of a `TlsServer`, after which it echoes.
pub async fn greeting(stream: &mut TlsStream<TcpStream>) -> String {
    let mut said = Vec::new();
    while said.last() != Some(&b'\n') {
        said.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(said).unwrap().trim_end().to_owned()
}

/// A plain server whose connections the test holds in its hands.
pub struct Plain {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Plain {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    pub async fn accept(&self) -> TcpStream {
        let accepted = tokio::time::timeout(SOON, self.listener.accept()).await;
        accepted.expect("a connection comes").unwrap().0
    }

    /// A client's connection through `edge`, and what this server has of it. Nothing needs to be said for it.
    pub async fn pair(&self, edge: SocketAddr) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(edge).await.unwrap();
        (client, self.accept().await)
    }
}

/// An address to which connecting takes for ever: a listener that accepts nobody, with as many waiting as may.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<JoinHandle<()>>,
}

impl BlackHole {
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
                Ok(stream) => waiting.push(tokio::spawn(async move {
                    let _stream = stream;
                    std::future::pending().await
                })),
                Err(_) => return Self { address, _listener: listener, _waiting: waiting },
            }
            assert!(waiting.len() < 50, "the queue gets full");
        }
    }
}

/// Says `word` at one end and hears it at the other.
pub async fn passes(from: &mut TcpStream, to: &mut TcpStream, word: &str) {
    from.write_all(word.as_bytes()).await.unwrap();
    let mut heard = vec![0; word.len()];
    tokio::time::timeout(SOON, to.read_exact(&mut heard)).await.expect("it passes").unwrap();
    assert_eq!(heard, word.as_bytes());
}

/// Everything until the end of the connection, be it polite or not.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "the connection is closed");
    heard
}

/// What the peer says first, `length` bytes.
pub async fn hear(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await.expect("something comes").unwrap();
    heard
}
