//! One create at a time for each meeting id of this process.
//!
//! A hundred connections creating one id queue here; the first places the meeting, the others then find it placed.
//! Between processes the store's unique key does the same. Waiting is bounded by the caller's own deadline.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as TurnLock, OwnedMutexGuard};

use crate::ids::MeetingKey;

/// Turns, one queue per meeting in creation.
#[derive(Default)]
pub struct CreateGate {
    turns: Mutex<HashMap<MeetingKey, Arc<TurnLock<()>>>>,
}

/// The turn; the next one waiting for the same meeting gets it on drop.
pub struct Turn<'a> {
    gate: &'a CreateGate,
    key: MeetingKey,
    held: Option<OwnedMutexGuard<()>>,
}

impl CreateGate {
    /// Waits for this meeting's turn. Cancel-safe.
    pub async fn enter(&self, key: &MeetingKey) -> Turn<'_> {
        let queue = self.turns.lock().entry(key.clone()).or_default().clone();
        // Made before waiting, so that a waiter who gives up also tidies away the queue.
        let mut turn = Turn { gate: self, key: key.clone(), held: None };
        turn.held = Some(queue.lock_owned().await);
        turn
    }

    /// The turn if nobody has it.
    pub fn try_enter(&self, key: &MeetingKey) -> Option<Turn<'_>> {
        let queue = self.turns.lock().entry(key.clone()).or_default().clone();
        let mut turn = Turn { gate: self, key: key.clone(), held: None };
        turn.held = Some(queue.try_lock_owned().ok()?);
        Some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.gate.turns.lock();
        // Only the map holds it: nobody waits and nobody has the turn.
        if turns.get(&self.key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ids::{MeetingId, TenantId};

    #[tokio::test]
    async fn one_at_a_time_and_nothing_left_behind() {
        let gate = CreateGate::default();
        let key = MeetingKey { tenant: TenantId(1), meeting: MeetingId::new("room") };
        let inside = AtomicUsize::new(0);
        let visit = || async {
            let _turn = gate.enter(&key).await;
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        futures_util::future::join_all((0..50).map(|_| visit())).await;
        assert!(gate.turns.lock().is_empty());
    }

    #[tokio::test]
    async fn a_waiter_who_gives_up_leaves_no_trace() {
        let gate = CreateGate::default();
        let key = MeetingKey { tenant: TenantId(1), meeting: MeetingId::new("room") };
        let turn = gate.enter(&key).await;
        let waiter = gate.enter(&key);
        tokio::select! {
            biased;
            _ = waiter => unreachable!("the turn is taken"),
            () = std::future::ready(()) => {}
        }
        drop(turn);
        assert!(gate.turns.lock().is_empty());
    }
}
