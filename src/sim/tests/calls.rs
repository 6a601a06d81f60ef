//! The index, checksums, methods, and the live-meeting calls besides create and join.
//!
//! Expected element orders are those of bbb-api.md sections 3.3, 3.5 and 3.7.

use super::*;
use crate::sim::SimRole;

#[tokio::test]
async fn the_index_says_what_its_generation_says() {
    let sim = start_with(SimVersion::V2_4, |options| options.reveal_version = true).await;
    let old = reply(client(GENEROUS).get(sim.url())).await;
    assert_eq!(old.children("response"), ["returncode", "version"]);
    assert_eq!(old.header("content-type"), "text/xml;charset=utf-8");

    let sim = start(SimVersion::V2_6).await;
    let middle = reply(client(GENEROUS).get(sim.url())).await;
    assert_eq!((middle.element("apiVersion"), middle.element("bbbVersion")), ("2.0", ""));

    let sim =
        start_with(SimVersion::V3_0, |options| options.public_host = Some("https://bbb1.example.org".to_owned())).await;
    let url = sim.url();
    let new = reply(client(GENEROUS).get(url.trim_end_matches('/'))).await;
    assert_eq!(new.element("graphqlWebsocketUrl"), "wss://bbb1.example.org/graphql");
    assert_eq!(new.element("graphqlApiUrl"), "https://bbb1.example.org/api/rest");
    let json = reply(client(GENEROUS).get(&url).header("content-type", "application/json")).await;
    assert_eq!(json.header("content-type"), "application/json;charset=utf-8");
    let json: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(json["response"]["returncode"], "SUCCESS");
}

#[tokio::test]
async fn checksums_are_checked_before_parameters_since_2_4_and_after_them_before() {
    let wrong = "isMeetingRunning?checksum=0000000000000000000000000000000000000000";
    let sim = start(SimVersion::V2_4).await;
    assert_eq!(reply(client(GENEROUS).get(format!("{}{wrong}", sim.url()))).await.key(), "checksumError");
    let sim = start(SimVersion::V2_3).await;
    let old = reply(client(GENEROUS).get(format!("{}{wrong}", sim.url()))).await;
    assert_eq!((old.key(), old.element("key")), ("-", "missingParamMeetingID"));
    let missing = reply(client(GENEROUS).get(format!("{}isMeetingRunning", sim.url()))).await;
    assert_eq!(missing.key(), "checksumError");
}

#[tokio::test]
async fn an_empty_secret_switches_checksums_off() {
    let sim = start_with(SimVersion::V3_0, |options| options.secret = Secret::new("")).await;
    let answer = reply(client(GENEROUS).get(format!("{}getMeetings", sim.url()))).await;
    assert!(answer.is_success() && answer.key() == "noMeetings");
    assert!(answer.body.contains("<meetings/>"));
}

#[tokio::test]
async fn meetings_are_described_element_for_element() {
    let sim = start(SimVersion::V3_0).await;
    let created =
        get(&sim, "create", "meetingID=m1&name=Biology&record=true&meta_Course=bio+1&meta_a_b=lost&maxParticipants=50")
            .await;
    assert!(created.is_success());
    sim.add_user("m1", "Ann & Bob", SimRole::Moderator).unwrap();
    assert!(sim.set_media("m1", 1, 0, 1));
    let answer = get(&sim, "getMeetingInfo", "meetingID=m1").await;
    let common = [
        "meetingName",
        "meetingID",
        "internalMeetingID",
        "createTime",
        "createDate",
        "voiceBridge",
        "dialNumber",
        "attendeePW",
        "moderatorPW",
        "running",
        "duration",
        "hasUserJoined",
        "recording",
        "hasBeenForciblyEnded",
        "startTime",
        "endTime",
        "participantCount",
        "listenerCount",
        "voiceParticipantCount",
        "videoCount",
        "maxUsers",
        "moderatorCount",
        "attendees",
        "metadata",
    ];
    let expected: Vec<&str> = [&["returncode"][..], &common, &["messageKey", "message", "isBreakout"]].concat();
    assert_eq!(answer.children("response"), expected);
    assert_eq!(answer.element("metadata"), "<course>bio 1</course>");
    assert_eq!((answer.element("running"), answer.element("participantCount")), ("true", "1"));
    assert_eq!(answer.element("fullName"), "Ann &amp; Bob");
    assert_eq!((answer.element("hasVideo"), answer.element("isPresenter")), ("true", "true"));
    assert_eq!(answer.header("cache-control"), "");

    let list = get(&sim, "getMeetings", "").await;
    let expected: Vec<&str> = [&common[..], &["isBreakout"]].concat();
    assert_eq!(list.children("meeting"), expected);
    assert_eq!(list.header("cache-control"), "no-cache");
    assert_eq!(get(&sim, "getMeetingInfo", "meetingID=other").await.key(), "notFound");
    assert_eq!(get(&sim, "isMeetingRunning", "meetingID=other").await.element("running"), "false");
    assert_eq!(get(&sim, "isMeetingRunning", "meetingID=m1").await.element("running"), "true");
}

