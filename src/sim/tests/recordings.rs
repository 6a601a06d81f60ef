//! Recording calls: selection, pages, state changes, text tracks.
//!
//! Rules are those of bbb-api.md sections 3.8, 3.9 and 6.4.

use super::*;
use crate::sim::{SimFormat, SimRecording, SimRecordingState};

const R1: &str = "cd2ba3add6da5251b431d853ae201fccce8e877b-1700000000000";
const R2: &str = "cd2ba3add6da5251b431d853ae201fccce8e877b-1700000900000";

/// Two recordings of phy-101: one published with two formats, one unpublished.
async fn with_recordings(generation: SimVersion) -> SimServer {
    let sim = start(generation).await;
    let mut first = SimRecording::new(R1, "phy-101", "Physics");
    first.metadata.push(("course".to_owned(), "bio-1".to_owned()));
    first.formats[0].preview.push("https://bbb.example.org/thumb-1.png".to_owned());
    first.formats.push(SimFormat::new("video", "https://bbb.example.org/playback/video/x/"));
    let mut second = SimRecording::new(R2, "phy-101", "Physics again");
    second.formats[0].state = SimRecordingState::Unpublished;
    sim.add_recording(first);
    sim.add_recording(second);
    sim
}

fn count(reply: &Reply, element: &str) -> usize {
    reply.body.matches(&format!("<{element}>")).count()
}

#[tokio::test]
async fn a_recording_is_described_in_order() {
    let sim = with_recordings(SimVersion::V3_0).await;
    let answer = get(&sim, "getRecordings", &format!("recordID={R1}")).await;
    assert_eq!(
        answer.children("recording"),
        [
            "recordID",
            "meetingID",
            "internalMeetingID",
            "name",
            "isBreakout",
            "published",
            "state",
            "startTime",
            "endTime",
            "participants",
            "rawSize",
            "metadata",
            "size",
            "playback",
            "data",
        ]
    );
    assert_eq!(answer.children("playback"), ["format", "format"]);
    assert_eq!((answer.element("length"), answer.element("state")), ("60", "published"));
    assert_eq!(count(&answer, "pagination"), 0);
}

#[tokio::test]
async fn filters_select_as_bbb_does() {
    let sim = with_recordings(SimVersion::V3_0).await;
    for (query, recordings) in [
        ("", 2),
        ("meetingID=phy-101", 2),
        ("meetingID=phy-102", 0),
        ("meetingID=phy-102,phy-101", 2),
        ("meetingID=phy-102%2Cphy-101", 2),
        ("recordID=cd2ba", 2),
        (&format!("recordID={R2}&meetingID=nope"), 1),
        ("state=published", 1),
        ("state=unpublished,deleted", 1),
        ("state=any", 2),
        ("state=deleted", 0),
        ("meta_course=bio-1", 1),
        ("meta_Course=bio%25", 1),
        ("meta_course=%25o-%25", 1),
        ("meta_course=%25-1", 1),
        ("meta_course=bio", 0),
        ("meta_course=bio-1&meta_other=x", 0),
    ] {
        let answer = get(&sim, "getRecordings", query).await;
        assert!(answer.is_success());
        assert_eq!(count(&answer, "recording"), recordings, "{query}");
        assert_eq!(answer.key(), if recordings == 0 { "noRecordings" } else { "-" }, "{query}");
    }
    assert_eq!(get(&sim, "getRecordings", "meta_course=").await.status, 500);
    let twice = get(&sim, "getRecordings", &format!("recordID={R2},cd2b&state=unpublished")).await;
    assert_eq!((count(&twice, "recording"), count(&twice, "format")), (1, 2), "overlapping prefixes repeat formats");
}

#[tokio::test]
async fn pages_count_formats() {
    let sim = with_recordings(SimVersion::V3_0).await;
    let page = get(&sim, "getRecordings", "limit=1&offset=1").await;
    assert_eq!((page.element("type"), page.element("totalElements")), ("video", "3"));
    assert_eq!((page.element("offset"), page.element("limit"), page.element("paged")), ("1", "1", "true"));
    assert_eq!(page.element("state"), "available");
    assert_eq!(get(&sim, "getRecordings", "limit=1000").await.element("limit"), "100");
    assert_eq!(count(&get(&sim, "getRecordings", "offset=1").await, "pagination"), 0);
    assert_eq!(get(&sim, "getRecordings", "limit=1&offset=9").await.status, 500);
    let old = with_recordings(SimVersion::V2_4).await;
    assert_eq!(count(&get(&old, "getRecordings", "limit=1").await, "format"), 3);
}

