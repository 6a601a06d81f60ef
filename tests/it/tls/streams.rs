//! HTTP/2: the API works over it, and what one client can make of it is bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use usher::sim::Fault;

use super::client::{config, connect};
use super::maker::{Maker, secure};
use crate::harness::{Builder, FrontEnd, Pool, Xml, eventually};

const SOON: Duration = Duration::from_secs(10);
const SITE: &str = "https://bbb.example.test";

struct House {
    pool: Pool,
    maker: Maker,
    address: String,
}

async fn house(change: impl FnOnce(Builder) -> Builder) -> House {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    House { pool: change(builder).start().await, maker, address }
}

impl House {
    /// A connection, and what it ends with.
    async fn open(&self) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
        let stream = connect(&self.address, "bbb.example.test", &Arc::new(config(&self.maker, &["h2"]))).await.unwrap();
        let (sender, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    /// The front end's signed address of a call, at this host.
    fn url(&self, front: &FrontEnd, call: &str, query: &str) -> String {
        front.url(call, query).replace(&self.pool.http, SITE)
    }
}

/// Status, headers and body.
pub async fn ask(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&[u8]>,
) -> Result<(u16, http::HeaderMap, String), h2::Error> {
    let work = async {
        let mut sender = sender.clone().ready().await?;
        let (answer, mut stream) = sender.send_request(request, body.is_none())?;
        if let Some(body) = body {
            for (place, piece) in body.chunks(1000).enumerate() {
                stream.send_data(Bytes::copy_from_slice(piece), (place + 1) * 1000 >= body.len())?;
            }
        }
        let (head, mut body) = answer.await?.into_parts();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            text.extend_from_slice(&piece);
        }
        Ok((head.status.as_u16(), head.headers, String::from_utf8(text).unwrap()))
    };
    tokio::time::timeout(SOON, work).await.expect("an answer within ten seconds")
}

