//! `usher backup FILE` and `usher restore FILE`.
//!
//! A backup is consistent while the server runs; it appears under its name only when it is complete, so that a copy job
//! never picks up half a file. A restore verifies the backup before it replaces anything, and is refused while the
//! store has meetings or a server answers on the admin address: it would go on with what it remembers.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, count};
use super::status;
use crate::config::{Config, StoreUrl};
use crate::store;

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
    if args.file.exists() && !args.force {
        return Err(CliError::Refused(format!("{shown} exists; choose another name, or add --force to replace it")));
    }
    let partial = partial_name(&args.file);
    // Left over from a backup that was interrupted; nobody else uses this name.
    if partial.exists() {
        std::fs::remove_file(&partial).map_err(|error| cannot_write(&shown, &error))?;
    }
    context.store.backup(&partial).await?;
    std::fs::rename(&partial, &args.file).map_err(|error| cannot_write(&shown, &error))?;
    let bytes = std::fs::metadata(&args.file).map(|file| file.len()).unwrap_or_default();
    Ok(Report::new(format!("{shown} written, {bytes} bytes"), json!({ "file": shown, "bytes": bytes })))
}

/// Works without opening the store for ordinary use: the file may be damaged, which is why it is restored.
pub async fn restore(config: Config, args: RestoreArgs) -> Result<Report, CliError> {
    let shown = args.file.display().to_string();
    let found = store::verify_backup(&args.file).await.map_err(|error| {
        CliError::Failed(format!("{shown} is not a usable backup ({error}); nothing was changed, choose another file"))
    })?;
    if !args.force {
        refuse_loss(&config).await?;
    }
    store::restore(&config.store, &args.file).await?;
    let text = format!("{shown} restored: {found}");
    Ok(Report::new(text, json!({ "file": shown, "restored": true })))
}

async fn refuse_loss(config: &Config) -> Result<(), CliError> {
    if status::answers(config).await {
        return Err(CliError::Refused("Usher is running on this store; stop it first, or add --force".into()));
    }
    let StoreUrl::Sqlite(file) = &config.store.url;
    if !file.exists() {
        return Ok(());
    }
    let context = Context::open(config.clone()).await?;
    let servers = context.store.servers().await?.len() as u64;
    let tenants = context.store.tenants().await?.len() as u64;
    let meetings = context.store.placements().await?.len() as u64;
    if servers + tenants + meetings == 0 {
        return Ok(());
    }
    Err(CliError::Refused(format!(
        "the store has {}, {} and {} that the backup would replace; make a backup of it first, then add --force",
        count(servers, "server"),
        count(tenants, "tenant"),
        count(meetings, "meeting")
    )))
}

fn partial_name(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn cannot_write(file: &str, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot write {file}: {error}; check the folder and its permissions"))
}
