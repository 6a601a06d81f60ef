//! Meetings that end, vanish or appear without Usher being told.

use std::time::Duration;

use usher::sim::{Fault, SimRole};

use crate::harness::{Builder, FrontEnd, Pool, eventually};

async fn listed(moodle: &FrontEnd) -> Vec<String> {
    let meetings = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
    meetings.iter().map(|meeting| meeting.text("meetingID")).collect()
}

async fn gone(moodle: &FrontEnd, id: &str) {
    eventually(&format!("{id} is forgotten"), || async {
        (!listed(moodle).await.contains(&id.to_owned())).then_some(())
    })
    .await;
}

fn stored(pool: &Pool) -> String {
    pool.cli_ok(&["--json", "meeting", "list"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_ended_on_its_server_disappears_and_can_be_created_anew() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    let first = moodle.create("seminar", "").await.xml().text("internalMeetingID");
    moodle.create("other", "").await;
    assert!(pool.servers[pool.holders("seminar")[0]].end_directly("seminar"));
    gone(&moodle, "seminar").await;
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=seminar").await.key(), "notFound");
    assert_eq!(moodle.get("isMeetingRunning", "meetingID=seminar").await.xml().text("running"), "false");
    eventually("the store has forgotten it too", || async { (!stored(&pool).contains("seminar")).then_some(()) }).await;
    assert_eq!(listed(&moodle).await, ["other"]);
    let second = moodle.create("seminar", "").await.xml();
    assert_ne!(second.text("internalMeetingID"), first);
    assert_eq!(pool.holders("seminar").len(), 1);
    pool.wait_polls().await;
    assert!(listed(&moodle).await.contains(&"seminar".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_empty_loses_its_meetings_and_no_others() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    for number in 0..10 {
        moodle.create(&format!("room-{number}"), "").await;
    }
    let lost: Vec<String> = pool.servers[0].meetings().into_iter().map(|meeting| meeting.meeting_id).collect();
    assert!(!lost.is_empty() && lost.len() < 10, "{lost:?}");
    pool.servers[0].forget_everything();
    // Created again at once, before any poll has noticed: the same server makes a new one.
    moodle.create(&lost[0], "").await;
    for id in &lost[1..] {
        gone(&moodle, id).await;
    }
    assert_eq!(listed(&moodle).await.len(), 10 - lost.len() + 1);
    for id in &lost {
        moodle.create(id, "").await;
    }
    pool.wait_polls().await;
    for number in 0..10 {
        let id = format!("room-{number}");
        assert_eq!(pool.holders(&id).len(), 1, "{id}");
        assert!(moodle.join(&id, "Ann").await.starts_with(&pool.servers[pool.holders(&id)[0]].url()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_never_end_a_meeting_that_is_being_created() {
    let slow = Fault::Slow(Duration::from_millis(600));
    let pool = Builder::new(1).set("USHER_HEALTH__ENDED_GRACE", "50ms").start().await;
    let moodle = pool.front_end();
    pool.servers[0].fault_on("create", slow.clone(), None);
    moodle.create("slow", "").await;
    assert_eq!(listed(&moodle).await, ["slow"]);
    // Over, and created again while polls find nothing: the answer of the create comes after several of them.
    for round in 0..3 {
        pool.servers[0].end_directly("slow");
        let internal_id = moodle.create("slow", "").await.xml().text("internalMeetingID");
        assert_eq!(listed(&moodle).await, ["slow"], "round {round}");
        let info = moodle.get("getMeetingInfo", "meetingID=slow").await;
        assert_eq!(info.xml().text("internalMeetingID"), internal_id);
        pool.wait_polls().await;
        assert_eq!(listed(&moodle).await, ["slow"], "round {round}");
        let shown = pool.cli_ok(&["--json", "meeting", "show", "slow"]);
        assert!(shown.contains(&internal_id), "{shown}");
    }
    // The same with a create whose work is done late: polls list nothing while it is under way.
    pool.servers[0].heal();
    pool.servers[0].end_directly("slow");
    gone(&moodle, "slow").await;
    pool.servers[0].fault_on("create", slow, Some(1));
    let hidden = moodle.get("create", "name=Room&meetingID=late");
    let (answer, ()) = tokio::join!(hidden, pool.wait_polls());
    assert_eq!(answer.returncode(), "SUCCESS");
    assert_eq!(listed(&moodle).await, ["late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_with_a_wrong_password_changes_nothing() {
    let pool = Builder::new(1).generation(usher::sim::SimVersion::V2_3).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "&attendeePW=ap&moderatorPW=mp").await;
    pool.servers[0].add_user("room", "Ann", SimRole::Viewer).unwrap();
    pool.wait_polls().await;
    for password in ["wrong", "ap"] {
        let answer = moodle.get("end", &format!("meetingID=room&password={password}")).await;
        assert_eq!(answer.returncode(), "FAILED", "{password}: {}", answer.body);
    }
    assert_eq!(moodle.get("isMeetingRunning", "meetingID=room").await.xml().text("running"), "true");
    pool.wait_polls().await;
    assert_eq!(listed(&moodle).await, ["room"]);
    assert!(pool.servers[0].meeting("room").is_some());
    moodle.join("room", "Bob").await;
    assert_eq!(moodle.get("end", "meetingID=room&password=mp").await.key(), "sentEndMeetingRequest");
    gone(&moodle, "room").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_made_behind_ushers_back_is_taken_over() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    let internal_id = pool.servers[1].create_directly("stranger", "Made elsewhere");
    eventually("it is taken over", || async { (listed(&moodle).await == ["stranger"]).then_some(()) }).await;
    assert!(moodle.join("stranger", "Ann").await.starts_with(&pool.servers[1].url()));
    let again = moodle.get("create", "name=Room&meetingID=stranger").await;
    assert!(again.returncode() == "FAILED" || again.xml().text("internalMeetingID") == internal_id);
    assert_eq!(pool.holders("stranger"), [1], "no second one");
    let why = pool.cli_ok(&["meeting", "why", "stranger"]);
    assert!(why.contains("bbb2") && why.contains("adopted"), "{why}");
    let password = pool.servers[1].meeting("stranger").unwrap().moderator_password;
    let ended = moodle.get("end", &format!("meetingID=stranger&password={password}")).await;
    assert_eq!(ended.key(), "sentEndMeetingRequest", "{}", ended.body);
    gone(&moodle, "stranger").await;
    pool.wait_polls().await;
    assert!(listed(&moodle).await.is_empty(), "what has ended is not taken over again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_lingers_after_its_end_is_neither_listed_nor_taken_over() {
    let pool = Builder::new(1).sim(0, |options| options.end_lingers = Duration::from_secs(30)).start().await;
    let moodle = pool.front_end();
    let first = moodle.create("room", "&attendeePW=ap&moderatorPW=mp").await.xml().text("internalMeetingID");
    assert_eq!(moodle.get("end", "meetingID=room&password=mp").await.returncode(), "SUCCESS");
    let second = moodle.create("room", "&attendeePW=ap&moderatorPW=mp").await.xml().text("internalMeetingID");
    assert_ne!(first, second);
    pool.wait_polls().await;
    let info = moodle.get("getMeetingInfo", "meetingID=room").await.xml();
    assert_eq!(info.text("internalMeetingID"), second);
    let shown = pool.cli_ok(&["--json", "meeting", "show", "room"]);
    assert!(shown.contains(&second) && !shown.contains(&first), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_explains_a_placement() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    pool.cli_ok(&["server", "cordon", "bbb3"]);
    eventually("the cordon is followed", || async {
        (pool.server_status("bbb3").await["state"] == "cordoned").then_some(())
    })
    .await;
    moodle.create("room", "").await;
    let why: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["--json", "meeting", "why", "room"])).unwrap();
    let server = format!("bbb{}", pool.holders("room")[0] + 1);
    assert_eq!(why["server"], server.as_str());
    let account = why["why"].to_string();
    for name in ["bbb1", "bbb2", "bbb3", "cordoned"] {
        assert!(account.contains(name), "{name}: {account}");
    }
    assert!(why["why"]["reason"].is_string(), "{account}");
    let unknown = pool.cli(&["meeting", "why", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(1));
}
