//! `insertDocument` and `sendChatMessage`: bodies on their way to the server.

use futures_util::stream;
use usher::sim::{SimRole, SimVersion};

use crate::harness::{Builder, FrontEnd, eventually};

const SLIDES: &str =
    "<modules><module name=\"presentation\"><document name=\"a.pdf\">JVBERi0xLjQK</document></module></modules>";

/// Well-formed modules with one inline document of `length` bytes.
fn slides_of(length: usize) -> String {
    let content = "QUJD".repeat(length / 4);
    format!("<modules><module name=\"presentation\"><document name=\"big.pdf\">{content}</document></module></modules>")
}

/// The same body without a length in the header.
fn in_pieces(body: String) -> reqwest::Body {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.into_bytes().chunks(50_000).map(|piece| Ok(piece.to_vec())).collect();
    reqwest::Body::wrap_stream(stream::iter(pieces))
}

async fn insert(moodle: &FrontEnd, body: impl Into<reqwest::Body>) -> crate::harness::Answer {
    moodle.post("insertDocument", "meetingID=room", "application/xml", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_streamed_to_the_meetings_server() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    let server = &pool.servers[pool.holders("room")[0]];
    let big = slides_of(5_000_000);
    for (body, length) in [
        (reqwest::Body::from(big.clone()), big.len()),
        (in_pieces(big.clone()), big.len()),
        (SLIDES.into(), SLIDES.len()),
    ] {
        let answer = insert(&moodle, body).await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "SUCCESS"), "{}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let seen = server.calls().into_iter().rfind(|seen| seen.call == "insertDocument").unwrap();
        assert_eq!((seen.body_length, seen.content_type.as_deref()), (length, Some("application/xml")));
        assert!(seen.raw_query.starts_with("meetingID=room&checksum="));
    }
    let documents = server.meeting("room").unwrap().documents;
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[1].content.len(), 5_000_000);
    let elsewhere: u64 = pool.servers.iter().map(|server| server.count_calls("insertDocument")).sum();
    assert_eq!(elsewhere, 3);

    let unknown = moodle.post("insertDocument", "meetingID=nowhere", "application/xml", SLIDES).await;
    assert_eq!(unknown.key(), "notFound");
    let charset = moodle.post("insertDocument", "meetingID=room", "text/xml; charset=utf-8", SLIDES).await;
    assert_eq!(charset.returncode(), "SUCCESS", "{}", charset.body);
    let form = moodle.post("insertDocument", "meetingID=room", "application/x-www-form-urlencoded", "").await;
    assert_eq!(form.returncode(), "FAILED", "a document needs a body: {}", form.body);
    let json = moodle.post("insertDocument", "meetingID=room", "application/json", "{}").await;
    assert_eq!(json.key(), "unsupportedContentType");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_refused_and_change_nothing() {
    let pool = Builder::new(1).config("[api]\nmax_body = \"64KiB\"\nmax_slides = \"256KiB\"\n").start().await;
    let (moodle, server) = (pool.front_end(), &pool.servers[0]);
    moodle.create("room", "").await;
    let big = slides_of(1_000_000);
    for body in [reqwest::Body::from(big.clone()), in_pieces(big.clone())] {
        let answer = insert(&moodle, body).await;
        assert_eq!((answer.status, answer.key().as_str()), (413, "requestTooLarge"), "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "text/xml;charset=utf-8");
    }
    assert!(server.meeting("room").unwrap().documents.is_empty());

    for body in [reqwest::Body::from(big.clone()), in_pieces(big)] {
        let answer = moodle.post("create", "name=Room&meetingID=other", "application/xml", body).await;
        assert_eq!((answer.status, answer.key().as_str()), (413, "requestTooLarge"), "{}", answer.body);
    }
    assert!(pool.holders("other").is_empty());

    let form = format!("meetingID=other&name=Room&welcome={}", "x".repeat(100_000));
    let request = moodle.http.post(format!("{}/create", moodle.api));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = moodle.send(request).await;
    assert_eq!((answer.status, answer.key().as_str()), (413, "requestTooLarge"), "{}", answer.body);
    assert_eq!(insert(&moodle, SLIDES).await.returncode(), "SUCCESS", "and goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_breaks_off_inserts_nothing() {
    use tokio::io::AsyncWriteExt;
    let pool = Builder::new(1).start().await;
    let (moodle, server) = (pool.front_end(), &pool.servers[0]);
    moodle.create("room", "").await;
    let target = format!("/bigbluebutton/api/insertDocument?{}", moodle.signed("insertDocument", "meetingID=room"));
    let body = slides_of(400_000);
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    for (framing, part) in [
        (format!("Content-Length: {}", body.len()), &body[..300_000]),
        ("Transfer-Encoding: chunked".to_owned(), chunk.as_str()),
    ] {
        let before = server.count_calls("getMeetings");
        let address = pool.http.trim_start_matches("http://").to_owned();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/xml\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(part.as_bytes()).await.unwrap();
        drop(stream);
        eventually("usher has seen the end of the request", || async {
            pool.metrics()
                .await
                .lines()
                .any(|line| line.starts_with("usher_api_requests_total") && line.contains("insertDocument"))
                .then_some(())
        })
        .await;
        pool.wait_polls().await;
        assert!(server.count_calls("getMeetings") > before);
        assert!(server.meeting("room").unwrap().documents.is_empty(), "half a body must never look whole");
        assert_eq!(pool.server_status("bbb1").await["health"], "up", "the caller's fault is not the server's");
    }
    assert_eq!(insert(&moodle, SLIDES).await.returncode(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_not_held_against_it() {
    let pool = Builder::new(1)
        .sim(0, |options| options.body_limit = 100_000)
        .set("USHER_HEALTH__POLL_INTERVAL", "30s")
        .start()
        .await;
    let (moodle, server) = (pool.front_end(), &pool.servers[0]);
    moodle.create("room", "").await;
    // More than three failures of real calls in a row would make a server go down.
    for _ in 0..5 {
        let answer = insert(&moodle, slides_of(200_000)).await;
        assert_eq!((answer.status, answer.key().as_str()), (413, "requestTooLarge"), "{}", answer.body);
        let answer = insert(&moodle, "<modules><module").await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "{}", answer.body);
        let answer = insert(&moodle, "<modules></modules>").await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "{}", answer.body);
        let answer = moodle.post("create", "name=Big&meetingID=big", "application/xml", slides_of(200_000)).await;
        assert_eq!((answer.status, answer.key().as_str()), (413, "requestTooLarge"), "{}", answer.body);
        let answer = moodle.post("create", "name=Bad&meetingID=bad", "application/xml", "<modules><module").await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "{}", answer.body);
    }
    assert_eq!(pool.server_status("bbb1").await["health"], "up");
    assert!(server.meeting("room").unwrap().documents.is_empty());
    assert!(server.meeting("big").is_none() && server.meeting("bad").is_none());
    moodle.create("bad", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_newer_than_the_server_are_unsupported() {
    let pool = Builder::new(1).generation(SimVersion::V2_4).set("USHER_HEALTH__POLL_INTERVAL", "30s").start().await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    for _ in 0..4 {
        assert_eq!(insert(&moodle, SLIDES).await.key(), "unsupportedRequest");
        assert_eq!(moodle.get("sendChatMessage", "meetingID=room&message=Hi").await.key(), "unsupportedRequest");
    }
    assert_eq!(pool.server_status("bbb1").await["health"], "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_messages_reach_the_meeting() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    let server = &pool.servers[pool.holders("room")[0]];
    let say = async |more: &str| moodle.get("sendChatMessage", &format!("meetingID=room{more}")).await;
    assert_eq!(say("&message=Hi").await.key(), "meetingNotFound", "nobody is in");
    server.add_user("room", "Ann", SimRole::Viewer);
    let answer = say("&message=Gr%C3%BC%C3%9Fe+%26+more&userName=Bot").await;
    assert_eq!((answer.returncode().as_str(), answer.header("cache-control")), ("SUCCESS", Some("no-cache")));
    let chat = server.meeting("room").unwrap().chat;
    assert_eq!((chat[0].user_name.as_str(), chat[0].message.as_str()), ("Bot", "Grüße & more"));
    assert_eq!(say("").await.returncode(), "FAILED");
    assert_eq!(say(&format!("&message={}", "x".repeat(501))).await.key(), "validationError");
    assert_eq!(moodle.get("sendChatMessage", "meetingID=nowhere&message=Hi").await.key(), "meetingNotFound");
    assert_eq!(server.meeting("room").unwrap().chat.len(), 1);
}