fn get(url: &str) -> Request<()> {
    Request::get(url).body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_meeting_over_one_connection() {
    let house = house(|builder| builder.config("hsts = \"max-age=60\"\n")).await;
    let front = house.pool.front_end();
    let (sender, _driver) = house.open().await;
    let (status, headers, text) =
        ask(&sender, get(&house.url(&front, "create", "name=Room&meetingID=room")), None).await.unwrap();
    assert_eq!((status, Xml::parse(&text).text("returncode").as_str()), (200, "SUCCESS"), "{text}");
    assert_eq!(headers["content-type"], "text/xml;charset=utf-8");
    assert_eq!(headers["strict-transport-security"], "max-age=60");
    assert!(
        headers.contains_key("date") && headers.contains_key("x-request-id") && !headers.contains_key("connection")
    );

    // Slides in the body of a POST, whose length nobody announces.
    let slides = format!(
        "<modules><module name=\"presentation\"><document name=\"a.txt\">{}</document></module></modules>",
        "QUJD".repeat(20_000)
    );
    let url = house.url(&front, "create", "name=Slides&meetingID=slides");
    let request = Request::post(url).header("content-type", "application/xml").body(()).unwrap();
    let (_, _, text) = ask(&sender, request, Some(slides.as_bytes())).await.unwrap();
    assert_eq!(Xml::parse(&text).text("returncode"), "SUCCESS", "{text}");
    let meeting = house.pool.servers[0].meeting("slides").expect("it runs");
    assert_eq!(meeting.documents.len(), 1, "the slides have come");

    let url = house.url(&front, "join", "fullName=Ada&meetingID=room&role=VIEWER");
    let (status, headers, _) = ask(&sender, get(&url), None).await.unwrap();
    assert_eq!(status, 302);
    assert!(headers["location"].to_str().unwrap().starts_with("http"), "{headers:?}");
    house.pool.wait_polls().await;
    let lists = (0..50).map(|_| {
        let (sender, url) = (sender.clone(), house.url(&front, "getMeetings", ""));
        tokio::spawn(async move { ask(&sender, get(&url), None).await.unwrap().2 })
    });
    for list in futures_util::future::join_all(lists).await {
        assert_eq!(Xml::parse(&list.unwrap()).all("meetings", "meeting").len(), 2);
    }
    let head = Request::head(format!("{SITE}/livez")).body(()).unwrap();
    let (status, headers, text) = ask(&sender, head, None).await.unwrap();
    assert_eq!((status, headers["content-length"].to_str().unwrap(), text.as_str()), (200, "6", ""));
    // Two hosts, or one that is none.
    for (authority, host) in [("bbb.example.test", Some("other.example.test")), ("b$b.example", None)] {
        let mut request = Request::get(format!("https://{authority}/livez"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let (status, _, _) = ask(&sender, request.body(()).unwrap(), None).await.unwrap();
        assert_eq!(status, 400, "{authority} {host:?}");
    }
    let metrics = house.pool.metrics().await;
    assert!(
        metrics.contains("usher_http_requests_total{code=\"2xx\",listener=\"https\",route=\"api\"} 52"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_do_not_pile_up() {
    let house = house(|builder| builder.set("USHER_API__REQUEST_TIMEOUT", "30s")).await;
    let front = house.pool.front_end();
    house.pool.servers[0].fault_on("create", Fault::Slow(Duration::from_secs(20)), None);
    let stream = connect(&house.address, "bbb.example.test", &Arc::new(config(&house.maker, &["h2"]))).await.unwrap();
    let (mut sender, mut connection) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    let mut sent = 0;
    for number in 0..1000 {
        let Ok(ready) = sender.ready().await else { break };
        sender = ready;
        let url = house.url(&front, "create", &format!("name=Room&meetingID=room-{number}"));
        let Ok((_, mut stream)) = sender.send_request(get(&url), true) else { break };
        // Reset only when the other side has read it, or the library's own bound would be met first.
        if pings.ping(h2::Ping::opaque()).await.is_err() {
            break;
        }
        stream.send_reset(h2::Reason::CANCEL);
        sent += 1;
    }
    let end = tokio::time::timeout(SOON, driver).await.expect("the connection is ended").unwrap();
    // What it ends with is ENHANCE_YOUR_CALM, unless the socket is closed before that is read.
    let reason = end.expect_err("not in order").reason();
    assert!(reason.is_none_or(|reason| reason == h2::Reason::ENHANCE_YOUR_CALM), "{reason:?} after {sent}");
    eventually("some of them have come", || async { (house.pool.servers[0].count_calls("create") > 0).then_some(()) })
        .await;
    let status = FrontEnd::new(&house.pool.http, "").fetch(&format!("{}/livez", house.pool.http)).await;
    assert_eq!(status.status, 200);
    let begun = house.pool.servers[0].count_calls("create");
    assert!(begun <= 100, "{begun} at work at once for one client");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_ends_the_connection() {
    let house = house(|builder| builder).await;
    let mut stream =
        connect(&house.address, "bbb.example.test", &Arc::new(config(&house.maker, &["h2"]))).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // HEADERS of stream 1 without END_HEADERS, then CONTINUATION for ever, each with a field of its own.
    let frame = |kind: u8, payload: &[u8]| {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 1]);
        bytes.extend_from_slice(payload);
        bytes
    };
    let field = [&[0, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'b'; 4000][..]].concat();
    let flood = async {
        stream.write_all(&frame(1, &field[..])).await?;
        let mut sent = 0;
        loop {
            stream.write_all(&frame(9, &field)).await?;
            stream.flush().await?;
            sent += field.len();
            assert!(sent < 16 << 20, "{sent} bytes of one head were taken");
        }
        #[allow(unreachable_code)]
        Ok::<(), std::io::Error>(())
    };
    tokio::time::timeout(SOON, flood).await.expect("closed within ten seconds").unwrap_err();
    // Empty ones cost nothing but work.
    let mut stream =
        connect(&house.address, "bbb.example.test", &Arc::new(config(&house.maker, &["h2"]))).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.write_all(&frame(1, &[0x82])).await.unwrap();
    let flood = async {
        let mut sent = 0;
        while stream.write_all(&frame(9, &[])).await.is_ok() && stream.flush().await.is_ok() {
            sent += 1;
            assert!(sent < 100_000, "{sent} empty frames were taken");
        }
    };
    tokio::time::timeout(SOON, flood).await.expect("closed within ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_slow_and_silent_connections_end() {
    let house = house(|builder| {
        let builder = builder.set("USHER_LIMITS__KEEPALIVE", "300ms").set("USHER_LIMITS__HEADER_TIMEOUT", "500ms");
        builder.set("USHER_LIMITS__BODY_TIMEOUT", "500ms")
    })
    .await;
    // Nothing but the handshake; the preface and nothing else; a request and then nothing.
    for begin in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut stream =
            connect(&house.address, "bbb.example.test", &Arc::new(config(&house.maker, &["h2"]))).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut heard)).await.expect("closed within ten seconds");
    }
    let (sender, driver) = house.open().await;
    assert_eq!(ask(&sender, get(&format!("{SITE}/livez")), None).await.unwrap().0, 200);
    let _ = tokio::time::timeout(SOON, driver).await.expect("an idle connection is closed");

    // A body that does not come: the request is answered, and is at work no longer.
    let front = house.pool.front_end();
    let (sender, _driver) = house.open().await;
    let url = house.url(&front, "create", "name=Slow&meetingID=slow");
    let request = Request::post(url).header("content-type", "application/xml").body(()).unwrap();
    let mut ready = sender.ready().await.unwrap();
    let (answer, _body) = ready.send_request(request, false).unwrap();
    let answer = tokio::time::timeout(SOON, answer).await.expect("an answer within ten seconds").unwrap();
    assert_eq!(answer.status(), 408);

    // A client that reads nothing of its answer.
    let stream = connect(&house.address, "bbb.example.test", &Arc::new(config(&house.maker, &["h2"]))).await.unwrap();
    let (sender, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    let mut ready = sender.ready().await.unwrap();
    let (answer, _) = ready.send_request(get(&format!("{SITE}/")), true).unwrap();
    let mut body = tokio::time::timeout(SOON, answer).await.unwrap().unwrap().into_body();
    let end = tokio::time::timeout(SOON, body.data()).await.expect("it does not wait for ever");
    assert!(end.is_none_or(|piece| piece.is_err()), "the stream was reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_after_its_share_of_requests() {
    let house = house(|builder| builder.set("USHER_LIMITS__REQUESTS_PER_CONNECTION", "3")).await;
    let (sender, driver) = house.open().await;
    let url = format!("{SITE}/livez");
    for _ in 0..3 {
        assert_eq!(ask(&sender, get(&url), None).await.unwrap().0, 200);
    }
    assert!(ask(&sender, get(&url), None).await.is_err(), "no fourth");
    let _ = tokio::time::timeout(SOON, driver).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_loses_the_connection_here_too() {
    let house = house(|builder| {
        builder.set("USHER_LIMITS__UNSIGNED_PER_ADDRESS", "5").set("USHER_LIMITS__EXEMPT", "127.0.0.9")
    })
    .await;
    let (sender, driver) = house.open().await;
    let url = format!("{SITE}/nothing");
    let mut statuses = Vec::new();
    while let Ok((status, _, _)) = ask(&sender, get(&url), None).await {
        statuses.push(status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let _ = tokio::time::timeout(SOON, driver).await.expect("ended");
}
