//! How a server is reached: an address instead of DNS, PROXY headers, and pools that mix versions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use url::Url;
use usher::ids::Secret;
use usher::sim::{SeenCall, SimOptions, SimServer, SimVersion};

use crate::harness::{Browser, Builder, Network, Pool, Session, connect_from, eventually, say_on};
use crate::tls::maker::Maker;

const PATIENCE: Duration = Duration::from_secs(5);

async fn sim(change: impl FnOnce(&mut SimOptions)) -> SimServer {
    let mut options = SimOptions::new(Secret::new("a-server-secret"));
    options.name = "bbb1".to_owned();
    change(&mut options);
    SimServer::start(options).await.unwrap()
}

/// What browsers asked for, and not Usher.
fn carried(server: &SimServer) -> Vec<SeenCall> {
    server.calls().into_iter().filter(|call| call.header("x-usher-hop").is_some()).collect()
}

fn port_of(url: &str) -> u16 {
    Url::parse(url).unwrap().port().unwrap()
}

/// The name leads to Usher for everybody, Usher included; nothing resolves it here.
#[tokio::test(flavor = "multi_thread")]
async fn in_host_mode_the_servers_name_may_lead_to_usher() {
    let server = sim(|_| ()).await;
    let mut pool = Builder::new(0).config("[edge]\nmode = \"host\"\n").prepare().await;
    let port = port_of(&pool.http);
    let url = format!("http://bbb1.test:{port}");
    let address = server.addr().to_string();
    pool.cli_ok(&["server", "add", &url, "--secret", "a-server-secret", "--address", &address]);
    server.set_up_client(|client| client.base = Some(url.clone()));
    let checked: Value = serde_json::from_str(&pool.cli_ok(&["check", "--online", "--json"])).unwrap();
    assert_eq!(checked["servers"][0]["ok"], true, "{checked}");
    pool.servers.push(server);
    pool.serve().await;
    pool.wait_health("bbb1", "up").await;

    let front = pool.front_end();
    front.create("room", "").await;
    let link = front.join("room", "Ada").await;
    assert!(link.starts_with(&url), "{link}");
    let names = vec![("bbb1.test".to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)))];
    let mut session = Session::join(&Browser::on(Network { names, ..Network::default() }), &link).await;
    let (mut graphql, _sfu) = session.walk().await;
    session.notes().await;
    assert_eq!(session.upload(&mut graphql, 100_000).await.body, "upload-success");
    let host = format!("bbb1.test:{port}");
    let server = &pool.servers[0];
    assert!(carried(server).len() > 10, "all of it came through Usher");
    assert!(server.calls().iter().all(|call| call.header("host") == Some(&host)), "Host stays that of the URL");
    // Another address: the old one is not asked any more, though connections to it are open.
    let other = sim(|_| ()).await;
    pool.cli_ok(&["server", "set", "bbb1", "--address", &other.addr().to_string()]);
    eventually("the other is polled", || async { (other.count_calls("getMeetings") > 1).then_some(()) }).await;
    let before = pool.servers[0].calls().len();
    let polled = other.count_calls("getMeetings");
    eventually("and again", || async { (other.count_calls("getMeetings") > polled + 3).then_some(()) }).await;
    assert_eq!(pool.servers[0].calls().len(), before);
}

