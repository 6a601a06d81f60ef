//! A store that another process holds locked: the caller is answered in time all the same, and nothing is left behind.

use std::time::{Duration, Instant};

use super::load::create_query;
use crate::harness::{Builder, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_holds_no_create_beyond_the_request_timeout() {
    let pool = Builder::new(2).set("USHER_API__REQUEST_TIMEOUT", "1s").start().await;
    let moodle = pool.front_end();
    let locked = rusqlite::Connection::open(pool.dir.path().join("usher.db")).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let answer = moodle.get("create", &create_query("late")).await;
    let took = started.elapsed();
    assert_eq!((answer.status, answer.returncode().as_str()), (200, "FAILED"), "{}", answer.body);
    assert!(answer.xml().text("message").contains("so it was not created"), "{}", answer.body);
    assert!(took < Duration::from_secs(4), "SQLite waits five seconds, the caller waited {took:?}");
    locked.execute_batch("ROLLBACK").unwrap();
    eventually("the store works", || async {
        (moodle.get("create", &create_query("next")).await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    // Writes keep their order, so the claim whose caller had given up has had its turn.
    assert!(
        !pool.cli_ok(&["--json", "meeting", "list"]).contains("late"),
        "nothing is written behind the caller's back"
    );
    assert!(pool.holders("late").is_empty(), "no server was asked");
    for name in ["bbb1", "bbb2"] {
        assert_eq!(pool.server_status(name).await["health"], "up", "our store is not the server's fault");
    }
    eventually("the same create works", || async {
        (moodle.get("create", &create_query("late")).await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    assert_eq!(pool.holders("late").len(), 1);
}
