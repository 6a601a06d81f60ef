//! Answers are those of the servers, element for element; also those that Usher gives from memory.

use usher::sim::{SimRole, SimVersion};

use crate::harness::{Builder, FrontEnd, Pool, Xml, eventually};

/// Somebody who calls a server itself.
fn at_the_server(pool: &Pool) -> FrontEnd {
    let server = &pool.servers[0];
    FrontEnd::new(server.url().trim_end_matches('/'), server.secret().reveal())
}

fn meetings(xml: &Xml) -> Vec<Xml> {
    let mut meetings = xml.all("meetings", "meeting");
    meetings.sort_by_key(|meeting| meeting.text("meetingID"));
    meetings
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_descriptions_are_the_servers_own() {
    for generation in [SimVersion::V2_4, SimVersion::V2_6, SimVersion::V3_0] {
        let pool = Builder::new(1).generation(generation).start().await;
        let (moodle, direct) = (pool.front_end(), at_the_server(&pool));
        let (none, bbbs) = (moodle.get("getMeetings", "").await, direct.get("getMeetings", "").await);
        assert_eq!(none.xml().child("meetings"), Some(&Xml { name: "meetings".to_owned(), ..Xml::default() }));
        assert_eq!((none.returncode(), none.key()), (bbbs.returncode(), bbbs.key()));

        moodle.create("one", "&meta_Course=a%26b%20%3Cc%3E&record=true&maxParticipants=40&welcome=Hi").await;
        moodle.create("zwei", "&meta_empty=&duration=45&voiceBridge=71234").await;
        let server = &pool.servers[0];
        server.add_user("one", "J\u{fc}rgen <M> & \"Co\"", SimRole::Moderator);
        server.set_unlisted_people("one", 2000);
        server.set_media("one", 3, 2, 1);
        server.add_breakout("zwei", 2);
        eventually(&format!("the list of {generation:?} is the server's"), || async {
            let (ours, theirs) = (moodle.get("getMeetings", "").await, direct.get("getMeetings", "").await);
            (meetings(&ours.xml()) == meetings(&theirs.xml())).then_some(())
        })
        .await;
        for meeting in ["one", "zwei"] {
            let query = format!("meetingID={meeting}");
            let (ours, theirs) =
                (moodle.get("getMeetingInfo", &query).await, direct.get("getMeetingInfo", &query).await);
            assert_eq!(ours.body, theirs.body);
        }
        let query = "name=Room&meetingID=zwei";
        let (ours, theirs) = (moodle.get("create", query).await.xml(), direct.get("getMeetingInfo", query).await.xml());
        assert_eq!(ours.text("createDate"), theirs.text("createDate"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_meeting_is_listed_before_any_poll_as_bbb_would_list_it() {
    for generation in [SimVersion::V2_6, SimVersion::V3_0] {
        let pool = Builder::new(1).generation(generation).set("USHER_HEALTH__POLL_INTERVAL", "60s").start().await;
        let (moodle, direct) = (pool.front_end(), at_the_server(&pool));
        let polls = pool.servers[0].count_calls("getMeetings");
        moodle
            .create(
                "fresh",
                "&meta_Course=a%26b&meta_bad_key=x&record=true&maxParticipants=40&voiceBridge=71234&duration=5",
            )
            .await;
        let ours = meetings(&moodle.get("getMeetings", "").await.xml());
        assert_eq!(pool.servers[0].count_calls("getMeetings"), polls, "not from a poll");
        let theirs = meetings(&direct.get("getMeetings", "").await.xml());
        assert_eq!(ours, theirs, "{generation:?}");
    }
}
