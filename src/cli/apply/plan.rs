//! The difference between the file and the store, as a list of actions: a pure function, tested without a store.
//!
//! Servers and tenants are matched by name; a server whose name the file leaves out by its address first. Secrets
//! appear in the difference only as "changed".

use std::fmt::Display;

use super::super::name::refuse_own_path;
use super::super::outcome::CliError;
use super::super::reach::client_prefix_word;
use super::super::secret::new_scope;
use super::super::tenant_param::{call_word, in_words};
use super::super::tenant_view::is_in_force;
use super::wish::{ServerWish, TenantWish, Wish};
use crate::clock::Millis;
use crate::ids::{ServerId, TenantId};
use crate::store::{ParamRule, ServerRecord, ServerState, TenantRecord, TenantSecret};

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    AddServer(Box<ServerRecord>),
    ChangeServer { old: Box<ServerRecord>, new: Box<ServerRecord> },
    RemoveServer(Box<ServerRecord>),
    AddTenant(Box<TenantRecord>),
    ChangeTenant { old: Box<TenantRecord>, new: Box<TenantRecord> },
    RemoveTenant(Box<TenantRecord>),
}

/// One line of the difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub write: Write,
    /// What changes, in words; empty for additions and removals.
    pub changes: Vec<String>,
}

/// Whose running meetings an action would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    OfServer(ServerId),
    OfTenant(TenantId),
}

/// Everything to do, in order.
#[derive(Debug)]
pub struct Plan {
    pub actions: Vec<Action>,
}

impl Action {
    fn plain(write: Write) -> Self {
        Self { write, changes: Vec::new() }
    }

    /// `add`, `change` or `remove`.
    pub fn word(&self) -> &'static str {
        match self.write {
            Write::AddServer(_) | Write::AddTenant(_) => "add",
            Write::ChangeServer { .. } | Write::ChangeTenant { .. } => "change",
            Write::RemoveServer(_) | Write::RemoveTenant(_) => "remove",
        }
    }

    pub fn sign(&self) -> char {
        match self.word() {
            "add" => '+',
            "remove" => '-',
            _ => '~',
        }
    }

    /// `server` or `tenant`.
    pub fn kind(&self) -> &'static str {
        match self.write {
            Write::AddServer(_) | Write::ChangeServer { .. } | Write::RemoveServer(_) => "server",
            Write::AddTenant(_) | Write::ChangeTenant { .. } | Write::RemoveTenant(_) => "tenant",
        }
    }

    pub fn name(&self) -> &str {
        match &self.write {
            Write::AddServer(server) | Write::RemoveServer(server) => &server.name,
            Write::ChangeServer { old, .. } => &old.name,
            Write::AddTenant(tenant) | Write::RemoveTenant(tenant) => &tenant.name,
            Write::ChangeTenant { old, .. } => &old.name,
        }
    }

    pub fn subject(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    /// Another address may be another machine, and another scope key is another id for BBB.
    pub fn loss(&self) -> Option<Loss> {
        match &self.write {
            Write::RemoveServer(server) => Some(Loss::OfServer(server.id)),
            Write::ChangeServer { old, new } if old.url != new.url => Some(Loss::OfServer(old.id)),
            Write::RemoveTenant(tenant) => Some(Loss::OfTenant(tenant.id)),
            Write::ChangeTenant { old, new } if old.scope != new.scope => Some(Loss::OfTenant(old.id)),
            _ => None,
        }
    }
}

/// Compares the file with what the store has.
pub fn make(
    wish: &Wish,
    servers: &[ServerRecord],
    tenants: &[TenantRecord],
    prune: bool,
    now: Millis,
) -> Result<Plan, CliError> {
    let mut actions = server_actions(&wish.servers, servers, prune)?;
    actions.extend(tenant_actions(&wish.tenants, tenants, prune, now)?);
    Ok(Plan { actions })
}

