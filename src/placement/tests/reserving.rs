//! The reserve: made with the choice, turned into people by joins, given back exactly.

use super::super::poll::Moment;
use super::*;
use crate::config::Profile;

#[test]
fn a_choice_reserves_at_once() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 0).unwrap();
    let server = stage.server(ServerId(1));
    assert_eq!((server.meetings, server.participants), (1, 0));
    assert!((server.reserved - 45.5).abs() < 0.5, "{}", server.reserved);
    assert!((server.load_mc - (20.0 + server.reserved * 33.0)).abs() < 1.0, "{}", server.load_mc);
}

#[test]
fn reservations_return_to_exactly_nothing() {
    let stage = Stage::new(3);
    for round in 0..50 {
        let names: Vec<String> = (0..7).map(|room| format!("{round}-{room}")).collect();
        for (room, name) in names.iter().enumerate() {
            let wish = Wish { size_hint: Some(7 + room as u32 * 31), ..wish(name) };
            let server = stage.choose(&wish, round).unwrap().server;
            if room % 2 == 0 {
                stage.ledger.confirm(&key(name), server, confirmed(name, second(round)));
                stage.join(name, round).unwrap();
            }
        }
        stage.tick(round + 1);
        for name in &names {
            let server = stage.meeting(name).server;
            if !stage.ledger.cancel(&key(name), server) {
                stage.ledger.forget(&key(name), second(1));
            }
        }
    }
    stage.check();
    for server in stage.ledger.state.lock().servers.values() {
        assert_eq!(server.sums, super::super::sums::Sums::default());
    }
    assert_eq!(stage.usage(), Usage::default());
    let state = stage.ledger.state.lock();
    assert!(state.awake.is_empty() && state.tenants.is_empty() && state.by_internal.is_empty());
}

#[test]
fn cancel_gives_back_only_a_claim_that_still_points_there() {
    let stage = Stage::new(2);
    let server = stage.choose(&wish("a"), 0).unwrap().server;
    let other = if server == ServerId(1) { ServerId(2) } else { ServerId(1) };
    assert!(!stage.ledger.cancel(&key("a"), other));
    assert!(stage.ledger.cancel(&key("a"), server));
    assert!(stage.ledger.find(&key("a")).is_none());
    stage.create("b", 0);
    let server = stage.meeting("b").server;
    assert!(stage.ledger.hold(&key("b"), server, second(1)));
    assert!(!stage.ledger.cancel(&key("b"), server), "a failed repeated create does not undo the first");
    assert_eq!(stage.meeting("b").phase, Phase::Confirmed);
    assert!(!stage.ledger.is_creating(&key("b"), second(1)));
    assert!(!stage.ledger.hold(&key("b"), ServerId(9), second(1)));
}

#[test]
fn a_claim_that_two_creates_work_on_survives_the_first_failure() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 0).unwrap();
    stage.ledger.hold(&key("a"), ServerId(1), second(1));
    assert!(!stage.ledger.cancel(&key("a"), ServerId(1)));
    assert!(stage.ledger.confirm(&key("a"), ServerId(1), confirmed("a", second(2))));
}

#[test]
fn confirm_on_another_server_is_refused() {
    let stage = Stage::new(2);
    let server = stage.choose(&wish("a"), 0).unwrap().server;
    let other = if server == ServerId(1) { ServerId(2) } else { ServerId(1) };
    assert!(!stage.ledger.confirm(&key("a"), other, confirmed("a", second(1))));
    assert_eq!(stage.meeting("a").phase, Phase::Claimed);
    assert!(!stage.ledger.confirm(&key("nobody"), server, confirmed("nobody", second(1))));
}

#[test]
fn a_join_turns_one_ghost_into_a_person_at_once() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let before = stage.server(ServerId(1));
    stage.join("a", 1).unwrap();
    let after = stage.server(ServerId(1));
    assert!((before.reserved - after.reserved - 1.0).abs() < 0.002, "{} {}", before.reserved, after.reserved);
    assert!((before.load_mc - after.load_mc).abs() < 0.1, "the load was expected already");
    assert_eq!(stage.usage().people, 1);
    assert_eq!(stage.meeting("a").participants, 0, "the poll has not seen anybody yet");
}

#[test]
fn pending_joins_are_dropped_when_a_poll_shows_growth() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    for at in 1..=4 {
        stage.join("a", at).unwrap();
    }
    stage.poll(ServerId(1), 5, vec![listed("a", 3)]);
    assert_eq!(stage.usage().people, 4, "three there, one on the way");
    stage.poll(ServerId(1), 10, vec![listed("a", 4)]);
    assert_eq!(stage.usage().people, 4);
    stage.poll(ServerId(1), 15, vec![listed("a", 4)]);
    assert_eq!(stage.usage().people, 4);
}