/// TLS for `bbb1.example.test` in front of a simulated server's port; a line of version 1 before it is handed on.
async fn tls_front(maker: &Maker, to: SocketAddr, is_announced: bool) -> SocketAddr {
    let files = maker.good(&format!("front{is_announced}"), &["bbb1.example.test"]);
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut line = Vec::new();
                while is_announced && !line.ends_with(b"\r\n") {
                    line.push(stream.read_u8().await?);
                }
                let mut from = acceptor.accept(stream).await?;
                let mut to = TcpStream::connect(to).await?;
                to.write_all(&line).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_go_by_the_name_and_headers_come_before_tls() {
    let server = sim(|_| ()).await;
    let maker = Maker::new();
    let roots = maker.write("roots.pem", &maker.root.pem());
    let plain = tls_front(&maker, server.addr(), false).await;
    let announced = tls_front(&maker, server.listen_announced().await.unwrap(), true).await;
    let mut pool = Builder::new(0).config("[edge]\nmode = \"path\"\n").prepare().await;
    pool.set("SSL_CERT_FILE", roots.to_str().unwrap());
    let (address, port) = (plain.to_string(), announced.port().to_string());
    let words = ["server", "add", "https://bbb1.example.test", "--secret", "a-server-secret", "--address", &address];
    pool.cli_ok(&[&words[..], &["--send-proxy", "v1", "--send-proxy-port", &port]].concat());
    pool.servers.push(server);
    pool.serve().await;
    pool.wait_health("bbb1", "up").await;
    let mut stream = connect_from(9, &pool.http).await;
    let ask = b"GET /bbb1/bigbluebutton/rtt-check HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n\r\n";
    assert_eq!(say_on(&mut stream, ask, PATIENCE).await.statuses(), [200]);
    let seen = carried(&pool.servers[0]).remove(0);
    assert_eq!(seen.announced.flatten().unwrap().ip(), IpAddr::from([127, 0, 0, 9]));
    // Another name than the certificate's is not believed, wherever it leads.
    pool.cli_ok(&["server", "set", "bbb1", "--url", "https://bbb2.example.test"]);
    pool.wait_health("bbb1", "down").await;
    let reason = pool.server_status("bbb1").await["reason"].to_string();
    assert!(reason.contains("certificate is for another name"), "{reason}");
}

/// Several people by turns: no connection speaks for two.
#[tokio::test]
async fn servers_are_told_of_browsers_by_proxy_headers() {
    for version in ["v1", "v2"] {
        let server = sim(|_| ()).await;
        let port = server.listen_announced().await.unwrap().port().to_string();
        let mut pool = Builder::new(0).config("[edge]\nmode = \"path\"\n").prepare().await;
        let url = server.url();
        let words = ["server", "add", &url, "--name", "bbb1", "--secret", "a-server-secret"];
        pool.cli_ok(&[&words[..], &["--send-proxy", version, "--send-proxy-port", &port]].concat());
        pool.servers.push(server);
        pool.serve().await;
        let mut streams = Vec::new();
        for last in [7, 8, 9] {
            streams.push(connect_from(last, &pool.http).await);
        }
        for _ in 0..5 {
            for stream in &mut streams {
                let ask = b"GET /bbb1/bigbluebutton/rtt-check HTTP/1.1\r\nHost: p.example\r\n\r\n";
                stream.write_all(ask).await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                assert!(head.starts_with(b"HTTP/1.1 200"));
            }
        }
        let server = &pool.servers[0];
        let told = carried(server);
        assert_eq!(told.len(), 15);
        for call in &told {
            let announced = call.announced.expect("a header").expect("an address").ip().to_string();
            assert_eq!(call.header("x-real-ip"), Some(announced.as_str()), "{version}");
        }
        let own = server.calls().into_iter().filter(|call| call.header("x-usher-hop").is_none());
        assert!(own.into_iter().all(|call| call.announced.is_none()), "calls of the API have no header");

        // A whole session, WebSockets included.
        server.set_up_client(|client| client.base = Some(format!("{}/bbb1", pool.http)));
        let front = pool.front_end();
        front.create("room", "").await;
        let link = front.join("room", "Ada").await;
        let mut session = Session::join(&Browser::new(), &link).await;
        session.walk().await;
        let sockets = carried(server).into_iter().filter(|call| call.header("upgrade").is_some()).count();
        assert_eq!(sockets, 2);
        assert!(carried(server).iter().all(|call| call.announced.flatten().is_some()));
    }
}

/// A server of each line, with what tells its version, or not.
async fn mixed(more: &[&str]) -> Pool {
    let builder = Builder::new(2).config("[edge]\nmode = \"path\"\n").sim(0, |old| {
        old.generation = SimVersion::V2_7;
        old.client.mount = Some("/bbb1".to_owned());
    });
    let pool = builder.server_args(0, more).start().await;
    for (index, server) in pool.servers.iter().enumerate() {
        let base = format!("{}/bbb{}", pool.http, index + 1);
        server.set_up_client(|client| (client.base, client.server_url) = (Some(base.clone()), Some(base)));
    }
    pool
}

fn last_page(server: &SimServer) -> String {
    let calls = carried(server);
    let page = calls.iter().rfind(|call| call.target.contains("/html5client/"));
    page.expect("a page").target.clone()
}

#[tokio::test]
async fn a_pool_may_mix_versions() {
    let pool = mixed(&[]).await;
    eventually("both versions are known", || async {
        let known =
            |name: &'static str| async { pool.server_status(name).await["version"].as_str().map(str::to_owned) };
        known("bbb1").await.zip(known("bbb2").await)
    })
    .await;
    let page = |name: &'static str| {
        let url = format!("{}/{name}/html5client/join?sessionToken=x", pool.http);
        async move { Browser::new().get(&Url::parse(&url).unwrap()).await }
    };
    page("bbb1").await;
    assert_eq!(last_page(&pool.servers[0]), "/bbb1/html5client/join?sessionToken=x", "2.7 mounts its client");
    page("bbb2").await;
    assert_eq!(last_page(&pool.servers[1]), "/html5client/join?sessionToken=x", "3.0 does not");
    // The operator's word is the last one, for either.
    for (name, index, word, wanted) in
        [("bbb1", 0, "strip", "/html5client/"), ("bbb2", 1, "keep", "/bbb2/html5client/")]
    {
        pool.cli_ok(&["server", "set", name, "--client-prefix", word]);
        eventually("the word is followed", || async {
            page(name).await;
            last_page(&pool.servers[index]).starts_with(wanted).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_command_for_a_servers_settings_agrees() {
    let mut pool = Builder::new(0).config("[edge]\nmode = \"path\"\nclient_prefix = \"keep\"\n").prepare().await;
    for (name, more) in [("a", vec!["--version", "2.7.8"]), ("b", vec!["--version", "3.0.4"]), ("c", vec![])] {
        let url = format!("https://{name}.example.org");
        pool.cli_ok(&[vec!["server", "add", &url, "--secret", "s"], more].concat());
    }
    let config = |pool: &Pool, name: &str| pool.cli_ok(&["server", "node-config", name]);
    let is_old = |text: &str| text.contains("ROOT_URL") && !text.contains("graphqlApiUrl");
    let is_new = |text: &str| text.contains("graphqlApiUrl") && !text.contains("ROOT_URL");
    for (name, is_right) in [("a", &is_old as &dyn Fn(&str) -> bool), ("b", &is_new), ("c", &is_old)] {
        let text = config(&pool, name);
        assert!(is_right(&text) && !text.contains("--client-prefix"), "{text}");
        for line in [
            format!("bigbluebutton.web.serverURL={}/{name}", pool.http),
            format!("services.bbbWebAPI=\"{}/{name}/bigbluebutton/api\"", pool.http),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
    pool.set("USHER_EDGE__CLIENT_PREFIX", "strip");
    assert!(is_new(&config(&pool, "c")), "the setting speaks for servers of unknown version");
    pool.cli_ok(&["server", "set", "a", "--client-prefix", "strip", "--send-proxy", "v1", "--send-proxy-port", "81"]);
    let text = config(&pool, "a");
    assert!(is_old(&text) && text.contains("usher server set a --client-prefix keep"), "{text}");
    assert!(
        text.contains("listen 81 ssl proxy_protocol;") && text.contains("real_ip_header proxy_protocol;"),
        "{text}"
    );
}
