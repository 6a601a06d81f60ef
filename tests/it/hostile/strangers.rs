//! Tenants that probe each other's recordings (for meetings see `tenants.rs`): by whole ids, by beginnings, by filters.

use usher::sim::{SimRecording, SimServer};

use super::still_well;
use crate::harness::{Builder, FrontEnd, Pool, TenantBuilder};

fn front(pool: &Pool, tenant: &str) -> FrontEnd {
    FrontEnd::new(format!("{}/t/{tenant}/bigbluebutton/api", pool.http), format!("secret-of-{tenant}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_or_changes_anothers_recordings() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
        TenantBuilder::new("beta", "secret-of-beta", &["--host", "beta.test"]),
    ];
    let pool = Builder::new(2).tenants(tenants).start().await;
    let pid = pool.pid();
    for tenant in ["main", "alpha", "beta"] {
        front(&pool, tenant).create("course", &format!("&record=true&meta_owner={tenant}")).await;
    }
    // A recording of each meeting, as BBB would make it: with the meeting's metadata.
    let mut owned: Vec<(String, String, String)> = Vec::new();
    for server in &pool.servers {
        for meeting in server.meetings() {
            let recording = SimRecording::of_meeting(&meeting);
            let owner = meeting.metadata.iter().find(|(name, _)| name.as_str() == "owner").unwrap().1.clone();
            owned.push((owner, recording.record_id.clone(), meeting.meeting_id.clone()));
            server.add_recording(recording);
        }
    }
    assert_eq!(owned.len(), 3);
    let before: Vec<Vec<SimRecording>> = pool.servers.iter().map(SimServer::recordings).collect();
    for (owner, record, bbb_id) in &owned {
        assert!(
            front(&pool, owner)
                .get("getRecordings", &format!("recordID={record}"))
                .await
                .body
                .contains(record.as_str())
        );
        for stranger in ["main", "alpha", "beta"].iter().filter(|tenant| *tenant != owner) {
            let stranger_front = front(&pool, stranger);
            let start = &record[..12];
            for query in [
                String::new(),
                format!("recordID={record}"),
                format!("recordID={start}"),
                format!("recordID={}", record.to_uppercase()),
                format!("recordID=x,{record},y"),
                format!("meetingID={bbb_id}"),
                format!("meetingID={record}"),
                format!("meetingID=course,{bbb_id}"),
                "state=any".to_owned(),
                "state=published,processing,deleted".to_owned(),
                format!("meta_owner={owner}"),
                "meta_usher-meeting-id=course".to_owned(),
                "meta_USHER-meeting-id=course".to_owned(),
                "offset=0&limit=100".to_owned(),
            ] {
                let answer = stranger_front.get("getRecordings", &query).await;
                let seen = answer.body.contains(record.as_str()) || answer.body.contains("usher-");
                // The default tenant's ids go to servers unchanged, so its own id may stand in its own answer.
                assert!(!seen, "{stranger} asks {query:?}: {}", answer.body);
                assert!(!answer.body.contains(&format!("<owner>{owner}")), "{stranger} {query:?}: {}", answer.body);
            }
            for (call, more) in [
                ("publishRecordings", "&publish=false"),
                ("deleteRecordings", ""),
                ("updateRecordings", "&meta_owner=thief"),
                ("updateRecordings", "&meta_usher-meeting-id=course"),
                ("getRecordingTextTracks", ""),
            ] {
                for ids in [
                    record.clone(),
                    start.to_owned(),
                    format!("{record},{start}"),
                    record.to_uppercase(),
                    "%25".to_owned(),
                ] {
                    let answer = stranger_front.get(call, &format!("recordID={ids}{more}")).await;
                    assert!(!answer.body.contains("SUCCESS"), "{stranger} {call} {ids}: {}", answer.body);
                }
            }
            let track =
                "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\r\nWEBVTT\r\n--b--\r\n";
            let query = format!("recordID={record}&kind=subtitles&lang=en");
            let put =
                stranger_front.post("putRecordingTextTrack", &query, "multipart/form-data; boundary=b", track).await;
            assert!(!put.body.contains("SUCCESS"), "{stranger}: {}", put.body);
        }
    }
    let after: Vec<Vec<SimRecording>> = pool.servers.iter().map(SimServer::recordings).collect();
    assert_eq!(format!("{before:?}"), format!("{after:?}"), "no server has changed anything");
    for server in &pool.servers {
        for call in ["publishRecordings", "deleteRecordings", "updateRecordings", "putRecordingTextTrack"] {
            assert_eq!(server.count_calls(call), 0, "{call} never left");
        }
    }
    // Mixed with the stranger's, one's own are changed and nothing else.
    let of = |tenant: &str| owned.iter().find(|(owner, ..)| owner == tenant).unwrap().1.clone();
    let both = format!("recordID={},{}&publish=false", of("alpha"), of("beta"));
    assert_eq!(front(&pool, "alpha").get("publishRecordings", &both).await.returncode(), "SUCCESS");
    let sent: Vec<String> = pool.servers.iter().flat_map(SimServer::calls).map(|call| format!("{call:?}")).collect();
    let sent: Vec<&String> = sent.iter().filter(|call| call.contains("publishRecordings")).collect();
    assert!(sent.len() == 1 && sent[0].contains(&of("alpha")) && !sent[0].contains(&of("beta")), "{sent:?}");
    still_well(&pool, pid).await;
}
