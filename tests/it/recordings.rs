//! Issue point 2: recording calls over several servers.

use usher::clock::Millis;
use usher::sim::{Fault, SimFormat, SimRecording, SimRecordingState, SimServer, SimTextTrack};

use crate::harness::{Answer, Builder, FrontEnd, Pool, TenantBuilder, Xml};
use crate::reliability::PICTURE;

const DAY: u64 = 86_400_000;

/// `sha1(meetingID)-time`, as BBB names a recording.
fn record_id(meeting: &str, time: u64) -> String {
    use sha1::{Digest, Sha1};
    let prefix: String = Sha1::digest(meeting).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}-{time}")
}

fn add(server: &SimServer, meeting: &str, day: u64, change: impl FnOnce(&mut SimRecording)) -> String {
    let id = record_id(meeting, 1_700_000_000_000 + day * DAY);
    let mut recording = SimRecording::new(&id, meeting, &format!("Lesson {day}"));
    change(&mut recording);
    server.add_recording(recording);
    id
}

fn course(name: &str) -> impl FnOnce(&mut SimRecording) {
    let entry = ("course".to_owned(), name.to_owned());
    move |recording| recording.metadata.push(entry)
}

fn shown(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, answer.returncode().as_str()), (200, "SUCCESS"), "{}", answer.body);
    answer.xml().all("recordings", "recording").iter().map(|it| it.text("recordID")).collect()
}

fn state_on(server: &SimServer, id: &str) -> SimRecordingState {
    server.recordings().into_iter().find(|it| it.record_id == id).unwrap().formats[0].state
}

/// Six recordings on three servers, by day: 0 and 3 on the first, 1 and 4 on the second, 2 and 5 on the third.
async fn three_servers() -> (Pool, FrontEnd, Vec<String>) {
    let pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    let servers = &pool.servers;
    let ids = vec![
        add(&servers[0], "biology", 0, course("bio")),
        add(&servers[1], "biology", 1, course("biology")),
        add(&servers[2], "physics, old & new", 2, course("physics")),
        add(&servers[0], "chemistry", 3, |recording| recording.formats[0].state = SimRecordingState::Unpublished),
        add(&servers[1], "chemistry", 4, |recording| recording.metadata.push(("course".to_owned(), String::new()))),
        add(&servers[2], "biology", 5, |recording| {
            recording.formats.push(SimFormat::new("video", "https://bbb3.example.org/playback/video/x/"));
            recording.formats[0].preview.push("https://bbb3.example.org/thumb-1.png".to_owned());
        }),
    ];
    (pool, moodle, ids)
}

