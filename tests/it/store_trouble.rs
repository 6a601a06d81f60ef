//! The store's disk full, unwritable or held by another process, under the real binary.
//!
//! A full disk is a small tmpfs; a disk that has become read-only is a file made immutable under the running process,
//! because a mount with open files cannot be turned. Both need root; without it the test says so and ends, and the
//! store's own tests (`max_page_count`) stand alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use usher::sim::Fault;

use crate::harness::{Builder, FrontEnd, Pool, eventually, eventually_or};
use crate::reliability::STORE;

fn run(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

fn not_permitted(what: &str) {
    eprintln!("not tested: {what} is not permitted here");
}

/// A disk of its own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_str().unwrap().to_owned();
        run(&["mount", "-t", "tmpfs", "-o", "size=2m", "usher-test", &path]).then_some(Self(place))
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.0.path().join("usher.db").display())
    }

    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.path().join("ballast")).unwrap();
        let block = [0_u8; 4096];
        while ballast.write_all(&block).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&["umount", "-l", self.0.path().to_str().unwrap()]);
    }
}

/// Files and directories that nobody may change, not even root; undone when dropped.
struct Immutable(Vec<PathBuf>);

impl Immutable {
    fn make(paths: &[PathBuf]) -> Option<Self> {
        let frozen = Self(paths.to_vec());
        paths.iter().all(|path| run(&["chattr", "+i", path.to_str().unwrap()])).then_some(frozen)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        for path in &self.0 {
            run(&["chattr", "-i", path.to_str().unwrap()]);
        }
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn readiness(pool: &Pool) -> (u16, String) {
    let answer = FrontEnd::new(&pool.http, "").fetch(&format!("{}/readyz", pool.http)).await;
    (answer.status, answer.body)
}

/// The store takes nothing: new meetings are refused in words and sent nowhere, everything else goes on.
async fn check_refuses(pool: &Pool, why: &str) {
    let moodle = pool.front_end();
    let calls = || pool.servers.iter().map(|server| server.count_calls("create")).sum::<u64>();
    let before = calls();
    for number in 0..3 {
        let refused = moodle.get("create", &format!("name=Room&meetingID=refused-{number}")).await;
        assert_eq!((refused.status, refused.returncode().as_str()), (200, "FAILED"), "{}", refused.body);
        assert!(refused.xml().text("message").contains("could not be recorded"), "{}", refused.body);
    }
    assert_eq!(calls(), before, "no server was called before the claim was durable");
    eventually_or(&format!("readiness says: {why}"), || async {
        let (status, reasons) = readiness(pool).await;
        (status == 503 && reasons.contains(why)).then_some(()).ok_or(format!("{status} {reasons}"))
    })
    .await;
    assert!(pool.metrics().await.contains("usher_store_up 0"));
    let reader = FrontEnd::new(&pool.http, "");
    assert_eq!(reader.fetch(&format!("{}/livez", pool.http)).await.status, 200, "restarting would not help");
    join_leads_in(pool, "before").await;
    assert_eq!(moodle.get("getMeetingInfo", "meetingID=before").await.returncode(), "SUCCESS");
    assert_eq!(moodle.get("create", BEFORE).await.returncode(), "SUCCESS", "a repeated create needs no store");
    assert!(moodle.get("getMeetings", "").await.body.contains("<meetingID>before</meetingID>"));
    let running = moodle.get("isMeetingRunning", "meetingID=before").await;
    assert_eq!(running.returncode(), "SUCCESS", "{}", running.body);
    // Ended, and gone with the next poll, although the store cannot be told.
    assert_eq!(moodle.get("end", "meetingID=to-end&password=mp").await.returncode(), "SUCCESS");
    eventually("what was ended is listed no more", || async {
        (!moodle.get("getMeetings", "").await.body.contains("<meetingID>to-end</meetingID>")).then_some(())
    })
    .await;
    assert_eq!(pool.holders("before").len(), 1);
}

/// A join of an unknown meeting redirects as well, but to nobody's server.
async fn join_leads_in(pool: &Pool, id: &str) {
    let location = pool.front_end().join(id, "Ann").await;
    let home = pool.holders(id)[0];
    assert!(location.starts_with(&pool.servers[home].url()), "{id}: {location}");
}

/// A meeting that stays, and one to be ended while the store fails.
async fn two_meetings(pool: &Pool) {
    let moodle = pool.front_end();
    assert_eq!(moodle.get("create", BEFORE).await.returncode(), "SUCCESS");
    moodle.create("to-end", "&attendeePW=ap&moderatorPW=mp").await;
}

async fn check_recovers(pool: &Pool) {
    let pid = pool.pid();
    eventually("ready again", || async { (readiness(pool).await.0 == 200).then_some(()) }).await;
    assert!(pool.metrics().await.contains("usher_store_up 1"));
    for number in 0..3 {
        pool.front_end().create(&format!("refused-{number}"), "").await;
        assert_eq!(pool.holders(&format!("refused-{number}")).len(), 1);
    }
    assert_eq!(pool.pid(), pid, "without a restart");
    assert_eq!(pool.holders("before").len(), 1);
    eventually("the store hears of the end", || async {
        (!pool.cli_ok(&["--json", "meeting", "list"]).contains("to-end")).then_some(())
    })
    .await;
}

const BEFORE: &str = "name=Room&meetingID=before&attendeePW=ap&moderatorPW=mp";

fn row(place: usize, fault: &str, readiness: &str, recovery: &str) {
    let refused = "refused in words (FAILED); no server is called before the claim is durable";
    let goes_on = "joins, running meetings, repeated creates, `end` go on; none ended, forgotten or twinned";
    STORE.write(place, &[fault, refused, goes_on, readiness, recovery]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_meetings_only_and_needs_no_restart() {
    let Some(disk) = SmallDisk::mount() else { return not_permitted("mounting a small disk") };
    let mut pool = Builder::new(2).set("USHER_STORE__URL", &disk.url()).start().await;
    let moodle = pool.front_end();
    two_meetings(&pool).await;
    disk.fill();
    check_refuses(&pool, "the disk is full").await;
    disk.clear();
    check_recovers(&pool).await;

    // Full between claim and confirmation: the claim is durable, so the answer is given; the rest is written later.
    for server in &pool.servers {
        server.fault_on("create", Fault::Slow(Duration::from_millis(1500)), None);
    }
    let asked = || pool.servers.iter().map(|server| server.count_calls("create")).sum::<u64>();
    let before = asked();
    let query = "name=Room&meetingID=late&attendeePW=ap&moderatorPW=mp";
    let (created, ()) = tokio::join!(moodle.get("create", query), async {
        eventually("a server is at work", || async { (asked() > before).then_some(()) }).await;
        disk.fill();
    });
    assert_eq!(created.returncode(), "SUCCESS", "{}", created.body);
    let internal_id = created.xml().text("internalMeetingID");
    join_leads_in(&pool, "late").await;
    disk.clear();
    let phase = |pool: &Pool| {
        let shown: serde_json::Value =
            serde_json::from_str(&pool.cli_ok(&["--json", "meeting", "show", "late"])).unwrap();
        (shown["phase"].as_str().unwrap().to_owned(), shown["internal_id"].as_str().unwrap_or_default().to_owned())
    };
    eventually("the confirmation is written when there is room", || async {
        (phase(&pool) == ("confirmed".to_owned(), internal_id.clone())).then_some(())
    })
    .await;
    pool.kill();
    pool.serve().await;
    assert_eq!(pool.holders("late").len(), 1);
    join_leads_in(&pool, "late").await;
    pool.kill();
    row(1, "disk full, also between claim and confirmation", "the disk is full", "with the space, without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_becomes_read_only_refuses_new_meetings_only_and_needs_no_restart() {
    let pool = Builder::new(2).start().await;
    two_meetings(&pool).await;
    let database = pool.dir.path().join("usher.db");
    let Some(frozen) = Immutable::make(&[database.clone(), beside(&database, "-wal")]) else {
        return not_permitted("making a file immutable");
    };
    check_refuses(&pool, "the store does not answer (the disk reports an error)").await;
    drop(frozen);
    check_recovers(&pool).await;
    row(
        2,
        "database read-only under the running process",
        "the store does not answer (the disk reports an error)",
        "by itself",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwritable_directory_harms_neither_a_running_process_nor_its_restart_after_a_kill() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("usher.db");
    let url = format!("sqlite:{}", file.display());
    let pool = Builder::new(2).set("USHER_STORE__URL", &url).start().await;
    let moodle = pool.front_end();
    assert_eq!(moodle.get("create", BEFORE).await.returncode(), "SUCCESS");
    let Some(frozen) = Immutable::make(&[place.path().to_owned()]) else {
        return not_permitted("making a directory immutable");
    };
    moodle.create("during", "").await;
    pool.kill();
    // The store alone knows where it is.
    for server in &pool.servers {
        server.fault_on("getMeetings", Fault::Silent, None);
    }
    pool.serve_unpolled().await;
    join_leads_in(&pool, "during").await;
    for server in &pool.servers {
        server.heal();
    }
    pool.wait_ready().await;
    moodle.create("after", "").await;
    let output = pool.cli(&["backup", place.path().join("backup.db").to_str().unwrap()]);
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{sentence}");
    assert!(sentence.contains("cannot write to"), "{sentence}");
    drop(frozen);
    let _ = pool.metrics().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_held_by_another_process_keeps_no_create_beyond_its_time() {
    const LIMIT: Duration = Duration::from_secs(2);
    let pool = Builder::new(2).set("USHER_API__REQUEST_TIMEOUT", "2s").start().await;
    let moodle = pool.front_end();
    two_meetings(&pool).await;
    let other = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut longest = Duration::ZERO;
    // Several rounds, so that creates also queue behind a batch that waits already.
    for round in 0..3 {
        let creates = (0..8).map(|number| {
            let moodle = moodle.clone();
            async move {
                let started = Instant::now();
                let answer = moodle.get("create", &format!("name=Room&meetingID=held-{round}-{number}")).await;
                assert_eq!(answer.returncode(), "FAILED", "{}", answer.body);
                assert!(answer.xml().text("message").contains("could not be recorded"), "{}", answer.body);
                started.elapsed()
            }
        });
        for took in join_all(creates).await {
            assert!(took < LIMIT * 2, "answered after {took:?}, allowed are {LIMIT:?} and some slack");
            longest = longest.max(took);
        }
    }
    check_refuses(&pool, "the store does not answer (another process holds the database locked").await;
    other.execute_batch("ROLLBACK").unwrap();
    check_recovers(&pool).await;
    // What was refused was not done later either.
    pool.wait_polls().await;
    let listed = pool.cli_ok(&["--json", "meeting", "list"]);
    assert!(!listed.contains("held-"), "{listed}");
    assert!(pool.holders("held-0-0").is_empty());
    moodle.create("held-0-0", "").await;
    assert_eq!(pool.holders("held-0-0").len(), 1);

    // Held while a server is at work: the answer waits a second for the store, then is given.
    for server in &pool.servers {
        server.fault_on("create", Fault::Slow(Duration::from_millis(500)), None);
    }
    let asked = || pool.servers.iter().map(|server| server.count_calls("create")).sum::<u64>();
    let before = asked();
    let query = "name=Room&meetingID=late&attendeePW=ap&moderatorPW=mp";
    let (created, ()) = tokio::join!(moodle.get("create", query), async {
        eventually("a server is at work", || async { (asked() > before).then_some(()) }).await;
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
    });
    assert_eq!(created.returncode(), "SUCCESS", "{}", created.body);
    other.execute_batch("ROLLBACK").unwrap();
    eventually("the confirmation is written", || async {
        pool.cli_ok(&["--json", "meeting", "show", "late"]).contains("confirmed").then_some(())
    })
    .await;
    row(
        3,
        &format!(
            "database locked by another process for long: answered after {:.1} s at most, `api.request_timeout` is 2 s",
            longest.as_secs_f64()
        ),
        "the store does not answer (another process holds the database locked)",
        "with the end of the lock; what was refused is not done later",
    );
}
