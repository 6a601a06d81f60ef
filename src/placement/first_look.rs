//! The moment after a start: nobody is placed before the servers have said what they have.

use std::time::Duration;

use super::Placer;
use crate::ids::ServerId;

/// Longest wait of the first creates for the servers' first answers.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const FIRST_LOOK_PAUSE: Duration = Duration::from_millis(5);

impl Placer {
    /// Right after the start the servers may have meetings that the store does not know, as after the restore of a
    /// backup: whoever is placed before they have been asked might get a twin. Not waited for longer than a moment,
    /// because a server that hangs must not hold up the others.
    pub(super) async fn first_look(&self) {
        if tokio::time::timeout(FIRST_LOOK, self.looked()).await.is_err() {
            self.unseen.lock().clear();
        }
    }

    /// Waits until every server has told its meetings or has not answered; `limit` at most.
    pub async fn look_at_all(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.looked()).await;
    }

    async fn looked(&self) {
        while !self.unseen.lock().is_empty() {
            tokio::time::sleep(FIRST_LOOK_PAUSE).await;
        }
    }

    /// A server has told its meetings for the first time, or does not answer.
    pub(super) fn note_seen(&self, server: ServerId) {
        self.unseen.lock().remove(&server);
    }
}
