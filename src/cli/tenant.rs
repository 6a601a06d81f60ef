//! `usher tenant …`: who may call, with which secrets, parameters and limits.
//!
//! The first tenant without a host is the default one: it answers for every host, and its meeting ids go to BBB
//! unchanged. Every other tenant gets a random scope key, so that two tenants using the same id never meet. Secrets,
//! parameter rules and limits have files of their own.

use clap::{Args, Subcommand};

use super::context::Context;
use super::name::{parse_host, parse_name, parse_tag};
use super::outcome::CliError;
use super::output::{Report, count};
use super::secret::{SecretArgs, new_scope, new_secret};
use super::server::{forgotten_note, sorted};
use super::tenant_param::{self, ParamCommand};
use super::tenant_secret::{self, SecretCommand, shown_once};
use super::tenant_view::{api_url, details, overview, tenant_json};
use super::value::{Change, parse_cap, parse_region};
use crate::ids::TenantId;
use crate::store::{TenantRecord, TenantSecret};

#[derive(Subcommand)]
pub enum TenantCommand {
    /// Add a tenant; without a secret a strong one is made and printed
    Add(AddTenant),
    /// List all tenants
    List,
    /// Show one tenant
    Show { name: String },
    /// Change properties of a tenant
    Set(SetTenant),
    /// Remove tenants
    Remove {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Remove it although it has meetings; Usher forgets them
        #[arg(long)]
        force: bool,
    },
    /// Secrets the tenant's front ends sign with
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Rules for the parameters of create and join
    #[command(subcommand)]
    Param(ParamCommand),
    /// Most meetings, people and requests of a tenant
    #[command(subcommand)]
    Limit(LimitCommand),
}

#[derive(Args)]
pub struct AddTenant {
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// Host name that front ends call it by; may be repeated
    #[arg(long = "host", value_name = "HOST", value_parser = parse_host)]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub secret: SecretArgs,
    /// Only servers with one of these tags take its meetings; may be repeated
    #[arg(long = "pool", value_name = "TAG", value_parser = parse_tag)]
    pub pool: Vec<String>,
    /// Region whose servers are preferred
    #[arg(long, value_parser = parse_region)]
    pub region: Option<Change<String>>,
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_meetings: Option<Change<u32>>,
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_people: Option<Change<u32>>,
    /// Signed requests in a second
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_requests: Option<Change<u32>>,
}

#[derive(Args)]
pub struct SetTenant {
    pub tenant: String,
    /// New name; changes the address if the tenant is called by path
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// Replaces all host names; may be repeated
    #[arg(long = "host", value_name = "HOST", value_parser = parse_host, conflicts_with = "no_hosts")]
    pub hosts: Vec<String>,
    /// Removes all host names
    #[arg(long)]
    pub no_hosts: bool,
    /// Whether it answers for every host that belongs to no other tenant
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    pub default: Option<bool>,
    /// Replaces the tags of servers that take its meetings; may be repeated
    #[arg(long = "pool", value_name = "TAG", value_parser = parse_tag, conflicts_with = "no_pool")]
    pub pool: Vec<String>,
    /// Lets all servers take its meetings
    #[arg(long)]
    pub no_pool: bool,
    /// A region, or `none`
    #[arg(long, value_parser = parse_region)]
    pub region: Option<Change<String>>,
    /// Go on although running meetings become unreachable
    #[arg(long)]
    pub force: bool,
}

#[derive(Subcommand)]
pub enum LimitCommand {
    /// Set or clear limits; what is not named stays
    Set {
        tenant: String,
        /// A number, or `none`
        #[arg(long, value_name = "N", value_parser = parse_cap, required_unless_present_any = ["max_people", "max_requests"])]
        max_meetings: Option<Change<u32>>,
        /// A number, or `none`
        #[arg(long, value_name = "N", value_parser = parse_cap)]
        max_people: Option<Change<u32>>,
        /// Signed requests in a second; a number, or `none` for what the configuration says
        #[arg(long, value_name = "N", value_parser = parse_cap)]
        max_requests: Option<Change<u32>>,
    },
}

pub async fn run(context: &Context, command: TenantCommand) -> Result<Report, CliError> {
    match command {
        TenantCommand::Add(wish) => add(context, wish).await,
        TenantCommand::List => {
            let meetings = context.meetings_by_tenant().await?;
            Ok(overview(&context.store.tenants().await?, &meetings, &context.config, context.now))
        }
        TenantCommand::Show { name } => {
            let tenant = context.tenant(&name).await?;
            let meetings = meetings_of(context, tenant.id).await?;
            Ok(details(&tenant, meetings, &context.config, context.now))
        }
        TenantCommand::Set(wish) => set(context, wish).await,
        TenantCommand::Remove { names, force } => remove_all(context, &names, force).await,
        TenantCommand::Secret(command) => tenant_secret::run(context, command).await,
        TenantCommand::Param(command) => tenant_param::run(context, command).await,
        TenantCommand::Limit(LimitCommand::Set { tenant, max_meetings, max_people, max_requests }) => {
            let mut record = context.tenant(&tenant).await?;
            record.max_meetings = max_meetings.map_or(record.max_meetings, |cap| cap.value());
            record.max_people = max_people.map_or(record.max_people, |cap| cap.value());
            record.max_requests = max_requests.map_or(record.max_requests, |cap| cap.value());
            save(context, record, format!("limits of tenant {tenant} set")).await
        }
    }
}

