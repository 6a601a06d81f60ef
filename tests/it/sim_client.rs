//! The simulated server as browsers meet it, with nothing in between: it must do what BBB does and refuse what BBB
//! refuses, or tests of the way through Usher would prove nothing.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use url::Url;
use usher::ids::Secret;
use usher::sim::{Fault, SimClient, SimOptions, SimServer, SimVersion, SocketFault};

use crate::harness::{Browser, Chromium, FrontEnd, Network, Session, Tab, eventually, form, say};

/// A server with the meeting `room`.
async fn server(change: impl FnOnce(&mut SimClient)) -> SimServer {
    let mut options = SimOptions::new(Secret::new("a-server-secret"));
    options.name = "bbb1".to_owned();
    change(&mut options.client);
    let server = SimServer::start(options).await.unwrap();
    server.create_directly("room", "Room & Co");
    server
}

fn join_link(server: &SimServer, name: &str) -> String {
    let front_end = FrontEnd::new(server.url().trim_end_matches('/'), server.secret().reveal());
    front_end.url("join", &format!("fullName={name}&meetingID=room&role=VIEWER"))
}

/// Somebody in the room, with the settings read.
async fn somebody(server: &SimServer, browser: &Browser) -> Session {
    let mut session = Session::join(browser, &join_link(server, "Ada")).await;
    session.index().await;
    session.facts().await;
    session
}

fn at(server: &SimServer, path: &str) -> Url {
    Url::parse(&format!("http://{}{path}", server.addr())).unwrap()
}

#[tokio::test]
async fn a_browser_walks_through_the_whole_client() {
    let server = server(|_| ()).await;
    let browser = Browser::new();
    let mut session = Session::join(&browser, &join_link(&server, "Ada")).await;
    let is_good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    assert!(session.token.len() == 16 && session.token.chars().all(is_good), "{}", session.token);
    let cookie = browser.jar.named("JSESSIONID").remove(0);
    assert!(cookie.path == "/" && cookie.is_http_only && !cookie.is_secure, "{cookie:?}");
    let (mut graphql, mut sfu) = session.walk().await;
    session.notes().await;
    assert_eq!(session.upload(&mut graphql, 100_000).await.body, "upload-success");
    let upload = server.uploads().remove(0);
    assert_eq!((Some(upload.bytes), upload.is_chunked), (upload.content_length, false));
    assert!(upload.complete_at.is_some(), "{upload:?}");

    let sockets = server.sockets();
    let seen = |path: &str| sockets.iter().find(|socket| socket.path == path).unwrap();
    assert_eq!(seen("/graphql").token.as_deref(), Some(session.token.as_str()));
    assert_eq!(seen("/graphql").cookies, ["JSESSIONID"]);
    let user = server.meeting("room").unwrap().attendees[0].internal_id.clone();
    assert_eq!(seen("/bbb-webrtc-sfu").user_id, Some(user));
    assert_eq!(server.open_sockets(), 2);
    assert_eq!(graphql.socket.close(1000).await, Some(1000));
    assert_eq!(sfu.close(4000).await, Some(4000));
    eventually("both ends are recorded", || async { (server.open_sockets() == 0).then_some(()) }).await;
    let codes: Vec<_> = server.sockets().iter().map(|socket| socket.close_code).collect();
    assert!(codes.contains(&Some(1000)) && codes.contains(&Some(4000)), "{codes:?}");
}

