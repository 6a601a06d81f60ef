//! Requests and answers through the edge, in both modes.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::origin::{BIG, Origin, big};
use crate::harness::{Pool, eventually, say, send_raw};

const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(5);

async fn in_path_mode() -> (Origin, Pool) {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "read_timeout = \"1s\"\n").await;
    (origin, pool)
}

async fn get(pool: &Pool, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n\r\n");
    say(&pool.http, request.as_bytes(), PATIENCE).await.text
}

#[tokio::test]
async fn every_kind_of_body_arrives_whole() {
    let (_origin, pool) = in_path_mode().await;
    for (path, body) in [
        ("/origin/hello", "hello"),
        ("/origin/chunked", "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n"),
        ("/origin/close", "until the end"),
        ("/origin/old", "old"),
        ("/origin/nothing", ""),
        ("/origin/unchanged", ""),
        ("/origin/interim", "after"),
    ] {
        let text = get(&pool, path).await;
        let (head, found) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text:?}"));
        assert_eq!(found, body, "{path}: {head}");
        assert!(head.contains("X-Request-Id: ") && head.contains("Connection: close"), "{path}: {head}");
    }
    assert!(get(&pool, "/origin/chunked").await.contains("X-Case: KePt"));
}

#[tokio::test]
async fn one_connection_carries_many_answers() {
    let (origin, pool) = in_path_mode().await;
    let ask = |path: &str| format!("GET /origin{path} HTTP/1.1\r\nHost: p.example\r\n\r\n");
    let text = ["/hello", "/chunked", "/nothing", "/unchanged", "/hello"].map(ask).concat()
        + "HEAD /origin/hello HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n\r\n";
    let said = say(&pool.http, text.as_bytes(), PATIENCE).await;
    assert_eq!(said.statuses(), [200, 200, 204, 304, 200, 200], "{}", said.text);
    assert!(said.text.ends_with("Connection: close\r\n\r\n"), "a HEAD has no body: {}", said.text);
    let connections: Vec<usize> = origin.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.iter().all(|connection| *connection == connections[0]), "kept: {connections:?}");
}

#[tokio::test]
async fn old_browsers_get_the_content_of_chunks() {
    let (_origin, pool) = in_path_mode().await;
    let said = say(&pool.http, b"GET /origin/chunked HTTP/1.0\r\nHost: p.example\r\n\r\n", PATIENCE).await;
    assert!(said.closed && said.text.ends_with("\r\n\r\nabcdefg"), "{}", said.text);
    assert!(!said.text.to_lowercase().contains("transfer-encoding"), "{}", said.text);
}

#[tokio::test]
async fn what_the_server_is_told() {
    let (origin, pool) = in_path_mode().await;
    let request = b"GET /origin/a%2fb/../c//d;e?sessionToken=T&x=%7b&x=2&&y HTTP/1.1\r\nHost: p.example:8443\r\n\
        x-MiXed: One\r\nX-Mixed: two\r\nCookie: JSESSIONID=1; b=2\r\nUser-Id: evil\r\nMeeting-Id: evil\r\n\
        Voice-Bridge: evil\r\nUser-Name: evil\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
        X-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
        Origin: https://p.example:8443\r\nConnection: close\r\n\r\n";
    say(&pool.http, request, PATIENCE).await;
    let seen = origin.last();
    assert_eq!(seen.line(), "GET /a%2fb/../c//d;e?sessionToken=T&x=%7b&x=2&&y HTTP/1.1");
    assert_eq!(seen.all("host"), ["p.example:8443"]);
    assert!(seen.head.contains("\r\nx-MiXed: One\r\nX-Mixed: two\r\n"), "{}", seen.head);
    assert_eq!(seen.all("cookie"), ["JSESSIONID=1; b=2"]);
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["p.example:8443"]);
    assert_eq!(seen.all("x-request-id").len(), 1);
    for gone in ["user-id", "meeting-id", "voice-bridge", "user-name", "forwarded", "te", "keep-alive", "connection"] {
        assert_eq!(seen.all(gone), Vec::<&str>::new(), "{gone}");
    }
    // Whatever only this connection was told stays here.
    let request = b"POST /origin/x HTTP/1.1\r\nHost: p.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n";
    say(&pool.http, request, PATIENCE).await;
    assert_eq!(origin.last().all("x-hop"), Vec::<&str>::new());
    let bare = get(&pool, "/origin").await;
    assert!(bare.ends_with("hello") && origin.last().line() == "GET / HTTP/1.1", "{bare}");
    get(&pool, "/origin/x?").await;
    assert_eq!(origin.last().line(), "GET /x? HTTP/1.1");
}

