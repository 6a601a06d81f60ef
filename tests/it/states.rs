//! States of servers (issue point 8): what each allows, changed by the command line while Usher runs.

use usher::ids::Secret;
use usher::sim::{SimOptions, SimServer};

use crate::harness::{Builder, FrontEnd, Pool, eventually};

async fn place(pool: &Pool, front: &FrontEnd, meeting: &str) -> usize {
    front.create(meeting, "&attendeePW=ap&moderatorPW=mp").await;
    let holders = pool.holders(meeting);
    assert_eq!(holders.len(), 1, "{meeting}");
    holders[0]
}

/// Gives the command and waits until the running server has followed.
async fn set_state(pool: &Pool, command: &str, server: &str, state: &str) {
    pool.cli_ok(&["server", command, server]);
    wait_state(pool, server, state).await;
}

async fn wait_state(pool: &Pool, server: &str, state: &str) {
    eventually(&format!("{server} is {state}"), || async {
        (pool.server_status(server).await["state"] == state).then_some(())
    })
    .await;
}

fn stored_state(pool: &Pool, server: &str) -> String {
    let shown = pool.cli_ok(&["server", "show", server, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown["state"].as_str().unwrap().to_owned()
}

fn stored_meetings(pool: &Pool) -> Vec<(String, String)> {
    let listed: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["meeting", "list", "--json"])).unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|row| (word(&row["meeting_id"]), word(&row["server"]))).collect()
}