async fn add(context: &Context, wish: AddTenant) -> Result<Report, CliError> {
    let tenants = context.store.tenants().await?;
    if tenants.iter().any(|tenant| tenant.name == wish.name) {
        return Err(CliError::Failed(format!(
            "there is a tenant `{0}` already; choose another name, or change it with `usher tenant set {0}`",
            wish.name
        )));
    }
    let given = wish.secret.read()?;
    let is_made = given.is_none();
    let secret = match given {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let is_default = wish.hosts.is_empty() && !tenants.iter().any(|tenant| tenant.is_default);
    let stored = context
        .store
        .add_tenant(TenantRecord {
            id: TenantId(0),
            name: wish.name,
            is_default,
            scope: if is_default { None } else { Some(new_scope()?) },
            hosts: sorted(wish.hosts),
            secrets: vec![TenantSecret { id: 0, secret: secret.clone(), created_at: context.now, retired_at: None }],
            params: Vec::new(),
            max_meetings: wish.max_meetings.and_then(|cap| cap.value()),
            max_people: wish.max_people.and_then(|cap| cap.value()),
            max_requests: wish.max_requests.and_then(|cap| cap.value()),
            pool: sorted(wish.pool),
            region: wish.region.and_then(|region| region.value()),
        })
        .await?;
    let kind = if is_default { " (default: any host)" } else { "" };
    let mut text = format!("tenant {} added{kind}\nAPI address: {}", stored.name, api_url(&stored, &context.config));
    let mut json = tenant_json(&stored, 0, &context.config, context.now);
    if is_made {
        text.push_str(&shown_once(&secret, &stored.name));
        json["secret"] = secret.reveal().into();
    }
    Ok(Report::new(text, json))
}

async fn set(context: &Context, wish: SetTenant) -> Result<Report, CliError> {
    let old = context.tenant(&wish.tenant).await?;
    let mut new = old.clone();
    new.name = wish.name.unwrap_or(new.name);
    if wish.no_hosts || !wish.hosts.is_empty() {
        new.hosts = sorted(wish.hosts);
    }
    if wish.no_pool || !wish.pool.is_empty() {
        new.pool = sorted(wish.pool);
    }
    new.region = wish.region.map_or(new.region, |region| region.value());
    if let Some(default) = wish.default {
        make_default(context, &mut new, default, wish.force).await?;
    }
    if new == old {
        let json = tenant_json(&old, meetings_of(context, old.id).await?, &context.config, context.now);
        return Ok(Report::new(format!("tenant {} is as it was", old.name), json));
    }
    let text = format!("tenant {} changed; its API address is {}", new.name, api_url(&new, &context.config));
    save(context, new, text).await
}

/// A tenant that stops being the default gets a scope key: only one tenant's ids may go to BBB unchanged. One that
/// becomes the default keeps its key, and with it its running meetings.
async fn make_default(
    context: &Context,
    tenant: &mut TenantRecord,
    default: bool,
    force: bool,
) -> Result<(), CliError> {
    if default == tenant.is_default {
        return Ok(());
    }
    if default {
        let tenants = context.store.tenants().await?;
        if let Some(other) = tenants.iter().find(|other| other.is_default) {
            return Err(CliError::Failed(format!(
                "tenant {0} is the default; first run `usher tenant set {0} --default false`",
                other.name
            )));
        }
    } else if tenant.scope.is_none() {
        let meetings = meetings_of(context, tenant.id).await?;
        if meetings > 0 && !force {
            return Err(CliError::Refused(format!(
                "the meeting ids of {} would change under its {}; wait until they have ended, or add --force",
                tenant.name,
                count(meetings, "meeting")
            )));
        }
        tenant.scope = Some(new_scope()?);
    }
    tenant.is_default = default;
    Ok(())
}

/// All may go before the first one does.
async fn remove_all(context: &Context, names: &[String], force: bool) -> Result<Report, CliError> {
    let mut tenants = Vec::new();
    for name in names {
        let tenant = context.tenant(name).await?;
        let meetings = meetings_of(context, tenant.id).await?;
        if meetings > 0 && !force {
            return Err(CliError::Refused(format!(
                "tenant {name} still has {}; wait until they have ended, or add --force to forget them",
                count(meetings, "meeting")
            )));
        }
        if tenants.iter().all(|known: &TenantRecord| known.id != tenant.id) {
            tenants.push(tenant);
        }
    }
    let mut reports = Vec::new();
    for tenant in tenants {
        reports.push(remove(context, &tenant, force).await?);
    }
    Ok(Report::of_each(reports))
}

async fn remove(context: &Context, tenant: &TenantRecord, force: bool) -> Result<Report, CliError> {
    let name = &tenant.name;
    let forgotten = context.store.remove_tenant(tenant.id, force).await?;
    let text = format!("tenant {name} removed{}", forgotten_note(forgotten));
    Ok(Report::new(text, serde_json::json!({ "name": name, "removed": true, "forgotten_meetings": forgotten })))
}

/// Writes the tenant and reports it with `text`.
pub async fn save(context: &Context, tenant: TenantRecord, text: String) -> Result<Report, CliError> {
    let stored = context.store.update_tenant(tenant).await?;
    let meetings = meetings_of(context, stored.id).await?;
    Ok(Report::new(text, tenant_json(&stored, meetings, &context.config, context.now)))
}

async fn meetings_of(context: &Context, tenant: TenantId) -> Result<u64, CliError> {
    Ok(context.meetings_by_tenant().await?.get(&tenant).copied().unwrap_or(0))
}
