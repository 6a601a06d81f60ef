//! The shortest way through: a meeting is created, joined, listed and ended.

use crate::harness::{Builder, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_from_create_to_end() {
    from_create_to_end("2").await;
}

/// One worker runs on a scheduler of another kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_from_create_to_end_with_one_worker() {
    from_create_to_end("1").await;
}

async fn from_create_to_end(threads: &str) {
    let pool = Builder::new(3).set("USHER_PROCESS__THREADS", threads).start().await;
    let moodle = pool.front_end();

    let created = moodle.create("physics", "&attendeePW=ap&moderatorPW=mp").await.xml();
    assert_eq!(created.text("meetingID"), "physics");
    let holders = pool.holders("physics");
    assert_eq!(holders.len(), 1);
    let server = &pool.servers[holders[0]];

    let location = moodle.join("physics", "Ann").await;
    assert!(location.starts_with(&server.url()), "{location}");
    let joined = moodle.fetch(&location).await;
    assert_eq!(joined.status, 302);
    assert!(joined.headers["location"].contains("sessionToken="));
    assert_eq!(moodle.get("isMeetingRunning", "meetingID=physics").await.xml().text("running"), "true");

    let listed = moodle.get("getMeetings", "").await;
    assert!(listed.header("x-usher-age-ms").is_some());
    assert_eq!(listed.xml().all("meetings", "meeting")[0].text("meetingID"), "physics");

    assert_eq!(moodle.get("end", "meetingID=physics&password=mp").await.key(), "sentEndMeetingRequest");
    eventually("the meeting is forgotten", || async {
        (moodle.get("getMeetings", "").await.key() == "noMeetings").then_some(())
    })
    .await;
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=physics").await.key(), "notFound");
}
