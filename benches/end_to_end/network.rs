//! The network that everything is measured in: loopback in a namespace of its own, where firewall rules and the settings of
//! this machine's network play no part, with congestion control as Debian has it.
//!
//! With `bbr`, which some machines are set to, a stream on loopback is paced, and what a download measures is the pace.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::process::{self, Cores};

/// Set for the program that runs inside.
const INSIDE: &str = "BENCH_NETWORK";
const CUBIC: &str = "loopback of a namespace of its own, congestion control cubic";

/// What runs first inside. Congestion control is chosen by the route, since a namespace may not choose another default.
const PREPARE: &str = "ip link set lo up && for net in 127.0.0.0/8 127.0.0.1; do \
    ip route replace local $net dev lo table local proto kernel scope host src 127.0.0.1 congctl cubic || exit 1; done";

/// Goes on inside, if this machine lets this user; returns otherwise, or when it is inside already.
pub fn enter() -> Result<(), Failure> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    // Root needs no user namespace; others keep who they are in theirs.
    for way in [&["--net"][..], &["--user", "--map-current-user", "--keep-caps", "--net"]] {
        let mut trial = Command::new("unshare");
        trial.args(way).args(["sh", "-c", PREPARE]).stdout(Stdio::null()).stderr(Stdio::null());
        if !trial.status().is_ok_and(|status| status.success()) {
            continue;
        }
        let own = std::env::current_exe().map_err(|error| Failure(format!("own program: {error}")))?;
        let script = format!("{PREPARE} && exec \"$@\"");
        let mut inside = Command::new("unshare");
        inside.args(way).args(["sh", "-c", &script, "sh"]).arg(own).args(std::env::args_os().skip(1));
        return Err(Failure(format!("unshare: {}", inside.env(INSIDE, CUBIC).exec())));
    }
    Ok(())
}

/// Which network this is, for the document.
pub fn described() -> String {
    std::env::var(INSIDE).unwrap_or_else(|_| {
        let mut control = process::command(Cores::Both, "sysctl");
        control.args(["-n", "net.ipv4.tcp_congestion_control"]);
        let said = control.output().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        format!("this machine's own loopback, congestion control {}", said.unwrap_or_default())
    })
}
