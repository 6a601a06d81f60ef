//! Who calls: the tenant of a request, its secrets in force, its rules for parameters, and its view of meeting ids.
//!
//! Tenants are read from the store into one immutable directory that is swapped whole when the store changes; a
//! request takes one snapshot. Nothing here checks a checksum or knows HTTP.

mod directory;
mod listing;
mod rules;
mod scope;

pub use directory::{Tenant, TenantLimits, Tenants};
pub use rules::drop_hidden_meta;
pub use scope::HIDDEN_META_PREFIX;
