//! A university behind one address: everybody gets in with the shipped limits, and a stranger among them gets no more than a
//! stranger.
//!
//! A minute is played as fast as this machine can, so that less comes back to each allowance than in real life. Whole
//! minutes of 5 000 people are reckoned on a virtual clock in `src/limit/tests.rs`; the ignored test plays them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Builder, FrontEnd, Pool, Said, connect_from, eventually, say_on};
use crate::reliability::ONE_ADDRESS;

/// The address of them all.
const NAT: u8 = 9;
const PATIENCE: Duration = Duration::from_secs(20);
/// People on their way in at once.
const AT_ONCE: usize = 48;
const OPENING: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

/// Nobody is exempt, as nobody is who comes from afar; all else in `[limits]` and `[edge]` is shipped.
async fn pool() -> Pool {
    pool_with("").await
}

async fn pool_with(limits: &str) -> Pool {
    let config =
        format!("[limits]\nexempt = [\"127.0.0.1\"]\n{limits}[edge]\nmode = \"path\"\n[log]\naccess = false\n");
    let builder = Builder::new(1).config(&config).set("USHER_HEALTH__POLL_INTERVAL", "1h");
    let pool = builder.set("USHER_HEALTH__INTERVAL", "5s").set("USHER_HEALTH__TIMEOUT", "4s").start().await;
    let base = format!("{}/bbb1", pool.http);
    pool.servers[0].set_up_client(|client| client.base = Some(base));
    pool.front_end().create("lecture", "").await;
    pool
}