#[tokio::test]
async fn a_token_without_its_cookie_is_nobody_and_neither_is_a_cookie_alone() {
    let server = server(|_| ()).await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    // Another browser that read the address bar; and one that has a session of its own in the same meeting.
    let stranger = browser.another();
    let neighbour = browser.another();
    Session::join(&neighbour, &join_link(&server, "Bob")).await;
    for thief in [&stranger, &neighbour] {
        let stolen = Session { browser: thief.clone(), ..somebody(&server, &browser).await };
        assert_eq!(stolen.rest("meetingStaticData").await.status, 401);
        let turn = stolen.get_json("media", "stunTurnServersFetchAddress", "").await;
        assert_eq!(turn["returncode"], "FAILED");
        for path in ["/bbb-webrtc-sfu", "/ws", "/hocuspocus/collaboration", "/pad/socket.io/"] {
            let address = stolen.with_token(&format!("ws://{}{path}", server.addr()));
            assert_eq!(thief.socket(&address, &stolen.page, None).await.err(), Some(401), "{path}");
        }
        let pad = stolen.with_token(&format!("http://{}/pad/p/notes", server.addr()));
        assert_eq!(thief.get(&pad).await.status, 401);
        let mut socket = stolen.raw_graphql().await.unwrap();
        socket.say_json(&stolen.init()).await;
        let refusal = socket.hear_json().await;
        assert_eq!((refusal["id"].as_str(), refusal["type"].as_str()), (Some("-1"), Some("error")));
        assert_eq!(socket.closed().await, Some(4403));
    }
    // The cookie without any token.
    let api = at(&server, "/api/rest/meetingStaticData");
    assert_eq!(browser.get(&api).await.status, 401);
    let sfu = Url::parse(&format!("ws://{}/bbb-webrtc-sfu", server.addr())).unwrap();
    assert_eq!(browser.socket(&sfu, &session.page, None).await.err(), Some(401));
    // Slides go by the cookie: the neighbour may, the stranger may not; and no sign of the query may change.
    let mut graphql = session.graphql().await;
    let slide = session.slides(&mut graphql).await.remove(0);
    assert_eq!((neighbour.get(&slide).await.status, stranger.get(&slide).await.status), (200, 401));
    for (from, to) in [("%2b", "%2B"), ("%41", "A"), ("~", "%7E"), ("a=&b", "a=&b="), ("z=1&", "")] {
        let changed = slide.as_str().replace(from, to);
        assert_ne!(changed, slide.as_str());
        assert_eq!(browser.get(&Url::parse(&changed).unwrap()).await.status, 403, "{changed}");
    }
}

#[tokio::test]
async fn the_cookies_of_two_servers_on_one_host_collide_and_paths_keep_them_apart() {
    let (first, second) = (server(|_| ()).await, server(|_| ()).await);
    let browser = Browser::new();
    let one = somebody(&first, &browser).await;
    assert_eq!(one.rest("userMetadata").await.status, 200);
    let two = somebody(&second, &browser).await;
    assert_eq!(two.rest("userMetadata").await.status, 200);
    assert_eq!(one.rest("userMetadata").await.status, 401, "the second server's cookie has replaced the first's");
    // Both cookies at once, as with paths: the one that is known counts, whichever comes first.
    let known = browser.jar.named("JSESSIONID").remove(0);
    for cookies in [
        format!("JSESSIONID=OTHER; JSESSIONID={}", known.value),
        format!("JSESSIONID={}; JSESSIONID=OTHER", known.value),
    ] {
        let address = two.page.join("/api/rest/userMetadata").unwrap();
        let headers = [("cookie", cookies.as_str()), ("x-session-token", two.token.as_str())];
        assert_eq!(browser.another().get_with(&address, &headers).await.status, 200);
    }
}

