//! SIGUSR2: this process starts the Usher that takes over from it, from the binary that now stands at its own path.
//!
//! It is started by a process in between that ends at once, so that it belongs to systemd (or whoever else reaps
//! orphans) and not to us: a service manager only hears of the end of its own children.

use std::env;
use std::io;
use std::process::{Command, Stdio};

use log::{error, info, warn};
use tokio::signal::unix::{SignalKind, signal};

use crate::process::Process;

/// How the new one is told what it is.
const UPGRADE: &str = "--upgrade";
/// The same for the process in between.
const DETACH: &str = "--detach";

/// Starts a successor whenever SIGUSR2 comes, unless there is one.
pub async fn follow_signal(process: &Process) {
    let Ok(mut asked) = signal(SignalKind::user_defined2()) else {
        warn!("SIGUSR2 cannot be caught; `usher serve --upgrade` upgrades all the same");
        return std::future::pending().await;
    };
    while asked.recv().await.is_some() {
        if process.is_draining() {
            warn!("this Usher has been taken over from or is stopping, no other one is started");
            continue;
        }
        let started = tokio::task::spawn_blocking(|| {
            let mut command = successor([UPGRADE, DETACH])?;
            let status = command.stdin(Stdio::null()).status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
        });
        match started.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => info!("upgrade asked for, a new Usher is being started"),
            Err(error) => error!(error:% = error; "cannot start a new Usher, this one goes on"),
        }
    }
}

/// The process in between: starts the successor and does not wait for it.
pub fn detach() -> io::Result<()> {
    successor([UPGRADE])?.spawn().map(drop)
}

/// This process's command line with `words` instead of those of an earlier upgrade. The program is looked up as it was at
/// the start, so that a new binary in its place is found; `/proc/self/exe` would lead to the old one.
fn successor<const N: usize>(words: [&str; N]) -> io::Result<Command> {
    let mut arguments = env::args_os();
    let program = arguments.next().ok_or_else(|| io::Error::other("this process does not know its own name"))?;
    let mut command = Command::new(program);
    command.args(arguments.filter(|word| word != UPGRADE && word != DETACH)).args(words);
    Ok(command)
}
