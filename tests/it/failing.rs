//! Servers that fail in the middle of a call: a create goes on to the next server, other calls answer in BBB's form.

use std::time::Duration;

use futures_util::future::join_all;
use usher::sim::{Fault, SimRole};

use crate::harness::{Answer, Builder, FrontEnd, Pool, eventually};

/// Two servers, the first of them preferred by far, with polls too rare to notice a fault by themselves.
async fn preferring_the_first() -> Pool {
    Builder::new(2)
        .server_args(0, &["--weight", "100"])
        .set("USHER_API__REQUEST_TIMEOUT", "3s")
        .set("USHER_HEALTH__UNHEALTHY_AFTER", "1000")
        .start()
        .await
}

/// A `create` whose answer may be anything.
async fn try_create(moodle: &FrontEnd, meeting: &str) -> Answer {
    moodle.get("create", &format!("name=Room&meetingID={meeting}&moderatorPW=mp")).await
}

fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
}

fn listed(output: &str) -> Vec<String> {
    let meetings: serde_json::Value = serde_json::from_str(output).unwrap();
    let meetings = meetings.as_array().cloned().unwrap_or_else(|| meetings["meetings"].as_array().unwrap().clone());
    meetings.iter().map(|meeting| meeting["meeting_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Faults after which nothing has happened on the server.
fn idle_faults() -> Vec<Fault> {
    vec![
        Fault::Refuse,
        Fault::Silent,
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(404),
        Fault::Html200,
        Fault::Garbage,
        Fault::Huge(64 << 20),
        Fault::XmlBomb,
        Fault::FailedKey("checksumError".to_owned()),
        Fault::FailedKey("internalError".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_goes_on_to_the_next_server_whatever_is_wrong_with_the_first() {
    for (number, fault) in idle_faults().into_iter().enumerate() {
        // A fresh pool for each: a server that has failed two creates is avoided for a while.
        let pool = preferring_the_first().await;
        let moodle = pool.front_end();
        let id = format!("idle-{number}");
        let before = counter(&pool.metrics().await, "usher_create_retries_total");
        let asked = pool.servers[0].count_calls("create");
        pool.servers[0].fault_on("create", fault.clone(), None);
        let answer = try_create(&moodle, &id).await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "SUCCESS"), "{fault:?}: {}", answer.body);
        assert_eq!(answer.xml().text("meetingID"), id);
        assert!(pool.servers[0].count_calls("create") > asked, "{fault:?}: the first server was not asked");
        assert_eq!(pool.holders(&id), [1], "{fault:?}");
        assert!(moodle.join(&id, "Ann").await.starts_with(&pool.servers[1].url()), "{fault:?}");
        assert_eq!(counter(&pool.metrics().await, "usher_create_retries_total"), before + 1, "{fault:?}");
        assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_reached_a_black_hole_goes_on_to_the_next_server() {
    let pool = preferring_the_first().await;
    let moodle = pool.front_end();
    for fault in [Fault::BlackHole, Fault::Refuse] {
        pool.wait_health("bbb1", "up").await;
        pool.servers[0].fault(fault.clone());
        let id = format!("hole-{fault:?}");
        let answer = try_create(&moodle, &id).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{fault:?}: {}", answer.body);
        assert_eq!(pool.holders(&id), [1]);
        pool.servers[0].heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_worked_but_was_not_answered_is_adopted() {
    let pool = preferring_the_first().await;
    let moodle = pool.front_end();
    let trickle = Fault::Trickle(Duration::from_millis(300));
    let faults = [Fault::WorkButNoAnswer, Fault::WorkThenReset, Fault::Reset, Fault::HalfAnswer, trickle];
    for (number, fault) in faults.into_iter().enumerate() {
        pool.wait_health("bbb1", "up").await;
        let id = format!("done-{number}");
        pool.servers[0].fault_on("create", fault.clone(), None);
        let answer = try_create(&moodle, &id).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{fault:?}: {}", answer.body);
        assert_eq!(pool.holders(&id), [0], "{fault:?}");
        let meeting = pool.servers[0].meeting(&id).unwrap();
        assert_eq!(answer.xml().text("internalMeetingID"), meeting.internal_id, "{fault:?}");
        assert!(moodle.join(&id, "Ann").await.starts_with(&pool.servers[0].url()));
        pool.servers[0].heal();
        // The first server must stay the less loaded one.
        assert_eq!(moodle.get("end", &format!("meetingID={id}&password=mp")).await.returncode(), "SUCCESS");
        eventually("it is over", || async {
            (moodle.get("getMeetings", "").await.key() == "noMeetings").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_worked_on_a_server_gone_silent_leaves_no_twin() {
    let pool = preferring_the_first().await;
    let moodle = pool.front_end();
    for (number, fault) in [Fault::WorkButNoAnswer, Fault::WorkThenReset].into_iter().enumerate() {
        pool.wait_health("bbb1", "up").await;
        let id = format!("twin-{number}");
        pool.servers[0].fault_on("create", fault.clone(), None);
        pool.servers[0].fault_on("getMeetingInfo", Fault::Status(502), None);
        pool.servers[0].fault_on("getMeetings", Fault::Status(502), None);
        let answer = try_create(&moodle, &id).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{fault:?}: {}", answer.body);
        assert_eq!(pool.holders(&id), [0, 1], "{fault:?}: the copy is there until the server is back");
        pool.servers[0].heal();
        eventually("the copy is ended", || async { (pool.holders(&id) == [1]).then_some(()) }).await;
        pool.wait_polls().await;
        assert_eq!(pool.holders(&id), [1], "{fault:?}: and only the copy");
        assert!(moodle.join(&id, "Ann").await.starts_with(&pool.servers[1].url()));
    }
    assert!(counter(&pool.metrics().await, "usher_twins_ended_total") >= 2, "{}", pool.metrics().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_servers_fail_the_client_gets_one_clean_error_in_time_and_nothing_is_left() {
    let pool = preferring_the_first().await;
    let moodle = pool.front_end();
    let mut faults = idle_faults();
    faults.push(Fault::WorkButNoAnswer);
    for (number, fault) in faults.into_iter().enumerate() {
        pool.wait_health("bbb1", "up").await;
        pool.wait_health("bbb2", "up").await;
        let id = format!("none-{number}");
        for server in &pool.servers {
            server.fault_on("create", fault.clone(), None);
            if fault == Fault::WorkButNoAnswer {
                server.fault_on("getMeetingInfo", Fault::Silent, None);
            }
        }
        let answer = tokio::time::timeout(Duration::from_secs(6), try_create(&moodle, &id)).await;
        let answer = answer.expect("an answer soon after the request timeout");
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "{fault:?}: {}", answer.body);
        assert_ne!(answer.key(), "checksumError", "{fault:?}");
        assert!(!answer.xml().text("message").is_empty());
        for server in &pool.servers {
            server.heal();
        }
        eventually("nothing is left on the servers", || async { pool.holders(&id).is_empty().then_some(()) }).await;
        pool.wait_polls().await;
        assert!(!listed(&pool.cli_ok(&["--json", "meeting", "list"])).contains(&id), "{fault:?}: left in the store");
    }
    assert_eq!(moodle.get("getMeetings", "").await.key(), "noMeetings");
    moodle.create("none-0", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_callers_is_passed_on_and_leaves_nothing() {
    let pool = preferring_the_first().await;
    let moodle = pool.front_end();
    for key in ["validationError", "idNotUnique", "sizeError"] {
        let elsewhere = pool.servers[1].count_calls("create");
        pool.servers[0].fault_on("create", Fault::FailedKey(key.to_owned()), Some(1));
        let answer = try_create(&moodle, "refused").await;
        assert_eq!((answer.returncode().as_str(), answer.key().as_str()), ("FAILED", key));
        assert_eq!(pool.servers[1].count_calls("create"), elsewhere, "{key}: no other server was asked");
        assert!(listed(&pool.cli_ok(&["--json", "meeting", "list"])).is_empty(), "{key}");
        assert_eq!(moodle.get("getMeetingInfo", "meetingID=refused").await.key(), "notFound");
        assert_eq!(pool.server_status("bbb1").await["health"], "up", "{key} says nothing about the server");
    }
    moodle.create("refused", "").await;
    assert_eq!(pool.holders("refused"), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_creates_while_a_server_dies_all_succeed_once() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    let creates = (0..200).map(|number| {
        let (moodle, pool) = (moodle.clone(), &pool);
        async move {
            if number == 60 {
                // In the middle: others are waiting for answers of this server.
                eventually("creates are under way", || async {
                    (pool.servers[1].count_calls("create") >= 3).then_some(())
                })
                .await;
                pool.servers[1].stop().await;
            }
            (number, try_create(&moodle, &format!("rush-{number}")).await)
        }
    });
    for (number, answer) in join_all(creates).await {
        assert_eq!(answer.returncode(), "SUCCESS", "{number}: {}", answer.body);
    }
    pool.servers[1].restart().await;
    pool.wait_health("bbb2", "up").await;
    pool.wait_polls().await;
    eventually("each meeting on one server", || async {
        (0..200).all(|number| pool.holders(&format!("rush-{number}")).len() == 1).then_some(())
    })
    .await;
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 200);
    for number in 0..200 {
        let id = format!("rush-{number}");
        let server = &pool.servers[pool.holders(&id)[0]];
        assert!(moodle.join(&id, "Ann").await.starts_with(&server.url()), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_leaves_no_half_made_meeting() {
    let pool = preferring_the_first().await;
    let moodle = pool.front_end();
    pool.servers[0].fault_on("create", Fault::Silent, None);
    let asked = pool.servers[0].count_calls("create");
    let (caller, url) = (moodle.clone(), moodle.url("create", "name=Room&meetingID=gone"));
    let call = tokio::spawn(async move { caller.fetch(&url).await });
    eventually("the server has the call", || async { (pool.servers[0].count_calls("create") > asked).then_some(()) })
        .await;
    call.abort();
    eventually("the create is finished on the next server", || async { (pool.holders("gone") == [1]).then_some(()) })
        .await;
    eventually("and known", || async {
        let answer = moodle.get("getMeetingInfo", "meetingID=gone").await;
        (answer.returncode() == "SUCCESS").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_calls_answer_in_bbbs_form_whatever_the_server_does() {
    let pool = Builder::new(1)
        .set("USHER_API__REQUEST_TIMEOUT", "1s")
        .set("USHER_HEALTH__TIMEOUT", "500ms")
        .set("USHER_HEALTH__UNHEALTHY_AFTER", "1000")
        .start()
        .await;
    let moodle = pool.front_end();
    moodle.create("room", "&moderatorPW=mp").await;
    pool.servers[0].add_user("room", "Ann", SimRole::Viewer).unwrap();
    eventually("a poll has seen Ann", || async {
        let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
        (listed[0].text("participantCount") == "1").then_some(())
    })
    .await;
    let mut faults = idle_faults();
    faults.extend([Fault::Reset, Fault::HalfAnswer, Fault::WorkThenReset, Fault::Trickle(Duration::from_millis(300))]);
    for fault in faults {
        for call in ["getMeetingInfo", "isMeetingRunning", "getSessions", "getRecordings", "insertDocument"] {
            pool.servers[0].fault_on(call, fault.clone(), None);
        }
        let info = moodle.get("getMeetingInfo", "meetingID=room").await;
        assert_eq!(info.status, 200, "{fault:?}");
        assert_eq!(info.returncode(), "SUCCESS", "{fault:?}: {}", info.body);
        assert_eq!((info.xml().text("meetingID"), info.xml().text("participantCount")), ("room".into(), "1".into()));
        assert!(info.header("x-usher-age-ms").is_some(), "{fault:?}: it must say that it is old");
        let running = moodle.get("isMeetingRunning", "meetingID=room").await;
        assert_eq!(running.xml().text("running"), "true", "{fault:?}");
        for (call, query) in [("getSessions", ""), ("getRecordings", "")] {
            let answer = moodle.get(call, query).await;
            assert_eq!((answer.status, answer.xml().name.as_str()), (200, "response"), "{call} {fault:?}");
            assert_ne!(answer.key(), "checksumError", "{call} {fault:?}");
        }
        let slides =
            "<modules><module name=\"presentation\"><document url=\"http://a.example/x.pdf\"/></module></modules>";
        let answer = moodle.post("insertDocument", "meetingID=room", "application/xml", slides).await;
        assert_eq!((answer.status, answer.xml().name.as_str()), (200, "response"), "insertDocument {fault:?}");
        pool.servers[0].heal();
    }
    for fault in idle_faults() {
        pool.servers[0].fault_on("end", fault.clone(), None);
        let answer = moodle.get("end", "meetingID=room&password=mp").await;
        assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "end {fault:?}: {}", answer.body);
        pool.servers[0].heal();
    }
    pool.wait_polls().await;
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 1, "nothing was forgotten");
    assert_eq!(moodle.get("end", "meetingID=room&password=mp").await.key(), "sentEndMeetingRequest");
}
