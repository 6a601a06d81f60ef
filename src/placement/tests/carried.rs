//! People whose client is carried count before a poll knows them, and never twice.

use super::*;

/// A server with a room that nobody is expected in any more.
fn stage(people: u32) -> Stage {
    let stage = Stage::new(2);
    stage.fill(1, people);
    stage.fill(2, people);
    stage
}

fn carry(stage: &Stage, people: u32) {
    stage.ledger.set_carried(&[(ServerId(1), people)]);
    stage.check();
}

#[test]
fn whom_the_picture_knows_costs_nothing_more() {
    let stage = stage(20);
    let before = stage.server(ServerId(1));
    for people in [1, 20] {
        carry(&stage, people);
        let view = stage.server(ServerId(1));
        assert_eq!((view.load_mc, view.utilisation), (before.load_mc, before.utilisation), "{people}");
        assert_eq!((view.participants, view.carried), (20, people));
    }
}

#[test]
fn whom_it_does_not_know_weighs_until_a_poll_does() {
    let stage = stage(20);
    let before = stage.server(ServerId(1)).load_mc;
    carry(&stage, 50);
    let view = stage.server(ServerId(1));
    let ghost = LedgerSettings::default().load.reserve.ghost;
    assert!((view.load_mc - before - 30.0 * ghost).abs() < 0.01, "{before} became {}", view.load_mc);
    assert_eq!(view.participants, 20, "polls say who takes part");
    let choice = stage.choose(&wish("a"), 0).unwrap();
    assert_eq!(choice.server, ServerId(2));
    let unseen =
        |server: &str| choice.why.candidates.iter().find(|candidate| candidate.server == server).unwrap().unseen_people;
    assert_eq!((unseen("bbb1"), unseen("bbb2")), (30, 0));

    let polled = |stage: &Stage| stage.poll(ServerId(1), 5, vec![listed("crowd 1", 50)]);
    polled(&stage);
    let alone = self::stage(20);
    polled(&alone);
    assert_eq!(stage.server(ServerId(1)).load_mc, alone.server(ServerId(1)).load_mc, "counted once");
}

#[test]
fn whoever_is_on_the_way_or_expected_may_be_one_of_them() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let expected = stage.server(ServerId(1)).reserved;
    assert!(expected > 20.0);
    for _ in 0..10 {
        stage.join("a", 1).unwrap();
    }
    let before = stage.server(ServerId(1)).load_mc;
    carry(&stage, 10);
    assert_eq!(stage.server(ServerId(1)).load_mc, before, "the ten that joined are the ten that are carried");
    carry(&stage, 20);
    assert_eq!(stage.server(ServerId(1)).load_mc, before, "ten more were expected");
    carry(&stage, 200);
    assert!(stage.server(ServerId(1)).load_mc > before + 100.0 * 33.0);
    stage.ledger.set_carried(&[]);
    assert_eq!(stage.server(ServerId(1)).load_mc, before, "they left");
}

#[test]
fn a_cap_of_people_counts_them() {
    let stage =
        Stage::with(vec![ServerRecord { max_people: Some(50), ..record(1) }, record(2)], LedgerSettings::default());
    stage.fill(2, 90);
    assert_eq!(stage.choose(&wish("a"), 0).unwrap().server, ServerId(1));
    carry(&stage, 60);
    let choice = stage.choose(&wish("b"), 0).unwrap();
    assert_eq!((choice.server, choice.why.excluded[0].because.as_ref()), (ServerId(2), "max_people reached"));
}

#[test]
fn a_server_that_is_gone_is_no_matter() {
    let stage = Stage::new(1);
    stage.ledger.set_carried(&[(ServerId(1), 3), (ServerId(9), 5)]);
    stage.ledger.set_servers(vec![record(1), record(2)], second(1));
    assert_eq!((stage.server(ServerId(1)).carried, stage.server(ServerId(2)).carried), (3, 0));
}
