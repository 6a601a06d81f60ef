//! Browsers' traffic through the edge, beside nginx and HAProxy in front of the same server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{rate_claim, unasked};
use crate::contest::{Contest, HEAD, Turn};
use crate::http::free_address;
use crate::load::{self, Targets};
use crate::others::{self, Form, Other, haproxy_as, nginx_as};
use crate::pool::{Plan, Pool};
use crate::process::{self, Cores, Running};
use crate::report::{Claim, Met, Section};
use crate::world::Size;
use crate::{Bench, Failure};

const NOBODY: Size = Size { servers: 0, meetings: 0 };
/// Connections that a contestant keeps to the server; nginx and HAProxy must be told.
const KEPT: usize = 256;
const SOCKETS: usize = 200;
const MESSAGE: usize = 200;
/// Seconds of a round with messages.
const SHORT: f64 = 0.25;
/// As many as the usual limit of 20 000 open files lets a proxy have: nginx begins to close them when a sixteenth is left.
const IDLE_SOCKETS: usize = 9_000;
const FILE: usize = 100_000_000;
const LONG: Duration = Duration::from_secs(60);

/// What stands behind: a server for WebSockets and small bodies, and one for large files.
struct Behind {
    echo: SocketAddr,
    files: Other,
    _echo: Running,
}

/// The three contestants in front of `Behind`.
struct Three {
    pool: Pool,
    nginx: Other,
    haproxy: Other,
}

/// The server that costs least.
pub fn echo(bench: &Bench, cores: Cores) -> Result<(Running, SocketAddr), Failure> {
    let address = free_address()?;
    let mut command = process::command(cores, &bench.own);
    command.args(["drive", "echo", &address.port().to_string()]);
    let mut running = Running::start("the echo server", command, &bench.dir.join("echo.log"))?;
    running.wait(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok())?;
    Ok((running, address))
}

fn behind(bench: &Bench) -> Result<Behind, Failure> {
    let (running, echo) = echo(bench, Cores::Second)?;
    let root = bench.memory_file("large", &vec![b'x'; FILE])?;
    let directives = format!("        root {root};\n        sendfile on;\n        tcp_nopush on;");
    let form = Form { cores: Some(Cores::Second), ..Form::default() };
    let files = nginx_as(bench, "carried-files", &directives, &form)?;
    Ok(Behind { echo, files, _echo: running })
}

/// nginx's part of a proxy that forwards everything, as operators write it.
pub fn nginx_proxy(to: SocketAddr) -> (String, String) {
    let beside = format!(
        "    upstream behind {{\n        server {to};\n        keepalive {KEPT};\n    }}\n    \
         map $http_upgrade $connection_field {{\n        default upgrade;\n        '' '';\n    }}"
    );
    let directives = "        location / {\n            proxy_pass http://behind;\n            proxy_http_version 1.1;\n            \
        proxy_set_header Host $http_host;\n            proxy_set_header Upgrade $http_upgrade;\n            \
        proxy_set_header Connection $connection_field;\n            \
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n            \
        proxy_set_header X-Forwarded-Proto $scheme;\n            proxy_set_header X-Real-IP $remote_addr;\n            \
        proxy_read_timeout 1h;\n        }";
    (beside, directives.to_owned())
}

/// HAProxy's.
pub fn haproxy_proxy(to: SocketAddr) -> (String, String) {
    let beside = format!("backend behind\n    option forwardfor\n    http-reuse always\n    server one {to}");
    (beside, "    default_backend behind".to_owned())
}

/// All three in front of one server, at their best: no log, and each told how many connections to keep.
fn three(bench: &Bench, name: &'static str, to: SocketAddr) -> Result<Three, Failure> {
    let plan = Plan::new(name, NOBODY).set("EDGE__MODE", "path").set("EDGE__IDLE_CONNECTIONS", KEPT.to_string());
    let plan = plan.set("LIMITS__CONNECTIONS_PER_ADDRESS", "0");
    beside_each_other(bench, &plan, to, "")
}

