//! Whose fault it is: a request that servers cannot digest costs nobody but its own caller.

use std::time::{Duration, Instant};

use usher::sim::{Fault, SimRecording};

use crate::harness::{Builder, FrontEnd, Pool, TenantBuilder, eventually};

const POISON: &str = "name=Poison&meetingID=poison&groups=%5B%7Bno+json";

/// Three servers, one of them cordoned, as during an update; two tenants.
async fn with_one_cordoned() -> Pool {
    let tenants =
        vec![TenantBuilder::new("main", "secret-main", &[]), TenantBuilder::new("other", "secret-other", &[])];
    let pool = Builder::new(3).tenants(tenants).start().await;
    pool.cli_ok(&["server", "cordon", "bbb3"]);
    eventually("the state is followed", || async {
        (pool.server_status("bbb3").await["state"] == "cordoned").then_some(())
    })
    .await;
    pool
}

async fn assert_all_up(pool: &Pool, when: &str) {
    for server in ["bbb1", "bbb2", "bbb3"] {
        let status = pool.server_status(server).await;
        assert_eq!(status["health"], "up", "{when}: {status}");
    }
    assert!(pool.metrics().await.contains("usher_own_network_fault 0"), "{when}");
}

async fn end_of(moodle: &FrontEnd, meeting: &str) -> crate::harness::Answer {
    moodle.get("end", &format!("meetingID={meeting}&password=mp")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_no_server_can_digest_costs_only_its_caller() {
    let pool = with_one_cordoned().await;
    let (poisoner, other) =
        (FrontEnd::new(format!("{}/t/other/bigbluebutton/api", pool.http), "secret-other"), pool.front_end());
    for round in 0..10 {
        let answer = poisoner.get("create", POISON).await;
        assert_eq!((answer.status, answer.key().as_str()), (200, "validationError"), "{}", answer.body);
        assert_all_up(&pool, &format!("round {round}")).await;
        let id = format!("good-{round}");
        other.create(&id, "&moderatorPW=mp").await;
        assert!(other.join(&id, "Ann").await.contains("/bigbluebutton/api/join?"));
    }
    assert!(!pool.log().contains("all servers fail at once"));
    assert!(!pool.log().contains("server is suspect"));
    let metrics = pool.metrics().await;
    assert!(
        metrics.contains(r#"usher_server_call_failures_total{call="create",kind="status",server="bbb1"}"#),
        "{metrics}"
    );
    let told = pool.log().lines().filter(|line| line.contains("a call failed")).count();
    assert!(told <= 4, "one line per server and kind, not per failure: {told}");
    for server in &pool.servers {
        assert!(server.meeting("poison").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_tried_on_two_servers_and_no_more() {
    let pool = Builder::new(4).start().await;
    let asked = || pool.servers.iter().map(|server| server.count_calls("create")).sum::<u64>();
    let before = asked();
    assert_eq!(pool.front_end().get("create", POISON).await.returncode(), "FAILED");
    assert_eq!(asked(), before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_a_server_fails_at_it_stays_up() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "&moderatorPW=mp").await;
    let holder = pool.holders("room")[0];
    let recording = SimRecording::of_meeting(&pool.servers[holder].meeting("room").unwrap());
    pool.servers[holder].add_recording(recording.clone());
    let recording = recording.record_id;
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Html200,
        Fault::Garbage,
        Fault::FailedKey("checksumError".to_owned()),
    ] {
        for call in
            ["publishRecordings", "updateRecordings", "deleteRecordings", "end", "getMeetingInfo", "insertDocument"]
        {
            pool.servers[holder].fault_on(call, fault.clone(), None);
        }
        let slides = "<modules><module name=\"presentation\"/></modules>";
        for _ in 0..5 {
            for query in ["publish=true", "publish=false"] {
                let answer = moodle.get("publishRecordings", &format!("recordID={recording}&{query}")).await;
                assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "{fault:?}");
            }
            let update = moodle.get("updateRecordings", &format!("recordID={recording}&meta_x=1")).await;
            assert_eq!(update.returncode(), "FAILED", "{fault:?}");
            assert_eq!(end_of(&moodle, "room").await.returncode(), "FAILED", "{fault:?}");
            assert_eq!(moodle.get("getMeetingInfo", "meetingID=room").await.returncode(), "SUCCESS", "{fault:?}");
            let inserted = moodle.post("insertDocument", "meetingID=room", "application/xml", slides).await;
            assert_eq!(inserted.key(), "internalError", "{fault:?}: the front end is not to blame");
        }
        assert_all_up(&pool, &format!("{fault:?}")).await;
        assert!(!pool.log().contains("server is suspect"), "{fault:?}");
        pool.servers[holder].heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_with_an_odd_participant_is_told_repaired() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    let query = "fullName=Eve&meetingID=room&role=VIEWER&userdata-my%20key=1";
    let location = moodle.get("join", query).await.headers["location"].clone();
    moodle.fetch(&location).await;
    for _ in 0..20 {
        let info = moodle.get("getMeetingInfo", "meetingID=room").await;
        assert_eq!((info.returncode().as_str(), info.xml().text("meetingID").as_str()), ("SUCCESS", "room"));
        assert_eq!(info.header("x-usher-age-ms"), None, "it is the server's own answer, not the last picture");
        assert!(info.body.contains("<fullName>Eve</fullName>") && !info.body.contains("my key"), "{}", info.body);
    }
    assert_eq!(pool.server_status("bbb1").await["health"], "up");
    assert!(!pool.log().contains("server is suspect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_alone_fails_at_creates_is_avoided_but_never_the_last_one() {
    let pool = Builder::new(2).server_args(0, &["--weight", "100"]).start().await;
    let moodle = pool.front_end();
    pool.servers[0].fault_on("create", Fault::Status(500), None);
    for number in 0..6 {
        moodle.create(&format!("room-{number}"), "").await;
    }
    assert_eq!(pool.servers[0].count_calls("create"), 2, "the third goes straight to the other server");
    assert_eq!(pool.server_status("bbb1").await["health"], "up");
    pool.servers[0].heal();
    pool.cli_ok(&["server", "cordon", "bbb2"]);
    eventually("the state is followed", || async {
        (pool.server_status("bbb2").await["state"] == "cordoned").then_some(())
    })
    .await;
    moodle.create("last", "").await;
    assert_eq!(pool.holders("last"), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_has_the_server_looked_at_at_once() {
    let pool = Builder::new(1)
        .set("USHER_HEALTH__INTERVAL", "60s")
        .set("USHER_HEALTH__POLL_INTERVAL", "60s")
        .set("USHER_HEALTH__MAX_BACKOFF", "60s")
        .start()
        .await;
    let moodle = pool.front_end();
    moodle.create("room", "&moderatorPW=mp").await;
    pool.servers[0].fault(Fault::Status(502));
    assert_eq!(end_of(&moodle, "room").await.returncode(), "FAILED");
    pool.wait_health("bbb1", "suspect").await;
    let probes = pool.servers[0].count_calls("index");
    for _ in 0..30 {
        end_of(&moodle, "room").await;
    }
    assert!(pool.servers[0].count_calls("index") <= probes + 3, "coalesced");
}

/// With the shipped times: Greenlight's client gives up after 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_leaves_a_frozen_server_in_time() {
    let pool = Builder::new(2)
        .server_args(0, &["--weight", "100"])
        .set("USHER_API__REQUEST_TIMEOUT", "20s")
        .set("USHER_API__CONNECT_TIMEOUT", "3s")
        .set("USHER_HEALTH__INTERVAL", "60s")
        .set("USHER_HEALTH__POLL_INTERVAL", "60s")
        .set("USHER_HEALTH__MAX_BACKOFF", "60s")
        .start()
        .await;
    let moodle = pool.front_end();
    pool.servers[0].fault(Fault::Silent);
    let started = Instant::now();
    moodle.create("room", "").await;
    let took = started.elapsed();
    assert_eq!(pool.servers[1].meeting("room").map(|meeting| meeting.meeting_id), Some("room".to_owned()));
    assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&took), "{took:?}");
    assert_ne!(pool.server_status("bbb1").await["health"], "up", "that was silence of the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apostrophe_survives_the_browsers_way_to_the_server() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "").await;
    let target =
        format!("/bigbluebutton/api/join?{}", moodle.signed("join", "fullName=O'Brien&meetingID=room&role=VIEWER"));
    let answer = crate::harness::get_raw(&pool.http, target.as_bytes()).await;
    let location = answer.header("location").unwrap_or_default().to_owned();
    assert!(location.contains("O%27Brien"), "{location}");
    assert!(moodle.fetch(&location).await.headers["location"].contains("sessionToken="));
}
