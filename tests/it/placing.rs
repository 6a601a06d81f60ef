//! Placement (issue point 5): which server takes a meeting, and that a choice and its reservation are one step.

use std::collections::HashSet;

use usher::sim::{Fault, SimVersion};

use crate::harness::{Answer, Builder, FrontEnd, Pool, TenantBuilder, eventually};

/// Creates a meeting and says on which server (by index) it is.
async fn place(pool: &Pool, front: &FrontEnd, meeting: &str, more: &str) -> usize {
    front.create(meeting, more).await;
    let holders = pool.holders(meeting);
    assert_eq!(holders.len(), 1, "{meeting}");
    holders[0]
}

/// Creates a meeting on the server tagged `tag`, and nowhere else.
async fn place_on(front: &FrontEnd, tag: &str, meeting: &str, more: &str) {
    front.create(meeting, &format!("&meta_server-tag={tag}%21{more}")).await;
}

/// `count` servers; the bell rings at midnight only, so that what a fresh meeting expects does not depend on the hour
/// in which the test runs.
fn steady(count: usize) -> Builder {
    Builder::new(count).set("USHER_LOAD__RESERVE__GRID", "24h")
}

/// Two servers tagged x and y: `place_on` chooses for us, the wish `EITHER` leaves the choice to Usher.
fn two_tagged() -> Builder {
    steady(2).server_args(0, &["--tag", "x"]).server_args(1, &["--tag", "y"])
}

const EITHER: &str = "&meta_server-tag=x%3By";

async fn wait_state(pool: &Pool, server: &str, state: &str) {
    eventually(&format!("{server} is {state}"), || async {
        (pool.server_status(server).await["state"] == state).then_some(())
    })
    .await;
}

