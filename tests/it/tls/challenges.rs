//! A certificate from an authority that asks by HTTP-01: the token is found, the certificate taken up.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::client::{config, connect, shown_for};
use super::maker::{Maker, secure};
use crate::harness::{Builder, eventually, send_raw};

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";

async fn ask(http: &str, host: &str, path: &str) -> crate::harness::Answer {
    send_raw(http, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await
}

/// As `certbot renew --webroot` and its deploy hook go about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_webroot() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let webroot = tempfile::tempdir().unwrap();
    let (builder, address) = secure(1, &[&files]);
    let builder = builder.set("USHER_TLS__CHALLENGE_WEBROOT", &webroot.path().display().to_string());
    let pool = builder.set("USHER_LISTEN__REDIRECT_TO_HTTPS", "true").start().await;
    let old = shown_for(&maker, &address, "bbb.example.test").await;
    let folder = webroot.path().join(".well-known/acme-challenge");
    let path = format!("/.well-known/acme-challenge/{TOKEN}");
    assert_eq!(ask(&pool.http, "bbb.example.test", &path).await.status, 404);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(TOKEN), format!("{TOKEN}.thumbprint")).unwrap();
    let answer = ask(&pool.http, "bbb.example.test", &path).await;
    assert_eq!((answer.status, answer.body), (200, format!("{TOKEN}.thumbprint")), "not redirected");
    // Nothing else in the world is to be had there.
    std::fs::write(webroot.path().join("secret"), "secret").unwrap();
    std::fs::write(folder.join("large"), vec![b'x'; 5000]).unwrap();
    std::os::unix::fs::symlink(webroot.path().join("secret"), folder.join("link")).unwrap();
    for bad in ["../../secret", "%2e%2e/%2e%2e/secret", "..%2f..%2fsecret", "", ".", "large", "link", "a/b"] {
        let path = format!("/.well-known/acme-challenge/{bad}");
        assert_eq!(ask(&pool.http, "bbb.example.test", &path).await.status, 404, "{bad}");
    }
    maker.good("bbb", &["bbb.example.test"]);
    eventually("the new certificate is shown", || async {
        (shown_for(&maker, &address, "bbb.example.test").await != old).then_some(())
    })
    .await;
    assert!(connect(&address, "bbb.example.test", &Arc::new(config(&maker, &[]))).await.is_ok());
}

/// In host mode each server renews its own certificate: its name on our port 80 leads to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_own_challenges_reach_it() {
    let host = Ipv4Addr::new(127, 0, 0, 23);
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let builder =
        Builder::new(1).sim(0, |options| options.listen = (host, 0).into()).also_listen(&[IpAddr::from(host)]);
    let builder = builder.set("USHER_EDGE__MODE", "host").set("USHER_LISTEN__REDIRECT_TO_HTTPS", "true");
    let https = format!("127.0.0.1:{}", crate::harness::free_port());
    let builder =
        builder.set("USHER_LISTEN__HTTPS", &https).set("USHER_LISTEN__PUBLIC_URL", "https://bbb.example.test");
    let pool = builder.config(&format!("[tls]\n{}", super::maker::certificates(&[&files]))).start().await;
    let path = format!("/.well-known/acme-challenge/{TOKEN}");
    let answer = ask(&pool.http, &host.to_string(), &path).await;
    assert!(answer.status == 404 && !answer.body.contains("no such token"), "the server's own words: {answer:?}");
    eventually("it was carried", || async {
        pool.log().lines().any(|line| line.contains("route=client") && line.contains("server=bbb1")).then_some(())
    })
    .await;
}