#[test]
fn a_poll_never_overwrites_a_join_made_after_it_was_sent() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.join("a", 20).unwrap();
    stage.poll(ServerId(1), 15, vec![listed("a", 1)]);
    assert_eq!(stage.usage().people, 2, "the one in the poll came another way");
    stage.poll(ServerId(1), 25, vec![listed("a", 2)]);
    assert_eq!(stage.usage().people, 2);
}

#[test]
fn pending_joins_are_forgotten_after_a_minute() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.join("a", 10).unwrap();
    stage.tick(69);
    assert_eq!(stage.usage().people, 1);
    stage.tick(70);
    assert_eq!(stage.usage().people, 0);
}

#[test]
fn a_room_that_fills_raises_its_forecast_and_an_empty_one_lets_go() {
    let stage = Stage::new(2);
    let full = stage.create("full", 700);
    let empty = stage.create("empty", 700);
    for at in 701..761 {
        stage.join("full", at).unwrap();
    }
    stage.tick(761);
    assert!(stage.server(full).reserved > 60.0, "{}", stage.server(full).reserved);
    stage.tick(900 + 8 * 60);
    assert!(stage.server(empty).reserved < 2.0, "{}", stage.server(empty).reserved);
}

#[test]
fn nobody_is_expected_half_an_hour_after_the_bell() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.join("a", 800).unwrap();
    stage.poll(ServerId(1), 810, vec![listed("a", 1)]);
    stage.tick(1200);
    assert!(stage.server(ServerId(1)).reserved > 0.0);
    stage.tick(2 * 1800);
    assert_eq!(stage.server(ServerId(1)).reserved, 0.0);
    assert!(stage.ledger.state.lock().awake.is_empty(), "and nobody recomputes it any more");
}

#[test]
fn a_late_first_person_starts_the_bell_anew() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.tick(3600);
    assert_eq!(stage.server(ServerId(1)).reserved, 0.0);
    stage.join("a", 4000).unwrap();
    stage.tick(4001);
    assert!(stage.server(ServerId(1)).reserved > 10.0);
}

#[test]
fn after_a_restart_old_rooms_reserve_nothing() {
    let stage = Stage::new(1);
    stage.ledger.restore(vec![placement("a", 1, Phase::Confirmed)], second(7200));
    let old = bbb::Meeting { start_time: second(60).0, ..listed("a", 20) };
    stage.poll(ServerId(1), 7201, vec![old]);
    assert_eq!(stage.server(ServerId(1)).reserved, 0.0);
    assert_eq!(stage.usage(), Usage { meetings: 1, people: 20 });
}

/// Milliseconds by which a server's clock is behind or ahead.
const HOURS: i64 = 3 * 3600 * 1000;

/// A poll at `at` of a server whose clock is off, and shows it or not.
fn moment(at: u64, off: Option<i64>) -> Moment {
    let told_at = off.map(|off| Millis(second(at).0.saturating_add_signed(off)));
    Moment { sent: second(at), received: second(at), told_at }
}

/// A meeting that began at `at`, as a server tells it whose clock is off.
fn begun(at: u64, off: i64, people: u32) -> bbb::Meeting {
    bbb::Meeting { create_time: second(at).0.saturating_add_signed(off), ..listed("a", people) }
}

#[test]
fn a_meeting_of_ours_is_as_old_as_we_know_whatever_its_servers_clock_shows() {
    for off in [-HOURS, 0, HOURS] {
        for profile in [Profile::Balanced, Profile::Legacy] {
            let mut settings = LedgerSettings::default();
            settings.load.profile = profile;
            let stage = Stage::with(vec![record(1)], settings);
            stage.choose(&wish("a"), 0).unwrap();
            let mut told = confirmed("a", second(1));
            told.confirmation.create_time = begun(0, off, 0).create_time;
            stage.ledger.confirm(&key("a"), ServerId(1), told);
            stage.poll(ServerId(1), 2, vec![begun(0, off, 0)]);
            assert!(stage.server(ServerId(1)).reserved > 40.0, "{off}");
            let legacy = stage.ledger.state.lock().servers[&ServerId(1)].sums.legacy;
            assert_eq!(legacy, 15, "{off}: fresh by Scalelite's rule too");
            let shown = stage.ledger.meetings_of(TenantId(1)).fragments[0].confirmation.create_time;
            assert_eq!(shown, begun(0, off, 0).create_time, "callers see the server's time");
            stage.tick(3600);
            assert_eq!(stage.server(ServerId(1)).reserved, 0.0, "{off}");
        }
    }
}