/// Sum of a counter over all its labels, of those lines that contain `label`.
async fn counter(pool: &Pool, metric: &str, label: &str) -> f64 {
    let metrics = pool.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with(metric) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn all_at_once(queries: impl Iterator<Item = String>, front: &FrontEnd) -> Vec<Answer> {
    let creates: Vec<_> = queries
        .map(|query| {
            let front = front.clone();
            tokio::spawn(async move { front.get("create", &query).await })
        })
        .collect();
    let mut answers = Vec::new();
    for create in creates {
        answers.push(create.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_creates_of_one_id_make_one_meeting() {
    let pool = steady(3).start().await;
    let front = pool.front_end();
    for round in 0..3 {
        let id = format!("rush-{round}");
        let query = format!("name=Rush&meetingID={id}&attendeePW=ap&moderatorPW=mp");
        let answers = all_at_once((0..100).map(|_| query.clone()), &front).await;
        let mut inner = HashSet::new();
        for answer in &answers {
            assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
            inner.insert(answer.xml().text("internalMeetingID"));
        }
        assert_eq!(inner.len(), 1, "{inner:?}");
        assert_eq!(pool.holders(&id).len(), 1);
        let asked = |index: usize| {
            let calls = pool.servers[index].calls();
            calls.iter().any(|call| call.call == "create" && call.raw_query.contains(&id))
        };
        assert_eq!((0..3).filter(|index| asked(*index)).count(), 1, "no other server was even asked");
    }
    assert_eq!(counter(&pool, "usher_placements_total", "").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_at_once_spread_evenly_over_equal_servers() {
    let pool = steady(3).start().await;
    let queries = (0..60).map(|number| format!("name=Lesson&meetingID=lesson-{number}"));
    let answers = all_at_once(queries, &pool.front_end()).await;
    assert!(answers.iter().all(|answer| answer.returncode() == "SUCCESS"));
    let counts: Vec<usize> = pool.servers.iter().map(|server| server.meetings().len()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(most - least <= 2, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stronger_servers_take_more() {
    let pool = steady(3)
        .server_args(0, &["--cores", "16"])
        .server_args(1, &["--cores", "16", "--weight", "2"])
        .server_args(2, &["--cores", "8", "--nic-mbit", "100000"])
        .start()
        .await;
    let queries = (0..70).map(|number| format!("name=Lesson&meetingID=lesson-{number}"));
    all_at_once(queries, &pool.front_end()).await;
    let counts: Vec<usize> = pool.servers.iter().map(|server| server.meetings().len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 70);
    assert!((17..=23).contains(&counts[0]) && (36..=44).contains(&counts[1]), "{counts:?}");
    assert!((8..=12).contains(&counts[2]), "{counts:?}");
    // A change of the weight counts for the next meeting.
    pool.cli_ok(&["server", "set", "bbb3", "--weight", "20"]);
    eventually("the weak server has become the strongest", || async {
        let status = pool.server_status("bbb3").await;
        (status["utilisation"].as_f64()? < 0.6).then_some(())
    })
    .await;
    for number in 0..5 {
        assert_eq!(place(&pool, &pool.front_end(), &format!("late-{number}"), "").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_wished_for_in_scalelites_grammar() {
    let pool =
        steady(3).server_args(1, &["--tag", "gpu"]).server_args(2, &["--tag", "gpu", "--tag", "old"]).start().await;
    let front = pool.front_end();
    // (wish, servers that may take it); every wish several times, because ties are broken at random.
    let wishes: [(&str, &[usize]); 13] = [
        ("", &[0]),
        ("&meta_server-tag=", &[0]),
        ("&meta_server-tag=%21", &[0]),
        ("&meta_server-tag=none", &[0]),
        ("&meta_server-tag=none%21", &[0]),
        ("&meta_server-tag=gpu", &[1, 2]),
        ("&meta_server-tag=gpu%21", &[1, 2]),
        ("&meta_server-tag=old%21", &[2]),
        ("&meta_server-tag=new%3Bold", &[2]),
        ("&meta_server-tag=new%3Bnone%21", &[0]),
        ("&meta_server-tag=old%3Bnone", &[0, 2]),
        ("&meta_server-tag=new", &[0]),
        ("&meta_server-tag=GPU", &[0]),
    ];
    for (number, (wish, allowed)) in wishes.into_iter().enumerate() {
        let mut found = HashSet::new();
        for time in 0..6 {
            found.insert(place(&pool, &front, &format!("tag-{number}-{time}"), wish).await);
        }
        assert!(found.iter().all(|index| allowed.contains(index)), "{wish}: {found:?}");
        assert_eq!(found.len(), allowed.len(), "{wish}: the lowest load first among all that fit: {found:?}");
        for time in 0..6 {
            front.get("end", &format!("meetingID=tag-{number}-{time}")).await;
        }
    }
    let missing = front.get("create", "name=xy&meetingID=missing&meta_server-tag=new%3Bnewer%21").await;
    assert_eq!(missing.key(), "serverTagUnavailable");
    assert_eq!(missing.xml().text("message"), "There is no available server with the required tag=new;newer.");
    assert_eq!(pool.holders("missing"), Vec::<usize>::new());

    // The only untagged server is gone: a tagged one does not step in.
    pool.cli_ok(&["server", "cordon", "bbb1"]);
    wait_state(&pool, "bbb1", "cordoned").await;
    let nowhere = front.get("create", "name=xy&meetingID=nowhere").await;
    assert_eq!(nowhere.xml().text("message"), "Could not find any available servers.");
    assert_eq!(pool.holders("nowhere"), Vec::<usize>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_are_preferred_and_a_tenants_pool_is_binding() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &["--region", "us"]),
        TenantBuilder::new("gold", "secret-of-gold", &["--pool", "gold", "--pool", "silver"]),
    ];
    let pool = steady(4)
        .tenants(tenants)
        .server_args(0, &["--region", "eu", "--cores", "64"])
        .server_args(1, &["--region", "us", "--cores", "32"])
        .server_args(2, &["--tag", "gold"])
        .server_args(3, &["--tag", "silver"])
        .start()
        .await;
    let main = pool.front_end();
    let gold = FrontEnd::new(format!("{}/t/gold/bigbluebutton/api", pool.http), "secret-of-gold");
    for number in 0..4 {
        let near = place(&pool, &main, &format!("near-{number}"), "").await;
        assert_eq!(near, 1, "the region wins although the other server is emptier");
    }
    // Full: then the other region is better than none.
    pool.servers[1].set_unlisted_people("near-0", 1500);
    pool.wait_polls().await;
    assert_eq!(place(&pool, &main, "far", "").await, 0);

    for number in 0..8 {
        gold.create(&format!("gold-{number}"), "").await;
    }
    let counts: Vec<usize> = pool.servers.iter().map(|server| server.meetings().len()).collect();
    assert_eq!(counts, [1, 4, 4, 4], "the pool's two servers share the load");
    gold.create("silver-only", "&meta_server-tag=silver%21").await;
    assert_eq!(pool.servers[3].meetings().len(), 5);
    for server in ["bbb3", "bbb4"] {
        pool.cli_ok(&["server", "cordon", server]);
        wait_state(&pool, server, "cordoned").await;
    }
    let nowhere = gold.get("create", "name=xy&meetingID=nowhere").await;
    assert_eq!(nowhere.xml().text("message"), "Could not find any available servers.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_no_more_than_its_own_caps() {
    let pool = steady(2)
        .server_args(0, &["--max-meetings", "2"])
        .server_args(1, &["--max-people", "30", "--tag", "small"])
        .start()
        .await;
    let front = pool.front_end();
    let answers =
        all_at_once((0..6).map(|number| format!("name=xy&meetingID=m-{number}&moderatorPW=mp")), &front).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.returncode() == "SUCCESS").collect();
    assert_eq!((made.len(), pool.servers[0].meetings().len()), (2, 2));
    assert!(answers.iter().all(|answer| answer.key().is_empty() || answer.key() == "serversFull"));
    // One ends, one may come.
    let ended = made[0].xml().text("meetingID");
    front.get("end", &format!("meetingID={ended}&password=mp")).await;
    eventually("there is room for one more", || async {
        (front.get("create", "name=xy&meetingID=next").await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    assert_eq!(front.get("create", "name=xy&meetingID=more").await.key(), "serversFull");

    // People: those who are there count as well as those whom a meeting is expected to bring.
    place_on(&front, "small", "unknown-1", "").await;
    place_on(&front, "small", "unknown-2", "").await;
    let third = "name=xy&meetingID=third&meta_server-tag=small%21";
    assert_eq!(front.get("create", third).await.key(), "serversFull", "two meetings are expected to bring 50");
    for id in ["unknown-1", "unknown-2"] {
        front.get("end", &format!("meetingID={id}")).await;
    }
    eventually("they are over", || async { (pool.server_status("bbb2").await["meetings"] == 0).then_some(()) }).await;
    place_on(&front, "small", "people", "&maxParticipants=29").await;
    pool.servers[1].set_unlisted_people("people", 29);
    pool.wait_polls().await;
    place_on(&front, "small", "one-more", "&maxParticipants=1").await;
    assert_eq!(front.get("create", third).await.key(), "serversFull");
    assert_eq!(pool.servers[1].meetings().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_follows_the_size_hint_and_the_cap_of_people() {
    let pool = two_tagged().start().await;
    let front = pool.front_end();
    // A hint makes a meeting heavy before anybody has come.
    place_on(&front, "x", "lecture", "&meta_expected-participants=300").await;
    for number in 0..2 {
        assert_eq!(place(&pool, &front, &format!("after-{number}"), EITHER).await, 1);
    }
    let reserved = |status: serde_json::Value| status["reserved"].as_f64().unwrap();
    let (x, y) = (reserved(pool.server_status("bbb1").await), reserved(pool.server_status("bbb2").await));
    assert!(x > y && y > 10.0, "{x} {y}");
    for id in ["lecture", "after-0", "after-1"] {
        front.get("end", &format!("meetingID={id}")).await;
    }
    eventually("all is given back", || async {
        let (x, y) = (pool.server_status("bbb1").await, pool.server_status("bbb2").await);
        let idle = |status: &serde_json::Value| status["meetings"] == 0 && status["load_mc"].as_f64() == Some(0.0);
        (idle(&x) && idle(&y)).then_some(())
    })
    .await;
    // A cap makes one light: six tiny rooms weigh less than one of unknown size.
    for number in 0..6 {
        place_on(&front, "x", &format!("tiny-{number}"), "&maxParticipants=1").await;
    }
    place_on(&front, "y", "unknown", "").await;
    assert!(reserved(pool.server_status("bbb1").await) <= 6.0);
    assert_eq!(place(&pool, &front, "next", EITHER).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn big_rooms_are_kept_apart() {
    let pool = two_tagged()
        .server_args(0, &["--cores", "64", "--nic-mbit", "100000"])
        .server_args(1, &["--cores", "64", "--nic-mbit", "100000"])
        .set("USHER_LOAD__LIMITS__BIG_ROOM", "60")
        .start()
        .await;
    let front = pool.front_end();
    place_on(&front, "x", "big-1", "&meta_expected-participants=400").await;
    for number in 0..10 {
        let id = format!("class-{number}");
        place_on(&front, "y", &id, "&maxParticipants=40").await;
        pool.servers[1].set_unlisted_people(&id, 40);
        pool.servers[1].set_media(&id, 20, 20, 0);
    }
    pool.wait_polls().await;
    // By load alone everything would go to x …
    assert_eq!(place(&pool, &front, "class", &format!("{EITHER}&maxParticipants=10")).await, 0);
    // … but it has a big room already.
    assert_eq!(place(&pool, &front, "big-2", &format!("{EITHER}&meta_expected-participants=400")).await, 1);
    // Both have one: then load decides again.
    assert_eq!(place(&pool, &front, "big-3", &format!("{EITHER}&meta_expected-participants=400")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_accepts_or_refuses_as_configured() {
    for (setting, refuses) in [("accept", false), ("refuse", true)] {
        let pool = steady(2).set("USHER_API__WHEN_FULL", setting).start().await;
        let front = pool.front_end();
        front.create("crowd-0", "").await;
        front.create("crowd-1", "").await;
        for server in &pool.servers {
            for meeting in server.meetings() {
                server.set_unlisted_people(&meeting.meeting_id, 600);
            }
        }
        pool.wait_polls().await;
        let before = counter(&pool, "usher_placements_total", "over_full").await;
        assert!(before.abs() < 0.5, "not full yet");
        let answer = front.get("create", "name=xy&meetingID=beyond").await;
        let why = counter(&pool, "usher_placements_total", "over_full").await;
        if refuses {
            assert_eq!((answer.key().as_str(), why), ("serversFull", 0.0));
            assert_eq!(pool.holders("beyond"), Vec::<usize>::new());
            // What runs already is not concerned.
            assert_eq!(front.create("crowd-0", "").await.key(), "duplicateWarning");
            front.join("crowd-0", "Ann").await;
        } else {
            assert_eq!((answer.returncode().as_str(), why), ("SUCCESS", 1.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_counts_in_its_own_way() {
    // (profile, after few people with cameras on x and more without on y, after one lecture on x and two rooms on y)
    for (profile, by_media, by_hint) in [("balanced", 1, 1), ("people", 0, 1), ("legacy", 0, 0)] {
        let pool = two_tagged().set("USHER_LOAD__PROFILE", profile).start().await;
        let front = pool.front_end();
        for (tag, index, people) in [("x", 0, 20), ("y", 1, 24)] {
            let id = format!("on-{tag}");
            place_on(&front, tag, &id, &format!("&maxParticipants={people}")).await;
            pool.servers[index].set_unlisted_people(&id, people);
        }
        pool.servers[0].set_media("on-x", 20, 0, 20);
        pool.wait_polls().await;
        let found = place(&pool, &front, "media", &format!("{EITHER}&maxParticipants=1")).await;
        assert_eq!(found, by_media, "{profile}: media");
        for id in ["on-x", "on-y", "media"] {
            front.get("end", &format!("meetingID={id}")).await;
        }
        eventually("the pool is empty again", || async {
            (front.get("getMeetings", "").await.key() == "noMeetings").then_some(())
        })
        .await;
        place_on(&front, "x", "lecture", "&meta_expected-participants=500").await;
        place_on(&front, "y", "room-1", "").await;
        place_on(&front, "y", "room-2", "").await;
        let found = place(&pool, &front, "hint", EITHER).await;
        assert_eq!(found, by_hint, "{profile}: hint");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_count_before_any_poll() {
    let pool = two_tagged().set("USHER_HEALTH__POLL_INTERVAL", "10m").start().await;
    let front = pool.front_end();
    place_on(&front, "x", "joined", "&maxParticipants=1").await;
    place_on(&front, "y", "empty", "&maxParticipants=1").await;
    let before = pool.server_status("bbb1").await["load_mc"].as_f64().unwrap();
    for number in 0..10 {
        front.join("joined", &format!("P{number}")).await;
    }
    let polls: u64 = pool.servers.iter().map(|server| server.count_calls("getMeetings")).sum();
    let after = pool.server_status("bbb1").await["load_mc"].as_f64().unwrap();
    assert!(after > before + 9.0 * 20.0, "{before} {after}");
    for number in 0..4 {
        let next = place(&pool, &front, &format!("next-{number}"), &format!("{EITHER}&maxParticipants=1")).await;
        assert_eq!(next, 1, "ten people are on their way to the other server");
    }
    let status = pool.status().await.unwrap();
    assert_eq!(status["tenants"][0]["people"], 10);
    let later: u64 = pool.servers.iter().map(|server| server.count_calls("getMeetings")).sum();
    assert_eq!(polls, later, "nothing of this came from a poll");
}

#[tokio::test(flavor = "multi_thread")]
async fn breakout_rooms_are_counted_with_their_parent_and_live_beside_it() {
    let pool = steady(4).start().await;
    let front = pool.front_end();
    let home = place(&pool, &front, "parent", "&moderatorPW=mp&attendeePW=ap&maxParticipants=30").await;
    let name = format!("bbb{}", home + 1);
    pool.servers[home].set_unlisted_people("parent", 30);
    pool.wait_polls().await;
    let alone = pool.server_status(&name).await["load_mc"].as_f64().unwrap();
    let rooms = pool.servers[home].add_breakout("parent", 3).unwrap();
    for room in &rooms {
        pool.servers[home].set_unlisted_people(room, 10);
    }
    pool.wait_polls().await;
    let status = pool.server_status(&name).await;
    assert_eq!((&status["meetings"], &status["participants"]), (&1.into(), &60.into()));
    assert!(status["load_mc"].as_f64().unwrap() > alone + 3.0 * 100.0, "{alone} {status}");
    let tenant = pool.status().await.unwrap()["tenants"][0].clone();
    assert_eq!((&tenant["meetings"], &tenant["people"]), (&1.into(), &30.into()), "nobody is counted twice");

    // A front end's own breakout rooms go to the parent's server although it is the fullest.
    for number in 0..4 {
        let query = format!(
            "name=Group&meetingID=group-{number}&isBreakout=true&parentMeetingID=parent&sequence={}&freeJoin=true",
            number + 4
        );
        let created = front.get("create", &query).await;
        assert_eq!(created.returncode(), "SUCCESS", "{}", created.body);
    }
    let breakouts = pool.servers[home].meetings().iter().filter(|meeting| meeting.is_breakout).count();
    assert_eq!(breakouts, 7);
    let orphan =
        front.get("create", "name=Group&meetingID=orphan&isBreakout=true&parentMeetingID=nobody&sequence=1").await;
    assert_eq!(orphan.key(), "parentMeetingDoesNotExist");
    // Meetings go elsewhere meanwhile.
    for number in 0..3 {
        assert_ne!(place(&pool, &front, &format!("other-{number}"), "").await, home);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_learned_and_decide_how_audio_is_rated() {
    let generations = [SimVersion::V2_7, SimVersion::V3_0];
    let mut builder = two_tagged();
    for (index, generation) in generations.into_iter().enumerate() {
        builder = builder.sim(index, |sim| {
            sim.generation = generation;
            sim.reveal_version = true;
        });
    }
    let pool = builder.start().await;
    let front = pool.front_end();
    for (tag, index) in [("x", 0), ("y", 1)] {
        let id = format!("on-{tag}");
        place_on(&front, tag, &id, "&maxParticipants=25").await;
        pool.servers[index].set_unlisted_people(&id, 25);
    }
    // The class of 25 of load-model.md section 5; 3.0 counts everybody as voice.
    pool.servers[0].set_media("on-x", 8, 17, 4);
    pool.servers[1].set_media("on-y", 25, 0, 4);
    for (name, release, cost) in [("bbb1", "2.7.9", 832.0), ("bbb2", "3.0.19", 650.0)] {
        eventually(&format!("{name} costs {cost}"), || async {
            let status = pool.server_status(name).await;
            let load = status["load_mc"].as_f64()?;
            (status["version"] == release && (load - cost).abs() < 1.0).then_some(())
        })
        .await;
    }
    // What the operator says wins.
    pool.cli_ok(&["server", "set", "bbb2", "--version", "2.7.1"]);
    eventually("every microphone counts", || async {
        let status = pool.server_status("bbb2").await;
        (status["version"] == "2.7.1" && status["load_mc"].as_f64()? > 1300.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_clock_does_not_decide_what_a_fresh_meeting_expects() {
    // Across the bell, which rings at midnight only.
    for hours in [-30, 30] {
        let pool = steady(1).start().await;
        let moodle = pool.front_end();
        pool.servers[0].fault(Fault::ClockOff(hours * 3600));
        pool.wait_polls().await;
        let reserved = async || pool.server_status("bbb1").await["reserved"].as_f64().unwrap();
        moodle.create("ours", "").await;
        pool.wait_polls().await;
        let one = reserved().await;
        assert!(one > 40.0, "{hours} hours: {one} expected");
        pool.servers[0].create_directly("stranger", "Made elsewhere");
        eventually("it is taken over", || async {
            (counter(&pool, "usher_meetings_adopted", "").await == 1.0).then_some(())
        })
        .await;
        pool.wait_polls().await;
        let both = reserved().await;
        assert!(both > 80.0, "{hours} hours: {both} expected");
    }
}
