//! What the store could not be told yet.
//!
//! A server's word is true whether or not the disk takes it: what a create or a poll has learned is written at once,
//! and kept and tried again while the store fails, so that it needs no restart to know everything. None of these
//! writes can lose anything by coming late: each names the server, and where it matters the meeting, that it is about.

use log::warn;

use super::Placer;
use crate::ids::{InternalId, MeetingKey, ServerId};
use crate::store::{Claim, Confirmation, Eviction, Phase, Placement, StoreError};

/// Changes kept at most; beyond it polls and the next start find out by themselves.
const MOST_KEPT: usize = 10_000;

/// One such change.
#[derive(Clone)]
pub(super) enum Unwritten {
    /// The server has the meeting.
    Confirmed(MeetingKey, ServerId, Confirmation),
    /// The server has the meeting no more, or never had it.
    Released(MeetingKey, ServerId, Option<InternalId>),
    /// A server may have a copy.
    Evicted(Eviction),
}

impl Placer {
    /// Writes it now, or keeps it; behind others that wait, so that the order stays and a poll does not wait for a
    /// failing disk once per change.
    pub(super) async fn write_or_keep(&self, change: Unwritten) {
        if !self.unwritten.lock().is_empty() {
            return self.keep(change);
        }
        if let Err(error) = self.write(&change).await {
            warn!(error:% = error; "a change is not stored yet");
            self.keep(change);
        }
    }

    pub(super) fn keep(&self, change: Unwritten) {
        let mut kept = self.unwritten.lock();
        if kept.len() < MOST_KEPT {
            kept.push_back(change);
        } else {
            warn!(kept = kept.len(); "too many changes wait for the store, one is left to the polls");
        }
    }

    /// Tries again, in the old order, until the store fails.
    pub(super) async fn write_kept(&self) -> Result<(), StoreError> {
        loop {
            // It stays in front until it is written, so that no later change overtakes it.
            let Some(change) = self.unwritten.lock().front().cloned() else { return Ok(()) };
            self.write(&change).await?;
            self.unwritten.lock().pop_front();
        }
    }

    async fn write(&self, change: &Unwritten) -> Result<(), StoreError> {
        match change {
            Unwritten::Confirmed(key, server, confirmation) => {
                let confirmed = self.store.confirm(key, *server, confirmation.clone());
                if !self.timed_store("confirm", confirmed).await? {
                    self.claim_again(key, *server, confirmation).await?;
                }
            }
            Unwritten::Released(key, server, internal_id) => {
                // Without an internal id the row may be that of a new claim by now.
                if internal_id.is_none() && self.ledger.find(key).is_some() {
                    return Ok(());
                }
                self.timed_store("release", self.store.release(key, *server, internal_id.as_ref())).await?;
            }
            Unwritten::Evicted(eviction) => self.note_eviction(eviction.clone()).await?,
        }
        Ok(())
    }

    async fn note_eviction(&self, eviction: Eviction) -> Result<(), StoreError> {
        match self.timed_store("evict", self.store.add_eviction(eviction)).await {
            // Its server has been removed, and what runs there is no longer ours to end.
            Err(StoreError::Refused(_)) => {}
            outcome => outcome?,
        }
        self.reload_evictions().await;
        Ok(())
    }

    /// The row is gone or points elsewhere: somebody believed the meeting over while it was created anew.
    async fn claim_again(
        &self,
        key: &MeetingKey,
        server: ServerId,
        confirmation: &Confirmation,
    ) -> Result<(), StoreError> {
        let is_current = |view: &super::MeetingView| {
            view.server == server && view.internal_id.as_ref() == Some(&confirmation.internal_id)
        };
        let Some(view) = self.ledger.find(key).filter(is_current) else { return Ok(()) };
        let placement = Placement {
            tenant: key.tenant,
            meeting: key.meeting.clone(),
            bbb_id: view.bbb_id.clone(),
            server,
            phase: Phase::Confirmed,
            internal_id: Some(confirmation.internal_id.clone()),
            create_time: confirmation.create_time,
            attendee_pw: confirmation.attendee_pw.clone(),
            moderator_pw: confirmation.moderator_pw.clone(),
            claimed_at: view.claimed_at,
            why: r#"{"reason":"repeated","text":"Created again on the server that had it before."}"#.to_owned(),
        };
        match self.timed_store("claim", self.store.claim(placement)).await {
            Ok(Claim::Taken(theirs)) if theirs.server != server => {
                let eviction = Eviction {
                    server,
                    bbb_id: view.bbb_id,
                    internal_id: Some(confirmation.internal_id.clone()),
                    moderator_pw: confirmation.moderator_pw.clone(),
                    since: self.clock.now(),
                };
                self.note_eviction(eviction).await?;
                self.ledger.put(theirs, self.clock.now());
                Ok(())
            }
            Ok(_) => Ok(()),
            // Its server or tenant has been removed, and the meeting with it.
            Err(StoreError::Conflict(_) | StoreError::Refused(_) | StoreError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
