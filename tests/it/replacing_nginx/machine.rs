//! A machine with its own network, processes, `/etc`, `/var` and `/run`, on which nginx, certbot and systemd are found where
//! an operator finds them.
//!
//! nginx and Usher are the real ones. `systemctl` is a script that does what the unit says, and waits for what a person
//! would wait for; `certbot` is a script that asks its question over HTTP and runs the hooks. Needs root.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Networks, eventually};

pub struct Machine {
    space: Vec<String>,
    dir: tempfile::TempDir,
    /// All that runs on the machine ends with it.
    guard: Child,
}

/// Nobody's account but Usher's.
const USHER: u32 = 64_071;

const BEGIN: &str = r#"
mount --make-rprivate /
mount --bind "$1/etc" /etc
mount --bind "$1/var" /var
mount --bind "$1/run" /run
mount --bind "$2" /run/bin/usher
echo begun > /run/begun
# Long enough for the slowest test.
exec sleep 300
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
main() { cat /run/usher-main; }
# Waits for what the journal says.
told() { for _ in $(seq 200); do
    [ "$(grep -c "$1" /var/log/usher.log)" -gt "$2" ] && return; sleep 0.1; done; tail /var/log/usher.log >&2; exit 1; }
count() { grep -c "$1" /var/log/usher.log || true; }
case "$*" in
"start usher")
    cd /var/lib/usher
    NOTIFY_SOCKET=/run/notify setpriv --reuid=usher --regid=usher --clear-groups --no-new-privs \
        --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service \
        usher serve >>/var/log/usher.log 2>&1 &
    echo $! > /run/usher-main
    told READY 0 ;;
"kill --kill-whom=main --signal=USR2 usher")
    before=$(main)
    kill -USR2 "$before"
    for _ in $(seq 200); do [ "$(main)" != "$before" ] && exit; sleep 0.1; done
    exit 1 ;;
"reload usher")
    usher check
    before=$(count "configuration reloaded")
    kill -HUP "$(main)"
    told "configuration reloaded" "$before" ;;
"disable nginx") touch /run/nginx-disabled ;;
"start nginx") nginx ;;
"enable nginx") rm -f /run/nginx-disabled ;;
"restart nginx") [ -s /run/nginx.pid ] && nginx -s quit; for _ in $(seq 100); do [ -e /run/nginx.pid ] || break; sleep 0.1; done; nginx ;;
*) echo "systemctl: what is $*?" >&2; exit 1 ;;
esac
"#;

const CERTBOT: &str = r#"#!/bin/sh
set -eu
[ "$*" = "certonly --webroot -w /var/lib/usher-acme --cert-name bbb.example.org -d bbb.example.org --force-renewal" ]
mkdir -p /var/lib/usher-acme/.well-known/acme-challenge
echo answer > /var/lib/usher-acme/.well-known/acme-challenge/token-1
[ "$(curl -sS http://bbb.example.org/.well-known/acme-challenge/token-1)" = answer ]
rm /var/lib/usher-acme/.well-known/acme-challenge/token-1
export RENEWED_LINEAGE=/etc/letsencrypt/live/bbb.example.org
cp /run/renewed/* "$RENEWED_LINEAGE"
for hook in /etc/letsencrypt/renewal-hooks/deploy/*; do "$hook"; done
"#;

impl Machine {
    /// `authority`: a certificate that everybody here trusts.
    pub async fn start(networks: &Networks, space: &str, authority: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        open(root);
        run("cp", &["-a", "/etc", path(&root.join("etc"))]);
        for folder in ["var/lib/nginx", "var/lib/usher", "var/log/nginx", "var/tmp", "run/bin", "run/renewed"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
            open(&root.join(folder));
        }
        for folder in ["var", "var/lib", "var/log", "run"] {
            open(&root.join(folder));
        }
        append(&root.join("etc/passwd"), &format!("usher:x:{USHER}:{USHER}::/var/lib/usher:/usr/sbin/nologin\n"));
        append(&root.join("etc/group"), &format!("usher:x:{USHER}:\n"));
        append(&root.join("etc/ssl/certs/ca-certificates.crt"), authority);
        std::os::unix::fs::chown(root.join("var/lib/usher"), Some(USHER), Some(USHER)).unwrap();
        std::fs::set_permissions(root.join("var/lib/usher"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(root.join("run/bin/usher"), "").unwrap();
        for (name, script) in [("systemctl", SYSTEMCTL), ("certbot", CERTBOT)] {
            let file = root.join("run/bin").join(name);
            std::fs::write(&file, script).unwrap();
            open(&file);
        }
        std::fs::write(root.join("var/log/usher.log"), "").unwrap();
        follow(root.to_owned());
        let mut space = networks.launcher(space);
        let guard = Command::new(&space[0])
            .args(&space[1..])
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", BEGIN, "sh"])
            .args([path(root), env!("CARGO_BIN_EXE_usher")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the machine has begun", || async { root.join("run/begun").exists().then_some(()) }).await;
        let namespace = |kind: &str| format!("/proc/{}/ns/{kind}", guard.id());
        space = vec![
            "nsenter".to_owned(),
            format!("--mount={}", namespace("mnt")),
            format!("--net={}", namespace("net")),
            format!("--pid={}", namespace("pid_for_children")),
        ];
        Self { space, dir, guard }
    }

    /// Runs a script as root; what it printed. Fails the test if it fails.
    pub fn sh(&self, script: &str) -> String {
        let mut command = Command::new(&self.space[0]);
        command.args(&self.space[1..]).args(["sh", "-euc", script]).stdin(Stdio::null());
        command.env_clear().env("PATH", "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").current_dir("/");
        let output = command.output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "{script}\n--- said ---\n{out}{err}\n--- the log ---\n{}", self.log());
        eprintln!("{script}\n--- said ---\n{out}{err}");
        out
    }

    /// Writes a file as an editor does.
    pub fn write(&self, file: &str, text: &str) {
        let there = self.dir.path().join(file.strip_prefix('/').unwrap());
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::write(there, text).unwrap();
    }

    /// Lets names lead to addresses, in place of all before.
    pub fn set_dns(&self, names: &[(&str, &str)]) {
        let lines: Vec<String> = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        self.write("/etc/hosts", &format!("127.0.0.1 localhost\n{}", lines.concat()));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("var/log/usher.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// Notes what Usher tells systemd: its readiness, and which process is the main one.
fn follow(root: PathBuf) {
    let socket = UnixDatagram::bind(root.join("run/notify")).unwrap();
    std::fs::set_permissions(root.join("run/notify"), PermissionsExt::from_mode(0o666)).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // It ends with the test's process.
        while let Ok(length) = socket.recv(&mut bytes) {
            for line in String::from_utf8_lossy(&bytes[..length]).lines() {
                if let Some(pid) = line.strip_prefix("MAINPID=") {
                    let _ = std::fs::write(root.join("run/usher-main"), pid);
                }
                if line == "READY=1" {
                    append(&root.join("var/log/usher.log"), "systemd was told READY\n");
                }
            }
        }
    });
}

fn append(file: &Path, text: &str) {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    if let Ok(mut opened) = opened {
        let _ = std::io::Write::write_all(&mut opened, text.as_bytes());
    }
}

fn open(file: &Path) {
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
