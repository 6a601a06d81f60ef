//! What operators see: metrics, liveness and readiness, the access log; and what nobody may see anywhere.

use std::collections::BTreeSet;

use usher::sim::{Fault, SimRecording, SimRole};

use crate::harness::{Answer, Builder, FrontEnd, Pool, TenantBuilder, eventually};

const SLIDES: &str =
    "<modules><module name=\"presentation\"><document name=\"a.txt\">YQ==</document></module></modules>";
const FORM: &str = "application/x-www-form-urlencoded";

/// Words that only a secret, a checksum, a password or a person has; nothing of Usher may ever show one.
const PRIVATE: [&str; 7] =
    ["tenant-secret-main", "server-secret-1", "PwAttendee7", "PwModerator7", "Zaphod", "Beeblebrox", "SecretWelcome"];

/// Every call of the API, the refused ones too, with people and passwords in them. Answers in order.
async fn drive_all_calls(pool: &Pool) -> Vec<Answer> {
    let front_end = pool.front_end();
    let mut answers = Vec::new();
    let create = "name=Room&meetingID=room&attendeePW=PwAttendee7&moderatorPW=PwModerator7&welcome=SecretWelcome";
    answers.push(front_end.fetch(&front_end.api).await);
    answers.push(front_end.get("create", create).await);
    let join = "fullName=Zaphod+Beeblebrox&meetingID=room&password=PwAttendee7";
    answers.push(front_end.get("join", join).await);
    let location = answers[2].header("location").unwrap().to_owned();
    assert_eq!(front_end.fetch(&location).await.status, 302, "the browser reaches the server");
    for (call, query) in [
        ("isMeetingRunning", "meetingID=room"),
        ("getMeetingInfo", "meetingID=room&password=PwModerator7"),
        ("getMeetings", ""),
        ("getSessions", ""),
        ("sendChatMessage", "meetingID=room&message=Zaphod&userName=Beeblebrox"),
        ("getRecordings", "meetingID=room"),
        ("publishRecordings", "recordID=rec-1&publish=true"),
        ("updateRecordings", "recordID=rec-1&meta_author=Zaphod"),
        ("getRecordingTextTracks", "recordID=rec-1"),
        ("deleteRecordings", "recordID=rec-1"),
        ("join", "fullName=Zaphod&meetingID=nowhere&password=PwAttendee7"),
        ("end", "meetingID=room&password=PwWrong"),
        ("getJoinUrl", "sessionToken=Zaphod"),
        ("Zaphod", "password=PwModerator7"),
        ("Beeblebrox", "a=b"),
    ] {
        answers.push(front_end.get(call, query).await);
    }
    answers.push(front_end.post("insertDocument", "meetingID=room", "application/xml", SLIDES).await);
    answers.push(
        front_end
            .post(
                "putRecordingTextTrack",
                "recordID=rec-1&kind=subtitles&lang=en",
                "multipart/form-data; boundary=b",
                "--b--",
            )
            .await,
    );
    let body = format!("{create}&checksum={}", front_end.checksum("create", create));
    let form = front_end.http.post(format!("{}/create", front_end.api)).header("content-type", FORM).body(body);
    answers.push(front_end.send(form).await);
    // A stranger with a wrong secret, and one with the right checksum in the wrong place.
    let stranger = FrontEnd::new(&front_end.api, "Zaphod-guesses");
    answers.push(stranger.get("create", create).await);
    answers.push(stranger.get("join", join).await);
    answers.push(
        front_end
            .fetch(&format!("{}/t/Zaphod/bigbluebutton/api/create?{}", pool.http, front_end.signed("create", create)))
            .await,
    );
    answers.push(front_end.fetch(&format!("{}/Zaphod?{create}", pool.http)).await);
    // A server that fails, during create and afterwards.
    pool.servers[0].fault_on("getMeetingInfo", Fault::Html200, Some(1));
    answers.push(front_end.get("getMeetingInfo", "meetingID=room&password=PwModerator7").await);
    for server in &pool.servers {
        server.fault_on("create", Fault::Garbage, Some(1));
    }
    answers.push(front_end.get("create", &create.replace("=room", "=other")).await);
    answers.push(front_end.get("end", "meetingID=room&password=PwModerator7").await);
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_checksum_password_or_name_shows_in_logs_metrics_or_status_at_any_level() {
    for (level, format) in [("info", "json"), ("debug", "text"), ("trace", "json")] {
        let pool = Builder::new(2).set("USHER_LOG__LEVEL", level).set("USHER_LOG__FORMAT", format).start().await;
        pool.servers[0].add_recording(SimRecording::new("rec-1", "room", "Zaphod"));
        let answers = drive_all_calls(&pool).await;
        pool.wait_polls().await;
        let status = pool.status().await.unwrap().to_string();
        let metrics = pool.metrics().await;
        pool.signal("HUP");
        eventually("the reload is logged", || async { pool.log().contains("reloaded").then_some(()) }).await;
        pool.signal("TERM");
        assert_eq!(pool.wait_exit().await, Some(0));
        let log = pool.log();
        for word in PRIVATE.iter().chain(&["PwWrong", "checksum=", "password=", "Zaphod-guesses"]) {
            assert!(!log.contains(word), "{level}: the log shows {word}: {:?}", log.lines().find(|l| l.contains(word)));
            assert!(!metrics.contains(word), "{level}: the metrics show {word}");
            assert!(!status.contains(word), "{level}: the status shows {word}");
        }
        let secrets = ["tenant-secret-main", "server-secret-1", "server-secret-2", "PwWrong", "Zaphod-guesses"];
        for answer in &answers {
            for word in secrets {
                assert!(!answer.body.contains(word), "an answer shows {word}: {}", answer.body);
            }
            if answer.body.contains("<returncode>FAILED</returncode>") {
                let shown = PRIVATE.iter().find(|word| answer.body.contains(**word));
                assert_eq!(shown, None, "an error shows it: {}", answer.body);
            }
        }
        // Forty hexadecimal digits or more in a row are a checksum, whoever made it.
        let hex = log.split(|letter: char| !letter.is_ascii_hexdigit()).find(|word| word.len() >= 40);
        let ids: Vec<String> =
            pool.servers.iter().flat_map(|server| server.meetings()).map(|m| m.internal_id).collect();
        assert!(hex.is_none_or(|hex| ids.iter().any(|id| id.starts_with(hex))), "{level}: {hex:?}");
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.lines().count() > 25, "the log has been looked at: {log}");
    }
}

