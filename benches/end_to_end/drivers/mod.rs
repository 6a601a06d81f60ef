//! Load that wrk cannot make, each a program of its own (`drive NAME …`): WebSockets, downloads, handshakes, and a steady
//! stream of requests that goes on while a contestant is exchanged.

mod downloads;
mod echo;
mod handshakes;
mod idle;
mod sockets;
mod steady;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Failure, number};

/// Runs the driver that `words` name, to its end.
pub fn run(words: &[&str]) -> Result<(), Failure> {
    let address = |text: &str| number::<SocketAddr>(text);
    let seconds = |text: &str| Ok::<_, Failure>(Duration::from_secs_f64(number(text)?));
    match *words {
        ["echo", port] => in_runtime(echo::run(number(port)?)),
        ["sockets", to, path, count, size, time] => {
            in_runtime(sockets::run(address(to)?, path, number(count)?, number(size)?, seconds(time)?))
        }
        ["idle", to, path, count, state] => in_runtime(idle::run(address(to)?, path, number(count)?, state)),
        ["downloads", to, path, count, time] => {
            in_runtime(downloads::run(address(to)?, path, number(count)?, seconds(time)?))
        }
        ["handshakes", to, version, resumed, count, time] => {
            in_runtime(handshakes::run(address(to)?, version, resumed == "resumed", number(count)?, seconds(time)?))
        }
        ["steady", to, path, socket_path, sockets, connections, rate, time] => {
            let plan = steady::Plan {
                address: address(to)?,
                path: path.to_owned(),
                socket_path: socket_path.to_owned(),
                sockets: number(sockets)?,
                connections: number(connections)?,
                rate: number(rate)?,
                time: seconds(time)?,
            };
            in_runtime(steady::run(plan))
        }
        _ => Err(Failure(format!("no such driver: {words:?}"))),
    }
}

fn in_runtime(work: impl Future<Output = std::io::Result<()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.and_then(|runtime| runtime.block_on(work)).map_err(|error| Failure(format!("driver: {error}")))
}

/// The line that `load.rs` reads; times in nanoseconds.
fn report(requests: f64, failed: u64, took: Duration, times: &mut [u64]) {
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0) as f64 / 1000.0;
    println!(
        "bench requests={requests:.3} failed={failed} seconds={:.6} p50={:.1} p99={:.1}",
        took.as_secs_f64(),
        at(0.50),
        at(0.99)
    );
}
