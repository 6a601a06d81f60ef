//! BBB servers that prove themselves otherwise than by a public authority: for calls, for what the edge carries and for
//! `usher check --online`; and what the log says of those that do not.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use usher::ids::Secret;
use usher::sim::{SimOptions, SimServer};

use crate::harness::{Builder, Pool, eventually};
use crate::tls::maker::{Files, Maker};

/// HTTPS with these files in front of a simulated server.
async fn front(files: &Files, to: SocketAddr) -> SocketAddr {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut from = acceptor.accept(stream).await?;
                let mut to = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    address
}

/// As `openssl req -x509` makes it: signed by itself, and it calls itself an authority.
fn by_itself(maker: &Maker, name: &str) -> Files {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    Files { cert: maker.write("itself.pem", &cert.pem()), key: maker.write("itself.key", &key.serialize_pem()) }
}

/// A pool in path mode with one server behind HTTPS with these files.
async fn pool(files: &Files, config: &str) -> Pool {
    let server = SimServer::start(SimOptions::new(Secret::new("a-server-secret"))).await.unwrap();
    let address = front(files, server.addr()).await;
    let mut pool = Builder::new(0).config(&format!("[edge]\nmode = \"path\"\n{config}")).prepare().await;
    let url = format!("https://127.0.0.1:{}", address.port());
    pool.cli_ok(&["server", "add", &url, "--name", "bbb1", "--secret", "a-server-secret"]);
    pool.servers.push(server);
    pool
}

/// Runs `usher serve`, which need not become ready.
async fn begin(pool: &Pool) {
    pool.start_process();
    eventually("usher serve answers", || async { pool.status().await.map(|_| ()) }).await;
}

/// Calls, the edge and `check --online` all believe the server.
async fn is_believed(pool: &Pool, how: &str) {
    pool.wait_health("bbb1", "up").await;
    let created = pool.front_end().get("create", &format!("name=Room&meetingID={how}")).await;
    assert_eq!(created.returncode(), "SUCCESS", "{how}: {}", created.body);
    let carried = pool.front_end().fetch(&format!("{}/bbb1/bigbluebutton/rtt-check", pool.http)).await;
    assert_eq!(carried.status, 200, "{how}");
    let checked = pool.cli(&["check", "--online"]);
    assert!(checked.status.success(), "{how}: {}", String::from_utf8_lossy(&checked.stdout));
}

