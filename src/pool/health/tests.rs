//! The state machine's rules, one observation after the other; moments are whole seconds.

use super::*;

const A: ServerId = ServerId(1);
const B: ServerId = ServerId(2);
const C: ServerId = ServerId(3);

fn book(servers: &[ServerId]) -> HealthBook {
    let mut book =
        HealthBook::new(HealthSettings { unhealthy_after: 3, healthy_after: 2, window: Duration::from_secs(5) });
    book.set_servers(servers, Millis(0));
    book
}

fn up(servers: &[ServerId]) -> HealthBook {
    let mut book = book(servers);
    for server in servers {
        book.observe(*server, Source::Probe, Ok(()), Millis(0));
    }
    book
}

fn fail(book: &mut HealthBook, server: ServerId, source: Source, second: u64) -> Vec<Transition> {
    book.observe(server, source, Err(Failure::unclear("connection refused".to_owned())), Millis(second * 1000))
}

fn refuse(book: &mut HealthBook, server: ServerId, second: u64) -> Vec<Transition> {
    let failure = Failure::of_server("the server refused: checksumError".to_owned());
    book.observe(server, Source::Poll, Err(failure), Millis(second * 1000))
}

fn succeed(book: &mut HealthBook, server: ServerId, source: Source, second: u64) -> Vec<Transition> {
    book.observe(server, source, Ok(()), Millis(second * 1000))
}

/// Fails until it is down, while `other` answers.
fn kill(book: &mut HealthBook, server: ServerId, source: Source, other: ServerId) {
    for second in 1..=3 {
        fail(book, server, source, second);
        succeed(book, other, Source::Probe, second);
    }
    assert_eq!(book.state(server), Health::Down);
}

#[test]
fn servers_that_all_say_what_is_wrong_are_no_fault_of_our_network() {
    let mut book = up(&[A, B, C]);
    for second in 1..=3 {
        for server in [A, B, C] {
            refuse(&mut book, server, second * 10);
            assert!(!book.own_fault());
            succeed(&mut book, server, Source::Probe, second * 10 + 5);
        }
    }
    assert_eq!([A, B, C].map(|server| book.state(server)), [Health::Down; 3]);
}

#[test]
fn a_refusal_ends_the_suspicion_of_our_network_and_counts() {
    let mut book = up(&[A, B]);
    for server in [A, B] {
        fail(&mut book, server, Source::Probe, 1);
    }
    assert!(book.own_fault());
    assert_eq!(refuse(&mut book, A, 2)[0].to, Health::Suspect);
    assert!(!book.own_fault());
    assert_eq!((book.state(A), book.state(B)), (Health::Suspect, Health::Up));
}

#[test]
fn unknown_at_first_and_up_after_one_success() {
    let mut book = book(&[A]);
    assert_eq!(book.state(A), Health::Unknown);
    let transitions = succeed(&mut book, A, Source::Probe, 1);
    assert_eq!(transitions.len(), 1);
    assert_eq!((transitions[0].from, transitions[0].to), (Health::Unknown, Health::Up));
    assert!(succeed(&mut book, A, Source::Probe, 2).is_empty(), "up stays up silently");
}

#[test]
fn unknown_becomes_down_after_unhealthy_after_failures_and_is_never_suspect() {
    let mut book = book(&[A]);
    assert!(fail(&mut book, A, Source::Probe, 1).is_empty());
    assert!(fail(&mut book, A, Source::Probe, 2).is_empty());
    let transitions = fail(&mut book, A, Source::Probe, 3);
    assert_eq!((transitions[0].from, transitions[0].to), (Health::Unknown, Health::Down));
    assert_eq!(transitions[0].reason, "connection refused");
    assert_eq!(book.failures(A), 3);
}

#[test]
fn unknown_with_a_failing_poll_is_not_made_up_by_its_probe() {
    let mut book = book(&[A]);
    fail(&mut book, A, Source::Poll, 1);
    assert!(succeed(&mut book, A, Source::Probe, 2).is_empty());
    assert_eq!(book.state(A), Health::Unknown);
}