#[tokio::test]
async fn large_counts_are_grouped_as_the_generation_does() {
    for (generation, people, max_users, in_info) in [
        (SimVersion::V2_3, "12,345", "20,000", "12,345"),
        (SimVersion::V2_6, "12,345", "20,000", "12345"),
        (SimVersion::V2_7, "12,345", "20000", "12345"),
        (SimVersion::V3_0, "12345", "20000", "12345"),
    ] {
        let sim = start(generation).await;
        get(&sim, "create", "meetingID=big&name=Big&maxParticipants=20000").await;
        sim.set_unlisted_people("big", 12_345);
        let list = get(&sim, "getMeetings", "").await;
        assert_eq!((list.element("participantCount"), list.element("maxUsers")), (people, max_users), "{generation:?}");
        assert_eq!(get(&sim, "getMeetingInfo", "meetingID=big").await.element("participantCount"), in_info);
    }
}

#[tokio::test]
async fn ending_needs_the_right_password_if_any() {
    let sim = start(SimVersion::V3_0).await;
    get(&sim, "create", "meetingID=m1&name=Biology&attendeePW=ap&moderatorPW=mp").await;
    assert_eq!(get(&sim, "end", "meetingID=m1&password=no").await.key(), "invalidPassword");
    assert!(sim.meeting("m1").is_some());
    assert_eq!(get(&sim, "end", "meetingID=m1").await.key(), "sentEndMeetingRequest");
    assert!(sim.meeting("m1").is_none());
    assert_eq!(get(&sim, "end", "meetingID=m1").await.key(), "notFound");
    assert_eq!(get(&sim, "end", "meetingID=m1&password=mp").await.key(), "invalidPassword");

    let sim = start(SimVersion::V2_3).await;
    get(&sim, "create", "meetingID=m1&name=Biology&moderatorPW=mp").await;
    assert_eq!(get(&sim, "end", "meetingID=m1").await.key(), "invalidPassword");
    assert!(get(&sim, "end", "meetingID=m1&password=mp").await.is_success());
}

#[tokio::test]
async fn an_ended_meeting_lingers_if_told_to() {
    let sim = start_with(SimVersion::V3_0, |options| options.end_lingers = Duration::from_secs(60)).await;
    get(&sim, "create", "meetingID=m1&name=Biology").await;
    assert!(sim.end_directly("m1"));
    assert_eq!(get(&sim, "getMeetings", "").await.element("hasBeenForciblyEnded"), "true");
    assert_eq!(
        get(&sim, "join", "meetingID=m1&fullName=Ann&role=VIEWER").await.redirected_key(),
        "meetingForciblyEnded"
    );
    let again = get(&sim, "create", "meetingID=m1&name=Biology").await;
    assert_eq!(again.key(), "", "only a meeting that has not ended counts");
    assert!(
        get(&sim, "join", "meetingID=m1&fullName=Ann&role=VIEWER").await.header("location").contains("sessionToken=")
    );
}

#[tokio::test]
async fn breakout_rooms_are_listed_with_their_parent() {
    let sim = start(SimVersion::V3_0).await;
    get(&sim, "create", "meetingID=m1&name=Biology").await;
    let rooms = sim.add_breakout("m1", 2).unwrap();
    assert_eq!(rooms.len(), 2);
    let room = get(&sim, "getMeetingInfo", &format!("meetingID={}", rooms[1])).await;
    assert_eq!((room.element("isBreakout"), room.element("sequence")), ("true", "2"));
    assert_eq!(room.element("parentMeetingID"), sim.meeting("m1").unwrap().internal_id);
    let parent = get(&sim, "getMeetingInfo", "meetingID=m1").await;
    assert_eq!(parent.children("breakoutRooms"), ["breakout", "breakout"]);
    get(&sim, "end", "meetingID=m1").await;
    assert!(sim.meetings().is_empty());
}