fn pick(ids: &[String], days: &[usize]) -> Vec<String> {
    days.iter().map(|day| ids[*day].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recordings_of_all_servers_are_one_list() {
    let (pool, moodle, ids) = three_servers().await;
    add(&pool.servers[0], "gone", 6, |recording| recording.formats[0].state = SimRecordingState::Deleted);
    let answer = moodle.get("getRecordings", "").await;
    assert_eq!(shown(&answer), pick(&ids, &[5, 4, 3, 2, 1, 0]), "latest first");
    assert_eq!(answer.header("x-usher-incomplete"), None);
    assert_eq!(answer.header("cache-control"), None, "BBB sets none here");
    assert!(answer.xml().child("pagination").is_none());
    let all = answer.xml().all("recordings", "recording");
    assert_eq!(all[0].all("playback", "format").len(), 2);
    assert_eq!(all[0].child("playback").unwrap().children[0].child("preview").unwrap().children[0].name, "images");
    assert_eq!((all[2].text("published").as_str(), all[2].text("state").as_str()), ("false", "unpublished"));
    assert_eq!(all[3].text("meetingID"), "physics, old & new");
    assert_eq!(all[3].child("metadata").unwrap().text("course"), "physics");
    assert_eq!(all[3].text("name"), "Lesson 2");

    let form = moodle.http.post(moodle.url("getRecordings", "meetingID=biology"));
    assert_eq!(shown(&moodle.send(form).await), pick(&ids, &[5, 1, 0]), "POST is as good as GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_those_of_bbb() {
    let (pool, moodle, ids) = three_servers().await;
    let deleted = add(&pool.servers[1], "gone", 6, |recording| recording.formats[0].state = SimRecordingState::Deleted);
    let prefix = &ids[0][..12];
    for (query, days) in [
        ("meetingID=biology".to_owned(), &[5, 1, 0][..]),
        ("meetingID=biology,chemistry".to_owned(), &[5, 4, 3, 1, 0]),
        ("meetingID=bio".to_owned(), &[]),
        (format!("recordID={}", ids[2]), &[2]),
        (format!("recordID={},{},unknown", ids[2], ids[4]), &[4, 2]),
        (format!("recordID={prefix}"), &[5, 1, 0]),
        (format!("recordID={}&meetingID=biology", ids[2]), &[2]),
        ("state=unpublished".to_owned(), &[3]),
        ("state=published&meetingID=chemistry".to_owned(), &[4]),
        ("state=published,unpublished&meetingID=chemistry".to_owned(), &[4, 3]),
        ("meta_course=bio".to_owned(), &[0]),
        ("meta_course=bio%25".to_owned(), &[1, 0]),
        ("meta_Course=%25o%25".to_owned(), &[1, 0]),
        ("meta_course=bio%25&meetingID=chemistry".to_owned(), &[]),
        ("meta_course=bio&meta_missing=x".to_owned(), &[]),
        ("meta_course=".to_owned(), &[4]),
        ("meta_course=&meetingID=biology".to_owned(), &[]),
    ] {
        let answer = moodle.get("getRecordings", &query).await;
        assert_eq!(shown(&answer), pick(&ids, days), "{query}");
        assert_eq!(answer.header("x-usher-incomplete"), None, "{query}");
        assert_eq!(answer.key(), if days.is_empty() { "noRecordings" } else { "" }, "{query}");
        assert!(answer.xml().child("recordings").is_some(), "an empty list is still a list");
    }
    assert_eq!(shown(&moodle.get("getRecordings", "state=deleted").await), [deleted]);
    assert_eq!(shown(&moodle.get("getRecordings", "state=any").await).len(), 7);
    for name in ["bbb1", "bbb2", "bbb3"] {
        assert_eq!(pool.server_status(name).await["health"], "up", "an odd filter is not the server's fault");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_cut_from_the_merged_list() {
    let (_pool, moodle, ids) = three_servers().await;
    let page = |xml: &Xml| {
        let block = xml.child("pagination").unwrap();
        let pageable = block.child("pageable").unwrap();
        assert_eq!((pageable.text("paged").as_str(), pageable.text("unpaged").as_str()), ("true", "false"));
        [pageable.text("offset"), pageable.text("limit"), block.text("totalElements"), block.text("empty")].join(" ")
    };
    for (query, days, block) in [
        ("limit=2", &[5, 4][..], "0 2 6 false"),
        ("limit=2&offset=2", &[3, 2], "2 2 6 false"),
        ("limit=4&offset=4", &[1, 0], "4 4 6 false"),
        ("limit=100&offset=1&meetingID=biology", &[1, 0], "1 100 3 false"),
        ("limit=500&offset=-3", &[5, 4, 3, 2, 1, 0], "0 100 6 false"),
        ("limit=0", &[5], "0 1 6 false"),
    ] {
        let answer = moodle.get("getRecordings", query).await;
        assert_eq!(shown(&answer), pick(&ids, days), "{query}");
        assert_eq!(page(&answer.xml()), block, "{query}");
    }
    let beyond = moodle.get("getRecordings", "limit=2&offset=10").await;
    assert_eq!((shown(&beyond).len(), beyond.key().as_str()), (0, "noRecordings"));
    let unpaged = moodle.get("getRecordings", "offset=3").await;
    assert_eq!(shown(&unpaged).len(), 6, "an offset alone is ignored");
    assert!(unpaged.xml().child("pagination").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_server_said_last_stays_known_and_what_nobody_knows_is_a_failure() {
    let (pool, moodle, ids) = three_servers().await;
    let whole = moodle.get("getRecordings", "").await;
    assert_eq!(
        (shown(&whole).len(), whole.header("x-usher-incomplete"), whole.header("x-usher-age-ms")),
        (6, None, None)
    );
    pool.servers[1].fault_on("getRecordings", Fault::Status(500), None);
    pool.servers[1].stop().await;
    pool.wait_health("bbb2", "down").await;
    let answer = moodle.get("getRecordings", "").await;
    assert_eq!(shown(&answer), pick(&ids, &[5, 4, 3, 2, 1, 0]), "nothing looks deleted");
    assert_eq!(answer.header("x-usher-incomplete"), Some("1"));
    assert!(answer.header("x-usher-age-ms").unwrap().parse::<u64>().unwrap() > 0);
    // Narrower questions follow from what it said …
    for (query, days) in [
        ("limit=2&offset=2".to_owned(), &[3, 2][..]),
        ("meetingID=biology".to_owned(), &[5, 1, 0]),
        (format!("recordID={}", ids[4]), &[4]),
        (format!("recordID={},{}", ids[0], ids[1]), &[1, 0]),
        ("recordID=nowhere".to_owned(), &[]),
    ] {
        assert_eq!(shown(&moodle.get("getRecordings", &query).await), pick(&ids, days), "{query}");
    }
    // … others do not: no list that looks complete, and no `noRecordings`.
    for query in ["meta_course=bio", "state=any"] {
        let answer = moodle.get("getRecordings", query).await;
        assert_eq!((answer.returncode().as_str(), answer.key().as_str()), ("FAILED", "internalError"), "{query}");
    }
    let elsewhere = format!("recordID={}&state=any", ids[2]);
    assert_eq!(
        shown(&moodle.get("getRecordings", &elsewhere).await),
        pick(&ids, &[2]),
        "there can be no other of that id"
    );

    // What a silent server may have is not "not found", and nothing is done by halves.
    for call in ["publishRecordings", "updateRecordings", "deleteRecordings"] {
        let query = format!("recordID={},{}&publish=false&meta_a=b", ids[0], ids[1]);
        assert_eq!(moodle.get(call, &query).await.key(), "internalError", "{call}");
    }
    let tracks = moodle.get("getRecordingTextTracks", &format!("recordID={}", ids[1])).await;
    assert!(tracks.body.contains("internalError"), "{}", tracks.body);
    assert_eq!(state_on(&pool.servers[0], &ids[0]), SimRecordingState::Published);
    let query = format!("recordID={}&publish=false", ids[0]);
    assert_eq!(moodle.get("publishRecordings", &query).await.returncode(), "SUCCESS");
    assert_eq!(state_on(&pool.servers[0], &ids[0]), SimRecordingState::Unpublished);
    assert_eq!(
        moodle.get("getRecordings", "").await.xml().all("recordings", "recording")[5].text("published"),
        "false"
    );

    for server in &pool.servers {
        server.fault_on("getRecordings", Fault::Status(500), None);
    }
    let nobody = moodle.get("getRecordings", "meta_course=zoo").await;
    assert_eq!((nobody.returncode().as_str(), nobody.key().as_str()), ("FAILED", "internalError"));
    PICTURE.write(
        5,
        &[
            "a server with recordings dies",
            "its recordings as it last listed them, marked with their age; what nobody knows is FAILED in words",
            "–",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_server_costs_seconds_once_and_a_change_makes_void_what_was_said() {
    let pool = Builder::new(2).set("USHER_API__RECORDINGS_TIMEOUT", "400ms").start().await;
    let moodle = pool.front_end();
    let [one, two] = [0, 1].map(|index| add(&pool.servers[index], "biology", index as u64, course("bio")));
    assert_eq!(shown(&moodle.get("getRecordings", "").await).len(), 2);
    assert_eq!(moodle.get("deleteRecordings", &format!("recordID={two}")).await.returncode(), "SUCCESS");
    pool.servers[1].fault_on("getRecordings", Fault::Silent, None);
    let started = std::time::Instant::now();
    let answer = moodle.get("getRecordings", "").await;
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(answer.returncode(), "FAILED", "what it said before the change is not told again: {}", answer.body);
    pool.servers[1].heal();
    pool.wait_health("bbb2", "up").await;
    assert_eq!(shown(&moodle.get("getRecordings", "").await), [one]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_to_the_server_that_has_the_recording() {
    let (pool, moodle, ids) = three_servers().await;
    let servers = &pool.servers;
    let sent = |server: &SimServer, call: &str| -> Vec<String> {
        server.calls().into_iter().filter(|seen| seen.call == call).map(|seen| seen.raw_query).collect()
    };

    let query = format!("recordID={},{},unknown-1&publish=false", ids[0], ids[1]);
    let answer = moodle.get("publishRecordings", &query).await.xml();
    assert_eq!((answer.text("returncode").as_str(), answer.text("published").as_str()), ("SUCCESS", "false"));
    assert_eq!(state_on(&servers[0], &ids[0]), SimRecordingState::Unpublished);
    assert_eq!(state_on(&servers[1], &ids[1]), SimRecordingState::Unpublished);
    assert!(sent(&servers[0], "publishRecordings")[0].starts_with(&format!("recordID={}&publish=false&", ids[0])));
    assert!(sent(&servers[1], "publishRecordings")[0].starts_with(&format!("recordID={}&publish=false&", ids[1])));
    assert!(sent(&servers[2], "publishRecordings").is_empty());

    let answer = moodle.get("publishRecordings", &format!("publish=true&recordID={}", ids[1].to_uppercase())).await;
    assert_eq!((answer.returncode().as_str(), answer.xml().text("published").as_str()), ("SUCCESS", "true"));
    assert_eq!(state_on(&servers[1], &ids[1]), SimRecordingState::Published, "ids in any case");

    let query = format!("recordID={},{}&meta_course=&meta_Teacher=J%C3%BCrgen+M", ids[2], ids[0]);
    let form = moodle.http.post(moodle.url("updateRecordings", &query));
    let answer = moodle.send(form).await.xml();
    assert_eq!((answer.text("returncode").as_str(), answer.text("updated").as_str()), ("SUCCESS", "true"));
    for (server, id) in [(&servers[2], &ids[2]), (&servers[0], &ids[0])] {
        let metadata = server.recordings().into_iter().find(|it| it.record_id == *id).unwrap().metadata;
        assert!(metadata.contains(&("teacher".to_owned(), "Jürgen M".to_owned())), "{metadata:?}");
        assert!(!metadata.iter().any(|(key, _)| key == "course"), "an empty value removes the key");
    }

    let answer = moodle.get("deleteRecordings", &format!("recordID={},{}", ids[3], ids[5])).await.xml();
    assert_eq!((answer.text("returncode").as_str(), answer.text("deleted").as_str()), ("SUCCESS", "true"));
    assert_eq!(state_on(&servers[0], &ids[3]), SimRecordingState::Deleted);
    assert_eq!(state_on(&servers[2], &ids[5]), SimRecordingState::Deleted);
    assert_eq!(shown(&moodle.get("getRecordings", "").await), pick(&ids, &[4, 2, 1, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_without_a_known_recording_fail() {
    let (pool, moodle, ids) = three_servers().await;
    let prefix = &ids[0][..20];
    for (call, query, key) in [
        ("publishRecordings", "recordID=unknown-1&publish=true".to_owned(), "notFound"),
        ("publishRecordings", format!("recordID={prefix}&publish=false"), "notFound"),
        ("publishRecordings", "publish=true".to_owned(), "missingParamRecordID"),
        ("publishRecordings", "recordID=,&publish=true".to_owned(), "missingParamRecordID"),
        ("publishRecordings", format!("recordID={}", ids[0]), "missingParamPublish"),
        ("publishRecordings", format!("recordID={}&publish=", ids[0]), "missingParamPublish"),
        ("deleteRecordings", "recordID=unknown-1,unknown-2".to_owned(), "notFound"),
        ("deleteRecordings", format!("recordID={prefix}"), "notFound"),
        ("deleteRecordings", "".to_owned(), "missingParamRecordID"),
        ("updateRecordings", "recordID=unknown-1&meta_a=b".to_owned(), "notFound"),
        ("updateRecordings", "meta_a=b".to_owned(), "missingParamRecordID"),
    ] {
        let answer = moodle.get(call, &query).await;
        assert_eq!(
            (answer.status, answer.returncode().as_str(), answer.key().as_str()),
            (200, "FAILED", key),
            "{call} {query}"
        );
    }
    assert_eq!(shown(&moodle.get("getRecordings", "").await).len(), 6);
    assert!(pool.servers.iter().all(|server| server.count_calls("deleteRecordings") == 0), "a prefix deletes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_tracks_are_read_and_written_where_the_recording_is() {
    let (pool, moodle, ids) = three_servers().await;
    let track =
        SimTextTrack { kind: "captions".into(), label: "English".into(), lang: "en".into(), source: "upload".into() };
    let mut recording = SimRecording::new(&record_id("captioned", 1), "captioned", "Captioned");
    recording.start_time = Millis(1);
    recording.text_tracks.push(track);
    let id = recording.record_id.clone();
    pool.servers[2].add_recording(recording);
    let json = |answer: &Answer| -> serde_json::Value {
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].starts_with("application/json"), "{}", answer.body);
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()["response"].clone()
    };

    let tracks = json(&moodle.get("getRecordingTextTracks", &format!("recordID={id}")).await);
    assert_eq!((&tracks["returncode"], &tracks["tracks"][0]["label"]), (&"SUCCESS".into(), &"English".into()));
    let none = json(&moodle.get("getRecordingTextTracks", &format!("recordID={}", ids[0])).await);
    assert_eq!((&none["returncode"], &none["messageKey"]), (&"FAILED".into(), &"noCaptionsFound".into()));
    let unknown = json(&moodle.get("getRecordingTextTracks", "recordID=unknown-1").await);
    assert_eq!((&unknown["returncode"], &unknown["messageKey"]), (&"FAILED".into(), &"noRecordings".into()));
    // These two are XML even here (bbb-api.md section 3.9).
    assert_eq!(moodle.get("getRecordingTextTracks", "").await.key(), "missingParamRecordID");
    let stranger = FrontEnd::new(&moodle.api, "not the secret");
    assert_eq!(stranger.get("getRecordingTextTracks", &format!("recordID={id}")).await.key(), "checksumError");

    let part = "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"t.vtt\"\r\nContent-Type: text/vtt\r\n\r\nWEBVTT\r\n--b0--\r\n";
    let put =
        async |query: &str| moodle.post("putRecordingTextTrack", query, "multipart/form-data; boundary=b0", part).await;
    let answer = json(&put(&format!("recordID={}&kind=subtitles&lang=de-DE&label=Deutsch", ids[1])).await);
    assert_eq!(
        (&answer["returncode"], &answer["messageKey"]),
        (&"SUCCESS".into(), &"upload_text_track_success".into())
    );
    let tracks = pool.servers[1].recordings().into_iter().find(|it| it.record_id == ids[1]).unwrap().text_tracks;
    assert_eq!((tracks[0].label.as_str(), tracks[0].lang.as_str()), ("Deutsch", "de-DE"));
    for (query, key) in [
        ("kind=subtitles&lang=de".to_owned(), "paramError"),
        ("recordID=unknown-1&kind=subtitles&lang=de".to_owned(), "noRecordings"),
        (format!("recordID={}&kind=songs&lang=de", ids[1]), "invalidKind"),
        (format!("recordID={}&kind=subtitles&lang=german", ids[1]), "invalidLang"),
    ] {
        let answer = json(&put(&query).await);
        assert_eq!((&answer["returncode"], &answer["messageKey"]), (&"FAILED".into(), &key.into()), "{query}");
    }
    assert_eq!(
        stranger.post("putRecordingTextTrack", "recordID=x", "multipart/form-data; boundary=b0", part).await.key(),
        "checksumError"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_on_two_servers_is_shown_once_and_changed_on_both() {
    let (pool, moodle, ids) = three_servers().await;
    let copy = pool.servers[0].recordings().into_iter().find(|it| it.record_id == ids[0]).unwrap();
    pool.servers[1].add_recording(copy);
    let answer = moodle.get("getRecordings", "limit=10").await;
    assert_eq!(shown(&answer), pick(&ids, &[5, 4, 3, 2, 1, 0]));
    assert_eq!(answer.xml().child("pagination").unwrap().text("totalElements"), "6");
    let query = format!("recordID={}&publish=false", ids[0]);
    assert_eq!(moodle.get("publishRecordings", &query).await.returncode(), "SUCCESS");
    for server in &pool.servers[..2] {
        assert_eq!(state_on(server, &ids[0]), SimRecordingState::Unpublished);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_their_own_recordings() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("other", "secret-of-other", &["--host", "other.example.org"]),
    ];
    let pool = Builder::new(2).tenants(tenants).start().await;
    let (main, other) = (pool.front_end(), pool.front_end_of(1).with_host("other.example.org"));
    for moodle in [&main, &other] {
        moodle.create("a%2Bb", "&meta_course=bio").await;
    }
    for server in &pool.servers {
        for meeting in server.meetings() {
            server.add_recording(SimRecording::of_meeting(&meeting));
        }
    }
    let (mains, others) = (main.get("getRecordings", "").await, other.get("getRecordings", "").await);
    let (main_id, other_id) = (shown(&mains), shown(&others));
    assert_eq!((main_id.len(), other_id.len()), (1, 1));
    assert_ne!(main_id, other_id);
    assert_eq!(others.xml().all("recordings", "recording")[0].text("meetingID"), "a+b", "the tenant's own id");
    assert!(!others.body.contains("usher-"), "{}", others.body);
    // Encoded once, as for every other call, and twice, as BBB wants it here.
    for query in ["meetingID=a%2Bb", "meetingID=a%252Bb", "meetingID=zz,a%252Bb", "meta_course=bio"] {
        assert_eq!(shown(&other.get("getRecordings", query).await), other_id, "{query}");
    }
    let foreign = format!("recordID={}&publish=false", main_id[0]);
    assert_eq!(other.get("publishRecordings", &foreign).await.key(), "notFound");
    assert_eq!(other.get("getRecordings", &foreign).await.key(), "noRecordings");
    assert_eq!(main.get("publishRecordings", &foreign).await.returncode(), "SUCCESS");
}
