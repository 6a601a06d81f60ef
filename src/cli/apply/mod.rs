//! `usher apply FILE`: servers and tenants as the file says, with a diff.
//!
//! The file is a wish, the plan is a value, carrying it out is the last step: `--dry-run` stops before it, and nothing is
//! written unless the whole file makes sense. A property the file does not mention has its default; two exceptions
//! stay as they are, because operators change them by command: the state of a server and the secrets of a tenant.

mod carry_out;
mod plan;
mod wish;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, count};
use plan::{Loss, Plan};

#[derive(Args)]
pub struct ApplyArgs {
    /// TOML file with [[server]] and [[tenant]] entries
    pub file: PathBuf,
    /// Print what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove servers and tenants that the file does not list
    #[arg(long)]
    pub prune: bool,
    /// Remove them although they have meetings
    #[arg(long)]
    pub force: bool,
}

pub async fn run(context: &Context, args: ApplyArgs) -> Result<Report, CliError> {
    let wish = wish::read(&args.file)?;
    let servers = context.store.servers().await?;
    let tenants = context.store.tenants().await?;
    let plan = plan::make(&wish, &servers, &tenants, args.prune, context.now)?;
    if !args.force {
        refuse_loss(context, &plan).await?;
    }
    if !args.dry_run {
        carry_out::run(context, &plan, args.force).await?;
    }
    Ok(report(&plan, args.dry_run))
}

/// Removing what has meetings loses them; refused as a whole, before anything is written.
async fn refuse_loss(context: &Context, plan: &Plan) -> Result<(), CliError> {
    let on_server = context.meetings_by_server().await?;
    let of_tenant = context.meetings_by_tenant().await?;
    let busy: Vec<String> = plan
        .actions
        .iter()
        .filter_map(|action| {
            let meetings = match action.loss()? {
                Loss::OfServer(server) => on_server.get(&server),
                Loss::OfTenant(tenant) => of_tenant.get(&tenant),
            };
            meetings.map(|meetings| format!("{} has {}", action.subject(), count(*meetings, "meeting")))
        })
        .collect();
    if busy.is_empty() {
        return Ok(());
    }
    Err(CliError::Refused(format!("{}; drain or wait, or add --force to lose them", busy.join(", "))))
}

fn report(plan: &Plan, dry_run: bool) -> Report {
    let mut lines: Vec<String> = Vec::new();
    for action in &plan.actions {
        lines.push(format!("{} {}", action.sign(), action.subject()));
        lines.extend(action.changes.iter().map(|change| format!("    {change}")));
    }
    let changes = count(plan.actions.len() as u64, "change");
    lines.push(match (plan.actions.is_empty(), dry_run) {
        (true, _) => "nothing to change".into(),
        (false, true) => format!("{changes}, none made (dry run)"),
        (false, false) => format!("{changes} made"),
    });
    let changes: Vec<Value> = plan
        .actions
        .iter()
        .map(|action| {
            json!({
                "action": action.word(),
                "kind": action.kind(),
                "name": action.name(),
                "changes": action.changes,
            })
        })
        .collect();
    Report::new(lines.join("\n"), json!({ "dry_run": dry_run, "changes": changes }))
}
