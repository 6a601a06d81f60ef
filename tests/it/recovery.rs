//! What an operator does to a running Usher's store and process, and how it comes back.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Builder, FrontEnd, Pool, eventually, eventually_or, signal};
use crate::reliability::STORE;

fn database(pool: &Pool) -> PathBuf {
    pool.dir.path().join("usher.db")
}

async fn readiness_says(pool: &Pool, words: &str) {
    eventually_or(&format!("readiness says {words:?}"), || async {
        let answer = FrontEnd::new(&pool.http, "").fetch(&format!("{}/readyz", pool.http)).await;
        answer.body.contains(words).then_some(()).ok_or(answer.body)
    })
    .await;
}

async fn logged(pool: &Pool, words: &str) {
    eventually(&format!("the log says {words:?}"), || async { pool.log().contains(words).then_some(()) }).await;
}

/// The meeting is refused in words, and no server hears of it.
async fn refuses(pool: &Pool, id: &str) {
    let answer = pool.front_end().get("create", &format!("name=Room&meetingID={id}")).await;
    assert_eq!(answer.returncode(), "FAILED", "{}", answer.body);
    assert!(answer.xml().text("message").contains("could not be recorded"), "{}", answer.body);
    assert!(pool.holders(id).is_empty());
}

/// Exit code and what was said, on both outputs.
fn said(pool: &Pool, words: &[&str]) -> (Option<i32>, String) {
    let output = pool.cli(words);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

async fn upgrade_is_refused(pool: &Pool, words: &str) {
    let old = pool.start_upgrade();
    assert_ne!(pool.wait_exit().await, Some(0));
    pool.take_back(old);
    logged(pool, words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_moved_away_stops_promises_at_once_and_is_in_use_again_when_it_is_put_back() {
    let pool = Builder::new(1).start().await;
    pool.front_end().create("before", "").await;
    let (file, away) = (database(&pool), pool.dir.path().join("away.db"));
    std::fs::rename(&file, &away).unwrap();
    refuses(&pool, "lost").await;
    readiness_says(&pool, "was moved or deleted").await;
    assert!(pool.metrics().await.contains("usher_store_up 0"));
    let copy = pool.dir.path().join("copy.db");
    for words in [&["backup", copy.to_str().unwrap()][..], &["server", "list"], &["status"], &["check", "--online"]] {
        let (code, text) = said(&pool, words);
        assert_eq!(code, Some(1), "{words:?}: {text}");
        assert!(text.contains("there is no store at") && text.contains("usher.db"), "{words:?}: {text}");
    }
    upgrade_is_refused(&pool, "there is no store at").await;
    assert!(!file.exists() && !copy.exists(), "nobody has made a new one");
    pool.front_end().join("before", "Ann").await;
    std::fs::rename(&away, &file).unwrap();
    pool.wait_ready().await;
    pool.front_end().create("lost", "").await;
    STORE.write(
        4,
        &[
            "database moved away or deleted under the running process",
            "refused in words (FAILED) from the next create on",
            "joins and running meetings go on; `usher backup` and an upgrade are refused",
            "its file was moved or deleted",
            "when it is put back; into a new file only when asked for (SIGUSR1)",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_replaced_is_not_copied_nor_taken_over_and_is_written_anew_only_when_asked_for() {
    let pool = Builder::new(1).start().await;
    pool.front_end().create("before", "").await;
    pool.signal("USR1");
    logged(&pool, "is in its place, nothing is to be done").await;
    let file = database(&pool);
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", file.display())).unwrap();
    }
    pool.cli_ok(&["tenant", "add", "other", "--secret", "other-secret-of-a-tenant"]);
    refuses(&pool, "lost").await;
    readiness_says(&pool, "was replaced by another one").await;
    let (code, text) = said(&pool, &["status"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("ANOTHER store") && text.contains("usher.db"), "{text}");
    let copy = pool.dir.path().join("copy.db");
    let (code, text) = said(&pool, &["backup", copy.to_str().unwrap()]);
    assert_eq!((code, copy.exists()), (Some(1), false), "{text}");
    assert!(text.contains("ANOTHER store"), "{text}");
    upgrade_is_refused(&pool, "its store is not in its place").await;

    pool.signal("USR1");
    logged(&pool, "the store was written anew").await;
    pool.wait_ready().await;
    pool.front_end().create("lost", "").await;
    let meetings = pool.cli_ok(&["--json", "meeting", "list"]);
    assert!(meetings.contains("before") && meetings.contains("lost"), "{meetings}");
    assert!(pool.cli_ok(&["server", "list"]).contains("bbb1"));
    pool.cli_ok(&["backup", copy.to_str().unwrap()]);
    assert_eq!(said(&pool, &["status"]).0, Some(0));
    STORE.write(
        5,
        &[
            "database replaced by another one under the running process",
            "refused in words (FAILED) from the next create on",
            "joins and running meetings go on; `usher backup` and an upgrade are refused",
            "its file was replaced by another one",
            "with SIGUSR1: everything that is known is written into a new file",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_with_another_store_is_refused() {
    let mut pool = Builder::new(1).start().await;
    let socket = pool.dir.path().join("usher.db.upgrade");
    let other = pool.dir.path().join("other.db");
    pool.set("USHER_STORE__URL", &format!("sqlite:{}", other.display()));
    pool.set("USHER_PROCESS__UPGRADE_SOCKET", socket.to_str().unwrap());
    pool.cli_ok(&["tenant", "add", "other", "--secret", "other-secret-of-a-tenant"]);
    upgrade_is_refused(&pool, "it uses another store").await;
    pool.front_end().create("room", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_read_only_at_the_start_is_in_use_when_that_is_put_right() {
    let mut pool = Builder::new(1).prepare().await;
    let file = database(&pool);
    let change = |how: &str| {
        let status = Command::new("chattr").args([how, file.to_str().unwrap()]).status();
        status.is_ok_and(|status| status.success())
    };
    if !change("+i") {
        eprintln!("not tested: making a file immutable is not permitted here");
        return;
    }
    pool.start_process();
    let address = pool.http.trim_start_matches("http://").to_owned();
    eventually("it listens", || async { tokio::net::TcpStream::connect(&address).await.ok() }).await;
    let refused = async {
        readiness_says(&pool, "the store does not answer").await;
        refuses(&pool, "early").await;
        let (code, text) = said(&pool, &["check", "--online"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(!text.contains("store ok"), "{text}");
    };
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(60), refused).await;
    assert!(change("-i"));
    outcome.unwrap();
    pool.wait_ready().await;
    pool.front_end().create("early", "").await;
    pool.kill();
    pool.serve().await;
    assert_eq!(pool.holders("early").len(), 1);
    STORE.write(
        6,
        &[
            "database read-only when the process starts (wrong owner)",
            "refused in words (FAILED); no server is called before the claim is durable",
            "joins and running meetings go on",
            "the store does not answer (the database is read-only)",
            "within a second after it is put right, without a restart",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_the_file_alone_has_everything() {
    let pool = Builder::new(1).start().await;
    pool.front_end().create("room", "").await;
    pool.signal("TERM");
    assert_eq!(pool.wait_exit().await, Some(0));
    let copy = pool.dir.path().join("copied.db");
    std::fs::copy(database(&pool), &copy).unwrap();
    let copied = rusqlite::Connection::open(&copy).unwrap();
    let count = |table: &str| -> i64 {
        copied.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("servers"), count("tenants"), count("placements")), (1, 1, 1));
    assert!(!pool.log().contains("is not merged"), "{}", pool.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_compares_with_what_runs() {
    let pool = Builder::new(1).start().await;
    let base = std::fs::read_to_string(pool.config_path()).unwrap();
    let reload = |text: &str| {
        std::fs::write(pool.config_path(), text).unwrap();
        pool.signal("HUP");
    };
    let count = |words: &str| pool.log().lines().filter(|line| line.contains(words)).count();
    let reloaded = |times: usize| async move {
        eventually("reloaded", || async { (count("configuration reloaded") == times).then_some(()) }).await;
        count("takes effect at the next restart")
    };
    let other = base.replace("threads = 2", "threads = 3");
    reload(&other);
    assert_eq!(reloaded(1).await, 1);
    reload(&other);
    assert_eq!(reloaded(2).await, 2, "it differs still");
    reload(&base);
    assert_eq!(reloaded(3).await, 2, "it runs with this");
}

/// The only child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn process_one_of_a_container_hands_over_to_nobody() {
    let unshare = ["unshare", "--pid", "--fork", "--kill-child"];
    if !Command::new(unshare[0]).args(&unshare[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: a process namespace is not permitted here");
        return;
    }
    let mut pool = Builder::new(1).prepare().await;
    pool.launcher = unshare.map(str::to_owned).to_vec();
    pool.serve().await;
    let inside = child_of(pool.pid()).unwrap();
    signal(inside, "USR2");
    logged(&pool, "process 1 of a container").await;
    pool.launcher = ["nsenter", "--target", &inside.to_string(), "--pid"].map(str::to_owned).to_vec();
    upgrade_is_refused(&pool, "the running Usher goes on: it refuses: this Usher is process 1").await;
    pool.front_end().create("room", "").await;
    signal(inside, "KILL");
}