/// The label sets of a metric, as they stand between the braces.
fn series(metrics: &str, name: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let of_it = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once('}'));
    of_it.map(|(labels, _)| labels.to_owned()).collect()
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_this_version_is_there_with_its_labels_after_traffic() {
    let limited =
        TenantBuilder::new("small", "tenant-secret-small", &["--host", "small.example.org", "--max-meetings", "1"]);
    let main = TenantBuilder::new("main", "tenant-secret-main", &[]);
    let pool = Builder::new(2).tenants(vec![main, limited]).start().await;
    pool.servers[0].add_recording(SimRecording::new("rec-1", "room", "Recorded"));
    drive_all_calls(&pool).await;
    let small = pool.front_end_of(1).with_host("small.example.org");
    small.create("first", "").await;
    assert_eq!(small.get("create", "name=a&meetingID=second").await.returncode(), "FAILED");
    let holder = pool.servers.iter().find(|server| !server.meetings().is_empty()).unwrap();
    let room = holder.meetings()[0].meeting_id.clone();
    holder.add_user(&room, "Ada", SimRole::Viewer).unwrap();
    holder.set_media(&room, 3, 1, 2);
    pool.servers[1].fault_on("getMeetings", Fault::Status(500), Some(1));
    pool.wait_polls().await;
    let metrics = pool.metrics().await;

    let servers = ["server=\"bbb1\"", "server=\"bbb2\""];
    for name in [
        "usher_server_up",
        "usher_server_load",
        "usher_server_utilisation",
        "usher_server_meetings",
        "usher_server_participants",
        "usher_server_voice",
        "usher_server_videos",
        "usher_server_reserved",
        "usher_server_last_poll_timestamp_seconds",
        "usher_server_poll_duration_seconds_count",
    ] {
        let found = series(&metrics, name);
        assert_eq!(found, servers.iter().map(|label| (*label).to_owned()).collect(), "{name}");
    }
    for (name, labels) in [
        ("usher_api_requests_total", "call=\"create\",result=\"ok\",tenant=\"main\""),
        ("usher_api_requests_total", "call=\"create\",result=\"checksumError\",tenant=\"main\""),
        ("usher_api_requests_total", "call=\"getMeetings\",result=\"ok\",tenant=\"main\""),
        ("usher_api_request_duration_seconds_count", "call=\"join\""),
        ("usher_http_requests_total", "code=\"2xx\",listener=\"http\",route=\"api\""),
        ("usher_http_requests_total", "code=\"3xx\",listener=\"http\",route=\"api\""),
        ("usher_http_requests_total", "code=\"4xx\",listener=\"http\",route=\"none\""),
        ("usher_http_request_duration_seconds_count", "route=\"api\""),
        ("usher_http_bytes_total", "direction=\"in\""),
        ("usher_http_bytes_total", "direction=\"out\""),
        ("usher_server_state", "server=\"bbb1\",state=\"enabled\""),
        ("usher_server_state", "server=\"bbb1\",state=\"up\""),
        ("usher_server_poll_failures_total", "server=\"bbb2\""),
        ("usher_tenant_meetings", "tenant=\"main\""),
        ("usher_tenant_participants", "tenant=\"small\""),
        ("usher_tenant_limit_hits_total", "tenant=\"small\""),
    ] {
        assert!(series(&metrics, name).contains(labels), "{name}{{{labels}}} in {metrics}");
    }
    for name in [
        "usher_create_retries_total",
        "usher_placement_conflicts_total",
        "usher_store_up",
        "usher_own_network_fault",
        "usher_log_lines_dropped_total",
    ] {
        assert!(value(&metrics, name).is_some(), "{name} in {metrics}");
    }
    assert!(series(&metrics, "usher_placements_total").iter().any(|labels| labels.contains("reason=")), "{metrics}");
    let claims = series(&metrics, "usher_store_operation_duration_seconds_count");
    assert!(claims.iter().any(|labels| labels.starts_with("operation=")), "{metrics}");
    let build = series(&metrics, "usher_build_info");
    assert!(build.iter().any(|labels| labels.contains("version=") && labels.contains("commit=")), "{metrics}");
    assert_eq!(value(&metrics, "usher_tenant_meetings{tenant=\"small\"}"), Some(1.0));
    assert_eq!(value(&metrics, "usher_tenant_limit_hits_total{tenant=\"small\"}"), Some(1.0));
    let sum = |name: &str| -> f64 {
        servers.iter().map(|server| value(&metrics, &format!("{name}{{{server}}}")).unwrap()).sum()
    };
    assert_eq!((sum("usher_server_voice"), sum("usher_server_videos")), (3.0, 2.0));
    for line in metrics.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.ends_with('.'), "a metric explains itself: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_stay_bounded_whatever_callers_and_servers_say_and_go_with_their_server() {
    let pool = Builder::new(2).start().await;
    let front_end = pool.front_end();
    front_end.create("room", "").await;
    for number in 0..20 {
        front_end.get(&format!("invented{number}"), "").await;
        front_end.fetch(&format!("{}/t/tenant{number}/bigbluebutton/api/create?checksum=a", pool.http)).await;
        front_end.fetch(&format!("{}/path{number}", pool.http)).await;
        let holder = pool.holders("room")[0];
        pool.servers[holder].fault_on("getMeetingInfo", Fault::FailedKey(format!("inventedKey{number}")), Some(1));
        assert_eq!(front_end.get("getMeetingInfo", "meetingID=room").await.returncode(), "FAILED");
    }
    let metrics = pool.metrics().await;
    for word in ["invented", "tenant1", "path1", "room"] {
        assert!(!metrics.contains(word), "{word}: {metrics}");
    }
    assert_eq!(
        value(&metrics, "usher_api_requests_total{call=\"unknown\",result=\"unsupportedRequest\",tenant=\"main\"}"),
        Some(20.0)
    );
    assert_eq!(
        value(&metrics, "usher_api_requests_total{call=\"getMeetingInfo\",result=\"other\",tenant=\"main\"}"),
        Some(20.0)
    );

    let gone = pool.holders("room")[0];
    let stays = 1 - gone;
    assert!(metrics.contains(&format!("server=\"bbb{}\"", gone + 1)));
    pool.cli_ok(&["server", "remove", &format!("bbb{}", gone + 1), "--force"]);
    pool.cli_ok(&["tenant", "add", "other", "--host", "other.example.org", "--secret", "tenant-secret-other"]);
    let other = FrontEnd::new(&front_end.api, "tenant-secret-other").with_host("other.example.org");
    eventually("the tenant is known", || async {
        (other.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    pool.cli_ok(&["tenant", "remove", "other"]);
    eventually("no series names what is gone", || async {
        let metrics = pool.metrics().await;
        let gone = [format!("server=\"bbb{}\"", gone + 1), "tenant=\"other\"".to_owned()];
        let stays = format!("server=\"bbb{}\"", stays + 1);
        (gone.iter().all(|label| !metrics.contains(label)) && metrics.contains(&stays)).then_some(())
    })
    .await;
}

/// The reasons of both listeners, which must agree.
async fn readiness(pool: &Pool) -> (u16, String) {
    let client = FrontEnd::new(&pool.http, "");
    let public = client.fetch(&format!("{}/readyz", pool.http)).await;
    let admin = client.fetch(&format!("{}/readyz", pool.admin)).await;
    if (public.status, &public.body) != (admin.status, &admin.body) {
        return (0, "the listeners were asked at different moments".to_owned());
    }
    (public.status, public.body)
}

async fn wait_readiness(pool: &Pool, status: u16, words: &str) {
    eventually(&format!("readiness is {status} and says {words:?}"), || async {
        let (now, reasons) = readiness(pool).await;
        (now == status && reasons.contains(words)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_why_not_on_both_listeners() {
    let mut pool = Builder::new(0).tenants(Vec::new()).start().await;
    wait_readiness(&pool, 503, "usher server add").await;
    wait_readiness(&pool, 503, "usher tenant add").await;
    for origin in [&pool.http, &pool.admin] {
        let alive = FrontEnd::new(origin.as_str(), "").fetch(&format!("{origin}/livez")).await;
        assert_eq!((alive.status, alive.body.as_str()), (200, "alive\n"));
    }
    drop(pool);

    pool = Builder::new(2).start().await;
    wait_readiness(&pool, 200, "ready").await;
    for server in &pool.servers {
        server.fault(Fault::Refuse);
    }
    wait_readiness(&pool, 503, "our own network").await;
    for server in &pool.servers {
        server.heal();
    }
    wait_readiness(&pool, 200, "ready").await;
    for name in ["bbb1", "bbb2"] {
        pool.cli_ok(&["server", "cordon", name]);
    }
    wait_readiness(&pool, 503, "both enabled and up").await;
    pool.cli_ok(&["server", "enable", "bbb2"]);
    wait_readiness(&pool, 200, "ready").await;

    // Another process holds the store: it does not answer writes, and everything else goes on.
    let front_end = pool.front_end();
    front_end.create("room", "").await;
    let lock = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    crate::harness::eventually_within(std::time::Duration::from_secs(30), "readiness blames the store", || async {
        let (status, reasons) = readiness(&pool).await;
        (status == 503 && reasons.contains("the store does not answer")).then_some(())
    })
    .await;
    front_end.join("room", "Ada").await;
    assert_eq!(value(&pool.metrics().await, "usher_store_up"), Some(0.0));
    lock.execute_batch("ROLLBACK").unwrap();
    crate::harness::eventually_within(std::time::Duration::from_secs(30), "the store is back", || async {
        (readiness(&pool).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_tells_who_called_what_where_and_how_long() {
    for format in ["text", "json"] {
        let pool = Builder::new(1)
            .set("USHER_LOG__FORMAT", format)
            .set("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.2/32")
            .start()
            .await;
        let front_end = pool.front_end();
        let created = front_end.create("room", "").await;
        let joined = front_end.get("join", "fullName=Ada&meetingID=room").await;
        let failed = front_end.get("end", "meetingID=nowhere").await;
        let index = front_end.fetch(&front_end.api).await;
        let ids: BTreeSet<&str> =
            [&created, &joined, &failed, &index].map(|answer| answer.header("x-request-id").unwrap()).into();
        assert_eq!(ids.len(), 4, "each request has an id of its own");
        for (answer, call, status, result, server) in [
            (&created, "create", "200", "ok", "bbb1"),
            (&joined, "join", "302", "ok", "bbb1"),
            (&failed, "end", "200", "notFound", "-"),
            (&index, "index", "200", "ok", "-"),
        ] {
            let id = answer.header("x-request-id").unwrap();
            let line = eventually("the request is logged", || async {
                pool.log().lines().find(|line| line.contains(id) && line.contains("duration_ms")).map(str::to_owned)
            })
            .await;
            let facts = facts(&line, format);
            let expected = [
                ("request_id", id),
                ("client", "127.0.0.1"),
                ("tenant", "main"),
                ("call", call),
                ("status", status),
                ("result", result),
                ("server", server),
            ];
            for (key, value) in expected {
                assert!(facts.iter().any(|(name, found)| name == key && found == value), "{key}={value}: {line}");
            }
            let number = |key: &str| facts.iter().find(|(name, _)| name == key).unwrap().1.parse::<f64>().unwrap();
            let (duration, upstream) = (number("duration_ms"), number("upstream_ms"));
            assert!(duration > 0.0 && upstream <= duration, "{line}");
            assert_eq!(upstream > 0.0, call == "create", "only the create waited for a server: {line}");
        }
        // The id and the address of a proxy are believed from the one that is trusted only.
        let url = format!("{}/livez", pool.http);
        for (from, is_trusted) in [("127.0.0.2", true), ("127.0.0.3", false)] {
            let client =
                reqwest::Client::builder().local_address(Some(from.parse().unwrap())).no_proxy().build().unwrap();
            let request =
                client.get(&url).header("x-request-id", "from-the-proxy").header("x-forwarded-for", "9.8.7.6");
            let answer = front_end.send(request).await;
            assert_eq!(answer.header("x-request-id") == Some("from-the-proxy"), is_trusted, "{from}");
            let id = answer.header("x-request-id").unwrap().to_owned();
            let client = if is_trusted { "9.8.7.6" } else { from };
            eventually("the client is logged", || async {
                pool.log().lines().any(|line| line.contains(&id) && line.contains(client)).then_some(())
            })
            .await;
        }
        let client =
            reqwest::Client::builder().local_address(Some("127.0.0.2".parse().unwrap())).no_proxy().build().unwrap();
        let answer = front_end.send(client.get(&url).header("x-request-id", "a b\"c=d")).await;
        assert_eq!(answer.header("x-request-id").unwrap().len(), 16, "an id that could forge a line is replaced");
    }
}

/// Key and value of each pair of a log line.
fn facts(line: &str, format: &str) -> Vec<(String, String)> {
    if format == "json" {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return object.into_iter().map(|(key, value)| (key, text(value))).collect();
    }
    let pairs = line.split(' ').filter_map(|word| word.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}
