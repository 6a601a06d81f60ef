//! The version call, end, isMeetingRunning, getMeetingInfo, getSessions, and calls that Usher does not answer.

use crate::harness::{Builder, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_answered_without_a_redirect() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    let base = &pool.http;
    for path in [
        "/bigbluebutton/api",
        "/bigbluebutton/api/",
        "/bigbluebutton/",
        "/bigbluebutton/api/?checksum=0",
        "/bigbluebutton/api?&checksum=abc",
        "/t/main/bigbluebutton/api",
    ] {
        let answer = moodle.fetch(&format!("{base}{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["content-type"], "text/xml;charset=utf-8");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert!(answer.body.starts_with("<response>"), "no XML declaration: {}", answer.body);
        let xml = answer.xml();
        assert_eq!((xml.text("returncode").as_str(), xml.text("version").as_str()), ("SUCCESS", "2.0"), "{path}");
        assert_eq!(xml.text("apiVersion"), "2.0");
    }
    let request = moodle.http.get(format!("{base}/bigbluebutton/api/")).header("content-type", "application/json");
    let answer = moodle.send(request).await;
    assert!(answer.headers["content-type"].starts_with("application/json"));
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&json["response"]["returncode"], &json["response"]["version"]), (&"SUCCESS".into(), &"2.0".into()));

    let head = moodle.send(moodle.http.head(format!("{base}/bigbluebutton/api"))).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let full = moodle.fetch(&format!("{base}/bigbluebutton/api")).await;
    assert_eq!(head.headers["content-length"], full.body.len().to_string(), "HEAD tells the length of GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_bbbs_headers_and_an_id() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    let created = moodle.create("room", "").await;
    let info = moodle.get("getMeetingInfo", "meetingID=room").await;
    let failed = moodle.get("getMeetingInfo", "meetingID=nowhere").await;
    let list = moodle.get("getMeetings", "").await;
    let mut ids = std::collections::HashSet::new();
    for answer in [&created, &info, &failed, &list] {
        assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "text/xml;charset=utf-8"));
        assert!(answer.body.starts_with("<response>"), "{}", answer.body);
        assert!(ids.insert(answer.headers["x-request-id"].clone()), "ids are not repeated");
    }
    assert_eq!(created.header("cache-control"), Some("no-cache"));
    assert_eq!(list.header("cache-control"), Some("no-cache"));
    assert_eq!(info.header("cache-control"), None, "BBB sets none here");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_needs_the_right_password_or_none() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    for meeting in ["by-password", "by-form", "without"] {
        moodle.create(meeting, "&attendeePW=ap&moderatorPW=mp").await;
    }
    let wrong = moodle.get("end", "meetingID=by-password&password=ap").await;
    assert_eq!((wrong.returncode().as_str(), wrong.key().as_str()), ("FAILED", "invalidPassword"));
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=by-password").await.returncode(), "SUCCESS");
    assert_eq!(pool.holders("by-password").len(), 1);

    assert_eq!(moodle.get("end", "meetingID=by-password&password=mp").await.key(), "sentEndMeetingRequest");
    assert_eq!(moodle.get("end", "meetingID=without").await.key(), "sentEndMeetingRequest");
    let checksum = moodle.checksum("end", "meetingID=by-form&password=mp");
    let request = moodle.http.post(format!("{}/end?checksum={checksum}", moodle.api));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = moodle.send(request.body("password=mp&meetingID=by-form")).await;
    assert_eq!(answer.key(), "sentEndMeetingRequest", "{}", answer.body);
    for meeting in ["by-password", "by-form", "without"] {
        assert!(pool.holders(meeting).is_empty());
        eventually("an ended meeting is not found", || async {
            (moodle.get("getMeetingInfo", &format!("meetingID={meeting}")).await.key() == "notFound").then_some(())
        })
        .await;
    }
    let unknown = moodle.get("end", "meetingID=nowhere&password=mp").await;
    assert_eq!((unknown.returncode().as_str(), unknown.key().as_str()), ("FAILED", "notFound"));
    assert_eq!(moodle.get("end", "password=mp").await.key(), "missingParamMeetingID");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_means_that_somebody_is_in() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    let running = async |meeting: &str| {
        let answer = moodle.get("isMeetingRunning", &format!("meetingID={meeting}")).await;
        assert_eq!(answer.returncode(), "SUCCESS");
        answer.xml().text("running")
    };
    assert_eq!(running("nowhere").await, "false");
    moodle.create("room", "").await;
    assert_eq!(running("room").await, "false", "created is not running");
    let location = moodle.join("room", "Ann").await;
    moodle.fetch(&location).await;
    assert_eq!(running("room").await, "true", "known before the next poll");
    let info = moodle.get("getMeetingInfo", "meetingID=room").await.xml();
    assert_eq!(info.text("participantCount"), "1");
    assert_eq!(info.all("attendees", "attendee")[0].text("fullName"), "Ann");
    assert_eq!(moodle.get("isMeetingRunning", "").await.key(), "missingParamMeetingID");
    let unknown = moodle.get("getMeetingInfo", "meetingID=nowhere").await;
    assert_eq!((unknown.returncode().as_str(), unknown.key().as_str()), ("FAILED", "notFound"));
    // BBB would resolve a prefix of the internal id.
    let internal = info.text("internalMeetingID");
    assert_eq!(moodle.get("getMeetingInfo", &format!("meetingID={}", &internal[..8])).await.key(), "notFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_sessions_lists_the_people_of_all_servers() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    let none = moodle.get("getSessions", "").await;
    assert_eq!((none.returncode().as_str(), none.key().as_str()), ("SUCCESS", "noSessions"));
    for meeting in ["one", "two", "three", "four"] {
        moodle.create(meeting, "").await;
        let location = moodle.join(meeting, &format!("in-{meeting}")).await;
        moodle.fetch(&location).await;
    }
    assert!(pool.servers.iter().all(|server| !server.meetings().is_empty()), "both servers have meetings");
    // Not ours: nobody's balancer made it.
    pool.servers[0].create_directly("foreign", "Foreign");
    let sessions = moodle.get("getSessions", "").await.xml().all("sessions", "meeting");
    let mut names: Vec<String> = sessions.iter().map(|session| session.text("userName")).collect();
    names.sort();
    assert_eq!(names, ["in-four", "in-one", "in-three", "in-two"]);
    let internal: Vec<String> = pool.servers.iter().flat_map(|it| it.meetings()).map(|it| it.internal_id).collect();
    assert!(sessions.iter().all(|session| internal.contains(&session.text("meetingID"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_session_are_explained() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    for call in ["getJoinUrl", "enter", "stuns", "guestWait", "learningDashboard"] {
        let answer = moodle.fetch(&format!("{}/{call}?sessionToken=abc", moodle.api)).await;
        assert!(answer.headers["content-type"].starts_with("application/json"), "{call}");
        let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(json["response"]["returncode"], "FAILED");
        let words = json["response"]["message"].as_str().unwrap();
        assert!(words.contains("server that the user has joined"), "{words}");
    }
    let answer = moodle.fetch(&format!("{}/signOut?sessionToken=abc", moodle.api)).await.xml();
    assert!(answer.text("message").contains("server that the user has joined"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_calls_are_unsupported() {
    let pool = Builder::new(1).start().await;
    let moodle = pool.front_end();
    for call in [
        "getDefaultConfigXML",
        "setConfigXML",
        "setPollXML",
        "hooks/create",
        "hooks/list",
        "Create",
        "noSuchCall",
        "../api/create",
        "create%20",
    ] {
        let target = format!("/bigbluebutton/api/{call}?{}", moodle.signed(call, "meetingID=room"));
        let answer = crate::harness::get_raw(&pool.http, target.as_bytes()).await;
        assert_eq!((answer.status, answer.key().as_str()), (200, "unsupportedRequest"), "{call}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "text/xml;charset=utf-8");
    }
    // Methods that BBB has no such call for.
    for (method, call) in [
        ("PUT", "create"),
        ("DELETE", "getMeetings"),
        ("OPTIONS", "end"),
        ("GET", "insertDocument"),
        ("POST", "sendChatMessage"),
        ("GET", "putRecordingTextTrack"),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = moodle.send(moodle.http.request(method, moodle.url(call, "meetingID=room&name=Room"))).await;
        assert_eq!((answer.status, answer.key().as_str()), (200, "unsupportedRequest"), "{call}");
    }
    let odd = moodle.fetch(&format!("{}/elsewhere", pool.http)).await;
    assert_eq!(odd.status, 404);
    assert!(pool.servers[0].meetings().is_empty());
}
