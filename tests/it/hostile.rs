//! Hostile callers: what they can try, and what they get (docs/security.md has the table). Each group ends with the same
//! question: is the process still well, and are others served?

mod checksums;
mod fetching;
mod flooding;
mod framing;
mod heads;
mod hosts;
mod injection;
mod paths;
mod strangers;

use crate::harness::Pool;

/// The process that it was, of sane size, and an honest front end gets a new meeting.
async fn still_well(pool: &Pool, pid: u32) {
    assert_eq!(pool.pid(), pid);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let resident: u64 = resident.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(resident < 300_000, "{resident} kB");
    let front = pool.front_end();
    front.create("honest-meeting", "").await;
    front.join("honest-meeting", "Ann").await;
    assert!(!pool.log().contains("panicked"), "a panic in the log");
}