/// The same with Usher as it is shipped, which writes an access log, and nginx with the one that Debian's writes.
fn three_shipped(bench: &Bench, to: SocketAddr) -> Result<Three, Failure> {
    let plan = Plan::new("shipped", NOBODY).shipped().set("EDGE__MODE", "path");
    beside_each_other(bench, &plan, to, &format!("        access_log {}/access.log;\n", bench.dir.display()))
}

fn beside_each_other(bench: &Bench, plan: &Plan, to: SocketAddr, log: &str) -> Result<Three, Failure> {
    let pool = Pool::start_empty(bench, plan)?;
    pool.add_server(bench, "origin", to)?;
    pool.wait_carried("/origin/small")?;
    let (beside, directives) = nginx_proxy(to);
    let directives = log.to_owned() + &directives;
    let nginx = nginx_as(bench, &format!("{}-nginx", plan.name), &directives, &Form { beside, ..Form::default() })?;
    let (beside, rules) = haproxy_proxy(to);
    let haproxy = haproxy_as(bench, &format!("{}-haproxy", plan.name), &rules, &Form { beside, ..Form::default() })?;
    Ok(Three { pool, nginx, haproxy })
}

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let behind = behind(bench)?;
    let (mut claims, mut rows) = (Vec::new(), Vec::new());
    let shipped = three_shipped(bench, behind.echo)?;
    small(bench, &shipped, "small GET carried as shipped", &mut claims, &mut rows)?;
    drop(shipped);
    let three = three(bench, "carried", behind.echo)?;
    small(bench, &three, "small GET carried, set up for it", &mut claims, &mut rows)?;
    sockets(bench, &three, &mut claims, &mut rows)?;
    drop(three);
    memory(bench, behind.echo, &mut claims, &mut rows)?;
    downloads(bench, behind.files.address, &mut claims, &mut rows)?;
    relayed(bench, behind.files.address, &mut claims, &mut rows)?;
    let how = format!(
        "All contestants stand in front of the same server, on core 0 with one thread; server and generator share core 1, so \
         that where its column says 100 % the rate is theirs and the CPU column is the one to look at. Usher carries in \
         path mode, nginx and HAProxy are set up as proxies that keep {KEPT} connections to the server and say who the \
         client is. \"As shipped\" Usher has no setting but `edge.mode`, and it and nginx write their access logs; else nobody \
         writes one, and Usher is told to keep {KEPT} connections and to limit nobody. Small GET: 11 bytes. WebSockets: one message of {MESSAGE} bytes at a time, there and back, on each of \
         {SOCKETS} connections, in 36 times as many rounds of {SHORT} s; \"requests\" are messages that came back, and \
         the CPU columns count in that the connections are opened. Downloads: a file of 100 MB in memory, \"requests\" \
         are megabytes; nginx with its defaults. Layer 4: Usher's `[[l4.listener]]` with a fixed target beside HAProxy in TCP mode with splice. Memory: what the contestant holds more than before, by connection, with \
         {IDLE_SOCKETS} silent WebSockets; \"after\": after one message of 60 kB there and back on each."
    );
    Ok(Section { key: "carried", title: "Browsers' traffic", how, claims, head: HEAD.to_vec(), rows })
}

fn labelled(rows: &mut Vec<Vec<String>>, what: &str, contest: &Contest, connections: usize) {
    for mut row in contest.rows(connections) {
        row[0] = format!("{what}, {}", row[0]);
        rows.push(row);
    }
}

fn small(
    bench: &Bench,
    three: &Three,
    name: &str,
    claims: &mut Vec<Claim>,
    rows: &mut Vec<Vec<String>>,
) -> Result<(), Failure> {
    let dir = &three.pool.dir;
    let ours = &Targets::write(dir, "small", std::iter::once("/origin/small".to_owned()))?;
    let theirs = &Targets::write(dir, "small-plain", std::iter::once("/small".to_owned()))?;
    for connections in [32, 256] {
        let turn = |running, address, targets| -> Turn<'_> {
            Box::new(move || load::wrk(running, address, targets, connections, bench.seconds))
        };
        let turns = [
            ("Usher", turn(&three.pool.usher, three.pool.address, ours)),
            ("nginx", turn(&three.nginx.running, three.nginx.address, theirs)),
            ("HAProxy", turn(&three.haproxy.running, three.haproxy.address, theirs)),
        ];
        let contest = Contest::run(bench.rounds, &turns)?;
        let what = |other: &str| format!("{name}, beside {other}, {connections} connections");
        claims.push(rate_claim(what("nginx"), &contest, 1, 0.8, ", aim 1.0"));
        claims.push(unasked(rate_claim(what("HAProxy"), &contest, 2, 0.8, "")));
        labelled(rows, name, &contest, connections);
    }
    Ok(())
}

