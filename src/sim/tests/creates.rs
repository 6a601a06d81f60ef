//! `create`: the answer, idempotency, validation, bodies, breakout rooms.
//!
//! Rules are those of bbb-api.md sections 2.4, 3.4 and 4.2.

use super::*;

#[tokio::test]
async fn a_fresh_meeting_is_described_in_order() {
    let sim = start(SimVersion::V3_0).await;
    let answer = get(&sim, "create", "meetingID=phy-101&name=Physics").await;
    assert_eq!(
        answer.children("response"),
        [
            "returncode",
            "meetingID",
            "internalMeetingID",
            "parentMeetingID",
            "attendeePW",
            "moderatorPW",
            "createTime",
            "voiceBridge",
            "dialNumber",
            "createDate",
            "hasUserJoined",
            "duration",
            "hasBeenForciblyEnded",
            "messageKey",
            "message",
        ]
    );
    let internal = format!("cd2ba3add6da5251b431d853ae201fccce8e877b-{}", answer.element("createTime"));
    assert_eq!(answer.element("internalMeetingID"), internal);
    assert_eq!((answer.element("parentMeetingID"), answer.key()), ("bbb-none", ""));
    assert_eq!((answer.element("attendeePW").len(), answer.element("voiceBridge").len()), (8, 5));
}

#[tokio::test]
async fn a_repeated_create_answers_by_the_passwords() {
    let sim = start(SimVersion::V3_0).await;
    let first = get(&sim, "create", "meetingID=m1&name=Biology&attendeePW=ap&moderatorPW=mp").await;
    let same = get(&sim, "create", "meetingID=m1&name=Other&attendeePW=ap&moderatorPW=mp&meta_x=1").await;
    assert!(same.is_success() && same.key() == "duplicateWarning");
    assert_eq!(same.element("createTime"), first.element("createTime"));
    assert_eq!(sim.meeting("m1").unwrap().name, "Biology");
    assert!(sim.meeting("m1").unwrap().metadata.is_empty());
    for other in ["attendeePW=ap&moderatorPW=no", "attendeePW=ap", "moderatorPW=mp"] {
        assert_eq!(get(&sim, "create", &format!("meetingID=m1&name=B1&{other}")).await.key(), "idNotUnique", "{other}");
    }
    for (generation, key) in [(SimVersion::V2_6, "idNotUnique"), (SimVersion::V2_7, "duplicateWarning")] {
        let sim = start(generation).await;
        get(&sim, "create", "meetingID=m1&name=Biology").await;
        assert_eq!(get(&sim, "create", "meetingID=m1&name=Biology").await.key(), key, "{generation:?}");
    }
}

#[tokio::test]
async fn a_meeting_made_again_gets_new_ids() {
    let sim = start(SimVersion::V3_0).await;
    let first = get(&sim, "create", "meetingID=m1&name=Biology").await;
    get(&sim, "end", "meetingID=m1").await;
    let second = get(&sim, "create", "meetingID=m1&name=Biology").await;
    assert_ne!(first.element("internalMeetingID"), second.element("internalMeetingID"));
}

#[tokio::test]
async fn a_voice_bridge_belongs_to_one_meeting() {
    let sim = start(SimVersion::V3_0).await;
    assert!(get(&sim, "create", "meetingID=m1&name=Biology&voiceBridge=70001").await.is_success());
    let taken = get(&sim, "create", "meetingID=m2&name=Physics&voiceBridge=70001").await;
    assert_eq!((taken.key(), taken.element("key")), ("-", "nonUniqueVoiceBridge"));
    assert!(sim.meeting("m2").is_none());
    get(&sim, "end", "meetingID=m1").await;
    assert!(get(&sim, "create", "meetingID=m2&name=Physics&voiceBridge=70001").await.is_success());
}

