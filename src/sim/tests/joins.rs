//! `join`: where the browser goes, who gets in, how each generation says no.
//!
//! Rules are those of bbb-api.md section 3.6.

use super::*;
use crate::sim::SimRole;

const ANN: &str = "meetingID=m1&fullName=Ann&role=MODERATOR";

async fn with_meeting(generation: SimVersion, extra: &str) -> SimServer {
    let sim = start(generation).await;
    let query = format!("meetingID=m1&name=Bio+%26+Co&attendeePW=ap&moderatorPW=mp{extra}");
    assert!(get(&sim, "create", &query).await.is_success());
    sim
}

#[tokio::test]
async fn a_join_leads_to_the_client_page_and_counts_at_once() {
    for (generation, page) in [(SimVersion::V2_7, "/html5client/join?"), (SimVersion::V3_0, "/html5client/?")] {
        let sim = with_meeting(generation, "").await;
        let joined = get(&sim, "join", &format!("{ANN}&userID=u1&userdata-pet=cat&userdata-a-b=no")).await;
        assert_eq!(joined.status, 302);
        let location = joined.header("location").to_owned();
        assert!(location.starts_with(&format!("http://{}{page}sessionToken=", sim.addr())), "{location}");
        assert_eq!(location.contains("&shouldWaitForLayout="), generation == SimVersion::V3_0);
        assert!(joined.header("set-cookie").starts_with("JSESSIONID="), "{}", joined.header("set-cookie"));
        let attendee = sim.meeting("m1").unwrap().attendees.remove(0);
        assert_eq!((attendee.user_id.as_str(), attendee.role), ("u1", SimRole::Moderator));
        assert_eq!(attendee.custom, [("pet".to_owned(), "cat".to_owned())]);
        let html = reply(client(GENEROUS).get(&location)).await;
        let (before, _) = location.split_once("sessionToken=").unwrap();
        let unknown = reply(client(GENEROUS).get(format!("{before}sessionToken=unknown"))).await.status;
        if generation == SimVersion::V3_0 {
            assert!(html.body.contains("data-state=\"loading\""), "{}", html.body);
            assert_eq!(unknown, 200, "a file is there for everybody");
        } else {
            assert!(html.body.contains("You are in Bio &amp; Co on simulated BigBlueButton"), "{}", html.body);
            assert_eq!(unknown, 401);
        }
        let sessions = get(&sim, "getSessions", "").await;
        assert_eq!((sessions.element("userName"), sessions.element("meetingName")), ("Ann", "Bio &amp; Co"));
    }
}

#[tokio::test]
async fn redirect_false_answers_xml_and_the_session_needs_its_cookie() {
    let sim = with_meeting(SimVersion::V3_0, "").await;
    let joined = get(&sim, "join", &format!("{ANN}&redirect=false")).await;
    assert_eq!(
        joined.children("response"),
        [
            "returncode",
            "messageKey",
            "message",
            "meeting_id",
            "user_id",
            "auth_token",
            "session_token",
            "guestStatus",
            "url"
        ]
    );
    assert_eq!((joined.key(), joined.element("guestStatus")), ("successfullyJoined", "ALLOW"));
    let token = joined.element("session_token");
    assert_eq!(token.len(), 16);
    assert!(joined.element("url").ends_with(token));
    let cookie = joined.header("set-cookie").split(';').next().unwrap().to_owned();
    let stuns = format!("{}stuns?sessionToken={token}", sim.url());
    assert!(reply(client(GENEROUS).get(&stuns)).await.body.contains("FAILED"));
    assert!(reply(client(GENEROUS).get(&stuns).header("cookie", &cookie)).await.body.contains("stunServers"));
    let second = reply(client(GENEROUS).get(signed(&sim, "join", ANN)).header("cookie", &cookie)).await;
    assert_eq!(second.header("set-cookie"), "", "one session of a browser holds all its tokens");
    let out = format!("{}signOut?sessionToken={token}", sim.url());
    assert!(reply(client(GENEROUS).get(&out).header("cookie", &cookie)).await.is_success());
    assert_eq!(sim.meeting("m1").unwrap().people(), 1);
}

#[tokio::test]
async fn early_errors_always_redirect() {
    let sim = with_meeting(SimVersion::V3_0, "").await;
    for (query, key) in [
        ("fullName=Ann&role=VIEWER&redirect=false", "missingParamMeetingID"),
        ("meetingID=m1&role=VIEWER&redirect=false", "missingParamFullName"),
        ("meetingID=nope&fullName=Ann&role=VIEWER&redirect=false", "invalidMeetingIdentifier"),
        ("meetingID=m1&fullName=Ann&role=VIEWER&guest=perhaps", "validationError"),
    ] {
        assert_eq!(get(&sim, "join", query).await.redirected_key(), key, "{query}");
    }
    let unsigned = reply(client(GENEROUS).get(format!("{}join?{ANN}&checksum=00", sim.url()))).await;
    assert_eq!(unsigned.redirected_key(), "checksumError");
    assert_eq!(sim.meeting("m1").unwrap().people(), 0);
}

