//! The command line: clap grammar, one file per noun; interface.md section 1 is the promise behind it.
//!
//! Commands act on the store, so they work with the server stopped, and a running server follows. Each returns a
//! `Report` or one sentence that says what to do next; only `output` prints, only `main` exits. `serve` and `demo` are
//! called outside any runtime, because Pingora builds its own.
//!
//! | file | holds |
//! |---|---|
//! | `server`, `tenant`, `tenant_secret`, `tenant_param`, `meeting`, `why` | one noun each; `…_view` shows it |
//! | `apply/` | the declarative file: wish → plan → writes |
//! | `check`, `status`, `backup`, `demo/` | one command each |
//! | `exposure` | what `check` warns of: who can reach what |
//! | `completion`, `man` | made from the grammar |
//! | `address`, `name`, `secret`, `unseen`, `value` | what operators type, parsed once |
//! | `context`, `outcome`, `output` | what commands work with, how they end, how they speak |

mod address;
mod apply;
mod backup;
mod check;
mod completion;
mod context;
mod demo;
mod drain;
mod exposure;
mod man;
mod meeting;
mod name;
mod node_config;
mod outcome;
mod output;
mod reach;
mod secret;
mod server;
mod server_view;
mod status;
mod tenant;
mod tenant_param;
mod tenant_secret;
mod tenant_view;
mod trust;
mod unseen;
mod value;
mod why;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use serde_json::json;

use crate::config::{Config, environment};
use crate::serve::Start;
use context::{Context, config_file};
pub use outcome::{CliError, Exit};
use output::Report;

/// Load balancer and edge proxy for BigBlueButton
#[derive(Parser)]
#[command(name = "usher", version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; /etc/usher/usher.toml if it exists, else built-in defaults
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Print JSON with stable keys
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the load balancer
    Serve {
        /// Take over from the Usher that runs with the same store, without a gap; it ends when its connections have
        #[arg(long)]
        upgrade: bool,
        /// Start `usher serve` in the background, owned by the service manager, and return
        #[arg(long, hide = true)]
        detach: bool,
    },
    /// Validate the configuration
    Check {
        /// Also try the store and every BBB server: address, secret, clock, version
        #[arg(long)]
        online: bool,
    },
    /// A complete playground on this machine: simulated BBB servers, a tenant, meetings; Ctrl-C removes everything
    Demo,
    /// BBB servers of the pool
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// Tenants: who may call
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Meetings and where they are
    #[command(subcommand)]
    Meeting(meeting::MeetingCommand),
    /// Make servers and tenants as a TOML file says; prints the difference
    Apply(apply::ApplyArgs),
    /// Write a consistent copy of the store, also while running
    Backup(backup::BackupArgs),
    /// Replace the store by a backup, after verifying it
    Restore(backup::RestoreArgs),
    /// The pool at one glance
    Status,
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write those of all commands
    Man(man::ManArgs),
}

/// Parses `arguments` (program name first), carries the command out, prints, and says how the process should exit.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(answered) = completion::answer(arguments.clone(), grammar) {
        return output::written(answered).map_or_else(|error| output::print_error(&error), |()| Exit::Done);
    }
    let parsed = grammar().try_get_matches_from(arguments).and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let error = error.format(&mut grammar());
            let printed = error.print().and_then(|()| output::flush());
            return match output::written(printed) {
                _ if error.use_stderr() => Exit::Usage,
                Ok(()) => Exit::Done,
                Err(error) => output::print_error(&error),
            };
        }
    };
    match carry_out(cli.command, cli.config, cli.json) {
        Ok(report) => output::print(&report, cli.json),
        Err(error) => output::print_error(&error),
    }
}

fn carry_out(command: Command, asked_config: Option<PathBuf>, json: bool) -> Result<Report, CliError> {
    let file = config_file(asked_config);
    match command {
        Command::Completions { shell } => completion::script(shell),
        Command::Man(args) => man::run(grammar(), args),
        Command::Check { online } => in_runtime(check::run(file, online)),
        Command::Serve { detach: true, .. } => detach(),
        Command::Serve { upgrade, .. } => serve(load(file.as_deref())?, file, upgrade),
        Command::Demo => demo::run(json),
        Command::Restore(args) => backup::restore(&load(file.as_deref())?, &args),
        command => {
            let config = load(file.as_deref())?;
            in_runtime(async move {
                let context = match makes_a_store(&command) {
                    true => Context::open(config).await?,
                    false => Context::open_existing(config).await?,
                };
                on_store(&context, command).await
            })
        }
    }
}

/// What a new installation begins with.
fn makes_a_store(command: &Command) -> bool {
    matches!(
        command,
        Command::Server(server::ServerCommand::Add(_))
            | Command::Tenant(tenant::TenantCommand::Add(_))
            | Command::Apply(_)
    )
}

async fn on_store(context: &Context, command: Command) -> Result<Report, CliError> {
    match command {
        Command::Server(command) => server::run(context, command).await,
        Command::Tenant(command) => tenant::run(context, command).await,
        Command::Meeting(command) => meeting::run(context, command).await,
        Command::Apply(args) => apply::run(context, args).await,
        Command::Backup(args) => backup::backup(context, args).await,
        _ => status::run(context).await,
    }
}

/// Returns when the server has stopped.
fn serve(config: Config, file: Option<PathBuf>, upgrade: bool) -> Result<Report, CliError> {
    let start = if upgrade { Start::Upgrade } else { Start::Fresh };
    crate::serve::run(config, file, start).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(Report::new("", json!({ "stopped": true })))
}

/// The part of SIGUSR2 that a process of its own plays.
fn detach() -> Result<Report, CliError> {
    let pid = crate::serve::detach().map_err(|error| {
        CliError::Failed(format!("the new Usher cannot be started: {error}; is the program there?"))
    })?;
    Ok(Report::new(pid.to_string(), json!({ "started": true, "pid": pid })))
}

/// The checked configuration, or one sentence; `usher check` prints all problems.
fn load(file: Option<&Path>) -> Result<Config, CliError> {
    Config::load(file, environment()).map_err(|problems| {
        let first = problems.0.first().map(ToString::to_string).unwrap_or_default();
        let more = problems.0.len().saturating_sub(1);
        let rest =
            if more == 0 { String::new() } else { format!(" (and {} more)", output::count(more as u64, "problem")) };
        CliError::Failed(format!("the configuration is wrong: {first}{rest}; `usher check` lists everything"))
    })
}

fn in_runtime(command: impl Future<Output = Result<Report, CliError>>) -> Result<Report, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}; check the limits of this account")))?;
    runtime.block_on(command)
}

/// The commands and options, as clap parses, completes and describes them.
fn grammar() -> clap::Command {
    Cli::command().mut_subcommands(|noun| {
        let name = noun.get_name().to_owned();
        finished(noun, &name)
    })
}

/// `noun` is the first word. A negative number is a value that is wrong, and no option that does not exist.
fn finished(command: clap::Command, noun: &str) -> clap::Command {
    let verb = command.get_name().to_owned();
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => completion::with_candidates(arg.allow_negative_numbers(true), noun, &verb),
        false => arg,
    });
    command.mut_subcommands(|sub| finished(sub, noun))
}
