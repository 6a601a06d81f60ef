//! How many connections each target has, which of several equal ones gets the next, and their series in the metrics.
//!
//! Least connections by weight; ties go round. A target that could not be reached is the last choice for a while:
//! it has the fewest connections of all, and would be tried first by everybody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use crate::config::L4Target;
use crate::metrics::Metrics;

/// How long a target that failed is the last choice.
const PENANCE: Duration = Duration::from_secs(5);

/// Where a connection may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server's name, or `host:port`.
    pub label: String,
    pub host: String,
    pub port: u16,
    weight: u32,
}

impl Target {
    pub fn of(target: &L4Target) -> Self {
        let L4Target { host, port, weight } = target.clone();
        let label = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Self { label, host, port, weight }
    }

    pub fn server(name: &str, host: &str, port: u16) -> Self {
        Self { label: name.to_owned(), host: host.to_owned(), port, weight: 1 }
    }
}

/// All targets of a listener that have been used.
pub struct Targets {
    listener: String,
    metrics: Arc<Metrics>,
    start: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    lanes: HashMap<String, Arc<Lane>>,
    /// Where the search among equals begins.
    turn: usize,
}

struct Lane {
    label: String,
    /// Also the number that is compared.
    connections: IntGauge,
    bytes: IntCounter,
    failed: IntCounter,
    /// Milliseconds after the start until which it is the last choice.
    avoided_until: AtomicU64,
}

/// One connection of a target, counted as long as it lives.
pub struct Held {
    lane: Arc<Lane>,
    start: Instant,
}

impl Targets {
    pub fn new(listener: &str, metrics: Arc<Metrics>) -> Self {
        Self { listener: listener.to_owned(), metrics, start: Instant::now(), book: Mutex::default() }
    }

    /// The best of `targets` but those `tried`, and its place in the list.
    pub fn choose(&self, targets: &[Target], tried: &[usize]) -> Option<(usize, Held)> {
        let now = millis(self.start.elapsed());
        // Choosing and counting are one step, or many that come at once would all get the same.
        let mut book = self.book.lock();
        book.turn = book.turn.wrapping_add(1);
        let turn = book.turn;
        let mut best: Option<(bool, f64, usize, Arc<Lane>)> = None;
        for index in (0..targets.len()).map(|step| (turn + step) % targets.len()) {
            if tried.contains(&index) {
                continue;
            }
            let lane = self.lane(&mut book, &targets[index].label);
            let is_avoided = lane.avoided_until.load(Ordering::Relaxed) > now;
            let crowd = (lane.connections.get() + 1) as f64 / f64::from(targets[index].weight.max(1));
            if best.as_ref().is_none_or(|(avoided, least, ..)| (is_avoided, crowd) < (*avoided, *least)) {
                best = Some((is_avoided, crowd, index, lane));
            }
        }
        let (.., index, lane) = best?;
        lane.connections.inc();
        Some((index, Held { lane, start: self.start }))
    }

    fn lane(&self, book: &mut Book, label: &str) -> Arc<Lane> {
        if let Some(lane) = book.lanes.get(label) {
            return lane.clone();
        }
        let labels = [self.listener.as_str(), label];
        let lane = Arc::new(Lane {
            label: label.to_owned(),
            connections: self.metrics.l4_connections.with_label_values(&labels),
            bytes: self.metrics.l4_bytes.with_label_values(&labels),
            failed: self.metrics.l4_failed.with_label_values(&labels),
            avoided_until: AtomicU64::new(0),
        });
        book.lanes.insert(label.to_owned(), lane.clone());
        lane
    }
}

impl Held {
    pub fn label(&self) -> &str {
        &self.lane.label
    }

    pub fn bytes(&self) -> &IntCounter {
        &self.lane.bytes
    }

    pub fn worked(&self) {
        self.lane.avoided_until.store(0, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.lane.failed.inc();
        self.lane.avoided_until.store(millis(self.start.elapsed() + PENANCE), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lane.connections.dec();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn targets(weights: &[u32]) -> Vec<Target> {
        let target = |(index, weight): (usize, &u32)| {
            Target::of(&L4Target { host: format!("h{index}"), port: 1, weight: *weight })
        };
        weights.iter().enumerate().map(target).collect()
    }

    fn book() -> Targets {
        Targets::new("l", Arc::new(Metrics::new().unwrap()))
    }

    #[test]
    fn connections_are_spread_by_weight() {
        let (targets, book) = (targets(&[1, 3]), book());
        let held: Vec<_> = (0..200).map(|_| book.choose(&targets, &[]).unwrap()).collect();
        let first = held.iter().filter(|(index, _)| *index == 0).count();
        assert_eq!(first, 50);
        drop(held);
        assert_eq!(book.book.lock().lanes["h0:1"].connections.get(), 0);
    }

    #[test]
    fn who_ends_makes_room() {
        let (targets, book) = (targets(&[1, 1]), book());
        let mut held: Vec<_> = (0..10).map(|_| book.choose(&targets, &[]).unwrap()).collect();
        held.retain(|(index, _)| *index == 0);
        for _ in 0..5 {
            let next = book.choose(&targets, &[]).unwrap();
            assert_eq!(next.0, 1);
            held.push(next);
        }
    }

    #[test]
    fn what_failed_is_the_last_choice() {
        let (targets, book) = (targets(&[1, 1]), book());
        let (first, held) = book.choose(&targets, &[]).unwrap();
        held.failed();
        drop(held);
        let held: Vec<_> = (0..9).map(|_| book.choose(&targets, &[]).unwrap()).collect();
        assert!(held.iter().all(|(index, _)| *index != first));
        let (last, again) = book.choose(&targets, &[1 - first]).unwrap();
        assert_eq!(last, first, "better than none");
        again.worked();
        assert_eq!(book.choose(&targets, &[]).unwrap().0, first);
        assert!(book.choose(&targets, &[0, 1]).is_none());
        assert!(book.choose(&[], &[]).is_none());
    }
}
