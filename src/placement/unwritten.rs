//! What the store could not be told yet.
//!
//! A server's word is true whether or not the disk takes it: what a create or a poll has learned is written at once,
//! and kept and tried again while the store fails, so that it needs no restart to know everything. None of these
//! writes can lose anything by coming late: each names the server, and where it matters the meeting, that it is about.

use std::time::Duration;

use log::warn;

use super::{MeetingView, Placer};
use crate::ids::{BbbMeetingId, MeetingKey, ServerId};
use crate::store::{Change, Claim, Confirmation, Eviction, Known, Phase, Placement, StoreError, Version};

/// Changes kept at most; beyond it polls and the next start find out by themselves.
const MOST_KEPT: usize = 10_000;

/// How long an answer or a poll waits for the store to take a change.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// One such change.
#[derive(Clone)]
pub(super) enum Unwritten {
    /// The server has the meeting.
    Confirmed(MeetingKey, ServerId, Confirmation),
    /// The server has the meeting no more, or never had it.
    Released(MeetingKey, ServerId, Known),
    /// A server may have a copy.
    Evicted(Eviction),
}

/// Where the meeting of a confirmation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Where the change says, or the store cannot be asked.
    Here,
    /// Another process has placed it on another server meanwhile.
    Elsewhere,
}

impl Placer {
    /// Writes it now, or keeps it if that fails or takes too long; behind others that wait, so that the order stays and
    /// a poll does not wait for a failing disk once per change.
    pub(super) async fn write_or_keep(&self, change: Unwritten) -> Written {
        if !self.unwritten.lock().is_empty() {
            self.keep(change);
            return Written::Here;
        }
        match tokio::time::timeout(WRITE_LIMIT, self.write(&change)).await {
            Ok(Ok(written)) => return written,
            Ok(Err(error)) => warn!(error:% = error; "a change is not stored yet"),
            Err(_) => warn!("a change is not stored yet, the store is slow"),
        }
        self.keep(change);
        Written::Here
    }

    fn keep(&self, change: Unwritten) {
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

    async fn write(&self, change: &Unwritten) -> Result<Written, StoreError> {
        match change {
            Unwritten::Confirmed(key, server, confirmation) => {
                let confirmed = self.store.confirm(key, *server, confirmation.clone());
                match self.timed_store("confirm", confirmed).await? {
                    Change::Made(version) => self.ledger.note_version(key, *server, version),
                    Change::Lost(Some(theirs)) => return self.come_late(theirs, *server, confirmation).await,
                    Change::Lost(None) => return self.claim_again(key, *server, confirmation).await,
                }
            }
            Unwritten::Released(key, server, known) => {
                self.timed_store("release", self.store.release(key, *server, known.clone())).await?;
            }
            Unwritten::Evicted(eviction) => self.note_eviction(eviction.clone()).await?,
        }
        Ok(Written::Here)
    }

    /// The row points elsewhere: what `server` has is a copy too many, and is to be ended there.
    async fn come_late(
        &self,
        theirs: Placement,
        server: ServerId,
        confirmation: &Confirmation,
    ) -> Result<Written, StoreError> {
        self.note_eviction(self.copy_of(theirs.bbb_id.clone(), server, confirmation)).await?;
        let key = theirs.key();
        if self.ledger.find(&key).is_none_or(|view| view.server == server) {
            self.ledger.put(theirs, self.clock.now());
        } else {
            self.postponed.lock().insert(key); // a create may be deciding about it here
        }
        Ok(Written::Elsewhere)
    }

    /// A copy that is to be ended, as its server has told it.
    pub(super) fn copy_of(&self, bbb_id: BbbMeetingId, server: ServerId, told: &Confirmation) -> Eviction {
        Eviction {
            server,
            bbb_id,
            internal_id: Some(told.internal_id.clone()),
            moderator_pw: told.moderator_pw.clone(),
            since: self.clock.now(),
        }
    }

    async fn note_eviction(&self, eviction: Eviction) -> Result<(), StoreError> {
        match self.timed_store("evict", self.store.add_eviction(eviction)).await {
            // The server has been removed, and is called no more.
            Ok(()) | Err(StoreError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        self.reload_evictions().await;
        Ok(())
    }

    /// The row is gone: somebody believed the meeting over while it was created anew.
    async fn claim_again(
        &self,
        key: &MeetingKey,
        server: ServerId,
        confirmation: &Confirmation,
    ) -> Result<Written, StoreError> {
        let Some(view) = self.ledger.find(key) else { return Ok(Written::Here) };
        if view.server != server {
            self.note_eviction(self.copy_of(view.bbb_id, server, confirmation)).await?;
            return Ok(Written::Elsewhere);
        }
        let is_current = |view: &MeetingView| view.internal_id.as_ref() == Some(&confirmation.internal_id);
        if !is_current(&view) {
            return Ok(Written::Here); // the next poll tells which of the two it is
        }
        let placement = Placement {
            tenant: key.tenant,
            meeting: key.meeting.clone(),
            bbb_id: view.bbb_id,
            server,
            phase: Phase::Confirmed,
            internal_id: Some(confirmation.internal_id.clone()),
            create_time: confirmation.create_time,
            attendee_pw: confirmation.attendee_pw.clone(),
            moderator_pw: confirmation.moderator_pw.clone(),
            claimed_at: view.claimed_at,
            why: r#"{"reason":"repeated","text":"Created again on the server that had it before."}"#.to_owned(),
            version: Version::default(),
        };
        match self.timed_store("claim", self.store.claim(placement)).await {
            Ok(Claim::Won(version)) => self.ledger.note_version(key, server, version),
            Ok(Claim::Taken(theirs)) if theirs.server != server => {
                return self.come_late(theirs, server, confirmation).await;
            }
            Ok(Claim::Taken(theirs)) => {
                self.ledger.put(theirs, self.clock.now());
            }
            // Its server or tenant has been removed, and the meeting with it.
            Err(StoreError::Conflict(_) | StoreError::Refused(_) | StoreError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(Written::Here)
    }
}
