//! The table of servers.

use super::*;

#[test]
fn live_figures_stay_when_the_record_changes() {
    let stage = Stage::new(2);
    stage.create("a", 0);
    let server = stage.meeting("a").server;
    stage.poll(server, 1, vec![listed("a", 5)]);
    let changed = |id| ServerRecord { cores: 32, ..record(id) };
    assert!(stage.ledger.set_servers(vec![changed(1), changed(2)], second(2)).is_empty());
    stage.check();
    let view = stage.server(server);
    assert_eq!((view.record.cores, view.participants, view.health), (32, 5, Health::Up));
    assert_eq!(view.last_poll, Some(second(1) + Duration::from_millis(500)));
}

#[test]
fn meetings_of_a_server_that_is_gone_are_dropped_and_returned() {
    let stage = Stage::new(2);
    let names = ["a", "b", "c", "d"];
    for name in names {
        stage.create(name, 0);
    }
    let on_first = stage.ledger.meetings_on(ServerId(1));
    assert_eq!(on_first.len(), 2);
    assert_eq!(stage.ledger.set_servers(vec![record(2)], second(1)), on_first);
    stage.check();
    assert!(stage.ledger.server(ServerId(1)).is_none());
    for name in names {
        let is_dropped = on_first.contains(&key(name));
        assert_eq!(stage.ledger.find(&key(name)).is_none(), is_dropped);
        assert_eq!(stage.ledger.find_internal(&internal(name)).is_none(), is_dropped);
    }
    assert_eq!(stage.usage().meetings, 2);
    stage.create("a2", 2);
    assert_eq!(stage.meeting("a2").server, ServerId(2));
}

#[test]
fn servers_are_found_by_name_and_id() {
    let stage = Stage::new(2);
    assert_eq!(stage.ledger.server_named("bbb2").unwrap().record.id, ServerId(2));
    assert!(stage.ledger.server_named("bbb3").is_none());
    assert_eq!(stage.ledger.servers().len(), 2);
}

#[test]
fn a_new_server_is_unknown_and_health_remembers_since_when() {
    let stage = Stage::new(1);
    stage.ledger.set_servers(vec![record(1), record(2)], second(5));
    assert_eq!(stage.server(ServerId(2)).health, Health::Unknown);
    stage.ledger.set_health(ServerId(2), Health::Up, second(7));
    stage.ledger.set_health(ServerId(2), Health::Up, second(9));
    assert_eq!(stage.server(ServerId(2)).health_since, second(7));
    stage.ledger.set_health(ServerId(9), Health::Up, second(9));
}

#[test]
fn the_version_changes_what_a_voice_costs() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let talkative = || bbb::Meeting { voice: 25, ..listed("a", 25) };
    stage.poll(ServerId(1), 1, vec![talkative()]);
    let old = stage.server(ServerId(1)).load_mc;
    stage.ledger.set_version(ServerId(1), "3.0.4".to_owned(), second(2));
    stage.check();
    let new = stage.server(ServerId(1));
    assert!(new.load_mc < old - 500.0, "{old} {}", new.load_mc);
    assert_eq!(new.version.as_deref(), Some("3.0.4"));
    let told = ServerRecord { version: Some("2.7".to_owned()), ..record(1) };
    stage.ledger.set_servers(vec![told], second(3));
    assert_eq!(stage.server(ServerId(1)).version.as_deref(), Some("2.7"), "the operator's word wins");
    assert!(stage.server(ServerId(1)).load_mc > old - 500.0);
}

#[test]
fn new_settings_apply_at_once() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 0).unwrap();
    let mut settings = LedgerSettings::default();
    settings.load.reserve.ghost = 0.0;
    settings.load.weights.meeting = 7.0;
    stage.ledger.set_settings(settings, second(0));
    stage.check();
    assert!((stage.server(ServerId(1)).load_mc - 7.0).abs() < 1e-6);
}

#[test]
fn restored_placements_need_their_server() {
    let stage = Stage::new(1);
    let lost = stage
        .ledger
        .restore(vec![placement("a", 1, Phase::Confirmed), placement("b", 7, Phase::Confirmed)], second(100));
    stage.check();
    assert_eq!(lost, [key("b")]);
    assert_eq!(stage.ledger.meetings_on(ServerId(1)), [key("a")]);
    assert_eq!(stage.ledger.find_internal(&internal("a")), Some(key("a")));
    assert!(!stage.ledger.put(placement("c", 7, Phase::Claimed), second(100)));
}

#[test]
fn placements_of_other_processes_are_followed() {
    let stage = Stage::new(2);
    assert!(stage.ledger.put(placement("a", 1, Phase::Claimed), second(1)));
    assert_eq!(stage.meeting("a").phase, Phase::Claimed);
    stage.join("a", 2).unwrap();
    assert!(stage.ledger.put(placement("a", 1, Phase::Confirmed), second(3)));
    stage.check();
    assert_eq!(stage.meeting("a").internal_id, Some(internal("a")));
    assert_eq!(stage.usage().people, 1, "live figures stay");
    assert!(stage.ledger.put(placement("a", 2, Phase::Claimed), second(4)));
    stage.check();
    assert_eq!((stage.meeting("a").server, stage.usage().meetings), (ServerId(2), 1));
    assert!(stage.ledger.forget(&key("a"), second(1)));
    assert!(!stage.ledger.forget(&key("a"), second(1)));
}
