//! `create`: what it adds to the server's own answer, and how many a second can be kept up.

use crate::contest::{Contest, HEAD, Spread, Turn, percent};
use crate::load;
use crate::pool::{Plan, Pool};
use crate::process::Cores;
use crate::report::{Claim, Met, Section};
use crate::world::Size;
use crate::{Bench, Failure};

const SIZE: Size = Size { servers: 20, meetings: 0 };
const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// Enough that commits are shared as they are under a rush.
const RUSH: usize = 64;
const LEAST_RATE: f64 = 2000.0;
const AIM: f64 = 4000.0;

pub fn measure(bench: &Bench) -> Result<Section, Failure> {
    let (mut claims, mut rows) = (Vec::new(), Vec::new());
    latency(bench, &mut claims, &mut rows)?;
    let used = sustained(bench, &mut claims, &mut rows)?;
    let how = format!(
        "Each create has a new id, is signed, placed on one of {} servers, made durable in SQLite before the server is \
         asked, and answered with the server's own document. The servers answer at once, with a prepared text; polls go \
         on, and `health.ended_grace` is a day, because the prepared lists do not name the new meetings. Latency: Usher \
         on core 0, servers and callers on core 1; \"server\" is the same call sent to a server directly. Sustained rate: \
         {RUSH} connections for {} s, {} times on one growing store; Usher, servers and callers share both cores. {used}",
        SIZE.servers,
        bench.long,
        bench.rounds.min(3)
    );
    Ok(Section { key: "create", title: "create", how, claims, head: HEAD.to_vec(), rows })
}

fn plan(name: &'static str) -> Plan {
    Plan::new(name, SIZE).set("HEALTH__ENDED_GRACE", "1day")
}

fn latency(bench: &Bench, claims: &mut Vec<Claim>, rows: &mut Vec<Vec<String>>) -> Result<(), Failure> {
    let pool = Pool::start(bench, &plan("creates"))?;
    for connections in CONNECTIONS {
        let turn = |running, address| -> Turn<'_> {
            Box::new(move || load::creates(running, address, connections, Cores::Second, bench.seconds))
        };
        let turns = [("Usher", turn(&pool.usher, pool.address)), ("server", turn(&pool.stub, pool.server))];
        let contest = Contest::run(bench.rounds, &turns)?;
        let p50 = contest.difference(1, |sample| sample.p50 / 1000.0);
        let p99 = contest.difference(1, |sample| sample.p99 / 1000.0);
        let measured = format!("p50 {p50:.2} ms, p99 {p99:.2} ms");
        let one = connections == 1;
        let what = if one { "one after the other".to_owned() } else { format!("{connections} at a time") };
        let (required, met) = if one { ("p50 ≤ 1 ms", Met::if_so(p50.median <= 1.0)) } else { ("–", Met::Unasked) };
        claims.push(Claim::new(format!("create over the server's own answer, {what}"), required, measured, met));
        rows.extend(contest.rows(connections));
    }
    Ok(())
}

fn sustained(bench: &Bench, claims: &mut Vec<Claim>, rows: &mut Vec<Vec<String>>) -> Result<String, Failure> {
    let plan = Plan { cores: Cores::Both, stub_cores: Cores::Both, ..plan("rush") };
    let pool = Pool::start(bench, &plan)?;
    let stub_before = pool.stub.cpu();
    let started = std::time::Instant::now();
    let turn: Turn<'_> = Box::new(|| load::creates(&pool.usher, pool.address, RUSH, Cores::Both, bench.long));
    let mut samples = Vec::new();
    for _ in 0..bench.rounds.min(3) {
        samples.push(turn()?);
    }
    let stub = (pool.stub.cpu() - stub_before) / started.elapsed().as_secs_f64();
    let rate = Spread::of(samples.iter().map(|sample| sample.rate));
    let required = format!("≥ {LEAST_RATE:.0}/s, aim {AIM:.0}/s");
    let met = Met::if_so(rate.median >= LEAST_RATE);
    claims.push(Claim::new("creates sustained on two cores", required, format!("{rate:.0} per second"), met));
    let spread = |figure: fn(&load::Sample) -> f64| Spread::of(samples.iter().map(figure));
    let (busy, generator) = (spread(|sample| sample.busy).median, spread(|sample| sample.generator).median);
    rows.push(vec![
        "Usher, both cores".to_owned(),
        RUSH.to_string(),
        format!("{rate:.0}"),
        format!("{:.0}", spread(|sample| sample.p50)),
        format!("{:.0}", spread(|sample| sample.p99)),
        format!("{:.1}", spread(|sample| sample.cost)),
        percent(busy),
        percent(generator),
    ]);
    Ok(format!(
        "In that run Usher took {} of one core, the servers {}, the callers {}.",
        percent(busy),
        percent(stub),
        percent(generator)
    ))
}
