//! A large pool: what its size adds to a join, its memory, the polls, and the start.

use std::time::Duration;

use super::joins::location_of;
use crate::contest::{Contest, HEAD, Spread, Turn};
use crate::load::{self, Targets};
use crate::pool::{Plan, Pool};
use crate::report::{Claim, Met, Section};
use crate::world::{self, Size};
use crate::{Bench, Failure};

const LARGE: Size = Size { servers: 500, meetings: 20_000 };
const EMPTY: Size = Size { servers: 1, meetings: 1 };
const CONNECTIONS: usize = 32;
const MOST_DEARER: f64 = 1.10;
const MOST_MEMORY: u64 = 200 * 1_000_000;
const MOST_POLLING: f64 = 0.5;
const MOST_START: f64 = 2.0;
const STARTS: usize = 3;

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let mut claims = Vec::new();
    let polled = Plan::new("large", LARGE);
    let mut pool = Pool::start(bench, &polled)?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        pool = pool.restart(bench, &polled)?;
        starts.push(pool.ready_after.as_secs_f64());
    }
    // Servers are polled once before this; from now on at the usual pace.
    let (before, window) = (pool.usher.cpu(), Duration::from_secs(bench.watch));
    std::thread::sleep(window);
    let polling = (pool.usher.cpu() - before) / window.as_secs_f64();
    let (resident, most) = pool.usher.memory();

    let (large, contest) = joins(bench, pool)?;
    let ratio = contest.ratio(1, |sample| sample.cost);
    let rate = contest.ratio(1, |sample| sample.rate);
    let measured = format!("{ratio:.2} of the CPU per join, {rate:.2} of the rate");
    let dearer = Met::if_so(ratio.median <= MOST_DEARER);
    claims.push(Claim::new("join in the large pool beside the empty one", "within 10 %", measured, dearer));
    let measured = format!("{:.0} MB, {:.0} MB at most since the start", megabytes(resident), megabytes(most));
    let met = Met::if_so(most < MOST_MEMORY);
    claims.push(Claim::new("resident memory of the large pool", "< 200 MB", measured, met));
    let measured = format!("{polling:.3} of a core");
    let met = Met::if_so(polling < MOST_POLLING);
    claims.push(Claim::new("polling 500 servers with 20 000 meetings every 10 s", "< 0.5 core", measured, met));
    let start = Spread::of(starts.into_iter());
    let met = Met::if_so(start.max < MOST_START);
    let what = "start to ready with 20 000 placements in the store";
    claims.push(Claim::new(what, "< 2 s", format!("{start:.2} s"), met));
    drop(large);

    let how = format!(
        "{} servers with {} meetings in all and {} people in each, probed every 5 s and polled every 10 s, Usher on core 0 \
         with one thread. Memory and polling over {} s after every server has been polled. Start: from starting the \
         program until `/readyz` says yes, {STARTS} times. Then joins into all of its meetings in turn, beside a pool of \
         one server and one meeting; for these both pools are polled once and then left alone, so that a join's own cost \
         is seen and not the polls'.",
        LARGE.servers,
        LARGE.meetings,
        world::PEOPLE,
        bench.watch
    );
    let rows = contest.rows(CONNECTIONS);
    Ok(Section { key: "large", title: "A large pool", how, claims, head: HEAD.to_vec(), rows })
}

/// Joins into the large pool and into an empty one, in turns.
fn joins(bench: &Bench, large: Pool) -> Result<(Pool, Contest), Failure> {
    let large = large.restart(bench, &Plan::new("large", LARGE).without_polls())?;
    let empty = Pool::start(bench, &Plan::new("empty", EMPTY).without_polls())?;
    let number = LARGE.meetings;
    let into_large = Targets::write(&large.dir, "joins", (0..number).map(|person| world::join(person, person)))?;
    let into_empty = Targets::write(&empty.dir, "joins", (0..number).map(|person| world::join(person, 0)))?;
    location_of(&large, &world::join(1, number - 1))?;
    location_of(&empty, &world::join(1, 0))?;
    let contest = {
        let turn =
            |pool: &Pool, targets: &Targets| load::wrk(&pool.usher, pool.address, targets, CONNECTIONS, bench.seconds);
        let turns: [(&str, Turn<'_>); 2] = [
            ("Usher, 500 servers and 20 000 meetings", Box::new(|| turn(&large, &into_large))),
            ("Usher, one meeting", Box::new(|| turn(&empty, &into_empty))),
        ];
        Contest::run(bench.rounds, &turns)?
    };
    Ok((large, contest))
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
