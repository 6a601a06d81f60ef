//! The admin listener with TLS, and only for clients with a certificate.

use std::sync::Arc;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::client::{config, connect};
use super::maker::{Issuer, Maker, params};
use crate::harness::{Builder, Pool, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What `/metrics` says to that client; an error if it is not let in.
async fn scrape(pool: &Pool, config: &Arc<ClientConfig>) -> std::io::Result<String> {
    let mut stream = connect(pool.admin.trim_start_matches("http://"), "admin.example.test", config).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin.example.test\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn client_of(maker: &Maker, issuer: &Issuer) -> Arc<ClientConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&["monitor"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ClientConfig::builder().with_root_certificates(maker.roots());
    Arc::new(builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_are_let_in() {
    let (maker, operators) = (Maker::new(), Maker::new());
    let files = maker.good("admin", &["admin.example.test"]);
    let builder = Builder::new(0).set("USHER_ADMIN__CERT", files.cert.to_str().unwrap());
    let mut pool = builder.set("USHER_ADMIN__KEY", files.key.to_str().unwrap()).prepare().await;
    let anybody = Arc::new(config(&maker, &[]));
    pool.start_process();
    let answer = eventually("HTTPS without client certificates", || async { scrape(&pool, &anybody).await.ok() }).await;
    assert!(answer.contains("usher_certificate_expiry_timestamp_seconds{name=\"admin.example.test\"}"), "{answer}");
    let status = String::from_utf8(pool.cli(&["status"]).stdout).unwrap();
    assert!(status.contains("Usher is running"), "{status}");
    pool.kill();

    let authority = operators.write("operators.pem", &operators.root.pem());
    pool.set("USHER_ADMIN__CLIENT_CA", authority.to_str().unwrap());
    pool.start_process();
    let (monitor, stranger) = (client_of(&maker, &operators.root), client_of(&maker, &maker.root));
    let answer = eventually("the operators' client", || async { scrape(&pool, &monitor).await.ok() }).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(scrape(&pool, &anybody).await.is_err());
    assert!(scrape(&pool, &stranger).await.is_err());

    // Another authority, by changing the file.
    operators.write("operators.pem", &maker.root.pem());
    eventually("the new authority holds", || async { scrape(&pool, &stranger).await.ok() }).await;
    assert!(scrape(&pool, &monitor).await.is_err());
    // A broken file keeps it.
    operators.write("operators.pem", "nonsense");
    eventually("the log says so", || async { pool.log().contains("operators.pem holds no certificate").then_some(()) })
        .await;
    assert!(scrape(&pool, &stranger).await.is_ok() && scrape(&pool, &monitor).await.is_err());

    // Without any, nothing starts.
    pool.kill();
    let output = pool.cli(&["serve"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("admin.client_ca: "), "{told}");
}