#[tokio::test]
async fn errors_go_to_the_url_the_caller_named() {
    let named = "meetingID=nope&fullName=Ann&role=VIEWER&logoutURL=https%3A%2F%2Fa.example.org%2F%3Fx%3D1&errorRedirectUrl=https%3A%2F%2Fb.example.org%2F";
    let sim = start(SimVersion::V3_0).await;
    assert!(get(&sim, "join", named).await.header("location").starts_with("https://b.example.org/?errors=%5B%7B"));
    let sim = start(SimVersion::V2_6).await;
    assert!(get(&sim, "join", named).await.header("location").starts_with("https://a.example.org/?x=1&errors="));
}

#[tokio::test]
async fn roles_and_passwords_decide_who_is_moderator() {
    let sim = with_meeting(SimVersion::V3_0, "").await;
    for (query, role) in [
        ("role=moderator&password=ap", SimRole::Moderator),
        ("password=mp", SimRole::Moderator),
        ("password=ap", SimRole::Viewer),
    ] {
        get(&sim, "join", &format!("meetingID=m1&fullName=Ann&{query}")).await;
        assert_eq!(sim.meeting("m1").unwrap().attendees.last().unwrap().role, role, "{query}");
    }
    for query in ["password=wrong", "role=KING", "avatarURL=x"] {
        let answer = get(&sim, "join", &format!("meetingID=m1&fullName=Ann&{query}")).await;
        assert_eq!((answer.status, answer.key()), (200, "Params required"), "{query}");
    }
    let old = with_meeting(SimVersion::V2_3, "").await;
    assert_eq!(get(&old, "join", ANN).await.redirected_key(), "invalidPassword");
    assert!(
        get(&old, "join", "meetingID=m1&fullName=Ann&password=ap").await.header("location").contains("sessionToken")
    );
    let unsigned = reply(client(GENEROUS).get(format!("{}join?{ANN}", old.url()))).await;
    assert_eq!((unsigned.status, unsigned.key()), (200, "checksumError"));
}

#[tokio::test]
async fn late_errors_honour_redirect_false_in_3_0_only() {
    for (generation, is_plain) in [(SimVersion::V2_6, false), (SimVersion::V3_0, true)] {
        let sim = with_meeting(generation, "&maxParticipants=1&guestPolicy=ALWAYS_DENY").await;
        let denied = format!("{ANN}&guest=true");
        let stale = format!("{ANN}&createTime=1");
        for (query, key) in [
            (stale.as_str(), "mismatchCreateTimeParam"),
            (&denied, "guestDeniedAccess"),
            (ANN, "maxParticipantsReached"),
        ] {
            if query == ANN {
                let time = sim.meeting("m1").unwrap().create_time;
                assert!(
                    get(&sim, "join", &format!("{ANN}&createTime={time}"))
                        .await
                        .header("location")
                        .contains("sessionToken")
                );
            }
            assert_eq!(get(&sim, "join", query).await.redirected_key(), key);
            let answer = get(&sim, "join", &format!("{query}&redirect=false")).await;
            assert_eq!((answer.status == 200, answer.status == 302), (is_plain, !is_plain), "{generation:?} {key}");
        }
    }
}

#[tokio::test]
async fn guests_wait_outside_up_to_2_7_and_inside_since_3_0() {
    let guest = "meetingID=m1&fullName=Gus&role=VIEWER&guest=true";
    let sim = with_meeting(SimVersion::V2_7, "&guestPolicy=ASK_MODERATOR").await;
    let waiting = get(&sim, "join", guest).await;
    assert!(waiting.header("location").contains("/html5client/guestWait?sessionToken="));
    assert!(reply(client(GENEROUS).get(waiting.header("location"))).await.body.contains("You are waiting for"));
    assert_eq!(get(&sim, "join", &format!("{guest}&redirect=false")).await.key(), "guestWait");
    let sim = with_meeting(SimVersion::V3_0, "&guestPolicy=ASK_MODERATOR").await;
    assert!(get(&sim, "join", guest).await.header("location").contains("/html5client/?sessionToken="));
    let answer = get(&sim, "join", &format!("{guest}&redirect=false")).await;
    assert_eq!((answer.key(), answer.element("guestStatus")), ("successfullyJoined", "WAIT"));
    assert_eq!(sim.meeting("m1").unwrap().people(), 0);
}

#[tokio::test]
async fn a_bad_userdata_name_spoils_the_document() {
    let sim = with_meeting(SimVersion::V3_0, "").await;
    get(&sim, "join", &format!("{ANN}&userdata-1%20%3C=x")).await;
    assert!(get(&sim, "getMeetings", "").await.body.contains("<1 <>x</1 <>"));
}
