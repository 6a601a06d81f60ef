//! What is measured: one file for each part of the document.

pub mod carried;
pub mod creates;
pub mod idle;
pub mod joins;
pub mod reads;
pub mod size;
pub mod tls;
pub mod upgrade;

use crate::contest::Contest;
use crate::report::{Claim, Met};

/// A p99 within this much of the other's counts as no worse: two runs of one contestant differ as much.
const SAME: f64 = 1.05;

/// "At least `least` of the other's rate."
fn rate_claim(what: String, contest: &Contest, other: usize, least: f64, aim: &str) -> Claim {
    let ratio = contest.ratio(other, |sample| sample.rate);
    let cost = contest.ratio(other, |sample| sample.cost);
    let measured = format!("{ratio:.2} of the rate, {cost:.2} of the CPU per request");
    Claim::new(what, format!("≥ {least} of the rate{aim}"), measured, Met::if_so(ratio.median >= least))
}

/// "p99 no worse."
fn tail_claim(what: String, contest: &Contest, other: usize) -> Claim {
    let ratio = contest.ratio(other, |sample| sample.p99);
    Claim::new(what, "p99 no worse", format!("{ratio:.2} of its p99"), Met::if_so(ratio.median <= SAME))
}

fn unasked(mut claim: Claim) -> Claim {
    claim.met = Met::Unasked;
    claim.required = "–".to_owned();
    claim
}
