//! Killed, doubled, and cut off from the disk: what was promised stays true.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use usher::sim::Fault;

use crate::harness::{Builder, FrontEnd, Second, eventually, eventually_within};

/// A call to an Usher that may be dead; `None` if no whole answer came.
async fn attempt(moodle: &FrontEnd, call: &str, query: &str) -> Option<(u16, String, String)> {
    let response = moodle.http.get(moodle.url(call, query)).send().await.ok()?;
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    Some((status, location, response.text().await.ok()?))
}

/// Creates, joins and ends as fast as it goes; remembers what was answered SUCCESS.
async fn torment(
    moodle: FrontEnd,
    worker: usize,
    stop: Arc<AtomicBool>,
    confirmed: Arc<Mutex<BTreeMap<String, String>>>,
) {
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        number += 1;
        let id = format!("w{worker}-{number}");
        let mut created = None;
        while created.is_none() && !stop.load(Ordering::Acquire) {
            created =
                attempt(&moodle, "create", &format!("name=Room&meetingID={id}&attendeePW=ap&moderatorPW=mp")).await;
            if created.is_none() {
                tokio::task::yield_now().await;
            }
        }
        let Some((_, _, body)) = created else { return };
        if !body.contains("<returncode>SUCCESS</returncode>") {
            continue;
        }
        let internal_id = crate::harness::Xml::parse(&body).text("internalMeetingID");
        confirmed.lock().unwrap().insert(id.clone(), internal_id);
        attempt(&moodle, "join", &format!("fullName=Ann&meetingID={id}&role=VIEWER")).await;
        if number % 4 == 0 {
            // From now on nobody knows whether it lives.
            confirmed.lock().unwrap().remove(&id);
            attempt(&moodle, "end", &format!("meetingID={id}&password=mp")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_promised_is_lost_by_twenty_kills() {
    let mut pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    let stop = Arc::new(AtomicBool::new(false));
    let confirmed = Arc::new(Mutex::new(BTreeMap::new()));
    let workers: Vec<_> =
        (0..4).map(|worker| tokio::spawn(torment(moodle.clone(), worker, stop.clone(), confirmed.clone()))).collect();
    for round in 0..20_u64 {
        let creates = || pool.servers.iter().map(|server| server.count_calls("create")).sum::<u64>();
        let (before, ahead) = (creates(), rand::random_range(1..15));
        eventually(&format!("round {round}: some more creates"), || async {
            (creates() >= before + ahead).then_some(())
        })
        .await;
        pool.kill();
        pool.start_process();
    }
    stop.store(true, Ordering::Release);
    for worker in workers {
        worker.await.unwrap();
    }
    pool.kill();
    // Before the first poll: no server answers one.
    for server in &pool.servers {
        server.fault_on("getMeetings", Fault::Silent, None);
    }
    pool.start_process();
    eventually("usher is back", || async { attempt(&moodle, "getMeetings", "").await }).await;
    let confirmed = confirmed.lock().unwrap().clone();
    assert!(confirmed.len() >= 20, "{}", confirmed.len());
    let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
    let listed: BTreeMap<String, String> =
        listed.iter().map(|meeting| (meeting.text("meetingID"), meeting.text("internalMeetingID"))).collect();
    for (id, internal_id) in &confirmed {
        assert_eq!(listed.get(id), Some(internal_id), "{id} is listed before the first poll");
        let holders = pool.holders(id);
        assert_eq!(holders.len(), 1, "{id}");
        let server = &pool.servers[holders[0]];
        assert_eq!(&server.meeting(id).unwrap().internal_id, internal_id);
        assert!(moodle.join(id, "Bob").await.starts_with(&server.url()), "{id}");
    }
    for server in &pool.servers {
        server.heal();
    }
    pool.wait_ready().await;
    pool.wait_polls().await;
    let mut seen = BTreeMap::new();
    for server in &pool.servers {
        for meeting in server.meetings() {
            assert!(seen.insert(meeting.meeting_id.clone(), ()).is_none(), "{} has a twin", meeting.meeting_id);
        }
    }
    let database = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    pool.kill();
    pool.serve().await;
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_store_never_bind_a_meeting_twice() {
    let pool = Builder::new(3).start().await;
    let second = Second::start(&pool).await;
    let here = pool.front_end();
    let there = second.front_end(&pool);
    let creates = (0..60).map(|number| {
        let (here, there) = (here.clone(), there.clone());
        async move {
            let query = format!("name=Room&meetingID=both-{number}&attendeePW=ap&moderatorPW=mp");
            let (one, two) = tokio::join!(here.get("create", &query), there.get("create", &query));
            for answer in [&one, &two] {
                assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
            }
            let internal = |answer: &crate::harness::Answer| answer.xml().text("internalMeetingID");
            assert_eq!(internal(&one), internal(&two), "both were told the same meeting");
        }
    });
    join_all(creates).await;
    pool.wait_polls().await;
    for number in 0..60 {
        let id = format!("both-{number}");
        let holders = pool.holders(&id);
        assert_eq!(holders.len(), 1, "{id}");
        let url = pool.servers[holders[0]].url();
        assert!(here.join(&id, "Ann").await.starts_with(&url) && there.join(&id, "Bob").await.starts_with(&url));
    }
    // Ended through one and created anew through the other, while both follow and poll.
    for number in 0..10 {
        let query = format!("meetingID=both-{number}&password=mp");
        assert_eq!(here.get("end", &query).await.returncode(), "SUCCESS");
        there.create(&format!("both-{number}"), "&attendeePW=ap&moderatorPW=mp").await;
    }
    pool.wait_polls().await;
    for moodle in [&here, &there] {
        eventually("both know all of them", || async {
            let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
            (listed.len() == 60).then_some(())
        })
        .await;
    }
    for number in 0..60 {
        assert_eq!(pool.holders(&format!("both-{number}")).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_the_command_line_are_followed_within_a_second() {
    let pool = Builder::new(2).start().await;
    let within = Duration::from_secs(1);
    for (word, state) in [("cordon", "cordoned"), ("enable", "enabled"), ("disable", "disabled"), ("enable", "enabled")]
    {
        pool.cli_ok(&["server", word, "bbb2"]);
        eventually_within(within, &format!("bbb2 is {state}"), || async {
            (pool.server_status("bbb2").await["state"] == state).then_some(())
        })
        .await;
    }
    let stranger = FrontEnd::new(format!("{}/t/late/bigbluebutton/api", pool.http), "late-tenant-secret");
    assert_eq!(stranger.get("getMeetings", "").await.key(), "checksumError");
    pool.cli_ok(&["tenant", "add", "late", "--secret", "late-tenant-secret", "--host", "late.example"]);
    eventually_within(within, "the new tenant may call", || async {
        (stranger.get("getMeetings", "").await.key() == "noMeetings").then_some(())
    })
    .await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    // With its server silent no poll finds the meeting again.
    for server in &pool.servers {
        server.fault_on("getMeetings", Fault::Silent, None);
    }
    pool.cli_ok(&["meeting", "forget", "room", "--force"]);
    eventually_within(within, "the meeting is forgotten", || async {
        (moodle.get("getMeetingInfo", "meetingID=room").await.key() == "notFound").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_fails_joins_go_on_and_creates_are_refused_in_words() {
    let pool = Builder::new(2).set("USHER_API__REQUEST_TIMEOUT", "10s").start().await;
    let moodle = pool.front_end();
    moodle.create("before", "&attendeePW=ap&moderatorPW=mp").await;
    moodle.create("ending", "&moderatorPW=mp").await;
    let database = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(moodle.get("end", "meetingID=ending&password=mp").await.returncode(), "SUCCESS");

    let refused = moodle.get("create", "name=Room&meetingID=during").await;
    assert_eq!((refused.status, refused.returncode().as_str()), (200, "FAILED"), "{}", refused.body);
    assert!(refused.xml().text("message").contains("recorded"), "{}", refused.body);
    assert!(pool.holders("during").is_empty(), "no server was called before the claim was durable");
    let reader = FrontEnd::new(&pool.http, "");
    eventually_within(Duration::from_secs(15), "readiness says why", || async {
        let answer = reader.fetch(&format!("{}/readyz", pool.http)).await;
        (answer.status == 503 && answer.body.contains("store")).then_some(())
    })
    .await;
    assert!(pool.metrics().await.contains("usher_store_up 0"));
    // The change feed can still be read all the time, which must not be taken for a recovery.
    pool.wait_polls().await;
    assert_eq!(reader.fetch(&format!("{}/readyz", pool.http)).await.status, 503);
    moodle.join("before", "Ann").await;
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=before").await.returncode(), "SUCCESS");
    // A repeated create needs no store.
    assert_eq!(
        moodle.get("create", "name=Room+before&meetingID=before&attendeePW=ap&moderatorPW=mp").await.returncode(),
        "SUCCESS"
    );

    database.execute_batch("ROLLBACK").unwrap();
    eventually("ready again without a restart", || async {
        (reader.fetch(&format!("{}/readyz", pool.http)).await.status == 200).then_some(())
    })
    .await;
    moodle.create("during", "").await;
    assert_eq!(pool.holders("during").len(), 1);
    eventually("what ended meanwhile is written now", || async {
        (!pool.cli_ok(&["--json", "meeting", "list"]).contains("ending")).then_some(())
    })
    .await;
}
