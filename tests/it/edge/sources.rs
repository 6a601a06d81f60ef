//! Who a client is, behind a balancer on another machine that speaks the PROXY protocol: servers are told the truth by HTTP,
//! HTTPS and layer 4, nobody chooses an address, and limits hit who they are meant for.
//!
//! The balancer is an Usher of its own in a network of its own, with listeners of layer 4; what its headers look like is
//! tried elsewhere, byte for byte (`l4::proxying`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::origin::Origin;
use crate::harness::{Builder, Networks, Pool, connect_by, eventually, say_on};
use crate::tls::client::config;
use crate::tls::maker::{Maker, certificates};

const PATIENCE: Duration = Duration::from_secs(5);
/// Ports of the edge, and of the balancer by version; the networks are empty but for them.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const TCP: u16 = 3478;
const BY_V1: u16 = 10_000;
const BY_V2: u16 = 20_000;

/// Cables: callers to the balancer, the balancer to the edge, the edge to the servers, and strangers to the edge.
const CALLERS: u8 = 0;
const BETWEEN: u8 = 1;
const SERVERS: u8 = 2;
const STRANGERS: u8 = 3;
/// Further addresses of callers and strangers.
const ANN: u8 = 11;
const BEN: u8 = 12;

struct House {
    networks: Networks,
    origin: Origin,
    tcp: TcpListener,
    maker: Maker,
    edge: Pool,
    _balancer: Pool,
}

async fn house(more: &[(&str, &str)]) -> Option<House> {
    let mut networks = Networks::new(&["balancer", "edge"])?;
    networks.lay(CALLERS, None, "balancer");
    networks.lay(BETWEEN, Some("balancer"), "edge");
    networks.lay(SERVERS, None, "edge");
    networks.lay(STRANGERS, None, "edge");
    for last in [ANN, BEN] {
        networks.also(CALLERS, last);
        networks.also(STRANGERS, last);
    }
    let origin = Origin::start(networks.v4(SERVERS, 1)).await;
    let tcp = TcpListener::bind((networks.v4(SERVERS, 1), 0)).await.unwrap();
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (inner, outer) = (networks.v4(BETWEEN, 2), networks.v4(STRANGERS, 2));
    let layer_4 = format!(
        "[[l4.listener]]\nname = \"tcp\"\nlisten = [\"{inner}:{TCP}\", \"{outer}:{TCP}\"]\ntarget = \"{}\"\n\
         proxy_protocol_in = true\nproxy_protocol_out = \"v1\"\n",
        tcp.local_addr().unwrap()
    );
    let trusted = format!("{},{}", networks.v4(BETWEEN, 1), networks.v6(BETWEEN, 1));
    let mut builder = Builder::new(0)
        .listen(outer.into())
        .config(&format!("[edge]\nmode = \"path\"\n[tls]\n{}{layer_4}", certificates(&[&files])))
        .set("USHER_LISTEN__HTTP", &format!("{inner}:{HTTP},{outer}:{HTTP}"))
        .set("USHER_LISTEN__HTTPS", &format!("{inner}:{HTTPS},{outer}:{HTTPS}"))
        .set("USHER_LISTEN__PROXY_PROTOCOL", "true")
        .set("USHER_LISTEN__TRUSTED_PROXIES", &trusted);
    for (name, value) in more {
        builder = builder.set(name, value);
    }
    let mut edge = builder.prepare().await;
    edge.http = format!("http://{outer}:{HTTP}");
    edge.launcher = networks.launcher("edge");
    edge.cli_ok(&["server", "add", &format!("http://{}", origin.address), "--name", "origin", "--secret", "s"]);
    edge.serve().await;

    let (v4, v6) = (networks.v4(CALLERS, 2), networks.v6(CALLERS, 2));
    let forward = |version: &str, first: u16, port: u16| {
        format!(
            "[[l4.listener]]\nname = \"{version}-{port}\"\nlisten = [\"{v4}:{}\", \"[{v6}]:{}\"]\n\
             target = \"{inner}:{port}\"\nproxy_protocol_out = \"{version}\"\n",
            first + port,
            first + port
        )
    };
    let ports = [HTTP, HTTPS, TCP];
    let listeners = ports.map(|port| forward("v1", BY_V1, port) + &forward("v2", BY_V2, port)).concat();
    let mut balancer = Builder::new(0).listen(v4.into()).config(&listeners).prepare().await;
    balancer.launcher = networks.launcher("balancer");
    balancer.serve().await;
    Some(House { networks, origin, tcp, maker, edge, _balancer: balancer })
}

impl House {
    /// A client's connection to the balancer; its address comes with it.
    async fn by_balancer(&self, last: u8, is_v6: bool, port: u16) -> (TcpStream, IpAddr) {
        let address = |last: u8| -> IpAddr {
            if is_v6 { self.networks.v6(CALLERS, last).into() } else { self.networks.v4(CALLERS, last).into() }
        };
        (connect_by(address(last), SocketAddr::new(address(2), port)).await, address(last))
    }

