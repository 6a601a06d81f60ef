//! Limits: of tenants at create and at join, of servers, and of a pool that is full.

use super::*;
use crate::config::WhenFull;

fn limits(max_meetings: Option<u32>, max_people: Option<u32>) -> TenantLimits {
    TenantLimits { max_meetings, max_people }
}

#[test]
fn a_tenants_meetings_are_limited_at_create() {
    let stage = Stage::new(2);
    let limited = |name: &str| Wish { limits: limits(Some(2), None), ..wish(name) };
    stage.choose(&limited("a"), 0).unwrap();
    stage.create("b", 0);
    assert_eq!(stage.choose(&limited("c"), 0), Err(Refusal::TenantMeetings { limit: 2 }));
    assert_eq!(stage.choose(&limited("a"), 0), Err(Refusal::Exists), "a repeated create is not a new meeting");
    stage.ledger.forget(&key("b"), second(1));
    stage.choose(&limited("c"), 0).unwrap();
}

#[test]
fn one_tenants_meetings_do_not_count_for_another() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let other = MeetingKey { tenant: TenantId(2), meeting: MeetingId::new("a") };
    let wish = Wish { limits: limits(Some(1), Some(1)), ..Wish::new(other.clone(), BbbMeetingId::new("scoped-a")) };
    stage.choose(&wish, 0).unwrap();
    let usages = stage.ledger.tenant_usages();
    assert_eq!(usages.iter().map(|(id, usage)| (id.0, usage.meetings)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
}

#[test]
fn a_tenants_people_are_limited_at_join_and_at_create() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.create("b", 0);
    let three = limits(None, Some(3));
    stage.poll(ServerId(1), 1, vec![listed("a", 1), listed("b", 1)]);
    stage.ledger.admit_join(&key("a"), &three, second(2)).unwrap();
    let refusal = stage.ledger.admit_join(&key("b"), &three, second(2)).unwrap_err();
    assert_eq!(refusal, JoinRefusal::TenantPeople { limit: 3 });
    assert_eq!(stage.usage(), Usage { meetings: 2, people: 3 });
    let wish = Wish { limits: three, ..wish("c") };
    assert_eq!(stage.choose(&wish, 2), Err(Refusal::TenantPeople { limit: 3 }));
}

#[test]
fn people_in_breakout_rooms_count_once_for_the_tenant() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 1, vec![listed("a", 10), breakout("a1", "a", 5), breakout("a2", "a", 5)]);
    assert_eq!(stage.usage(), Usage { meetings: 1, people: 10 });
    assert_eq!(stage.server(ServerId(1)).participants, 20);
}

#[test]
fn servers_have_caps_of_their_own() {
    let capped = ServerRecord { max_meetings: Some(1), ..record(1) };
    let stage = Stage::with(vec![capped], LedgerSettings::default());
    stage.create("a", 0);
    let Err(Refusal::Full { why }) = stage.choose(&wish("b"), 0) else { unreachable!() };
    assert_eq!(why.excluded[0].because, "max_meetings reached");

    let capped = ServerRecord { max_people: Some(50), ..record(1) };
    let stage = Stage::with(vec![capped, record(2)], LedgerSettings::default());
    stage.fill(2, 90);
    stage.fill(1, 20);
    assert_eq!(stage.choose(&wish("a"), 0).unwrap().server, ServerId(1));
    assert_eq!(stage.choose(&wish("b"), 0).unwrap().server, ServerId(1), "20 and 25 expected are below 50");
    let choice = stage.choose(&wish("c"), 0).unwrap();
    assert_eq!(choice.server, ServerId(2), "20 and twice 25 are not");
    assert_eq!(choice.why.excluded[0].because, "max_people reached");
}

#[test]
fn caps_of_tagged_servers_mean_full_where_the_tag_is_required() {
    use crate::bbb::{Tag, TagWish};
    let capped = ServerRecord { max_meetings: Some(0), tags: vec!["a".to_owned()], ..record(1) };
    let stage = Stage::with(vec![capped, record(2)], LedgerSettings::default());
    let tags = |required| TagWish { any_of: vec![Tag::Named("a".to_owned())], required };
    assert!(matches!(stage.choose(&Wish { tags: tags(true), ..wish("m") }, 0), Err(Refusal::Full { .. })));
    assert_eq!(stage.choose(&Wish { tags: tags(false), ..wish("m") }, 0).unwrap().server, ServerId(2));
}

#[test]
fn a_full_pool_refuses_or_accepts_and_says_so() {
    let stage = Stage::new(2);
    stage.fill(1, 150);
    stage.fill(2, 160);
    let refusing = Wish { when_full: WhenFull::Refuse, ..wish("a") };
    let Err(Refusal::Full { why }) = stage.choose(&refusing, 0) else { unreachable!() };
    assert!(why.candidates.iter().all(|candidate| candidate.utilisation > 1.0));
    assert!(stage.ledger.find(&key("a")).is_none());
    let choice = stage.choose(&wish("a"), 0).unwrap();
    assert_eq!((choice.server, choice.reason), (ServerId(1), "over_full"));
}

#[test]
fn one_server_with_room_is_enough_to_admit() {
    let stage = Stage::new(2);
    stage.fill(1, 150);
    let refusing = Wish { when_full: WhenFull::Refuse, ..wish("a") };
    assert_eq!(stage.choose(&refusing, 0).unwrap().server, ServerId(2));
}

#[test]
fn admission_looks_further_than_choosing() {
    // A server of two cores: an unknown room at the 75th percentile nearly fits, at the 95th it does not.
    let small = ServerRecord { cores: 2, ..record(1) };
    let stage = Stage::with(vec![small], LedgerSettings::default());
    let refusing = Wish { when_full: WhenFull::Refuse, ..wish("a") };
    let Err(Refusal::Full { why }) = stage.choose(&refusing, 0) else { unreachable!() };
    assert!(why.candidates[0].utilisation < 1.0, "{why:?}");
}

#[test]
fn joins_are_refused_where_nobody_could_join() {
    let stage = Stage::new(1);
    assert_eq!(stage.join("a", 0).unwrap_err(), JoinRefusal::Unknown);
    stage.create("a", 0);
    stage.ledger.set_health(ServerId(1), Health::Suspect, second(5));
    assert_eq!(stage.join("a", 5).unwrap().record.id, ServerId(1), "suspicion is not death");
    stage.ledger.set_health(ServerId(1), Health::Down, second(10));
    stage.ledger.set_health(ServerId(1), Health::Down, second(20));
    assert_eq!(stage.join("a", 30).unwrap_err(), JoinRefusal::ServerDown { since: second(10) });
    assert_eq!(stage.meeting("a").down_since, Some(second(10)));
    assert_eq!(stage.usage().people, 1, "the refused join was not counted");
    stage.ledger.set_health(ServerId(1), Health::Up, second(40));
    stage.ledger.set_servers(vec![ServerRecord { state: ServerState::Disabled, ..record(1) }], second(40));
    assert_eq!(stage.join("a", 41).unwrap_err(), JoinRefusal::ServerDisabled);
    stage.ledger.set_servers(vec![ServerRecord { state: ServerState::Draining, ..record(1) }], second(42));
    assert!(stage.join("a", 43).is_ok());
}

#[test]
fn a_join_goes_to_its_meeting() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let ticket = stage.join("a", 0).unwrap();
    assert_eq!((ticket.called.as_str(), ticket.record.id), ("a", ServerId(1)));
}
