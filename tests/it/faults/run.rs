//! One fault from before to after: the load goes on all the time, what the pool does is timed, the books are checked.

use std::time::{Duration, Instant};

use usher::clock::{Clock, Millis, SystemClock};
use usher::sim::SeenCall;

use super::REQUEST_TIMEOUT;
use super::books::{Reckoning, reckon};
use super::case::{Case, How};
use super::load::{AFTER, DURING, LED_IN, Load, WAITS};
use super::stage::{SERVERS, Stage};
use crate::harness::{eventually, eventually_within};
use crate::reliability::{ALL_SERVERS, ONE_SERVER};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    One,
    All,
}

/// How long a fault lasts at least: every call that began with it has been answered, one way or the other.
const LEAST: Duration = Duration::from_millis(REQUEST_TIMEOUT.as_millis() as u64 + 400);
/// After a server has left `up`, creates that had chosen it before may still arrive.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What the pool did, timed.
#[derive(Default)]
struct Timing {
    left_up: Option<Duration>,
    left_up_at: Option<Millis>,
    own_fault: Option<Duration>,
    seen_as: String,
    /// A server that is restarted is not there for a moment, which may have been noticed.
    restart_seen: bool,
    used_again: Duration,
}

pub async fn run(case: &Case, scope: Scope, place: usize) {
    let name = format!("{} ({scope:?})", case.name);
    let mut stage = Stage::set(&case.how).await;
    // Not the first server: nothing may depend on the order.
    let targets: Vec<usize> = if scope == Scope::One { vec![1] } else { (0..SERVERS).collect() };
    let load = Load::new(
        name.clone(),
        stage.moodle.clone(),
        stage.urls.clone(),
        stage.standing.clone(),
        matches!(case.how, How::Emptied),
    );
    let tasks = load.start();
    eventually("the load is on", || async { (load.count(super::load::BEFORE) > 30).then_some(()) }).await;

    let began = Instant::now();
    load.enter(DURING);
    if matches!(case.how, How::Emptied) {
        let on_targets = stage.standing.iter().filter(|standing| targets.contains(&standing.server));
        load.lost.lock().extend(on_targets.map(|standing| standing.id.clone()));
    }
    let bad_days = bad_days(&stage);
    let lost = case.how.begin(&mut stage, &targets).await;
    load.lost.lock().extend(lost);
    let mut timing = Timing::default();
    if case.how.is_noticed() {
        let noticing = notice(&stage, &load, &case.how, &targets, began, &mut timing, &name);
        tokio::join!(noticing, load.rush("met"));
    } else {
        goes_on(&stage, &load, &targets, &mut timing, &name).await;
    }
    tokio::time::sleep(LEAST.saturating_sub(began.elapsed())).await;
    timing.seen_as = seen_as(&stage, &targets).await;
    if case.how.is_noticed() {
        joins_follow_health(&load, &targets, timing.own_fault.is_some(), &name).await;
    } else {
        assert_eq!(timing.seen_as, "`up`", "{name}");
        // Whoever asks in the moment of a restart finds nobody there.
        let is_seen = self::bad_days(&stage) > bad_days;
        assert!(!is_seen || matches!(case.how, How::Emptied), "{name}: calls do not show it");
        timing.restart_seen = is_seen;
    }
    only_known_calls_arrive(&stage, &targets, timing.left_up_at, &name);

    let healed = Instant::now();
    case.how.end(&mut stage, &targets);
    load.enter(AFTER);
    let again = used_again(&stage, &targets, healed, &name).await;
    if case.how.is_noticed() {
        timing.used_again = again;
    }
    load.stop();
    for task in tasks {
        task.await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let reckoning = reckon(&stage, &load, &name).await;
    write(case, scope, place, &load, &timing, &reckoning);
}

/// Waits until the pool has seen it, and then until all has been decided.
async fn notice(
    stage: &Stage,
    load: &Load,
    how: &How,
    targets: &[usize],
    began: Instant,
    timing: &mut Timing,
    name: &str,
) {
    eventually_within(Duration::from_secs(15), &format!("{name}: it is noticed"), || async {
        let own_fault = is_own_fault(stage).await?;
        let status = stage.pool.status().await?;
        let is_up = |server: &usize| status["servers"][*server]["health"] == "up";
        (own_fault || !targets.iter().all(is_up)).then_some(())
    })
    .await;
    timing.left_up = Some(began.elapsed());
    timing.left_up_at = Some(SystemClock.now());
    if let [target] = targets {
        load.rush("avoids").await;
        let calls = stage.pool.servers[*target].calls();
        let came = calls.iter().any(|seen| seen.call == "create" && seen.raw_query.contains("meetingID=new-avoids-"));
        assert!(!came, "{name}: a new meeting went to a server that is not up");
        let suspect = format!("server is suspect, no new meetings there server=bbb{}", target + 1);
        assert!(stage.pool.log().contains(&suspect), "{name}: it was not the first failure that was noticed");
    }
    if targets.len() == SERVERS && !how.is_told_by_servers() {
        // Nothing else is allowed: no server stays down for what may be our own network.
        eventually_within(Duration::from_secs(15), &format!("{name}: our own network is suspected"), || async {
            let own_fault = is_own_fault(stage).await?;
            (own_fault && seen_as(stage, targets).await == "`up`").then_some(())
        })
        .await;
        let readiness = stage.moodle.fetch(&format!("{}/readyz", stage.pool.http)).await;
        let says_why = readiness.body.contains(&format!("{OWN_FAULT}; bbb"));
        assert!(readiness.status == 503 && says_why, "{name}: {} {}", readiness.status, readiness.body);
        timing.own_fault = Some(began.elapsed());
        return;
    }
    eventually_within(Duration::from_secs(15), &format!("{name}: down"), || async {
        let status = stage.pool.status().await?;
        targets.iter().all(|server| status["servers"][*server]["health"] == "down").then_some(())
    })
    .await;
    assert_eq!(is_own_fault(stage).await, Some(false), "{name}: taken for our own network");
}

async fn is_own_fault(stage: &Stage) -> Option<bool> {
    let status = stage.pool.status().await?;
    let mut reasons = status["reasons"].as_array()?.iter();
    Some(reasons.any(|reason| reason.as_str().unwrap_or_default().starts_with(OWN_FAULT)))
}

pub const OWN_FAULT: &str = "all BBB servers fail at once: probably our own network";

/// Health words and reasons, each once.
pub async fn seen_as(stage: &Stage, targets: &[usize]) -> String {
    let status = stage.pool.status().await.unwrap();
    let mut words: Vec<String> = Vec::new();
    for target in targets {
        let server = &status["servers"][*target];
        let health = server["health"].as_str().unwrap_or_default();
        let word = match server["reason"].as_str() {
            Some(reason) => format!("`{health}`: {reason}"),
            None => format!("`{health}`"),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join("; ")
}

/// One failing server has been given no new meeting since it left `up`; and nobody has followed an entity.
fn only_known_calls_arrive(stage: &Stage, targets: &[usize], left_up: Option<Millis>, name: &str) {
    for server in &stage.pool.servers {
        assert_eq!(server.count_calls("/outside"), 0, "{name}: an external entity was fetched");
    }
    let (Some(left_up), [target]) = (left_up, targets) else { return };
    let calls = stage.pool.servers[*target].calls();
    let late = calls.iter().filter(|seen| seen.call == "create" && seen.at > left_up + UNDER_WAY);
    let fresh: Vec<&SeenCall> = late.filter(|seen| seen.raw_query.contains("meetingID=new-")).collect();
    assert!(fresh.is_empty(), "{name}: new meetings went to a failing server: {fresh:?}");
}

/// Waits until all are up, and until each has been given a new meeting.
async fn used_again(stage: &Stage, targets: &[usize], healed: Instant, name: &str) -> Duration {
    let creates = |server: usize| stage.pool.servers[server].count_calls("create");
    let before: Vec<u64> = (0..SERVERS).map(creates).collect();
    eventually_within(Duration::from_secs(20), &format!("{name}: all servers are up"), || async {
        let status = stage.pool.status().await?;
        (0..SERVERS).all(|server| status["servers"][server]["health"] == "up").then_some(())
    })
    .await;
    eventually_within(Duration::from_secs(20), &format!("{name}: new meetings everywhere"), || async {
        targets.iter().all(|server| creates(*server) > before[*server]).then_some(())
    })
    .await;
    healed.elapsed()
}

/// A fault that calls do not show: new meetings go on to the servers that have it.
async fn goes_on(stage: &Stage, load: &Load, targets: &[usize], timing: &mut Timing, name: &str) {
    let creates = |server: usize| stage.pool.servers[server].count_calls("create");
    let before: Vec<u64> = (0..SERVERS).map(creates).collect();
    let began = Instant::now();
    eventually(&format!("{name}: new meetings go there"), || async {
        targets.iter().all(|server| creates(*server) > before[*server]).then_some(())
    })
    .await;
    timing.used_again = began.elapsed();
    // What a server says of its clock decides nothing: whatever it ends is gone, and nothing else.
    load.rush("fleeting").await;
    for id in load.fleeting("fleeting") {
        let home = stage.pool.holders(&id)[0];
        assert!(stage.pool.servers[home].end_directly(&id));
        eventually(&format!("{name}: {id}, which its server has ended, is gone"), || async {
            (stage.moodle.get("getMeetingInfo", &format!("meetingID={id}")).await.key() == "notFound").then_some(())
        })
        .await;
        eventually(&format!("{name}: {id} is listed no more"), || async {
            let listed = stage.moodle.get("getMeetings", "").await.body;
            (!listed.contains(&format!("<meetingID>{id}</meetingID>"))).then_some(())
        })
        .await;
    }
}

/// How often a server has left `up`, as the log says it.
fn bad_days(stage: &Stage) -> usize {
    let log = stage.pool.log();
    ["server is suspect", "server is down"].map(|words| log.matches(words).count()).iter().sum()
}

/// Joins lead to every server but one that is `down`; while our own network is suspected, to all.
async fn joins_follow_health(load: &Load, targets: &[usize], own_fault: bool, name: &str) {
    for standing in &load.standing {
        let is_down = targets.contains(&standing.server) && !own_fault;
        let expected = if is_down { WAITS } else { LED_IN };
        let outcome = load.join(&standing.id, Some(standing)).await;
        assert_eq!(outcome, expected, "{name}: join of {} on server {}", standing.id, standing.server);
    }
}

fn write(case: &Case, scope: Scope, place: usize, load: &Load, timing: &Timing, reckoning: &Reckoning) {
    let section = if scope == Scope::One { &ONE_SERVER } else { &ALL_SERVERS };
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let mut seen_as = timing.seen_as.clone();
    if let Some(after) = timing.own_fault {
        seen_as = format!("own network suspected after {}; servers {seen_as}", seconds(after));
    }
    let mut checked = format!("{} kept, {} ended by their front ends", reckoning.kept, reckoning.ended);
    if reckoning.made_later > 0 {
        checked.push_str(&format!(", {} refused and made later", reckoning.made_later));
    }
    if reckoning.lost > 0 {
        checked.push_str(&format!(", {} lost by their server and made anew", reckoning.lost));
    }
    section.write(
        place,
        &[
            case.name.to_owned(),
            load.summary(DURING),
            seconds(load.longest(DURING)),
            seen_as,
            match timing.left_up {
                Some(after) => seconds(after),
                None if timing.restart_seen => "for the restart only".to_owned(),
                None => "never".to_owned(),
            },
            match timing.left_up {
                Some(_) => seconds(timing.used_again),
                None => format!("{} after it began", seconds(timing.used_again)),
            },
            checked,
        ],
    );
}
