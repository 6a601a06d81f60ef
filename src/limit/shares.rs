//! How much each tenant may have under way at once: a semaphore for each, made when it is first needed.
//!
//! Only for calls that are expensive anyway (create, calls to all servers); a join never comes here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::ids::TenantId;

/// Tenants that may be remembered before the idle ones are forgotten.
const MANY: usize = 1024;

/// The semaphores of all tenants for one kind of call.
#[derive(Default)]
pub struct Shares(Mutex<HashMap<TenantId, (usize, Arc<Semaphore>)>>);

impl Shares {
    /// The tenant's semaphore, with `size` permits in all. After a change of size those still out are not counted.
    pub fn of(&self, tenant: TenantId, size: usize) -> Arc<Semaphore> {
        let mut shares = self.0.lock();
        if shares.len() >= MANY {
            shares.retain(|_, (size, semaphore)| semaphore.available_permits() < *size);
        }
        let share = shares.entry(tenant).or_insert_with(|| (size, Arc::new(Semaphore::new(size))));
        if share.0 != size {
            *share = (size, Arc::new(Semaphore::new(size)));
        }
        share.1.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_its_own_and_idle_ones_are_forgotten() {
        let shares = Shares::default();
        let place = shares.of(TenantId(1), 1).try_acquire_owned().unwrap();
        assert!(shares.of(TenantId(1), 1).try_acquire_owned().is_err());
        assert!(shares.of(TenantId(2), 1).try_acquire_owned().is_ok());
        for tenant in 10..10 + 2 * MANY as i64 {
            shares.of(TenantId(tenant), 1);
        }
        assert!(shares.0.lock().len() <= MANY);
        assert!(shares.of(TenantId(1), 1).try_acquire_owned().is_err(), "what is in use is kept");
        drop(place);
        assert!(shares.of(TenantId(1), 2).try_acquire_many_owned(2).is_ok());
    }
}