fn words(name: &str, address: SocketAddr, rest: &[String]) -> Vec<String> {
    [vec![name.to_owned(), address.to_string()], rest.to_vec()].concat()
}

fn sockets(bench: &Bench, three: &Three, claims: &mut Vec<Claim>, rows: &mut Vec<Vec<String>>) -> Result<(), Failure> {
    let turn = |running, address, path: &str| -> Turn<'_> {
        let rest = [path, &SOCKETS.to_string(), &MESSAGE.to_string(), &SHORT.to_string()].map(str::to_owned);
        let words = words("sockets", address, &rest);
        Box::new(move || load::drive(running, &words, 1))
    };
    let turns = [
        ("Usher", turn(&three.pool.usher, three.pool.address, "/origin/ws")),
        ("nginx", turn(&three.nginx.running, three.nginx.address, "/ws")),
        ("HAProxy", turn(&three.haproxy.running, three.haproxy.address, "/ws")),
    ];
    // They differ by less than a machine does from second to second. A long round varies as much as a short one, so what helps
    // is many of them.
    let rounds = bench.rounds * 36;
    let contest = Contest::run(rounds, &turns)?;
    let what = |other: &str| format!("WebSocket messages beside {other}, {SOCKETS} connections");
    claims.push(rate_claim(what("nginx"), &contest, 1, 1.0, ""));
    claims.push(unasked(rate_claim(what("HAProxy"), &contest, 2, 1.0, "")));
    labelled(rows, "WebSocket messages", &contest, SOCKETS);
    Ok(())
}

/// Bytes by connection: silent from the start, and silent again after a large message.
fn memory(bench: &Bench, to: SocketAddr, claims: &mut Vec<Claim>, rows: &mut Vec<Vec<String>>) -> Result<(), Failure> {
    // One at a time: nothing else may move their memory.
    let mut found = Vec::new();
    for place in 0..3 {
        let three = three(bench, "memory", to)?;
        let (name, running, address, path) = match place {
            0 => ("Usher", &three.pool.usher, three.pool.address, "/origin/ws"),
            1 => ("nginx", &three.nginx.running, three.nginx.address, "/ws"),
            _ => ("HAProxy", &three.haproxy.running, three.haproxy.address, "/ws"),
        };
        found.push((name, held(bench, running, address, path)?));
    }
    let kb = |bytes: f64| format!("{:.1} kB", bytes / 1000.0);
    for (name, (silent, after)) in &found {
        let cells = [kb(*silent), kb(*after)];
        let mut row = vec![format!("memory of a silent WebSocket, {name}"), IDLE_SOCKETS.to_string()];
        row.push(format!("{} silent", cells[0]));
        row.push(format!("{} after", cells[1]));
        row.extend(["–"; 4].map(str::to_owned));
        rows.push(row);
    }
    let [(_, ours), (_, nginx), (_, haproxy)] = found[..] else { return Ok(()) };
    let measured =
        |ours: f64, nginx: f64, haproxy: f64| format!("{} (nginx {}, HAProxy {})", kb(ours), kb(nginx), kb(haproxy));
    claims.push(Claim::new(
        format!("memory of each of {IDLE_SOCKETS} silent WebSockets"),
        "≤ nginx, aim HAProxy",
        measured(ours.0, nginx.0, haproxy.0),
        Met::if_so(ours.0 <= nginx.0),
    ));
    claims.push(Claim::new(
        "the same after a message of 60 kB there and back on each",
        "given back: ≤ nginx",
        measured(ours.1, nginx.1, haproxy.1),
        Met::if_so(ours.1 <= nginx.1),
    ));
    Ok(())
}

