//! One Usher takes over from another: nobody who is connected notices, and what fails changes nothing.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use usher::sim::Fault;

use crate::harness::{Browser, Builder, FrontEnd, Pool, Session, eventually, signal};

/// A connection that is kept alive, as a front end's or a browser's is.
struct Kept {
    address: String,
    stream: Option<TcpStream>,
}

impl Kept {
    fn to(pool: &Pool) -> Self {
        Self { address: pool.http.trim_start_matches("http://").to_owned(), stream: None }
    }

    /// One GET; a new connection only if the last answer has announced the end of the old one. Head and body.
    async fn get(&mut self, path: &str) -> (String, String) {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(TcpStream::connect(&self.address).await.unwrap()),
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: usher.example\r\n\r\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let end = loop {
            if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "cut off: {path}: {said:?}");
        };
        let head = String::from_utf8_lossy(&said[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().unwrap();
        while said.len() < end + length {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "cut off: {path}");
        }
        if head.contains("connection: close") {
            self.stream = None;
        }
        (head, String::from_utf8_lossy(&said[end..]).into_owned())
    }

    async fn call(&mut self, front: &FrontEnd, call: &str, query: &str) -> (String, String) {
        self.get(&format!("/bigbluebutton/api/{call}?{}", front.signed(call, query))).await
    }
}

/// Calls without a pause until `stop`; each must be answered as if nothing went on.
async fn call_on(pool: &Pool, number: usize, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let front = pool.front_end();
    let (mut here, mut there) = (Kept::to(pool), Kept::to(pool));
    let mut made = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let id = format!("made-{number}-{}", made.len());
        let (_, body) = here.call(&front, "create", &format!("name=Room&meetingID={id}")).await;
        assert!(body.contains("<returncode>SUCCESS"), "{body}");
        // At once, and by another connection: maybe it is the other process's.
        let (head, _) = there.call(&front, "join", &format!("fullName=Ada&meetingID={id}&role=VIEWER")).await;
        assert!(head.contains("/bigbluebutton/api/join?"), "{id}: {head}");
        let (_, body) = there.call(&front, "getMeetingInfo", &format!("meetingID={id}")).await;
        assert!(body.contains(&id), "{body}");
        let (_, body) = there.call(&front, "getMeetings", "").await;
        assert!(body.contains(&id), "{id} is missing");
        made.push(id);
        answered.fetch_add(4, Ordering::AcqRel);
    }
    made
}

/// Waits until `count` more calls have been answered.
async fn more(answered: &AtomicUsize, count: usize) {
    let goal = answered.load(Ordering::Acquire) + count;
    let reached = || std::future::ready((answered.load(Ordering::Acquire) >= goal).then_some(()));
    crate::harness::eventually_within(Duration::from_secs(60), "calls go on", reached).await;
}

async fn in_path_mode(grace: &str) -> Pool {
    let pool = Builder::new(2)
        .config("[edge]\nmode = \"path\"\n")
        .set("USHER_LIMITS__KEEPALIVE", "2s")
        .set("USHER_LIMITS__HEADER_TIMEOUT", "1s");
    let pool = pool.set("USHER_PROCESS__GRACE_UPGRADE", grace).start().await;
    for (index, server) in pool.servers.iter().enumerate() {
        let base = format!("{}/bbb{}", pool.http, index + 1);
        server.set_up_client(|client| client.base = Some(base));
    }
    pool
}

async fn count(pool: &Pool, words: &str) -> usize {
    pool.log().lines().filter(|line| line.contains(words)).count()
}

