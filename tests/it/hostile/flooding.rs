//! Limits of one address and of one tenant: who has too much is told so and slowed down, everybody else is served.
//!
//! Loopback is exempt by default; here it is not, and `127.0.0.x` are as many callers as a test needs.

use std::time::Duration;

use usher::sim::Fault;

use super::still_well;
use crate::harness::{Builder, FrontEnd, Pool, Said, TenantBuilder, connect_from, eventually, get_raw, say_on};

const PATIENCE: Duration = Duration::from_secs(8);

async fn from(pool: &Pool, last: u8, target: &str, fields: &str) -> Said {
    let mut stream = connect_from(last, &pool.http).await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{fields}\r\n");
    say_on(&mut stream, request.as_bytes(), PATIENCE).await
}

fn signed(front: &FrontEnd, call: &str, query: &str) -> String {
    format!("/bigbluebutton/api/{call}?{}", front.signed(call, query))
}

async fn count(pool: &Pool, reason: &str) -> u64 {
    let metrics = pool.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(&format!("usher_limited_total{{reason=\"{reason}\"}}")));
    line.expect("the reason is there from the start").rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_signs_nothing_is_slowed_down_and_its_neighbours_are_served() {
    let pool = Builder::new(1).config("[limits]\nexempt = []\nunsigned_per_address = 2\n").start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let bad = format!("{}0", signed(&front, "getMeetings", ""));
    let mut calm = 0;
    while from(&pool, 9, &bad, "").await.statuses() == [200] {
        calm += 1;
        assert!(calm <= 4, "never refused");
    }
    assert!(calm >= 2, "{calm}");
    // All kinds of what nobody signed, at once, because each waits.
    let (bad_join, track) =
        (format!("{}0", signed(&front, "join", "a=b")), "/bigbluebutton/api/getRecordingTextTracks?a=b");
    let (xml, join, json, page, nothing) = tokio::join!(
        from(&pool, 9, &bad, ""),
        from(&pool, 9, &bad_join, ""),
        from(&pool, 9, track, ""),
        from(&pool, 9, "/", ""),
        from(&pool, 9, "/wp-login.php", ""),
    );
    for (said, part) in [
        (&xml, "<messageKey>tooManyRequests</messageKey>"),
        (&join, "http-equiv=\"refresh\""),
        (&json, "\"messageKey\": \"tooManyRequests\""),
        (&page, "Too many requests"),
        (&nothing, "Too many requests"),
    ] {
        assert_eq!(said.statuses(), [429], "{said:?}");
        assert!(said.text.contains("Retry-After: ") && said.text.contains(part) && said.closed, "{part}: {said:?}");
    }
    // The same address with a signature; another address without one; and whoever asks whether Usher lives.
    assert_eq!(from(&pool, 9, &signed(&front, "getMeetings", ""), "").await.statuses(), [200]);
    assert_eq!(from(&pool, 8, &bad, "").await.statuses(), [200]);
    assert_eq!(from(&pool, 9, "/livez", "").await.statuses(), [200]);
    // Nobody believes a word about another address, except a trusted proxy's.
    let other = from(&pool, 9, &bad, "X-Forwarded-For: 192.0.2.1\r\n").await;
    assert_eq!(other.statuses(), [429], "{other:?}");
    assert!(count(&pool, "unsigned").await >= 7);
    let lines = pool.log().lines().filter(|line| line.contains("refused by a limit")).count();
    assert_eq!(lines, 1, "one line a minute:\n{}", pool.log());
    let log = pool.log();
    let line = log.lines().find(|line| line.contains("refused by a limit")).unwrap();
    assert!(line.contains("reason=unsigned") && line.contains("client=127.0.0.9"), "{line}");
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_callers_behind_it_are_counted() {
    let config = "[limits]\nexempt = []\nunsigned_per_address = 3\nconnections_per_address = 2\n";
    let pool = Builder::new(1).set("USHER_LISTEN__TRUSTED_PROXIES", "127.0.0.7").config(config).start().await;
    let pid = pool.pid();
    let (flooder, other) = ("X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.2\r\n");
    let mut refused = 0;
    for _ in 0..5 {
        refused += usize::from(from(&pool, 7, "/", flooder).await.statuses() == [429]);
    }
    assert!(refused >= 1);
    assert_eq!(from(&pool, 7, "/", other).await.statuses(), [200]);
    // The proxy itself may have as many connections as it likes.
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut stream = connect_from(7, &pool.http).await;
        let request = b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
        let said = say_on(&mut stream, request, Duration::from_millis(300)).await;
        assert_eq!((said.statuses(), said.closed), (vec![200], false));
        open.push(stream);
    }
    drop(open);
    eventually("all is quiet", || async { (get_raw(&pool.http, b"/livez").await.status == 200).then_some(()) }).await;
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_leave_room_for_the_others() {
    let config = "[limits]\nexempt = [\"127.0.0.1\"]\nconnections_per_address = 8\nconnections = 100\nheader_timeout = \"60s\"\n";
    let pool = Builder::new(1).config(config).start().await;
    let pid = pool.pid();
    let request = b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    let mut open = Vec::new();
    for number in 0..8 {
        let mut stream = connect_from(9, &pool.http).await;
        let said = say_on(&mut stream, request, Duration::from_millis(300)).await;
        // Over half of them, connections are not kept.
        assert_eq!((said.statuses(), said.closed), (vec![200], number >= 4), "{number}: {said:?}");
        open.push(stream);
    }
    // Those who say nothing are kept for a while, and count.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect_from(9, &pool.http).await);
    }
    eventually("the address has its share", || async {
        let said = from(&pool, 9, "/livez", "").await;
        (said.statuses() == [429] && said.text.contains("Retry-After") && said.closed).then_some(())
    })
    .await;
    assert_eq!(from(&pool, 8, "/livez", "").await.statuses(), [200], "another address");
    // A thousand more are closed at once or soon, and the process's own limit is not reached.
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        crowd.push(connect_from(9, &pool.http).await);
    }
    for number in 0..20 {
        assert_eq!(from(&pool, 10 + number, "/livez", "").await.statuses(), [200]);
    }
    for mut stream in crowd {
        let said = say_on(&mut stream, b"", PATIENCE).await;
        assert!(said.closed && said.text.is_empty(), "{said:?}");
    }
    drop((open, silent));
    eventually("the address is served again", || async {
        (from(&pool, 9, "/livez", "").await.statuses() == [200]).then_some(())
    })
    .await;
    assert!(count(&pool, "connections_of_address").await >= 1);
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_join_link_counts_as_a_few_people_however_often_it_is_used() {
    let pool = Builder::new(1)
        .config("[limits]\nexempt = [\"127.0.0.1\"]\nsame_join_per_address = 4\n")
        .set("USHER_HEALTH__POLL_INTERVAL", "10m")
        .start()
        .await;
    let (front, pid) = (pool.front_end(), pool.pid());
    front.create("lesson", "").await;
    let link = signed(&front, "join", "fullName=Eve&meetingID=lesson&role=VIEWER");
    for _ in 0..4 {
        assert_eq!(from(&pool, 9, &link, "").await.statuses(), [302]);
    }
    let (page, again) = tokio::join!(from(&pool, 9, &link, ""), from(&pool, 9, &link, ""));
    for said in [page, again] {
        assert_eq!((said.statuses(), said.closed), (vec![429], true), "{said:?}");
        assert!(said.text.contains("http-equiv=\"refresh\"") && said.text.contains("Retry-After"), "{said:?}");
    }
    // Her classmates behind the same address have links of their own; a program is told in XML.
    for name in ["Ann", "Ben", "Cem"] {
        let own = signed(&front, "join", &format!("fullName={name}&meetingID=lesson&role=VIEWER"));
        assert_eq!(from(&pool, 9, &own, "").await.statuses(), [302]);
    }
    let program = signed(&front, "join", "fullName=Bot&meetingID=lesson&role=VIEWER&redirect=false");
    let mut last = from(&pool, 9, &program, "").await;
    for _ in 0..4 {
        last = from(&pool, 9, &program, "").await;
    }
    assert!(last.text.contains("<messageKey>tooManyRequests</messageKey>"), "{last:?}");
    let people = pool.server_status("bbb1").await["participants"].as_u64().unwrap_or(u64::MAX);
    assert!(people <= 13, "{people} people are believed to be there");
    assert!(count(&pool, "same_join").await >= 3);
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_held_to_its_rate_and_the_other_is_not() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("mad", "secret-of-mad", &["--host", "mad.test", "--max-requests", "1"]),
    ];
    let pool = Builder::new(1).tenants(tenants).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let mad = FrontEnd::new(format!("{}/t/mad/bigbluebutton/api", pool.http), "secret-of-mad");
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(mad.get("getMeetings", "").await);
    }
    assert!(answers[..10].iter().all(|answer| answer.returncode() == "SUCCESS"), "{answers:?}");
    let refused = answers.last().unwrap();
    assert_eq!((refused.status, refused.key().as_str()), (429, "tooManyRequests"), "{refused:?}");
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{refused:?}");
    assert_eq!(front.get("getMeetings", "").await.status, 200);
    assert!(count(&pool, "tenant_requests").await >= 5);
    assert!(pool.metrics().await.contains("usher_tenant_limit_hits_total{tenant=\"mad\"}"));
    // The limit is lifted while Usher runs.
    pool.cli_ok(&["tenant", "limit", "set", "mad", "--max-requests", "none"]);
    eventually("the tenant is served again", || async {
        let answers = [mad.get("getMeetings", "").await, mad.get("getMeetings", "").await];
        answers.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expensive_calls_of_a_tenant_wait_for_each_other_or_are_refused() {
    let config = "[limits]\nfanouts_per_tenant = 1\nconcurrent_fanouts = 2\ncreates_per_tenant = 1\n";
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("mad", "secret-of-mad", &["--host", "mad.test"]),
    ];
    let pool = Builder::new(1).tenants(tenants).config(config).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let mad = FrontEnd::new(format!("{}/t/mad/bigbluebutton/api", pool.http), "secret-of-mad");
    // One after the other, 5 s for each call at most, half of it for waiting.
    pool.servers[0].fault_on("getRecordings", Fault::Slow(Duration::from_secs(2)), None);
    let asked = |front: &FrontEnd| {
        let front = front.clone();
        tokio::spawn(async move { front.get("getRecordings", "").await })
    };
    let calls: Vec<_> = (0..4).map(|_| asked(&mad)).collect();
    let other = asked(&front);
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    let served = answers.iter().filter(|answer| answer.returncode() == "SUCCESS").count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.key() == "tooManyRequests").collect();
    assert_eq!((served, refused.len()), (2, 2), "{answers:?}");
    assert!(refused.iter().all(|answer| answer.status == 429 && answer.header("retry-after").is_some()));
    assert_eq!(other.await.unwrap().returncode(), "SUCCESS", "the other tenant has a place of its own");
    pool.servers[0].heal();

    pool.servers[0].fault_on("create", Fault::Slow(Duration::from_secs(2)), Some(1));
    let slow = {
        let mad = mad.clone();
        tokio::spawn(async move { mad.get("create", "name=xy&meetingID=slow").await })
    };
    eventually("the slow create is under way", || async { (pool.servers[0].count_calls("create") >= 1).then_some(()) })
        .await;
    let second = mad.get("create", "name=xy&meetingID=second").await;
    assert_eq!((second.status, second.key().as_str()), (429, "tooManyRequests"), "{second:?}");
    front.create("of-the-other", "").await;
    assert_eq!(slow.await.unwrap().returncode(), "SUCCESS");
    mad.create("second", "").await;
    still_well(&pool, pid).await;
}

