//! One port for both: some names are handed on as they are, for the others TLS ends here.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{config, connect, get, shown_for};
use super::maker::{Maker, certificates};
use crate::harness::{Builder, Pool, connect_from, eventually, free_port};
use crate::l4::stage::{TlsServer, greeting, log_says, metric, metric_becomes};

/// Usher for `bbb.example.test`, another server for `one.example.test`, and a TURN server for whoever asks for that.
async fn shared(maker: &Maker, more: &str) -> (Pool, String, TlsServer, TlsServer) {
    let one = TlsServer::start(&["one.example.test"], "one").await;
    let turn = TlsServer::start(&["bbb.example.test"], "turn").await;
    let files = maker.good("bbb", &["bbb.example.test"]);
    let address = format!("127.0.0.1:{}", free_port());
    let toml = format!(
        "[[l4.listener]]\nname = \"edge\"\nlisten = [\"{address}\"]\ntarget = \"https\"\n{more}\n\
         [[l4.listener.route]]\nsni = [\"one.example.test\"]\ntarget = \"{}\"\n\
         [[l4.listener.route]]\nalpn = [\"stun.turn\"]\ntarget = \"{}\"\n[tls]\n{}",
        one.address,
        turn.address,
        certificates(&[&files])
    );
    let pool = Builder::new(1).set("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.2").config(&toml).start().await;
    (pool, address, one, turn)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_decide_where_tls_ends() {
    let maker = Maker::new();
    let (pool, address, one, turn) = shared(&maker, "").await;
    let edge = address.parse().unwrap();
    let client = Arc::new(config(&maker, &["http/1.1"]));
    for _ in 0..3 {
        let mut ours = connect(&address, "bbb.example.test", &client).await.unwrap();
        assert!(get(&mut ours, "/readyz").await.starts_with("HTTP/1.1 200"));
        let mut theirs = one.reach(edge, "one.example.test", &["http/1.1"]).await.unwrap();
        assert_eq!(greeting(&mut theirs).await, "one");
        // Both stay open beside each other.
        assert!(get(&mut ours, "/bigbluebutton/api").await.contains("SUCCESS"));
        theirs.write_all(b"still").await.unwrap();
        let mut still = [0; 5];
        theirs.read_exact(&mut still).await.unwrap();
    }
    // The same name as ours, and another protocol.
    let mut relayed = turn.reach(edge, "bbb.example.test", &["stun.turn"]).await.unwrap();
    assert_eq!(greeting(&mut relayed).await, "turn");
    let h2 = connect(&address, "bbb.example.test", &Arc::new(config(&maker, &["h2", "http/1.1"]))).await.unwrap();
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // Who asks for another name, or none, gets our first certificate.
    let ours = shown_for(&maker, &address, "bbb.example.test").await;
    assert_eq!(shown_for(&maker, &address, "nobody.example.test").await, ours);
    assert_eq!(shown_for(&maker, &address, "127.0.0.1").await, ours);
    assert!(metric(&pool, "usher_tls_handshakes_total{listener=\"https\",result=\"ok\"}").await >= 7);
    drop(relayed);
    metric_becomes(&pool, &format!("usher_l4_connections{{listener=\"edge\",server=\"{}\"}}", turn.address), 0).await;
}

/// Browsers use one connection of HTTP/2 for all names of a certificate; a name that leads elsewhere needs its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_route_serves_is_misdirected() {
    let maker = Maker::new();
    let (_pool, address, _one, _turn) = shared(&maker, "").await;
    let stream = connect(&address, "bbb.example.test", &Arc::new(config(&maker, &["h2"]))).await.unwrap();
    let (sender, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (host, status) in [
        ("bbb.example.test", 200),
        ("one.example.test", 421),
        ("nobody.example.test", 200),
        ("ONE.example.test:443", 421),
    ] {
        let request = http::Request::get(format!("https://{host}/livez")).body(()).unwrap();
        assert_eq!(super::streams::ask(&sender, request, None).await.unwrap().0, status, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_it_is_told_so() {
    let maker = Maker::new();
    let (pool, address, ..) = shared(&maker, "hello_timeout = \"1s\"").await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bbb.example.test\r\n\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("plain HTTP request was sent to an HTTPS port"), "{said}");
    // One that says nothing has its time there too.
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).await.unwrap();
    assert!(heard.is_empty());
    metric_becomes(&pool, "usher_l4_refused_total{listener=\"edge\",reason=\"timeout\"}", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_in_front_says_who_the_client_is_on_both() {
    let maker = Maker::new();
    let (pool, address, one, _) = shared(&maker, "proxy_protocol_in = true").await;
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.1 1234 443\r\n";
    let mut stream = connect_from(2, &address).await;
    stream.write_all(header).await.unwrap();
    let name = ServerName::try_from("bbb.example.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config(&maker, &["http/1.1"])));
    let mut ours = connector.connect(name, stream).await.unwrap();
    assert!(get(&mut ours, "/marked").await.starts_with("HTTP/1.1 404"));
    log_says(&pool, &["client=203.0.113.7", "status=404"]).await;
    let mut stream = connect_from(2, &address).await;
    stream.write_all(header).await.unwrap();
    let name = ServerName::try_from("one.example.test").unwrap();
    let mut theirs = TlsConnector::from(one.client(&[])).connect(name, stream).await.unwrap();
    assert_eq!(greeting(&mut theirs).await, "one");
    drop(theirs);
    log_says(&pool, &["connection listener=edge name=one.example.test", "client=203.0.113.7"]).await;
    // A proxy's own word is nobody's: who speaks behind it is no trusted proxy.
    let mut stream = connect_from(2, &address).await;
    stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await.unwrap();
    let name = ServerName::try_from("bbb.example.test").unwrap();
    let mut probe = connector.connect(name, stream).await.unwrap();
    let forged = b"GET /forged HTTP/1.1\r\nHost: bbb.example.test\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n";
    probe.write_all(forged).await.unwrap();
    super::client::answer(&mut probe).await;
    let line = eventually("the request is in the log", || async {
        let log = pool.log();
        log.lines().find(|line| line.contains("status=404") && !line.contains("203.0.113.7")).map(str::to_owned)
    })
    .await;
    assert!(!line.contains("198.51.100.1"), "{line}");
}
