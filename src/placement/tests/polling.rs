//! What polls prove, and what they never undo.

use super::*;

#[test]
fn a_poll_sent_before_a_create_or_its_confirmation_ends_nothing() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 10).unwrap();
    assert!(stage.poll(ServerId(1), 9, vec![]).ended.is_empty());
    assert!(stage.poll(ServerId(1), 15, vec![]).ended.is_empty(), "the create is still running");
    stage.ledger.confirm(&key("a"), ServerId(1), confirmed("a", second(20)));
    assert!(stage.poll(ServerId(1), 19, vec![]).ended.is_empty());
    assert!(stage.poll(ServerId(1), 30, vec![]).ended.is_empty(), "within the grace");
    assert_eq!(stage.poll(ServerId(1), 31, vec![]).ended.len(), 1);
}

#[test]
fn a_meeting_the_server_no_longer_lists_has_ended() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 5, vec![listed("a", 3)]);
    assert!(stage.poll(ServerId(1), 19, vec![]).is_doubtful, "it has people, and is all there was");
    let outcome = stage.poll(ServerId(1), 20, vec![]);
    let ended = EndedMeeting { key: key("a"), internal_id: Some(internal("a")), version: Version::default() };
    assert_eq!(outcome.ended, [ended]);
    assert!(stage.ledger.find(&key("a")).is_none());
    let server = stage.server(ServerId(1));
    assert_eq!((server.meetings, server.participants, server.load_mc), (0, 0, 0.0));
}

#[test]
fn polls_of_one_server_do_not_end_meetings_of_another() {
    let stage = Stage::new(2);
    let server = stage.create("a", 0);
    let other = if server == ServerId(1) { ServerId(2) } else { ServerId(1) };
    assert!(stage.poll(other, 100, vec![]).ended.is_empty());
}

#[test]
fn polls_out_of_order_are_ignored() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 30, vec![listed("a", 5)]);
    assert!(stage.ledger.note_poll(ServerId(1), second(29), second(33), vec![]).is_stale, "sent first, received last");
    assert_eq!(stage.meeting("a").participants, 5);
    assert!(stage.poll(ServerId(7), 30, vec![]).is_stale, "no such server");
}

#[test]
fn a_poll_proves_a_claim_nobody_works_on() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 0).unwrap();
    assert!(stage.poll(ServerId(1), 5, vec![listed("a", 0)]).confirmed.is_empty(), "the create itself will tell");
    assert_eq!(stage.meeting("a").phase, Phase::Claimed);
    stage.ledger.release(&key("a"), ServerId(1));
    let outcome = stage.poll(ServerId(1), 10, vec![listed("a", 0)]);
    assert_eq!(outcome.confirmed.len(), 1);
    assert_eq!(outcome.confirmed[0].1.internal_id, internal("a"));
    assert_eq!(stage.meeting("a").phase, Phase::Confirmed);
    assert!(stage.poll(ServerId(1), 15, vec![listed("a", 0)]).confirmed.is_empty(), "once");
}

#[test]
fn a_claim_nobody_works_on_is_given_up_after_its_time() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 0).unwrap();
    stage.ledger.release(&key("a"), ServerId(1));
    assert!(stage.poll(ServerId(1), 50, vec![]).ended.is_empty());
    let outcome = stage.poll(ServerId(1), 51, vec![]);
    assert_eq!(outcome.ended, [EndedMeeting { key: key("a"), internal_id: None, version: Version::default() }]);
}

#[test]
fn a_create_broken_off_without_a_word_does_not_live_for_ever() {
    let stage = Stage::new(1);
    stage.choose(&wish("a"), 0).unwrap();
    assert!(stage.poll(ServerId(1), 50, vec![]).ended.is_empty());
    assert_eq!(stage.poll(ServerId(1), 51, vec![]).ended.len(), 1);
}

#[test]
fn a_repeated_create_keeps_a_meeting_from_being_ended() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.ledger.hold(&key("a"), ServerId(1), second(99));
    assert!(stage.poll(ServerId(1), 100, vec![]).ended.is_empty());
    let mut again = confirmed("a", second(101));
    again.confirmation.internal_id = InternalId::new("a-2");
    assert!(stage.ledger.confirm(&key("a"), ServerId(1), again));
    stage.check();
    assert!(stage.poll(ServerId(1), 101, vec![]).ended.is_empty(), "the grace counts from the new one");
    assert_eq!(stage.ledger.find_internal(&internal("a")), None);
    assert_eq!(stage.ledger.find_internal(&InternalId::new("a-2")), Some(key("a")));
}

