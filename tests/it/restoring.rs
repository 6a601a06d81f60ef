//! A backup taken under load, restored to another place: the same promises as after a kill.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use usher::sim::Fault;

use crate::harness::{Builder, Xml, eventually};
use crate::kill_loop::{Books, Torment};
use crate::reliability::KILLS;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_load_serves_elsewhere_and_nothing_is_lost_or_doubled() {
    let mut pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    let books: Arc<Mutex<Books>> = Arc::default();
    let torment = Torment::start(&moodle, "r", &books);
    torment.wait_for(40).await;
    let backup = pool.dir.path().join("backup.db");
    let alive = || books.lock().unwrap().alive.keys().cloned().collect::<Vec<String>>();
    let stays = |id: &String| id.rsplit('-').next().unwrap().parse::<u64>().unwrap() % 5 >= 3;
    while alive().iter().filter(|id| stays(id)).count() < 5 {
        torment.wait_for(10).await;
    }
    let in_backup: Vec<String> = alive().into_iter().filter(stays).collect();
    pool.cli_ok(&["backup", backup.to_str().unwrap()]);
    let before = alive();
    torment.wait_for(80).await;
    // What stays alive comes in waves, as all front ends do the same.
    while alive().iter().filter(|id| !before.contains(id)).count() < 10 {
        torment.wait_for(10).await;
    }
    torment.stop().await;
    // The machine is gone, and everything on it.
    pool.kill();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("new/usher.db");
    pool.set("USHER_STORE__URL", &format!("sqlite:{}", file.display()));
    let summary = pool.cli_ok(&["restore", backup.to_str().unwrap()]);
    assert!(summary.contains("restored"), "{summary}");
    for server in &pool.servers {
        server.fault_on("getMeetings", Fault::Silent, None);
    }
    pool.serve_unpolled().await;
    let books = std::mem::take(&mut *books.lock().unwrap());
    // What the backup has is there before any server has told what it has.
    let listed = moodle.get("getMeetings", "").await.body;
    for id in &in_backup {
        assert!(listed.contains(&books.alive[id]), "{id} is in the backup: {listed}");
    }
    for server in &pool.servers {
        server.heal();
    }
    let later = books.alive.keys().filter(|id| !before.contains(id)).count();
    assert!(!before.is_empty() && later > 5 && books.ended.len() > 5, "{later} meetings are younger than the backup");
    books.check_alive(&pool, &moodle, &file).await;
    let metrics = pool.metrics().await;
    let adopted = metrics.lines().find_map(|line| line.strip_prefix("usher_meetings_adopted_total ")).unwrap();
    assert!(adopted.parse::<f64>().unwrap() >= later as f64, "{adopted} of {later} were taken over");
    // And it is a store like any other.
    moodle.create("after", "").await;
    pool.kill();
    pool.serve().await;
    books.check_alive(&pool, &moodle, &file).await;
    KILLS.write(
        1_000_000,
        &[
            "machine lost; a backup that was taken under load is restored elsewhere",
            &format!("{} meetings alive, {later} of them younger than the backup", books.alive.len()),
            "what the backup has is listed before the first poll, everything after it",
            "younger than the backup: taken over from their servers; ended since: forgotten; none on two servers",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_only_its_server_knows_is_not_made_twice_right_after_the_start() {
    let pool = Builder::new(3).set("USHER_HEALTH__HEALTHY_AFTER", "1").start().await;
    let moodle = pool.front_end();
    let backup = pool.dir.path().join("backup.db");
    pool.cli_ok(&["backup", backup.to_str().unwrap()]);
    let query = "name=Room&meetingID=young&attendeePW=ap&moderatorPW=mp";
    let promised = moodle.get("create", query).await.xml().text("internalMeetingID");
    let holder = pool.holders("young")[0];
    pool.kill();
    pool.cli_ok(&["restore", backup.to_str().unwrap(), "--force"]);
    // Its server is the last to tell what it has.
    pool.servers[holder].fault_on("getMeetings", Fault::Slow(Duration::from_millis(400)), Some(1));
    pool.start_process();
    let again = eventually("the meeting is created again", || async {
        let answer = moodle.http.get(moodle.url("create", query)).send().await.ok()?.text().await.ok()?;
        answer.contains("<returncode>SUCCESS").then(|| Xml::parse(&answer).text("internalMeetingID"))
    })
    .await;
    assert_eq!(again, promised);
    assert_eq!(pool.holders("young"), [holder]);

    // A server that says nothing at all holds up nobody.
    pool.kill();
    pool.servers[holder].fault(Fault::BlackHole);
    pool.start_process();
    eventually("another meeting is created", || async {
        let answer = moodle.http.get(moodle.url("create", "name=Room&meetingID=new")).send().await.ok()?;
        answer.text().await.ok()?.contains("<returncode>SUCCESS").then_some(())
    })
    .await;
    assert_eq!(pool.servers[holder].count_calls("create"), 2, "the hanging server was not asked");
}