/// The head of one answer, and its status; its body is read.
async fn ask(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("an answer").unwrap();
        assert!(read > 0, "closed: {request}");
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = field(&head, "content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let mut body = vec![0; length.saturating_sub(bytes.len() - end)];
    stream.read_exact(&mut body).await.unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// Somebody who is in.
struct Person {
    token: String,
    cookie: String,
    sockets: Vec<TcpStream>,
}

/// Path and query of an address of ours.
fn target(address: &str) -> &str {
    let rest = address.split_once("://").unwrap().1;
    &rest[rest.find('/').unwrap()..]
}

/// One person's way in, on a connection of its own, with two WebSockets that stay; what was not as it should be.
async fn come(http: &str, link: &str, files: usize) -> Result<Person, String> {
    let host = http.trim_start_matches("http://");
    let mut stream = connect_from(NAT, http).await;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
    let expect = |(status, head): (u16, String), wanted: u16, what: &str| match status == wanted {
        true => Ok(head),
        false => Err(format!("{what}: {status}")),
    };
    let head = expect(ask(&mut stream, &get(target(link), "")).await, 302, "join")?;
    let sent_on = field(&head, "location").unwrap().to_owned();
    let head = expect(ask(&mut stream, &get(target(&sent_on), "")).await, 302, "join at the server")?;
    let page = field(&head, "location").unwrap().to_owned();
    let token = page.split_once("sessionToken=").unwrap().1.split('&').next().unwrap().to_owned();
    let cookie = field(&head, "set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let shown = format!("Cookie: {cookie}\r\n");
    expect(ask(&mut stream, &get(target(&page), &shown)).await, 200, "page")?;
    // A listing is kept nowhere, so each of these reaches the server.
    let file = get("/bbb1/html5client/locales/", &shown);
    let upload = format!(
        "POST /bbb1/bigbluebutton/presentation/upload HTTP/1.1\r\nHost: {host}\r\n{shown}Connection: close\r\n\
         Content-Length: 1000\r\n\r\n{}",
        "x".repeat(1000)
    );
    let said = say_on(&mut stream, [file.repeat(files), upload].concat().as_bytes(), PATIENCE).await;
    let statuses = said.statuses();
    if statuses.len() != files + 1 || statuses.contains(&429) || statuses[..files].iter().any(|status| *status != 200) {
        return Err(format!("files and upload: {statuses:?}"));
    }
    let mut sockets = Vec::new();
    for path in ["/bbb1/graphql".to_owned(), format!("/bbb1/bbb-webrtc-sfu?sessionToken={token}")] {
        let mut socket = connect_from(NAT, http).await;
        expect(ask(&mut socket, &get(&path, &[&shown, OPENING].concat())).await, 101, "socket")?;
        sockets.push(socket);
    }
    Ok(Person { token, cookie, sockets })
}

fn link(front: &FrontEnd, person: usize) -> String {
    front.url("join", &format!("fullName=P{person}&meetingID=lecture&role=VIEWER"))
}

/// All of them, in the time given; each at its moment.
async fn everybody(pool: &Pool, people: usize, files: usize, within: Duration) -> Vec<Person> {
    let (front, start) = (pool.front_end(), Instant::now());
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut coming = JoinSet::new();
    for person in 0..people {
        let (link, http, at_once) = (link(&front, person), pool.http.clone(), at_once.clone());
        let moment = tokio::time::Instant::from_std(start + within.mul_f64(person as f64 / people as f64));
        coming.spawn(async move {
            tokio::time::sleep_until(moment).await;
            let _turn = at_once.acquire_owned().await.unwrap();
            come(&http, &link, files).await
        });
    }
    let (mut inside, mut refused) = (Vec::new(), Vec::new());
    while let Some(came) = coming.join_next().await {
        match came.unwrap() {
            Ok(person) => inside.push(person),
            Err(what) => refused.push(what),
        }
    }
    assert!(refused.is_empty(), "{} of {people} did not get in: {:?}", refused.len(), &refused[..refused.len().min(5)]);
    eprintln!("{people} people with {files} files each came in within {:?}", start.elapsed());
    inside
}

async fn get(pool: &Pool, target: &str, fields: &str) -> Said {
    let host = pool.http.trim_start_matches("http://");
    let mut stream = connect_from(NAT, &pool.http).await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
    say_on(&mut stream, request.as_bytes(), PATIENCE).await
}

/// More of everything than one address may have.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_behind_one_address_gets_in() {
    // 2 200 WebSockets, and 24 200 requests that reach the server.
    let pool = pool().await;
    let inside = everybody(&pool, 1100, 18, Duration::ZERO).await;
    assert_eq!(pool.servers[0].open_sockets(), 2200);
    let metrics = pool.metrics().await;
    for reason in ["connections_of_address", "carried", "unsigned", "same_join"] {
        assert!(metrics.contains(&format!("usher_limited_total{{reason=\"{reason}\"}} 0\n")), "{reason}: {metrics}");
    }
    assert!(inside.iter().all(|person| person.sockets.len() == 2));
    ONE_ADDRESS
        .write(0, &["1 100 people at once, with 18 files each: 24 200 requests and 2 200 WebSockets", "–", "nothing"]);
}

/// Whoever floods takes what strangers of the address may have; sessions, signed calls and files from memory are not theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_the_same_address_is_nobody_elses() {
    let pool = pool_with("carried_per_address = 1\n").await;
    let person = come(&pool.http, &link(&pool.front_end(), 1), 100).await.unwrap();
    let (file, listing) = ("/bbb1/html5client/stylesheets/page.css", "/bbb1/html5client/locales/");
    assert_eq!(get(&pool, file, "").await.statuses(), [200], "kept from now on");
    let invented = |number: usize| {
        let fields = format!("Cookie: JSESSIONID=invented{number}\r\nReferer: http://h/?sessionToken=r{number}\r\n");
        (format!("{listing}?sessionToken=invented{number}"), format!("{fields}X-Session-Token: x{number}\r\n"))
    };
    let mut number = 0;
    loop {
        let (target, fields) = invented(number);
        match get(&pool, &target, &fields).await.statuses()[..] {
            [200] => number += 1,
            ref other => break assert_eq!(other, [429]),
        }
        assert!(number < 200, "never refused");
    }
    assert!(number >= 50, "ten seconds' worth, and what the one session adds: {number}");
    // Those who are in, however they show it.
    let token = &person.token;
    for fields in [
        format!("Cookie: a=b; {}\r\n", person.cookie),
        format!("Referer: {}/bbb1/html5client/?sessionToken={token}\r\n", pool.http),
        format!("X-Session-Token: {token}\r\n"),
    ] {
        assert_eq!(get(&pool, listing, &fields).await.statuses(), [200], "{fields}");
    }
    assert_eq!(get(&pool, &format!("{listing}?sessionToken={token}"), "").await.statuses(), [200]);
    let (target, fields) = invented(999);
    assert_eq!(get(&pool, &target, &fields).await.statuses(), [429], "still refused");
    for _ in 0..20 {
        assert_eq!(get(&pool, file, "").await.statuses(), [200], "from memory");
    }
    // And whoever comes with a link.
    drop(come(&pool.http, &link(&pool.front_end(), 2), 20).await.unwrap());
    let who = "one who is in, one who comes, and a stranger who invents a new token, cookie and page for each of his requests; \
        `carried_per_address` 1";
    ONE_ADDRESS
        .write(1, &[who, "what goes to a server: 429 beyond his allowance", "nothing; nor are files from memory"]);
}

/// At the end of its share an address is refused what nobody speaks for, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_has_its_share_of_connections_is_still_served_what_counts() {
    let pool = pool_with("connections_per_address = 8\nheader_timeout = \"60s\"\n").await;
    let front = pool.front_end();
    let file = "/bbb1/html5client/stylesheets/page.css";
    assert_eq!(get(&pool, file, "").await.statuses(), [200], "kept from now on");
    let person = come(&pool.http, &link(&front, 1), 1).await.unwrap();
    // WebSockets to which nobody is known, and connections that say nothing: the session adds its four.
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut stream = connect_from(NAT, &pool.http).await;
        let opening = format!("GET /bbb1/graphql HTTP/1.1\r\nHost: h\r\n{OPENING}\r\n");
        assert_eq!(ask(&mut stream, &opening).await.0, 101);
        open.push(stream);
    }
    for _ in 0..6 {
        open.push(connect_from(NAT, &pool.http).await);
    }
    eventually("the address has its share", || async {
        (get(&pool, "/bbb1/html5client/locales/", "").await.statuses() == [429]).then_some(())
    })
    .await;
    let refused = get(&pool, "/livez", "").await;
    assert!(refused.statuses() == [429] && refused.text.contains("Too many connections"), "{refused:?}");
    let mut socket = connect_from(NAT, &pool.http).await;
    let opening = format!("GET /bbb1/graphql HTTP/1.1\r\nHost: h\r\n{OPENING}");
    assert_eq!(ask(&mut socket, &format!("{opening}\r\n")).await.0, 429, "nobody's");

    let shown = format!("Cookie: {}\r\n", person.cookie);
    for _ in 0..3 {
        let signed = get(&pool, target(&front.url("getMeetings", "")), "").await;
        assert_eq!(signed.statuses(), [200], "{signed:?}");
        assert_eq!(get(&pool, file, "").await.statuses(), [200], "from memory");
        assert_eq!(get(&pool, "/bbb1/html5client/locales/", &shown).await.statuses(), [200]);
        let mut socket = connect_from(NAT, &pool.http).await;
        assert_eq!(ask(&mut socket, &format!("{opening}{shown}\r\n")).await.0, 101, "of a session");
        open.push(socket);
    }
    // A signed call's connection is kept for the next one, and form bodies are read.
    let mut stream = connect_from(NAT, &pool.http).await;
    let call = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", target(&front.url("getMeetings", "")));
    for _ in 0..3 {
        assert_eq!(ask(&mut stream, &call).await.0, 200);
    }
    let newcomer = come(&pool.http, &link(&front, 2), 1).await.unwrap();
    drop((newcomer, person, stream));
    let who = "one who is in, one who comes, a front end, and strangers with all connections that the address may have; \
        `connections_per_address` 8";
    ONE_ADDRESS.write(2, &[who, "everything: 429", "nothing; nor are files from memory"]);
}

