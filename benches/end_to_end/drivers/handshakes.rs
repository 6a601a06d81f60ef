//! TLS handshakes, one after the other on each of some tasks; full ones, or resumed ones. The certificate is not looked at, so
//! that the client costs little.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::report;

pub async fn run(
    address: SocketAddr,
    version: &str,
    is_resumed: bool,
    count: usize,
    time: Duration,
) -> std::io::Result<()> {
    let provider = Arc::new(like_browsers());
    let versions: &[_] = if version == "1.2" { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(std::io::Error::other)?.dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(Anything(provider))).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut connectors = Vec::new();
    for _ in 0..count {
        // Each its own, like a browser: a ticket of TLS 1.3 is used once, and a common store holds a few of them.
        let mut config = config.clone();
        config.resumption = if is_resumed { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        let connector = TlsConnector::from(Arc::new(config));
        if is_resumed {
            // So that there is a session to resume.
            shake(address, &connector).await?;
        }
        connectors.push(connector);
    }
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connector in connectors {
        tasks.spawn(async move {
            let (mut times, mut others) = (Vec::new(), 0);
            while started.elapsed() < time {
                let asked = Instant::now();
                let kind = shake(address, &connector).await?;
                times.push(asked.elapsed().as_nanos() as u64);
                others += u64::from((kind == Some(HandshakeKind::Resumed)) != is_resumed);
            }
            Ok::<_, std::io::Error>((times, others))
        });
    }
    let (mut all, mut others) = (Vec::new(), 0);
    while let Some(outcome) = tasks.join_next().await {
        let (times, more) = outcome??;
        all.extend(times);
        others += more;
    }
    // A ticket more or less may end; many of them are a failure.
    let failed = if others * 100 > all.len() as u64 { others } else { 0 };
    report(all.len() as f64, failed, started.elapsed(), &mut all);
    Ok(())
}

/// Ciphers in the order in which browsers offer them, since a server mostly takes the first: AES with 128 bits before all
/// others, while libraries begin with 256.
fn like_browsers() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let first = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    provider.cipher_suites.sort_by_key(|suite| !first.contains(&suite.suite()));
    provider
}

/// A connection with one small request on it, without which the tickets of TLS 1.3 would not be read.
async fn shake(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<Option<HandshakeKind>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("bench.example").map_err(std::io::Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    // Servers close without goodbye, some of them.
    let _ = stream.read_to_end(&mut answer).await;
    if !answer.starts_with(b"HTTP/1.1 ") {
        return Err(std::io::Error::other("no answer behind the handshake"));
    }
    Ok(stream.get_ref().1.handshake_kind())
}

#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