#[test]
fn up_is_suspect_at_the_first_failure_of_any_source() {
    for source in [Source::Probe, Source::Poll, Source::Call] {
        let mut book = up(&[A]);
        let transitions = fail(&mut book, A, source, 10);
        assert_eq!((transitions[0].from, transitions[0].to), (Health::Up, Health::Suspect), "{source:?}");
        assert_eq!(book.reason(A), Some("connection refused"));
        assert_eq!(book.failures(A), 1);
    }
}

#[test]
fn suspect_is_up_again_when_the_failed_source_succeeds() {
    for source in [Source::Probe, Source::Poll, Source::Call] {
        let mut book = up(&[A]);
        fail(&mut book, A, source, 10);
        assert_eq!(succeed(&mut book, A, source, 11)[0].to, Health::Up, "{source:?}");
        assert_eq!((book.reason(A), book.failures(A)), (None, 0));
    }
}

#[test]
fn a_probe_does_not_hide_a_failing_poll() {
    let mut book = up(&[A]);
    for second in 1..=3 {
        fail(&mut book, A, Source::Poll, second * 10);
        assert!(succeed(&mut book, A, Source::Probe, second * 10 + 5).is_empty());
    }
    assert_eq!(book.state(A), Health::Down, "three polls in a row failed, whatever the probe said");
    for second in 40..50 {
        succeed(&mut book, A, Source::Probe, second);
    }
    assert_eq!(book.state(A), Health::Down);
    succeed(&mut book, A, Source::Poll, 50);
    assert_eq!(succeed(&mut book, A, Source::Poll, 60)[0].to, Health::Up);
}

#[test]
fn two_failing_sources_must_both_be_made_good() {
    let mut book = up(&[A]);
    fail(&mut book, A, Source::Poll, 1);
    fail(&mut book, A, Source::Probe, 2);
    assert!(succeed(&mut book, A, Source::Poll, 3).is_empty());
    assert_eq!(succeed(&mut book, A, Source::Probe, 4)[0].to, Health::Up);
}

#[test]
fn a_poll_forgives_a_failed_call_but_keeps_its_count() {
    let mut book = up(&[A]);
    for second in [10, 20] {
        assert_eq!(fail(&mut book, A, Source::Call, second)[0].to, Health::Suspect);
        assert!(succeed(&mut book, A, Source::Probe, second + 1).is_empty(), "a probe does not");
        assert_eq!(succeed(&mut book, A, Source::Poll, second + 2)[0].to, Health::Up);
    }
    assert_eq!(fail(&mut book, A, Source::Call, 30)[0].to, Health::Down);
}

#[test]
fn suspect_is_down_after_unhealthy_after_failures_of_one_source() {
    let mut book = up(&[A]);
    fail(&mut book, A, Source::Call, 1);
    fail(&mut book, A, Source::Probe, 2);
    fail(&mut book, A, Source::Call, 3);
    assert_eq!(book.state(A), Health::Suspect, "two calls and one probe are not three of one source");
    let transitions = fail(&mut book, A, Source::Call, 4);
    assert_eq!((transitions[0].from, transitions[0].to), (Health::Suspect, Health::Down));
}

#[test]
fn down_is_up_after_healthy_after_consecutive_successes() {
    let mut book = up(&[A]);
    for second in 1..=3 {
        fail(&mut book, A, Source::Probe, second);
    }
    assert!(succeed(&mut book, A, Source::Probe, 4).is_empty());
    assert!(fail(&mut book, A, Source::Probe, 5).is_empty());
    assert!(succeed(&mut book, A, Source::Probe, 6).is_empty(), "the failure in between starts the count anew");
    let transitions = succeed(&mut book, A, Source::Probe, 7);
    assert_eq!((transitions[0].from, transitions[0].to), (Health::Down, Health::Up));
}

