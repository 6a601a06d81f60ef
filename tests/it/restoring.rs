//! A backup taken under load, restored to another place: the same promises as after a kill.

use std::sync::{Arc, Mutex};

use crate::harness::{Builder, Row, note};
use crate::kill_loop::{Books, Torment};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_load_serves_elsewhere_and_nothing_is_lost_or_doubled() {
    let mut pool = Builder::new(3).start().await;
    let moodle = pool.front_end();
    let books: Arc<Mutex<Books>> = Arc::default();
    let torment = Torment::start(&moodle, "r", &books);
    torment.wait_for(40).await;
    let backup = pool.dir.path().join("backup.db");
    pool.cli_ok(&["backup", backup.to_str().unwrap()]);
    let before: Vec<String> = books.lock().unwrap().alive.keys().cloned().collect();
    torment.wait_for(80).await;
    torment.stop().await;
    // The machine is gone, and everything on it.
    pool.kill();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("new/usher.db");
    pool.set("USHER_STORE__URL", &format!("sqlite:{}", file.display()));
    let summary = pool.cli_ok(&["restore", backup.to_str().unwrap()]);
    assert!(summary.contains("restored"), "{summary}");
    pool.serve().await;
    let books = std::mem::take(&mut *books.lock().unwrap());
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
    note(Row {
        section: "kills",
        fault: "machine lost; a backup taken under load is restored elsewhere".to_owned(),
        front_ends:
            "everything is listed with the first polls; until then meetings younger than the backup are unknown"
                .to_owned(),
        pool: "servers are used after their first probes".to_owned(),
        meetings: "younger than the backup: taken over from their servers; ended since: forgotten; none twinned"
            .to_owned(),
    });
}