#[tokio::test]
async fn parameters_are_validated_since_2_4() {
    let sim = start(SimVersion::V3_0).await;
    let long = "x".repeat(257);
    for (query, key) in [
        ("name=Biology".to_owned(), "missingParamMeetingID"),
        ("meetingID=&name=Biology".to_owned(), "missingParamMeetingID"),
        ("meetingID=m&name=Biology".to_owned(), "validationError"),
        (format!("meetingID={long}&name=Biology"), "validationError"),
        ("meetingID=m%2C1&name=Biology".to_owned(), "validationError"),
        ("meetingID=m1%0A&name=Biology".to_owned(), "validationError"),
        ("meetingID=m1".to_owned(), "validationError"),
        ("meetingID=m1&name=B".to_owned(), "validationError"),
        ("meetingID=m1&name=Biology&voiceBridge=7x".to_owned(), "validationError"),
        ("meetingID=m1&name=Biology&record=yes".to_owned(), "validationError"),
        ("meetingID=m1&name=Biology&moderatorPW=x".to_owned(), "invalidPassword"),
    ] {
        let answer = get(&sim, "create", &query).await;
        assert_eq!((answer.status, answer.key()), (200, key), "{query}");
    }
    assert!(sim.meetings().is_empty());
    let old = start(SimVersion::V2_3).await;
    assert!(get(&old, "create", "meetingID=m").await.is_success());
}

#[tokio::test]
async fn the_xml_body_is_recorded_and_a_broken_one_leaves_a_meeting_behind() {
    let sim = start(SimVersion::V3_0).await;
    let body =
        "<modules><module name='presentation'><document name='a.pdf' current='true'>QUJD</document></module></modules>";
    assert!(post(&sim, "create", "meetingID=m1&name=Biology", "application/xml", body).await.is_success());
    let documents = sim.meeting("m1").unwrap().documents;
    assert_eq!((documents[0].attribute("name"), documents[0].content.as_str()), (Some("a.pdf"), "QUJD"));
    assert_eq!(post(&sim, "create", "meetingID=m2&name=Biology", "text/xml", "<modules>").await.status, 500);
    assert!(sim.meeting("m2").is_some());
}

#[tokio::test]
async fn a_form_body_is_read_and_signed_by_era() {
    let form = "name=Physics+101&meetingID=phy-101&attendeePW=ap&moderatorPW=mp";
    let rebuilt = "a3b9934e7957ccfb7d988372879c22de9239575b";
    let unsigned = "37a4a780b854f1c1269908cee3790dced584054ff79bc06c1b9fef6a5a0b28de";
    for (generation, right, wrong) in [
        (SimVersion::V2_4, rebuilt, unsigned),
        (SimVersion::V2_6, rebuilt, unsigned),
        (SimVersion::V3_0, unsigned, rebuilt),
    ] {
        let sim = start(generation).await;
        let send = |checksum: &str| {
            let request =
                client(GENEROUS).post(format!("{}create", sim.url())).body(format!("{form}&checksum={checksum}"));
            reply(request.header("content-type", "application/x-www-form-urlencoded"))
        };
        assert_eq!(send(wrong).await.key(), "checksumError", "{generation:?}");
        assert!(send(right).await.is_success(), "{generation:?}");
        assert_eq!(sim.meeting("phy-101").unwrap().name, "Physics 101");
    }
}

#[tokio::test]
async fn breakout_rooms_need_a_parent_in_3_0() {
    let sim = start(SimVersion::V3_0).await;
    let query = "meetingID=room1&name=Room&isBreakout=true&sequence=1";
    assert_eq!(get(&sim, "create", query).await.key(), "parentMeetingIDMissing");
    assert_eq!(get(&sim, "create", &format!("{query}&parentMeetingID=m1")).await.key(), "parentMeetingDoesNotExist");
    let parent = get(&sim, "create", "meetingID=m1&name=Biology").await;
    let room = get(&sim, "create", &format!("{query}&parentMeetingID=m1")).await;
    assert_eq!(room.element("parentMeetingID"), parent.element("internalMeetingID"));
    assert_ne!(room.element("meetingID"), "room1");
    assert!(get(&sim, "getMeetingInfo", "meetingID=room1").await.is_success());
    assert_eq!(sim.meeting("m1").unwrap().breakout_rooms, [room.element("meetingID")]);
}