#[test]
fn all_failing_within_the_window_is_our_own_fault() {
    let mut book = up(&[A, B, C]);
    assert_eq!(fail(&mut book, A, Source::Probe, 10)[0].to, Health::Suspect);
    assert_eq!(fail(&mut book, B, Source::Poll, 11)[0].to, Health::Suspect);
    assert!(!book.own_fault());
    let transitions = fail(&mut book, C, Source::Probe, 12);
    assert!(book.own_fault());
    assert!(transitions.iter().skip(1).all(|transition| transition.to == Health::Up), "{transitions:?}");
    for server in [A, B, C] {
        assert_eq!(book.state(server), Health::Up, "restored");
    }
    for second in 13..40 {
        assert!(fail(&mut book, A, Source::Probe, second).is_empty(), "nothing changes state meanwhile");
    }
    assert_eq!(book.state(A), Health::Up);
}

#[test]
fn after_our_own_fault_failing_servers_count_anew() {
    let mut book = up(&[A, B]);
    fail(&mut book, A, Source::Probe, 10);
    fail(&mut book, B, Source::Probe, 11);
    for second in 12..20 {
        fail(&mut book, A, Source::Probe, second);
    }
    succeed(&mut book, B, Source::Probe, 20);
    assert!(!book.own_fault());
    assert_eq!(book.failures(A), 0);
    assert_eq!(fail(&mut book, A, Source::Probe, 21)[0].to, Health::Suspect);
    fail(&mut book, A, Source::Probe, 22);
    succeed(&mut book, B, Source::Probe, 22);
    assert_eq!(fail(&mut book, A, Source::Probe, 23)[0].to, Health::Down);
    assert_eq!(book.state(B), Health::Up);
}

#[test]
fn our_own_fault_does_not_clear_a_server_that_was_down() {
    let mut book = up(&[A, B, C]);
    kill(&mut book, C, Source::Poll, A);
    fail(&mut book, A, Source::Probe, 20);
    fail(&mut book, B, Source::Probe, 21);
    succeed(&mut book, C, Source::Probe, 22);
    succeed(&mut book, C, Source::Probe, 27);
    assert_eq!((book.own_fault(), book.state(C)), (false, Health::Down), "its poll still fails");
}

#[test]
fn failures_further_apart_than_the_window_are_the_servers_own() {
    let mut book = up(&[A, B]);
    fail(&mut book, A, Source::Probe, 10);
    fail(&mut book, B, Source::Probe, 16);
    assert!(!book.own_fault());
    assert_eq!((book.state(A), book.state(B)), (Health::Suspect, Health::Suspect));
}

#[test]
fn a_success_in_between_disproves_our_own_fault() {
    let mut book = up(&[A, B]);
    fail(&mut book, A, Source::Probe, 10);
    succeed(&mut book, A, Source::Probe, 11);
    fail(&mut book, B, Source::Probe, 12);
    assert!(!book.own_fault());
    assert_eq!(book.state(B), Health::Suspect);
}

#[test]
fn who_was_suspect_long_before_stays_suspect() {
    let mut book = up(&[A, B]);
    fail(&mut book, A, Source::Poll, 10);
    fail(&mut book, A, Source::Poll, 30);
    fail(&mut book, B, Source::Probe, 31);
    assert!(book.own_fault());
    assert_eq!((book.state(A), book.state(B)), (Health::Suspect, Health::Up));
}

#[test]
fn down_within_the_window_is_restored_too() {
    let mut book = up(&[A, B]);
    fail(&mut book, A, Source::Call, 10);
    succeed(&mut book, B, Source::Call, 10);
    for _ in 0..2 {
        fail(&mut book, A, Source::Call, 10);
    }
    assert_eq!(book.state(A), Health::Down);
    fail(&mut book, B, Source::Call, 11);
    assert!(book.own_fault());
    assert_eq!((book.state(A), book.state(B)), (Health::Up, Health::Up));
}

