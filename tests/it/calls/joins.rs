//! `join`: the way to the server, and the ways it fails.

use url::Url;

use crate::harness::{Answer, Builder, FrontEnd, Pool};

/// Where a failed join leads, and the keys it carries.
fn failure(answer: &Answer) -> (String, Vec<String>) {
    assert_eq!(answer.status, 302, "{}", answer.body);
    let url = Url::parse(&answer.headers["location"]).unwrap();
    let errors = url.query_pairs().find(|(name, _)| name == "errors").unwrap().1.into_owned();
    let errors: serde_json::Value = serde_json::from_str(&errors).unwrap();
    let entry = |error: &serde_json::Value| {
        assert!(!error["message"].as_str().unwrap().is_empty());
        error["key"].as_str().unwrap().to_owned()
    };
    let keys = errors.as_array().unwrap().iter().map(entry).collect();
    (url[..url::Position::AfterPath].to_owned(), keys)
}

async fn started() -> (Pool, FrontEnd) {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    moodle.create("room", "&attendeePW=ap&moderatorPW=mp").await;
    (pool, moodle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_leads_to_the_server_with_a_signature_it_accepts() {
    let (pool, moodle) = started().await;
    let server = &pool.servers[pool.holders("room")[0]];
    for query in [
        "fullName=Ann&meetingID=room&role=MODERATOR",
        "meetingID=room&password=ap&fullName=J%c3%bcrgen%20M+x&userdata-bbb_x=%7B%7D&userID=u1&empty=",
        "&fullName=Bob&meetingID=r%6Fom&role=viewer&unknown=1&unknown=2",
    ] {
        let answer = moodle.get("join", query).await;
        assert_eq!((answer.status, answer.header("cache-control")), (302, Some("no-cache")), "{}", answer.body);
        let location = &answer.headers["location"];
        let (before, checksum) = location.rsplit_once("&checksum=").unwrap();
        assert_eq!(before, format!("{}join?{query}", server.url()), "the caller's own bytes");
        assert_eq!(checksum.len(), 64, "SHA-256");
        let joined = moodle.fetch(location).await;
        assert_eq!(joined.status, 302, "{}", joined.body);
        assert!(joined.headers["location"].contains("sessionToken="), "{}", joined.headers["location"]);
    }
    let names: Vec<String> =
        server.meeting("room").unwrap().attendees.into_iter().map(|attendee| attendee.full_name).collect();
    assert_eq!(names, ["Ann", "Jürgen M x", "Bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_false_still_leads_to_the_server_that_answers_in_xml() {
    let (_pool, moodle) = started().await;
    let answer = moodle.get("join", "fullName=Ann&meetingID=room&role=VIEWER&redirect=false").await;
    assert_eq!(answer.status, 302);
    let xml = moodle.fetch(&answer.headers["location"]).await.xml();
    assert_eq!(xml.text("messageKey"), "successfullyJoined");
    assert!(!xml.text("session_token").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_is_a_get() {
    let (pool, moodle) = started().await;
    let query = "fullName=Ann&meetingID=room&role=VIEWER";
    let posted = moodle.send(moodle.http.post(moodle.url("join", query))).await;
    assert_eq!((posted.status, posted.key().as_str()), (200, "unsupportedRequest"));
    let form = moodle.post("join", query, "application/x-www-form-urlencoded", "x=1").await;
    assert_eq!(form.key(), "unsupportedRequest");
    let head = moodle.send(moodle.http.head(moodle.url("join", query))).await;
    assert_eq!(head.status, 302);
    assert!(pool.servers.iter().all(|server| server.count_calls("join") == 0), "nothing is forwarded");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_lead_back_to_the_front_end() {
    let (pool, moodle) = started().await;
    let own = format!("{}/", pool.http);
    let (error_url, logout) =
        ("https%3A%2F%2Flms.example.org%2Ferr%3Fcourse%3D7", "https%3A%2F%2Flms.example.org%2Fout");
    let unknown = "fullName=Ann&meetingID=nowhere&role=VIEWER";
    for (query, target, key) in [
        (
            format!("{unknown}&logoutURL={logout}&errorRedirectUrl={error_url}"),
            "https://lms.example.org/err",
            "invalidMeetingIdentifier",
        ),
        (format!("{unknown}&logoutURL={logout}"), "https://lms.example.org/out", "invalidMeetingIdentifier"),
        (unknown.to_owned(), own.as_str(), "invalidMeetingIdentifier"),
        (
            format!("{unknown}&redirect=false&logoutURL={logout}"),
            "https://lms.example.org/out",
            "invalidMeetingIdentifier",
        ),
        (format!("{unknown}&errorRedirectUrl=javascript%3Aalert(1)"), own.as_str(), "invalidMeetingIdentifier"),
        (
            format!("meetingID=room&role=VIEWER&logoutURL={logout}"),
            "https://lms.example.org/out",
            "missingParamFullName",
        ),
        (format!("fullName=&meetingID=room&logoutURL={logout}"), "https://lms.example.org/out", "missingParamFullName"),
        (
            format!("fullName=Ann&role=VIEWER&errorRedirectUrl={error_url}"),
            "https://lms.example.org/err",
            "missingParamMeetingID",
        ),
        (format!("fullName=Ann&meetingID=x&logoutURL={logout}"), "https://lms.example.org/out", "validationError"),
    ] {
        let answer = moodle.get("join", &query).await;
        assert_eq!(failure(&answer), (target.to_owned(), vec![key.to_owned()]), "{query}");
        if target.ends_with("/err") {
            assert!(answer.headers["location"].contains("?course=7&errors="), "the target keeps its own query");
        }
    }
    let page = moodle.fetch(&moodle.get("join", unknown).await.headers["location"]).await;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html;charset=utf-8"));
    assert!(page.body.contains("not running"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_signature_never_chooses_where_a_browser_goes() {
    let (pool, moodle) = started().await;
    let stranger = FrontEnd::new(&moodle.api, "not the secret");
    let query = "fullName=Ann&meetingID=room&role=VIEWER&errorRedirectUrl=https%3A%2F%2Fevil.example%2F&logoutURL=https%3A%2F%2Fevil.example%2F";
    let own = (format!("{}/", pool.http), vec!["checksumError".to_owned()]);
    assert_eq!(failure(&stranger.get("join", query).await), own);
    assert_eq!(failure(&moodle.fetch(&format!("{}/join?{query}", moodle.api)).await), own, "without any checksum");
    // Known and unknown meetings look the same to a stranger.
    assert_eq!(failure(&stranger.get("join", "fullName=Ann&meetingID=nowhere").await), own);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_page_takes_errors_without_a_target() {
    let pool = Builder::new(1).set("USHER_API__LOGOUT_URL", "https://www.example.org/meetings?lang=de").start().await;
    let answer = pool.front_end().get("join", "fullName=Ann&meetingID=nowhere").await;
    assert_eq!(
        failure(&answer),
        ("https://www.example.org/meetings".to_owned(), vec!["invalidMeetingIdentifier".to_owned()])
    );
    assert!(answer.headers["location"].contains("?lang=de&errors="));
}
