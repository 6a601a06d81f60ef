//! `create`: what reaches the server, repeats, breakout rooms.

use usher::sim::{SeenCall, SimServer, SimVersion};

use crate::harness::{Builder, get_raw};

/// The query of the last call of that name without its checksum, which the product puts last.
fn last_query(server: &SimServer, call: &str) -> String {
    let seen = last(server, call);
    seen.raw_query.rsplit_once("&checksum=").unwrap().0.to_owned()
}

fn last(server: &SimServer, call: &str) -> SeenCall {
    server.calls().into_iter().rfind(|seen| seen.call == call).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_reach_the_server_in_the_callers_own_bytes() {
    let pool = Builder::new(1).start().await;
    let (moodle, server) = (pool.front_end(), &pool.servers[0]);
    for query in [
        "name=Physics%20101+B&meetingID=bytes-0&record=true",
        "record=false&meetingID=b%79tes%2d1&name=J%c3%bcrgen+M%C3%BCller",
        "name=Empty&meetingID=bytes-2&welcome=&novalue&unknown=1&unknown=2&&logo=",
        "meta_Course=a%2Bb&name=Meta&meta_bbb-origin=Moodle%20LMS&meetingID=bytes-3&groups=%5B%7B%22id%22%3A1%7D%5D",
        "name=Twice&name=Thrice&meetingID=bytes-4&meetingID=other",
    ] {
        let answer = moodle.get("create", query).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{query}: {}", answer.body);
        // All but a second meetingID, which must not depend on what a server makes of it.
        assert_eq!(last_query(server, "create"), query.replace("&meetingID=other", ""));
        let seen = last(server, "create");
        assert_eq!((seen.method.as_str(), seen.body_length), ("GET", 0));
    }
    assert_eq!(server.meeting("bytes-1").unwrap().name, "Jürgen Müller");
    assert!(server.meeting("other").is_none(), "the first of two ids wins");
    let metadata = server.meeting("bytes-3").unwrap().metadata;
    assert!(metadata.contains(&("course".to_owned(), "a+b".to_owned())), "{metadata:?}");

    // The other calls are as faithful.
    let query = "x=%7e&meetingID=b%79tes-0&y=+";
    assert_eq!(moodle.get("getMeetingInfo", query).await.returncode(), "SUCCESS");
    assert_eq!(last_query(server, "getMeetingInfo"), query);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_a_servlet_container_refuses_are_encoded() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    let query = "name=Raw+x&meetingID=raw&welcome=[a]{b}|c^`\\";
    let target = format!("/bigbluebutton/api/create?{}", moodle.signed("create", query));
    let answer = get_raw(&pool.http, target.as_bytes()).await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    let server = &pool.servers[0];
    assert_eq!(last_query(server, "create"), "name=Raw+x&meetingID=raw&welcome=%5Ba%5D%7Bb%7D%7Cc%5E%60%5C");

    let query = "name=Büro&meetingID=umlaut";
    let target = format!("/bigbluebutton/api/create?{}", moodle.signed("create", query));
    let answer = get_raw(&pool.http, target.as_bytes()).await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    assert_eq!(last_query(server, "create"), "name=B%C3%BCro&meetingID=umlaut");
    assert_eq!(server.meeting("umlaut").unwrap().name, "Büro");
}

#[tokio::test(flavor = "multi_thread")]
async fn slides_arrive_with_the_create() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    let modules = "<modules><module name=\"presentation\"><document name=\"a.pdf\">JVBERi0xLjQK</document>\
        <document url=\"https://files.example.org/42\" filename=\"b.pdf\"/></module></modules>";
    for (meeting, content_type) in
        [("s-1", "application/xml"), ("s-2", "text/xml"), ("s-3", "application/xml; charset=UTF-8")]
    {
        let answer = moodle.post("create", &format!("name=Slides&meetingID={meeting}"), content_type, modules).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
        let server = &pool.servers[pool.holders(meeting)[0]];
        let documents = server.meeting(meeting).unwrap().documents;
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].content, "JVBERi0xLjQK");
        assert_eq!(documents[1].attribute("filename"), Some("b.pdf"));
        let seen = last(server, "create");
        assert_eq!((seen.method.as_str(), seen.body_length), ("POST", modules.len()));
        assert_eq!(seen.content_type.as_deref(), Some("application/xml"), "the bare media type");
        assert_eq!(last_query(server, "create"), format!("name=Slides&meetingID={meeting}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_goes_on_in_the_query() {
    let pool = Builder::new(1).start().await;
    let (moodle, server) = (pool.front_end(), &pool.servers[0]);
    // Sorted and encoded again, as BBB 2.4 to 2.6 sign a form without a query.
    let signed = "attendeePW=ap&meetingID=form&moderatorPW=mp&name=J%C3%BCrgen+%26+Co";
    let checksum = moodle.checksum("create", signed);
    let body = format!("name=J%c3%bcrgen%20%26+Co&moderatorPW=mp&meetingID=form&attendeePW=ap&checksum={checksum}");
    let request = moodle.http.post(format!("{}/create", moodle.api));
    let request = request.header("content-type", "application/x-www-form-urlencoded; charset=utf-8").body(body);
    let answer = moodle.send(request).await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    let meeting = server.meeting("form").unwrap();
    assert_eq!((meeting.name.as_str(), meeting.moderator_password.as_str()), ("Jürgen & Co", "mp"));
    let seen = last(server, "create");
    assert_eq!((seen.method.as_str(), seen.body_length), ("GET", 0));
    assert_eq!(last_query(server, "create"), "name=J%c3%bcrgen%20%26+Co&moderatorPW=mp&meetingID=form&attendeePW=ap");

    // A POST without a body is as good as a GET.
    let answer = moodle.send(moodle.http.post(moodle.url("create", "name=Post&meetingID=post"))).await;
    assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
    assert!(server.meeting("post").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_form_stays_a_form_in_every_era() {
    for generation in [SimVersion::V2_3, SimVersion::V2_4, SimVersion::V2_6, SimVersion::V2_7, SimVersion::V3_0] {
        let pool = Builder::new(1).generation(generation).start().await;
        let (moodle, server) = (pool.front_end(), &pool.servers[0]);
        let welcome = "Gr%C3%BC%C3%9Fe+%26+".repeat(1000) + "x";
        let form = format!("attendeePW=ap&meetingID=long&moderatorPW=mp&name=Long+%27x&welcome={welcome}");
        let checksum = moodle.checksum("create", &form);
        let request = moodle.http.post(format!("{}/create", moodle.api));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = moodle.send(request.body(format!("{form}&checksum={checksum}"))).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{generation:?}: {}", answer.body);
        let seen = last(server, "create");
        assert_eq!((seen.method.as_str(), seen.raw_query.as_str()), ("POST", ""), "{generation:?}");
        assert_eq!(server.meeting("long").unwrap().moderator_password, "mp");
        assert_eq!(pool.server_status("bbb1").await["health"], "up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_is_answered_as_the_duplicate_it_is() {
    // 2.6.2 would answer idNotUnique to a repeat without passwords.
    for generation in [SimVersion::V2_6, SimVersion::V3_0] {
        let pool = Builder::new(3).generation(generation).start().await;
        let moodle = pool.front_end();
        let first = moodle.create("twice", "").await.xml();
        for more in ["", "&attendeePW=&moderatorPW=", "&welcome=other"] {
            let again = moodle.create("twice", more).await.xml();
            assert_eq!(again.text("messageKey"), "duplicateWarning", "{generation:?} {more}");
            for same in ["internalMeetingID", "createTime", "attendeePW", "moderatorPW"] {
                assert_eq!(again.text(same), first.text(same), "{same}");
            }
        }
        let passwords = |attendee: &str, moderator: &str| {
            format!("name=Room&meetingID=twice&attendeePW={attendee}&moderatorPW={moderator}")
        };
        let (attendee, moderator) = (first.text("attendeePW"), first.text("moderatorPW"));
        let right = moodle.get("create", &passwords(&attendee, &moderator)).await;
        assert_eq!(right.key(), "duplicateWarning");
        let wrong = moodle.get("create", &passwords("wrong", &moderator)).await;
        assert_eq!((wrong.returncode().as_str(), wrong.key().as_str()), ("FAILED", "idNotUnique"));
        let half = moodle.get("create", &format!("name=Room&meetingID=twice&moderatorPW={moderator}")).await;
        assert_eq!(half.key(), "idNotUnique");
        assert_eq!(pool.holders("twice").len(), 1);
        let info = moodle.get("getMeetingInfo", "meetingID=twice").await.xml();
        assert_eq!(info.text("moderatorPW"), moderator, "nothing was changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_create_leaves_nothing_behind() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    for (query, key) in [
        ("name=Room", "missingParamMeetingID"),
        ("name=Room&meetingID=", "missingParamMeetingID"),
        ("name=Room&meetingID=a", "validationError"),
        ("name=Room&meetingID=a,b", "validationError"),
        ("name=Room&meetingID=%2Cab", "validationError"),
        ("name=Room&meetingID=+room+", "validationError"),
        ("meetingID=nameless", "validationError"),
        ("name=Room&meetingID=voice&voiceBridge=x1", "validationError"),
        ("name=Room&meetingID=short&moderatorPW=m", "invalidPassword"),
    ] {
        let answer = moodle.get("create", query).await;
        assert_eq!((answer.status, answer.key().as_str()), (200, key), "{query}: {}", answer.body);
    }
    let long = format!("name=Room&meetingID={}", "x".repeat(257));
    assert_eq!(moodle.get("create", &long).await.key(), "validationError");
    let longest = format!("name=Room&meetingID={}", "ü".repeat(256).replace('ü', "%C3%BC"));
    assert_eq!(moodle.get("create", &longest).await.returncode(), "SUCCESS", "256 characters, not bytes");
    let held: usize = pool.servers.iter().map(|server| server.meetings().len()).sum();
    assert_eq!(held, 1);
    assert_eq!(moodle.get("getMeetings", "").await.xml().all("meetings", "meeting").len(), 1);
    // A refusal binds the id to no server.
    moodle.create("nameless", "").await;
    assert_eq!(pool.holders("nameless").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_bridge_in_use_is_told_in_bbbs_list_form() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    moodle.create("first", "&voiceBridge=70001").await;
    let answer = moodle.get("create", "name=Room&meetingID=second&voiceBridge=70001").await.xml();
    assert_eq!(answer.text("returncode"), "FAILED");
    assert_eq!(answer.all("errors", "error")[0].text("key"), "nonUniqueVoiceBridge");
}

#[tokio::test(flavor = "multi_thread")]
async fn breakout_rooms_are_found_on_their_parents_server() {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    moodle.create("parent", "").await;
    let server = &pool.servers[pool.holders("parent")[0]];

    // Made by BBB itself, unknown to us until a poll.
    let made = server.add_breakout("parent", 2).unwrap();
    pool.wait_polls().await;
    let info = moodle.get("getMeetingInfo", &format!("meetingID={}", made[0])).await.xml();
    assert_eq!((info.text("returncode").as_str(), info.text("isBreakout").as_str()), ("SUCCESS", "true"));
    let location = moodle.join(&made[1], "Ann").await;
    assert!(location.starts_with(&server.url()), "{location}");
    assert!(moodle.fetch(&location).await.headers["location"].contains("sessionToken="));
    let running = moodle.get("isMeetingRunning", &format!("meetingID={}", made[1])).await.xml();
    assert_eq!(running.text("running"), "true");

    // Made by a front end; without the rule they would go to the emptier servers.
    for sequence in 1..=3 {
        let more = format!("&isBreakout=true&parentMeetingID=parent&sequence={sequence}");
        let answer = moodle.create(&format!("group-{sequence}"), &more).await.xml();
        let room = answer.text("meetingID");
        assert!(server.meeting(&room).is_some(), "room {sequence} is not on its parent's server");
        let location = moodle.join(&room, "Bob").await;
        assert!(location.starts_with(&server.url()), "{location}");
        assert!(moodle.fetch(&location).await.headers["location"].contains("sessionToken="));
    }
    pool.wait_polls().await;
    let rooms = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
    assert_eq!(rooms.len(), 6, "parent and five rooms");
}