#[tokio::test]
async fn graphql_checks_origin_first_message_and_number_of_sockets() {
    let server = server(|client| client.graphql_ping = Duration::from_millis(50)).await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    let open = |origin: String| {
        let (browser, url) = (browser.clone(), session.socket.clone());
        async move { browser.socket_with(&url, &origin, Some("graphql-transport-ws"), &[]).await.err() }
    };
    assert_eq!(open("https://evil.example.org".to_owned()).await, Some(403));
    assert_eq!(open(format!("http://{}", server.addr().ip())).await, Some(403), "the port belongs to the host");
    assert_eq!(open(format!("https://{}", server.addr())).await, None);
    server.set_up_client(|client| client.authorized_cross_origin = Some("evil.example.org".to_owned()));
    assert_eq!(open("https://evil.example.org".to_owned()).await, None);

    let mut early = session.raw_graphql().await.unwrap();
    early.say_json(&json!({"id": "1", "type": "subscribe", "payload": {"query": "query { x }"}})).await;
    assert_eq!(early.closed().await, Some(4401));
    let mut bare = session.raw_graphql().await.unwrap();
    bare.say_json(&json!({"type": "connection_init", "payload": {"headers": {"X-Session-Token": session.token}}}))
        .await;
    assert!(bare.hear_text().await.contains("X-ClientSessionUUID"));
    assert_eq!(bare.closed().await, Some(4403));

    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(session.graphql().await);
    }
    let mut fourth = session.raw_graphql().await.unwrap();
    fourth.say_json(&session.init()).await;
    assert_eq!(fourth.hear_json().await["id"], "-1");
    assert_eq!(fourth.closed().await, Some(4403));
    let mut third = open.pop().unwrap();
    assert_eq!(third.socket.hear_json().await["type"], "ping", "the server pings by itself");
    third.socket.close(1000).await;
    eventually("the third seat is free", || async {
        let mut socket = session.raw_graphql().await.unwrap();
        socket.say_json(&session.init()).await;
        (socket.hear_json().await["type"] == "connection_ack").then_some(())
    })
    .await;
}

#[tokio::test]
async fn uploads_are_decided_by_the_declared_length_before_the_body() {
    let server = server(|client| client.upload_limit = 50_000).await;
    let session = somebody(&server, &Browser::new()).await;
    let mut graphql = session.graphql().await;
    assert_eq!(session.upload(&mut graphql, 60_000).await.status, 413);
    let chunked = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                 Content-Type: multipart/form-data; boundary=edge\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
    };
    let address = session.upload_address(&mut graphql).await;
    let origin = format!("http://{}", server.addr());
    let patience = Duration::from_secs(10);
    assert_eq!(say(&origin, chunked(address.path()).as_bytes(), patience).await.statuses(), [403]);
    let unknown = at(&server, "/bigbluebutton/presentation/unknown/upload");
    let (content_type, body) = form(10);
    let request = session.browser.request(reqwest::Method::POST, &unknown).header("content-type", content_type);
    assert_eq!(session.browser.send(&unknown, request.body(body)).await.status, 403);
    assert!(server.uploads().iter().all(|upload| upload.bytes == 0), "nothing was read: {:?}", server.uploads());

    // The answer to a length that is too large does not wait for the body; what is allowed is counted as it comes.
    let head = |length: usize, path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Type: {content_type}\r\n\r\n")
    };
    let mut stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(head(60_000, address.path()).as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    let (_, body) = form(1000);
    let mut stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(head(body.len(), address.path()).as_bytes()).await.unwrap();
    stream.write_all(&body[..500]).await.unwrap();
    eventually("the first half is seen before the second is sent", || async {
        server.uploads().iter().any(|upload| upload.bytes == 500 && upload.complete_at.is_none()).then_some(())
    })
    .await;
    stream.write_all(&body[500..]).await.unwrap();
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_mounted_client_keeps_its_prefix_and_nothing_else_does() {
    let server = server(|client| client.mount = Some("/bbb-01".to_owned())).await;
    server.set_up_client(|client| client.base = Some("https://bbb.example.org/bbb-01".to_owned()));
    let browser = Browser::new();
    let joined = browser.get(&Url::parse(&join_link(&server, "Ada")).unwrap()).await;
    let location = joined.header("location").unwrap();
    assert!(location.starts_with("https://bbb.example.org/bbb-01/html5client/?sessionToken="), "{location}");
    for (path, status) in [
        ("/bbb-01/html5client/", 200),
        ("/bbb-01/html5client/locales/", 200),
        ("/html5client/", 200),
        ("/html5client", 404),
        ("/bbb-02/html5client/", 404),
        ("/bbb-01/bigbluebutton/api", 404),
        ("/bbb-01/graphql", 404),
    ] {
        assert_eq!(browser.get(&at(&server, path)).await.status, status, "{path}");
    }
    let index = browser.get_with(&at(&server, "/bigbluebutton/api"), &[("content-type", "application/json")]).await;
    assert!(index.body.contains("wss://bbb.example.org/bbb-01/graphql"), "{}", index.body);
    let index = browser.get(&at(&server, "/bigbluebutton/api")).await.xml();
    assert_eq!(index.text("graphqlApiUrl"), "https://bbb.example.org/bbb-01/api/rest");
}

#[tokio::test]
async fn hashed_files_have_validators_and_differ_between_builds() {
    let server = server(|_| ()).await;
    let session = somebody(&server, &Browser::new()).await;
    let files = session.assets().await;
    let (script, answer) = files.iter().find(|(address, _)| address.path().ends_with(".js")).unwrap();
    let tag = answer.header("etag").unwrap();
    assert_eq!(answer.header("cache-control"), None);
    let again = session.browser.get_with(script, &[("if-none-match", tag)]).await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)));
    let packed = session.browser.get_with(script, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), (Some("gzip"), None));
    assert_ne!(packed.header("etag"), Some(tag), "other bytes, another tag");
    let part = session.browser.get_with(script, &[("range", "bytes=3-10")]).await;
    assert_eq!((part.status, part.body.as_str()), (206, &answer.body[3..=10]));
    assert_eq!(part.header("content-range"), Some(format!("bytes 3-10/{}", answer.body.len()).as_str()));
    server.set_up_client(|client| client.build = "3.0.20".to_owned());
    assert_eq!(session.browser.get(script).await.status, 404, "another build has another name");
    let listing = session.browser.get(&session.page.join("locales/").unwrap()).await;
    assert!(listing.header("content-type").unwrap().starts_with("application/json"), "{}", listing.body);
}