/// Announcing a body costs nothing; it must not take the memory that honest forms need.
#[tokio::test(flavor = "multi_thread")]
async fn announced_forms_take_no_memory_before_they_come() {
    let pool = Builder::new(1)
        .config("[limits]\nexempt = [\"127.0.0.1\"]\n[api]\nmax_body = \"256KiB\"\nmax_slides = \"256KiB\"\nmax_buffered = \"1MiB\"\n")
        .start()
        .await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let form = "Content-Type: application/x-www-form-urlencoded";
    let head =
        format!("POST /bigbluebutton/api/create HTTP/1.1\r\nHost: t\r\n{form}\r\nContent-Length: 262000\r\n\r\n");
    let mut open = Vec::new();
    for number in 0..40 {
        let mut stream = connect_from(10 + number % 4, &pool.http).await;
        say_on(&mut stream, head.as_bytes(), Duration::from_millis(1)).await;
        open.push(stream);
    }
    let body = format!(
        "name=Room&meetingID=honest-form&checksum={}",
        front.checksum("create", "meetingID=honest-form&name=Room")
    );
    let post = |body: String| {
        let request = front.http.post(format!("{}/create", front.api));
        front.send(request.header("content-type", "application/x-www-form-urlencoded").body(body))
    };
    assert_eq!(post(body.clone()).await.returncode(), "SUCCESS");
    // Those of one address that do come take what one address may have.
    let piece = vec![b'x'; 200_000];
    let mut refused = 0;
    for _ in 0..6 {
        let mut stream = connect_from(9, &pool.http).await;
        let said = say_on(&mut stream, &[head.as_bytes(), &piece].concat(), Duration::from_millis(200)).await;
        refused += usize::from(said.statuses() == [503]);
        open.push(stream);
    }
    assert!(refused >= 4, "{refused}");
    assert_eq!(post(body).await.returncode(), "SUCCESS");
    assert!(count(&pool, "forms").await >= 4);
    still_well(&pool, pid).await;
}
