//! Names that stop to resolve: Usher runs in a mount namespace of its own, where `/etc/hosts`, `/etc/resolv.conf` and
//! `/etc/nsswitch.conf` are files of the test.
//!
//! The system's resolver reads them anew at each question, so the test only writes them. Needs root; where namespaces
//! are not permitted, the caller skips and says so.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::stage::SERVERS;

/// What becomes of a question for a server's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Known,
    /// There is no such name.
    Unknown,
    /// The name server takes the question and is silent.
    Silent,
}

pub struct Resolver {
    folder: PathBuf,
    /// A name server that never answers, if the port was free.
    silent: UdpSocket,
}

/// True if a process here may have files of its own.
pub fn is_permitted() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

impl Resolver {
    pub fn new(folder: &Path) -> Self {
        let candidates = std::iter::repeat_with(|| {
            let ip = [127, rand::random_range(1..255), rand::random_range(1..255), rand::random_range(1..255)];
            UdpSocket::bind((std::net::Ipv4Addr::from(ip), 53)).ok()
        });
        let silent = candidates.take(20).flatten().next().expect("root may listen on port 53 of some loopback address");
        let resolver = Self { folder: folder.to_owned(), silent };
        let silent = resolver.silent.local_addr().unwrap().ip();
        resolver.write("resolv.conf", &format!("nameserver {silent}\n"));
        resolver.set(Names::Known, &[]);
        resolver
    }

    pub fn name(server: usize) -> String {
        format!("bbb{}.usher-test.example", server + 1)
    }

    /// Takes the names of `targets` away, or gives all back.
    pub fn set(&self, names: Names, targets: &[usize]) {
        let known = (0..SERVERS).filter(|server| !targets.contains(server));
        let lines: Vec<String> = known.map(|server| format!("127.0.0.1 {}", Self::name(server))).collect();
        let hosts = format!("127.0.0.1 localhost\n{}\n", lines.join("\n"));
        // An unknown name is refused at once without a name server.
        self.write("nsswitch.conf", if names == Names::Silent { "hosts: files dns\n" } else { "hosts: files\n" });
        self.write("hosts", &hosts);
    }

    /// In place, because the file itself is mounted.
    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).unwrap();
    }

    pub fn launcher(&self) -> Vec<String> {
        let mounts = ["hosts", "resolv.conf", "nsswitch.conf"]
            .map(|file| format!("mount --bind '{}' /etc/{file} && ", self.folder.join(file).display()));
        let script = format!("{}exec \"$@\"", mounts.concat());
        ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}