#[tokio::test]
async fn an_empty_body_is_announced_and_some_methods_go_nowhere() {
    let (origin, pool) = in_path_mode().await;
    let ask = |method: &str, more: &str| {
        format!("{method} /origin/x HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n{more}\r\n").into_bytes()
    };
    let said = say(&pool.http, &ask("POST", "Content-Length: 0\r\n"), PATIENCE).await;
    assert_eq!((said.statuses(), origin.last().all("content-length")), (vec![200], vec!["0"]), "{}", said.text);
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        assert_eq!(say(&pool.http, &ask(method, ""), PATIENCE).await.statuses(), [200], "{method}");
        assert_eq!(origin.last().line(), format!("{method} /x HTTP/1.1"));
        assert!(origin.last().all("content-length").is_empty());
    }
    let before = origin.seen().len();
    assert_eq!(say(&pool.http, &ask("TRACE", ""), PATIENCE).await.statuses(), [404]);
    assert_eq!(origin.seen().len(), before);
}

#[tokio::test]
async fn trusted_proxies_are_believed() {
    let origin = Origin::start(HOST).await;
    let pool = crate::harness::Builder::new(1)
        .config("[edge]\nmode = \"path\"\n")
        .set("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.1");
    let mut pool = pool.prepare().await;
    pool.cli_ok(&["server", "add", &format!("http://{}", origin.address), "--name", "origin", "--secret", "s"]);
    pool.serve().await;
    let request =
        b"GET /origin/x HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: p.example\r\nConnection: close\r\n\r\n";
    say(&pool.http, request, PATIENCE).await;
    let seen = origin.last();
    assert_eq!(seen.all("x-forwarded-for"), ["9.9.9.9, 8.8.8.8, 127.0.0.1"]);
    assert_eq!(seen.all("x-real-ip"), ["8.8.8.8"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("host"), ["p.example"]);
}

#[tokio::test]
async fn redirects_and_cookies_stay_with_their_server() {
    let (origin, pool) = in_path_mode().await;
    let own = format!("http://{}", origin.address);
    for (to, wanted) in [
        (format!("{own}/html5client/?sessionToken=x"), format!("{}/origin/html5client/?sessionToken=x", pool.http)),
        ("/pad/p/x".to_owned(), "/origin/pad/p/x".to_owned()),
        ("https://moodle.example/".to_owned(), "https://moodle.example/".to_owned()),
    ] {
        let text = get(&pool, &format!("/origin/redirect?to={to}")).await;
        assert!(text.contains(&format!("\r\nLocation: {wanted}\r\n")), "{text}");
        assert!(text.contains("\r\nSet-Cookie: JSESSIONID=abc; Path=/origin/; HttpOnly\r\n"), "{text}");
    }
}

#[tokio::test]
async fn assets_of_a_pad_are_found_by_their_page() {
    let (origin, pool) = in_path_mode().await;
    let request = "GET /static/js/pad.js HTTP/1.1\r\nHost: p.example\r\nConnection: close\r\n";
    let from = |page: &str| format!("{request}Referer: https://p.example{page}\r\n\r\n");
    let text = say(&pool.http, from("/origin/pad/p/x?y").as_bytes(), PATIENCE).await.text;
    assert!(text.ends_with("hello") && origin.last().line() == "GET /static/js/pad.js HTTP/1.1", "{text}");
    for page in ["/elsewhere/pad", "", "/"] {
        assert_eq!(say(&pool.http, from(page).as_bytes(), PATIENCE).await.statuses(), [404], "{page}");
    }
}

#[tokio::test]
async fn our_own_paths_come_first_and_strangers_names_lead_nowhere() {
    let (origin, pool) = in_path_mode().await;
    assert!(get(&pool, "/livez").await.contains("alive"));
    assert!(get(&pool, "/bigbluebutton/api").await.contains("<version>2.0</version>"));
    for path in ["/nobody/x", "/Origin/x", "/%6frigin/x", "//origin/x", "/origin.evil/x", "/x/origin/x"] {
        assert!(get(&pool, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn joins_lead_through_us() {
    let (_origin, pool) = in_path_mode().await;
    let front = pool.front_end();
    front.create("room", "").await;
    let location = front.join("room", "Ann").await;
    assert!(location.starts_with(&format!("{}/bbb1/bigbluebutton/api/join?", pool.http)), "{location}");
    let answer = front.fetch(&location).await;
    assert_eq!(answer.status, 302, "{}", answer.body);
}

#[tokio::test]
async fn each_server_has_its_own_host() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("host", "").await;
    let ask = |host: &str, path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let text = say(&pool.http, &ask("127.0.0.2:99", "/livez?a"), PATIENCE).await.text;
    assert!(text.ends_with("hello"), "{text}");
    let seen = origin.last();
    assert_eq!((seen.line(), seen.all("host")), ("GET /livez?a HTTP/1.1", vec!["127.0.0.2:99"]));
    let text = say(&pool.http, &ask("127.0.0.2", "/redirect?to=/x"), PATIENCE).await.text;
    assert!(text.contains("Location: /x\r\n") && text.contains("Path=/; HttpOnly"), "{text}");
    // Our own name, and one that nobody has.
    for host in ["127.0.0.1", "p.example"] {
        assert!(say(&pool.http, &ask(host, "/livez"), PATIENCE).await.text.ends_with("alive\n"), "{host}");
    }
}

#[tokio::test]
async fn uploads_stream_with_their_length() {
    let (origin, pool) = in_path_mode().await;
    let client = reqwest::Client::new();
    let body = big();
    let url = format!("{}/origin/bigbluebutton/presentation/tok/upload", pool.http);
    let answer = client.post(&url).body(body.clone()).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
    let seen = origin.last();
    assert_eq!(seen.all("content-length"), [BIG.to_string()]);
    assert!(seen.all("transfer-encoding").is_empty() && seen.body == body, "changed on the way");
    let pieces = futures_util::stream::iter((0..5).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1000])));
    let answer = client.post(&url).body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = origin.last();
    assert_eq!(seen.all("transfer-encoding"), ["chunked"]);
    assert!(seen.all("content-length").is_empty());
}

#[tokio::test]
async fn an_upload_arrives_while_it_is_sent() {
    let (origin, pool) = in_path_mode().await;
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    let head = "POST /origin/slow HTTP/1.1\r\nHost: p.example\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = [0; 25];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"01234").await.unwrap();
    stream.write_all(b"56789").await.unwrap();
    let mut text = vec![0; 512];
    let length = stream.read(&mut text).await.unwrap();
    assert!(text[..length].starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(origin.last().body, b"0123456789");
}

#[tokio::test]
async fn a_refusal_before_the_bodys_end_reaches_the_browser() {
    let (_origin, pool) = in_path_mode().await;
    let head = format!("POST /origin/refuse HTTP/1.1\r\nHost: p.example\r\nContent-Length: {BIG}\r\n\r\n");
    let said = say(&pool.http, &[head.as_bytes(), &vec![b'x'; 300_000]].concat(), PATIENCE).await;
    assert_eq!(said.statuses(), [413], "{}", said.text);
    assert!(said.text.contains("big!") && said.closed, "{}", said.text);
}

#[tokio::test]
async fn a_large_download_is_the_same_bytes() {
    let (_origin, pool) = in_path_mode().await;
    let answer = reqwest::get(format!("{}/origin/big", pool.http)).await.unwrap();
    assert!(answer.bytes().await.unwrap() == big()[..], "changed on the way");
}

#[tokio::test]
async fn a_browser_that_stops_reading_holds_no_memory_and_is_let_go() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "[limits]\nbody_timeout = \"500ms\"\n").await;
    let mut stream = TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET /origin/big HTTP/1.1\r\nHost: p.example\r\n\r\n").await.unwrap();
    eventually("the browser is let go", || async { pool.log().contains("result=clientLeft").then_some(()) }).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < BIG, "all of it");
}

