//! What becomes of a claim: confirmed by its server, given up, or put back where the meeting was before.
//!
//! The ledger and the store hear the same, in the order in which a kill in between does least harm. A store that fails
//! here holds nobody up: what it could not take is kept (`unwritten.rs`), and polls settle the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::warn;

use super::unwritten::{Unwritten, Written};
use super::{Confirmed, CreateOrder, Placer, Snapshot};
use crate::bbb::{self, Created, Meeting, NewMeeting};
use crate::ids::{MeetingKey, ServerId};
use crate::store::{Change, Confirmation, Eviction, Known, ServerRecord, Version};

/// How long an answer waits for the store to take a placement back.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(1);

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
    /// Of the row as this create wrote it last.
    pub version: Version,
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
    /// The server has said SUCCESS. `Elsewhere` if the meeting has been moved to another server meanwhile: then what this
    /// server has will be ended, and nobody must be told of it.
    pub(super) async fn confirm(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        created: &Created,
        order: &CreateOrder,
        version: Version,
    ) -> Written {
        let fragment = Bytes::from(bbb::new_meeting_fragment(&NewMeeting::from_create(created, &order.params)));
        if created.meeting_id != order.wish.bbb_id
            && self.ledger.note_breakout(server.id, created, fragment.clone(), self.clock.now())
        {
            // Nobody will ever ask for the room by the id in the create.
            self.give_up(key, server, version, None, None).await;
            return Written::Here;
        }
        self.confirm_with(key, server, created.into(), fragment).await
    }

    pub(super) async fn confirm_meeting(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        meeting: &Meeting,
    ) -> Written {
        self.confirm_with(key, server, meeting.into(), meeting.xml.clone()).await
    }

    /// Tells ledger and store what the server answered, before the caller hears of it: after a kill the meeting is
    /// listed at once. A store that fails now holds nobody up, because the claim is durable already. `Elsewhere`
    /// if the meeting was moved while the server took its time: what it has made is a twin, and is noted to be ended.
    async fn confirm_with(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        confirmation: Confirmation,
        fragment: Bytes,
    ) -> Written {
        let confirmed = Confirmed { confirmation: confirmation.clone(), fragment, created_at: self.clock.now() };
        let is_here = self.ledger.confirm(key, server.id, confirmed);
        if is_here && !self.ledger.is_known_as(key, &confirmation.internal_id) {
            return Written::Here; // a late answer about the predecessor, which the store must not believe either
        }
        let elsewhere = if is_here { None } else { self.ledger.find(key).filter(|view| view.server != server.id) };
        let Some(view) = elsewhere else {
            return self.write_or_keep(Unwritten::Confirmed(key.clone(), server.id, confirmation)).await;
        };
        let twin = self.copy_of(view.bbb_id, server.id, &confirmation);
        self.write_or_keep(Unwritten::Evicted(twin)).await;
        Written::Elsewhere
    }

    /// Takes a placement back that came to nothing, leaving a note for what a server may still have done. A meeting
    /// that had a server before goes back there: it may live on, and must not be forgotten.
    ///
    /// The ledger lets go last, so that no poll takes the leftover for a stranger's meeting.
    pub(super) async fn give_up(
        &self,
        key: &MeetingKey,
        server: &Arc<ServerRecord>,
        version: Version,
        leftover: Option<Eviction>,
        displaced: Option<Displaced>,
    ) {
        if let Some(eviction) = leftover {
            self.write_or_keep(Unwritten::Evicted(eviction)).await;
        }
        if let Some(displaced) = displaced {
            return self.go_back(key, server, version, displaced).await;
        }
        let released = self.store.release(key, server.id, Known::Version(version));
        match self.placed_in_store("release", key, GIVE_UP_LIMIT, released).await {
            Ok(true) => {
                self.ledger.cancel(key, server.id);
            }
            // Another process has made something of it.
            Ok(false) => {
                self.ledger.cancel(key, server.id);
                self.reread(key).await;
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "placement not released, polls will do it");
                self.ledger.release(key, server.id);
            }
        }
    }

    async fn go_back(&self, key: &MeetingKey, server: &Arc<ServerRecord>, version: Version, displaced: Displaced) {
        let Displaced { server: old, before, eviction } = displaced;
        let why = r#"{"reason":"kept","text":"No other server could take the meeting, so it stays where it was."}"#;
        let moved = self.store.move_placement(key, version, old, why.to_owned(), None);
        let version = match self.placed_in_store("move", key, GIVE_UP_LIMIT, moved).await {
            Ok(Change::Made(version)) => version,
            Ok(Change::Lost(_)) => {
                self.ledger.release(key, server.id);
                return self.reread(key).await;
            }
            Err(error) => {
                warn!(server = server.name.as_str(), error:% = error; "placement not moved back, polls will decide");
                return self.ledger.release(key, server.id);
            }
        };
        let confirmation = before.confirmation();
        self.ledger.put_back(key, before, self.clock.now());
        self.ledger.note_version(key, old, version);
        if let Some(confirmation) = confirmation {
            self.write_or_keep(Unwritten::Confirmed(key.clone(), old, confirmation)).await;
        }
        // Should this fail, the copy is the placed meeting all the same, which no eviction touches.
        let _ = self.timed_store("update", self.store.remove_eviction(&eviction)).await;
        self.reload_evictions().await;
    }
}