fn held(bench: &Bench, running: &Running, address: SocketAddr, path: &str) -> Result<(f64, f64), Failure> {
    let (before, _) = running.memory();
    let state = bench.dir.join(format!("idle-{}", address.port()));
    let mut command = process::command(Cores::Second, &bench.own);
    command.args(["drive", "idle", &address.to_string(), path, &IDLE_SOCKETS.to_string()]).arg(&state);
    let mut driver = Running::start("the silent WebSockets", command, &bench.dir.join("idle.log"))?;
    let mut step = |name: &str| {
        let file = Path::new(&format!("{}.{name}", state.display())).to_owned();
        driver.wait(LONG, || file.exists())?;
        // What is given back is given back within a moment.
        let settled = Instant::now();
        while settled.elapsed() < Duration::from_secs(if bench.is_quick { 2 } else { 12 }) {
            std::thread::sleep(Duration::from_millis(200));
        }
        let (now, _) = running.memory();
        let go = std::fs::write(format!("{}.{name}.go", state.display()), "");
        go.map_err(|error| Failure(format!("{}: {error}", state.display())))?;
        Ok::<_, Failure>(now.saturating_sub(before) as f64 / IDLE_SOCKETS as f64)
    };
    Ok((step("opened")?, step("talked")?))
}

fn downloads(
    bench: &Bench,
    to: SocketAddr,
    claims: &mut Vec<Claim>,
    rows: &mut Vec<Vec<String>>,
) -> Result<(), Failure> {
    let plan = Plan::new("downloads", NOBODY).set("EDGE__MODE", "path");
    let pool = Pool::start_empty(bench, &plan)?;
    pool.add_server(bench, "origin", to)?;
    pool.wait_carried("/origin/")?;
    let (beside, directives) = nginx_proxy(to);
    let nginx = nginx_as(bench, "downloads-nginx", &directives, &Form { beside, ..Form::default() })?;
    for connections in [1, 8] {
        let turns = [
            ("Usher", download(bench, &pool.usher, pool.address, "/origin/large", connections)),
            ("nginx", download(bench, &nginx.running, nginx.address, "/large", connections)),
        ];
        let contest = Contest::run(bench.rounds.min(3), &turns)?;
        let what = format!("download of 100 MB beside nginx, {connections} connections");
        claims.push(rate_claim(what, &contest, 1, 1.7, ""));
        labelled(rows, "download (MB)", &contest, connections);
    }
    Ok(())
}

fn download<'a>(
    bench: &'a Bench,
    running: &'a Running,
    address: SocketAddr,
    path: &str,
    connections: usize,
) -> Turn<'a> {
    let rest = [path.to_owned(), connections.to_string(), bench.seconds.to_string()];
    let words = words("downloads", address, &rest);
    Box::new(move || load::drive(running, &words, bench.seconds))
}

fn relayed(bench: &Bench, to: SocketAddr, claims: &mut Vec<Claim>, rows: &mut Vec<Vec<String>>) -> Result<(), Failure> {
    let listen = free_address()?;
    let mut plan = Plan::new("relayed", NOBODY);
    plan.config = format!("[[l4.listener]]\nname = \"bench\"\nlisten = [\"{listen}\"]\ntarget = \"{to}\"\n");
    let pool = Pool::start_empty(bench, &plan)?;
    let beside = format!("backend behind\n    option splice-auto\n    server one {to}");
    let form = Form { beside, is_tcp: true, ..Form::default() };
    let haproxy =
        others::haproxy_as(bench, "relayed-haproxy", "    option splice-auto\n    default_backend behind", &form)?;
    for connections in [1, 8] {
        let turns = [
            ("Usher", download(bench, &pool.usher, listen, "/large", connections)),
            ("HAProxy", download(bench, &haproxy.running, haproxy.address, "/large", connections)),
        ];
        let contest = Contest::run(bench.rounds.min(3), &turns)?;
        let what = format!("layer 4, 100 MB beside HAProxy with splice, {connections} connections");
        claims.push(rate_claim(what, &contest, 1, 1.0, ""));
        labelled(rows, "layer 4 (MB)", &contest, connections);
    }
    Ok(())
}