#[test]
fn a_meeting_taken_over_is_as_old_as_by_its_servers_clock() {
    for off in [-HOURS, 0, HOURS] {
        for (began, is_fresh) in [(7240, true), (0, false)] {
            let stage = Stage::new(1);
            let (meeting, moment) = (begun(began, off, 0), moment(7250, Some(off)));
            let found = Placement { claimed_at: moment.born(&meeting), ..placement("a", 1, Phase::Confirmed) };
            assert!(stage.ledger.adopt(found, meeting, moment));
            assert_eq!(stage.server(ServerId(1)).reserved > 40.0, is_fresh, "{off}, begun at {began}");
        }
    }
}

#[test]
fn a_meeting_made_anew_behind_our_back_is_as_old_as_by_its_servers_clock() {
    for off in [-HOURS, HOURS] {
        for (began, is_fresh) in [(7240, true), (3600, false)] {
            let stage = Stage::new(1);
            stage.create("a", 0);
            let again = bbb::Meeting { internal_id: InternalId::new("a-2"), ..begun(began, off, 0) };
            let told_at = moment(7250, Some(off)).told_at;
            let list = bbb::MeetingList { told_at, ..vec![again].into() };
            stage.ledger.note_poll(ServerId(1), second(7250), second(7250), list);
            assert_eq!(stage.server(ServerId(1)).reserved > 40.0, is_fresh, "{off}, begun at {began}");
        }
    }
}

#[test]
fn a_server_that_does_not_show_its_clock_is_believed_but_never_about_the_future() {
    let moment = moment(100, None);
    assert_eq!(moment.by_our_clock(second(40).0), Some(second(40)));
    assert_eq!(moment.by_our_clock(second(4000).0), Some(second(100)));
    assert_eq!(moment.by_our_clock(0), None);
}

#[test]
fn a_clock_that_was_set_back_before_a_restart_leaves_no_meeting_in_the_future() {
    let stage = Stage::new(1);
    let ahead = Placement { claimed_at: second(36_000), ..placement("a", 1, Phase::Confirmed) };
    stage.ledger.restore(vec![ahead], second(0));
    assert_eq!(stage.poll(ServerId(1), 3600, vec![]).ended.len(), 1, "its end is seen");
}

#[test]
fn a_front_end_that_signs_many_links_fills_no_memory_and_is_still_counted() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    for _ in 0..5000 {
        stage.ledger.admit_join(&key("a"), &TenantLimits::default(), second(1)).unwrap();
    }
    assert_eq!(stage.usage().people, 5000);
    stage.poll(ServerId(1), 5, vec![listed("a", 30)]);
    assert_eq!(stage.usage().people, 5000, "thirty of them are there");
    stage.tick(61);
    assert_eq!(stage.usage().people, 30);
}

#[test]
fn the_first_person_may_have_come_another_way() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let came = |at: u64| bbb::Meeting { start_time: second(at).0, max_users: 12, ..listed("a", 5) };
    stage.poll(ServerId(1), 2000, vec![came(1990)]);
    assert!((stage.server(ServerId(1)).reserved - 7.0).abs() < 0.1, "capped by maxUsers as the server says it");
    stage.tick(1990 + 120 + 1800);
    assert_eq!(stage.server(ServerId(1)).reserved, 0.0);
}

#[test]
fn max_participants_caps_the_reserve() {
    let stage = Stage::new(1);
    stage.choose(&Wish { max_participants: Some(4), size_hint: Some(300), ..wish("a") }, 0).unwrap();
    assert!((stage.server(ServerId(1)).reserved - 4.0).abs() < 1e-9);
    stage.choose(&Wish { max_participants: Some(0), ..wish("b") }, 0).unwrap();
    assert!(stage.server(ServerId(1)).reserved > 40.0, "0 is unlimited");
}

#[test]
fn an_ended_meeting_expects_nobody() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.join("a", 1).unwrap();
    stage.end("a", 2);
    stage.check();
    assert_eq!(stage.server(ServerId(1)).reserved, 0.0);
    assert!(stage.ledger.find(&key("a")).is_none());
    assert_eq!(stage.usage().people, 0);
}

#[test]
fn absurd_figures_do_not_overflow() {
    let stage = Stage::new(1);
    for name in ["a", "b", "c"] {
        stage.choose(&Wish { size_hint: Some(u32::MAX), ..wish(name) }, 0).unwrap();
        stage.ledger.release(&key(name), ServerId(1));
    }
    let absurd = |name| bbb::Meeting {
        moderators: u32::MAX,
        voice: u32::MAX,
        listeners: u32::MAX,
        videos: u32::MAX,
        ..listed(name, u32::MAX)
    };
    stage.poll(ServerId(1), 1, vec![absurd("a"), absurd("b"), absurd("c"), absurd("d")]);
    stage.tick(2);
    assert!(stage.server(ServerId(1)).utilisation.is_finite());
}
