//! Several targets, and targets that are not there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::stage::{BlackHole, Plain, log_says, metric, passes, pool, rest};
use crate::harness::free_port;

#[tokio::test]
async fn two_hundred_connections_are_spread_by_weight() {
    let (one, two) = (Plain::start().await, Plain::start().await);
    let toml = format!(
        "[[l4.listener]]\nname = \"tcp\"\nlisten = [\"127.0.0.1:PORT\"]\n\
         target = [\"{}\", {{ to = \"{}\", weight = 3 }}]\n",
        one.address, two.address
    );
    let (pool, edge) = pool(&toml).await;
    let clients = futures_util::future::join_all((0..200).map(|_| TcpStream::connect(edge))).await;
    let mut held = BTreeMap::<SocketAddr, Vec<TcpStream>>::new();
    for _ in 0..50 {
        held.entry(one.address).or_default().push(one.accept().await);
    }
    for _ in 0..150 {
        held.entry(two.address).or_default().push(two.accept().await);
    }
    for (server, count) in [(&one, 50), (&two, 150)] {
        let series = format!("usher_l4_connections{{listener=\"tcp\",server=\"{}\"}}", server.address);
        assert_eq!(metric(&pool, &series).await, count);
    }
    assert_eq!(clients.len(), 200);
}

#[tokio::test]
async fn the_next_target_helps_out() {
    let (good, silent) = (Plain::start().await, BlackHole::start().await);
    let refusing = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let toml = format!(
        "[[l4.listener]]\nname = \"tcp\"\nlisten = [\"127.0.0.1:PORT\"]\nconnect_timeout = \"300ms\"\n\
         target = [\"{refusing}\", \"{}\", \"nowhere.invalid:1\", \"{}\"]\n",
        silent.address, good.address
    );
    let (pool, edge) = pool(&toml).await;
    for _ in 0..6 {
        let (mut client, mut far) = good.pair(edge).await;
        passes(&mut client, &mut far, "hello").await;
    }
    for failing in [refusing.to_string(), silent.address.to_string()] {
        let failed = metric(&pool, &format!("usher_l4_failed_total{{listener=\"tcp\",server=\"{failing}\"}}")).await;
        assert!((1..6).contains(&failed), "{failing} failed {failed} times, and was then spared for a while");
    }
}

#[tokio::test]
async fn without_any_target_the_connection_is_closed_and_the_operator_told() {
    let silent = BlackHole::start().await;
    let refusing = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listener = |port: &str, to: &str| {
        format!("[[l4.listener]]\nlisten = [\"127.0.0.1:{port}\"]\nconnect_timeout = \"300ms\"\n{to}\n")
    };
    let (second, third) = (free_port(), free_port());
    let toml = [
        listener("PORT", &format!("target = \"{refusing}\"")),
        listener(&second.to_string(), &format!("target = \"{}\"", silent.address)),
        listener(&third.to_string(), "server = \"bbb9\""),
    ];
    let (pool, edge) = pool(&toml.concat()).await;
    for port in [edge.port(), second, third] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
    }
    log_says(&pool, &[&format!("server={refusing}"), "Connection refused"]).await;
    log_says(&pool, &[&format!("server={}", silent.address), "no answer in time"]).await;
    log_says(&pool, &["no such server", "server=bbb9"]).await;
    let check = pool.cli(&["check", "--online"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && told.contains("bbb9"), "{told}");
}
