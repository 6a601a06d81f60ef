//! People on their way: joins that no poll has shown yet (load-model.md section 7, rule 2).
//!
//! Joins of about one second are counted together, so that what a meeting remembers is bounded by time and not by how
//! many links a front end signs. Who of them is in a poll's count is decided by the first of each second: a poll takes
//! out no more people than it shows new ones, so at worst one is taken for another of the same second.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Millis;

/// A join that no poll has shown yet is believed this long.
pub(super) const PENDING_TIME: Duration = Duration::from_secs(60);
/// Joins no further apart are counted together; there are never more counts than these in `PENDING_TIME`, and one.
const TOGETHER: Duration = Duration::from_secs(1);

/// Joins counted together.
#[derive(Clone, Copy, Debug)]
struct Group {
    first: Millis,
    joins: u32,
}

/// Oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    groups: VecDeque<Group>,
    /// In all groups.
    joins: u32,
}

impl Pending {
    pub fn count(&self) -> u32 {
        self.joins
    }

    pub fn is_empty(&self) -> bool {
        self.joins == 0
    }

    pub fn clear(&mut self) {
        self.groups.clear();
        self.joins = 0;
    }

    pub fn add(&mut self, now: Millis) {
        self.joins += 1;
        match self.groups.back_mut() {
            Some(last) if now.since(last.first) < TOGETHER => last.joins += 1,
            _ => self.groups.push_back(Group { first: now, joins: 1 }),
        }
    }

    /// Drops joins too old to be believed.
    pub fn expire(&mut self, now: Millis) {
        while let Some(oldest) = self.groups.front().filter(|oldest| now.since(oldest.first) >= PENDING_TIME) {
            self.joins -= oldest.joins;
            self.groups.pop_front();
        }
    }

    /// A poll sent at `sent_at` shows `people` more than the one before: as many joins made before it are over.
    pub fn arrived(&mut self, mut people: u32, sent_at: Millis) {
        while let Some(oldest) = self.groups.front_mut().filter(|oldest| people > 0 && oldest.first <= sent_at) {
            let shown = oldest.joins.min(people);
            people -= shown;
            oldest.joins -= shown;
            self.joins -= shown;
            if oldest.joins == 0 {
                self.groups.pop_front();
            }
        }
    }

    /// Joins made after a poll was sent.
    pub fn since(&self, sent_at: Millis) -> u32 {
        self.groups.iter().rev().take_while(|group| group.first > sent_at).map(|group| group.joins).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(moments: &[u64]) -> Pending {
        let mut pending = Pending::default();
        for moment in moments {
            pending.add(Millis(*moment));
        }
        pending
    }

    #[test]
    fn a_caller_with_many_links_fills_no_memory() {
        let mut pending = Pending::default();
        for join in 0..1_000_000_u64 {
            let now = Millis(join / 10);
            pending.expire(now);
            pending.add(now);
        }
        assert!(pending.groups.len() <= 61, "{}", pending.groups.len());
        assert!(
            (590_000..=600_000).contains(&pending.count()),
            "a minute of ten thousand a second: {}",
            pending.count()
        );
        pending.expire(Millis(160_000));
        assert!(pending.is_empty() && pending.groups.is_empty());
    }

    #[test]
    fn a_poll_takes_out_as_many_as_it_shows_and_nobody_who_came_later() {
        let mut pending = joined(&[0, 10, 20, 5_000, 9_000]);
        pending.arrived(2, Millis(6_000));
        assert_eq!((pending.count(), pending.since(Millis(6_000))), (3, 1));
        pending.arrived(100, Millis(6_000));
        assert_eq!(pending.count(), 1, "the last join was made after the poll was sent");
        pending.arrived(1, Millis(9_000));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_moment_that_comes_late_is_counted_with_the_last() {
        let mut pending = joined(&[5_000, 4_999]);
        assert_eq!((pending.count(), pending.groups.len()), (2, 1));
        pending.clear();
        assert_eq!((pending.count(), pending.since(Millis(0))), (0, 0));
    }
}
