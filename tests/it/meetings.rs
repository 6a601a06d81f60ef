//! `getMeetings` (issue point 9): from the live picture, complete, in BBB's own form, and by fan-out if so configured.

use usher::sim::{Fault, SimRole, SimVersion};

use crate::harness::{Answer, Builder, FrontEnd, Pool, TenantBuilder, Xml, eventually};

fn listed(answer: &Answer) -> Vec<Xml> {
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    answer.xml().all("meetings", "meeting")
}

fn ids(answer: &Answer) -> Vec<String> {
    let mut ids: Vec<String> = listed(answer).iter().map(|meeting| meeting.text("meetingID")).collect();
    ids.sort();
    ids
}

/// What a server itself says, by its own secret.
async fn own_words(pool: &Pool, index: usize) -> Answer {
    let server = &pool.servers[index];
    let url = server.url();
    FrontEnd::new(url.trim_end_matches('/'), server.secret().reveal()).get("getMeetings", "").await
}

/// A meeting in use: people in three roles of life, media, metadata, a breakout room.
async fn furnish(pool: &Pool, front: &FrontEnd, id: &str) -> usize {
    let more = "&attendeePW=ap&moderatorPW=mp&record=true&duration=90&maxParticipants=12345&meta_Course=phy%20%26%20co\
                &meta_empty=&meta_bbb-origin=Moodle";
    front.create(id, more).await;
    let home = pool.holders(id)[0];
    let server = &pool.servers[home];
    let person = format!("fullName=Ann%20%3CA%3E&meetingID={id}&role=MODERATOR&userID=u-1&userdata-bbb_custom=x");
    let location = front.get("join", &person).await.headers["location"].clone();
    assert_eq!(front.fetch(&location).await.status, 302);
    server.add_user(id, "Bob & Co", SimRole::Viewer);
    server.set_media(id, 2, 0, 1);
    server.add_breakout(id, 1);
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_servers_own_element_for_element() {
    for generation in [SimVersion::V2_4, SimVersion::V2_7, SimVersion::V3_0] {
        let pool = Builder::new(2).generation(generation).start().await;
        let front = pool.front_end();
        furnish(&pool, &front, "one").await;
        furnish(&pool, &front, "two").await;
        pool.servers[pool.holders("two")[0]].set_unlisted_people("two", 12_345);
        eventually("the picture is what the servers say", || async {
            let mut theirs = Vec::new();
            for index in 0..2 {
                theirs.extend(listed(&own_words(&pool, index).await));
            }
            let answer = front.get("getMeetings", "").await;
            let mut ours = listed(&answer);
            let by_id = |meeting: &Xml| meeting.text("internalMeetingID");
            theirs.sort_by_key(by_id);
            ours.sort_by_key(by_id);
            assert_eq!(answer.xml().children.len(), 2, "returncode and meetings, nothing else: {}", answer.body);
            (ours.len() == 4 && ours == theirs).then_some(())
        })
        .await;
        let answer = front.get("getMeetings", "").await;
        assert!(answer.headers["content-type"].starts_with("text/xml"), "{}", answer.headers["content-type"]);
        assert!(answer.header("x-usher-age-ms").unwrap().parse::<u64>().is_ok());
        // Counts of the old generations come with their thousands separators.
        let grouped = answer.body.contains("<participantCount>12,347</participantCount>");
        let plain = answer.body.contains("<participantCount>12347</participantCount>");
        assert_eq!((grouped, plain), (generation < SimVersion::V3_0, generation == SimVersion::V3_0));
        // … and were understood.
        let people: u64 = pool.status().await.unwrap()["tenants"][0]["people"].as_u64().unwrap();
        assert!((12_349..12_352).contains(&people), "{people}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_meeting_is_listed_in_the_form_the_server_will_use() {
    let pool = Builder::new(1).set("USHER_HEALTH__POLL_INTERVAL", "10m").start().await;
    let front = pool.front_end();
    let more = "&attendeePW=ap&moderatorPW=mp&record=true&duration=90&maxParticipants=30&meta_Course=phy%20%26%20co\
                &meta_bbb-origin=Moodle";
    front.create("fresh", more).await;
    let ours = listed(&front.get("getMeetings", "").await);
    let theirs = listed(&own_words(&pool, 0).await);
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    let names = |meeting: &Xml| meeting.children.iter().map(|child| child.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours[0]), names(&theirs[0]), "same elements in the same order");
    let mut differences = Vec::new();
    for (our, their) in ours[0].children.iter().zip(&theirs[0].children) {
        let mut sorted = (our.clone(), their.clone());
        sorted.0.children.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.1.children.sort_by(|a, b| a.name.cmp(&b.name));
        if sorted.0 != sorted.1 {
            differences.push((our.clone(), their.clone()));
        }
    }
    assert_eq!(differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_meetings_the_answer_is_bbbs_empty_form() {
    let pool = Builder::new(2).start().await;
    let empty = pool.front_end().get("getMeetings", "").await;
    assert_eq!(empty.xml(), own_words(&pool, 0).await.xml());
    assert_eq!((empty.key().as_str(), empty.returncode().as_str()), ("noMeetings", "SUCCESS"));
    assert!(empty.header("x-usher-age-ms").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_is_listed_its_own_in_both_modes() {
    for mode in ["live", "fanout"] {
        let tenants = vec![
            TenantBuilder::new("main", "secret-of-main", &[]),
            TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
        ];
        let pool = Builder::new(2).tenants(tenants).set("USHER_API__GET_MEETINGS", mode).start().await;
        let main = pool.front_end();
        let alpha = pool.front_end_of(1).with_host("alpha.test");
        for id in ["aa", "bb", "cc"] {
            main.create(id, "").await;
            alpha.create(id, "").await;
        }
        main.create("only-main", "").await;
        for _ in 0..2 {
            assert_eq!(ids(&main.get("getMeetings", "").await), ["aa", "bb", "cc", "only-main"], "{mode}");
            let answer = alpha.get("getMeetings", "").await;
            assert_eq!(ids(&answer), ["aa", "bb", "cc"], "{mode}");
            assert!(!answer.body.contains("usher") && !answer.body.contains("t2-"), "{}", answer.body);
            pool.wait_polls().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_takes_nothing_out_of_the_answer() {
    let pool = Builder::new(3).start().await;
    let front = pool.front_end();
    for number in 0..6 {
        front.create(&format!("lesson-{number}"), "").await;
    }
    pool.wait_polls().await;
    let before = ids(&front.get("getMeetings", "").await);
    assert_eq!(before.len(), 6);
    pool.servers[0].stop().await;
    pool.wait_health("bbb1", "down").await;
    let answer = front.get("getMeetings", "").await;
    assert_eq!(ids(&answer), before);
    // The age is that of the oldest part, so it shows what is stale.
    let young: u64 = answer.header("x-usher-age-ms").unwrap().parse().unwrap();
    eventually("the age grows", || async {
        let age = front.get("getMeetings", "").await.header("x-usher-age-ms")?.parse::<u64>().ok()?;
        (age > young + 100).then_some(())
    })
    .await;
    // Nonsense instead of a list ends nothing either.
    for fault in [Fault::Garbage, Fault::HalfAnswer, Fault::Status(500), Fault::FailedKey("checksumError".into())] {
        pool.servers[1].fault_on("getMeetings", fault, None);
        let asked = pool.servers[1].count_calls("getMeetings");
        eventually("it was asked again", || async {
            (pool.servers[1].count_calls("getMeetings") > asked + 1).then_some(())
        })
        .await;
        assert_eq!(ids(&front.get("getMeetings", "").await), before);
        pool.servers[1].heal();
        pool.wait_health("bbb2", "up").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_meeting_is_listed_from_that_moment_on() {
    for (mode, rounds) in [("live", 40), ("fanout", 15)] {
        let pool = Builder::new(3)
            .set("USHER_API__GET_MEETINGS", mode)
            .set("USHER_HEALTH__POLL_INTERVAL", "20ms")
            .set("USHER_HEALTH__ENDED_GRACE", "0ms")
            .start()
            .await;
        let front = pool.front_end();
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let front = front.clone();
                tokio::spawn(async move {
                    let mut mine: Vec<String> = Vec::new();
                    for round in 0..rounds {
                        let id = format!("m-{worker}-{round}");
                        front.create(&id, "&moderatorPW=mp").await;
                        mine.push(id);
                        let answer = ids(&front.get("getMeetings", "").await);
                        for id in &mine {
                            assert!(answer.contains(id), "{mode}: {id} is missing after its create was confirmed");
                        }
                        if mine.len() > 4 {
                            let over = mine.remove(0);
                            front.get("end", &format!("meetingID={over}&password=mp")).await;
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fanout_asks_every_server_and_answers_though_one_fails() {
    let pool = Builder::new(3)
        .set("USHER_API__GET_MEETINGS", "fanout")
        .set("USHER_HEALTH__POLL_INTERVAL", "10m")
        .set("USHER_HEALTH__UNHEALTHY_AFTER", "100")
        .start()
        .await;
    let front = pool.front_end();
    for number in 0..6 {
        front.create(&format!("lesson-{number}"), "").await;
    }
    let home = pool.holders("lesson-0")[0];
    pool.servers[home].set_unlisted_people("lesson-0", 7);
    let asked = |pool: &Pool| pool.servers.iter().map(|server| server.count_calls("getMeetings")).collect::<Vec<_>>();
    let before = asked(&pool);
    let answer = front.get("getMeetings", "").await;
    let after: Vec<u64> = before.iter().map(|count| count + 1).collect();
    assert_eq!(asked(&pool), after, "each exactly once");
    let people = |answer: &Answer| {
        let meetings = listed(answer);
        let meeting = meetings.iter().find(|meeting| meeting.text("meetingID") == "lesson-0").unwrap();
        meeting.text("participantCount")
    };
    assert_eq!(people(&answer), "7", "the servers' own figures of this moment");
    assert_eq!(ids(&answer).len(), 6);

    for fault in [
        Fault::Status(500),
        Fault::Garbage,
        Fault::WorkButNoAnswer,
        Fault::WorkThenReset,
        Fault::HalfAnswer,
        Fault::FailedKey("checksumError".into()),
    ] {
        pool.servers[home].fault_on("getMeetings", fault.clone(), None);
        let other = (home + 1) % 3;
        let lesson = pool.servers[other].meetings()[0].meeting_id.clone();
        pool.servers[other].set_unlisted_people(&lesson, 9);
        let answer = front.get("getMeetings", "").await;
        assert_eq!(ids(&answer).len(), 6, "{fault:?}: the failing server's part is as it was");
        assert_eq!(people(&answer), "7", "{fault:?}");
        assert!(answer.body.contains("<participantCount>9</participantCount>"), "{fault:?}: the others are fresh");
        pool.servers[other].set_unlisted_people(&lesson, 0);
        pool.servers[home].heal();
    }
    // What has ended is not listed any more, without any poll.
    assert!(pool.servers[home].end_directly("lesson-0"));
    eventually("the end is seen", || async { (ids(&front.get("getMeetings", "").await).len() == 5).then_some(()) })
        .await;
}

/// BBB writes `userdata-*` names into `<customdata>` as they come (bbb-api.md section 3.5), so a browser can make the
/// list ill-formed.
#[tokio::test(flavor = "multi_thread")]
async fn one_ill_formed_meeting_costs_nothing_else() {
    for mode in ["live", "fanout"] {
        let pool = Builder::new(1).set("USHER_API__GET_MEETINGS", mode).start().await;
        let front = pool.front_end();
        for id in ["good-1", "bad", "good-2"] {
            front.create(id, "&moderatorPW=mp").await;
        }
        let query = "fullName=Eve&meetingID=bad&role=VIEWER&userdata-a%20b%3Cc=1&userdata-1=x&userdata-ok=y";
        let location = front.get("join", query).await.headers["location"].clone();
        assert_eq!(front.fetch(&location).await.status, 302);
        pool.servers[0].set_unlisted_people("good-2", 3);
        assert!(own_words(&pool, 0).await.body.contains("a b<c"), "the server's own answer is ill-formed");
        pool.wait_polls().await;
        // Listed, and well-formed: the reader of the harness is strict.
        let answer = front.get("getMeetings", "").await;
        assert_eq!(ids(&answer), ["bad", "good-1", "good-2"], "{mode}");
        let meetings = listed(&answer);
        let good = meetings.iter().find(|meeting| meeting.text("meetingID") == "good-2").unwrap();
        assert_eq!(good.text("participantCount"), "3", "{mode}: the others are kept up to date");
        let bad = meetings.iter().find(|meeting| meeting.text("meetingID") == "bad").unwrap();
        assert_eq!(bad.text("participantCount"), "1", "{mode}: and so is this one");
        assert_eq!(pool.server_status("bbb1").await["health"], "up");
        // Its end is noticed all the same.
        assert_eq!(front.get("end", "meetingID=bad&password=mp").await.key(), "sentEndMeetingRequest");
        eventually("the ill-formed meeting is over", || async {
            (ids(&front.get("getMeetings", "").await) == ["good-1", "good-2"]).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meetings_description_comes_from_memory_where_the_operator_says_so() {
    let pool = Builder::new(2).config("[api]\nget_meeting_info = \"live\"\n").start().await;
    let front = pool.front_end();
    front.create("room", "").await;
    let home = pool.holders("room")[0];
    pool.servers[home].add_user("room", "Ann", SimRole::Viewer);
    let info = async || front.get("getMeetingInfo", "meetingID=room").await;
    eventually("a poll shows the person", || async {
        (info().await.xml().text("participantCount") == "1").then_some(())
    })
    .await;
    pool.servers[home].forget_calls();
    let answer = info().await;
    assert!(answer.headers.contains_key("x-usher-age-ms"), "{:?}", answer.headers);
    assert_eq!(answer.xml().all("attendees", "attendee")[0].text("fullName"), "Ann");
    assert_eq!(pool.servers[home].count_calls("getMeetingInfo"), 0);
    assert_eq!(front.get("getMeetingInfo", "meetingID=nowhere").await.key(), "notFound");
}
