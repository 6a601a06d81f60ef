//! The directory of tenants: by path, by host, or the default one (interface.md section 3).
//!
//! A path (`/t/<tenant>/…`) wins over the host, the host over the default tenant.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::IntCounter;

use super::listing::Listing;
use crate::bbb::Call;
use crate::clock::Millis;
use crate::ids::{Secret, TenantId};
use crate::metrics::Kept;
use crate::store::TenantRecord;

/// Limits of a tenant; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    pub max_meetings: Option<u32>,
    pub max_people: Option<u32>,
}

/// One tenant as requests see it.
#[derive(Debug)]
pub struct Tenant {
    pub record: TenantRecord,
    /// Calls that were answered with success.
    pub answered: Kept<IntCounter, { Call::SLOTS }>,
    pub listing: Listing,
}

impl Tenant {
    pub fn new(record: TenantRecord) -> Self {
        Self { record, answered: Kept::default(), listing: Listing::default() }
    }

    pub fn id(&self) -> TenantId {
        self.record.id
    }

    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Secrets a caller may sign with; `now` is asked for those that retire.
    pub fn secrets(&self, now: impl Fn() -> Millis) -> impl Iterator<Item = &Secret> {
        let in_force = move |retired: Option<Millis>| retired.is_none_or(|moment| moment > now());
        self.record.secrets.iter().filter(move |one| in_force(one.retired_at)).map(|one| &one.secret)
    }

    pub fn limits(&self) -> TenantLimits {
        TenantLimits { max_meetings: self.record.max_meetings, max_people: self.record.max_people }
    }
}

/// All tenants of this moment.
#[derive(Debug, Default)]
pub struct Tenants {
    by_id: HashMap<TenantId, Arc<Tenant>>,
    by_name: HashMap<String, Arc<Tenant>>,
    by_host: HashMap<String, Arc<Tenant>>,
    default: Option<Arc<Tenant>>,
}

impl Tenants {
    pub fn new(records: Vec<TenantRecord>) -> Self {
        let mut tenants = Self::default();
        for record in records {
            let tenant = Arc::new(Tenant::new(record));
            for host in &tenant.record.hosts {
                tenants.by_host.insert(host.clone(), tenant.clone());
            }
            if tenant.record.is_default {
                tenants.default = Some(tenant.clone());
            }
            tenants.by_name.insert(tenant.record.name.clone(), tenant.clone());
            tenants.by_id.insert(tenant.record.id, tenant);
        }
        tenants
    }

    /// The tenant of a request. `path` is the name in `/t/<name>/…`; `host` is lower-case and without port.
    pub fn resolve(&self, path: Option<&str>, host: &str) -> Option<&Arc<Tenant>> {
        match path {
            Some(name) => self.by_name.get(name),
            None => self.by_host.get(host).or(self.default.as_ref()),
        }
    }

    pub fn get(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.by_id.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_id.values()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