async fn logged(pool: &Pool, words: &str) {
    eventually(&format!("the log says {words:?}"), || async { pool.log().contains(words).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_upgrades_under_load_lose_no_call_no_meeting_and_no_websocket() {
    let pool = Arc::new(in_path_mode("1h").await);
    let front = pool.front_end();
    front.create("seminar", "").await;
    let mut session = Session::join(&Browser::new(), &front.join("seminar", "Ada").await).await;
    let (mut graphql, mut sfu) = session.walk().await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..4).map(|number| {
        let (pool, stop, answered) = (pool.clone(), stop.clone(), answered.clone());
        tokio::spawn(async move { call_on(&pool, number, &stop, &answered).await })
    });
    let callers: Vec<_> = callers.collect();
    more(&answered, 40).await;
    let first = pool.start_upgrade();
    eventually("the first upgrade", || async { (count(&pool, "upgrade done").await == 1).then_some(()) }).await;
    more(&answered, 40).await;
    let second = pool.start_upgrade();
    eventually("the second upgrade", || async { (count(&pool, "upgrade done").await == 2).then_some(()) }).await;
    more(&answered, 40).await;
    // Nobody has company any more when the connections that were kept alive are gone.
    let alone = "the old Usher answers no further requests";
    eventually("the old ones answer nobody any more", || async { (count(&pool, alone).await == 2).then_some(()) })
        .await;
    more(&answered, 40).await;
    stop.store(true, Ordering::Release);
    let made: Vec<String> = join_all(callers).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(made.len() >= 40, "{}", made.len());
    for id in &made {
        assert_eq!(pool.holders(id).len(), 1, "{id}");
    }
    // The first process has a person in it, and goes on for her; the second has nobody.
    assert_eq!(second.wait_exit().await, Some(0));
    for socket in [&mut graphql.socket, &mut sfu] {
        socket.say(Message::Ping("still there?".into())).await;
        assert!(matches!(socket.hear().await, Some(Ok(Message::Pong(said))) if said == "still there?"));
    }
    assert_eq!(graphql.socket.close(1000).await, Some(1000));
    assert_eq!(sfu.close(1000).await, Some(1000));
    drop((graphql, sfu));
    assert_eq!(first.wait_exit().await, Some(0));
    assert!(!pool.log().contains("end=drained"), "{}", pool.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_cannot_work_changes_nothing() {
    let pool = Builder::new(1).start().await;
    let working = std::fs::read_to_string(pool.config_path()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let added = working.replace("http = [", &format!("http = [\"{address}\", "));
    let missing = format!("{working}[tls]\ncertificates = [{{ cert = \"/nowhere.pem\", key = \"/nowhere.key\" }}]\n");
    let elsewhere = working.replace("usher.db", "other.db");
    let cases = [
        ("not a configuration", "wrong"),
        (missing.as_str(), "nowhere.pem"),
        (added.as_str(), address.as_str()),
        (elsewhere.as_str(), "there is no store at"),
    ];
    for (text, told) in cases {
        std::fs::write(pool.config_path(), text).unwrap();
        let old = pool.start_upgrade();
        let mut kept = Kept::to(&pool);
        assert!(kept.get("/livez").await.0.starts_with("http/1.1 200"), "{told}");
        assert_eq!(pool.wait_exit().await, Some(1), "{told}");
        pool.take_back(old);
        logged(&pool, told).await;
        assert!(kept.get("/readyz").await.0.starts_with("http/1.1 200"), "{told}");
    }
    std::fs::write(pool.config_path(), &working).unwrap();
    // Killed between the sockets and its first word: servers that hang hold it there.
    pool.servers[0].fault(Fault::Silent);
    let old = pool.start_upgrade();
    logged(&pool, "upgrade begins").await;
    pool.kill();
    logged(&pool, "upgrade failed, this Usher goes on").await;
    pool.servers[0].heal();
    // And after all that it still works.
    pool.take_back(old);
    let old = pool.start_upgrade();
    assert_eq!(old.wait_exit().await, Some(0));
    assert!(Kept::to(&pool).get("/livez").await.0.starts_with("http/1.1 200"));
}

/// The process that came in by SIGUSR2, which is nobody's child; ended with this.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        if std::path::Path::new(&format!("/proc/{}", self.0)).exists() {
            signal(self.0, "KILL");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr2_brings_in_the_program_and_the_configuration_of_today() {
    let pool = Builder::new(1).start().await;
    let (also, _reserved) = crate::harness::reserved_port();
    let text = std::fs::read_to_string(pool.config_path()).unwrap();
    let text = text.replace("http = [", &format!("http = [\"127.0.0.1:{also}\", "));
    std::fs::write(pool.config_path(), text).unwrap();
    pool.signal("USR2");
    let pid = eventually("the upgrade", || async {
        let log = pool.log();
        let line = log.lines().find(|line| line.contains("upgrade done"))?.to_owned();
        line.split("pid=").nth(1)?.split_whitespace().next()?.parse().ok()
    })
    .await;
    let _orphan = Orphan(pid);
    assert_eq!(pool.wait_exit().await, Some(0));
    let parent = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent: u32 = parent.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(parent, std::process::id());
    let front = FrontEnd::new("", "");
    for address in [format!("http://127.0.0.1:{also}"), pool.http.clone(), pool.admin.clone()] {
        assert_eq!(front.fetch(&format!("{address}/livez")).await.status, 200, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_outlives_the_grace_is_ended_in_order() {
    let pool = in_path_mode("1s").await;
    let front = pool.front_end();
    front.create("seminar", "").await;
    let mut session = Session::join(&Browser::new(), &front.join("seminar", "Ada").await).await;
    let (mut graphql, _sfu) = session.walk().await;
    let old = pool.start_upgrade();
    assert_eq!(graphql.socket.closed().await, None);
    assert_eq!(old.wait_exit().await, Some(0));
    assert!(pool.log().contains("process.grace_upgrade is over") && pool.log().contains("end=drained"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_taken_over_from_stops_when_told() {
    let pool = in_path_mode("1h").await;
    let front = pool.front_end();
    front.create("seminar", "").await;
    let mut session = Session::join(&Browser::new(), &front.join("seminar", "Ada").await).await;
    let (mut graphql, _sfu) = session.walk().await;
    let mut old = pool.start_upgrade();
    logged(&pool, "upgrade done").await;
    logged(&pool, "going on with what is open").await;
    assert_eq!(old.exit(), None);
    old.signal("TERM");
    assert_eq!(graphql.socket.closed().await, None);
    assert_eq!(old.wait_exit().await, Some(0));
}

fn line_to(pool: &Pool) -> OwnedFd {
    let line = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&line, &SocketAddrUnix::new(pool.dir.path().join("usher.db.upgrade")).unwrap()).unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_at_the_upgrade_socket_changes_nothing() {
    let pool = Builder::new(1).start().await;
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(pool.dir.path().join("usher.db.upgrade")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its own user only");
    let store = pool.status().await.unwrap()["store"].as_str().unwrap().to_owned();
    let hello = format!("usher-upgrade 1 0.1.0 store={store}");
    for words in [&b"ready"[..], b"\xff\xfe", b"usher-upgrade 99", &[b'x'; 4000], hello.as_bytes()] {
        let line = line_to(&pool);
        send(&line, words, SendFlags::empty()).unwrap();
        drop(line);
    }
    logged(&pool, "upgrade failed, this Usher goes on").await;
    let old = pool.start_upgrade();
    assert_eq!(old.wait_exit().await, Some(0));
    assert!(Kept::to(&pool).get("/readyz").await.0.starts_with("http/1.1 200"));
}