#[test]
fn servers_that_were_down_already_do_not_count() {
    let mut book = up(&[A, B, C]);
    kill(&mut book, C, Source::Probe, B);
    fail(&mut book, A, Source::Probe, 20);
    fail(&mut book, B, Source::Probe, 21);
    assert!(book.own_fault(), "all that worked have failed");
    assert_eq!(book.state(C), Health::Down);
}

#[test]
fn a_single_working_server_is_never_our_own_fault() {
    let mut single = up(&[A]);
    let mut one_left = up(&[A, B]);
    kill(&mut one_left, B, Source::Probe, A);
    for second in 20..=22 {
        fail(&mut single, A, Source::Probe, second);
        fail(&mut one_left, A, Source::Probe, second);
    }
    assert_eq!((single.state(A), single.own_fault()), (Health::Down, false));
    assert_eq!((one_left.state(A), one_left.own_fault()), (Health::Down, false));
}

#[test]
fn servers_that_never_answered_are_not_our_own_fault() {
    let mut book = book(&[A, B]);
    for second in 1..=3 {
        fail(&mut book, A, Source::Probe, second);
        fail(&mut book, B, Source::Probe, second);
    }
    assert!(!book.own_fault());
    assert_eq!((book.state(A), book.state(B)), (Health::Down, Health::Down));
}

#[test]
fn set_servers_keeps_forgets_and_adds() {
    let mut book = up(&[A, B]);
    book.set_servers(&[A, C], Millis(1));
    assert_eq!((book.state(A), book.state(C)), (Health::Up, Health::Unknown));
    assert!(fail(&mut book, B, Source::Probe, 2).is_empty(), "no longer monitored");
    book.set_servers(&[A, B], Millis(3));
    assert_eq!(book.state(B), Health::Unknown, "a server that comes back starts anew");
}

#[test]
fn a_busy_server_is_not_down_before_an_idle_one_was_asked() {
    let mut book = up(&[A, B]);
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.extend(fail(&mut book, A, Source::Call, 10));
    }
    assert_eq!(book.state(A), Health::Suspect);
    seen.extend(fail(&mut book, B, Source::Poll, 11));
    assert!(book.own_fault());
    assert!(seen.iter().all(|transition| transition.to != Health::Down), "{seen:?}");
    assert_eq!((book.state(A), book.state(B)), (Health::Up, Health::Up));
    succeed(&mut book, B, Source::Poll, 12);
    assert_eq!((book.own_fault(), book.state(A), book.failures(A)), (false, Health::Up, 0));
}

#[test]
fn a_dead_server_is_down_as_soon_as_another_one_is_heard() {
    let mut book = up(&[A, B]);
    for second in 10..15 {
        fail(&mut book, A, Source::Probe, second);
    }
    assert_eq!(book.state(A), Health::Suspect);
    let transitions = succeed(&mut book, B, Source::Poll, 15);
    assert_eq!(transitions.len(), 1);
    assert_eq!((transitions[0].server, transitions[0].from), (A, Health::Suspect));
    assert_eq!((transitions[0].to, transitions[0].reason.as_str()), (Health::Down, "connection refused"));
    assert!(succeed(&mut book, B, Source::Poll, 16).is_empty(), "told once");
    assert!(succeed(&mut book, A, Source::Probe, 17).is_empty());
    assert_eq!(succeed(&mut book, A, Source::Probe, 18)[0].to, Health::Up);
}

#[test]
fn a_refusal_in_words_proves_our_network_as_well() {
    let mut book = up(&[A, B]);
    for second in 10..13 {
        fail(&mut book, A, Source::Probe, second);
    }
    let transitions = refuse(&mut book, B, 13);
    let seen: Vec<_> = transitions.iter().map(|transition| (transition.server, transition.to)).collect();
    assert_eq!(seen, [(B, Health::Suspect), (A, Health::Down)]);
}

