//! The edge behind HTTPS: HTTP/2 to us, HTTP/1.1 to the server, and WebSockets over TLS.

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::Request;
use url::Url;

use super::origin::{BIG, Origin, big};
use crate::harness::{Browser, Network, Pool, Session};
use crate::tls::client::{config, connect};
use crate::tls::maker::{Maker, secure};
use crate::tls::streams::ask;

const SITE: &str = "https://bbb.example.test";

struct House {
    maker: Maker,
    pool: Pool,
    address: String,
}

async fn house(servers: usize) -> House {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(servers, &[&files]);
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let builder = builder.config("hsts = \"max-age=60\"\n[edge]\nmode = \"path\"\n");
    let pool = builder.set("USHER_LISTEN__PUBLIC_URL", &format!("{SITE}:{port}")).prepare().await;
    House { maker, pool, address }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_body_over_http_2() {
    let origin = Origin::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let mut house = house(1).await;
    house.pool.cli_ok(&["server", "add", &format!("http://{}", origin.address), "--name", "origin", "--secret", "s"]);
    house.pool.serve().await;
    let tls = Arc::new(config(&house.maker, &["h2"]));
    let stream = connect(&house.address, "bbb.example.test", &tls).await.unwrap();
    let (sender, connection) = h2::client::Builder::new().handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let get = |path: &str| Request::get(format!("{SITE}/origin{path}")).body(()).unwrap();
    for (path, status, body) in [
        ("/hello", 200, "hello"),
        ("/chunked", 200, "abcdefg"),
        ("/close", 200, "until the end"),
        ("/old", 200, "old"),
        ("/nothing", 204, ""),
        ("/unchanged", 304, ""),
        ("/interim", 200, "after"),
        ("/refuse", 413, "big!"),
    ] {
        let (found, headers, text) = ask(&sender, get(path), None).await.unwrap();
        assert_eq!((found, text.as_str()), (status, body), "{path}: {headers:?}");
        assert_eq!(headers["strict-transport-security"], "max-age=60", "{path}");
        assert!(headers.contains_key("x-request-id") && !headers.contains_key("transfer-encoding"), "{headers:?}");
    }
    for path in ["/dies", "/garbage", "/twolengths"] {
        assert_eq!(ask(&sender, get(path), None).await.unwrap().0, 502, "{path}");
    }
    // What began well cannot be taken back: the stream is reset, and the others go on.
    for path in ["/short", "/badchunks"] {
        assert!(ask(&sender, get(path), None).await.is_err(), "{path}");
    }
    // Cookies that came apart arrive as one field, and the scheme is told.
    let mut request = get("/hello");
    request.headers_mut().append("cookie", "JSESSIONID=1".parse().unwrap());
    request.headers_mut().append("cookie", "b=2".parse().unwrap());
    ask(&sender, request, None).await.unwrap();
    let seen = origin.last();
    assert_eq!(seen.all("cookie"), ["JSESSIONID=1; b=2"]);
    assert_eq!((seen.all("x-forwarded-proto"), seen.all("host")), (vec!["https"], vec!["bbb.example.test"]));
    // Bodies, announced or not.
    let body = vec![b'x'; 50_000];
    let post = || Request::post(format!("{SITE}/origin/upload"));
    let announced = post().header("content-length", body.len()).body(()).unwrap();
    assert_eq!(ask(&sender, announced, Some(&body)).await.unwrap().0, 200);
    assert_eq!((origin.last().body.len(), origin.last().all("content-length")), (50_000, vec!["50000"]));
    assert_eq!(ask(&sender, post().body(()).unwrap(), Some(&body)).await.unwrap().0, 200);
    assert_eq!(origin.last().all("transfer-encoding"), ["chunked"]);
    drop(sender);
    driver.abort();
    // Over HTTP/1.1 and TLS, as reqwest speaks it here: a large one is the same bytes.
    let root = reqwest::Certificate::from_der(house.maker.root.der()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .resolve("bbb.example.test", house.address.parse().unwrap())
        .http1_only()
        .build()
        .unwrap();
    let port = house.address.rsplit_once(':').unwrap().1;
    let answer = client.get(format!("{SITE}:{port}/origin/big")).send().await.unwrap();
    let bytes = answer.bytes().await.unwrap();
    assert!(bytes.len() == BIG && bytes == big()[..], "changed on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_session_over_tls() {
    let mut house = house(2).await;
    house.pool.serve().await;
    let port = house.address.rsplit_once(':').unwrap().1.to_owned();
    for (index, server) in house.pool.servers.iter().enumerate() {
        server.set_up_client(|client| {
            client.base = Some(format!("{SITE}:{port}/bbb{}", index + 1));
            client.secure_cookie = true;
        });
    }
    let network = Network {
        names: vec![("bbb.example.test".to_owned(), house.address.parse().unwrap())],
        authority: Some(house.maker.root.der().clone()),
    };
    let browser = Browser::on(network);
    let front = house.pool.front_end();
    for room in ["room1", "room2"] {
        front.create(room, "").await;
        let link = front.join(room, "Ada").await;
        assert!(link.starts_with(&format!("{SITE}:{port}/bbb")), "{link}");
        let mut session = Session::join(&browser, &link).await;
        let (mut graphql, mut sfu) = session.walk().await;
        session.notes().await;
        assert_eq!(session.upload(&mut graphql, 100_000).await.body, "upload-success");
        assert_eq!(Url::parse(&link).unwrap().host_str(), session.page.host_str());
        assert_eq!(graphql.socket.close(1000).await, Some(1000));
        assert_eq!(sfu.close(4001).await, Some(4001));
    }
    assert!(browser.jar.named("JSESSIONID").iter().all(|cookie| cookie.path.starts_with("/bbb") && cookie.is_secure));
}
