//! Two processes on one store, and a store that fails: what was promised stays true. (Kills: `kill_loop.rs`.)

use std::time::Duration;

use futures_util::future::join_all;
use usher::sim::Fault;

use crate::harness::{Builder, FrontEnd, Pool, Second, eventually, eventually_within};

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

/// Two front ends, each behind its own process on one store.
async fn both(pool: &Pool) -> (Second, FrontEnd, FrontEnd) {
    let second = Second::start(pool).await;
    let here = pool.front_end();
    let there = FrontEnd::new(format!("{}/bigbluebutton/api", second.http), here.secret.clone());
    (second, here, there)
}

const ROOM: &str = "name=Room&meetingID=room&attendeePW=ap&moderatorPW=mp";

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_answered_for_the_server_where_the_other_process_has_put_the_meeting() {
    let pool = Builder::new(2)
        .set("USHER_API__REQUEST_TIMEOUT", "20s")
        .set("USHER_HEALTH__FAILOVER_AFTER", "300ms")
        .start()
        .await;
    let (_second, here, there) = both(&pool).await;
    let internal = |answer: &crate::harness::Answer| answer.xml().text("internalMeetingID");
    let old = internal(&here.get("create", ROOM).await);
    let holder = pool.holders("room")[0];
    let server = &pool.servers[holder];
    // The server answers this process, late, while the other one believes it lost.
    server.fault_on("create", Fault::Slow(Duration::from_secs(6)), Some(1));
    let before = server.count_calls("create");
    let repeated = tokio::spawn({
        let here = here.clone();
        async move { here.get("create", ROOM).await }
    });
    eventually("the create has reached its server", || async { (server.count_calls("create") > before).then_some(()) })
        .await;
    for call in ["index", "getMeetings"] {
        server.fault_on(call, Fault::Status(500), None);
    }
    let new = eventually_within(Duration::from_secs(20), "the other process moves the meeting", || async {
        let answer = there.get("create", ROOM).await;
        (answer.returncode() == "SUCCESS").then(|| internal(&answer)).filter(|new| *new != old)
    })
    .await;
    assert!(!repeated.is_finished(), "this machine is too slow for the test: the server's answer was first");
    let answer = repeated.await.unwrap();
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    assert_eq!(internal(&answer), new, "nobody is sent to the copy that is to be ended");
    server.heal();
    eventually("the copy is ended", || async { (pool.holders("room") == [1 - holder]).then_some(()) }).await;
    assert_eq!(pool.servers[1 - holder].meeting("room").unwrap().internal_id, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_one_process_has_promised_is_not_moved_by_the_other() {
    let pool = Builder::new(2).start().await;
    let (_second, here, there) = both(&pool).await;
    for server in &pool.servers {
        server.fault_on("create", Fault::Slow(Duration::from_secs(4)), Some(1));
        server.fault_on("getMeetingInfo", Fault::Status(500), None);
    }
    let slow = tokio::spawn({
        let here = here.clone();
        async move { here.get("create", ROOM).await }
    });
    let holder = eventually("a server has been asked", || async { pool.holders("room").first().copied() }).await;
    pool.servers[1 - holder].fault_on("create", Fault::Slow(Duration::ZERO), None);
    // This process gives up on that server, and goes on to the next, after the other one has had its answer.
    let promised = there.get("create", ROOM).await;
    assert_eq!(promised.returncode(), "SUCCESS", "{}", promised.body);
    let answer = slow.await.unwrap();
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    let internal = |answer: &crate::harness::Answer| answer.xml().text("internalMeetingID");
    assert_eq!(internal(&answer), internal(&promised));
    pool.wait_polls().await;
    assert_eq!(pool.holders("room"), [holder]);
    assert_eq!(pool.servers[holder].meeting("room").unwrap().internal_id, internal(&promised));
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
