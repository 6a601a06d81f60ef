//! Which server a meeting gets.

use std::collections::HashMap;
use std::sync::Barrier;

use super::*;
use crate::bbb::{Tag, TagWish};
use crate::config::Profile;

fn tags(any_of: &[&str], required: bool) -> TagWish {
    let tag = |text: &&str| if *text == "none" { Tag::Untagged } else { Tag::Named((*text).to_owned()) };
    TagWish { any_of: any_of.iter().map(tag).collect(), required }
}

fn tagged(id: i64, tags: &[&str]) -> ServerRecord {
    ServerRecord { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..record(id) }
}

/// The server that is chosen whatever chance says, over several tries.
fn always(stage: &Stage, wish: &Wish) -> Result<i64, Refusal> {
    let mut servers: Vec<i64> = Vec::new();
    for _ in 0..10 {
        let choice = stage.choose(wish, 0)?;
        stage.ledger.cancel(&wish.key, choice.server);
        servers.push(choice.server.0);
    }
    servers.dedup();
    assert_eq!(servers.len(), 1, "chance decided between {servers:?}");
    Ok(servers[0])
}

fn settings(change: impl FnOnce(&mut Load)) -> LedgerSettings {
    let mut settings = LedgerSettings::default();
    change(&mut settings.load);
    settings
}

#[test]
fn the_least_loaded_server_wins() {
    let stage = Stage::new(3);
    stage.fill(1, 40);
    stage.fill(3, 20);
    assert_eq!(always(&stage, &wish("a")), Ok(2));
}

#[test]
fn weight_cores_and_network_count() {
    let strong = ServerRecord { weight: 2.0, ..record(2) };
    assert_eq!(always(&Stage::with(vec![record(1), strong], LedgerSettings::default()), &wish("a")), Ok(2));
    let large = ServerRecord { cores: 16, ..record(2) };
    assert_eq!(always(&Stage::with(vec![record(1), large], LedgerSettings::default()), &wish("a")), Ok(2));
    let thin = ServerRecord { nic_mbit: 100, ..record(2) };
    assert_eq!(always(&Stage::with(vec![record(1), thin], LedgerSettings::default()), &wish("a")), Ok(1));
}

#[test]
fn equals_are_drawn_by_lot() {
    let stage = Stage::new(3);
    let mut drawn: HashMap<ServerId, u32> = HashMap::new();
    for _ in 0..300 {
        let choice = stage.choose(&wish("a"), 0).unwrap();
        stage.ledger.cancel(&key("a"), choice.server);
        *drawn.entry(choice.server).or_default() += 1;
    }
    assert!(drawn.len() == 3 && drawn.values().all(|count| *count > 50), "{drawn:?}");
}

#[test]
fn two_hundred_rooms_at_once_spread_evenly() {
    let stage = Stage::new(22);
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (stage, barrier) = (&stage, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for room in 0..25 {
                    stage.ledger.choose(&wish(&format!("{thread}-{room}")), second(0)).unwrap();
                }
            });
        }
    });
    stage.check();
    let rooms: Vec<u32> = stage.ledger.servers().iter().map(|server| server.meetings).collect();
    assert_eq!(rooms.iter().sum::<u32>(), 200);
    assert!(rooms.iter().max().unwrap() - rooms.iter().min().unwrap() <= 1, "{rooms:?}");
}

