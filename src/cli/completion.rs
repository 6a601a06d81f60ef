//! `usher completions SHELL`: a script that asks this program what may come next, names of the store included.
//!
//! What an argument may hold is said by its name, here for all commands at once.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Command};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate};
use serde_json::json;

use super::context::{Context, config_file};
use super::outcome::CliError;
use super::output::Report;
use crate::config::{Config, StoreUrl, environment};

/// Set by the scripts when they ask.
const VARIABLE: &str = "_USHER_COMPLETE";

/// Answers a script that asks; `None` if none does.
pub fn answer(arguments: Vec<OsString>, command: fn() -> Command) -> Option<std::io::Result<()>> {
    std::env::var_os(VARIABLE)?;
    let folder = std::env::current_dir().ok();
    let asked =
        CompleteEnv::with_factory(command).var(VARIABLE).bin("usher").try_complete(arguments, folder.as_deref());
    match asked {
        Ok(false) => None,
        Ok(true) => Some(Ok(())),
        Err(error) => Some(Err(std::io::Error::other(error.to_string()))),
    }
}

pub fn script(shell: clap_complete::Shell) -> Result<Report, CliError> {
    let cannot = |text: String| CliError::Failed(format!("no completions for {shell}: {text}"));
    let name = shell.to_string();
    let shells = Shells::builtins();
    let completer = shells.completer(&name).ok_or_else(|| cannot("this shell is not known".to_owned()))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "usher", "usher", "usher", &mut script)
        .map_err(|error| cannot(error.to_string()))?;
    let script = String::from_utf8_lossy(&script).into_owned();
    Ok(Report::new(script.clone(), json!({ "shell": name, "script": script })))
}

/// An argument of `usher <noun> …` with what can be proposed for it.
pub fn with_candidates(arg: Arg, noun: &str, verb: &str) -> Arg {
    let words: &'static [&'static str] = match (noun, arg.get_id().as_str()) {
        ("server", "name" | "names" | "server") if verb != "add" && !(verb == "set" && is_option(&arg)) => {
            return arg.add(ArgValueCandidates::new(servers));
        }
        ("meeting", "server") => return arg.add(ArgValueCandidates::new(servers)),
        ("tenant", "name" | "names" | "tenant") if verb != "add" && !(verb == "set" && is_option(&arg)) => {
            return arg.add(ArgValueCandidates::new(tenants));
        }
        ("meeting", "tenant") => return arg.add(ArgValueCandidates::new(tenants)),
        (_, "checksum") => &["sha256", "sha384", "sha512", "sha1"],
        (_, "mode") => &["redirect", "host", "path"],
        (_, "send_proxy") => &["off", "v1", "v2"],
        (_, "client_prefix") => &["strip", "keep", "auto"],
        (_, "default") => &["true", "false"],
        (_, "region" | "max_meetings" | "max_people" | "max_requests" | "bbb_version" | "address") if verb == "set" => {
            &["none"]
        }
        _ => return arg,
    };
    arg.add(ArgValueCandidates::new(move || words.iter().map(CompletionCandidate::new).collect::<Vec<_>>()))
}

/// `set NAME --name NEW`: the new name is nobody's.
fn is_option(arg: &Arg) -> bool {
    arg.get_long().is_some()
}

fn servers() -> Vec<CompletionCandidate> {
    names(|context| async move {
        let servers = context.store.servers().await.unwrap_or_default();
        servers.into_iter().map(|server| server.name).collect()
    })
}

fn tenants() -> Vec<CompletionCandidate> {
    names(|context| async move {
        let tenants = context.store.tenants().await.unwrap_or_default();
        tenants.into_iter().map(|tenant| tenant.name).collect()
    })
}

/// Nothing instead of an error: a completion has nowhere to say it.
fn names<F: Future<Output = Vec<String>>>(read: impl FnOnce(Context) -> F) -> Vec<CompletionCandidate> {
    let found = || {
        let config = Config::load(config_file(asked_config()).as_deref(), environment()).ok()?;
        let StoreUrl::Sqlite(file) = &config.store.url;
        file.exists().then_some(())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(async { Some(read(Context::open(config).await.ok()?).await) })
    };
    found().unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// The file named on the line that is being completed.
fn asked_config() -> Option<PathBuf> {
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").collect();
    let at = words.iter().position(|word| word == "-c" || word == "--config");
    if let Some(at) = at {
        return words.get(at + 1).map(PathBuf::from);
    }
    words.iter().find_map(|word| word.to_str()?.strip_prefix("--config=").map(PathBuf::from))
}
