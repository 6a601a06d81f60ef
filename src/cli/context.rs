//! What a command works with: the configuration, the open store, and now.
//!
//! Commands act on the store, so they work with the server stopped; a running server follows within a second. Lookups
//! by name live here, so that an unknown name gives the same sentence everywhere.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::outcome::CliError;
use crate::clock::{Clock, Millis, SystemClock};
use crate::config::{Config, StoreUrl};
use crate::ids::{ServerId, TenantId};
use crate::store::{Placement, ServerRecord, Store, TenantRecord};

/// Used when no `--config` is given and it exists.
pub const DEFAULT_CONFIG: &str = "/etc/usher/usher.toml";

/// Everything a command needs.
pub struct Context {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub now: Millis,
}

/// The file to read: the one asked for, else the default one if it exists, else none.
pub fn config_file(asked: Option<PathBuf>) -> Option<PathBuf> {
    asked.or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|file| file.exists()))
}

impl Context {
    /// Opens the store that the configuration names.
    pub async fn open(config: Config) -> Result<Self, CliError> {
        let store = crate::store::open(&config.store).await?;
        Ok(Self { config, store, now: SystemClock.now() })
    }

    /// The same for a command that only reads, or changes what is there: it makes no store in a wrong folder.
    pub async fn open_existing(config: Config) -> Result<Self, CliError> {
        let StoreUrl::Sqlite(file) = &config.store.url;
        if !file.exists() {
            let shown = file.display();
            let hint =
                "check --config, store.url and the folder; `usher server add` or `usher tenant add` makes a new store";
            return Err(CliError::Failed(format!("there is no store at {shown}: {hint}")));
        }
        Self::open(config).await
    }

    /// The file that the command works on.
    pub fn store_file(&self) -> String {
        let StoreUrl::Sqlite(file) = &self.config.store.url;
        std::path::absolute(file).unwrap_or_else(|_| file.clone()).display().to_string()
    }

    pub async fn server(&self, name: &str) -> Result<ServerRecord, CliError> {
        let servers = self.store.servers().await?;
        servers.into_iter().find(|server| server.name == name).ok_or_else(|| {
            CliError::Failed(format!("there is no server `{name}`; `usher server list` shows the names"))
        })
    }

    pub async fn tenant(&self, name: &str) -> Result<TenantRecord, CliError> {
        let tenants = self.store.tenants().await?;
        tenants.into_iter().find(|tenant| tenant.name == name).ok_or_else(|| {
            CliError::Failed(format!("there is no tenant `{name}`; `usher tenant list` shows the names"))
        })
    }

    /// How many placements point to each server.
    pub async fn meetings_by_server(&self) -> Result<HashMap<ServerId, u64>, CliError> {
        Ok(counted(self.store.placements().await?.iter().map(|placement| placement.server)))
    }

    /// How many placements each tenant has.
    pub async fn meetings_by_tenant(&self) -> Result<HashMap<TenantId, u64>, CliError> {
        Ok(counted(self.store.placements().await?.iter().map(|placement| placement.tenant)))
    }

    /// The one placement meant by `id`: the front end's id, else BBB's or the internal one. Ambiguity is wrong usage.
    pub async fn placement(&self, id: &str, tenant: Option<&str>) -> Result<Placement, CliError> {
        let only = match tenant {
            Some(name) => Some(self.tenant(name).await?.id),
            None => None,
        };
        let all: Vec<Placement> = self.store.placements().await?;
        let mut theirs: Vec<Placement> =
            all.into_iter().filter(|placement| only.is_none_or(|tenant| placement.tenant == tenant)).collect();
        if theirs.iter().any(|placement| placement.meeting.as_str() == id) {
            theirs.retain(|placement| placement.meeting.as_str() == id);
        } else {
            theirs.retain(|placement| {
                placement.bbb_id.as_str() == id
                    || placement.internal_id.as_ref().is_some_and(|internal| internal.as_str() == id)
            });
        }
        if theirs.len() > 1 {
            return Err(CliError::Usage(format!(
                "{} tenants have a meeting `{id}`; add --tenant NAME to say whose is meant",
                theirs.len()
            )));
        }
        theirs.pop().ok_or_else(|| {
            CliError::Failed(format!("there is no meeting `{id}`; `usher meeting list` shows those that are placed"))
        })
    }
}

fn counted<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> HashMap<K, u64> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
}
