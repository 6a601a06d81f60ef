//! Join pacing: who has to wait, who has not, and that all get in in their turn.

use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::join_all;

use crate::harness::{Answer, Builder, Chromium, FrontEnd, Pool, eventually};

/// Joins a second that the server is trusted with, and how many may come at once.
const RATE: usize = 10;
const BURST: usize = 2 * RATE;

async fn pool(mode: &str) -> Pool {
    let builder = Builder::new(1).server_args(0, &["--cores", "1"]);
    let builder = builder.set("USHER_LOAD__JOINS__PER_CORE", &RATE.to_string());
    builder.set("USHER_EDGE__JOIN_PACING", mode).start().await
}

fn link(front: &FrontEnd, number: usize) -> String {
    front.url("join", &format!("fullName=P{number}&meetingID=room&role=VIEWER"))
}

/// The place that the page shows.
fn position(page: &Answer) -> usize {
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("http-equiv=\"refresh\"") && page.headers["cache-control"] == "no-store");
    if page.body.contains("You are the next one") {
        return 1;
    }
    let rest = page.body.split("You are number ").nth(1).unwrap_or_else(|| panic!("no place: {}", page.body));
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Uses up what may come at once, and more.
async fn rush(front: &FrontEnd, number: usize) -> Vec<Answer> {
    join_all((0..number).map(|number| async move { front.fetch(&link(front, number)).await })).await
}

fn counted(metrics: &str, outcome: &str) -> usize {
    let line = format!("usher_joins_paced_total{{outcome=\"{outcome}\",server=\"bbb1\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_browsers_come_in_one_after_the_other() {
    let pool = pool("on").await;
    let front = pool.front_end();
    front.create("room", "").await;
    let begin = Instant::now();
    let people = (0..60).map(|number| {
        let front = front.clone();
        async move {
            let mut last = usize::MAX;
            let place = std::cell::RefCell::new(&mut last);
            eventually("the person is let in", || async {
                let page = front.fetch(&link(&front, number)).await;
                if page.status == 302 {
                    assert!(page.headers["location"].contains("/bigbluebutton/api/join?"));
                    return Some(());
                }
                let mut place = place.borrow_mut();
                assert!(position(&page) <= **place, "from {place} to {}", position(&page));
                **place = position(&page);
                None
            })
            .await;
            last
        }
    });
    let last = join_all(people).await;
    // Usher's clock and this one differ by less than a turn.
    let most = (BURST + 1) as f64 + RATE as f64 * begin.elapsed().as_secs_f64();
    assert!(60.0 <= most, "60 people, but only {most} were due");
    let waited = last.iter().filter(|place| **place != usize::MAX).count();
    assert!(waited > 0);
    let metrics = pool.metrics().await;
    assert_eq!((counted(&metrics, "waited"), counted(&metrics, "let_in")), (waited, waited));
    assert!(metrics.contains("usher_joins_waiting{server=\"bbb1\"} 0"), "{metrics}");
    let status = pool.status().await.unwrap();
    assert_eq!(status["tenants"][0]["people"], 60, "each was counted once: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_and_programs_do_not_wait() {
    let pool = pool("on").await;
    let front = pool.front_end();
    front.create("room", "&moderatorPW=mod-pw&attendeePW=att-pw").await;
    let pages = rush(&front, 3 * BURST).await;
    let waiting: Vec<usize> = (0..pages.len()).filter(|number| pages[*number].status == 200).collect();
    assert!(!waiting.is_empty());
    let join = |query: &'static str| {
        let front = front.clone();
        async move { front.get("join", &format!("fullName=Ada&meetingID=room&{query}")).await }
    };
    for query in ["role=moderator", "password=mod-pw", "role=VIEWER&redirect=false"] {
        let answer = join(query).await;
        assert_eq!(answer.status, 302, "{query}: {}", answer.body);
    }
    for query in ["role=VIEWER", "password=att-pw", "role=VIEWER&password=mod-pw"] {
        assert!(position(&join(query).await) > 1, "{query}");
    }
    // Errors come first, and waiting helps nobody.
    let unknown = front.get("join", "fullName=Ada&meetingID=nowhere&role=VIEWER").await;
    assert!(unknown.headers["location"].contains("invalidMeetingIdentifier"));
    let status = pool.cli_ok(&["status"]);
    assert!(status.contains("WAITING"), "{status}");
    let status = pool.server_status("bbb1").await;
    assert!(status["waiting"].as_u64().unwrap() >= 3, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_lets_nobody_in_for_that() {
    let builder = Builder::new(1).server_args(0, &["--cores", "1"]).set("USHER_LOAD__JOINS__PER_CORE", "0.01");
    let builder = builder.set("USHER_EDGE__JOIN_PACING", "on").set("USHER_LOAD__JOINS__QUEUE_MAX", "5");
    let pool = builder.start().await;
    let front = pool.front_end();
    front.create("room", "").await;
    let pages = rush(&front, 10).await;
    assert_eq!(pages.iter().filter(|page| page.status == 302).count(), 1, "one may always join");
    assert_eq!(pages.iter().filter(|page| page.body.contains("Very many people")).count(), 4);
    let places: std::collections::BTreeSet<usize> = pages
        .iter()
        .filter(|page| page.status == 200 && !page.body.contains("Very many people"))
        .map(position)
        .collect();
    assert_eq!(places, (1..=5).collect());
    // Places belong to links: the same ones again, in any order, and from another address it is another one.
    let again = rush(&front, 10).await;
    let kept = |number: usize| pages[number].body == again[number].body || pages[number].status == 302;
    assert!((0..10).all(kept), "a reload keeps the place");
    assert_eq!(counted(&pool.metrics().await, "full"), 9, "4 of the first, 4 of the second, and who is in already");
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_counts_and_holds_nobody_up() {
    let pool = pool("observe").await;
    let front = pool.front_end();
    front.create("room", "").await;
    let pages = rush(&front, 3 * BURST).await;
    assert!(pages.iter().all(|page| page.status == 302));
    let observed = counted(&pool.metrics().await, "observed");
    assert!(observed > 0 && observed <= 2 * BURST, "{observed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_waits_for_its_turn_and_comes_in() {
    let pool = pool("on").await;
    let front = pool.front_end();
    front.create("room", "").await;
    let chromium = Chromium::start(&[]).await;
    let people = 3 * BURST;
    rush(&front, people).await;
    let mut tab = chromium.open(&link(&front, 100_000)).await;
    tab.wait_text("You are number ").await;
    // Those ahead come back for their turns.
    let outside = Mutex::new((0..people).collect::<Vec<usize>>());
    eventually("all others are in", || async {
        let numbers = outside.lock().unwrap().clone();
        let pages = join_all(numbers.iter().map(|number| async { front.fetch(&link(&front, *number)).await })).await;
        let waits = |(number, page): (usize, &Answer)| (page.status != 302).then_some(number);
        let still: Vec<usize> = numbers.into_iter().zip(&pages).filter_map(waits).collect();
        *outside.lock().unwrap() = still.clone();
        still.is_empty().then_some(())
    })
    .await;
    tab.wait_state("connected").await;
    assert!(tab.address().await.contains("/html5client/"));
}