async fn join_error(front: &FrontEnd, meeting: &str) -> String {
    let answer = front.get("join", &format!("fullName=Ann&meetingID={meeting}&role=VIEWER")).await;
    answer.headers["location"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_server_keeps_what_it_has_and_takes_nothing_new() {
    let pool = Builder::new(2).start().await;
    let front = pool.front_end();
    let home = place(&pool, &front, "lesson").await;
    let name = format!("bbb{}", home + 1);
    set_state(&pool, "cordon", &name, "cordoned").await;

    for number in 0..6 {
        let found = place(&pool, &front, &format!("new-{number}")).await;
        assert_ne!(found, home, "a cordoned server takes no new meeting");
    }
    // Everything about the running meeting goes on.
    let again = front.create("lesson", "&attendeePW=ap&moderatorPW=mp").await;
    assert_eq!(again.key(), "duplicateWarning");
    assert_eq!(pool.holders("lesson"), [home]);
    let location = front.join("lesson", "Ann").await;
    assert!(location.starts_with(&pool.servers[home].url()), "{location}");
    assert_eq!(front.fetch(&location).await.status, 302);
    assert_eq!(front.get("getMeetingInfo", "meetingID=lesson").await.xml().text("participantCount"), "1");
    assert_eq!(front.get("isMeetingRunning", "meetingID=lesson").await.xml().text("running"), "true");
    pool.wait_polls().await;
    assert_eq!(front.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 7);
    assert_eq!(stored_state(&pool, &name), "cordoned", "cordoned servers stay so");
    assert_eq!(front.get("end", "meetingID=lesson&password=mp").await.key(), "sentEndMeetingRequest");
    eventually("the end is noticed", || async {
        (front.get("getMeetingInfo", "meetingID=lesson").await.key() == "notFound").then_some(())
    })
    .await;
    assert_eq!(stored_state(&pool, &name), "cordoned");

    // Enabled again, it is the emptiest.
    set_state(&pool, "enable", &name, "enabled").await;
    assert_eq!(place(&pool, &front, "lesson").await, home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_ended_on_a_cordoned_server_is_created_elsewhere() {
    // No poll tells that it has ended: the create has to find out.
    let pool = Builder::new(2).set("USHER_HEALTH__POLL_INTERVAL", "10m").start().await;
    let front = pool.front_end();
    for (round, command, state) in [(0, "cordon", "cordoned"), (1, "drain", "draining"), (2, "disable", "disabled")] {
        let id = format!("lesson-{round}");
        let home = place(&pool, &front, &id).await;
        let name = format!("bbb{}", home + 1);
        set_state(&pool, command, &name, state).await;
        assert!(pool.servers[home].end_directly(&id));
        assert_eq!(place(&pool, &front, &id).await, 1 - home, "{state}");
        let location = front.join(&id, "Ann").await;
        assert!(location.starts_with(&pool.servers[1 - home].url()), "{state}: {location}");
        assert!(stored_meetings(&pool).contains(&(id, format!("bbb{}", 2 - home))), "{state}");
        set_state(&pool, "enable", &name, "enabled").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_becomes_disabled_when_its_last_meeting_has_ended() {
    let pool = Builder::new(2).start().await;
    let front = pool.front_end();
    let home = place(&pool, &front, "first").await;
    let name = format!("bbb{}", home + 1);
    place(&pool, &front, "elsewhere").await;
    assert_eq!(place(&pool, &front, "second").await + place(&pool, &front, "third").await, 1, "one on each");
    set_state(&pool, "drain", &name, "draining").await;
    let here: Vec<String> = pool.servers[home].meetings().into_iter().map(|meeting| meeting.meeting_id).collect();
    assert_eq!(here.len(), 2);

    assert_ne!(place(&pool, &front, "new").await, home);
    assert_eq!(front.create("first", "&attendeePW=ap&moderatorPW=mp").await.key(), "duplicateWarning");
    assert_eq!(front.fetch(&front.join("first", "Ann").await).await.status, 302);
    assert_eq!(front.get("end", &format!("meetingID={}&password=mp", here[1])).await.returncode(), "SUCCESS");
    pool.wait_polls().await;
    assert_eq!(stored_state(&pool, &name), "draining", "there is a meeting left");
    assert_eq!(front.get("end", &format!("meetingID={}&password=mp", here[0])).await.returncode(), "SUCCESS");
    wait_state(&pool, &name, "disabled").await;
    assert_eq!(stored_state(&pool, &name), "disabled", "in the store too");
    // An empty one at once.
    set_state(&pool, "enable", &name, "enabled").await;
    pool.cli_ok(&["server", "drain", &name]);
    wait_state(&pool, &name, "disabled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_on_a_disabled_server() {
    let pool = Builder::new(2).start().await;
    let front = pool.front_end();
    let home = place(&pool, &front, "lesson").await;
    let name = format!("bbb{}", home + 1);
    set_state(&pool, "disable", &name, "disabled").await;
    let refused = join_error(&front, "lesson").await;
    assert!(refused.contains("serverUnavailable") && !refused.starts_with(&pool.servers[home].url()), "{refused}");
    assert_ne!(place(&pool, &front, "new").await, home);
    // The meeting is not forgotten, nor twinned.
    pool.wait_polls().await;
    assert_eq!(front.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 2);
    front.create("lesson", "&attendeePW=ap&moderatorPW=mp").await;
    assert_eq!(pool.holders("lesson"), [home]);
    assert_eq!(front.get("getMeetingInfo", "meetingID=lesson").await.returncode(), "SUCCESS");
    set_state(&pool, "enable", &name, "enabled").await;
    front.join("lesson", "Ann").await;
    set_state(&pool, "disable", &name, "disabled").await;
    assert_eq!(front.get("end", "meetingID=lesson&password=mp").await.key(), "sentEndMeetingRequest");

    // Nobody left to take anything.
    let other = format!("bbb{}", 2 - home);
    set_state(&pool, "disable", &other, "disabled").await;
    let nowhere = front.get("create", "name=xy&meetingID=nowhere").await;
    assert_eq!(nowhere.xml().text("message"), "Could not find any available servers.");
    let ready = front.fetch(&format!("{}/readyz", pool.http)).await;
    assert_eq!(ready.status, 503, "{}", ready.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_meetings_is_removed_by_force_only_and_then_nothing_points_to_it() {
    let pool = Builder::new(2).start().await;
    let front = pool.front_end();
    let home = place(&pool, &front, "lesson").await;
    let name = format!("bbb{}", home + 1);
    let refused = pool.cli(&["server", "remove", &name]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{words}");
    assert!(words.contains("1 meeting") && words.contains("drain"), "{words}");
    front.join("lesson", "Ann").await;

    pool.cli_ok(&["server", "remove", &name, "--force"]);
    eventually("the running server has followed", || async { pool.server_status(&name).await.is_null().then_some(()) })
        .await;
    assert_eq!(stored_meetings(&pool), []);
    assert_eq!(front.get("getMeetings", "").await.key(), "noMeetings");
    assert_eq!(front.get("getMeetingInfo", "meetingID=lesson").await.key(), "notFound");
    assert!(join_error(&front, "lesson").await.contains("invalidMeetingIdentifier"));
    let metrics = pool.metrics().await;
    assert!(!metrics.contains(&format!("usher_server_up{{server=\"{name}\"}}")), "no series of it is left");

    // A create places anew; the old server is not asked any more.
    let asked = pool.servers[home].count_calls("create");
    front.create("lesson", "").await;
    assert!(pool.servers[1 - home].meeting("lesson").is_some());
    assert_eq!(pool.servers[home].count_calls("create"), asked);
    assert!(front.join("lesson", "Ann").await.starts_with(&pool.servers[1 - home].url()));
    assert_eq!(stored_meetings(&pool), [("lesson".to_owned(), format!("bbb{}", 2 - home))]);

    // One without meetings goes without a word; the last one may go as well.
    front.get("end", "meetingID=lesson").await;
    eventually("the last server is empty", || async { stored_meetings(&pool).is_empty().then_some(()) }).await;
    pool.cli_ok(&["server", "remove", &format!("bbb{}", 2 - home)]);
    eventually("there is no server", || async { pool.status().await?["servers"].as_array()?.is_empty().then_some(()) })
        .await;
    let nowhere = front.get("create", "name=xy&meetingID=nowhere").await;
    assert_eq!(nowhere.returncode(), "FAILED");
}

/// Commands and creates race: whatever the order, no placement points to a server that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn removing_servers_under_a_rush_of_creates_leaves_nothing_dangling() {
    let pool = Builder::new(4).start().await;
    let front = pool.front_end();
    let rush = {
        let front = front.clone();
        tokio::spawn(async move {
            for round in 0..12 {
                let creates = (0..10).map(|number| {
                    let front = front.clone();
                    let query = format!("name=xy&meetingID=rush-{round}-{number}");
                    tokio::spawn(async move { front.get("create", &query).await })
                });
                for create in creates.collect::<Vec<_>>() {
                    let answer = create.await.unwrap();
                    // A clean answer, whichever.
                    assert!(["SUCCESS", "FAILED"].contains(&answer.returncode().as_str()), "{}", answer.body);
                }
            }
        })
    };
    for name in ["bbb1", "bbb2"] {
        pool.cli_ok(&["server", "remove", name, "--force"]);
    }
    rush.await.unwrap();
    eventually("the table has two servers", || async {
        (pool.status().await?["servers"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let stored = stored_meetings(&pool);
    assert!(!stored.is_empty());
    for (id, server) in &stored {
        assert!(server == "bbb3" || server == "bbb4", "{id} is said to be on {server}");
    }
    let mut expected: Vec<String> = stored.into_iter().map(|(id, _)| id).collect();
    let listed = front.get("getMeetings", "").await.xml().all("meetings", "meeting");
    let mut listed: Vec<String> = listed.iter().map(|meeting| meeting.text("meetingID")).collect();
    expected.sort();
    listed.sort();
    assert_eq!(listed, expected, "picture and store agree");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_added_while_usher_runs_takes_meetings() {
    let pool = Builder::new(1).start().await;
    let front = pool.front_end();
    for number in 0..3 {
        front.create(&format!("old-{number}"), "").await;
    }
    let mut options = SimOptions::new(Secret::new("late-secret"));
    options.name = "late".to_owned();
    let late = SimServer::start(options).await.unwrap();
    pool.cli_ok(&["server", "add", &late.url(), "--name", "late", "--secret", "late-secret", "--disabled"]);
    wait_state(&pool, "late", "disabled").await;
    front.create("not-yet", "").await;
    assert!(late.meetings().is_empty(), "added disabled");
    set_state(&pool, "enable", "late", "enabled").await;
    pool.wait_health("late", "up").await;
    for number in 0..3 {
        front.create(&format!("new-{number}"), "").await;
    }
    assert_eq!(late.meetings().len(), 3, "the emptiest takes them all");
    assert!(front.join("new-0", "Ann").await.starts_with(&late.url()));
}