#[tokio::test]
async fn methods_content_types_paths_and_raw_characters_are_checked() {
    let sim = start(SimVersion::V3_0).await;
    assert_eq!(post(&sim, "create", "meetingID=m1&name=Bio", "text/plain", "x").await.key(), "unsupportedContentType");
    assert!(post(&sim, "create", "meetingID=m1&name=Bio", "", "").await.is_success());
    assert_eq!(post(&sim, "join", "meetingID=m1&fullName=Ann&role=VIEWER", "", "").await.status, 405);
    assert_eq!(post(&sim, "sendChatMessage", "meetingID=m1&message=hi", "", "").await.status, 405);
    assert_eq!(get(&sim, "setConfigXML", "").await.status, 404);
    for raw in ["[", "]", "{", "|", "\\", "^"] {
        assert_eq!(get(&sim, "getMeetings", &format!("a={raw}")).await.status, 400, "{raw}");
    }
    let old = start(SimVersion::V2_6).await;
    assert!(post(&old, "create", "meetingID=m1&name=Bio", "text/plain", "<modules/>").await.is_success());
    assert_eq!(post(&old, "join", "meetingID=m1&fullName=Ann&role=VIEWER", "", "").await.status, 302);
    let older = start(SimVersion::V2_4).await;
    assert_eq!(post(&older, "insertDocument", "meetingID=m1", "text/xml", "<modules/>").await.status, 404);
    let small = start_with(SimVersion::V3_0, |options| options.body_limit = 10).await;
    assert_eq!(post(&small, "create", "meetingID=m1&name=Bio", "text/xml", "<modules></modules>").await.status, 413);
}

#[tokio::test]
async fn documents_and_chat_reach_a_running_meeting() {
    let sim = start(SimVersion::V3_0).await;
    let body = "<modules><module name='presentation'><document url='https://f.example.org/a.pdf'/></module></modules>";
    let unknown = post(&sim, "insertDocument", "meetingID=m1", "application/xml", body).await;
    assert_eq!((unknown.element("returncode"), unknown.key()), ("FAILED", "-"));
    get(&sim, "create", "meetingID=m1&name=Biology").await;
    assert!(post(&sim, "insertDocument", "meetingID=m1", "application/xml", body).await.is_success());
    assert_eq!(sim.meeting("m1").unwrap().documents[0].attribute("url"), Some("https://f.example.org/a.pdf"));
    assert_eq!(post(&sim, "insertDocument", "meetingID=m1", "application/xml", "<modules/>").await.body, "");

    assert_eq!(get(&sim, "sendChatMessage", "meetingID=m1&message=hello").await.key(), "meetingNotFound");
    sim.add_user("m1", "Ann", SimRole::Viewer).unwrap();
    assert!(get(&sim, "sendChatMessage", "meetingID=m1&message=hello").await.is_success());
    let chat = sim.meeting("m1").unwrap().chat;
    assert_eq!((chat[0].user_name.as_str(), chat[0].message.as_str()), ("System", "hello"));
    let long = format!("meetingID=m1&message={}", "x".repeat(501));
    assert_eq!(get(&sim, "sendChatMessage", &long).await.key(), "validationError");
}

#[tokio::test]
async fn what_arrived_is_recorded() {
    let sim = start(SimVersion::V3_0).await;
    reply(client(GENEROUS).get(sim.url())).await;
    post(&sim, "create", "meetingID=m1&name=Bio", "text/xml", "<modules/>").await;
    assert_eq!((sim.count_calls("index"), sim.count_calls("create"), sim.count_calls("join")), (1, 1, 0));
    let seen = sim.calls();
    assert_eq!((seen[1].method.as_str(), seen[1].body_length), ("POST", 10));
    assert!(seen[1].raw_query.starts_with("meetingID=m1&name=Bio&checksum="));
    assert_eq!(seen[1].content_type.as_deref(), Some("text/xml"));
}

#[tokio::test]
async fn the_stage_changes_what_the_api_shows() {
    let sim = start(SimVersion::V3_0).await;
    sim.create_directly("own", "Made elsewhere");
    assert_eq!(get(&sim, "getMeetings", "").await.element("meetingName"), "Made elsewhere");
    sim.add_user("own", "Ann", SimRole::Viewer).unwrap();
    assert!(sim.remove_user("own", "Ann") && !sim.remove_user("own", "Ann"));
    assert_eq!(get(&sim, "isMeetingRunning", "meetingID=own").await.element("running"), "false");
    sim.forget_everything();
    assert_eq!(get(&sim, "getMeetings", "").await.key(), "noMeetings");
    assert!(sim.add_user("own", "Ann", SimRole::Viewer).is_none());
}
