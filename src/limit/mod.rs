//! How much one caller and one tenant may have: connections, requests that nobody signed, repeated joins, calls.
//!
//! An address is a poor name: a school, or a front end that speaks for a university, has one. So an address is never
//! refused what a tenant has signed, except the same join link over and over, nor what belongs to a session that a server has
//! accepted; what is counted by address is what needs no secret. What the numbers should be, and why, stands in `config/defaults.rs` and docs/operations.md.
//!
//! All books are of fixed size, whoever calls: a flood of addresses must not become a flood of memory.

mod address;
mod connections;
mod leaky;
mod sessions;
mod shares;
mod told;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
pub use pingora_limits::inflight::Guard;
use pingora_limits::inflight::Inflight;
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{CARRIED_UNTOLD_OF_SESSION, Config};
use crate::ids::TenantId;
use crate::metrics::Metrics;
use address::Caller;
use connections::Connections;
pub use connections::{Claim, Counted, Crowd};
use leaky::{Allowance, Leaky};
pub use sessions::{Mark, SessionKey, Sessions};
use shares::Shares;
use told::Told;

/// Why something was refused; the words of the metric and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many connections in all.
    AllConnections,
    /// Too many connections of one address.
    Connections,
    /// Too many requests of one address that no tenant has signed.
    Unsigned,
    /// Too many requests of one address that are carried to servers.
    Carried,
    /// The same join link too often from one address.
    SameJoin,
    /// Too much unsigned form data of one address at once.
    Forms,
    TenantRequests,
    TenantCreates,
    Fanouts,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::AllConnections,
        Self::Connections,
        Self::Unsigned,
        Self::Carried,
        Self::SameJoin,
        Self::Forms,
        Self::TenantRequests,
        Self::TenantCreates,
        Self::Fanouts,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllConnections => "connections",
            Self::Connections => "connections_of_address",
            Self::Unsigned => "unsigned",
            Self::Carried => "carried",
            Self::SameJoin => "same_join",
            Self::Forms => "forms",
            Self::TenantRequests => "tenant_requests",
            Self::TenantCreates => "tenant_creates",
            Self::Fanouts => "fanouts",
        }
    }
}

/// Said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// The books of one process.
pub struct Limiter {
    /// What servers have accepted.
    pub sessions: Sessions,
    connections: Connections,
    form_kib: Inflight,
    unsigned: Leaky,
    carried: Leaky,
    of_session: Leaky,
    joins: Leaky,
    tenants: Leaky,
    creates: Shares,
    fanouts: Shares,
    /// Calls to all servers of all tenants.
    all_fanouts: Shares,
    told: Told,
    counters: [IntCounter; Reason::ALL.len()],
}

/// The address book's key for what all tenants share.
const EVERYBODY: TenantId = TenantId(0);
/// Tells a caller when to come back where no rate says it.
const SOON: Duration = Duration::from_secs(2);
/// The part of `api.max_buffered` that forms of one address may take before their signature is known.
const FORM_SHARE: u64 = 8;