#[test]
fn what_was_ended_is_over_at_once_and_no_list_brings_it_back_within_the_grace() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 5, vec![listed("a", 8), breakout("a1", "a", 3)]);
    stage.end("a", 20);
    let is_gone = || {
        assert!(stage.ledger.find(&key("a")).is_none() && stage.ledger.meetings_of(TenantId(1)).fragments.is_empty());
        assert!(stage.ledger.find_breakout(TenantId(1), "a1").is_none());
        let server = stage.server(ServerId(1));
        assert_eq!((server.meetings, server.participants, stage.usage()), (0, 0, Usage::default()));
    };
    is_gone();
    // Sent before the end, and while BBB is still at it.
    for sent in [19, 25, 30] {
        let outcome = stage.poll(ServerId(1), sent, vec![listed("a", 8), breakout("a1", "a", 3)]);
        assert!(outcome.unknown.is_empty() && outcome.ended.is_empty());
        is_gone();
    }
    let outcome = stage.poll(ServerId(1), 31, vec![listed("a", 8)]);
    assert_eq!(outcome.unknown.len(), 1, "after the grace of BBB's own end it was not ended");
}

#[test]
fn the_next_meeting_is_not_taken_for_the_one_that_was_ended() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.end("a", 20);
    stage.choose(&wish("a"), 21).unwrap();
    let again = || bbb::Meeting { internal_id: InternalId::new("a-2"), create_time: QUARTER + 9, ..listed("a", 1) };
    let mut confirmed = confirmed("a", second(21));
    confirmed.confirmation.internal_id = InternalId::new("a-2");
    confirmed.confirmation.create_time = QUARTER + 9;
    assert!(stage.ledger.confirm(&key("a"), ServerId(1), confirmed));
    stage.poll(ServerId(1), 22, vec![listed("a", 8), again()]);
    assert_eq!((stage.meeting("a").internal_id, stage.meeting("a").participants), (Some(InternalId::new("a-2")), 1));
}

#[test]
fn a_create_under_way_survives_the_end_of_its_predecessor() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.ledger.hold(&key("a"), ServerId(1), second(19));
    stage.end("a", 20);
    assert_eq!((stage.meeting("a").phase, stage.meeting("a").internal_id), (Phase::Claimed, None));
    assert!(stage.ledger.meetings_of(TenantId(1)).fragments.is_empty());
    // Its answer may speak of the meeting that is over …
    stage.ledger.hold(&key("a"), ServerId(1), second(20));
    assert!(stage.ledger.confirm(&key("a"), ServerId(1), confirmed("a", second(21))));
    assert_eq!(stage.meeting("a").phase, Phase::Claimed, "another create is still at it");
    assert!(stage.ledger.confirm(&key("a"), ServerId(1), confirmed("a", second(22))));
    stage.check();
    assert!(stage.ledger.find(&key("a")).is_none(), "the last of them has made nothing new");
}

#[test]
fn a_list_without_any_of_its_meetings_is_believed_when_the_next_says_so_too() {
    let stage = Stage::new(1);
    for name in ["a", "b"] {
        stage.create(name, 0);
    }
    let full = || vec![listed("a", 0), listed("b", 80)];
    stage.poll(ServerId(1), 5, full());
    let outcome = stage.poll(ServerId(1), 20, vec![]);
    assert!(outcome.is_doubtful && outcome.ended.is_empty());
    // It was a fault: all is as before, and the next such list is doubted anew.
    stage.poll(ServerId(1), 22, full());
    assert!(stage.poll(ServerId(1), 32, vec![]).is_doubtful);
    let outcome = stage.poll(ServerId(1), 34, vec![]);
    assert_eq!((outcome.is_doubtful, outcome.ended.len()), (false, 2));
    // The end of the only meeting, empty as it was, is nothing strange.
    stage.create("c", 40);
    stage.poll(ServerId(1), 41, vec![listed("c", 0)]);
    assert_eq!(stage.poll(ServerId(1), 60, vec![]).ended.len(), 1);
}

#[test]
fn what_a_server_says_of_one_meeting_counts_for_all_answers_and_an_older_list_does_not_undo_it() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let told = |sent, meeting| stage.ledger.note_info(&key("a"), ServerId(1), second(sent), second(sent), meeting);
    assert!(told(12, listed("a", 3)));
    stage.check();
    stage.poll(ServerId(1), 11, vec![listed("a", 0)]);
    let seen = stage.ledger.glance(&key("a")).unwrap();
    assert_eq!((seen.running, stage.meeting("a").participants), (true, 3));
    assert_eq!(stage.ledger.meetings_of(TenantId(1)).fragments[0].xml, listed("a", 3).xml);
    stage.poll(ServerId(1), 13, vec![listed("a", 1)]);
    assert_eq!(stage.meeting("a").participants, 1);
    assert!(told(12, listed("a", 3)), "it came late");
    assert_eq!(stage.meeting("a").participants, 1);
    let another = bbb::Meeting { internal_id: InternalId::new("a-2"), ..listed("a", 7) };
    assert!(!told(20, another), "that is another meeting");
    assert_eq!(stage.meeting("a").participants, 1);
}