#[test]
fn what_was_heard_before_the_failures_began_proves_nothing() {
    let mut book = up(&[A, B]);
    fail(&mut book, A, Source::Call, 10);
    succeed(&mut book, A, Source::Call, 11);
    succeed(&mut book, B, Source::Poll, 12);
    for _ in 0..3 {
        fail(&mut book, A, Source::Call, 12);
    }
    assert_eq!(book.state(A), Health::Suspect, "the series began after the poll, in the same millisecond");
    succeed(&mut book, B, Source::Poll, 12);
    assert_eq!(book.state(A), Health::Down);
}

#[test]
fn several_dead_servers_are_down_together_when_the_silent_one_is_heard() {
    let mut book = up(&[A, B, C]);
    for second in 10..14 {
        fail(&mut book, A, Source::Probe, second);
        fail(&mut book, B, Source::Probe, second);
    }
    assert_eq!([A, B].map(|server| book.state(server)), [Health::Suspect; 2], "nothing is known of the third");
    assert_eq!(succeed(&mut book, C, Source::Probe, 14).len(), 2);
    assert_eq!([A, B, C].map(|server| book.state(server)), [Health::Down, Health::Down, Health::Up]);
}

#[test]
fn when_all_have_failed_but_not_together_nobody_is_waited_for() {
    let mut book = up(&[A, B]);
    for _ in 0..3 {
        fail(&mut book, A, Source::Probe, 10);
    }
    let transitions = fail(&mut book, B, Source::Probe, 16);
    assert!(!book.own_fault());
    assert_eq!((book.state(A), book.state(B)), (Health::Down, Health::Suspect), "{transitions:?}");
    for second in 17..=18 {
        fail(&mut book, B, Source::Probe, second);
    }
    assert_eq!(book.state(B), Health::Down, "the last one that works waits for nobody");
}

#[test]
fn a_server_that_recovers_while_it_is_held_is_not_brought_down_by_anothers_success() {
    let mut book = up(&[A, B]);
    for _ in 0..3 {
        fail(&mut book, A, Source::Call, 10);
    }
    assert_eq!(succeed(&mut book, A, Source::Poll, 11)[0].to, Health::Up);
    assert!(succeed(&mut book, B, Source::Poll, 12).is_empty());
    assert_eq!(book.state(A), Health::Up);
}

#[test]
fn its_own_probe_never_brings_a_server_down_but_the_next_failure_does() {
    let mut book = up(&[A, B]);
    for _ in 0..3 {
        fail(&mut book, A, Source::Poll, 10);
    }
    assert!(succeed(&mut book, A, Source::Probe, 11).is_empty());
    assert_eq!(book.state(A), Health::Suspect);
    assert_eq!(fail(&mut book, A, Source::Poll, 12)[0].to, Health::Down, "it can be reached, so the fault is its own");
}

#[test]
fn nobody_waits_for_a_server_that_was_removed() {
    let mut book = up(&[A, B]);
    for second in 10..14 {
        fail(&mut book, A, Source::Probe, second);
    }
    book.set_servers(&[A], Millis(14_000));
    assert_eq!(book.state(A), Health::Suspect);
    assert_eq!(fail(&mut book, A, Source::Probe, 15)[0].to, Health::Down);
}

#[test]
fn our_own_fault_leaves_a_held_server_as_it_was() {
    let mut book = up(&[A, B]);
    for second in 10..31 {
        fail(&mut book, A, Source::Poll, second);
    }
    fail(&mut book, B, Source::Probe, 31);
    assert!(book.own_fault());
    assert_eq!(book.state(A), Health::Suspect, "suspect long before");
    assert!(fail(&mut book, A, Source::Poll, 32).is_empty());
    assert!(succeed(&mut book, B, Source::Probe, 33).is_empty(), "counted anew: not down with the first answer");
    assert_eq!(book.state(A), Health::Suspect);
}
