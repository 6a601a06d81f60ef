//! The basic flow with servers of every generation, and with a pool of all of them.

use usher::sim::{SimRole, SimVersion};

use crate::harness::{Builder, FrontEnd, Pool, eventually};

async fn walk_through(pool: &Pool, moodle: &FrontEnd, meeting: &str) {
    let create =
        format!("name=Room&meetingID={meeting}&attendeePW=ap&moderatorPW=mp&meta_origin=Moodle&maxParticipants=2500");
    let created = moodle.get("create", &create).await.xml();
    assert_eq!(
        (created.text("returncode").as_str(), created.text("messageKey").as_str()),
        ("SUCCESS", ""),
        "{created:?}"
    );
    assert_eq!((created.text("attendeePW").as_str(), created.text("meetingID").as_str()), ("ap", meeting));
    assert_eq!(moodle.get("create", &create).await.key(), "duplicateWarning");
    let server = &pool.servers[pool.holders(meeting)[0]];

    let join = format!("fullName=J%C3%BCrgen&meetingID={meeting}&password=ap&userID=u1");
    let location = moodle.get("join", &join).await.headers["location"].clone();
    let joined = moodle.fetch(&location).await;
    assert_eq!(joined.status, 302, "{}", joined.body);
    assert!(joined.headers["location"].contains("sessionToken="), "{}", joined.headers["location"]);
    assert_eq!(moodle.get("isMeetingRunning", &format!("meetingID={meeting}")).await.xml().text("running"), "true");

    // Above 1000 older servers group the digits.
    assert!(server.set_unlisted_people(meeting, 1233));
    server.add_user(meeting, "Ann", SimRole::Moderator);
    let info = moodle.get("getMeetingInfo", &format!("meetingID={meeting}")).await.xml();
    assert_eq!(info.text("participantCount").replace(',', ""), "1235");
    assert_eq!(info.all("attendees", "attendee")[0].text("fullName"), "Jürgen");
    assert_eq!(info.child("metadata").unwrap().text("origin"), "Moodle");
    assert_eq!(info.text("internalMeetingID"), created.text("internalMeetingID"));
    eventually("the list shows the people", || async {
        let list = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
        let own = list.into_iter().find(|it| it.text("meetingID") == meeting)?;
        (own.text("participantCount").replace(',', "") == "1235").then_some(())
    })
    .await;
    assert_eq!(pool.server_status(&server.options().name).await["health"], "up");

    assert_eq!(moodle.get("end", &format!("meetingID={meeting}&password=ap")).await.key(), "invalidPassword");
    assert_eq!(moodle.get("end", &format!("meetingID={meeting}&password=mp")).await.key(), "sentEndMeetingRequest");
    eventually("the meeting is gone", || async {
        (moodle.get("getMeetingInfo", &format!("meetingID={meeting}")).await.key() == "notFound").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_generation_walks_through() {
    for generation in SimVersion::ALL {
        let pool = Builder::new(1).generation(generation).start().await;
        walk_through(&pool, &pool.front_end(), &format!("room-{}", generation.release())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_may_be_mixed() {
    let mut builder = Builder::new(5);
    for (index, generation) in SimVersion::ALL.into_iter().enumerate() {
        builder = builder.sim(index, |options| options.generation = generation);
    }
    let pool = builder.start().await;
    let moodle = pool.front_end();
    for number in 0..5 {
        moodle.create(&format!("keep-{number}"), "").await;
    }
    assert!(pool.servers.iter().all(|server| server.meetings().len() == 1), "every generation takes a meeting");
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 5);
    walk_through(&pool, &moodle, "mixed").await;
}
