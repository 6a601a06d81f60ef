//! A server is looked at again before its next poll is due: because somebody is on his way there, because a caller has
//! been told something that the picture does not know yet, or because a list was too strange to be believed.
//!
//! The watch of that server does it, so that there is one poll at a time whoever asks, and at most one in `LOOK_PAUSE`:
//! a thousand joins cost one list. Who waits for it shares it, and is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Placer;
use crate::clock::Millis;
use crate::ids::ServerId;

/// Between two polls of one server at least.
pub(super) const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// A browser needs this long from our redirect into its server's meeting.
pub(super) const ON_THE_WAY: Duration = Duration::from_millis(500);

/// All servers' looks.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<ServerId, Arc<Look>>>);

pub(super) struct Look {
    /// When somebody wants the next one.
    wanted: Mutex<Option<Instant>>,
    wake: Notify,
    /// When the last poll that has come back, with or without an answer, was sent.
    last: watch::Sender<Millis>,
}

impl Looks {
    pub fn of(&self, server: ServerId) -> Arc<Look> {
        let new = || Look { wanted: Mutex::default(), wake: Notify::new(), last: watch::Sender::new(Millis(0)) };
        self.0.lock().entry(server).or_insert_with(|| Arc::new(new())).clone()
    }

    pub fn keep(&self, servers: &[ServerId]) {
        self.0.lock().retain(|id, _| servers.contains(id));
    }
}

impl Look {
    fn want(&self, at: Instant) {
        let mut wanted = self.wanted.lock();
        if wanted.is_none_or(|known| at < known) {
            *wanted = Some(at);
            self.wake.notify_one();
        }
    }

    /// When somebody wants the next poll; the watch keeps the distance from the last one.
    pub fn wanted(&self) -> Option<Instant> {
        *self.wanted.lock()
    }

    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A poll is sent now.
    pub fn begins(&self) {
        *self.wanted.lock() = None;
    }

    /// It has come back.
    pub fn came_back(&self, sent: Millis) {
        self.last.send_replace(sent);
    }
}

impl Placer {
    /// To be called for the first join since the last poll: whoever is on his way is looked for.
    pub fn expect_somebody(&self, server: ServerId) {
        self.looks.of(server).want(Instant::now() + ON_THE_WAY);
    }

    /// What the server listed is to be asked for once more.
    pub(super) fn doubt(&self, server: ServerId) {
        self.looks.of(server).want(Instant::now() + LOOK_PAUSE);
    }

    /// Waits for a poll of the server that is sent from now on, at most `limit`.
    pub async fn look_again(&self, server: ServerId, limit: Duration) {
        let since = self.clock.now();
        let look = self.looks.of(server);
        let mut last = look.last.subscribe();
        look.want(Instant::now());
        let _ = tokio::time::timeout(limit, last.wait_for(|sent| *sent >= since)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_put_together() {
        let look = Looks::default().of(ServerId(1));
        let now = Instant::now();
        assert_eq!(look.wanted(), None);
        for _ in 0..1000 {
            look.want(now);
        }
        look.want(now + ON_THE_WAY);
        assert_eq!(look.wanted(), Some(now), "the earlier wish counts");
        look.begins();
        assert_eq!(look.wanted(), None);
    }
}
