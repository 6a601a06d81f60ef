//! What Prometheus expects every process to tell of itself, from /proc: dashboards and alerts for it exist everywhere.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::metrics::Metrics;

/// Of the times in /proc: Linux tells them in hundredths of a second to programs, whatever the kernel counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// What cannot be read stays as it was.
pub fn write_gauges(metrics: &Metrics) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if let Some((cpu, started)) = times(&read("/proc/self/stat"), &read("/proc/stat")) {
        metrics.process_cpu.inc_by((cpu - metrics.process_cpu.get()).max(0.0));
        metrics.process_start.set(started);
    }
    if let Some(bytes) = resident(&read("/proc/self/status")) {
        metrics.process_memory.set(bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them reads this.
        metrics.process_fds.set(open.count().saturating_sub(1) as i64);
    }
    let most = getrlimit(Resource::Nofile).current.and_then(|most| i64::try_from(most).ok());
    metrics.process_max_fds.set(most.unwrap_or(i64::MAX));
}

/// Seconds of processor time, and when the process began, seconds since 1970.
fn times(own: &str, machine: &str) -> Option<(f64, f64)> {
    // The name of the process stands in brackets and may hold anything; the third field is the first behind it.
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let booted: f64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND, booted + ticks(22)? / TICKS_PER_SECOND))
}

/// Bytes of memory in use.
fn resident(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_it_is_written() {
        let own = "7 (a) b c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 1200 1 1";
        assert_eq!(times(own, "cpu 1 2\nbtime 1000\n"), Some((2.0, 1012.0)));
        assert_eq!(times("", ""), None);
        assert_eq!(resident("Name:\tusher\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
    }
}
