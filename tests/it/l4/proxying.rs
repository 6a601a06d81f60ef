//! PROXY headers, in and out.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stage::{Plain, builder, hear, log_says, metric_becomes, pool, rest};
use crate::harness::{Pool, connect_from};

/// A fixed target that is told of its clients in this version.
async fn told(out: &str, more: &str) -> (Plain, String) {
    let server = Plain::start().await;
    let toml = format!(
        "[[l4.listener]]\nname = \"tcp\"\nlisten = [\"127.0.0.1:PORT\"]\ntarget = \"{}\"\n\
         proxy_protocol_out = \"{out}\"\n{more}\n",
        server.address
    );
    (server, toml)
}

fn binary(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(source), SocketAddr::V4(destination)) = (source, destination) else { panic!() };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [&start[..], &source.ip().octets(), &destination.ip().octets(), &ports].concat()
}

fn line(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ports = format!("{} {}", source.port(), destination.port());
    format!("PROXY TCP4 {} {} {ports}\r\n", source.ip(), destination.ip()).into_bytes()
}

#[tokio::test]
async fn targets_are_told_the_client() {
    for (out, header) in [("v1", line as fn(SocketAddr, SocketAddr) -> Vec<u8>), ("v2", binary)] {
        let (server, toml) = told(out, "").await;
        let (_pool, edge) = pool(&toml).await;
        let mut client = connect_from(9, &edge.to_string()).await;
        let mut far = server.accept().await;
        let expected = header(client.local_addr().unwrap(), edge);
        assert!(client.local_addr().unwrap().ip().to_string() == "127.0.0.9");
        assert_eq!(hear(&mut far, expected.len()).await, expected, "{out}: before the client has said anything");
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut far).await, b"hello");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is() {
    let (server, toml) = told("v1", "proxy_protocol_in = true\nhello_timeout = \"1s\"").await;
    let (pool, edge) = trusting(&toml).await;
    let (source, destination) = ("203.0.113.7:1234".parse().unwrap(), "192.0.2.1:443".parse().unwrap());
    for header in [line(source, destination), binary(source, destination)] {
        let mut client = connect_from(2, &edge.to_string()).await;
        let (start, end) = header.split_at(header.len() / 2);
        client.write_all(start).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(&[end, b"hello"].concat()).await.unwrap();
        let mut far = server.accept().await;
        let expected = [&line(source, destination)[..], b"hello"].concat();
        assert_eq!(hear(&mut far, expected.len()).await, expected);
    }
    // A probe of the proxy's own speaks for nobody.
    let mut probe = connect_from(2, &edge.to_string()).await;
    probe.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await.unwrap();
    let mut far = server.accept().await;
    let expected = line(probe.local_addr().unwrap(), edge);
    assert_eq!(hear(&mut far, expected.len()).await, expected);

    let mut wrong = connect_from(2, &edge.to_string()).await;
    wrong.write_all(b"hello").await.unwrap();
    assert_eq!(rest(&mut wrong).await, b"");
    metric_becomes(&pool, "usher_l4_refused_total{listener=\"tcp\",reason=\"proxy_header\"}", 1).await;
    log_says(&pool, &["connection of a trusted proxy closed", "proxy=127.0.0.2"]).await;
    let mut silent = connect_from(2, &edge.to_string()).await;
    assert_eq!(rest(&mut silent).await, b"", "a header has to come");
}

#[tokio::test]
async fn anybody_else_is_who_it_is() {
    let (server, toml) = told("v1", "proxy_protocol_in = true").await;
    let (_pool, edge) = trusting(&toml).await;
    let mut client = connect_from(3, &edge.to_string()).await;
    let forged = line("203.0.113.7:1234".parse().unwrap(), "192.0.2.1:443".parse().unwrap());
    client.write_all(&forged).await.unwrap();
    let mut far = server.accept().await;
    let expected = [line(client.local_addr().unwrap(), edge), forged].concat();
    assert_eq!(hear(&mut far, expected.len()).await, expected, "the truth first; the rest is the client's own words");
}

#[tokio::test]
async fn a_route_may_differ() {
    let (one, two) = (Plain::start().await, Plain::start().await);
    let toml = format!(
        "[[l4.listener]]\nlisten = [\"127.0.0.1:PORT\"]\nproxy_protocol_out = \"v1\"\ntarget = \"{}\"\n\
         [[l4.listener.route]]\nsni = [\"a.example.org\"]\nproxy_protocol_out = \"off\"\ntarget = \"{}\"\n",
        one.address, two.address
    );
    let (_pool, edge) = pool(&toml).await;
    for (name, server, is_told) in [("a.example.org", &two, false), ("b.example.org", &one, true)] {
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let roots = rustls::RootCertStore::empty();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut hello = Vec::new();
        rustls::ClientConnection::new(config.into(), name).unwrap().write_tls(&mut hello).unwrap();
        let mut client = TcpStream::connect(edge).await.unwrap();
        client.write_all(&hello).await.unwrap();
        let header = if is_told { line(client.local_addr().unwrap(), edge) } else { Vec::new() };
        let expected = [header, hello].concat();
        assert_eq!(hear(&mut server.accept().await, expected.len()).await, expected);
    }
}

async fn trusting(toml: &str) -> (Pool, SocketAddr) {
    let (builder, edge) = builder(toml);
    (builder.set("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.2").start().await, edge)
}