/// None of them does; what they say of it.
async fn is_refused(pool: &Pool, how: &str) -> String {
    pool.wait_health("bbb1", "down").await;
    let reason = pool.server_status("bbb1").await["reason"].as_str().unwrap_or_default().to_owned();
    let carried = pool.front_end().fetch(&format!("{}/bbb1/bigbluebutton/rtt-check", pool.http)).await;
    assert_eq!(carried.status, 502, "{how}");
    let checked = pool.cli(&["check", "--online"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success() && said.contains(&reason), "{how}: {reason}: {said}");
    assert!(reason.starts_with("TLS: ") && reason.contains("; "), "{how}: {reason}");
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_its_own_and_another_name() {
    let maker = Maker::new();
    let mut pool = pool(&maker.good("bbb", &["proof.example"]), "").await;
    begin(&pool).await;
    let ca = maker.write("ca.pem", &format!("{}\n{}", KeyPair::generate().unwrap().serialize_pem(), maker.root.pem()));
    let ca = ca.to_str().unwrap();
    let reason = is_refused(&pool, "unknown authority").await;
    assert!(reason.contains("--ca FILE") && reason.contains("tls.server_ca"), "{reason}");
    pool.cli_ok(&["server", "set", "bbb1", "--ca", ca]);
    eventually("the name is what is wrong now", || async {
        let reason = pool.server_status("bbb1").await["reason"].to_string();
        reason.contains("another name (proof.example)").then_some(())
    })
    .await;
    assert!(is_refused(&pool, "another name").await.contains("--tls-name"));
    pool.cli_ok(&["server", "set", "bbb1", "--tls-name", "proof.example"]);
    is_believed(&pool, "own-ca").await;
    let told: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["--json", "server", "show", "bbb1"])).unwrap();
    let url = url::Url::parse(told["url"].as_str().unwrap()).unwrap();
    let host = format!("127.0.0.1:{}", url.port().unwrap());
    for call in pool.servers[0].calls().iter().filter(|call| !call.call.starts_with('/')) {
        assert_eq!(call.header("host"), Some(host.as_str()), "Host stays that of the URL: {}", call.call);
    }
    let shown = pool.cli_ok(&["server", "show", "bbb1"]);
    assert!(shown.contains("CN=test root") && shown.contains("proof.example") && !shown.contains("PRIVATE"), "{shown}");
    assert!(!std::fs::read(pool.dir.path().join("usher.db")).unwrap().windows(11).any(|part| part == b"PRIVATE KEY"));
    // Once it is taken back it counts no more, though connections were open.
    pool.cli_ok(&["server", "set", "bbb1", "--ca", "none"]);
    is_refused(&pool, "taken back").await;
    // For all servers.
    pool.kill();
    pool.set("USHER_TLS__SERVER_CA", ca);
    begin(&pool).await;
    is_believed(&pool, "server-ca").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_signed_by_itself_is_believed_if_it_is_the_very_one() {
    let maker = Maker::new();
    let files = by_itself(&maker, "127.0.0.1");
    let pool = pool(&files, "").await;
    begin(&pool).await;
    let reason = is_refused(&pool, "unknown").await;
    assert!(reason.contains("--ca FILE"), "{reason}");
    // Another one by the same name is not.
    let other = maker.write("other.pem", &std::fs::read_to_string(by_itself(&Maker::new(), "127.0.0.1").cert).unwrap());
    pool.cli_ok(&["server", "set", "bbb1", "--ca", other.to_str().unwrap()]);
    is_refused(&pool, "another one").await;
    pool.cli_ok(&["server", "set", "bbb1", "--ca", files.cert.to_str().unwrap()]);
    is_believed(&pool, "itself").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_is_loud() {
    let maker = Maker::new();
    let pool = pool(&by_itself(&maker, "other.example"), "").await;
    pool.cli_ok(&["server", "set", "bbb1", "--insecure"]);
    begin(&pool).await;
    is_believed(&pool, "insecure").await;
    for words in [&["server", "list"][..], &["server", "show", "bbb1"], &["check", "--online"]] {
        assert!(pool.cli_ok(words).contains("not checked") || pool.cli_ok(words).contains("NOT checked"), "{words:?}");
    }
    eventually("the log warns", || async {
        let log = pool.log();
        log.lines()
            .any(|line| line.contains(" warn ") && line.contains("NOT checked") && line.contains("server=bbb1"))
            .then_some(())
    })
    .await;
    pool.cli_ok(&["server", "set", "bbb1", "--insecure=false"]);
    is_refused(&pool, "no more").await;
    assert!(!pool.cli_ok(&["server", "list"]).contains("NOT checked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_is_one_line_for_each_change() {
    let maker = Maker::new();
    let pool = pool(&by_itself(&maker, "other.example"), "").await;
    begin(&pool).await;
    pool.wait_health("bbb1", "down").await;
    let asked = || async { pool.metrics().await };
    eventually("many probes have failed", || async {
        let text = asked().await;
        let line = text.lines().find(|line| line.starts_with("usher_server_poll_failures_total"))?;
        (line.rsplit(' ').next()?.parse::<f64>().ok()? > 12.0).then_some(())
    })
    .await;
    let log = pool.log();
    let about: Vec<&str> = log.lines().filter(|line| line.contains("certificate") || line.contains("TLS")).collect();
    assert!(!about.is_empty() && about.len() <= 2, "{log}");
    assert!(about.iter().all(|line| line.contains("server=bbb1") && line.contains("--ca FILE")), "{about:?}");
    assert!(!log.contains("CaUsedAsEndEntity") && !log.contains("DnsName") && !log.contains("UnknownIssuer"), "{log}");
}

/// Standard error is what systemd calls the journal's stream.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_gets_priorities_and_the_start_line_says_where_everything_is() {
    for is_journal in [true, false] {
        let pool = Builder::new(1).prepare().await;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let found = std::fs::metadata(format!("/proc/self/fd/{}", theirs.as_raw_fd())).unwrap();
        let inode = if is_journal { found.ino() } else { found.ino() + 1 };
        let mut command = pool.command(&["serve"]);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", found.dev()));
        let mut child = command.stderr(OwnedFd::from(theirs)).stdout(std::process::Stdio::null()).spawn().unwrap();
        drop(command);
        let lines: Vec<String> = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            for line in BufReader::new(ours).lines().map(Result::unwrap) {
                let is_last = line.contains(" serving ");
                lines.push(line);
                if is_last {
                    break;
                }
            }
            lines
        })
        .await
        .unwrap();
        let _ = child.kill();
        let _ = child.wait();
        let serving = lines.last().unwrap();
        for wanted in [
            format!("http={}", pool.http.trim_start_matches("http://")),
            format!("admin={}", pool.admin.trim_start_matches("http://")),
            format!("config={}", pool.config_path().display()),
            format!("store={}", pool.dir.path().join("usher.db").display()),
        ] {
            assert!(serving.contains(&wanted), "{wanted}: {serving}");
        }
        assert!(serving.starts_with("<6>") == is_journal, "{serving}");
        assert!(lines.iter().all(|line| line.starts_with('<') == is_journal), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_failed_calls_and_of_recovery_say_what_is_wanted_at_night() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    moodle.get("create", "name=Room&meetingID=night").await;
    pool.cli_ok(&["server", "disable", "bbb1"]);
    eventually("joins are refused", || async {
        moodle.get("join", "meetingID=night&fullName=Eve&password=x&redirect=false").await;
        pool.log().contains("result=serverUnavailable").then_some(())
    })
    .await;
    eventually("the request's line has both", || async {
        let log = pool.log();
        let mut lines =
            log.lines().filter(|line| line.contains("call=join") && line.contains("result=serverUnavailable"));
        lines.any(|line| line.contains("server=bbb1") && line.contains("meeting=night")).then_some(())
    })
    .await;
    pool.cli_ok(&["server", "enable", "bbb1"]);
    pool.servers[0].fault(usher::sim::Fault::Status(500));
    pool.wait_health("bbb1", "down").await;
    pool.servers[0].heal();
    pool.wait_health("bbb1", "up").await;
    eventually("up says after how long", || async {
        let log = pool.log();
        log.lines().any(|line| line.contains("to=up") && line.contains("after_s=")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_the_running_usher_knows() {
    let pool = Builder::new(1).prepare().await;
    let list = pool.cli_ok(&["server", "list"]);
    assert!(list.contains("HEALTH") && list.contains("is not known"), "{list}");
    let mut pool = pool;
    pool.serve().await;
    pool.front_end().get("create", "name=Room&meetingID=mm").await;
    pool.servers[0].add_user("mm", "Eve", usher::sim::SimRole::Viewer).unwrap();
    pool.wait_health("bbb1", "up").await;
    let list = pool.cli_ok(&["server", "list"]);
    assert!(
        list.lines().any(|line| line.starts_with("bbb1") && line.contains(" up ")) && !list.contains("is not known"),
        "{list}"
    );
    eventually("the poll has seen her", || async {
        let meetings: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["--json", "meeting", "list"])).unwrap();
        (meetings[0]["people"] == 1).then_some(())
    })
    .await;
    pool.kill();
    let list = pool.cli_ok(&["meeting", "list"]);
    assert!(list.contains("PEOPLE") && list.contains("is not known"), "{list}");
}
