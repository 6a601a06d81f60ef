//! What strangers cause must not fill the log: each subject is told once a minute, and only so many subjects.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two lines of the same subject.
const PAUSE: Duration = Duration::from_secs(60);
/// Subjects; further ones are not told until older ones are forgotten.
const MOST: usize = 128;

/// When each subject was last told.
#[derive(Default)]
pub struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether it may be told now; then it counts as told.
    pub fn may_tell(&self, subject: &str) -> bool {
        self.may_tell_at(subject, Instant::now())
    }

    fn may_tell_at(&self, subject: &str, now: Instant) -> bool {
        let mut told = self.0.lock();
        if let Some(last) = told.get(subject)
            && now.duration_since(*last) < PAUSE
        {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, last| now.duration_since(*last) < PAUSE);
        }
        if told.len() >= MOST && !told.contains_key(subject) {
            return false;
        }
        told.insert(subject.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_and_not_without_end() {
        let (told, now) = (Told::default(), Instant::now());
        assert!(told.may_tell_at("a", now));
        assert!(!told.may_tell_at("a", now + PAUSE / 2));
        assert!(told.may_tell_at("a", now + PAUSE));
        let many = (0..1000).filter(|number| told.may_tell_at(&number.to_string(), now + PAUSE)).count();
        assert_eq!(many, MOST - 1);
        assert!(told.may_tell_at("b", now + 2 * PAUSE));
    }
}
