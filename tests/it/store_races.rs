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

/// When the threads work.
#[derive(Default)]
struct Signals {
    stop: AtomicBool,
    /// No commands: a restore finds the store unused.
    quiet: AtomicBool,
    restored: AtomicU64,
}

/// Runs `step` with a number that counts up, until told to stop; counts how often it worked.
fn again_and_again(
    pool: &Arc<Pool>,
    signals: &Arc<Signals>,
    step: impl Fn(&Pool, u64) -> bool + Send + 'static,
) -> std::thread::JoinHandle<u64> {
    let (pool, signals) = (pool.clone(), signals.clone());
    std::thread::spawn(move || {
        let mut worked = 0;
        let mut number = 0;
        while !signals.stop.load(Ordering::Acquire) {
            if signals.quiet.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(1));
                continue;
            }
            worked += u64::from(step(&pool, number));
            number += 1;
        }
        worked
    })
}

/// Restores all the time, whoever uses the store.
fn restore_all_the_time(pool: &Arc<Pool>, signals: &Arc<Signals>, backup: Arc<str>) -> std::thread::JoinHandle<()> {
    let (pool, signals) = (pool.clone(), signals.clone());
    std::thread::spawn(move || {
        while !signals.stop.load(Ordering::Acquire) {
            if allowed(&pool.cli(&["restore", &backup, "--force"]), &["is in use"], "restore") {
                signals.restored.fetch_add(1, Ordering::AcqRel);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_starts_kills_and_restores_at_once_leave_one_sound_store() {
    let seconds = std::env::var("USHER_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let pool = Arc::new(Builder::new(1).set("USHER_HEALTH__HEALTHY_AFTER", "1").prepare().await);
    let backup = pool.dir.path().join("first.db");
    let backup: Arc<str> = backup.to_str().unwrap().into();
    pool.cli_ok(&["backup", &backup]);
    let signals = Arc::new(Signals::default());
    let list = again_and_again(&pool, &signals, |pool, _| {
        allowed(&pool.cli(&["server", "list"]), &[], "server list while others work")
    });
    let add = again_and_again(&pool, &signals, |pool, number| {
        let added = pool.cli(&["tenant", "add", &format!("t{number}"), "--secret", "secret-of-one"]);
        allowed(&added, &[], "tenant add while others work")
    });
    let copy = again_and_again(&pool, &signals, |pool, number| {
        let file: PathBuf = pool.dir.path().join(format!("copy-{number}.db"));
        let worked = allowed(&pool.cli(&["backup", file.to_str().unwrap()]), &[], "backup while others work");
        std::fs::remove_file(file).unwrap();
        worked
    });
    let restore = restore_all_the_time(&pool, &signals, backup.clone());
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let served = AtomicU64::new(0);
    while Instant::now() < deadline {
        // A start between restores: whichever comes first, both then mean the same file.
        signals.quiet.store(true, Ordering::Release);
        let before = signals.restored.load(Ordering::Acquire);
        eventually("a restore works", || async { (signals.restored.load(Ordering::Acquire) > before).then_some(()) })
            .await;
        pool.start_process();
        pool.wait_ready().await;
        signals.quiet.store(false, Ordering::Release);
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
    signals.stop.store(true, Ordering::Release);
    restore.join().unwrap();
    let counts = [list, add, copy].map(|thread| thread.join().unwrap());
    let restored = signals.restored.load(Ordering::Acquire);
    let served = served.load(Ordering::Acquire);
    eprintln!("{served} starts and kills; lists, additions, backups that worked: {counts:?}; {restored} restores");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let database = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    drop(database);
    pool.cli_ok(&["restore", &backup, "--force"]);
    assert!(pool.cli_ok(&["--json", "tenant", "list"]).contains("main"));
}
