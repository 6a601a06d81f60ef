//! Addresses to listen on: both families of IP, on one socket or two, and ones that are taken.

use crate::harness::{Builder, FrontEnd, Pool, eventually, free_port};

/// A pool that listens on these addresses besides its own.
async fn on(addresses: &[String]) -> Pool {
    let pool = Builder::new(1).prepare().await;
    let text = std::fs::read_to_string(pool.config_path()).unwrap();
    let more: String = addresses.iter().map(|address| format!("\"{address}\", ")).collect();
    std::fs::write(pool.config_path(), text.replace("http = [", &format!("http = [{more}"))).unwrap();
    pool
}

async fn answers(hosts: &[&str], port: u16) {
    let front = FrontEnd::new("", "");
    for host in hosts {
        let url = format!("http://{host}:{port}/livez");
        assert_eq!(front.fetch(&url).await.status, 200, "{url}");
    }
}

const BOTH: [&str; 2] = ["127.0.0.1", "[::1]"];

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_takes_both_families() {
    let port = free_port();
    let mut pool = on(&[format!("[::]:{port}")]).await;
    pool.serve().await;
    answers(&BOTH, port).await;
    pool.cli_ok(&["check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_family_may_have_its_own_and_both_survive_an_upgrade() {
    let port = free_port();
    let mut pool = on(&[format!("[::]:{port}"), format!("0.0.0.0:{port}")]).await;
    pool.serve().await;
    answers(&BOTH, port).await;
    let old = pool.start_upgrade();
    assert_eq!(old.wait_exit().await, Some(0));
    answers(&BOTH, port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("[::1]:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let pool = on(std::slice::from_ref(&address)).await;
    pool.start_process();
    assert_eq!(pool.wait_exit().await, Some(1));
    eventually("the log says which", || async {
        let log = pool.log();
        (log.contains("listen.http") && log.contains(&address)).then_some(())
    })
    .await;
}
