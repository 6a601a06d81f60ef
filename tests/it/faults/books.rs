//! The reckoning after a fault: what Usher says, and what the simulated servers have in their own books.

use std::collections::{BTreeMap, HashSet};

use usher::sim::SeenCall;

use super::load::{Load, create_query};
use super::stage::Stage;
use crate::harness::eventually_or;

/// How many meetings were checked.
#[derive(Debug, Default)]
pub struct Reckoning {
    /// Standing and new meetings, each found once with the id that was promised.
    pub kept: usize,
    /// Ended by their front ends.
    pub ended: usize,
    /// Creates that were refused, and made on another try after the fault.
    pub made_later: usize,
    /// Lost by their own server.
    pub lost: usize,
}

/// Everything that must be true when the fault is over and the load has stopped.
pub async fn reckon(stage: &Stage, load: &Load, case: &str) -> Reckoning {
    let mut reckoning = Reckoning::default();
    stage.pool.wait_polls().await;
    let rooms: BTreeMap<_, _> = load.rooms.lock().clone();
    let mut alive: BTreeMap<String, String> = BTreeMap::new();
    for standing in load.standing.iter().filter(|standing| !load.is_lost(&standing.id)) {
        assert_eq!(stage.pool.holders(&standing.id), [standing.server], "{case}: {}", standing.id);
        let meeting = stage.pool.servers[standing.server].meeting(&standing.id).unwrap();
        assert_eq!(meeting.internal_id, standing.internal_id, "{case}: {}", standing.id);
        assert!(meeting.people() >= 1, "{case}: the people of {} are gone", standing.id);
        alive.insert(standing.id.clone(), standing.internal_id.clone());
    }
    for room in rooms.values().filter(|room| !load.is_lost(&room.id)) {
        match &room.internal_id {
            _ if room.end_asked => {
                eventually_or(&format!("{case}: the end of {}", room.id), || async {
                    let holders = stage.pool.holders(&room.id);
                    let may_stay = !room.ended;
                    (holders.is_empty() || (may_stay && holders.len() == 1)).then_some(()).ok_or(format!("{holders:?}"))
                })
                .await;
                reckoning.ended += 1;
            }
            Some(internal_id) => {
                alive.insert(room.id.clone(), internal_id.clone());
            }
            None => {}
        }
    }
    for (id, internal_id) in &alive {
        eventually_or(&format!("{case}: {id} is on one server"), || async {
            let holders = stage.pool.holders(id);
            (holders.len() == 1).then_some(()).ok_or(format!("{holders:?}"))
        })
        .await;
        let info = stage.moodle.get("getMeetingInfo", &format!("meetingID={id}")).await;
        assert_eq!(&info.xml().text("internalMeetingID"), internal_id, "{case}: {id}: {}", info.body);
    }
    reckoning.kept = alive.len();
    forgotten_are_new(stage, load, case, &mut reckoning).await;
    for room in rooms.values().filter(|room| room.internal_id.is_none() && !load.is_lost(&room.id)) {
        made_at_last(stage, &room.id, case).await;
        reckoning.made_later += 1;
    }
    listed_once(stage, &alive, case).await;
    only_what_was_asked_is_ended(stage, load, case);
    reckoning
}

/// A create that was refused leaves nothing that a second try would meet as a twin.
async fn made_at_last(stage: &Stage, id: &str, case: &str) {
    let again = stage.moodle.get("create", &create_query(id)).await;
    assert_eq!(again.returncode(), "SUCCESS", "{case}: {id}: {}", again.body);
    let internal_id = again.xml().text("internalMeetingID");
    eventually_or(&format!("{case}: {id}, made at last, is on one server"), || async {
        let holders = stage.pool.holders(id);
        (holders.len() == 1).then_some(()).ok_or(format!("{holders:?}"))
    })
    .await;
    let info = stage.moodle.get("getMeetingInfo", &format!("meetingID={id}")).await;
    assert_eq!(info.xml().text("internalMeetingID"), internal_id, "{case}: {id}: {}", info.body);
}

/// Meetings that their own server lost: Usher sees it, and a new create makes them anew.
async fn forgotten_are_new(stage: &Stage, load: &Load, case: &str, reckoning: &mut Reckoning) {
    let lost = load.lost.lock().clone();
    for id in &lost {
        made_at_last(stage, id, case).await;
    }
    reckoning.lost = lost.len();
}

/// getMeetings shows each living meeting once.
async fn listed_once(stage: &Stage, alive: &BTreeMap<String, String>, case: &str) {
    eventually_or(&format!("{case}: getMeetings is complete"), || async {
        let listed = stage.moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
        let ids: Vec<String> = listed.iter().map(|meeting| meeting.text("meetingID")).collect();
        let distinct: HashSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{case}: twins in getMeetings");
        let missing: Vec<&String> = alive.keys().filter(|id| !distinct.contains(id)).collect();
        let on_servers: usize = stage.pool.servers.iter().map(|server| server.meetings().len()).sum();
        let is_whole = missing.is_empty() && ids.len() == on_servers;
        is_whole.then_some(()).ok_or(format!("missing {missing:?}, {} listed, {on_servers} there", ids.len()))
    })
    .await;
}

/// Every `end` that reached a server: asked for by the front end, or for a copy that a create had left behind there
/// when the meeting was made elsewhere.
fn only_what_was_asked_is_ended(stage: &Stage, load: &Load, case: &str) {
    let rooms = load.rooms.lock();
    let value = |seen: &SeenCall, name: &str| {
        let mut pairs = url::form_urlencoded::parse(seen.raw_query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let calls: Vec<Vec<SeenCall>> = stage.pool.servers.iter().map(|server| server.calls()).collect();
    let mut creates: BTreeMap<String, HashSet<usize>> = BTreeMap::new();
    for (server, calls) in calls.iter().enumerate() {
        for seen in calls.iter().filter(|seen| seen.call == "create") {
            creates.entry(value(seen, "meetingID")).or_default().insert(server);
        }
    }
    for (server, calls) in calls.iter().enumerate() {
        for seen in calls.iter().filter(|seen| seen.call == "end") {
            let id = value(seen, "meetingID");
            let was_asked = rooms.get(&id).is_some_and(|room| room.end_asked);
            let was_refused = rooms.get(&id).is_some_and(|room| room.internal_id.is_none());
            let has_moved = creates.get(&id).is_some_and(|servers| servers.len() > 1);
            assert!(was_asked || has_moved || was_refused, "{case}: server {server} was told to end {id}");
            assert!(load.standing.iter().all(|standing| standing.id != id), "{case}: {id} was ended");
        }
    }
}