#[tokio::test]
async fn everything_else_a_server_has_is_there_too() {
    let server = server(|_| ()).await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    let mut graphql = session.graphql().await;
    let slide = session.slides(&mut graphql).await.remove(0);
    let presentation = slide.path().split('/').nth(5).unwrap();
    let meeting = slide.path().split('/').nth(3).unwrap();
    let download =
        format!("/bigbluebutton/presentation/download/{meeting}/{presentation}?presFilename={presentation}.pdf");
    let token = &session.token;
    for (path, status) in [
        (download.as_str(), 200),
        ("/bigbluebutton/presentation/download/x/y?presFilename=y.pdf", 404),
        ("/learning-analytics-dashboard/", 200),
        ("/plugins/sample/manifest.json", 200),
        ("/default.pdf", 200),
        ("/static/js/pad.js", 200),
        ("/pad/socket.io/socket.io.js", 200),
        (&format!("/pad/p/notes?sessionToken={token}"), 200),
        (&format!("/pad/p/notes?sessionToken={token}&userName=x"), 401),
        (&format!("/pad/socket.io/?EIO=4&transport=polling&sessionToken={token}"), 200),
        (&format!("/pad/auth_session?sessionToken={token}&sessionID=s&padName=p"), 302),
        ("/livekit/rtc/validate?access_token=x", 200),
        ("/graphql", 426),
        ("/bigbluebutton/presentation/upload", 404),
        ("/html5client/check", 404),
    ] {
        assert_eq!(browser.get(&at(&server, path)).await.status, status, "{path}");
    }
    for path in ["/livekit/rtc?access_token=opaque", &format!("/hocuspocus/collaboration?sessionToken={token}")] {
        let address = Url::parse(&format!("ws://{}{path}", server.addr())).unwrap();
        let mut socket = browser.socket(&address, &session.page, None).await.unwrap();
        socket.say(Message::binary(vec![1, 2, 3])).await;
        assert_eq!(socket.hear().await.unwrap().unwrap(), Message::binary(vec![1, 2, 3]), "{path}");
    }
    // Another origin may ask with credentials only if it is the configured one; a preflight needs no session.
    let api = at(&server, "/api/rest/userMetadata");
    let preflight = browser.another().request(reqwest::Method::OPTIONS, &api).header("origin", "https://p.example.org");
    let preflight = browser.another().send(&api, preflight).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("x-session-token"));
    server.set_up_client(|client| client.cors_origin = Some("https://p.example.org".to_owned()));
    for (origin, allowed) in [("https://p.example.org", Some("https://p.example.org")), ("https://q.example.org", None)]
    {
        let headers = [("origin", origin), ("x-session-token", token.as_str())];
        let answer = browser.get_with(&api, &headers).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, allowed));
    }
    assert_eq!(browser.get(&slide).await.header("access-control-allow-origin"), Some("https://p.example.org"));
    // Too long a message ends the SFU's socket.
    let mut sfu = session.sfu().await;
    sfu.say(Message::text("x".repeat(60_000))).await;
    assert_eq!(sfu.closed().await, Some(1009));
}

