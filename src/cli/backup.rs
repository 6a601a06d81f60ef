//! `usher backup FILE` and `usher restore FILE`.
//!
//! A backup is consistent while the server runs; it appears under its name only when it is complete, so that a copy job
//! never picks up half a file. A restore verifies the backup before it replaces anything. It is refused while a process
//! has the store open, which would go on with what it remembers, and, without `--force`, if the store has content.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, count};
use crate::config::{Config, StoreUrl};
use crate::store::{self, BackupSummary, StoreError};

#[derive(Args)]
pub struct BackupArgs {
    /// File to write
    pub file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct RestoreArgs {
    /// A file that `usher backup` wrote
    pub file: PathBuf,
    /// Replace a store that has servers, tenants or meetings
    #[arg(long)]
    pub force: bool,
}

pub async fn backup(context: &Context, args: BackupArgs) -> Result<Report, CliError> {
    let shown = args.file.display().to_string();
    // A copy of what nobody uses would be found out when it is needed.
    if super::status::another_runs(context).await {
        let text = format!("no backup of {}: {}", context.store_file(), super::status::OTHER_STORE);
        return Err(CliError::Failed(text));
    }
    if !args.file.exists() {
        context.store.backup(&args.file).await?;
    } else if args.force {
        replace(context, &args.file).await?;
    } else {
        return Err(CliError::Refused(format!("{shown} exists; choose another name, or add --force to replace it")));
    }
    let written = store::verify_backup(&args.file)?;
    Ok(Report::new(format!("{shown} written: {}", in_words(&written)), summary_json(&shown, &written)))
}

/// The old backup stays until the new one is complete.
async fn replace(context: &Context, file: &Path) -> Result<(), CliError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |error: std::io::Error| {
        CliError::Failed(format!("cannot replace {}: {error}; check the folder's permissions", file.display()))
    };
    let place = tempfile::Builder::new().prefix(".usher-backup-").tempdir_in(folder).map_err(cannot)?;
    let copy = place.path().join("copy");
    context.store.backup(&copy).await?;
    std::fs::rename(&copy, file).map_err(cannot)
}

/// Works without opening the store for ordinary use: it may be damaged, which is why it is restored.
pub fn restore(config: &Config, args: &RestoreArgs) -> Result<Report, CliError> {
    let shown = args.file.display().to_string();
    let found = store::verify_backup(&args.file).map_err(|error| {
        CliError::Failed(format!("{shown} is not a usable backup ({error}); nothing was changed, choose another file"))
    })?;
    let StoreUrl::Sqlite(target) = &config.store.url;
    if target.exists() && !args.force {
        refuse_loss(target)?;
    }
    store::restore(&args.file, target).map_err(|error| match error {
        // A running process has the store open: no `--force` can help.
        StoreError::Refused(text) => CliError::Refused(text),
        error => CliError::from(error),
    })?;
    Ok(Report::new(format!("{shown} restored: {}", in_words(&found)), summary_json(&shown, &found)))
}

fn refuse_loss(target: &Path) -> Result<(), CliError> {
    match store::verify_backup(target) {
        Ok(found) if found.servers + found.tenants + found.placements == 0 => Ok(()),
        Ok(found) => Err(CliError::Refused(format!(
            "the store has {} that would be replaced; `usher backup` it first, then add --force",
            in_words(&found)
        ))),
        Err(error) => Err(CliError::Refused(format!(
            "the store cannot be read ({error}); keep a copy of {}, then add --force to replace it",
            target.display()
        ))),
    }
}

fn in_words(summary: &BackupSummary) -> String {
    format!(
        "{}, {}, {}",
        count(summary.servers, "server"),
        count(summary.tenants, "tenant"),
        count(summary.placements, "meeting")
    )
}

/// Stable keys.
fn summary_json(file: &str, summary: &BackupSummary) -> Value {
    json!({
        "file": file,
        "schema": summary.schema,
        "servers": summary.servers,
        "tenants": summary.tenants,
        "meetings": summary.placements,
    })
}
