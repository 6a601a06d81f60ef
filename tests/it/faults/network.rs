//! The balancer's own network, cut for real: Usher runs in a network namespace with two cables, one to its callers and
//! one to the servers, and the second is pulled.
//!
//! Needs root; where namespaces are not permitted it skips and says so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::REQUEST_TIMEOUT;
use super::books::reckon;
use super::load::{AFTER, BEFORE, DURING, Load};
use super::run::{OWN_FAULT, seen_as};
use super::stage::{SERVERS, Stage, builder};
use crate::harness::{eventually, eventually_within};
use crate::reliability::NETWORK;

/// A namespace with two cables; gone when dropped.
struct Namespace {
    name: String,
    /// Their first three numbers; each cable has four addresses of its own.
    net: [u8; 3],
}

/// How the cable to the servers is pulled.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Our own interface is down: every attempt fails at once.
    Near,
    /// The other end is down: packets vanish.
    Far,
}

impl Namespace {
    /// `None` if it is not permitted here.
    fn new() -> Option<Self> {
        let net = [100, 64 + rand::random_range(0..64), rand::random_range(0..=255)];
        let name = format!("ushertest{:04x}", rand::random::<u16>());
        let made = Command::new("ip").args(["netns", "add", &name]).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let namespace = Self { name, net };
        namespace.ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        namespace.lay("callers", 0);
        namespace.lay("servers", 4);
        Some(namespace)
    }

    /// A cable whose outer end has the address `first + 1`, the inner one `first + 2`.
    fn lay(&self, purpose: &str, first: u8) {
        let (outer, inner) = (self.end(purpose), format!("in-{purpose}"));
        let name = self.name.as_str();
        self.ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", name]);
        self.ip(&["addr", "add", &format!("{}/30", self.address(first + 1)), "dev", &outer]);
        self.ip(&["-n", name, "addr", "add", &format!("{}/30", self.address(first + 2)), "dev", &inner]);
        self.ip(&["link", "set", &outer, "up"]);
        self.ip(&["-n", name, "link", "set", &inner, "up"]);
    }

    /// The outer end's name, 15 letters at most.
    fn end(&self, purpose: &str) -> String {
        format!("u{}{}", &self.name[9..], &purpose[..7])
    }

    fn address(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last).into()
    }

    fn set_cable(&self, cut: Cut, word: &str) {
        match cut {
            Cut::Near => self.ip(&["-n", &self.name, "link", "set", "in-servers", word]),
            Cut::Far => self.ip(&["link", "set", &self.end("servers"), word]),
        }
    }

    fn ip(&self, words: &[&str]) {
        let output = Command::new("ip").args(words).output().unwrap();
        assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cables go with it, a moment later; their outer ends are taken away at once.
        for purpose in ["callers", "servers"] {
            let _ = Command::new("ip").args(["link", "del", &self.end(purpose)]).stderr(Stdio::null()).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

async fn cut_and_mend(cut: Cut, place: usize, words: &str) {
    let Some(namespace) = Namespace::new() else {
        eprintln!("SKIPPED: cutting the network needs a network namespace, which is not permitted here (run as root)");
        return;
    };
    let mut builder = builder().listen(namespace.address(2));
    for server in 0..SERVERS {
        builder = builder.sim(server, |options| options.listen = SocketAddr::new(namespace.address(5), 0));
    }
    let mut pool = builder.prepare().await;
    pool.launcher = ["ip", "netns", "exec", &namespace.name].map(str::to_owned).to_vec();
    let urls = pool.servers.iter().map(usher::sim::SimServer::url).collect();
    let stage = Stage::serving(pool, urls).await;
    let load = Load::new(words.to_owned(), stage.moodle.clone(), stage.urls.clone(), stage.standing.clone(), false);
    let tasks = load.start();
    eventually("the load is on", || async { (load.count(BEFORE) > 30).then_some(()) }).await;

    let began = Instant::now();
    load.enter(DURING);
    namespace.set_cable(cut, "down");
    let is_own_fault = || async {
        let status = stage.pool.status().await?;
        Some(
            status["reasons"]
                .as_array()?
                .iter()
                .any(|reason| reason.as_str().unwrap_or_default().starts_with(OWN_FAULT)),
        )
    };
    eventually_within(Duration::from_secs(15), "our own network is suspected", || async {
        is_own_fault().await.filter(|suspected| *suspected)
    })
    .await;
    let suspected = began.elapsed();
    tokio::time::sleep((REQUEST_TIMEOUT * 2).saturating_sub(began.elapsed())).await;
    let all: Vec<usize> = (0..SERVERS).collect();
    let states = seen_as(&stage, &all).await;
    assert_eq!(states, "`up`", "no server has changed");

    let polls = || stage.pool.servers.iter().map(|server| server.count_calls("getMeetings"));
    let before: Vec<u64> = polls().collect();
    let healed = Instant::now();
    load.enter(AFTER);
    namespace.set_cable(cut, "up");
    eventually("a poll arrives", || async { polls().zip(&before).any(|(now, before)| now > *before).then_some(()) })
        .await;
    let polled = healed.elapsed();
    eventually("ready again", || async { is_own_fault().await.filter(|suspected| !*suspected) }).await;
    let ready = healed.elapsed();
    // The first answer ends it; more than one further poll of a server had no time to come.
    let most = polls().zip(&before).map(|(now, before)| now - before).max().unwrap_or_default();
    assert!(most <= 3, "ready only after {most} polls of a server");
    assert_eq!(seen_as(&stage, &all).await, "`up`");
    eventually("the load goes on", || async { (load.count(AFTER) > 30).then_some(()) }).await;
    load.stop();
    for task in tasks {
        task.await.unwrap_or_else(|error| panic!("{words}: {error}"));
    }
    reckon(&stage, &load, words).await;
    // Not for a moment either: the load makes one server fail often before another is asked at all.
    let log = stage.pool.log();
    let downs: Vec<&str> = log.lines().filter(|line| line.contains("server is down")).collect();
    assert!(downs.is_empty(), "{words}: {downs:?}");
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    NETWORK.write(
        place,
        &[
            words.to_owned(),
            load.summary(DURING),
            seconds(load.longest(DURING)),
            format!("own network suspected after {}; all servers stay {states}", seconds(suspected)),
            seconds(polled),
            seconds(ready),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_our_own_network_changes_nothing() {
    cut_and_mend(Cut::Near, 1, "our interface goes down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_packets_changes_nothing() {
    cut_and_mend(Cut::Far, 2, "packets vanish on the way").await;
}