#[tokio::test]
async fn what_arrived_is_recorded_byte_for_byte() {
    let server = server(|_| ()).await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    let address = at(&server, "/plugins/sample/manifest.json?b=%2f&a=%41&&x");
    let headers = [("x-forwarded-for", "203.0.113.9"), ("user-id", "w_stolen"), ("cookie", "prefs=1; JSESSIONID=q")];
    browser.another().get_with(&address, &headers).await;
    let seen = server.calls().pop().unwrap();
    assert_eq!(seen.target, "/plugins/sample/manifest.json?b=%2f&a=%41&&x");
    assert_eq!(seen.header("host"), Some(server.addr().to_string().as_str()));
    assert_eq!((seen.header("x-forwarded-for"), seen.header("user-id")), (Some("203.0.113.9"), Some("w_stolen")));
    assert_eq!(
        (seen.cookies, seen.headers.iter().any(|(name, _)| name == "cookie")),
        (vec!["prefs".to_owned(), "JSESSIONID".to_owned()], false)
    );

    let sfu = session.with_token(&format!("ws://{}/bbb-webrtc-sfu", server.addr()));
    let origin = "https://any.example.org";
    let mut socket = browser.socket_with(&sfu, origin, None, &[("user-id", "w_stolen")]).await.unwrap();
    socket.say_json(&json!({"id": "ping"})).await;
    socket.hear_json().await;
    let seen = server.sockets().pop().unwrap();
    assert_eq!((seen.header("user-id"), seen.header("origin")), (Some("w_stolen"), Some(origin)));
    assert_ne!(seen.user_id.as_deref(), Some("w_stolen"), "nginx on the server says who it is");
}

