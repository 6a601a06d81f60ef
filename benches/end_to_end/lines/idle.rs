//! A pool where nothing happens: what Usher takes from a machine that it shares.

use std::time::Duration;

use crate::pool::{Plan, Pool};
use crate::report::{Claim, Met, Section};
use crate::world::Size;
use crate::{Bench, Failure};

const SIZE: Size = Size { servers: 200, meetings: 0 };
const MOST_MEMORY: u64 = 60 * 1_000_000;
const MOST_CPU: f64 = 0.02;

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let pool = Pool::start(bench, &Plan::new("idle", SIZE))?;
    let (before, window) = (pool.usher.cpu(), Duration::from_secs(bench.watch));
    std::thread::sleep(window);
    let cpu = (pool.usher.cpu() - before) / window.as_secs_f64();
    let (resident, most) = pool.usher.memory();
    let memory = format!("{:.1} MB", resident as f64 / 1e6);
    let processor = format!("{:.2} % of a core", cpu * 100.0);
    let claims = vec![
        Claim::new("resident memory, idle with 200 servers", "< 60 MB", &*memory, Met::if_so(most < MOST_MEMORY)),
        Claim::new("processor, idle with 200 servers", "< 2 %", &*processor, Met::if_so(cpu < MOST_CPU)),
    ];
    let how = format!(
        "{} servers without meetings, probed every 5 s and polled every 10 s, nobody calls. Over {} s after every server \
         has been polled.",
        SIZE.servers, bench.watch
    );
    let rows = vec![vec![memory, processor]];
    Ok(Section { key: "idle", title: "Idle", how, claims, head: vec!["resident memory", "processor"], rows })
}
