//! Networks of their own: namespaces with cables between them, which can be pulled.
//!
//! The test itself stays in the network that it was started in; what runs elsewhere is started by `ip netns exec`. Needs
//! root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use tokio::net::{TcpSocket, TcpStream};

/// Namespaces and cables; gone when dropped. Cable `n` has the networks `100.x.y+n.0/24` and `fdxx:yyyy:n::/64`; the near end
/// has the number 1, the far end 2.
pub struct Networks {
    id: String,
    net: [u8; 2],
    spaces: Vec<String>,
    /// Near ends that lie in the test's own network.
    near: Vec<String>,
}

/// One end of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Near,
    Far,
}

impl Networks {
    /// `None` if it is not permitted here, which is said.
    pub fn new(spaces: &[&str]) -> Option<Self> {
        let net = [64 + rand::random_range(0..64), rand::random_range(0..16) << 4];
        let mut networks =
            Self { id: format!("{:04x}", rand::random::<u16>()), net, spaces: Vec::new(), near: Vec::new() };
        for space in spaces {
            let name = networks.name(space);
            let made = Command::new("ip").args(["netns", "add", &name]).stderr(Stdio::null()).status();
            if !made.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED: it needs network namespaces, which are not permitted here (run as root)");
                return None;
            }
            networks.spaces.push(name.clone());
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        Some(networks)
    }

    fn name(&self, space: &str) -> String {
        format!("usher{}{space}", self.id)
    }

    /// Words that start a program there.
    pub fn launcher(&self, space: &str) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(space)].map(str::to_owned).to_vec()
    }

    /// Runs a program there to its end.
    pub fn run(&self, space: &str, words: &[&str]) {
        ip(&[&["netns", "exec", &self.name(space)], words].concat());
    }

    fn end(&self, number: u8, end: End) -> String {
        format!("u{}{number}{}", self.id, if end == End::Near { "n" } else { "f" })
    }

    /// A cable from `near`, or from the test's own network, to `far`.
    pub fn lay(&mut self, number: u8, near: Option<&str>, far: &str) {
        let (one, other, far) = (self.end(number, End::Near), self.end(number, End::Far), self.name(far));
        let near = near.map(|near| self.name(near));
        ip(&["link", "add", &one, "type", "veth", "peer", "name", &other, "netns", &far]);
        match &near {
            Some(near) => ip(&["link", "set", &one, "netns", near]),
            None => self.near.push(one.clone()),
        }
        for (space, end, last) in [(near.as_deref(), &one, 1), (Some(far.as_str()), &other, 2)] {
            self.give(space, end, number, last);
            in_space(space, &["link", "set", end, "up"]);
        }
    }

    /// Another address of the near end, which lies in the test's own network.
    pub fn also(&self, number: u8, last: u8) {
        self.give(None, &self.end(number, End::Near), number, last);
    }

    fn give(&self, space: Option<&str>, end: &str, number: u8, last: u8) {
        in_space(space, &["addr", "add", &format!("{}/24", self.v4(number, last)), "dev", end]);
        in_space(space, &["-6", "addr", "add", &format!("{}/64", self.v6(number, last)), "dev", end, "nodad"]);
    }

    pub fn v4(&self, number: u8, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(100, self.net[0], self.net[1] + number, last)
    }

    pub fn v6(&self, number: u8, last: u8) -> Ipv6Addr {
        let [high, low] = self.net.map(u16::from);
        Ipv6Addr::new(0xfd00 + high, low, number.into(), 0, 0, 0, 0, last.into())
    }

    /// Pulls a cable at its near end, which lies in the test's own network: packets of the far side vanish.
    pub fn pull(&self, number: u8) {
        // Or what is sent this way meanwhile would leave by another.
        ip(&["route", "add", "blackhole", &self.whole(number), "metric", "4000"]);
        ip(&["link", "set", &self.end(number, End::Near), "down"]);
    }

    pub fn mend(&self, number: u8) {
        ip(&["link", "set", &self.end(number, End::Near), "up"]);
        ip(&["route", "del", "blackhole", &self.whole(number), "metric", "4000"]);
    }

    fn whole(&self, number: u8) -> String {
        format!("{}/24", self.v4(number, 0))
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for end in &self.near {
            let _ = Command::new("ip").args(["link", "del", end]).stderr(Stdio::null()).status();
        }
        for number in 0..self.near.len() as u8 {
            let route = ["route", "del", "blackhole", &self.whole(number)];
            let _ = Command::new("ip").args(route).stderr(Stdio::null()).status();
        }
        for space in &self.spaces {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

fn in_space(space: Option<&str>, words: &[&str]) {
    match space {
        Some(space) => ip(&[&["-n", space], words].concat()),
        None => ip(words),
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A connection that comes from this address.
pub async fn connect_by(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    socket.connect(to).await.unwrap_or_else(|error| panic!("{source} to {to}: {error}"))
}
