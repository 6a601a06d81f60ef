//! The fault table: each fault on one server and on all, under load, and what is promised holds all the while.
//!
//! The promises are asserted; times are only written down (`reliability.rs`). Faults of one group run side by side, each
//! with a pool of its own: they wait most of the time.

mod books;
mod case;
mod load;
mod names;
mod network;
mod run;
mod stage;
mod store;
mod tls;

use std::time::Duration;

use futures_util::future::join_all;

use usher::sim::Fault;

use case::Case;
use run::{Scope, run};

use crate::harness::{Builder, eventually_or};

/// `health.interval` and `health.poll_interval`.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// `health.timeout`.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(800);
/// `health.max_backoff`.
pub const MAX_BACKOFF: Duration = Duration::from_millis(400);
/// `api.connect_timeout`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// `api.request_timeout`.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(2500);

/// Rows of a group stand together, in this order of groups.
async fn run_all(group: usize, cases: Vec<Case>, scope: Scope) {
    let only = std::env::var("USHER_FAULT").ok();
    let cases =
        cases.into_iter().enumerate().filter(|(_, case)| only.as_ref().is_none_or(|only| case.name.contains(only)));
    let runs = cases.map(|(number, case)| async move { run(&case, scope, group * 100 + number).await });
    join_all(runs).await;
}

macro_rules! group {
    ($($one:ident, $all:ident: $number:literal, $cases:path;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $one() {
            run_all($number, $cases(), Scope::One).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $all() {
            run_all($number, $cases(), Scope::All).await;
        }
    )*};
}

group! {
    one_silent_server, all_servers_silent: 1, case::silent;
    one_server_breaks_connections, all_servers_break_connections: 2, case::broken_connections;
    one_server_answers_wrongly, all_servers_answer_wrongly: 3, case::wrong_answers;
    one_hostile_server, all_servers_hostile: 4, case::hostile_answers;
    one_server_in_a_wrong_state, all_servers_in_a_wrong_state: 5, case::wrong_state;
    one_bad_certificate, all_certificates_bad: 6, case::certificates;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_bound_is_not_read_to_its_end() {
    let pool = Builder::new(2).set("USHER_API__MAX_ANSWER", "1 MiB").set("USHER_HEALTH__TIMEOUT", "30s").start().await;
    // Without the bound it would be a list of meetings like any other.
    pool.servers[1].fault_on("getMeetings", Fault::Huge(8 << 20), None);
    eventually_or("it is not believed", || async {
        let server = pool.server_status("bbb2").await;
        let reason = server["reason"].as_str().unwrap_or_default();
        (server["health"] != "up" && reason == "answer larger than 1048576 bytes")
            .then_some(())
            .ok_or(server.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_does_not_resolve() {
    if may_have_names_of_its_own() {
        run_all(7, case::names(), Scope::One).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_resolves() {
    if may_have_names_of_its_own() {
        run_all(7, case::names(), Scope::All).await;
    }
}

fn may_have_names_of_its_own() -> bool {
    let permitted = names::is_permitted();
    if !permitted {
        eprintln!("SKIPPED: faults of DNS need a mount namespace, which is not permitted here (run as root)");
    }
    permitted
}