    async fn by_nobody(&self, last: u8, port: u16) -> TcpStream {
        let source = self.networks.v4(STRANGERS, last).into();
        connect_by(source, SocketAddr::new(self.networks.v4(STRANGERS, 2).into(), port)).await
    }

    /// The server's word for who the last request came from, in both fields.
    fn told(&self) -> Vec<String> {
        let seen = self.origin.last();
        ["x-forwarded-for", "x-real-ip"].iter().map(|name| seen.all(name).join(" and ")).collect()
    }
}

fn request(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: bbb.example.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Bytes until the end of the line.
async fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_told_the_real_clients_whatever_way_they_come() {
    let Some(house) = house(&[]).await else { return };
    let tls = Arc::new(config(&house.maker, &["http/1.1"]));
    for first in [BY_V1, BY_V2] {
        for (last, is_v6) in [(ANN, false), (BEN, false), (ANN, true), (BEN, true)] {
            let (mut stream, client) = house.by_balancer(last, is_v6, first + HTTP).await;
            let said = say_on(&mut stream, &request("/origin/x"), PATIENCE).await;
            assert_eq!(said.statuses(), [200], "{}", said.text);
            assert_eq!(house.told(), [client.to_string(), client.to_string()]);

            let (stream, client) = house.by_balancer(last, is_v6, first + HTTPS).await;
            let name = ServerName::try_from("bbb.example.test").unwrap();
            let mut stream = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, stream).await.unwrap();
            stream.write_all(&request("/origin/y")).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
            assert_eq!(house.told(), [client.to_string(), client.to_string()]);
            assert_eq!(house.origin.last().all("x-forwarded-proto"), ["https"]);

            let (_stream, client) = house.by_balancer(last, is_v6, first + TCP).await;
            let family = if is_v6 { 6 } else { 4 };
            let header = line(&mut house.tcp.accept().await.unwrap().0).await;
            assert!(header.starts_with(&format!("PROXY TCP{family} {client} ")), "{header}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_an_address() {
    let Some(house) = house(&[]).await else { return };
    let forged = b"PROXY TCP4 6.6.6.6 192.0.2.1 1234 80\r\n";
    // A stranger who comes by himself, with fields and with a header.
    let stranger = house.networks.v4(STRANGERS, ANN).to_string();
    let said = say_on(&mut house.by_nobody(ANN, HTTP).await, &request("/origin/x"), PATIENCE).await;
    assert_eq!(said.statuses(), [200], "{}", said.text);
    assert_eq!(house.told(), [stranger.clone(), stranger.clone()]);
    let before = house.origin.seen().len();
    let with_header = [&forged[..], &request("/origin/x")].concat();
    let said = say_on(&mut house.by_nobody(ANN, HTTP).await, &with_header, PATIENCE).await;
    assert!(said.closed && said.statuses() != [200], "{}", said.text);
    let said = say_on(&mut house.by_nobody(ANN, HTTPS).await, &with_header, PATIENCE).await;
    assert!(said.closed && !said.text.contains("200 OK"), "{}", said.text);
    let mut stream = house.by_nobody(ANN, TCP).await;
    stream.write_all(forged).await.unwrap();
    let mut far = house.tcp.accept().await.unwrap().0;
    let header = line(&mut far).await;
    assert!(header.starts_with(&format!("PROXY TCP4 {stranger} ")), "{header}");
    assert_eq!(line(&mut far).await.as_bytes(), forged, "the rest is the client's own words");
    // A client of the balancer whose first words are a header: the second one is no HTTP.
    for first in [BY_V1, BY_V2] {
        let (mut stream, _) = house.by_balancer(ANN, false, first + HTTP).await;
        let said = say_on(&mut stream, &with_header, PATIENCE).await;
        assert!(said.closed && said.statuses() != [200], "{}", said.text);
    }
    assert_eq!(house.origin.seen().len(), before, "{:?}", house.origin.last());
    assert!(!house.edge.log().contains("client=6.6.6.6"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hit_the_client_and_not_the_balancer() {
    let Some(house) = house(&[("USHER_LIMITS__CONNECTIONS_PER_ADDRESS", "6")]).await else { return };
    let mut open = Vec::new();
    for _ in 0..6 {
        let (mut stream, _) = house.by_balancer(ANN, false, BY_V2 + HTTP).await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        open.push(stream);
    }
    let asks = async |last: u8, is_v6: bool| {
        let (mut stream, _) = house.by_balancer(last, is_v6, BY_V1 + HTTP).await;
        say_on(&mut stream, &request("/origin/x"), PATIENCE).await.statuses()
    };
    eventually("one more is refused", || async { (asks(ANN, false).await == [429]).then_some(()) }).await;
    assert_eq!(asks(BEN, false).await, [200], "a neighbour behind the same balancer");
    assert_eq!(asks(BEN, true).await, [200]);
    drop(open);
    eventually("she is let in again", || async { (asks(ANN, false).await == [200]).then_some(()) }).await;
}