fn server_actions(wishes: &[ServerWish], servers: &[ServerRecord], prune: bool) -> Result<Vec<Action>, CliError> {
    let mut matched: Vec<(ServerId, &str)> = Vec::new();
    let mut kept = Vec::new();
    let mut actions = Vec::new();
    for wish in wishes {
        let by_url = servers.iter().find(|server| server.url == wish.url);
        let by_name = servers.iter().find(|server| server.name == wish.name);
        let old = if wish.is_named { by_name.or(by_url) } else { by_url.or(by_name) };
        let Some(old) = old else {
            refuse_own_path(&wish.name)
                .map_err(|problem| CliError::Failed(format!("{problem}; nothing was changed")))?;
            let new = wanted_server(wish, ServerId(0), wish.name.clone(), ServerState::Enabled);
            kept.push(new.clone());
            actions.push(Action::plain(Write::AddServer(Box::new(new))));
            continue;
        };
        if let Some((_, other)) = matched.iter().find(|(id, _)| *id == old.id) {
            return Err(CliError::Failed(format!(
                "the file's servers {other} and {} both mean server {}; give them names and addresses of their own",
                wish.name, old.name
            )));
        }
        matched.push((old.id, &wish.name));
        let name = if wish.is_named { wish.name.clone() } else { old.name.clone() };
        let new = wanted_server(wish, old.id, name, old.state);
        kept.push(new.clone());
        let changes = server_changes(old, &new);
        if !changes.is_empty() {
            let write = Write::ChangeServer { old: Box::new(old.clone()), new: Box::new(new) };
            actions.push(Action { write, changes });
        }
    }
    for server in servers.iter().filter(|server| matched.iter().all(|(id, _)| *id != server.id)) {
        if prune {
            actions.push(Action::plain(Write::RemoveServer(Box::new(server.clone()))));
        } else {
            kept.push(server.clone());
        }
    }
    for (position, server) in kept.iter().enumerate() {
        if let Some(twin) = kept[..position].iter().find(|twin| twin.url == server.url || twin.name == server.name) {
            return Err(CliError::Failed(format!(
                "servers {} and {} would have the same name or address; correct the file, or add --prune",
                twin.name, server.name
            )));
        }
    }
    Ok(actions)
}

fn wanted_server(wish: &ServerWish, id: ServerId, name: String, state: ServerState) -> ServerRecord {
    ServerRecord {
        id,
        name,
        url: wish.url.clone(),
        secret: wish.secret.clone(),
        state: wish.state.unwrap_or(state),
        weight: wish.weight,
        cores: wish.cores,
        nic_mbit: wish.nic_mbit,
        tags: wish.tags.clone(),
        region: wish.region.clone(),
        checksum: wish.checksum,
        version: wish.version.clone(),
        max_meetings: wish.max_meetings,
        max_people: wish.max_people,
        reach: wish.reach.clone(),
    }
}

fn server_changes(old: &ServerRecord, new: &ServerRecord) -> Vec<String> {
    let mut changes = Changes::default();
    changes.compare("name", &old.name, &new.name);
    changes.compare("url", &old.url, &new.url);
    changes.note("secret changed", old.secret != new.secret);
    changes.compare("state", old.state, new.state);
    changes.compare("weight", old.weight, new.weight);
    changes.compare("cores", old.cores, new.cores);
    changes.compare("nic_mbit", old.nic_mbit, new.nic_mbit);
    changes.compare("tags", words(&old.tags), words(&new.tags));
    changes.compare("region", or_none(&old.region), or_none(&new.region));
    changes.compare("checksum", old.checksum.name(), new.checksum.name());
    changes.compare("version", or_none(&old.version), or_none(&new.version));
    changes.compare("max_meetings", or_none(&old.max_meetings), or_none(&new.max_meetings));
    changes.compare("max_people", or_none(&old.max_people), or_none(&new.max_people));
    let (before, after) = (&old.reach, &new.reach);
    changes.compare("address", or_none(&before.address), or_none(&after.address));
    changes.compare("send_proxy", before.send_proxy.as_str(), after.send_proxy.as_str());
    changes.compare("send_proxy_port", or_none(&before.send_proxy_port), or_none(&after.send_proxy_port));
    changes.compare("client_prefix", client_prefix_word(before), client_prefix_word(after));
    changes.note("ca changed", before.trust.ca != after.trust.ca);
    changes.compare("tls_name", or_none(&before.trust.name), or_none(&after.trust.name));
    changes.compare("insecure", before.trust.insecure, after.trust.insecure);
    changes.0
}

fn tenant_actions(
    wishes: &[TenantWish],
    tenants: &[TenantRecord],
    prune: bool,
    now: Millis,
) -> Result<Vec<Action>, CliError> {
    let default = default_tenant(wishes, tenants, prune)?;
    let mut actions = Vec::new();
    for wish in wishes {
        let is_default = default.as_deref() == Some(wish.name.as_str());
        let Some(old) = tenants.iter().find(|tenant| tenant.name == wish.name) else {
            if wish.secrets.is_empty() {
                return Err(CliError::Failed(format!(
                    "tenant {0} is new and has no secret; add `secrets` to the file, or let `usher tenant add {0}` make one",
                    wish.name
                )));
            }
            let scope = if is_default { None } else { Some(new_scope()?) };
            let mut new = wanted_tenant(wish, TenantId(0), is_default);
            new.scope = scope;
            new.secrets = merged_secrets(&[], wish, now, &mut Changes::default());
            actions.push(Action::plain(Write::AddTenant(Box::new(new))));
            continue;
        };
        let mut changes = Changes::default();
        let mut new = wanted_tenant(wish, old.id, is_default);
        new.scope = old.scope.clone();
        if !is_default && new.scope.is_none() {
            new.scope = Some(new_scope()?);
            changes.note("meeting ids become scoped", true);
        }
        tenant_changes(old, &new, &mut changes);
        new.secrets = merged_secrets(&old.secrets, wish, now, &mut changes);
        if !changes.0.is_empty() {
            let write = Write::ChangeTenant { old: Box::new(old.clone()), new: Box::new(new) };
            actions.push(Action { write, changes: changes.0 });
        }
    }
    if prune {
        for tenant in tenants.iter().filter(|tenant| wishes.iter().all(|wish| wish.name != tenant.name)) {
            actions.push(Action::plain(Write::RemoveTenant(Box::new(tenant.clone()))));
        }
    }
    Ok(actions)
}

