//! One picture, one answer: no answer about a meeting contradicts one that was given before, to anybody, with the shipped
//! pace of polls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use usher::sim::{Fault, SimRole};

use crate::harness::{Builder, FrontEnd, Pool, Second, TenantBuilder, eventually, eventually_within};
use crate::reliability::PICTURE;

/// What is shipped.
fn shipped(count: usize) -> Builder {
    Builder::new(count)
        .set("USHER_HEALTH__INTERVAL", "5s")
        .set("USHER_HEALTH__POLL_INTERVAL", "10s")
        .set("USHER_HEALTH__TIMEOUT", "4s")
        .set("USHER_HEALTH__ENDED_GRACE", "5s")
}

async fn listed(front: &FrontEnd) -> BTreeMap<String, (u64, String, String)> {
    let answer = front.get("getMeetings", "").await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    let meetings = answer.xml().all("meetings", "meeting");
    let row = |meeting: &crate::harness::Xml| {
        let people = meeting.text("participantCount").parse().unwrap_or(0);
        (meeting.text("meetingID"), (people, meeting.text("running"), meeting.text("internalMeetingID")))
    };
    meetings.iter().map(row).collect()
}

async fn running(front: &FrontEnd, id: &str) -> String {
    front.get("isMeetingRunning", &format!("meetingID={id}")).await.xml().text("running")
}

async fn info(front: &FrontEnd, id: &str) -> Option<(u64, String, String)> {
    let xml = front.get("getMeetingInfo", &format!("meetingID={id}")).await.xml();
    if xml.text("returncode") != "SUCCESS" {
        assert_eq!(xml.text("messageKey"), "notFound");
        return None;
    }
    let people = xml.text("participantCount").parse().unwrap();
    Some((people, xml.text("running"), xml.text("internalMeetingID")))
}