#[tokio::test]
async fn fetching_all_may_be_forbidden() {
    let sim = start_with(SimVersion::V3_0, |options| options.allow_fetch_all_recordings = false).await;
    sim.add_recording(SimRecording::new(R1, "phy-101", "Physics"));
    let refused = get(&sim, "getRecordings", "").await;
    assert_eq!((refused.key(), count(&refused, "recordings")), ("noRecordings", 0));
    assert_eq!(count(&get(&sim, "getRecordings", "limit=5").await, "recording"), 1);
}

#[tokio::test]
async fn publishing_updating_and_deleting_move_formats() {
    let sim = with_recordings(SimVersion::V3_0).await;
    assert_eq!(get(&sim, "publishRecordings", "publish=true").await.key(), "missingParamRecordID");
    assert_eq!(get(&sim, "publishRecordings", &format!("recordID={R1}")).await.key(), "missingParamPublish");
    assert_eq!(get(&sim, "publishRecordings", "recordID=nope&publish=true").await.key(), "notFound");
    let published = get(&sim, "publishRecordings", &format!("recordID=nope,{R2}&publish=Y")).await;
    assert_eq!(published.element("published"), "Y");
    assert_eq!(sim.recordings()[1].formats[0].state, SimRecordingState::Published);

    let update = format!("recordID={R1}&meta_course=&meta_new=1");
    assert_eq!(get(&sim, "updateRecordings", &update).await.element("updated"), "true");
    let metadata = sim.recordings()[0].metadata.clone();
    assert!(metadata.contains(&("new".to_owned(), "1".to_owned())) && !metadata.iter().any(|(key, _)| key == "course"));

    assert_eq!(get(&sim, "deleteRecordings", &format!("recordID={R1}")).await.element("deleted"), "true");
    assert_eq!(count(&get(&sim, "getRecordings", "").await, "recording"), 1);
    assert_eq!(get(&sim, "deleteRecordings", &format!("recordID={R1}")).await.key(), "notFound");
    assert_eq!(post(&sim, "deleteRecordings", &format!("recordID={R1}"), "", "").await.status, 405);
}

#[tokio::test]
async fn text_tracks_are_uploaded_and_listed() {
    let sim = with_recordings(SimVersion::V3_0).await;
    let tracks = format!("recordID={R1}");
    assert!(get(&sim, "getRecordingTextTracks", &tracks).await.body.contains("noCaptionsFound"));
    assert!(get(&sim, "getRecordingTextTracks", "recordID=nope").await.body.contains("noRecordings"));
    assert_eq!(get(&sim, "getRecordingTextTracks", "").await.key(), "missingParamRecordID");
    let upload = |query: String, content: &str| {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\r\n{content}\r\n--b--\r\n"
        );
        let request = client(GENEROUS).post(signed(&sim, "putRecordingTextTrack", &query)).body(body);
        reply(request.header("content-type", "multipart/form-data; boundary=b"))
    };
    let json = |reply: Reply| serde_json::from_str::<serde_json::Value>(&reply.body).unwrap()["response"].clone();
    for (query, content, key) in [
        ("recordID=nope&kind=subtitles&lang=en", "WEBVTT", "noRecordings"),
        (&format!("recordID={R1}&lang=en"), "WEBVTT", "paramError"),
        (&format!("recordID={R1}&kind=songs&lang=en"), "WEBVTT", "invalidKind"),
        (&format!("recordID={R1}&kind=captions&lang=klingon"), "WEBVTT", "invalidLang"),
        (&format!("recordID={R1}&kind=captions&lang=en"), "", "empty_uploaded_text_track"),
    ] {
        assert_eq!(json(upload(query.to_owned(), content).await)["messageKey"], key, "{query}");
    }
    let done = json(upload(format!("recordID={R1}&kind=captions&lang=en-US&label=English"), "WEBVTT").await);
    assert_eq!((done["messageKey"].as_str(), done["recordId"].as_str()), (Some("upload_text_track_success"), Some(R1)));
    let listed = json(get(&sim, "getRecordingTextTracks", &tracks).await);
    assert_eq!(
        (listed["tracks"][0]["label"].as_str(), listed["tracks"][0]["source"].as_str()),
        (Some("English"), Some("upload"))
    );
    let unsigned = client(GENEROUS).post(format!("{}putRecordingTextTrack?recordID={R1}&checksum=00", sim.url()));
    assert_eq!(reply(unsigned).await.key(), "checksumError");
}
