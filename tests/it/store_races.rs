//! Commands, starts, kills and restores on one store at the same time: each works or is refused in words, and none
//! leaves a process behind that works on a file which is no longer the store.
//!
//! Two seconds in the ordinary suite; `USHER_STRESS` gives another number of them.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Builder, FrontEnd, Pool, eventually};

/// A command that may be refused only because others use the store.
fn allowed(output: &Output, refusals: &[&str], what: &str) -> bool {
    let errors = String::from_utf8_lossy(&output.stderr);
    let refused = refusals.iter().any(|refusal| errors.contains(refusal));
    assert!(output.status.success() || refused, "{what}: {:?} {errors}", output.status);
    output.status.success()
}

/// Runs `step` with a number that counts up, until told to stop; counts how often it worked.
fn again_and_again(
    pool: &Arc<Pool>,
    stop: &Arc<AtomicBool>,
    step: impl Fn(&Pool, u64) -> bool + Send + 'static,
) -> std::thread::JoinHandle<u64> {
    let (pool, stop) = (pool.clone(), stop.clone());
    std::thread::spawn(move || {
        let mut worked = 0;
        for number in 0.. {
            if stop.load(Ordering::Acquire) {
                break;
            }
            worked += u64::from(step(&pool, number));
        }
        worked
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_starts_kills_and_restores_at_once_leave_one_sound_store() {
    let seconds = std::env::var("USHER_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let pool = Arc::new(Builder::new(1).set("USHER_HEALTH__HEALTHY_AFTER", "1").prepare().await);
    let backup = pool.dir.path().join("first.db");
    let backup: Arc<str> = backup.to_str().unwrap().into();
    pool.cli_ok(&["backup", &backup]);
    let stop = Arc::new(AtomicBool::new(false));
    let list = again_and_again(&pool, &stop, |pool, _| {
        allowed(&pool.cli(&["server", "list"]), &[], "server list while others work")
    });
    let add = again_and_again(&pool, &stop, |pool, number| {
        let added = pool.cli(&["tenant", "add", &format!("t{number}"), "--secret", "secret-of-one"]);
        allowed(&added, &[], "tenant add while others work")
    });
    let copy = again_and_again(&pool, &stop, |pool, number| {
        let file: PathBuf = pool.dir.path().join(format!("copy-{number}.db"));
        let worked = allowed(&pool.cli(&["backup", file.to_str().unwrap()]), &[], "backup while others work");
        std::fs::remove_file(file).unwrap();
        worked
    });
    let restore = again_and_again(&pool, &stop, {
        let backup = backup.clone();
        move |pool, _| allowed(&pool.cli(&["restore", &backup, "--force"]), &["is in use"], "restore")
    });
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let served = AtomicU64::new(0);
    while Instant::now() < deadline {
        pool.start_process();
        pool.wait_ready().await;
        // From here on nobody can replace the file; whoever serves another one will not hear of this.
        let name = format!("heard-{}", served.fetch_add(1, Ordering::AcqRel));
        pool.cli_ok(&["tenant", "add", &name, "--secret", "secret-of-heard"]);
        let caller = FrontEnd::new(format!("{}/t/{name}/bigbluebutton/api", pool.http), "secret-of-heard");
        eventually("the running process follows the store", || async {
            (caller.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
        })
        .await;
        pool.kill();
    }
    stop.store(true, Ordering::Release);
    let counts = [list, add, copy, restore].map(|thread| thread.join().unwrap());
    let served = served.load(Ordering::Acquire);
    eprintln!("{served} starts and kills; lists, additions, backups, restores that worked: {counts:?}");
    assert!(counts[..3].iter().all(|count| *count > 0), "{counts:?}");
    let database = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    drop(database);
    pool.cli_ok(&["restore", &backup, "--force"]);
    assert!(pool.cli_ok(&["--json", "tenant", "list"]).contains("main"));
}
