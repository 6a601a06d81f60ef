//! SIGUSR2: this process starts the Usher that takes over from it, from the binary that now stands at its own path.
//!
//! It is started by a process in between that ends at once, so that it belongs to systemd (or whoever else reaps
//! orphans) and not to us: a service manager only hears of the end of its own children.

use std::env;
use std::io;
use std::process::{Command, Stdio};

use log::{error, info, warn};
use rustix::process::{Pid, test_kill_process};
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
    let mut last: Option<Pid> = None;
    while asked.recv().await.is_some() {
        if process.is_draining() {
            warn!("this Usher has been taken over from or is stopping, no other one is started");
            continue;
        }
        if let Some(reason) = cannot_leave(std::process::id()) {
            error!(reason = reason; "no new Usher is started, this one goes on");
            continue;
        }
        if let Some(pid) = last.filter(|pid| test_kill_process(*pid).is_ok()) {
            warn!(pid = pid.as_raw_pid(); "an upgrade is under way, no other Usher is started");
            continue;
        }
        let started = tokio::task::spawn_blocking(|| {
            let mut command = successor([UPGRADE, DETACH])?;
            let done = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?.wait_with_output()?;
            if !done.status.success() {
                return Err(io::Error::other(done.status.to_string()));
            }
            let said = String::from_utf8_lossy(&done.stdout);
            Ok(said.trim().parse().ok().and_then(Pid::from_raw))
        });
        match started.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(pid) => {
                last = pid;
                info!(pid = pid.map_or(0, Pid::as_raw_pid); "upgrade asked for, a new Usher is being started");
            }
            Err(error) => error!(error:% = error; "cannot start a new Usher, this one goes on"),
        }
    }
}

/// Why a process with this id must not leave its work to another one; `None` if it may.
pub fn cannot_leave(pid: u32) -> Option<&'static str> {
    (pid == 1).then_some(
        "this Usher is process 1 of a container, which would end with it: start a new container beside it and move the \
         callers there, or restart this one",
    )
}

/// The process in between: starts the successor and does not wait for it. Its process id.
pub fn detach() -> io::Result<u32> {
    // What is said goes to whoever asked for the upgrade, and no further.
    successor([UPGRADE])?.stdout(Stdio::null()).spawn().map(|child| child.id())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_of_a_container_must_stay() {
        assert!(cannot_leave(1).is_some_and(|reason| reason.contains("process 1 of a container")));
        assert_eq!(cannot_leave(2), None);
    }
}
