//! Generated interleavings of everything that can happen to the ledger, on a virtual clock.
//!
//! `steps.rs` says what can happen, `servers.rs` is the truth on the simulated servers, `world.rs` takes the steps and
//! keeps a simple model of its own, `checks.rs` compares after each of them. A case that failed once stays as an
//! explicit test in `known.rs`. `PROPTEST_CASES` sets the number of cases.

mod checks;
mod known;
mod servers;
mod steps;
mod world;

use proptest::prelude::*;

use steps::{Step, step};
use world::World;

/// Takes the steps, checking after each; then lets everything settle, and then end.
fn play(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        world.take(step);
        world.check();
    }
    world.settle();
    world.expect_what_is_true();
    world.expect_nobody_to_come();
    world.end_everything();
    world.expect_nothing();
}

fn config() -> ProptestConfig {
    let usual = ProptestConfig { failure_persistence: None, max_shrink_iters: 50_000, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => usual,
        None => ProptestConfig { cases: 150, ..usual },
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_the_books_balance(steps in proptest::collection::vec(step(), 1..120)) {
        play(&steps);
    }
}