#[test]
fn the_first_join_since_a_poll_has_its_server_looked_at() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 5, vec![listed("a", 0)]);
    assert_eq!(stage.ledger.expects_people(ServerId(1)), None);
    assert!(stage.join("a", 6).unwrap().is_first);
    assert!(!stage.join("a", 6).unwrap().is_first, "a thousand joins cost one list");
    assert_eq!(stage.ledger.expects_people(ServerId(1)), Some(true));
    stage.poll(ServerId(1), 7, vec![listed("a", 0)]);
    assert_eq!(stage.ledger.expects_people(ServerId(1)), Some(false), "they are still on their way");
    assert!(stage.join("a", 8).unwrap().is_first);
    stage.poll(ServerId(1), 9, vec![listed("a", 3)]);
    assert_eq!(stage.ledger.expects_people(ServerId(1)), None);
}

#[test]
fn a_meeting_ended_by_its_moderator_expects_nobody() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 20, vec![bbb::Meeting { forcibly_ended: true, ..listed("a", 0) }]);
    assert_eq!((stage.meeting("a").ending, stage.server(ServerId(1)).reserved), (true, 0.0));
}

#[test]
fn another_internal_id_means_that_it_was_created_again() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 10, vec![listed("a", 5), breakout("x", "a", 2)]);
    let again = || bbb::Meeting { internal_id: InternalId::new("a-2"), create_time: QUARTER + 9, ..listed("a", 1) };
    let outcome = stage.poll(ServerId(1), 20, vec![again()]);
    assert_eq!(outcome.changed.len(), 1);
    assert_eq!((&outcome.changed[0].before, &outcome.changed[0].key), (&internal("a"), &key("a")));
    assert_eq!(outcome.changed[0].confirmation.create_time, QUARTER + 9);
    assert_eq!(stage.meeting("a").internal_id, Some(InternalId::new("a-2")));
    assert!(stage.ledger.find_breakout(TenantId(1), "x").is_none());
    assert!(stage.poll(ServerId(1), 30, vec![again()]).changed.is_empty());
}

#[test]
fn the_predecessor_under_the_same_id_changes_nothing() {
    let stage = Stage::new(1);
    let old = |people| bbb::Meeting { internal_id: InternalId::new("a-0"), create_time: 1, ..listed("a", people) };
    // While the create runs, and in a poll that was sent before it was confirmed.
    stage.choose(&wish("a"), 10).unwrap();
    stage.poll(ServerId(1), 11, vec![old(7)]);
    stage.ledger.confirm(&key("a"), ServerId(1), confirmed("a", second(15)));
    stage.poll(ServerId(1), 14, vec![old(7)]);
    assert_eq!((stage.meeting("a").participants, stage.meeting("a").internal_id), (0, Some(internal("a"))));
    assert_eq!(stage.ledger.meetings_of(TenantId(1)).fragments[0].xml.as_ref(), b"<meeting>synthetic</meeting>");
    // Side by side with the new one, in either order.
    let over = |people| bbb::Meeting { forcibly_ended: true, ..old(people) };
    for list in [vec![over(7), listed("a", 2)], vec![listed("a", 2), over(7)]] {
        let outcome = stage.poll(ServerId(1), 30, list);
        assert!(outcome.changed.is_empty() && outcome.unknown.is_empty());
        assert_eq!(stage.meeting("a").participants, 2);
    }
    // Alone and over: the new one is gone, but this is not it.
    let outcome = stage.poll(ServerId(1), 40, vec![over(7)]);
    assert!(outcome.changed.is_empty());
}

#[test]
fn orphans_and_twins_are_reported_and_weigh() {
    let stage = Stage::new(2);
    let server = stage.create("a", 0);
    let other = if server == ServerId(1) { ServerId(2) } else { ServerId(1) };
    let outcome = stage.poll(other, 20, vec![listed("a", 5), listed("stranger", 30)]);
    let unknown: Vec<&str> = outcome.unknown.iter().map(|meeting| meeting.meeting_id.as_str()).collect();
    assert_eq!(unknown, ["a", "stranger"]);
    assert_eq!(stage.meeting("a").server, server, "the placement stays where it is");
    let view = stage.server(other);
    assert_eq!((view.meetings, view.participants), (2, 35));
    assert!(view.load_mc > 250.0);
    stage.poll(other, 30, vec![]);
    assert_eq!((stage.server(other).meetings, stage.server(other).load_mc), (0, 0.0));
}