#[tokio::test]
async fn servers_that_fail_are_told_apart() {
    let (_origin, pool) = in_path_mode().await;
    for (path, status) in [
        ("/origin/dies", 502),
        ("/origin/garbage", 502),
        ("/origin/twolengths", 502),
        ("/origin/switch", 502),
        ("/origin/silent", 504),
    ] {
        let text = get(&pool, path).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {text}");
        assert!(text.contains("does not answer"), "{path}: {text}");
    }
    // What began well cannot be taken back: the browser sees that the rest is missing.
    for path in ["/origin/short", "/origin/badchunks"] {
        let said =
            say(&pool.http, format!("GET {path} HTTP/1.1\r\nHost: p.example\r\n\r\n").as_bytes(), PATIENCE).await;
        assert!(said.closed && said.statuses() == [200], "{path}: {}", said.text);
    }
    eventually("the log tells whose fault it was", || async {
        let log = pool.log();
        (log.contains("result=serverBroke") && log.contains("server=origin")).then_some(())
    })
    .await;
    pool.cli_ok(&["server", "add", "http://127.0.0.3:9", "--name", "nobody", "--secret", "s"]);
    eventually("a server that refuses connections", || async {
        get(&pool, "/nobody/x").await.starts_with("HTTP/1.1 502").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used_again() {
    let (origin, pool) = in_path_mode().await;
    for round in 0..20 {
        let text = get(&pool, "/origin/stale").await;
        assert!(text.ends_with("and gone"), "{round}: {text}");
    }
    assert_eq!(origin.seen().len(), 20);
}

#[tokio::test]
async fn a_name_that_leads_back_to_us_is_seen() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("path", "").await;
    let own = pool.http.clone();
    pool.cli_ok(&["server", "add", &own, "--name", "loop", "--secret", "s"]);
    eventually("the loop is told", || async {
        get(&pool, "/loop/loop/x").await.starts_with("HTTP/1.1 508").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_the_edge_nothing_is_carried() {
    let origin = Origin::start(HOST).await;
    let pool = origin.pool("redirect", "").await;
    assert!(get(&pool, "/origin/hello").await.starts_with("HTTP/1.1 404"));
    let answer = send_raw(&pool.http, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.2\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.body, "alive\n");
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn the_command_says_what_a_server_must_be_told() {
    let pool = |mode: &'static str| async move {
        let config = format!("[edge]\nmode = \"{mode}\"\n");
        let pool = crate::harness::Builder::new(0).config(&config).set("USHER_LISTEN__PUBLIC_URL", "https://p.example");
        let pool = pool.prepare().await;
        pool.cli_ok(&["server", "add", "https://bbb1.example.org", "--secret", "s"]);
        pool
    };
    let path = pool("path").await;
    let told = path.cli_ok(&["server", "node-config", "bbb1"]);
    for line in [
        "defaultHTML5ClientUrl=https://p.example/bbb1/html5client/",
        "graphqlWebsocketUrl=wss://p.example/bbb1/graphql",
        "    basename: \"/bbb1/html5client\"",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}: {told}");
    }
    assert!(told.contains("Its version is not known") && !told.contains("client-prefix"), "{told}");
    let told = path.cli_ok(&["server", "node-config", "bbb1", "--bbb-version", "2.7.3"]);
    assert!(told.contains("ROOT_URL=https://127.0.0.1/bbb1/html5client"), "{told}");
    assert!(!told.contains("--client-prefix") && !told.contains("graphql"), "{told}");
    let json: serde_json::Value =
        serde_json::from_str(&path.cli_ok(&["server", "node-config", "bbb1", "--json"])).unwrap();
    assert!(json["settings"].as_array().unwrap().iter().all(|one| one["file"].is_string() && one["key"].is_string()));
    let host = pool("host").await.cli_ok(&["server", "node-config", "bbb1"]);
    assert!(host.contains("nothing is to be set on the server") && host.contains("bbb1.example.org"), "{host}");
    assert!(pool("redirect").await.cli_ok(&["server", "node-config", "bbb1"]).contains("nothing is to be set"));
    let file = path.dir.path().join("apply.toml");
    for own in ["livez", "t", "bigbluebutton"] {
        for text in [
            format!("[[server]]\nname = \"{own}\"\nurl = \"https://x.example.org\"\nsecret = \"s\"\n"),
            format!("[[server]]\nurl = \"https://{own}.example.org\"\nsecret = \"s\"\n"),
        ] {
            std::fs::write(&file, text).unwrap();
            let output = path.cli(&["apply", file.to_str().unwrap()]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && text.contains("own paths"), "{text}");
        }
        let output = path.cli(&["server", "add", "https://x.example.org", "--name", own, "--secret", "s"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains("own paths"), "{text}");
        assert_eq!(path.cli(&["server", "set", "bbb1", "--name", own]).status.code(), Some(2));
    }
}