#[test]
fn one_key_from_many_threads_is_placed_once() {
    let stage = Stage::new(5);
    let barrier = Barrier::new(16);
    let won: usize = std::thread::scope(|scope| {
        let choose = || {
            barrier.wait();
            stage.ledger.choose(&wish("a"), second(0)).map_err(|refusal| assert_eq!(refusal, Refusal::Exists)).is_ok()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(choose)).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
    assert_eq!(stage.ledger.servers().iter().map(|server| server.meetings).sum::<u32>(), 1);
    stage.check();
}

#[test]
fn only_enabled_servers_that_are_up() {
    for state in [ServerState::Cordoned, ServerState::Draining, ServerState::Disabled] {
        let stage = Stage::with(vec![ServerRecord { state, ..record(1) }, record(2)], LedgerSettings::default());
        stage.fill(2, 30);
        assert_eq!(always(&stage, &wish("a")), Ok(2), "{state}");
    }
    for health in [Health::Suspect, Health::Down, Health::Unknown] {
        let stage = Stage::new(2);
        stage.ledger.set_health(ServerId(1), health, second(0));
        let choice = stage.choose(&wish("a"), 0).unwrap();
        assert_eq!((choice.server, choice.reason), (ServerId(2), "only_candidate"), "{health}");
        assert_eq!(choice.why.excluded[0].because, health.as_str());
    }
}

#[test]
fn without_any_usable_server_there_is_none() {
    let stage = Stage::new(1);
    stage.ledger.set_health(ServerId(1), Health::Suspect, second(0));
    let Err(Refusal::NoServer { why }) = stage.choose(&wish("a"), 0) else { unreachable!() };
    assert_eq!(why.excluded[0].because, "suspect");
    assert!(stage.ledger.find(&key("a")).is_none(), "nothing is reserved");
    assert!(matches!(Stage::new(0).choose(&wish("a"), 0), Err(Refusal::NoServer { .. })));
}

#[test]
fn tags_as_scalelite_reads_them() {
    let servers = || vec![record(1), tagged(2, &["a"]), tagged(3, &["b", "c"])];
    type Case = (&'static [&'static str], bool, Result<&'static [i64], &'static str>);
    let table: [Case; 9] = [
        (&[], false, Ok(&[1])),
        (&[], true, Ok(&[1])),
        (&["none"], false, Ok(&[1])),
        (&["none"], true, Ok(&[1])),
        (&["a"], false, Ok(&[2])),
        (&["a", "c"], true, Ok(&[2, 3])),
        (&["a", "none"], false, Ok(&[1, 2])),
        (&["x"], false, Ok(&[1])),
        (&["x", "y"], true, Err("x;y")),
    ];
    for (any_of, required, expected) in table {
        let wish = Wish { tags: tags(any_of, required), ..wish("m") };
        let expected = match expected {
            Ok(expected) => expected,
            Err(tag) => {
                let stage = Stage::with(servers(), LedgerSettings::default());
                assert_eq!(stage.choose(&wish, 0), Err(Refusal::NoTaggedServer { tag: tag.to_owned() }));
                continue;
            }
        };
        // The lowest load among those allowed wins, so each of them wins once the others are busy.
        for winner in expected {
            let stage = Stage::with(servers(), LedgerSettings::default());
            expected.iter().filter(|id| *id != winner).for_each(|id| stage.fill(*id, 50));
            assert_eq!(always(&stage, &wish), Ok(*winner), "{any_of:?} {required}");
        }
        // And nobody else, however busy they are.
        let stage = Stage::with(servers(), LedgerSettings::default());
        expected.iter().for_each(|id| stage.fill(*id, 60));
        assert!(expected.contains(&stage.choose(&wish, 0).unwrap().server.0), "{any_of:?} {required}");
    }
}

#[test]
fn untagged_requests_never_go_to_tagged_servers() {
    let stage = Stage::with(vec![tagged(1, &["a"])], LedgerSettings::default());
    assert!(matches!(stage.choose(&wish("m"), 0), Err(Refusal::NoServer { .. })));
    let optional = Wish { tags: tags(&["x"], false), ..wish("m") };
    assert!(matches!(stage.choose(&optional, 0), Err(Refusal::NoServer { .. })));
}

#[test]
fn a_tagged_server_that_is_not_up_counts_as_missing() {
    let stage = Stage::with(vec![record(1), tagged(2, &["a"])], LedgerSettings::default());
    stage.ledger.set_health(ServerId(2), Health::Down, second(0));
    assert_eq!(always(&stage, &Wish { tags: tags(&["a"], false), ..wish("m") }), Ok(1));
    let required = Wish { tags: tags(&["a"], true), ..wish("m") };
    assert_eq!(stage.choose(&required, 0), Err(Refusal::NoTaggedServer { tag: "a".to_owned() }));
}

#[test]
fn the_tenants_pool_limits_the_servers_and_opens_their_tags() {
    let servers = vec![record(1), tagged(2, &["law"]), tagged(3, &["law", "gpu"])];
    let stage = Stage::with(servers, LedgerSettings::default());
    let law = |tags| Wish { pool: vec!["law".to_owned()], tags, ..wish("m") };
    stage.fill(3, 30);
    assert_eq!(always(&stage, &law(TagWish::untagged())), Ok(2));
    assert_eq!(always(&stage, &law(tags(&["gpu"], true))), Ok(3));
    assert_eq!(always(&stage, &law(tags(&["x"], false))), Ok(2), "falls back within the pool");
    let foreign = Wish { pool: vec!["medicine".to_owned()], ..wish("m") };
    assert!(matches!(stage.choose(&foreign, 0), Err(Refusal::NoServer { .. })));
}

#[test]
fn a_region_is_preferred_while_a_server_there_is_free_enough() {
    let near = ServerRecord { region: Some("north".to_owned()), ..record(1) };
    let stage = Stage::with(vec![near, record(2)], LedgerSettings::default());
    let wish = Wish { region: Some("north".to_owned()), ..wish("m") };
    stage.fill(1, 40);
    assert_eq!(always(&stage, &wish), Ok(1), "busier, but below 0.8");
    stage.fill(1, 110);
    assert_eq!(always(&stage, &wish), Ok(2));
}

#[test]
fn big_rooms_keep_apart_unless_nothing_else_is_free() {
    let big = |name: &str| Wish { size_hint: Some(400), max_participants: Some(120), ..wish(name) };
    let cores = |id| ServerRecord { cores: 32, ..record(id) };
    let stage = Stage::with(vec![cores(1), cores(2)], LedgerSettings::default());
    let first = stage.choose(&big("a"), 0).unwrap().server;
    let other = if first == ServerId(1) { 2 } else { 1 };
    stage.fill(other, 200);
    assert!(stage.server(ServerId(other)).load_mc > stage.server(first).load_mc);
    assert_eq!(always(&stage, &big("b")), Ok(other), "although it is busier");
    assert_eq!(always(&stage, &wish("small")), Ok(first.0));
    stage.fill(other, 400);
    assert_eq!(always(&stage, &big("b")), Ok(first.0), "the other one is no longer free enough");
}

#[test]
fn join_pressure_keeps_rushes_apart() {
    let hinted = |name: &str| Wish { size_hint: Some(60), ..wish(name) };
    // Ghosts that cost nothing, and an empty room to even out the other server: only the pressure of joins differs.
    let weightless = settings(|load| (load.reserve.ghost, load.reserve.ghost_net) = (0.0, 0.0));
    let stage = Stage::with(vec![record(1), record(2)], weightless);
    let first = stage.choose(&hinted("a"), 0).unwrap().server;
    let other = ServerId(3 - first.0);
    stage.fill(other.0, 0);
    assert_eq!(stage.server(first).load_mc, stage.server(other).load_mc);
    assert_eq!(always(&stage, &hinted("b")), Ok(other.0));
}

#[test]
fn exclusions_and_pins() {
    let stage = Stage::new(2);
    stage.fill(2, 80);
    let excluding = Wish { exclude: vec![ServerId(1)], ..wish("a") };
    assert_eq!(always(&stage, &excluding), Ok(2));
    let pinned = Wish { pinned: Some(ServerId(2)), ..wish("a") };
    assert_eq!(stage.choose(&pinned, 0).unwrap().reason, "pinned");
}

#[test]
fn a_pin_holds_on_a_cordoned_server_but_not_on_a_dead_one() {
    let cordoned = ServerRecord { state: ServerState::Cordoned, tags: vec!["t".to_owned()], ..record(1) };
    let stage = Stage::with(vec![cordoned, record(2)], LedgerSettings::default());
    let pinned = Wish { pinned: Some(ServerId(1)), ..wish("a") };
    stage.ledger.set_health(ServerId(1), Health::Suspect, second(0));
    assert_eq!(always(&stage, &pinned), Ok(1));
    stage.ledger.set_health(ServerId(1), Health::Down, second(0));
    assert!(matches!(stage.choose(&pinned, 0), Err(Refusal::NoServer { .. })));
}

#[test]
fn rechoose_moves_the_reservation_and_says_why() {
    let stage = Stage::new(2);
    let first = stage.choose(&wish("a"), 0).unwrap().server;
    let again = Wish { exclude: vec![first], ..wish("a") };
    let choice = stage.ledger.rechoose(&again, second(1)).unwrap();
    stage.check();
    assert_eq!((choice.reason, choice.server != first), ("retry", true));
    assert_eq!(stage.server(first).reserved, 0.0);
    assert!(stage.server(choice.server).reserved > 20.0);
    stage.ledger.confirm(&key("a"), choice.server, confirmed("a", second(2)));
    let failover = Wish { exclude: vec![choice.server], ..wish("a") };
    let choice = stage.ledger.rechoose(&failover, second(100)).unwrap();
    assert_eq!((choice.reason, choice.server), ("failover", first));
    assert_eq!(choice.why.reason, "failover");
    let view = stage.meeting("a");
    assert_eq!((view.phase, view.internal_id), (Phase::Claimed, None));
    assert!(stage.ledger.is_creating(&key("a"), second(100)));
    stage.check();
}

#[test]
fn rechoose_without_another_server_changes_nothing() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.join("a", 1).unwrap();
    let before = stage.server(ServerId(1));
    let again = Wish { exclude: vec![ServerId(1)], ..wish("a") };
    assert!(matches!(stage.ledger.rechoose(&again, second(1)), Err(Refusal::NoServer { .. })));
    stage.check();
    assert_eq!(stage.meeting("a").internal_id, Some(internal("a")));
    assert_eq!(stage.server(ServerId(1)).meetings, before.meetings);
    assert_eq!(stage.usage().people, 1);
}