#[test]
fn breakout_rooms_belong_to_their_parent() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let list = || vec![breakout("a1", "a", 4), listed("a", 9), breakout("x1", "stranger", 3)];
    let outcome = stage.poll(ServerId(1), 5, list());
    assert_eq!(outcome.unknown.len(), 1, "a breakout of a stranger is a stranger");
    let room = stage.ledger.find_breakout(TenantId(1), "a1").unwrap();
    assert_eq!((room.bbb_id.as_str(), room.record.id), ("a1", ServerId(1)));
    assert_eq!(stage.ledger.find_internal(&internal("a1")), Some(key("a")));
    assert_eq!(stage.ledger.find_internal(&internal("x1")), None);
    assert!(stage.ledger.find_breakout(TenantId(2), "a1").is_none(), "of another tenant");
    assert!(stage.ledger.find(&key("a1")).is_none());
    let view = stage.server(ServerId(1));
    assert_eq!((view.meetings, view.breakouts, view.participants), (1, 2, 16));
    let fragments = stage.ledger.meetings_of(TenantId(1)).fragments;
    assert_eq!(fragments.iter().map(|one| one.bbb_id.as_str()).collect::<Vec<_>>(), ["a", "a1"]);
    assert_eq!(fragments[1].xml.as_ref(), b"<meeting>a1 4</meeting>");
    stage.poll(ServerId(1), 10, vec![listed("a", 9)]);
    assert!(stage.ledger.find_breakout(TenantId(1), "a1").is_none());
    assert_eq!(stage.ledger.find_internal(&internal("a1")), None);
    assert_eq!(stage.server(ServerId(1)).participants, 9);
}

#[test]
fn a_breakout_made_by_the_front_end_is_a_meeting_of_its_own() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.create("b", 0);
    let outcome = stage.poll(ServerId(1), 5, vec![listed("a", 9), breakout("b", "a", 4)]);
    assert!(outcome.unknown.is_empty());
    assert_eq!(stage.meeting("b").participants, 4);
    assert_eq!(stage.server(ServerId(1)).breakouts, 0);
}

#[test]
fn listed_breakouts_go_with_their_parent() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    stage.poll(ServerId(1), 5, vec![listed("a", 9), breakout("a1", "a", 4)]);
    assert!(stage.poll(ServerId(1), 19, vec![breakout("a1", "a", 4)]).is_doubtful);
    let outcome = stage.poll(ServerId(1), 20, vec![breakout("a1", "a", 4)]);
    assert_eq!((outcome.ended.len(), outcome.unknown.len()), (1, 1));
    assert!(stage.ledger.find_breakout(TenantId(1), "a1").is_none());
}

#[test]
fn get_meetings_shows_every_confirmed_meeting() {
    let stage = Stage::new(2);
    stage.choose(&wish("claimed"), 0).unwrap();
    let server = stage.create("fresh", 0);
    stage.create("polled", 0);
    let polled = stage.meeting("polled").server;
    let people =
        if polled == server { vec![listed("fresh", 0), listed("polled", 3)] } else { vec![listed("polled", 3)] };
    stage.poll(polled, 5, people);
    stage.ledger.set_health(polled, Health::Down, second(50));
    let meetings = stage.ledger.meetings_of(TenantId(1));
    let mut names: Vec<&str> = meetings.fragments.iter().map(|one| one.meeting.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["fresh", "polled"], "also of a server that is down; not one that nobody confirmed");
    let edition = stage.ledger.edition_of(TenantId(1));
    assert_eq!((edition.number, edition.oldest_poll), (meetings.edition, Some(second(5))));
    assert_eq!(stage.ledger.edition_of(TenantId(2)), Edition::default());
    assert!(meetings.fragments.iter().all(|one| !one.xml.is_empty()));
    assert!(stage.ledger.meetings_of(TenantId(2)).fragments.is_empty());
}

#[test]
fn one_id_listed_twice_by_a_broken_server_does_no_harm() {
    let stage = Stage::new(2);
    stage.create("a", 0);
    stage.create("b", 0);
    for server in [ServerId(1), ServerId(2)] {
        let list =
            vec![listed("a", 1), listed("b", 1), breakout("x", "a", 1), breakout("x", "b", 1), breakout("a", "b", 1)];
        stage.poll(server, 5, list);
    }
    let same = bbb::Meeting { internal_id: internal("a"), ..listed("b", 2) };
    stage.poll(stage.meeting("b").server, 30, vec![same]);
}

#[test]
fn nothing_is_concluded_from_what_an_unreadable_list_lacks() {
    let stage = Stage::new(1);
    stage.create("a", 0);
    let list = bbb::MeetingList { meetings: vec![], unreadable: 1, ..Default::default() };
    assert!(stage.ledger.note_poll(ServerId(1), second(100), second(101), list).ended.is_empty());
    assert_eq!(stage.poll(ServerId(1), 110, vec![]).ended.len(), 1);
}
