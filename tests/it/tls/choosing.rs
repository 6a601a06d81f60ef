//! What is agreed on in a handshake: version, certificate by name, protocol, session.

use std::sync::Arc;

use rustls::{HandshakeKind, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{config, config_of, connect, get, shown_for};
use super::maker::{Maker, secure};
use crate::harness::{Builder, free_port};

fn leaf(files: &super::maker::Files) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_file(&files.cert).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_gets_its_certificate_and_unknown_ones_the_first() {
    let maker = Maker::new();
    let first = maker.good("first", &["bbb.example.test", "127.0.0.1"]);
    let exact = maker.good("exact", &["one.rooms.example.test"]);
    let wild = maker.good("wild", &["*.rooms.example.test"]);
    let (builder, address) = secure(1, &[&first, &wild, &exact]);
    let _pool = builder.start().await;
    for (name, files) in [
        ("bbb.example.test", &first),
        ("BBB.Example.TEST", &first),
        ("one.rooms.example.test", &exact),
        ("two.rooms.example.test", &wild),
        ("a.b.rooms.example.test", &first),
        ("rooms.example.test", &first),
        ("unknown.example", &first),
        // No name is sent for an address.
        ("127.0.0.1", &first),
    ] {
        assert_eq!(shown_for(&maker, &address, name).await, leaf(files), "{name}");
    }
    // And with a client that checks.
    let mut stream = connect(&address, "two.rooms.example.test", &Arc::new(config(&maker, &[]))).await.unwrap();
    assert!(get(&mut stream, "/livez").await.ends_with("alive\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_and_nothing_older() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.start().await;
    for only in [&version::TLS12, &version::TLS13] {
        for (offered, agreed) in
            [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[][..], None)]
        {
            let config = Arc::new(config_of(&maker, offered, &[only]));
            let mut stream = connect(&address, "bbb.example.test", &config).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(only.version));
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
            if agreed != Some(b"h2") {
                let answer = get(&mut stream, "/livez").await;
                assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
            }
        }
    }
    // A ClientHello of TLS 1.1 with one cipher, by hand: rustls cannot.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).await.unwrap();
    assert_eq!((alert.first(), alert.get(5)), (Some(&21), Some(&2)), "a fatal alert: {alert:?}");

    let metrics = pool.metrics().await;
    for line in [
        "usher_tls_handshakes_total{listener=\"https\",result=\"ok\"} 6",
        "usher_tls_handshakes_total{listener=\"https\",result=\"failed\"} 1",
        "usher_http_requests_total{code=\"2xx\",listener=\"https\",route=\"health\"} 4",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let _pool = builder.start().await;
    for only in [&version::TLS12, &version::TLS13] {
        let config = Arc::new(config_of(&maker, &[], &[only]));
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut stream = connect(&address, "bbb.example.test", &config).await.unwrap();
            // With 1.3 the ticket comes behind the handshake.
            get(&mut stream, "/livez").await;
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds[1..], [HandshakeKind::Resumed, HandshakeKind::Resumed], "{only:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_addresses_of_both_families_and_no_plain_one() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let addresses =
        [format!("127.0.0.1:{}", free_port()), format!("127.0.0.2:{}", free_port()), format!("[::1]:{}", free_port())];
    let pair = format!("{}:{}", files.cert.display(), files.key.display());
    let builder = Builder::new(1).set("USHER_LISTEN__HTTPS", &addresses.join(","));
    // From the environment, as in a container.
    let pool = builder.set("USHER_TLS__CERTIFICATES", &pair).start().await;
    let config = Arc::new(config(&maker, &[]));
    for address in &addresses {
        let mut stream = connect(address, "bbb.example.test", &config).await.unwrap();
        assert!(get(&mut stream, "/livez").await.ends_with("alive\n"), "{address}");
    }
    assert!(pool.log().contains(&format!("https={}", addresses.join(","))), "{}", pool.log());
}