/// A signed link is no ticket for more than its owner: the way past Usher's own `join` is bounded too.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_makes_no_crowd_of_sessions() {
    let pool = pool().await;
    let mut stream = connect_from(NAT, &pool.http).await;
    let own = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", target(&link(&pool.front_end(), 1)));
    let (_, head) = ask(&mut stream, &own).await;
    let sent_on = field(&head, "location").unwrap();
    let again = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", target(sent_on));
    let mut let_in = 0;
    while ask(&mut connect_from(NAT, &pool.http).await, &again).await.0 == 302 {
        let_in += 1;
        assert!(let_in < 40, "never refused");
    }
    assert!(let_in >= 29, "a class with one common link gets in: {let_in}");
    assert!(pool.metrics().await.contains("usher_limited_total{reason=\"same_join\"} 1\n"));
    // Nor is one that was not signed.
    let forged = again.replace("checksum=", "checksum=0");
    assert_ne!(ask(&mut stream, &forged).await.0, 429, "the server's to refuse");
}

/// 5 000 in a minute, with 10 000 WebSockets; takes a minute, and 21 000 open files of this process and of Usher's each.
/// With fewer allowed, as many people as fit.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and 21 000 open files; cargo test --release -- --ignored five_thousand"]
async fn five_thousand_people_behind_one_address_get_in_within_a_minute() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = files.current.map_or(5000, |files| (files as usize).saturating_sub(800) / 4);
    let people = most.min(5000);
    if people < 5000 {
        eprintln!("open files allow {people} people, not 5000");
    }
    let pool = pool().await;
    let inside = everybody(&pool, people, 40, Duration::from_secs(60)).await;
    assert_eq!(pool.servers[0].open_sockets(), 2 * people);
    drop(inside);
}