/// Who is the default afterwards: the one the file says, else the one it leaves, else the first new one without hosts.
fn default_tenant(wishes: &[TenantWish], tenants: &[TenantRecord], prune: bool) -> Result<Option<String>, CliError> {
    let wished = |name: &str| wishes.iter().find(|wish| wish.name == name);
    let stays = tenants
        .iter()
        .find(|tenant| tenant.is_default && wished(&tenant.name).map_or(!prune, |wish| wish.default != Some(false)));
    let named = wishes.iter().find(|wish| wish.default == Some(true));
    match (named, stays) {
        (Some(named), Some(stays)) if named.name != stays.name => Err(CliError::Failed(format!(
            "tenant {} is the default already; write `default = false` for it before {} can be",
            stays.name, named.name
        ))),
        (Some(named), _) => Ok(Some(named.name.clone())),
        (None, Some(stays)) => Ok(Some(stays.name.clone())),
        (None, None) => {
            let is_new = |wish: &&TenantWish| tenants.iter().all(|tenant| tenant.name != wish.name);
            let open = |wish: &&TenantWish| wish.hosts.is_empty() && wish.default.is_none();
            Ok(wishes.iter().filter(is_new).find(open).map(|wish| wish.name.clone()))
        }
    }
}

/// Everything but scope and secrets, which depend on what was there.
fn wanted_tenant(wish: &TenantWish, id: TenantId, is_default: bool) -> TenantRecord {
    TenantRecord {
        id,
        name: wish.name.clone(),
        is_default,
        scope: None,
        hosts: wish.hosts.clone(),
        secrets: Vec::new(),
        params: wish.params.clone(),
        max_meetings: wish.max_meetings,
        max_people: wish.max_people,
        max_requests: wish.max_requests,
        pool: wish.pool.clone(),
        region: wish.region.clone(),
    }
}

fn tenant_changes(old: &TenantRecord, new: &TenantRecord, changes: &mut Changes) {
    changes.compare("default", old.is_default, new.is_default);
    changes.compare("hosts", words(&old.hosts), words(&new.hosts));
    changes.compare("pool", words(&old.pool), words(&new.pool));
    changes.compare("region", or_none(&old.region), or_none(&new.region));
    changes.compare("max_meetings", or_none(&old.max_meetings), or_none(&new.max_meetings));
    changes.compare("max_people", or_none(&old.max_people), or_none(&new.max_people));
    changes.compare("max_requests", or_none(&old.max_requests), or_none(&new.max_requests));
    let shown = |rule: &ParamRule| format!("{} {} {}", call_word(rule.call), rule.name, in_words(rule));
    for rule in new.params.iter().filter(|rule| !old.params.contains(rule)) {
        changes.0.push(format!("param + {}", shown(rule)));
    }
    for rule in old.params.iter().filter(|rule| !new.params.contains(rule)) {
        changes.0.push(format!("param - {}", shown(rule)));
    }
}

/// The stored secrets with those of the file in force and all others retired; as they were if the file has none.
fn merged_secrets(old: &[TenantSecret], wish: &TenantWish, now: Millis, changes: &mut Changes) -> Vec<TenantSecret> {
    let mut secrets = old.to_vec();
    if wish.secrets.is_empty() {
        return secrets;
    }
    for known in &mut secrets {
        let is_wanted = wish.secrets.contains(&known.secret);
        if is_wanted && known.retired_at.is_some() {
            known.retired_at = None;
            changes.0.push(format!("secret {} stays in force", known.id));
        } else if !is_wanted && is_in_force(known, now) {
            known.retired_at = Some(now);
            changes.0.push(format!("secret {} retired", known.id));
        }
    }
    for secret in &wish.secrets {
        if secrets.iter().all(|known| known.secret != *secret) {
            secrets.push(TenantSecret { id: 0, secret: secret.clone(), created_at: now, retired_at: None });
            changes.0.push("one more secret".into());
        }
    }
    secrets
}

/// Collects `name: old → new` lines.
#[derive(Default)]
struct Changes(Vec<String>);

impl Changes {
    fn compare<T: PartialEq + Display>(&mut self, name: &str, old: T, new: T) {
        if old != new {
            self.0.push(format!("{name}: {old} → {new}"));
        }
    }

    fn note(&mut self, text: &str, is_so: bool) {
        if is_so {
            self.0.push(text.into());
        }
    }
}

fn words(list: &[String]) -> String {
    let mut ordered = list.to_vec();
    ordered.sort();
    if ordered.is_empty() { "none".into() } else { ordered.join(", ") }
}

fn or_none<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".into(), T::to_string)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
