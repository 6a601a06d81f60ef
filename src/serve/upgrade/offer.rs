//! The side of the running Usher: a thread that waits for the next one, hands the sockets over, and retires this process
//! only when the other says that it is ready. Until then nothing has changed for anybody.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{error, info, warn};

use super::successor::cannot_leave;
use super::wire::{ALL, Door, HELLO, LISTEN, Line, READY, REFUSED, RETIRED, STORE};
use crate::process::Shared;
use crate::serve::sockets::Sockets;
use crate::store::Store;

/// How long the other may take to say who it is.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long the other may take from the sockets until it is ready: it asks every BBB server meanwhile.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// After an accept that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the last request has been answered.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits for upgrades at `path` as long as the process lives. What is at `path` already is replaced: a file that a crash
/// left, or the socket of the Usher that this one has come after.
pub fn offer(path: &Path, sockets: Arc<Sockets>, shared: Arc<Shared>) -> io::Result<()> {
    let door = open(path)?;
    let waiting = move || {
        while !shared.process.is_draining() {
            match door.accept() {
                Ok((line, pid, user)) if may_upgrade(user) => {
                    if let Err(error) = hand_over(&line, pid, &sockets, &shared) {
                        error!(pid = pid, error:% = error; "upgrade failed, this Usher goes on");
                    }
                }
                Ok((_, pid, user)) => warn!(pid = pid, user = user; "another user asked for the sockets, refused"),
                Err(error) => {
                    warn!(error:% = error; "cannot listen for upgrades");
                    thread::park_timeout(PAUSE);
                }
            }
        }
    };
    thread::Builder::new().name("upgrades".to_owned()).spawn(waiting)?;
    Ok(())
}

/// Made under another name and then moved, so that the path always leads to somebody.
fn open(path: &Path) -> io::Result<Door> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let door = Door::open(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok(door)
}

/// The same user, or root.
fn may_upgrade(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Why who says `said` of its store must not take over.
fn unfit(ours: &dyn Store, said: &str) -> Option<String> {
    if ours.lost().is_some() {
        return Some("its store is not in its place; see its /readyz".to_owned());
    }
    let is_same = said.strip_prefix(STORE) == Some(ours.identity().as_str());
    (!is_same).then(|| "it uses another store; compare store.url and the folder that each was started in".to_owned())
}

/// The whole conversation. The error: this process goes on as before.
fn hand_over(line: &Line, pid: i32, sockets: &Sockets, shared: &Shared) -> io::Result<()> {
    let process = &shared.process;
    let Some(hello) = line.hear(HELLO_LIMIT)? else { return Ok(()) };
    let Some(said) = hello.text.strip_prefix(HELLO).map(str::trim) else {
        return line.say(&format!("{REFUSED} this version of Usher does not know that kind of upgrade"), None);
    };
    if process.is_draining() {
        return line.say(&format!("{REFUSED} it is stopping"), None);
    }
    if let Some(reason) = cannot_leave(std::process::id()) {
        warn!(pid = pid, reason = reason; "upgrade refused, this Usher goes on");
        return line.say(&format!("{REFUSED} {reason}"), None);
    }
    let (version, store) = said.split_once(' ').unwrap_or((said, ""));
    if let Some(reason) = unfit(&*shared.placer.store, store) {
        warn!(pid = pid, version = version, reason = reason.as_str(); "upgrade refused, this Usher goes on");
        return line.say(&format!("{REFUSED} {reason}"), None);
    }
    info!(pid = pid, version = version; "upgrade begins");
    for (address, socket) in sockets.share()? {
        line.say(&format!("{LISTEN} {address}"), Some(socket.as_fd()))?;
    }
    line.say(ALL, None)?;
    match line.hear(READY_LIMIT) {
        Ok(Some(heard)) if heard.text == READY => {}
        Ok(_) => return Err(io::Error::other("the new Usher ended before it was ready; its own log says why")),
        Err(error) => {
            line.say(&format!("{REFUSED} this took longer than {} s", READY_LIMIT.as_secs()), None)?;
            return Err(error);
        }
    }
    if process.is_draining() {
        return line.say(&format!("{REFUSED} it is stopping"), None);
    }
    process.set_heir(true);
    if let Err(error) = line.say(RETIRED, None) {
        process.set_heir(false);
        return Err(error);
    }
    info!(pid = pid, version = version; "upgrade done, the new Usher serves");
    // To systemd the other is the service from now on; said before this process may end.
    if let Ok(pid) = u32::try_from(pid) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::MainPid(pid)]);
    }
    sockets.close();
    process.retire();
    // The end of the line says that nobody asks any more; WebSockets do not.
    while process.may_be_asked() {
        thread::park_timeout(LOOK_EVERY);
    }
    Ok(())
}
