//! Operations: reload, stop, starting against odds, systemd, and what connections may do.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher::sim::Fault;

use crate::harness::{Answer, Builder, FrontEnd, Pool, eventually};

/// Longest that anything on a socket may take; the tests never come near.
const SOON: Duration = Duration::from_secs(10);

/// A connection of our own, byte by byte.
struct Wire(TcpStream);

impl Wire {
    async fn open(pool: &Pool) -> Self {
        Self(TcpStream::connect(pool.http.trim_start_matches("http://")).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// One head, up to the empty line.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(SOON, self.0.read_u8()).await.expect("a head within ten seconds");
            head.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))));
        }
        String::from_utf8(head).unwrap()
    }

    /// One head and its body; the body by Content-Length, which every answer of ours has.
    async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        tokio::time::timeout(SOON, self.0.read_exact(&mut body)).await.unwrap().unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// Everything until the other side closes, which it must; a reset is a way of closing.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(SOON, self.0.read_to_end(&mut bytes)).await.expect("closed within ten seconds");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The configuration file with something appended, then SIGHUP.
fn reload(pool: &Pool, base: &str, more: &str) {
    std::fs::write(pool.config_path(), format!("{base}{more}")).unwrap();
    pool.signal("HUP");
}

async fn wait_log(pool: &Pool, text: &str) {
    eventually(&format!("the log says {text:?}"), || async { pool.log().contains(text).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_what_it_can_names_the_rest_and_survives_a_broken_file() {
    let pool = Builder::new(1).start().await;
    let front_end = pool.front_end();
    front_end.create("room", "").await;
    let base = std::fs::read_to_string(pool.config_path()).unwrap();
    let running = || front_end.get("isMeetingRunning", "meetingID=room");

    let other = base.replace("threads = 2", "threads = 3");
    reload(&pool, &other, "[api]\nchecksum_algorithms = [\"sha512\"]\nmax_answer = \"16MiB\"\n");
    eventually("the new setting holds", || async { (running().await.key() == "checksumError").then_some(()) }).await;
    for key in ["process.threads", "api.max_answer"] {
        wait_log(&pool, &format!("takes effect at the next restart key={key}")).await;
    }
    assert!(!pool.log().contains("key=api.checksum_algorithms"), "what took effect needs no restart");

    reload(&pool, &other, "[api]\nchecksum_algorithms = [\"sha256\"]\nmax_boddy = 1\n");
    wait_log(&pool, "configuration not reloaded").await;
    let log = pool.log();
    let line = log.lines().find(|line| line.contains("configuration not reloaded")).unwrap();
    assert!(line.contains("api.max_boddy") && line.contains("line ") && line.contains("api.max_body"), "{line}");
    assert_eq!(running().await.key(), "checksumError", "a broken file changes nothing");

    reload(&pool, &base, "");
    eventually("the first setting holds again", || async { (running().await.key().is_empty()).then_some(()) }).await;
    front_end.join("room", "Ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_and_answers_what_is_on_its_way() {
    let mut pool = Builder::new(1).set("USHER_PROCESS__GRACE_STOP", "9s").start().await;
    pool.servers[0].fault_on("create", Fault::Slow(Duration::from_secs(2)), Some(1));
    let front_end = pool.front_end();
    let slow = tokio::spawn({
        let front_end = front_end.clone();
        async move { front_end.get("create", "name=Slow&meetingID=slow").await }
    });
    eventually("the create is on its way", || async { (pool.servers[0].count_calls("create") == 1).then_some(()) })
        .await;
    pool.signal("TERM");
    let not_ready = eventually("both listeners say that a stop has begun", || async {
        let public = front_end.fetch(&format!("{}/readyz", pool.http)).await;
        let admin = front_end.fetch(&format!("{}/readyz", pool.admin)).await;
        (public.status == 503 && admin.status == 503).then_some((public, admin))
    })
    .await;
    for answer in [&not_ready.0, &not_ready.1] {
        assert!(answer.body.contains("stopping"), "{}", answer.body);
    }
    assert_eq!(not_ready.0.header("connection"), Some("close"), "a connection is not kept for a process that ends");
    let alive = front_end.fetch(&format!("{}/livez", pool.admin)).await;
    assert_eq!(alive.status, 200, "a stopping process is not a dead one");
    let answer = slow.await.unwrap();
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    assert_eq!(pool.wait_exit().await, Some(0));
    assert!(pool.log().contains("stopped"));

    pool.serve().await;
    front_end.join("slow", "Ada").await;
    pool.signal("INT");
    assert_eq!(pool.wait_exit().await, Some(0));
}

/// A create that no server answers, for longer than the test.
async fn hanging_create(pool: &Pool) {
    pool.servers[0].fault_on("create", Fault::WorkButNoAnswer, None);
    let (http, url) = (pool.front_end().http, pool.front_end().url("create", "name=Hung&meetingID=hung"));
    tokio::spawn(async move { drop(http.get(url).send().await) });
    eventually("the create is on its way", || async { (pool.servers[0].count_calls("create") == 1).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_no_longer_than_the_grace_and_a_second_signal_ends_it_at_once() {
    let pool = Builder::new(1)
        .set("USHER_API__REQUEST_TIMEOUT", "50s")
        .set("USHER_PROCESS__GRACE_STOP", "300ms")
        .start()
        .await;
    hanging_create(&pool).await;
    pool.signal("TERM");
    assert_eq!(pool.wait_exit().await, Some(0));

    let pool =
        Builder::new(1).set("USHER_API__REQUEST_TIMEOUT", "50s").set("USHER_PROCESS__GRACE_STOP", "50s").start().await;
    hanging_create(&pool).await;
    pool.signal("TERM");
    wait_log(&pool, " stopping ").await;
    pool.signal("TERM");
    assert_eq!(pool.wait_exit().await, Some(0));
}

/// `usher serve` that must not come up: exit code and standard error.
async fn refuses_to_serve(pool: &Pool, env: (&str, &str)) -> (Option<i32>, String) {
    let mut child = pool.command(&["serve"]).env(env.0, env.1).stderr(Stdio::piped()).spawn().unwrap();
    let exit = eventually("usher serve gives up", || {
        let exit = child.try_wait().unwrap();
        async move { exit }
    })
    .await;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    (exit.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_one_sentence_and_exit_code_1() {
    let pool = Builder::new(0).tenants(Vec::new()).prepare().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let not_a_folder = format!("sqlite:{}/usher.db", pool.config_path().display());
    let cases = [
        ("USHER_LISTEN__HTTP", address.as_str(), vec![address.as_str(), "listen.http"]),
        ("USHER_ADMIN__LISTEN", address.as_str(), vec![address.as_str(), "admin.listen"]),
        ("USHER_STORE__URL", not_a_folder.as_str(), vec!["store", "usher.db"]),
        ("USHER_HEALTH__TIMEOUT", "soon", vec!["health.timeout", "USHER_HEALTH__TIMEOUT", "usher check"]),
    ];
    for (variable, value, words) in cases {
        let (code, errors) = refuses_to_serve(&pool, (variable, value)).await;
        assert_eq!(code, Some(1), "{variable}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{variable}: {errors}");
        assert!(
            errors.starts_with("usher: ") && words.iter().all(|word| errors.contains(word)),
            "{variable}: {errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_it_serves_with_the_defaults_and_keeps_its_store_beside_it() {
    let pool = Builder::new(0).tenants(Vec::new()).prepare().await;
    let folder = tempfile::tempdir().unwrap();
    let [http, admin] = [&pool.http, &pool.admin].map(|origin| origin.trim_start_matches("http://").to_owned());
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_usher"))
        .arg("serve")
        .envs([("USHER_LISTEN__HTTP", &http), ("USHER_ADMIN__LISTEN", &admin)])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = std::sync::Mutex::new(child);
    let client = FrontEnd::new(&pool.http, "");
    let readiness = eventually("it answers", || async {
        assert_eq!(child.lock().unwrap().try_wait().unwrap(), None, "it still runs");
        client.http.get(format!("{}/readyz", pool.http)).send().await.ok()
    })
    .await;
    let reasons = readiness.text().await.unwrap();
    assert!(reasons.contains("usher server add") && reasons.contains("usher tenant add"), "{reasons}");
    assert!(folder.path().join("usher-data/usher.db").is_file());
    let mut child = child.into_inner().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_it_serves_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let pool = Builder::new(0).set("NOTIFY_SOCKET", path.to_str().unwrap()).prepare().await;
    let told = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("systemd is told something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    pool.start_process();
    assert!(told().contains("READY=1"));
    let answer = FrontEnd::new(&pool.http, "").fetch(&format!("{}/livez", pool.http)).await;
    assert_eq!(answer.status, 200, "ready means that it can be reached");
    pool.signal("TERM");
    assert!(told().contains("STOPPING=1"));
    assert_eq!(pool.wait_exit().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_get_400_and_leave_no_trace_of_their_text() {
    let pool = Builder::new(1).set("USHER_LOG__LEVEL", "trace").start().await;
    let secret = "checksum=5ec4e7";
    let many_headers: String = (0..5000).map(|number| format!("X-{number}: {secret}\r\n")).collect();
    let bad = [
        format!("{secret}\r\n\r\n"),
        format!("GET\r\nHost: {secret}\r\n\r\n"),
        format!("GET /?{secret} HTTP/9.9\r\nHost: a\r\n\r\n"),
        format!("GET /?{secret} HTTP/1.1\r\nno colon here\r\n\r\n"),
        format!("GET /?{secret} HTTP/1.1\r\nHost : a\r\n\r\n"),
        format!("GET /?{secret} HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        format!("POST /?{secret} HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n"),
        format!("POST /?{secret} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        format!("POST /?{secret} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        format!("POST /?{secret} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
        format!("POST /?{secret} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET /?{secret} HTTP/1.1\r\nHost: a\r\n{many_headers}\r\n"),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}hello, is this TLS?\r\n\r\n".to_owned(),
    ];
    for request in &bad {
        let mut wire = Wire::open(&pool).await;
        wire.send(request).await;
        let answer = wire.rest().await;
        let start: String = request.chars().take(80).collect();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{start:?}: {answer:?}");
        assert!(answer.contains("x-request-id: ") || answer.contains("X-Request-Id: "), "{answer}");
    }
    // More head than anybody reads: the answer comes all the same.
    let mut wire = Wire::open(&pool).await;
    let endless = "a".repeat(1 << 20);
    for _ in 0..4 {
        let _ = wire.0.write_all(format!("GET /{endless}").as_bytes()).await;
    }
    let answer = wire.rest().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");

    // Odd, but requests.
    let odd = [
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "404"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n", "40"),
        ("GET http://a/livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"),
        ("GET /livez?%zz%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", "200"),
    ];
    for (request, status) in odd {
        let mut wire = Wire::open(&pool).await;
        wire.send(request).await;
        wire.0.shutdown().await.unwrap();
        let answer = wire.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer:?}");
    }
    pool.front_end().create("room", "").await;
    let metrics = pool.metrics().await;
    assert!(metrics.contains("usher_http_requests_total{code=\"4xx\",listener=\"http\",route=\"none\"}"), "{metrics}");
    let log = pool.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("5ec4e7"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_closed_and_continued_as_http_says() {
    let pool = Builder::new(1).start().await;
    let front_end = pool.front_end();
    let head = |line: &str, more: &str| format!("{line}\r\nHost: a\r\n{more}\r\n");

    // HTTP/1.0 closes, and so does who asks for it; HTTP/1.0 that asks to stay may stay.
    for request in [head("GET /livez HTTP/1.0", ""), head("GET /livez HTTP/1.1", "Connection: close\r\n")] {
        let mut wire = Wire::open(&pool).await;
        wire.send(&request).await;
        let answer = wire.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nalive\n"), "{answer:?}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer:?}");
    }
    let mut wire = Wire::open(&pool).await;
    for _ in 0..2 {
        wire.send(&head("GET /livez HTTP/1.0", "Connection: keep-alive\r\n")).await;
        assert_eq!(wire.answer().await.1, "alive\n");
    }

    // HEAD: the length, not the body, and the connection goes on.
    let mut wire = Wire::open(&pool).await;
    wire.send(&head("HEAD /livez HTTP/1.1", "")).await;
    let length = wire.head().await.to_ascii_lowercase();
    assert!(length.contains("content-length: 6\r\n"), "{length}");
    wire.send(&head("GET /readyz HTTP/1.1", "")).await;
    assert_eq!(wire.answer().await.1, "ready\n");

    // Pipelined: three at once, three answers in order.
    let mut wire = Wire::open(&pool).await;
    let version = head("GET /bigbluebutton/api HTTP/1.1", "");
    wire.send(&(head("GET /livez HTTP/1.1", "") + &version + &head("GET /readyz HTTP/1.1", ""))).await;
    assert_eq!(wire.answer().await.1, "alive\n");
    assert!(wire.answer().await.1.contains("<version>2.0</version>"));
    assert_eq!(wire.answer().await.1, "ready\n");

    // Expect: the body is asked for, and only if it is wanted.
    let form = "meetingID=expected&name=Expected";
    let post = |query: &str, length: usize| {
        let more = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n"
        );
        head(&format!("POST /bigbluebutton/api/create?{query} HTTP/1.1"), &more)
    };
    let signed = format!("{form}&checksum={}", front_end.checksum("create", "meetingID=expected&name=Expected"));
    let mut wire = Wire::open(&pool).await;
    wire.send(&post("", signed.len())).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 100 "));
    wire.send(&signed).await;
    let (_, body) = wire.answer().await;
    assert!(body.contains("<returncode>SUCCESS</returncode>"), "{body}");
    let mut wire = Wire::open(&pool).await;
    wire.send(&post("", 1 << 30)).await;
    let (refused, _) = wire.answer().await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "a body too large is refused before it is sent: {refused}");
    assert_eq!(wire.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_idle_and_too_many_connections_are_bounded() {
    let pool = Builder::new(1)
        .set("USHER_LIMITS__HEADER_TIMEOUT", "300ms")
        .set("USHER_LIMITS__BODY_TIMEOUT", "300ms")
        .set("USHER_LIMITS__KEEPALIVE", "1s")
        .start()
        .await;
    let get = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
    // Half a head, nothing at all, and half a head on a connection that has served already.
    for (before, half) in [(false, "GET /livez HT"), (false, ""), (true, "GET /livez HT"), (true, "")] {
        let mut wire = Wire::open(&pool).await;
        if before {
            wire.send(get).await;
            assert_eq!(wire.answer().await.1, "alive\n");
        }
        wire.send(half).await;
        let rest = wire.rest().await;
        assert!(!rest.starts_with("HTTP/1.1 200"), "{rest:?}");
    }
    // Half a body: told so.
    let mut wire = Wire::open(&pool).await;
    let length = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 50\r\n";
    wire.send(&format!("POST /bigbluebutton/api/create HTTP/1.1\r\nHost: a\r\n{length}\r\nmeetingID=a")).await;
    assert!(wire.answer().await.0.starts_with("HTTP/1.1 408 "));
    wire.rest().await;

    let pool = Builder::new(1).set("USHER_LIMITS__CONNECTIONS", "3").start().await;
    let mut held = Vec::new();
    eventually("three connections are open", || {
        let metrics = pool.metrics();
        async move { metrics.await.contains("usher_http_connections 0").then_some(()) }
    })
    .await;
    for _ in 0..3 {
        let mut wire = Wire::open(&pool).await;
        wire.send(get).await;
        assert_eq!(wire.answer().await.1, "alive\n");
        held.push(wire);
    }
    assert!(pool.metrics().await.contains("usher_http_connections 3"));
    let mut wire = Wire::open(&pool).await;
    wire.send(get).await;
    let refused = wire.rest().await.to_ascii_lowercase();
    assert!(refused.starts_with("http/1.1 503 ") && refused.contains("retry-after: "), "{refused:?}");
    held.pop();
    let client = FrontEnd::new(&pool.http, "");
    eventually("there is room again", || async {
        let answer: Answer = client.fetch(&format!("{}/livez", pool.http)).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

fn project(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_shipped_configuration_passes_the_check() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/usher.toml");
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_usher")).arg("-c").arg(file).arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_systemd_unit_is_hardened_and_reloads() {
    let unit = project("systemd/usher.service");
    let has = |line: &str| unit.lines().any(|found| found == line);
    for line in [
        "Type=notify",
        "User=usher",
        "ExecStart=/usr/bin/usher serve",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "MemoryDenyWriteExecute=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "StateDirectory=usher",
        "UMask=0077",
    ] {
        assert!(has(line), "usher.service lacks {line}");
    }
    assert!(
        project("systemd/sysusers.d/usher.conf").lines().any(|line| line.starts_with("u") && line.contains("usher"))
    );
    assert!(project("systemd/tmpfiles.d/usher.conf").contains("usher"));
}

#[test]
fn the_debian_package_names_files_that_exist() {
    let manifest: toml::Value = toml::from_str(&project("Cargo.toml")).unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut targets = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        targets.push(asset[1].as_str().unwrap().to_owned());
        if source == "target/release/usher" {
            continue;
        }
        let exists = match source.strip_suffix("*.md") {
            Some(folder) => {
                let mut files = std::fs::read_dir(root.join(folder)).unwrap();
                files.any(|file| file.unwrap().path().extension().is_some_and(|extension| extension == "md"))
            }
            None => root.join(source).is_file(),
        };
        assert!(exists, "{source} is packaged but not there");
    }
    assert!(targets.contains(&"usr/bin/".to_owned()) && targets.contains(&"etc/usher/usher.toml".to_owned()));
    let scripts = root.join(deb["maintainer-scripts"].as_str().unwrap());
    assert!(scripts.is_dir(), "{scripts:?}");
    assert!(root.join(deb["license-file"][0].as_str().unwrap()).is_file());
    let units = root.join(deb["systemd-units"]["unit-scripts"].as_str().unwrap());
    assert!(units.join("usher.service").is_file());
}
