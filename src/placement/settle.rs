//! What becomes of a claim: confirmed by its server, given up, or put back where the meeting was before.
//!
//! The ledger and the store hear the same, in the order in which a kill in between does least harm. A store that fails
//! here holds nobody up: what it could not take is kept (`unwritten.rs`), and polls settle the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::warn;

use super::unwritten::Unwritten;
use super::{Confirmed, CreateOrder, Placer, Snapshot};
use crate::bbb::{self, Created, Meeting, NewMeeting};
use crate::ids::{MeetingKey, ServerId};
use crate::store::{Confirmation, Eviction, ServerRecord};

/// How long an answer waits for the store to take the confirmation.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);

/// Where a meeting was before it was moved because its server is lost.
pub(super) struct Displaced {
    pub server: ServerId,
    pub before: Snapshot,
    pub eviction: Eviction,
}

/// Gives the ledger's reservation back unless the create came to an end of its own: one that is broken off must not
/// leave load behind.
pub(super) struct Reservation<'a> {
    pub placer: &'a Placer,
    pub key: &'a MeetingKey,
    pub server: ServerId,
    pub kept: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.placer.ledger.cancel(self.key, self.server);
        }
    }
}

impl Placer {
    pub(super) async fn confirm(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        created: &Created,
        order: &CreateOrder,
    ) {
        let fragment = Bytes::from(bbb::new_meeting_fragment(&NewMeeting::from_create(created, &order.params)));
        if created.meeting_id != order.wish.bbb_id
            && self.ledger.note_breakout(server.id, created, fragment.clone(), self.clock.now())
        {
            // Nobody will ever ask for the room by the id in the create.
            return self.give_up(key, server, None, None).await;
        }
        self.confirm_with(key, server, created.into(), fragment, order).await;
    }

    pub(super) async fn confirm_meeting(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        meeting: &Meeting,
        order: &CreateOrder,
    ) {
        self.confirm_with(key, server, meeting.into(), meeting.xml.clone(), order).await;
    }

    /// Tells ledger and store what the server answered, before the caller hears of it: after a kill the meeting is
    /// listed at once. A store that fails now holds nobody up, because the claim is durable already.
    async fn confirm_with(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        confirmation: Confirmation,
        fragment: Bytes,
        order: &CreateOrder,
    ) {
        let confirmed = Confirmed { confirmation: confirmation.clone(), fragment, created_at: self.clock.now() };
        self.ledger.confirm(key, server.id, confirmed);
        let change = Unwritten::Confirmed(key.clone(), server.id, confirmation);
        let limit = CONFIRM_LIMIT.min(order.left());
        if tokio::time::timeout(limit, self.write_or_keep(change.clone())).await.is_err() {
            self.keep(change);
        }
    }

    /// Takes a placement back that came to nothing, leaving a note for what a server may still have done. A meeting
    /// that had a server before goes back there: it may live on, and must not be forgotten.
    ///
    /// The ledger lets go last, so that no poll takes the leftover for a stranger's meeting.
    pub(super) async fn give_up(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        leftover: Option<Eviction>,
        displaced: Option<Displaced>,
    ) {
        if let Some(eviction) = leftover {
            self.write_or_keep(Unwritten::Evicted(eviction)).await;
        }
        if let Some(displaced) = displaced {
            return self.go_back(key, server, displaced).await;
        }
        match self.timed_store("release", self.store.release(key, server.id, None)).await {
            Ok(_) => {
                self.ledger.cancel(key, server.id);
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "placement not released, polls will do it");
                self.ledger.release(key, server.id);
            }
        }
    }

    async fn go_back(&self, key: &MeetingKey, server: &Arc<ServerRecord>, displaced: Displaced) {
        let Displaced { server: old, before, eviction } = displaced;
        let why = r#"{"reason":"kept","text":"No other server could take the meeting, so it stays where it was."}"#;
        let moved = self.store.move_placement(key, server.id, old, why.to_owned(), None);
        match self.timed_store("move", moved).await {
            Ok(true) => {}
            Ok(false) => {
                self.ledger.release(key, server.id);
                return self.reread(key).await;
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "placement not moved back, polls will decide");
                return self.ledger.release(key, server.id);
            }
        }
        let confirmation = before.confirmation();
        self.ledger.put_back(key, before, self.clock.now());
        if let Some(confirmation) = confirmation {
            self.write_or_keep(Unwritten::Confirmed(key.clone(), old, confirmation)).await;
        }
        // Should this fail, the copy is the placed meeting all the same, which no eviction touches.
        let _ = self.timed_store("update", self.store.remove_eviction(&eviction)).await;
        self.reload_evictions().await;
    }
}
