//! Health as front ends and operators see it: suspicion, death, our own network, failover and return.

use std::time::Duration;

use usher::sim::{Fault, SimRole};

use crate::harness::{Builder, FrontEnd, Pool, eventually, eventually_within};
use crate::reliability::PICTURE;

async fn ready(pool: &Pool) -> (u16, String) {
    let answer = FrontEnd::new(&pool.http, "").fetch(&format!("{}/readyz", pool.http)).await;
    (answer.status, answer.body)
}

/// Cordons every server but this one, and waits until new meetings can go nowhere else.
async fn only(pool: &Pool, index: usize) {
    for number in 0..pool.servers.len() {
        let word = if number == index { "enable" } else { "cordon" };
        pool.cli_ok(&["server", word, &format!("bbb{}", number + 1)]);
    }
    eventually("the states are followed", || async {
        let status = pool.status().await?;
        let servers = status["servers"].as_array()?;
        let is_so = |(number, server): (usize, &serde_json::Value)| (server["state"] == "enabled") == (number == index);
        servers.iter().enumerate().all(is_so).then_some(())
    })
    .await;
}

/// Lets every server take new meetings.
async fn enable_all(pool: &Pool) {
    for number in 1..=pool.servers.len() {
        pool.cli_ok(&["server", "enable", &format!("bbb{number}")]);
    }
    eventually("the states are followed", || async {
        let status = pool.status().await?;
        status["servers"].as_array()?.iter().all(|server| server["state"] == "enabled").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_server_takes_no_new_meetings_but_everything_else_goes_on() {
    let pool = Builder::new(2).set("USHER_HEALTH__UNHEALTHY_AFTER", "1000").start().await;
    let moodle = pool.front_end();
    only(&pool, 0).await;
    moodle.create("old", "&attendeePW=ap&moderatorPW=mp").await;
    enable_all(&pool).await;
    pool.servers[0].fault_on("getMeetings", Fault::Status(500), None);
    pool.wait_health("bbb1", "suspect").await;
    assert!(!pool.server_status("bbb1").await["reason"].as_str().unwrap_or_default().is_empty());
    for number in 0..8 {
        let id = format!("new-{number}");
        moodle.create(&id, "").await;
        assert_eq!(pool.holders(&id), [1]);
    }
    assert!(moodle.join("old", "Ann").await.starts_with(&pool.servers[0].url()));
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=old").await.returncode(), "SUCCESS");
    moodle.create("old", "&attendeePW=ap&moderatorPW=mp").await;
    assert_eq!(pool.holders("old"), [0], "a repeated create stays");
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 9);
    assert_eq!(ready(&pool).await.0, 200);
    pool.servers[0].heal();
    pool.wait_health("bbb1", "up").await;
    assert_eq!(moodle.get("end", "meetingID=old&password=mp").await.returncode(), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_call_that_cannot_connect_counts_at_once() {
    let pool = Builder::new(2)
        .server_args(0, &["--weight", "100"])
        .set("USHER_HEALTH__INTERVAL", "60s")
        .set("USHER_HEALTH__POLL_INTERVAL", "60s")
        .set("USHER_HEALTH__MAX_BACKOFF", "60s")
        .start()
        .await;
    let moodle = pool.front_end();
    pool.servers[0].fault(Fault::Refuse);
    moodle.create("first", "").await;
    let status = pool.server_status("bbb1").await;
    assert_eq!((status["health"].as_str(), pool.holders("first")), (Some("suspect"), vec![1]));
    let log = pool.log();
    moodle.create("second", "").await;
    assert_eq!(pool.holders("second"), [1]);
    let tried = |log: &str| log.matches("trying the next").count();
    assert_eq!(tried(&pool.log()), tried(&log), "a suspect server is not even asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn down_and_up_again_take_several_probes() {
    let pool = Builder::new(2).set("USHER_HEALTH__UNHEALTHY_AFTER", "5").start().await;
    pool.servers[0].fault_on("getMeetings", Fault::Status(500), None);
    pool.wait_health("bbb1", "suspect").await;
    let before = pool.servers[0].count_calls("getMeetings");
    pool.wait_health("bbb1", "down").await;
    assert!(pool.servers[0].count_calls("getMeetings") >= before + 3, "one failure is suspicion, not death");
    assert!(pool.metrics().await.contains("usher_server_up{server=\"bbb1\"} 0"));
    pool.servers[0].heal();
    pool.wait_health("bbb1", "up").await;
    assert!(pool.metrics().await.contains("usher_server_up{server=\"bbb1\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_wrong_secret_is_never_up_and_says_why() {
    let mut pool = Builder::new(2).prepare().await;
    pool.cli_ok(&["server", "set", "bbb1", "--secret", "something-else-entirely"]);
    pool.serve().await;
    pool.wait_health("bbb2", "up").await;
    let moodle = pool.front_end();
    for number in 0..6 {
        moodle.create(&format!("room-{number}"), "").await;
    }
    let status = pool.server_status("bbb1").await;
    assert_ne!(status["health"], "up");
    assert!(status["reason"].as_str().unwrap_or_default().contains("checksumError"), "{status}");
    assert!(pool.servers[0].meetings().is_empty());
    let secret = pool.servers[0].secret().reveal().to_owned();
    pool.cli_ok(&["server", "set", "bbb1", "--secret", &secret]);
    pool.wait_health("bbb1", "up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_failing_at_once_is_our_own_fault_and_changes_nothing() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    for number in 0..6 {
        moodle.create(&format!("room-{number}"), "").await;
    }
    for server in &pool.servers {
        server.fault(Fault::Refuse);
    }
    eventually("readiness says so", || async {
        let (status, body) = ready(&pool).await;
        (status == 503 && body.contains("network")).then_some(())
    })
    .await;
    // Far more failing rounds than would make a server `down`.
    let failures = |metrics: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with("usher_server_poll_failures_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).min().unwrap_or(0)
    };
    let before = failures(&pool.metrics().await);
    eventually("many more failures of each server", || async {
        (failures(&pool.metrics().await) >= before + 12).then_some(())
    })
    .await;
    for number in 1..=3 {
        assert_ne!(pool.server_status(&format!("bbb{number}")).await["health"], "down");
    }
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 6);
    moodle.join("room-0", "Ann").await;
    for server in &pool.servers {
        server.heal();
    }
    eventually("ready again", || async { (ready(&pool).await.0 == 200).then_some(()) }).await;
    for number in 1..=3 {
        pool.wait_health(&format!("bbb{number}"), "up").await;
    }
    moodle.create("after", "").await;
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_wait_for_a_server_that_is_down_and_its_meetings_are_not_forgotten() {
    let pool = Builder::new(2).set("USHER_HEALTH__FAILOVER_AFTER", "60s").start().await;
    let moodle = pool.front_end();
    only(&pool, 0).await;
    let created = moodle.create("lecture", "&moderatorPW=mp").await.xml().text("internalMeetingID");
    enable_all(&pool).await;
    pool.servers[0].add_user("lecture", "Ann", SimRole::Viewer).unwrap();
    pool.wait_polls().await;
    pool.servers[0].fault(Fault::Refuse);
    pool.wait_health("bbb1", "down").await;

    let url = moodle.url("join", "fullName=Bob&meetingID=lecture&role=VIEWER");
    let waiting = moodle.fetch(&url).await;
    assert_eq!(waiting.status, 503);
    assert!(waiting.header("content-type").unwrap_or_default().starts_with("text/html"));
    let retries = waiting.header("refresh").is_some() || waiting.body.contains("http-equiv=\"refresh\"");
    assert!(retries, "{}", waiting.body);
    let answer = moodle.get("join", "fullName=Bob&meetingID=lecture&role=VIEWER&redirect=false").await;
    assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"));

    let early = moodle.get("create", "name=Lecture&meetingID=lecture").await;
    assert_eq!(early.returncode(), "FAILED", "not elsewhere before failover_after");
    assert!(early.xml().text("message").contains("does not answer"), "{}", early.body);
    assert!(pool.holders("lecture").len() == 1);

    let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
    assert_eq!((listed.len(), listed[0].text("internalMeetingID")), (1, created.clone()));
    assert_eq!(listed[0].text("participantCount"), "1");
    let info = moodle.get("getMeetingInfo", "meetingID=lecture").await;
    assert_eq!(info.xml().text("internalMeetingID"), created);
    assert_eq!(moodle.get("isMeetingRunning", "meetingID=lecture").await.xml().text("running"), "true");
    assert_eq!(moodle.get("end", "meetingID=lecture&password=mp").await.returncode(), "FAILED");

    pool.servers[0].heal();
    eventually("the same address leads in", || async {
        let answer = moodle.fetch(&url).await;
        let location = answer.header("location").unwrap_or_default().to_owned();
        (answer.status == 302 && location.starts_with(&pool.servers[0].url())).then_some(())
    })
    .await;
    assert_eq!(pool.servers[0].meeting("lecture").unwrap().internal_id, created, "nothing was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_that_returns_with_people_has_its_meeting_again_and_the_empty_copy_goes() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    only(&pool, 0).await;
    let first = moodle.create("lecture", "&moderatorPW=mp").await.xml().text("internalMeetingID");
    moodle.create("bystander", "").await;
    moodle.create("over", "&moderatorPW=mp").await;
    enable_all(&pool).await;
    pool.servers[0].add_user("lecture", "Ann", SimRole::Viewer).unwrap();
    pool.servers[0].fault(Fault::Refuse);
    pool.wait_health("bbb1", "down").await;
    for id in ["lecture", "over"] {
        eventually(&format!("{id} is created elsewhere"), || async {
            let answer = moodle.get("create", &format!("name=Lecture&meetingID={id}&moderatorPW=mp")).await;
            (answer.returncode() == "SUCCESS").then_some(())
        })
        .await;
    }
    assert!(pool.servers[1].meeting("lecture").is_some());
    assert!(moodle.join("lecture", "Bob").await.starts_with(&pool.servers[1].url()));
    assert!(moodle.get("getMeetings", "").await.body.contains("bystander"));
    // One of the two ends in its new place before the old server returns.
    assert_eq!(moodle.get("end", "meetingID=over&password=mp").await.returncode(), "SUCCESS");
    eventually("it is over", || async {
        (moodle.get("getMeetingInfo", "meetingID=over").await.key() == "notFound").then_some(())
    })
    .await;

    pool.servers[0].heal();
    eventually("the twins are ended", || async {
        (pool.holders("lecture") == [0] && pool.holders("over").is_empty()).then_some(())
    })
    .await;
    pool.wait_health("bbb1", "up").await;
    pool.wait_polls().await;
    assert_eq!(pool.servers[0].meeting("lecture").unwrap().internal_id, first, "Ann was never disturbed");
    PICTURE.write(
        3,
        &[
            "a lost server returns with people in a meeting that was created elsewhere, where nobody is",
            "joins go to the returned server",
            "the copy with people lives on, the empty one is ended",
        ],
    );
    let info = moodle.get("getMeetingInfo", "meetingID=lecture").await.xml();
    assert_eq!((info.text("internalMeetingID"), info.text("participantCount").as_str()), (first.clone(), "1"));
    assert!(pool.log().contains("the meeting is here again"), "an event says so");
    assert_eq!(pool.holders("bystander"), [0], "only the twins are ended");
    assert!(moodle.join("bystander", "Eve").await.starts_with(&pool.servers[0].url()));
    assert!(moodle.join("lecture", "Eve").await.starts_with(&pool.servers[0].url()));
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=over").await.key(), "notFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_with_people_both_live_until_one_is_empty_or_the_owner_ends_them() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    only(&pool, 0).await;
    for id in ["lecture", "seminar"] {
        moodle.create(id, "&moderatorPW=mp").await;
        pool.servers[0].set_unlisted_people(id, 80);
    }
    enable_all(&pool).await;
    pool.servers[0].fault(Fault::Refuse);
    pool.wait_health("bbb1", "down").await;
    for id in ["lecture", "seminar"] {
        eventually(&format!("{id} is created elsewhere"), || async {
            let answer = moodle.get("create", &format!("name=Lecture&meetingID={id}&moderatorPW=mp")).await;
            (answer.returncode() == "SUCCESS").then_some(())
        })
        .await;
        pool.servers[1].set_unlisted_people(id, 90);
    }
    // The owner ends one of them while its first server is away: that means both.
    assert_eq!(moodle.get("end", "meetingID=seminar&password=mp").await.returncode(), "SUCCESS");
    pool.servers[0].heal();
    eventually("the twins are seen", || async { pool.log().contains("two copies of a meeting").then_some(()) }).await;
    eventually("what its owner has ended is over", || async { pool.holders("seminar").is_empty().then_some(()) }).await;
    pool.wait_polls().await;
    assert_eq!(pool.holders("lecture"), [0, 1], "nobody is thrown out");
    assert!(pool.metrics().await.contains("usher_twins_seen_total{server=\"bbb1\"}"));
    assert!(moodle.join("lecture", "Bob").await.starts_with(&pool.servers[1].url()), "the larger one");
    // It empties: the other one is the meeting, and it goes.
    pool.servers[1].set_unlisted_people("lecture", 0);
    eventually("one is left", || async { (pool.holders("lecture") == [0]).then_some(()) }).await;
    assert!(moodle.join("lecture", "Eve").await.starts_with(&pool.servers[0].url()));
    assert_eq!(pool.servers[0].meeting("lecture").unwrap().people(), 80);
    PICTURE.write(
        4,
        &[
            "the same, with people in both",
            "joins go where more people are",
            "both live until one is empty, or the owner ends them",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_fails_forgets_nothing() {
    let pool = Builder::new(2).set("USHER_HEALTH__UNHEALTHY_AFTER", "5").start().await;
    let moodle = pool.front_end();
    only(&pool, 0).await;
    let first = moodle.create("lecture", "&moderatorPW=mp").await.xml().text("internalMeetingID");
    enable_all(&pool).await;
    pool.servers[0].fault(Fault::Refuse);
    pool.wait_health("bbb1", "down").await;
    pool.servers[1].fault_on("create", Fault::FailedKey("internalError".to_owned()), None);
    let asked = pool.servers[1].count_calls("create");
    eventually("the other server was tried", || async {
        let answer = moodle.get("create", "name=Lecture&meetingID=lecture").await;
        assert_eq!(answer.returncode(), "FAILED");
        (pool.servers[1].count_calls("create") > asked).then_some(())
    })
    .await;
    let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
    assert_eq!((listed.len(), listed[0].text("internalMeetingID")), (1, first.clone()));
    pool.servers[0].heal();
    pool.wait_health("bbb1", "up").await;
    pool.wait_polls().await;
    assert_eq!(pool.servers[0].meeting("lecture").map(|meeting| meeting.internal_id), Some(first), "it lives on");
    assert!(moodle.join("lecture", "Ann").await.starts_with(&pool.servers[0].url()));
    let why = pool.cli_ok(&["meeting", "why", "lecture"]);
    assert!(why.contains("bbb1"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_delays_nobody() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    pool.servers[2].fault(Fault::BlackHole);
    let polled = |index: usize| pool.servers[index].count_calls("getMeetings");
    let before = (polled(0), polled(1));
    eventually_within(Duration::from_secs(10), "the others are polled on", || async {
        (polled(0) > before.0 + 10 && polled(1) > before.1 + 10).then_some(())
    })
    .await;
    pool.wait_health("bbb3", "down").await;
    for number in 0..10 {
        moodle.create(&format!("room-{number}"), "").await;
    }
    assert!(pool.servers[2].meetings().is_empty());
    pool.servers[2].heal();
    pool.wait_health("bbb3", "up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_probes_found_is_cleared_also_where_polls_come_more_often() {
    let builder = Builder::new(2).set("USHER_HEALTH__INTERVAL", "300ms").set("USHER_HEALTH__POLL_INTERVAL", "50ms");
    let pool = builder.start().await;
    let before = pool.servers[0].count_calls("index");
    pool.servers[0].fault(Fault::Status(500));
    pool.wait_health("bbb1", "down").await;
    eventually("probes have failed too", || async {
        (pool.servers[0].count_calls("index") > before + 2).then_some(())
    })
    .await;
    pool.servers[0].heal();
    pool.wait_health("bbb1", "up").await;
    // And while all is well a poll takes the place of a probe.
    let (probes, polls) = (pool.servers[0].count_calls("index"), pool.servers[0].count_calls("getMeetings"));
    eventually("many polls", || async { (pool.servers[0].count_calls("getMeetings") > polls + 20).then_some(()) })
        .await;
    assert!(pool.servers[0].count_calls("index") <= probes + 1);
}