#[tokio::test]
async fn sockets_fail_in_every_way() {
    let server = server(|_| ()).await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    let address = session.with_token(&format!("ws://{}/ws", server.addr()));
    let open = || async { browser.socket(&address, &session.page, Some("sip")).await.unwrap() };
    let mut socket = open().await;
    assert_eq!(socket.protocol.as_deref(), Some("sip"));
    socket.say(Message::binary(vec![7; 70_000])).await;
    assert_eq!(socket.hear().await.unwrap().unwrap(), Message::binary(vec![7; 70_000]));
    socket.say(Message::Ping("are you there".into())).await;
    assert_eq!(socket.hear().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    server.say_on_sockets("/ws", Message::text("by itself"));
    assert_eq!(socket.hear_text().await, "by itself");

    server.fault_open_sockets("/ws", SocketFault::Silence);
    socket.say(Message::text("anybody?")).await;
    let quiet = tokio::time::timeout(Duration::from_millis(200), socket.hear_text()).await;
    assert!(quiet.is_err(), "nothing is said: {quiet:?}");
    let mut well = open().await;
    well.say(Message::text("well")).await;
    assert_eq!(well.hear_text().await, "well", "a later socket is well");
    server.heal_sockets();
    assert_eq!(socket.hear_text().await, "anybody?");

    server.fault_sockets("/ws", SocketFault::Big(1_000_000));
    assert_eq!(socket.hear_text().await.len(), 1_000_000);
    server.heal_sockets();
    server.fault_sockets("/ws", SocketFault::Close(4403, "go".to_owned()));
    assert_eq!(socket.closed().await, Some(4403));
    assert_eq!(open().await.closed().await, Some(4403), "new sockets too");
    for fault in [SocketFault::Drop, SocketFault::Reset] {
        server.heal_sockets();
        let mut socket = open().await;
        server.fault_sockets("/ws", fault.clone());
        assert_eq!(socket.closed().await, None, "{fault:?}: no close frame");
    }
    server.heal_sockets();
    let mut socket = open().await;
    server.fault_sockets("/ws", SocketFault::Slow(Duration::from_millis(300)));
    let before = std::time::Instant::now();
    // The fault strikes before the next message is read, or with it; the one after it is slow in any case.
    for text in ["first", "second"] {
        socket.say(Message::text(text)).await;
        assert_eq!(socket.hear_text().await, text);
    }
    assert!(before.elapsed() >= Duration::from_millis(300));
    server.heal_sockets();
    server.fault_on("/ws", Fault::Status(502), Some(1));
    assert_eq!(browser.socket(&address, &session.page, None).await.err(), Some(502));
    let mut socket = open().await;
    server.stop().await;
    assert_eq!(socket.closed().await, None, "a stopped server closes its sockets");
    assert_eq!(server.open_sockets(), 0);
}

#[tokio::test]
async fn silent_clients_are_pinged_and_dropped() {
    let server = server(|client| {
        client.sfu_ping = Duration::from_millis(100);
        client.sfu_pong = Duration::from_secs(1);
        client.graphql_idle = Duration::from_secs(1);
    })
    .await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    let mut sfu = session.sfu().await;
    for _ in 0..2 {
        assert!(matches!(sfu.hear().await, Some(Ok(Message::Ping(_)))), "a silent client is asked, and asked again");
    }
    let mut graphql = session.graphql().await;
    assert_eq!(graphql.socket.closed().await, None, "who says nothing for too long is dropped");
    // A client that reads nothing sends no pong.
    eventually("the silent SFU socket is dropped", || async { (server.open_sockets() == 0).then_some(()) }).await;
    let seen = server.sockets().into_iter().find(|socket| socket.path == "/bbb-webrtc-sfu").unwrap();
    assert!(seen.pongs >= 1, "{seen:?}");
}

#[tokio::test]
async fn session_bound_calls_need_token_and_cookie() {
    let server = server(|_| ()).await;
    let browser = Browser::new();
    let session = somebody(&server, &browser).await;
    let call = |name: &str| session.with_token(&format!("http://{}/bigbluebutton/api/{name}", server.addr()));
    let answer = browser.get(&call("getJoinUrl")).await;
    let found: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let link = found["response"]["url"].as_str().unwrap();
    let again = Session::join(&browser, link).await;
    assert_ne!(again.token, session.token);
    assert!(browser.another().get(&call("getJoinUrl")).await.body.contains("missingSession"));
    assert!(browser.get(&call("learningDashboard")).await.body.contains("FAILED"), "viewers have no dashboard");
    assert_eq!(browser.get(&call("enter")).await.status, 404, "gone since 3.0");
    browser.get(&call("signOut")).await;
    assert_eq!(session.rest("userMetadata").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lobby_of_2_7_polls_until_a_moderator_lets_the_guest_in() {
    let mut options = SimOptions::new(Secret::new("a-server-secret"));
    options.generation = SimVersion::V2_7;
    let server = SimServer::start(options).await.unwrap();
    let front_end = FrontEnd::new(server.url().trim_end_matches('/'), server.secret().reveal());
    front_end.create("room", "&guestPolicy=ASK_MODERATOR").await;
    let browser = Browser::new();
    let link = front_end.url("join", "fullName=Gus&meetingID=room&role=VIEWER&guest=true");
    let (page, _) = browser.follow(&link).await;
    assert_eq!(page.path(), "/html5client/guestWait");
    let poll = at(&server, &format!("/bigbluebutton/api/guestWait?{}&redirect=false", page.query().unwrap()));
    assert!(browser.get(&poll).await.body.contains("\"guestWait\""));
    assert_eq!(server.let_guests_in("room"), 1);
    assert!(browser.get(&poll).await.body.contains("\"guestAllow\""));
    let chromium = Chromium::start(&[]).await;
    let mut tab = chromium.open(&front_end.url("join", "fullName=Ada&meetingID=room&role=VIEWER")).await;
    assert_eq!(tab.wait_state("connected").await["steps"], "enter ddp stuns sfu sip");
    let enter = at(&server, &format!("/bigbluebutton/api/enter?{}", page.query().unwrap()));
    assert!(browser.get(&enter).await.body.contains("\"Gus\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_waits_in_the_lobby_comes_in_reconnects_and_is_thrown_out() {
    let server = server(|client| {
        client.rtt_interval = Duration::from_millis(100);
        client.retry_interval = Duration::from_millis(100);
    })
    .await;
    let front_end = FrontEnd::new(server.url().trim_end_matches('/'), server.secret().reveal());
    front_end.create("lobby", "&guestPolicy=ASK_MODERATOR").await;
    let chromium = Chromium::start(&[]).await;
    let mut guest = chromium.open(&front_end.url("join", "fullName=Gus&meetingID=lobby&role=VIEWER&guest=true")).await;
    guest.wait_state("waiting").await;
    assert_eq!(server.let_guests_in("lobby"), 1);
    guest.wait_state("connected").await;

    // A second tab of the same browser is another token of the same session.
    let mut tab = chromium.open(&join_link(&server, "Ada")).await;
    let data = tab.wait_state("connected").await;
    assert_eq!(data["sfu"], "open", "{data}");
    let steps = "api meetingStaticData userMetadata locales locale graphql join rtt slides stuns sfu";
    assert_eq!(data["steps"], steps);
    let text = tab.text().await;
    assert!(text.contains("You are in Room & Co on bbb1") && text.contains("Hello Ada"), "{text}");
    let before = server.count_calls("/bigbluebutton/rtt-check");
    eventually("round trips go on", || async {
        (server.count_calls("/bigbluebutton/rtt-check") > before + 4).then_some(())
    })
    .await;

    server.fault_open_sockets("/graphql", SocketFault::Drop);
    let both: [&mut Tab; 2] = [&mut tab, &mut guest];
    for tab in both {
        tab.wait("it has a second socket", |data| data["sockets"] == "2" && data["state"] == "connected").await;
        assert_eq!(tab.data().await["close"], "1006");
    }
    front_end.get("end", "meetingID=room").await;
    let data = tab.wait("it is thrown out", |data| data["state"] == "failed").await;
    assert!(data["error"].as_str().unwrap().contains("session not found"), "{data}");
    assert_eq!(guest.data().await["state"], "connected");
    // What stands in the address bar is worth nothing afterwards, nor in another browser.
    let stranger = Chromium::start(&[]).await;
    let mut stolen = stranger.open(&guest.address().await).await;
    let data = stolen.wait("it is refused", |data| data["state"] == "failed").await;
    assert_eq!(data["error"], "meetingStaticData: status 401");
}

#[tokio::test]
async fn a_server_with_a_name_is_walked_through_by_its_name() {
    let server = server(|_| ()).await;
    let port = server.addr().port();
    server.set_up_client(|client| client.base = Some(format!("http://bbb-01.test:{port}")));
    let browser = Browser::on(Network { names: vec![("bbb-01.test".to_owned(), server.addr())], ..Network::default() });
    let link = join_link(&server, "Ada").replace("127.0.0.1", "bbb-01.test");
    let mut session = Session::join(&browser, &link).await;
    session.walk().await;
    assert_eq!(browser.jar.named("JSESSIONID").remove(0).host, "bbb-01.test");
    let host = format!("bbb-01.test:{port}");
    assert!(server.calls().iter().all(|call| call.header("host") == Some(&host)), "one name for everything");
}