/// Somebody who joins, as a browser does.
async fn enter(front: &FrontEnd, id: &str, name: &str) {
    let location = front.join(id, name).await;
    assert_eq!(front.fetch(&location).await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ended_is_over_in_every_answer_and_its_place_is_free() {
    // BigBlueButton goes on with the meeting for two seconds, as if nothing had happened.
    let builder = shipped(1).server_args(0, &["--max-meetings", "1"]).set("USHER_API__WHEN_FULL", "refuse");
    let pool = builder.sim(0, |sim| sim.end_takes = Duration::from_secs(2)).start().await;
    let front = pool.front_end();
    pool.cli_ok(&["tenant", "limit", "set", "main", "--max-meetings", "1"]);
    let first = front.create("room", "&moderatorPW=mp&attendeePW=ap").await.xml().text("internalMeetingID");
    eventually("the limit holds", || async {
        (front.get("create", "name=Other&meetingID=other").await.key() == "meetingLimitReached").then_some(())
    })
    .await;
    pool.servers[0].add_user("room", "Ann", SimRole::Viewer).unwrap();
    assert_eq!(front.get("end", "meetingID=room&password=mp").await.key(), "sentEndMeetingRequest");
    assert!(pool.servers[0].meeting("room").is_some_and(|meeting| !meeting.has_ended()), "the server is still at it");
    assert!(listed(&front).await.is_empty());
    assert_eq!(info(&front, "room").await, None);
    assert_eq!(running(&front, "room").await, "false");
    assert!(front.join("room", "Bob").await.contains("invalidMeetingIdentifier"));
    assert_eq!(front.get("end", "meetingID=room&password=mp").await.key(), "notFound");
    // Its place is free at once, for others and for itself.
    assert_eq!(front.get("create", "name=Other&meetingID=other&moderatorPW=mp").await.returncode(), "SUCCESS");
    assert_eq!(front.get("end", "meetingID=other&password=mp").await.returncode(), "SUCCESS");
    let again = front.create("room", "&moderatorPW=mp&attendeePW=ap").await;
    let second = again.xml().text("internalMeetingID");
    assert_ne!(second, first, "a create right after makes a new one");
    assert_eq!(again.key(), "");
    assert_eq!(info(&front, "room").await.unwrap().2, second);
    assert_eq!(listed(&front).await["room"].2, second);
    PICTURE.write(
        0,
        &[
            "an `end` that the server takes 2 s to carry out",
            "over in every answer at once, its place in the limits free; a new `create` makes a new meeting",
            "ended by its server",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_join_all_answers_agree_and_the_list_knows_within_a_second() {
    let pool = shipped(2).start().await;
    let front = pool.front_end();
    for (round, id) in ["info-first", "running-first", "list-alone"].into_iter().enumerate() {
        front.create(id, "").await;
        assert!(listed(&front).await.contains_key(id), "created is listed");
        enter(&front, id, "Ann").await;
        match round {
            0 => {
                let told = info(&front, id).await.unwrap();
                assert_eq!((told.0, told.1.as_str()), (1, "true"));
            }
            1 => assert_eq!(running(&front, id).await, "true"),
            _ => {
                eventually_within(Duration::from_secs(3), "the list knows of the join", || async {
                    (listed(&front).await[id].0 == 1).then_some(())
                })
                .await;
            }
        }
        let row = listed(&front).await[id].clone();
        assert_eq!((row.0, row.1.as_str()), (1, "true"), "{id}: the list says what the others say");
        assert_eq!(info(&front, id).await, Some(row));
        assert_eq!(running(&front, id).await, "true");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_joins_are_no_storm_of_polls() {
    let pool = shipped(1).start().await;
    let front = pool.front_end();
    front.create("room", "").await;
    let before = pool.servers[0].count_calls("getMeetings");
    let started = Instant::now();
    for _ in 0..20 {
        let joins = (0..50).map(|_| front.join("room", "Ann"));
        futures_util::future::join_all(joins).await;
        listed(&front).await;
        running(&front, "room").await;
    }
    let seconds = started.elapsed().as_secs();
    let polls = pool.servers[0].count_calls("getMeetings") - before;
    assert!(polls <= seconds + 2, "{polls} polls in {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_created_or_ended_the_other_knows_at_once() {
    let pool = shipped(2).start().await;
    let first = pool.front_end();
    let other = Second::start(&pool).await;
    let second = other.front_end(&pool);
    for round in 0..6 {
        let id = format!("room-{round}");
        let internal = first.create(&id, "&moderatorPW=mp&attendeePW=ap").await.xml().text("internalMeetingID");
        match round % 5 {
            0 => assert_eq!(info(&second, &id).await.unwrap().2, internal),
            1 => assert_eq!(listed(&second).await[&id].2, internal),
            2 => assert!(!second.join(&id, "Ann").await.contains("invalidMeetingIdentifier")),
            3 => assert_eq!(
                second.create(&id, "&moderatorPW=mp&attendeePW=ap").await.xml().text("internalMeetingID"),
                internal
            ),
            _ => {
                enter(&first, &id, "Ann").await;
                assert_eq!(running(&second, &id).await, "true");
            }
        }
        assert_eq!(second.get("end", &format!("meetingID={id}&password=mp")).await.returncode(), "SUCCESS");
        assert!(!listed(&first).await.contains_key(&id), "what the other has ended");
        assert_eq!(info(&first, &id).await, None);
    }
    assert_eq!(info(&second, "nowhere").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_it_has_nothing_is_asked_again_before_it_is_believed() {
    let pool = Builder::new(2).set("USHER_HEALTH__POLL_INTERVAL", "1s").start().await;
    let front = pool.front_end();
    for number in 0..6 {
        front.create(&format!("room-{number}"), "").await;
    }
    pool.wait_polls().await;
    let internal = listed(&front).await;
    pool.servers[0].fault_on("getMeetings", Fault::NoMeetings, Some(1));
    eventually("the list was doubted", || async {
        pool.metrics().await.contains("usher_lists_doubted_total 1").then_some(())
    })
    .await;
    for number in 0..6 {
        front.create(&format!("room-{number}"), "").await;
        assert_eq!(pool.holders(&format!("room-{number}")).len(), 1, "no twin");
    }
    let after = listed(&front).await;
    assert_eq!(
        internal.values().map(|row| &row.2).collect::<BTreeSet<_>>(),
        after.values().map(|row| &row.2).collect()
    );
    PICTURE.write(
        2,
        &[
            "a server lists nothing for once",
            "its meetings as before",
            "untouched; the list is asked for again, and no twin is made",
        ],
    );
}

/// The state of one meeting as all answers so far have it.
#[derive(Clone, Debug, Default)]
struct Told {
    internal: Option<String>,
    people: u64,
}

/// A random life of some meetings, read in random ways after each step.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_contradicts_an_earlier_one_whatever_happens() {
    let tenants = vec![TenantBuilder::new("main", "tenant-secret-main", &[])];
    let mut builder = shipped(3).tenants(tenants);
    for index in 0..3 {
        builder = builder.sim(index, |sim| sim.end_takes = Duration::from_millis(700));
    }
    let pool = builder.start().await;
    let front = pool.front_end();
    let ids: Vec<String> = (0..5).map(|number| format!("room-{number}")).collect();
    let mut told: BTreeMap<String, Told> = ids.iter().map(|id| (id.clone(), Told::default())).collect();
    let until = Instant::now() + Duration::from_secs(14);
    let mut log: Vec<String> = Vec::new();
    while Instant::now() < until {
        let id = &ids[rand::random_range(0..ids.len())];
        let known = told[id].clone();
        match rand::random_range(0..6) {
            0 | 1 => {
                let internal = front.create(id, "&moderatorPW=mp&attendeePW=ap").await.xml().text("internalMeetingID");
                log.push(format!("create {id}: {internal}"));
                let is_new = known.internal.is_none();
                assert!(known.internal.is_none_or(|before| before == internal), "{log:#?}");
                let people = if is_new { 0 } else { known.people };
                told.insert(id.clone(), Told { internal: Some(internal), people });
            }
            2 | 3 if known.internal.is_some() => {
                enter(&front, id, "Ann").await;
                log.push(format!("join {id}"));
                told.get_mut(id).unwrap().people += 1;
            }
            4 if known.internal.is_some() => {
                let answer = front.get("end", &format!("meetingID={id}&password=mp")).await;
                log.push(format!("end {id}"));
                assert_eq!(answer.returncode(), "SUCCESS", "{log:#?}");
                told.insert(id.clone(), Told::default());
            }
            _ => {}
        }
        read_in_any_order(&pool, &front, &told, &log).await;
    }
    assert!(log.len() > 10, "{log:?}");
    PICTURE.write(
        1,
        &[
            "a random life of five meetings, read by all calls in random order",
            "no later answer contradicts an earlier one",
            "as its callers wanted",
        ],
    );
}

/// What one kind of call says of people is what the calls after it say.
async fn read_in_any_order(pool: &Pool, front: &FrontEnd, told: &BTreeMap<String, Told>, log: &[String]) {
    let mut least: BTreeMap<&String, u64> = BTreeMap::new();
    for _ in 0..3 {
        let id = told.keys().nth(rand::random_range(0..told.len())).unwrap();
        let Told { internal, people } = &told[id];
        let floor = least.get(id).copied().unwrap_or(0);
        match rand::random_range(0..3) {
            0 => {
                let list = listed(front).await;
                for (id, one) in told {
                    let row = list.get(id);
                    assert_eq!(row.map(|row| &row.2), one.internal.as_ref(), "list, {id}: {log:#?}");
                    let Some(row) = row else { continue };
                    let floor = least.get(id).copied().unwrap_or(0);
                    assert!(
                        (floor..=one.people).contains(&row.0),
                        "list, {id}: {} of {floor}..={}: {log:#?}",
                        row.0,
                        one.people
                    );
                    assert_eq!(row.1 == "true", row.0 > 0);
                    least.insert(id, row.0);
                }
            }
            1 => {
                let found = info(front, id).await;
                assert_eq!(found.as_ref().map(|found| &found.2), internal.as_ref(), "info, {id}: {log:#?}");
                let Some(found) = found else { continue };
                assert_eq!(found.0, *people, "the server was asked: {log:#?}");
                least.insert(id, found.0);
            }
            _ => {
                let is_running = running(front, id).await == "true";
                assert!(!is_running || *people > 0, "running, {id}: {log:#?}");
                assert!(is_running || floor == 0, "running, {id}, before: {floor}: {log:#?}");
                if is_running {
                    least.insert(id, floor.max(1));
                }
            }
        }
    }
    assert!(pool.servers.len() == 3);
}