#[test]
fn rechoose_after_the_meeting_ended_is_a_choice() {
    let stage = Stage::new(1);
    assert_eq!(stage.ledger.rechoose(&wish("a"), second(0)).unwrap().reason, "only_candidate");
    assert!(stage.ledger.find(&key("a")).is_some());
}

#[test]
fn the_people_profile_counts_heads_only() {
    let stage = Stage::with(vec![record(1), record(2)], settings(|load| load.profile = Profile::People));
    let mut seminar = listed("seminar", 20);
    (seminar.voice, seminar.videos) = (20, 20);
    stage.poll(ServerId(1), 0, vec![seminar]);
    stage.poll(ServerId(2), 0, vec![listed("lecture", 40)]);
    assert!(stage.server(ServerId(1)).load_mc > stage.server(ServerId(2)).load_mc);
    assert_eq!(always(&stage, &wish("a")), Ok(1));
}

#[test]
fn the_legacy_profile_follows_scalelite() {
    let stage = Stage::with(vec![record(1), record(2)], settings(|load| load.profile = Profile::Legacy));
    let legacy = |id| stage.ledger.state.lock().servers[&ServerId(id)].all().legacy;
    // One for the create, one for the join, then the poll with the floor of 15, then what is counted.
    let pinned = Wish { pinned: Some(ServerId(1)), ..wish("a") };
    stage.choose(&pinned, 0).unwrap();
    assert_eq!(legacy(1), 1);
    stage.ledger.confirm(&key("a"), ServerId(1), confirmed("a", second(0)));
    stage.join("a", 5).unwrap();
    assert_eq!(legacy(1), 2);
    stage.poll(ServerId(1), 10, vec![listed("a", 3)]);
    assert_eq!(legacy(1), 15);
    stage.join("a", 20).unwrap();
    assert_eq!(legacy(1), 16);
    stage.poll(ServerId(1), 30, vec![listed("a", 20)]);
    assert_eq!(legacy(1), 21, "moderators count twice there");
    stage.poll(ServerId(1), 899, vec![listed("a", 3)]);
    assert_eq!(legacy(1), 15);
    stage.tick(900);
    assert_eq!(legacy(1), 4);
    stage.poll(ServerId(2), 900, vec![listed("b", 2)]);
    assert_eq!(always(&stage, &wish("c")), Ok(2), "3 against 4");
}

#[test]
fn the_explanation_survives_as_json() {
    let stage = Stage::new(30);
    stage.ledger.set_health(ServerId(3), Health::Down, second(0));
    let choice = stage.choose(&wish("a"), 0).unwrap();
    let why: Why = serde_json::from_str(&choice.why.to_json()).unwrap();
    assert_eq!(why, choice.why);
    assert_eq!((why.reason.as_ref(), why.candidates.len(), why.omitted), ("least_load", 8, 21));
    assert!(why.candidates[0].chosen && why.candidates[0].server == format!("bbb{}", choice.server));
    assert!((why.expected_people - 45.5).abs() < 0.5, "{}", why.expected_people);
}