impl Limiter {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            sessions: Sessions::default(),
            connections: Connections::default(),
            form_kib: Inflight::new(),
            unsigned: Leaky::default(),
            carried: Leaky::default(),
            of_session: Leaky::default(),
            joins: Leaky::default(),
            tenants: Leaky::default(),
            creates: Shares::default(),
            fanouts: Shares::default(),
            all_fanouts: Shares::default(),
            told: Told::default(),
            counters: Reason::ALL.map(|reason| metrics.limited.with_label_values(&[reason.as_str()])),
        }
    }

    /// Counts a connection of `peer`, the address that it really comes from.
    pub fn connect(&self, peer: Option<IpAddr>, config: &Config, now: Instant) -> Counted {
        self.connections.begin(peer, &self.sessions, config, now)
    }

    /// The connection's present request is whose `claim` says.
    pub fn claim(&self, counted: &mut Counted, claim: Claim, config: &Config, now: Instant) {
        self.connections.claim(counted, claim, &self.sessions, config, now);
    }

    /// One request of `client` that no tenant has signed.
    pub fn unsigned(&self, client: Option<IpAddr>, claim: Claim, config: &Config, now: Instant) -> Result<(), Refusal> {
        let allowance = Allowance::per_minute(config.limits.unsigned_per_address);
        let Some(caller) = counted(client, allowance, config) else { return Ok(()) };
        if self.is_for(claim, config, now) {
            return Ok(());
        }
        let taken = self.unsigned.take(caller, allowance, now);
        taken.map_err(|retry_after| Refusal { reason: Reason::Unsigned, retry_after })
    }

    /// One request of `client` that is to be carried to a server. The sessions of an address widen what it may ask for
    /// without saying whose it is.
    pub fn carried(&self, client: Option<IpAddr>, claim: Claim, config: &Config, now: Instant) -> Result<(), Refusal> {
        let allowance = Allowance::per_second(config.limits.carried_per_address);
        let Some(caller) = counted(client, allowance, config) else { return Ok(()) };
        if self.is_for(claim, config, now) {
            return Ok(());
        }
        let more = self.sessions.of(caller, now).saturating_mul(CARRIED_UNTOLD_OF_SESSION);
        let allowance = Allowance::per_second(config.limits.carried_per_address.saturating_add(more));
        let taken = self.carried.take(caller, allowance, now);
        taken.map_err(|retry_after| Refusal { reason: Reason::Carried, retry_after })
    }

    /// Somebody speaks for the request, and has not had too much: beyond its own a session is its address's burden.
    fn is_for(&self, claim: Claim, config: &Config, now: Instant) -> bool {
        match claim {
            Claim::Nobody => false,
            Claim::Tenant => true,
            Claim::Session(key) => {
                let allowance = Allowance::per_second(config.limits.carried_per_session);
                allowance.burst > 0.0 && self.of_session.take(key, allowance, now).is_ok()
            }
        }
    }

    /// One join of `client` with this link; `checksum` names the link, since it is made over all of it.
    pub fn join(&self, client: Option<IpAddr>, checksum: &[u8], config: &Config, now: Instant) -> Result<(), Refusal> {
        let allowance = Allowance::per_minute(config.limits.same_join_per_address);
        let Some(caller) = counted(client, allowance, config) else { return Ok(()) };
        let taken = self.joins.take((caller, checksum), allowance, now);
        taken.map_err(|retry_after| Refusal { reason: Reason::SameJoin, retry_after })
    }

    /// A signed request of `tenant`, whose own limit per second is `own`.
    pub fn tenant(&self, tenant: TenantId, own: Option<u32>, config: &Config, now: Instant) -> Result<(), Refusal> {
        let number = own.unwrap_or(config.limits.requests_per_tenant);
        if number == 0 {
            return Ok(());
        }
        let taken = self.tenants.take(tenant, Allowance::per_second(number), now);
        taken.map_err(|retry_after| Refusal { reason: Reason::TenantRequests, retry_after })
    }

    /// A place for a `create` of `tenant`.
    pub fn create(&self, tenant: TenantId, config: &Config) -> Result<OwnedSemaphorePermit, Refusal> {
        let share = self.creates.of(tenant, config.limits.creates_per_tenant);
        share.try_acquire_owned().map_err(|_| Refusal { reason: Reason::TenantCreates, retry_after: SOON })
    }

    /// Places for a call that asks all servers: one of the tenant's, one of everybody's. Waits for them, because an error
    /// would look like "no recordings".
    pub async fn fanout(
        &self,
        tenant: TenantId,
        config: &Config,
        wait: Duration,
    ) -> Result<[OwnedSemaphorePermit; 2], Refusal> {
        let own: Arc<Semaphore> = self.fanouts.of(tenant, config.limits.fanouts_per_tenant);
        let all = self.all_fanouts.of(EVERYBODY, config.limits.concurrent_fanouts);
        let both = async {
            let own = own.acquire_owned().await.ok()?;
            Some([own, all.acquire_owned().await.ok()?])
        };
        let places = tokio::time::timeout(wait, both).await.ok().flatten();
        places.ok_or(Refusal { reason: Reason::Fanouts, retry_after: SOON })
    }

    /// Room for `kib` of a form whose signature is not known yet.
    pub fn form(&self, client: Option<IpAddr>, kib: u32, config: &Config) -> Result<Option<Guard>, Refusal> {
        let Some(client) = client.filter(|client| !is_exempt(*client, config)) else { return Ok(None) };
        let share = config.api.max_buffered.div_ceil(FORM_SHARE).max(config.api.max_body) / 1024 + 1;
        let (guard, used) = self.form_kib.incr(Caller::of(client), kib as isize);
        if used as u64 > share {
            return Err(Refusal { reason: Reason::Forms, retry_after: SOON });
        }
        Ok(Some(guard))
    }

    /// Counts a refusal, and logs it if the last line of its kind is old enough.
    pub fn tell(&self, reason: Reason, client: Option<IpAddr>, tenant: Option<&str>) {
        self.counters[reason as usize].inc();
        let Some(count) = self.told.count(reason, Instant::now()) else { return };
        let client = client.map_or_else(|| "-".to_owned(), |client| client.to_string());
        log::warn!(reason = reason.as_str(), count = count, client = client.as_str(), tenant = tenant.unwrap_or("-");
            "refused by a limit; further ones of this kind are only counted for a minute");
    }
}

/// Who pays for it; nobody if that is switched off or the address exempt.
fn counted(client: Option<IpAddr>, allowance: Allowance, config: &Config) -> Option<Caller> {
    client.filter(|client| allowance.burst > 0.0 && !is_exempt(*client, config)).map(Caller::of)
}

/// Trusted proxies speak for others, and some addresses are known to be good.
fn is_exempt(address: IpAddr, config: &Config) -> bool {
    let contains = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    contains(&config.limits.exempt) || contains(&config.listen.trusted_proxies)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
