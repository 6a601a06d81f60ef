//! `usher tenant secret …`: rollover without an outage. A new secret is added, the front ends change over, the old
//! one is retired; in between both are accepted.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, Table};
use super::secret::{SecretArgs, new_secret};
use super::tenant_view::{is_in_force, moment};
use crate::clock::Millis;
use crate::ids::Secret;
use crate::store::{TenantRecord, TenantSecret};

#[derive(Subcommand)]
pub enum SecretCommand {
    /// Accept one more secret; without one given, a strong one is made and printed
    Add {
        tenant: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Stop accepting a secret
    Retire {
        tenant: String,
        /// Number of the secret, from `usher tenant secret list`
        id: i64,
        /// Keep accepting it for so long, for example `7d`
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        after: Option<Duration>,
        /// Retire it although no other secret is in force
        #[arg(long)]
        force: bool,
    },
    /// List the secrets of a tenant
    List {
        tenant: String,
        /// Print the secrets themselves
        #[arg(long)]
        reveal: bool,
    },
}

pub async fn run(context: &Context, command: SecretCommand) -> Result<Report, CliError> {
    match command {
        SecretCommand::Add { tenant, secret } => add(context, &tenant, &secret).await,
        SecretCommand::Retire { tenant, id, after, force } => {
            retire(context, &tenant, id, after.unwrap_or_default(), force).await
        }
        SecretCommand::List { tenant, reveal } => Ok(list(&context.tenant(&tenant).await?, reveal, context.now)),
    }
}

async fn add(context: &Context, name: &str, source: &SecretArgs) -> Result<Report, CliError> {
    let mut tenant = context.tenant(name).await?;
    let given = source.read()?;
    let is_made = given.is_none();
    let secret = match given {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let is_known = |known: &TenantSecret| known.secret == secret && is_in_force(known, context.now);
    if tenant.secrets.iter().any(is_known) {
        return Err(CliError::Failed(format!("tenant {name} accepts this secret already; give another one")));
    }
    tenant.secrets.push(TenantSecret { id: 0, secret: secret.clone(), created_at: context.now, retired_at: None });
    let stored = context.store.update_tenant(tenant).await?;
    let added = stored.secrets.iter().filter(|known| known.secret == secret).max_by_key(|known| known.id);
    let id = added.map(|known| known.id);
    let mut text = format!("tenant {name} has one more secret, number {}", id.unwrap_or_default());
    let mut json = json!({ "tenant": name, "id": id });
    if is_made {
        text.push_str(&shown_once(&secret, name));
        json["secret"] = secret.reveal().into();
    }
    Ok(Report::new(text, json))
}

/// A secret that was made, and how to see it again.
pub fn shown_once(secret: &Secret, tenant: &str) -> String {
    format!("\nsecret: {}\n(`usher tenant secret list {tenant} --reveal` shows it again)", secret.reveal())
}

async fn retire(context: &Context, name: &str, id: i64, after: Duration, force: bool) -> Result<Report, CliError> {
    let mut tenant = context.tenant(name).await?;
    let others = tenant.secrets.iter().any(|known| known.id != id && known.retired_at.is_none());
    let Some(secret) = tenant.secrets.iter_mut().find(|known| known.id == id) else {
        return Err(CliError::Failed(format!(
            "tenant {name} has no secret number {id}; `usher tenant secret list {name}` shows the numbers"
        )));
    };
    if !others && !force {
        return Err(CliError::Refused(format!(
            "number {id} is the last secret in force, without it nobody could call as {name}; add another one first, or add --force"
        )));
    }
    let retired_at = context.now + after;
    secret.retired_at = Some(retired_at);
    context.store.update_tenant(tenant).await?;
    let text = format!("secret number {id} of tenant {name} is refused from {}", moment(retired_at));
    Ok(Report::new(text, json!({ "tenant": name, "id": id, "retired_at": retired_at })))
}

fn list(tenant: &TenantRecord, reveal: bool, now: Millis) -> Report {
    let mut table = Table::new(&["NUMBER", "STATE", "CREATED", "RETIRED", "SECRET"]);
    let mut rows = Vec::new();
    for known in &tenant.secrets {
        let shown = if reveal { known.secret.reveal() } else { "***" };
        let state = if is_in_force(known, now) { "in force" } else { "retired" };
        table.row(vec![
            known.id.to_string(),
            state.into(),
            moment(known.created_at),
            known.retired_at.map_or_else(String::new, moment),
            shown.into(),
        ]);
        rows.push(json!({
            "id": known.id,
            "in_force": is_in_force(known, now),
            "created_at": known.created_at,
            "retired_at": known.retired_at,
            "secret": shown,
        }));
    }
    let instead = format!("tenant {} has no secret; `usher tenant secret add {}` makes one", tenant.name, tenant.name);
    Report::new(table.or(&instead), Value::Array(rows))
}
