//! Cases that failed once, as they were when shrunken.

use super::play;
use super::steps::Step::{self, *};

const SUCCESS: Step = Success { meeting: 0, last: true };

fn create(meeting: u8) -> Step {
    Create { meeting, hint: None, limit: None }
}

/// A create with its SUCCESS.
fn created() -> [Step; 3] {
    [create(0), Work { meeting: 0 }, SUCCESS]
}

#[test]
fn a_tenant_cannot_take_the_id_that_anothers_meeting_has_on_the_servers() {
    play(&[create(5), create(0), GiveUp { meeting: 0 }]);
}

#[test]
fn a_meeting_taken_over_is_no_longer_counted_as_a_strangers() {
    let found = [SendPoll { server: 0 }, PollArrives { nth: 0, unreadable: false }, Adopt];
    let [put, forget] = [PutByOther { meeting: 0, server: 0, confirmed: true }, ForgetByOther { meeting: 0 }];
    play(&[[put, forget].as_slice(), &found].concat());
}

#[test]
fn a_late_answer_about_the_predecessor_does_not_bring_it_back() {
    let again = [create(0), Work { meeting: 0 }];
    let over = [Over { meeting: 0 }];
    let late = [Success { meeting: 0, last: false }];
    play(&[created().as_slice(), &again, &over, &again, &[SUCCESS], &late].concat());
}

#[test]
fn a_late_answer_to_end_does_not_concern_the_successor() {
    let end = [End { meeting: 0 }];
    play(&[created().as_slice(), &end, &created(), &[EndAnswer]].concat());
}
