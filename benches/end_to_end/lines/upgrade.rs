//! A contestant is exchanged for a new one of itself, under load: what is lost.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::carried::{echo, haproxy_proxy, nginx_proxy};
use crate::others::{Form, haproxy_as, nginx_as};
use crate::pool::{Plan, Pool};
use crate::process::{self, Cores};
use crate::report::{Claim, Met, Section};
use crate::world::Size;
use crate::{Bench, Failure};

const NOBODY: Size = Size { servers: 0, meetings: 0 };
const SOCKETS: usize = 2000;
const CONNECTIONS: usize = 400;
const RATE: usize = 1000;
/// Seconds before the exchange, and after it: what is lost is often lost late.
const BEFORE: u64 = 5;
const AFTER: u64 = 25;

/// What the driver counted.
struct Loss {
    requests: u64,
    failed: u64,
    refused: u64,
    dropped: u64,
}

/// Runs the load and does `exchange` in the middle of it.
fn under_load(
    bench: &Bench,
    address: SocketAddr,
    paths: [&str; 2],
    exchange: impl Fn() -> Result<(), Failure> + Send + Sync,
) -> Result<Loss, Failure> {
    let (before, after) = if bench.is_quick { (2, 6) } else { (BEFORE, AFTER) };
    let words = [
        "drive",
        "steady",
        &address.to_string(),
        paths[0],
        paths[1],
        &SOCKETS.to_string(),
        &CONNECTIONS.to_string(),
        &RATE.to_string(),
        &(before + after).to_string(),
    ]
    .map(str::to_owned);
    let limit = Duration::from_secs(before + after + 30);
    let text = std::thread::scope(|scope| {
        let driver = scope.spawn(|| process::run("steady", Cores::Second, limit, &bench.own, &words));
        std::thread::sleep(Duration::from_secs(before));
        exchange()?;
        driver.join().map_err(|_| Failure("steady: it panicked".to_owned()))?
    })?
    .0;
    let line = text.lines().find_map(|line| line.strip_prefix("steady "));
    let line = line.ok_or_else(|| Failure(format!("steady said nothing to read: {text}")))?;
    let number = |name: &str| {
        let found = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|value| value.parse().ok()).unwrap_or(u64::MAX)
    };
    let (requests, failed) = (number("requests"), number("failed"));
    Ok(Loss { requests, failed, refused: number("refused"), dropped: number("dropped") })
}

fn signal(pid: u32, name: &str) -> Result<(), Failure> {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    let sent = status.map_err(|error| Failure(format!("kill: {error}")))?.success();
    if sent { Ok(()) } else { Err(Failure(format!("kill -{name} {pid} failed"))) }
}

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let (_echo, to) = echo(bench, Cores::Second)?;
    let plan = Plan::new("upgrade", NOBODY).set("EDGE__MODE", "path").set("LIMITS__CONNECTIONS_PER_ADDRESS", "0");
    let pool = Pool::start_empty(bench, &plan)?;
    pool.add_server(bench, "origin", to)?;
    pool.wait_carried("/origin/small")?;
    // SIGUSR2 would leave a process behind that is nobody's child; this one is ours to end.
    let heir = std::sync::Mutex::new(None);
    let usher = under_load(bench, pool.address, ["/origin/small", "/origin/ws"], || {
        let running = pool.upgrade(bench, &plan)?;
        heir.lock().map(|mut heir| *heir = Some(running)).map_err(|_| Failure("poisoned".to_owned()))
    })?;
    let (beside, directives) = nginx_proxy(to);
    let form = Form { beside, has_master: true, ..Form::default() };
    let nginx = nginx_as(bench, "upgrade-nginx", &directives, &form)?;
    let reload = || signal(nginx.running.pid(), "HUP");
    let of_nginx = under_load(bench, nginx.address, ["/small", "/ws"], reload)?;
    let (beside, rules) = haproxy_proxy(to);
    let form = Form { beside, has_master: true, ..Form::default() };
    let haproxy = haproxy_as(bench, "upgrade-haproxy", &rules, &form)?;
    let reload = || signal(haproxy.running.pid(), "USR2");
    let of_haproxy = under_load(bench, haproxy.address, ["/small", "/ws"], reload)?;

    let lost = usher.failed + usher.refused + usher.dropped;
    let claims = vec![Claim::new(
        format!("`usher serve --upgrade` with {SOCKETS} WebSockets and {RATE} requests/s"),
        "no request fails, no WebSocket drops",
        format!(
            "{lost} of {} (nginx reload {}, HAProxy reload {})",
            usher.requests,
            of_nginx.failed + of_nginx.refused + of_nginx.dropped,
            of_haproxy.failed + of_haproxy.refused + of_haproxy.dropped
        ),
        Met::if_so(lost == 0),
    )];
    let row = |name: &str, loss: &Loss| {
        let numbers = [loss.requests, loss.failed, loss.refused, loss.dropped].map(|number| number.to_string());
        [vec![name.to_owned()], numbers.to_vec()].concat()
    };
    let rows = vec![row("Usher", &usher), row("nginx", &of_nginx), row("HAProxy", &of_haproxy)];
    let how = format!(
        "{SOCKETS} WebSockets that send a message once a second, and {RATE} small GETs a second on {CONNECTIONS} connections that are \
         kept alive, to a server behind the contestant. After {BEFORE} s it is exchanged: `usher serve --upgrade`, nginx by \
         SIGHUP, HAProxy (master and worker) by SIGUSR2; the load goes on for {AFTER} s more. A request has failed that is not \
         answered whole, on a connection that was open when it was sent and that no answer had announced to be closed."
    );
    let head = vec!["contestant", "requests", "failed", "connections refused", "WebSockets dropped"];
    Ok(Section { key: "upgrade", title: "Exchange under load", how, claims, head, rows })
}
