//! Races against the real binary: calls about one meeting, servers that fail, and commands, all at the same moment.
//!
//! After each race the books of the simulated servers are checked: a meeting lives on one server, the one that joins go
//! to and that `getMeetings` lists. Every test goes many rounds, because one round proves nothing.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use usher::sim::{Fault, SimServer};

use crate::harness::{Answer, Builder, FrontEnd, Pool, Second, eventually, eventually_or};

const PASSWORDS: &str = "&attendeePW=ap&moderatorPW=mp";

fn query(id: &str) -> String {
    format!("name=Room&meetingID={id}{PASSWORDS}")
}

/// Calls on connections of their own, all at once.
async fn at_once(calls: impl IntoIterator<Item = (FrontEnd, &'static str, String)>) -> Vec<Answer> {
    let calls = calls.into_iter().map(|(front, call, query)| {
        tokio::spawn(async move { FrontEnd::new(front.api, front.secret).get(call, &query).await })
    });
    let calls: Vec<_> = calls.collect();
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

async fn listed(front: &FrontEnd) -> Vec<(String, String)> {
    let meetings = front.get("getMeetings", "").await.xml().all("meetings", "meeting");
    meetings.iter().map(|meeting| (meeting.text("meetingID"), meeting.text("internalMeetingID"))).collect()
}

/// Internal ids of what lives under this id, with the server.
fn living(pool: &Pool, id: &str) -> Vec<(usize, String)> {
    let all = pool.servers.iter().enumerate();
    let of_server = |(index, server): (usize, &SimServer)| {
        let meetings = server.meetings().into_iter();
        let mine = meetings.filter(|meeting| meeting.meeting_id == id && !meeting.has_ended());
        mine.map(|meeting| (index, meeting.internal_id)).collect::<Vec<_>>()
    };
    all.flat_map(of_server).collect()
}

/// The meeting lives once, where joins go and as `getMeetings` says, for every front end.
async fn expect_one(pool: &Pool, fronts: &[&FrontEnd], id: &str) {
    let homes = living(pool, id);
    assert_eq!(homes.len(), 1, "{id}: {homes:?}");
    let (home, internal) = &homes[0];
    for front in fronts {
        eventually(&format!("{id} is listed once, as {internal}"), || async {
            let all: Vec<_> = listed(front).await.into_iter().filter(|(listed, _)| listed == id).collect();
            (all == [(id.to_owned(), internal.clone())]).then_some(())
        })
        .await;
        assert!(front.join(id, "Ann").await.starts_with(&pool.servers[*home].url()), "{id}");
    }
}

fn internal_ids(answers: &[Answer]) -> HashSet<String> {
    let made = answers.iter().filter(|answer| answer.returncode() == "SUCCESS");
    made.map(|answer| answer.xml().text("internalMeetingID")).collect()
}

/// One rush: how the server fails its creates, from which create on, and whether it can be asked what came of them.
struct Rush {
    fault: Fault,
    after: u64,
    answers_questions: bool,
}

/// Every way to fail, before the meeting is made and after, known and unknown to Usher.
fn rushes() -> Vec<Rush> {
    let at_first = |fault| Rush { fault, after: 0, answers_questions: true };
    let unclear = |fault| Rush { fault, after: 0, answers_questions: false };
    let later = |fault, after| Rush { fault, after, answers_questions: true };
    vec![
        at_first(Fault::Status(500)),
        at_first(Fault::FailedKey("internalError".to_owned())),
        at_first(Fault::Silent),
        at_first(Fault::WorkThenReset),
        unclear(Fault::WorkThenReset),
        unclear(Fault::HalfAnswer),
        later(Fault::WorkThenReset, 6),
        later(Fault::HalfAnswer, 16),
        later(Fault::Garbage, 26),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_creates_of_one_id_while_their_server_fails_make_one_meeting() {
    for (round, Rush { fault, after, answers_questions }) in rushes().into_iter().enumerate() {
        // A pool for each: where creates have failed, the next ones do not go.
        // By its weight the first server gets every meeting as long as it is well.
        let pool = Builder::new(3)
            .server_args(0, &["--weight", "100"])
            .set("USHER_API__REQUEST_TIMEOUT", "6s")
            .set("USHER_HEALTH__FAILOVER_AFTER", "10m")
            // Only creates fail here. A poll that a busy machine keeps waiting must not keep the rush from its server.
            .set("USHER_HEALTH__TIMEOUT", "30s")
            .start()
            .await;
        let front = pool.front_end();
        pool.wait_health("bbb1", "up").await;
        let id = format!("rush-{round}");
        let case = format!("{fault:?} after {after} creates");
        if after == 0 {
            pool.servers[0].fault_on("create", fault.clone(), None);
        }
        if !answers_questions {
            pool.servers[0].fault_on("getMeetingInfo", Fault::Status(500), None);
        }
        let before = pool.servers[0].count_calls("create");
        let rush = at_once((0..100).map(|_| (front.clone(), "create", query(&id))));
        let breaking = async {
            eventually_or("creates have come", || async {
                let come: Vec<u64> = pool.servers.iter().map(|server| server.count_calls("create")).collect();
                let log = pool.log();
                let why: Vec<&str> =
                    log.lines().filter(|line| line.contains(" warn ") && line.contains("bbb1")).collect();
                (come[0] >= before + after).then_some(()).ok_or(format!("{case}: {come:?}, before {before}; {why:#?}"))
            })
            .await;
            pool.servers[0].fault_on("create", fault.clone(), None);
        };
        let answers = tokio::join!(rush, breaking).0;
        assert!(internal_ids(&answers).len() <= 1, "{case}: {:?}", internal_ids(&answers));
        assert!(answers.iter().any(|answer| answer.returncode() == "SUCCESS"), "{case}: {}", answers[0].body);
        let asked = pool.servers.iter().filter(|server| has_been_asked_for(server, &id)).count();
        let has_moved = pool.holders(&id).iter().any(|holder| *holder != 0);
        assert_eq!(asked, if has_moved { 2 } else { 1 }, "{case}");
        // The others wait for the first, and then go where it went.
        let first = pool.servers[0].count_calls("create") - before;
        assert!(!has_moved || first == 1, "{case}: {first} creates met the failing server");
        pool.servers[0].heal();
        pool.wait_polls().await;
        eventually_or("a copy left behind is ended", || async {
            let homes = living(&pool, &id);
            (homes.len() == 1).then_some(()).ok_or(format!("{case}: {homes:?}"))
        })
        .await;
        assert_eq!(living(&pool, &id)[0].1, *internal_ids(&answers).iter().next().unwrap(), "{case}");
        pool.wait_health("bbb1", "up").await;
        expect_one(&pool, &[&front], &id).await;
        let conflicts = pool.metrics().await;
        assert!(
            conflicts.contains("usher_placement_conflicts_total 0"),
            "one after the other, not one against the other"
        );
    }
}

fn has_been_asked_for(server: &SimServer, id: &str) -> bool {
    let meant = format!("meetingID={id}&");
    server.calls().iter().any(|seen| seen.call == "create" && seen.raw_query.contains(&meant))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_creates_of_one_id_by_two_processes_make_one_meeting() {
    let pool = Builder::new(3).start().await;
    let second = Second::start(&pool).await;
    let (here, there) = (pool.front_end(), second.front_end(&pool));
    let mixed = |count: usize| (0..count).map(|number| if number % 2 == 0 { here.clone() } else { there.clone() });
    for round in 0..6 {
        let id = format!("both-{round}");
        let answers = at_once(mixed(100).map(|front| (front, "create", query(&id)))).await;
        assert!(answers.iter().all(|answer| answer.returncode() == "SUCCESS"), "{:?}", answers[0].body);
        assert_eq!(internal_ids(&answers).len(), 1);
        let asked = pool.servers.iter().filter(|server| has_been_asked_for(server, &id)).count();
        assert_eq!(asked, 1, "the loser of a claim sends nothing anywhere else");
        expect_one(&pool, &[&here, &there], &id).await;
    }
    // The same with all of the servers failing for whoever comes first, so that one process gives up and moves on while
    // the other has its SUCCESS.
    for round in 0..3 {
        let id = format!("failing-{round}");
        for server in &pool.servers {
            server.fault_on("create", Fault::WorkThenReset, Some(1));
            server.fault_on("getMeetingInfo", Fault::Silent, None);
        }
        let answers = at_once(mixed(40).map(|front| (front, "create", query(&id)))).await;
        assert_eq!(internal_ids(&answers).len(), 1, "{:?}", internal_ids(&answers));
        for server in &pool.servers {
            server.heal();
        }
        eventually_or("what was told is left", || async {
            let homes: HashSet<String> = living(&pool, &id).into_iter().map(|(_, internal)| internal).collect();
            (homes == internal_ids(&answers)).then_some(()).ok_or(format!("{homes:?}"))
        })
        .await;
        expect_one(&pool, &[&here, &there], &id).await;
        for name in ["bbb1", "bbb2", "bbb3"] {
            pool.wait_health(name, "up").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_is_void_if_another_process_has_moved_the_meeting_meanwhile() {
    let pool = Builder::new(2)
        .server_args(0, &["--weight", "100"])
        .set("USHER_API__REQUEST_TIMEOUT", "4s")
        .set("USHER_HEALTH__UNHEALTHY_AFTER", "1000")
        .start()
        .await;
    let second = Second::start(&pool).await;
    let (here, there) = (pool.front_end(), second.front_end(&pool));
    // One process waits in vain, cannot ask, and places the meeting on the other server.
    pool.servers[0].fault_on("getMeetingInfo", Fault::Status(500), None);
    pool.servers[0].fault_on("create", Fault::Silent, Some(1));
    let moving = tokio::spawn(at_once([(here.clone(), "create", query("moved"))]));
    eventually("it waits", || async { (pool.servers[0].count_calls("create") == 1).then_some(()) }).await;
    // The other finds it claimed there, and is answered when it has gone.
    pool.servers[0].fault_on("create", Fault::Slow(Duration::from_secs(3)), Some(1));
    let late = tokio::spawn(at_once([(there.clone(), "create", query("moved"))]));
    eventually("a first copy is made", || async { (pool.holders("moved") == [0]).then_some(()) }).await;
    let moved = moving.await.unwrap().remove(0);
    assert!(!late.is_finished(), "the other process still waits");
    assert_eq!(pool.servers[1].meeting("moved").unwrap().internal_id, moved.xml().text("internalMeetingID"));
    let late = late.await.unwrap().remove(0);
    assert_eq!(late.xml().text("internalMeetingID"), moved.xml().text("internalMeetingID"), "{}", late.body);
    pool.servers[0].heal();
    eventually("the copy is ended", || async { (pool.holders("moved") == [1]).then_some(()) }).await;
    expect_one(&pool, &[&here, &there], "moved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_against_end_leaves_what_the_server_says() {
    let pool = Builder::new(3).sim(1, |sim| sim.end_lingers = Duration::from_millis(400)).start().await;
    let front = pool.front_end();
    let ids: Vec<String> = (0..12).map(|number| format!("torn-{number}")).collect();
    for _ in 0..6 {
        let mut calls = Vec::new();
        for id in &ids {
            for number in 0..6 {
                let end = format!("meetingID={id}&password=mp");
                let call = if number % 3 == 1 { ("end", end) } else { ("create", query(id)) };
                calls.push((front.clone(), call.0, call.1));
            }
        }
        for answer in at_once(calls).await {
            let key = answer.key();
            assert!(
                ["", "sentEndMeetingRequest", "duplicateWarning", "notFound", "invalidPassword"]
                    .contains(&key.as_str()),
                "{}",
                answer.body
            );
        }
        // Whatever won, the next create is certain, and what it was told stays true.
        let made = at_once(ids.iter().map(|id| (front.clone(), "create", query(id)))).await;
        for (id, answer) in ids.iter().zip(&made) {
            assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
            let internal = answer.xml().text("internalMeetingID");
            let homes = living(&pool, id);
            assert!(homes.len() == 1 && homes[0].1 == internal, "{id}: {internal}, {homes:?}");
        }
        let told: BTreeSet<_> = made.iter().map(|answer| answer.xml().text("internalMeetingID")).collect();
        for _ in 0..3 {
            let listed: BTreeSet<_> = listed(&front).await.into_iter().map(|(_, internal)| internal).collect();
            assert_eq!(listed, told, "nothing is missing, nothing is listed for ever");
            pool.wait_polls().await;
        }
        for id in &ids {
            expect_one(&pool, &[&front], id).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_against_polls_that_answer_late_never_hides_a_meeting() {
    for mode in ["live", "fanout"] {
        let pool = Builder::new(2)
            .set("USHER_HEALTH__POLL_INTERVAL", "50ms")
            .set("USHER_HEALTH__ENDED_GRACE", "0s")
            .set("USHER_API__GET_MEETINGS", mode)
            .start()
            .await;
        let front = pool.front_end();
        for server in &pool.servers {
            // Each list is a while on its way: it lacks what was created meanwhile.
            server.fault_on("getMeetings", Fault::Slow(Duration::from_millis(80)), None);
        }
        let mut made = BTreeSet::new();
        for number in 0..25 {
            let ids = [format!("{number}-a"), format!("{number}-b")];
            let answers = at_once(ids.iter().map(|id| (front.clone(), "create", query(id)))).await;
            made.extend(answers.iter().map(|answer| answer.xml().text("internalMeetingID")));
            let lists = at_once((0..3).map(|_| (front.clone(), "getMeetings", String::new()))).await;
            for list in lists {
                let shown = list.xml().all("meetings", "meeting");
                let shown: BTreeSet<_> = shown.iter().map(|meeting| meeting.text("internalMeetingID")).collect();
                assert_eq!(shown, made, "{mode}");
            }
            if number % 3 == 0 {
                made_anew(&pool, &front, &ids[0], &mut made, mode).await;
                made_anew_late(&pool, &front, &ids[1], &mut made, mode).await;
            }
        }
    }
}

/// A meeting that its server has ended is created again at once: lists on their way show the old one.
async fn made_anew(pool: &Pool, front: &FrontEnd, id: &str, made: &mut BTreeSet<String>, mode: &str) {
    let (home, before) = living(pool, id).remove(0);
    // Just asked, so that the list is long on its way.
    let asked = pool.servers[home].count_calls("getMeetings");
    eventually("a list is on its way", || async {
        (pool.servers[home].count_calls("getMeetings") > asked).then_some(())
    })
    .await;
    assert!(pool.servers[home].end_directly(id));
    expect_made_anew(pool, front, (id, &before), made, mode).await;
}

/// The same with a server that takes its time: lists on their way lack both.
async fn made_anew_late(pool: &Pool, front: &FrontEnd, id: &str, made: &mut BTreeSet<String>, mode: &str) {
    let (home, before) = living(pool, id).remove(0);
    pool.servers[home].fault_on("create", Fault::Late(Duration::from_millis(150)), Some(1));
    assert!(pool.servers[home].end_directly(id));
    expect_made_anew(pool, front, (id, &before), made, mode).await;
}

async fn expect_made_anew(
    pool: &Pool,
    front: &FrontEnd,
    (id, before): (&str, &str),
    made: &mut BTreeSet<String>,
    mode: &str,
) {
    let again = front.get("create", &query(id)).await;
    let home = living(pool, id)[0].0;
    let location = front.join(id, "Ann").await;
    assert!(location.starts_with(&pool.servers[home].url()), "whoever was told SUCCESS can join: {location}");
    made.remove(before);
    made.insert(again.xml().text("internalMeetingID"));
    let polls = || pool.servers.iter().map(|server| server.count_calls("getMeetings")).min().unwrap();
    let enough = polls() + 3;
    while polls() < enough {
        let shown: BTreeSet<_> = listed(front).await.into_iter().map(|(_, internal)| internal).collect();
        assert_eq!(shown, *made, "{mode}: {id} was {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_answers_late_does_not_concern_the_next_meeting() {
    // No poll puts right what answers have done.
    let pool = Builder::new(1).set("USHER_HEALTH__POLL_INTERVAL", "10m").start().await;
    let front = pool.front_end();
    front.create("next", PASSWORDS).await;
    pool.servers[0].fault_on("end", Fault::Slow(Duration::from_millis(600)), Some(1));
    let end = "meetingID=next&password=mp".to_owned();
    let ending = tokio::spawn(at_once([(front.clone(), "end", end)]));
    eventually("the server has ended it", || async { pool.holders("next").is_empty().then_some(()) }).await;
    let next = front.create("next", PASSWORDS).await.xml().text("internalMeetingID");
    front.join("next", "Ann").await;
    assert!(!ending.is_finished(), "the answer comes after the next create");
    assert_eq!(ending.await.unwrap()[0].returncode(), "SUCCESS");
    assert_eq!(pool.status().await.unwrap()["tenants"][0]["people"], 1, "Ann is expected in the next meeting");
    pool.servers[0].fault(Fault::Refuse);
    pool.wait_health("bbb1", "down").await;
    let known = front.get("getMeetingInfo", "meetingID=next").await;
    assert_eq!(known.xml().text("internalMeetingID"), next, "{}", known.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_success_that_comes_last_does_not_replace_the_younger_meeting() {
    let pool = Builder::new(1).set("USHER_HEALTH__POLL_INTERVAL", "10m").start().await;
    let front = pool.front_end();
    front.create("young", PASSWORDS).await;
    assert!(pool.servers[0].end_directly("young"));
    pool.servers[0].fault_on("create", Fault::Slow(Duration::from_millis(600)), Some(1));
    let slow = tokio::spawn(at_once([(front.clone(), "create", query("young"))]));
    eventually("the server has made the older", || async { (pool.holders("young") == [0]).then_some(()) }).await;
    assert!(pool.servers[0].end_directly("young"));
    let young = front.create("young", PASSWORDS).await.xml().text("internalMeetingID");
    assert!(!slow.is_finished(), "the older answer comes last");
    let old = slow.await.unwrap().remove(0);
    assert!(old.returncode() == "SUCCESS" && old.xml().text("internalMeetingID") != young, "{}", old.body);
    let only_young = [("young".to_owned(), young.clone())];
    assert_eq!(listed(&front).await, only_young);
    // The store knows it as well: it is what the next start believes until the servers have answered.
    let shown: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["--json", "meeting", "show", "young"])).unwrap();
    assert_eq!(shown["internal_id"], young.as_str());
    pool.kill();
    pool.servers[0].fault_on("getMeetings", Fault::Silent, None);
    pool.serve_unpolled().await;
    assert_eq!(listed(&front).await, only_young);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_commands_under_a_rush_of_creates_make_no_error_and_no_twin() {
    let pool = Builder::new(3).start().await;
    let front = pool.front_end();
    let mut number = 0;
    let mut ids = Vec::new();
    for command in ["cordon", "enable", "disable", "enable", "drain", "enable", "cordon", "drain"] {
        let state = match command {
            "cordon" => "cordoned",
            "disable" => "disabled",
            "drain" => "draining",
            _ => "enabled",
        };
        let batch: Vec<String> = (number..number + 40).map(|number| format!("m-{number}")).collect();
        number += 40;
        let rush = at_once(batch.iter().map(|id| (front.clone(), "create", query(id))));
        let command = async {
            tokio::task::block_in_place(|| pool.cli_ok(&["server", command, "bbb1"]));
            eventually(&format!("bbb1 is {state}"), || async {
                (pool.server_status("bbb1").await["state"] == state).then_some(())
            })
            .await;
        };
        for answer in tokio::join!(rush, command).0 {
            assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
        }
        ids.extend(batch);
        if state != "enabled" {
            let before = pool.servers[0].count_calls("create");
            let after: Vec<String> = (number..number + 10).map(|number| format!("m-{number}")).collect();
            number += 10;
            at_once(after.iter().map(|id| (front.clone(), "create", query(id)))).await;
            assert_eq!(pool.servers[0].count_calls("create"), before, "none goes to a server that is {state}");
            ids.extend(after);
        }
    }
    for id in &ids {
        assert_eq!(living(&pool, id).len(), 1, "{id}");
    }
    assert_eq!(listed(&front).await.len(), ids.len());
    // Drained at last: only when nothing lives there any more.
    for meeting in pool.servers[0].meetings() {
        assert_eq!(pool.server_status("bbb1").await["state"], "draining");
        let end = format!("meetingID={}&password=mp", meeting.meeting_id);
        assert_eq!(front.get("end", &end).await.returncode(), "SUCCESS");
    }
    eventually("bbb1 is drained", || async { (pool.server_status("bbb1").await["state"] == "disabled").then_some(()) })
        .await;
    assert!(pool.servers[0].meetings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_drained_while_creates_are_on_their_way_is_not_switched_off_under_them() {
    let pool = Builder::new(2).server_args(0, &["--weight", "100"]).start().await;
    let front = pool.front_end();
    for round in 0..4 {
        // Polls meanwhile find the server empty.
        pool.servers[0].fault_on("create", Fault::Late(Duration::from_millis(700)), None);
        let id = format!("slow-{round}");
        let before = pool.servers[0].count_calls("create");
        let create = at_once([(front.clone(), "create", query(&id))]);
        let drain = async {
            eventually("it is on its way", || async { (pool.servers[0].count_calls("create") > before).then_some(()) })
                .await;
            tokio::task::block_in_place(|| pool.cli_ok(&["server", "drain", "bbb1"]));
        };
        let answer = tokio::join!(create, drain).0.remove(0);
        assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
        pool.wait_polls().await;
        assert_eq!(pool.server_status("bbb1").await["state"], "draining");
        expect_one(&pool, &[&front], &id).await;
        front.get("end", &format!("meetingID={id}&password=mp")).await;
        eventually("bbb1 is drained", || async {
            (pool.server_status("bbb1").await["state"] == "disabled").then_some(())
        })
        .await;
        pool.servers[0].heal();
        pool.cli_ok(&["server", "enable", "bbb1"]);
        eventually("bbb1 takes meetings", || async {
            (pool.server_status("bbb1").await["state"] == "enabled").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_removed_under_an_unclear_create_holds_nothing_up() {
    let pool = Builder::new(2)
        .server_args(0, &["--weight", "100"])
        .set("USHER_API__REQUEST_TIMEOUT", "3s")
        .set("USHER_HEALTH__UNHEALTHY_AFTER", "1000")
        .start()
        .await;
    let front = pool.front_end();
    // Nobody will know whether the first server has made it, and then the server is gone.
    pool.servers[0].fault_on("create", Fault::Silent, None);
    let create = at_once([(front.clone(), "create", query("unclear"))]);
    let remove = async {
        eventually("it is on its way", || async { (pool.servers[0].count_calls("create") > 0).then_some(()) }).await;
        tokio::task::block_in_place(|| pool.cli_ok(&["server", "remove", "bbb1", "--force"]));
    };
    tokio::join!(create, remove);
    eventually("it can be created", || async {
        (front.get("create", &query("unclear")).await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    expect_one(&pool, &[&front], "unclear").await;
    // What polls learn is still written to the store.
    assert!(pool.servers[1].end_directly("unclear"));
    eventually("the store hears of the end", || async {
        (!pool.cli_ok(&["--json", "meeting", "list"]).contains("unclear")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_against_ends_leave_nobody_behind() {
    let pool = Builder::new(2).start().await;
    let front = pool.front_end();
    for round in 0..8 {
        let ids: Vec<String> = (0..10).map(|number| format!("left-{round}-{number}")).collect();
        let made = at_once(ids.iter().map(|id| (front.clone(), "create", query(id)))).await;
        assert!(made.iter().all(|answer| answer.returncode() == "SUCCESS"));
        let mut calls = Vec::new();
        for id in &ids {
            for number in 0..6 {
                let join = format!("fullName=P{number}&meetingID={id}&role=VIEWER");
                let end = format!("meetingID={id}&password=mp");
                calls.push(if number == 2 { (front.clone(), "end", end) } else { (front.clone(), "join", join) });
            }
        }
        for answer in at_once(calls).await {
            let is_sent_on = answer.status == 302;
            assert!(is_sent_on || answer.returncode() == "SUCCESS", "{} {}", answer.status, answer.body);
        }
    }
    eventually("nobody is counted any more", || async {
        let status = pool.status().await?;
        let is_idle = |server: &serde_json::Value| {
            server["meetings"] == 0
                && server["load_mc"].as_f64() == Some(0.0)
                && server["reserved"].as_f64() == Some(0.0)
        };
        let tenants = status["tenants"].as_array()?;
        let is_empty = tenants.iter().all(|tenant| tenant["people"] == 0 && tenant["meetings"] == 0);
        (status["servers"].as_array()?.iter().all(is_idle) && is_empty).then_some(())
    })
    .await;
}

/// Two servers, the first with the meeting; health notices quickly.
async fn with_a_home() -> (Pool, FrontEnd) {
    let pool =
        Builder::new(2).server_args(0, &["--weight", "100"]).set("USHER_API__REQUEST_TIMEOUT", "8s").start().await;
    let front = pool.front_end();
    (pool, front)
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_against_a_server_that_returns_leaves_one_meeting() {
    let (pool, front) = with_a_home().await;
    for round in 0..4 {
        pool.wait_health("bbb1", "up").await;
        let id = format!("home-{round}");
        front.create(&id, PASSWORDS).await;
        assert_eq!(pool.holders(&id), [0]);
        pool.servers[0].fault(Fault::Refuse);
        pool.wait_health("bbb1", "down").await;
        // It returns at about the moment when failover begins.
        let returning = async {
            eventually("somebody is moved, or it returns first", || async {
                let is_moved = pool.holders(&id).contains(&1);
                let answer = front.get("create", &query(&id)).await;
                (is_moved || answer.returncode() == "SUCCESS").then_some(())
            })
            .await;
            pool.servers[0].heal();
        };
        let rush = async {
            let mut told = Vec::new();
            for _ in 0..6 {
                told.extend(at_once((0..10).map(|_| (front.clone(), "create", query(&id)))).await);
            }
            told
        };
        let (told, ()) = tokio::join!(rush, returning);
        for answer in &told {
            assert!(!answer.returncode().is_empty(), "{}", answer.body);
        }
        pool.wait_health("bbb1", "up").await;
        eventually("one is left", || async { (living(&pool, &id).len() == 1).then_some(()) }).await;
        pool.wait_polls().await;
        expect_one(&pool, &[&front], &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_server_makes_after_all_is_ended_and_nobody_is_sent_there() {
    let (pool, front) = with_a_home().await;
    front.create("home", PASSWORDS).await;
    assert_eq!(pool.holders("home"), [0]);
    // It restarts empty and makes a new meeting for a create whose answer takes its time; meanwhile it seems lost.
    pool.servers[0].forget_everything();
    for call in ["getMeetings", "index", "getMeetingInfo"] {
        pool.servers[0].fault_on(call, Fault::Status(500), None);
    }
    pool.servers[0].fault_on("create", Fault::Slow(Duration::from_secs(4)), Some(1));
    let slow = tokio::spawn(at_once([(front.clone(), "create", query("home"))]));
    eventually("it makes a new one", || async { (pool.holders("home") == [0]).then_some(()) }).await;
    pool.wait_health("bbb1", "down").await;
    eventually("the meeting is created elsewhere", || async {
        (front.get("create", &query("home")).await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    assert_eq!(pool.holders("home"), [0, 1], "two for the moment");
    let late = slow.await.unwrap().remove(0);
    let living = pool.servers[1].meeting("home").unwrap().internal_id;
    assert_eq!(late.xml().text("internalMeetingID"), living, "nobody is told of the twin: {}", late.body);
    pool.servers[0].heal();
    eventually("the twin is ended", || async { (pool.holders("home") == [1]).then_some(()) }).await;
    expect_one(&pool, &[&front], "home").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_another_process_does_not_tear_a_create_apart() {
    let pool = Builder::new(1).set("USHER_API__REQUEST_TIMEOUT", "8s").start().await;
    let second = Second::start(&pool).await;
    let (here, there) = (pool.front_end(), second.front_end(&pool));
    here.create("torn", PASSWORDS).await;
    expect_one(&pool, &[&here, &there], "torn").await;
    // While it is created again its server ends it, and the other process says so to the store.
    pool.servers[0].fault_on("create", Fault::Late(Duration::from_secs(3)), Some(1));
    let again = tokio::spawn(at_once([(here.clone(), "create", query("torn"))]));
    eventually("it is on its way", || async { (pool.servers[0].count_calls("create") == 2).then_some(()) }).await;
    assert!(pool.servers[0].end_directly("torn"));
    eventually("the other process takes it for ended", || async {
        (!pool.cli_ok(&["--json", "meeting", "list"]).contains("torn")).then_some(())
    })
    .await;
    assert!(!again.is_finished(), "the create is still on its way");
    let again = again.await.unwrap().remove(0);
    let internal = again.xml().text("internalMeetingID");
    assert_eq!(listed(&here).await, [("torn".to_owned(), internal)], "{}", again.body);
    assert!(here.join("torn", "Ann").await.starts_with(&pool.servers[0].url()), "whoever was told SUCCESS can join");
    expect_one(&pool, &[&here, &there], "torn").await;
    assert!(pool.cli_ok(&["--json", "meeting", "list"]).contains("torn"), "the store has it again");
}
