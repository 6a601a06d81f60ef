//! What must hold for the cost of any input: four times the length may not cost sixteen times the work.
//!
//! An input is a kind, and pieces between zero bytes: what stands in front, what is repeated, what stands behind. The
//! byte 1 in what is repeated becomes a number, so that names can differ. The cost is processor time, not time: other
//! processes may take the processor away.

#![allow(dead_code)] // the fuzz target calls `check`, the ordinary tests call `check_short`

use usher::bbb::{self, Algorithm, Params, Rewrite, TagWish, strip_checksum, verify};
use usher::config::Config;
use usher::ids::Secret;

/// Bytes of the shorter of the two texts.
const SHORT: usize = 96 << 10;
/// Below it, clock ticks and first allocations weigh more than the work.
const SMALL_NS: u64 = 60_000_000;
/// Linear work takes four times as long, and sorting a little more.
const TOO_MUCH: u64 = 9;

pub fn check(data: &[u8]) {
    let Some((short, kind)) = text(data, SHORT) else { return };
    let Some((long, _)) = text(data, 4 * SHORT) else { return };
    let cost = |text: &[u8]| {
        let before = processor_ns();
        work(kind, text);
        processor_ns().saturating_sub(before)
    };
    let cost_of_long = cost(&long);
    if cost_of_long < SMALL_NS {
        return;
    }
    // Seen twice, or it was something else.
    let is_too_much = || cost(&long) > TOO_MUCH * cost(&short).max(SMALL_NS / 16);
    assert!(!(is_too_much() && is_too_much()), "{cost_of_long} ns for {} bytes", long.len());
}

/// The work alone, on a text that a slow build can bear.
pub fn check_short(data: &[u8]) {
    if let Some((short, kind)) = text(data, SHORT / 4) {
        work(kind, &short);
    }
}

fn text(data: &[u8], length: usize) -> Option<(Vec<u8>, u8)> {
    let (&kind, rest) = data.split_first()?;
    let mut pieces = rest.splitn(3, |&byte| byte == 0);
    let (front, unit) = (pieces.next()?, pieces.next()?);
    let behind = pieces.next().unwrap_or_default();
    if unit.is_empty() {
        return None;
    }
    let mut text = front.to_vec();
    let mut number = 0_u32;
    while text.len() < length {
        for &byte in unit {
            if byte == 1 { text.extend_from_slice(number.to_string().as_bytes()) } else { text.push(byte) }
        }
        number += 1;
    }
    text.extend_from_slice(behind);
    Some((text, kind))
}

fn work(kind: u8, text: &[u8]) {
    match kind % 4 {
        0 => callers(text),
        1 => servers(text),
        2 => {
            let _ = std::str::from_utf8(text).map(|text| Config::parse(text, std::iter::empty()));
        }
        _ => {
            TagWish::parse(&String::from_utf8_lossy(text));
            bbb::is_well_formed(text);
        }
    }
}

fn callers(text: &[u8]) {
    let stripped = strip_checksum(text);
    let given = stripped.checksum.unwrap_or_default();
    verify("create", &stripped.rest, &given, [Secret::new("s")].iter(), &Algorithm::ALL);
    // Of the product's limits the highest that an operator can set.
    if let Ok(mut params) = Params::parse(text, 10_000) {
        bbb::form_signature_base(&params);
        bbb::id_list(&params, "recordID");
        TagWish::parse(params.get("meta_server-tag").unwrap_or_default());
        params.ensure("meetingID", "m");
        params.to_query();
    }
}

fn servers(text: &[u8]) {
    let _ = bbb::read_reply(text);
    if let Ok(list) = bbb::read_meetings(text) {
        bbb::meetings(list.meetings.iter().map(|meeting| &meeting.xml));
    }
    let _ = bbb::read_meeting_info(text);
    let _ = bbb::read_created(text);
    let _ = bbb::read_sessions(text);
    let _ = bbb::read_recordings(text).map(|recordings| bbb::merge(vec![recordings]));
    let _ = bbb::rewrite(text, &Rewrite { meeting_id: Some(("m", "own")), hide_meta_prefix: "usher-" });
}

/// Processor time of this thread in nanoseconds; 0 where the system does not tell.
fn processor_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
