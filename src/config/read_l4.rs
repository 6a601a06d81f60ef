//! `[[l4.listener]]` from keys to types. Its tables stand in lists, which the flat table of keys cannot hold, so they are
//! read here, with the same rules: every problem with its key and line, and no key without a meaning.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::defaults;
use super::l4::{L4, L4Destination, L4Listener, L4Name, L4Names, L4Route, L4Target, ProxyOut};
use super::problem::Problem;
use super::raw::{Entry, Source, Value};
use super::resolve::problem;
use super::value;

/// The path of the list.
pub const PATH: &str = "l4.listener";
/// Most listeners, and most routes of one: each connection looks at all of them.
const MOST: usize = 256;
/// Highest weight of a target.
const HEAVIEST: u32 = 1000;

/// The target that is this Usher itself.
const HTTPS: &str = "https";
const PROXY_OUT: [(&str, ProxyOut); 3] = [("off", ProxyOut::Off), ("v1", ProxyOut::V1), ("v2", ProxyOut::V2)];
const LISTENER_KEYS: &str = "name, listen, route, target, server, port, proxy_protocol_in, proxy_protocol_out, \
                             connect_timeout, idle_timeout, hello_timeout and connections";
const ROUTE_KEYS: &str = "sni, alpn, target, server, port and proxy_protocol_out";

/// All listeners; `lines` are the places of the keys inside the list.
pub fn read(entry: Entry, lines: &BTreeMap<String, usize>, problems: &mut Vec<Problem>) -> L4 {
    let mut l4 = L4::default();
    let Value::List(listeners) = entry.value else {
        problems.push(problem(PATH, &entry.source, "write a section [[l4.listener]] for each listener".to_owned()));
        return l4;
    };
    let is_few = listeners.len() <= MOST;
    if !is_few {
        problems.push(problem(PATH, &entry.source, format!("write at most {MOST} listeners")));
    }
    for (index, listener) in listeners.into_iter().take(MOST).enumerate() {
        let path = format!("{PATH}[{}]", index + 1);
        let Some(mut table) = Table::open(path, listener, &entry.source, lines, problems) else { continue };
        l4.listeners.extend(table.listener());
        table.close(LISTENER_KEYS);
    }
    let mut names = HashSet::new();
    for (index, listener) in l4.listeners.iter().enumerate() {
        if !names.insert(&listener.name) {
            let path = format!("{PATH}[{}].name", index + 1);
            let source = lines.get(&path).map_or(entry.source.clone(), |line| Source::File(*line));
            problems.push(problem(&path, &source, format!("\"{}\" is another listener's name too", listener.name)));
        }
    }
    l4
}

/// The keys of one table, taken out one by one.
struct Table<'a> {
    path: String,
    entries: BTreeMap<String, Value>,
    /// Where the whole list begins, for what has no line of its own.
    source: &'a Source,
    lines: &'a BTreeMap<String, usize>,
    problems: &'a mut Vec<Problem>,
    is_good: bool,
}

impl<'a> Table<'a> {
    fn open(
        path: String,
        value: Value,
        source: &'a Source,
        lines: &'a BTreeMap<String, usize>,
        problems: &'a mut Vec<Problem>,
    ) -> Option<Self> {
        let mut table = Self { path, entries: BTreeMap::new(), source, lines, problems, is_good: true };
        match value {
            Value::Table(entries) => {
                table.entries = entries;
                Some(table)
            }
            other => {
                table.wrong("", format!("write a section with keys, not {}", other.kind()));
                None
            }
        }
    }

    fn wrong(&mut self, key: &str, text: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        let line = self.lines.get(&path).or_else(|| self.lines.get(&self.path));
        let source = line.map_or_else(|| self.source.clone(), |line| Source::File(*line));
        self.problems.push(problem(&path, &source, text.into()));
        self.is_good = false;
    }

    /// The value of a key, if it is there and good.
    fn take<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.entries.remove(key)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(text) => {
                self.wrong(key, text);
                None
            }
        }
    }

    fn time(&mut self, key: &str, default: Duration) -> Duration {
        let time = self.take(key, value::duration).unwrap_or(default);
        if time < Duration::from_millis(1) || time > super::check::LONGEST {
            self.wrong(key, "write a duration between \"1ms\" and \"30days\"");
        }
        time
    }

    fn listener(&mut self) -> Option<L4Listener> {
        let listen = self.take("listen", |found| value::list(found, value::address)).unwrap_or_default();
        if listen.is_empty() && self.is_good {
            self.wrong("listen", "write at least one address such as [\"0.0.0.0:443\"]");
        }
        let name = self.take("name", label);
        let name = name.or_else(|| listen.first().map(ToString::to_string));
        let routes = self.routes();
        let rest = self.destination();
        if routes.is_empty() && rest.is_none() && self.is_good {
            self.wrong("", "says nowhere to go; write a target, a server, or sections [[l4.listener.route]]");
        }
        let proxy_protocol_in = self.take("proxy_protocol_in", value::flag).unwrap_or_default();
        let proxy_protocol_out =
            self.take("proxy_protocol_out", |found| value::word(found, &PROXY_OUT)).unwrap_or_default();
        let connect_timeout = self.time("connect_timeout", defaults::L4_CONNECT_TIMEOUT);
        let idle_timeout = self.time("idle_timeout", defaults::L4_IDLE_TIMEOUT);
        let hello_timeout = self.time("hello_timeout", defaults::L4_HELLO_TIMEOUT);
        let connections = self.take("connections", value::whole).unwrap_or(defaults::L4_CONNECTIONS);
        if !(1..=defaults::MAX_COUNT).contains(&connections) {
            self.wrong("connections", format!("write a number between 1 and {}", defaults::MAX_COUNT));
        }
        self.is_good.then_some(L4Listener {
            name: name?,
            listen,
            routes,
            rest,
            proxy_protocol_in,
            proxy_protocol_out,
            connect_timeout,
            idle_timeout,
            hello_timeout,
            connections,
        })
    }

    fn routes(&mut self) -> Vec<L4Route> {
        let routes = match self.entries.remove("route") {
            None => return Vec::new(),
            Some(Value::List(routes)) if routes.len() <= MOST => routes,
            Some(_) => {
                self.wrong("route", format!("write sections [[l4.listener.route]], at most {MOST}"));
                return Vec::new();
            }
        };
        let mut read = Vec::new();
        let mut seen = HashSet::new();
        for (index, route) in routes.into_iter().enumerate() {
            let path = format!("{}.route[{}]", self.path, index + 1);
            let problems = &mut *self.problems;
            let Some(mut table) = Table::open(path, route, self.source, self.lines, problems) else {
                self.is_good = false;
                continue;
            };
            let route = table.route();
            table.close(ROUTE_KEYS);
            if let Some(route) = &route {
                for name in matched(route) {
                    if !seen.insert((name.clone(), route.alpn.clone())) {
                        table.wrong("sni", format!("{name} is in an earlier route too, which takes all of it"));
                    }
                }
            }
            self.is_good &= table.is_good;
            read.extend(route);
        }
        read
    }

    fn route(&mut self) -> Option<L4Route> {
        let names = match self.entries.get("sni") {
            Some(Value::Text(word)) if word == "server" => {
                self.entries.remove("sni");
                L4Names::Servers
            }
            Some(_) => L4Names::Listed(self.take("sni", |found| value::list(found, name)).unwrap_or_default()),
            None => L4Names::Any,
        };
        let alpn = self.take("alpn", |found| value::list(found, protocol)).unwrap_or_default();
        let is_empty = names == L4Names::Listed(Vec::new()) || (names == L4Names::Any && alpn.is_empty());
        if is_empty && self.is_good {
            self.wrong("", "has neither sni nor alpn; to take all other connections, write its target at the listener");
        }
        let mut to = self.destination();
        if names == L4Names::Servers && self.is_good {
            if to.is_some() {
                self.wrong("sni", "leads to the named server itself; remove target and server");
            }
            to = Some(L4Destination::NamedServer { port: self.port() });
        }
        if to.is_none() && self.is_good {
            self.wrong("", "says nowhere to go; write a target or a server");
        }
        let proxy_protocol_out = self.take("proxy_protocol_out", |found| value::word(found, &PROXY_OUT));
        let to = to.filter(|_| self.is_good)?;
        Some(L4Route { names, alpn, to, proxy_protocol_out })
    }

    fn destination(&mut self) -> Option<L4Destination> {
        if self.entries.get("target") == Some(&Value::Text(HTTPS.to_owned())) && !self.entries.contains_key("server") {
            self.entries.remove("target");
            return Some(L4Destination::Https);
        }
        let targets = self.take("target", targets);
        let server = self.take("server", label);
        match (targets, server) {
            (Some(_), Some(_)) => {
                self.wrong("server", "cannot stand beside target; remove one");
                None
            }
            (Some(targets), None) => Some(L4Destination::Targets(targets)),
            (None, Some(name)) => Some(L4Destination::Server { name, port: self.port() }),
            (None, None) => None,
        }
    }

    /// Of a server.
    fn port(&mut self) -> u16 {
        let port = self.take("port", value::whole).unwrap_or(443);
        if port == 0 {
            self.wrong("port", "write a port between 1 and 65535");
        }
        port
    }

    /// What is left is unknown.
    fn close(&mut self, known: &str) {
        for key in std::mem::take(&mut self.entries).into_keys() {
            match key.as_str() {
                "port" => self.wrong("port", "belongs to a server; a target has its port behind the colon"),
                _ => self.wrong(&key, format!("is no known key; here are {known}")),
            }
        }
    }
}

/// What a route takes, one by one, in words.
fn matched(route: &L4Route) -> Vec<String> {
    match &route.names {
        L4Names::Any => vec!["this protocol".to_owned()],
        L4Names::Servers => vec!["\"server\"".to_owned()],
        L4Names::Listed(names) => names.iter().map(ToString::to_string).collect(),
    }
}

/// A name for metrics: what a server or a listener may be called.
fn label(value: &Value) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match value {
        Value::Text(text) if (1..=63).contains(&text.len()) && text.bytes().all(is_plain) => Ok(text.clone()),
        _ => Err("write a name of at most 63 letters, digits, \"-\", \".\" or \"_\"".to_owned()),
    }
}

/// `bbb1.example.org` or `*.example.org`.
fn name(text: &str) -> Result<L4Name, String> {
    let lower = text.to_ascii_lowercase();
    let (bare, is_pattern) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |rest| (rest, true));
    if !is_host(bare) || bare.parse::<std::net::Ipv4Addr>().is_ok() {
        let text = format!("\"{text}\" is no name; write one such as \"bbb1.example.org\" or \"*.example.org\"");
        return Err(text);
    }
    Ok(if is_pattern { L4Name::Below(bare.to_owned()) } else { L4Name::Exact(bare.to_owned()) })
}

/// A host's name, or an IPv4 address.
fn is_host(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() <= 253 && text.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_letter))
}

fn protocol(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        _ => Err("write protocols such as \"stun.turn\" or \"h2\"".to_owned()),
    }
}

/// `"host:port"`, or a list of these and of `{ to = "host:port", weight = 2 }`.
fn targets(value: &Value) -> Result<Vec<L4Target>, String> {
    let targets = match value {
        Value::Text(text) => vec![target(text, 1)?],
        Value::List(items) => items.iter().map(weighted).collect::<Result<Vec<_>, _>>()?,
        other => {
            return Err(format!("write a target such as \"10.0.0.5:443\", or a list of them, not {}", other.kind()));
        }
    };
    let are_unique = targets
        .iter()
        .enumerate()
        .all(|(index, one)| targets[..index].iter().all(|other| (&one.host, one.port) != (&other.host, other.port)));
    match targets.len() {
        0 => Err("write at least one target such as \"10.0.0.5:443\"".to_owned()),
        1..=MOST if are_unique => Ok(targets),
        1..=MOST => Err("write each target once; a weight makes it count for more".to_owned()),
        _ => Err(format!("write at most {MOST} targets")),
    }
}

fn weighted(item: &Value) -> Result<L4Target, String> {
    let wrong = || "write targets as \"host:port\" or { to = \"host:port\", weight = 2 }".to_owned();
    match item {
        Value::Text(text) => target(text, 1),
        Value::Table(keys) => {
            let weight = keys.get("weight").map_or(Ok(1), value::whole)?;
            let Some(Value::Text(to)) = keys.get("to") else { return Err(wrong()) };
            if keys.keys().any(|key| key != "to" && key != "weight") {
                return Err(wrong());
            }
            if !(1..=HEAVIEST).contains(&weight) {
                return Err(format!("write a weight between 1 and {HEAVIEST}"));
            }
            target(to, weight)
        }
        _ => Err(wrong()),
    }
}

fn target(text: &str, weight: u32) -> Result<L4Target, String> {
    let wrong = || {
        format!(
            "\"{text}\" is no target; write a host and a port such as \"10.0.0.5:443\" or \"[fd00::5]:443\", or \"https\" alone"
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(bracketed) => {
            let address = bracketed.and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok()).ok_or_else(wrong)?;
            address.to_string()
        }
        None if is_host(host) => host.to_ascii_lowercase(),
        None => return Err(wrong()),
    };
    Ok(L4Target { host, port, weight })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Result<L4, Vec<String>> {
        let config = Config::parse(text, std::iter::empty());
        config.map(|config| config.l4).map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_full_listener() {
        let l4 = parse(
            "[[l4.listener]]\nname = \"edge\"\nlisten = [\"0.0.0.0:443\", \"[::]:443\"]\nproxy_protocol_in = true\n\
             idle_timeout = \"1h\"\ntarget = \"127.0.0.1:8443\"\n\
             [[l4.listener.route]]\nsni = \"server\"\n\
             [[l4.listener.route]]\nsni = [\"A.example.org\", \"*.b.example.org\"]\nalpn = [\"h2\"]\n\
             target = [\"[FD00::1]:443\", { to = \"x.example.org:1\", weight = 3 }]\nproxy_protocol_out = \"v2\"\n\
             [[l4.listener.route]]\nsni = [\"c\"]\nserver = \"bbb1\"\nport = 8443\n\
             [[l4.listener]]\nlisten = [\"0.0.0.0:3478\"]\nserver = \"bbb1\"\nport = 3478\n",
        )
        .unwrap();
        let [edge, turn] = &l4.listeners[..] else { panic!("{l4:?}") };
        assert_eq!((edge.name.as_str(), turn.name.as_str()), ("edge", "0.0.0.0:3478"));
        assert_eq!(turn.rest, Some(L4Destination::Server { name: "bbb1".into(), port: 3478 }));
        assert_eq!(turn.idle_timeout, defaults::L4_IDLE_TIMEOUT);
        assert_eq!((edge.idle_timeout, edge.proxy_protocol_in), (Duration::from_secs(3600), true));
        let [servers, listed, one] = &edge.routes[..] else { panic!("{edge:?}") };
        assert_eq!((&servers.names, &servers.to), (&L4Names::Servers, &L4Destination::NamedServer { port: 443 }));
        let names = [L4Name::Exact("a.example.org".into()), L4Name::Below("b.example.org".into())];
        assert_eq!(listed.names, L4Names::Listed(names.into()));
        assert_eq!(listed.proxy_protocol_out, Some(ProxyOut::V2));
        let targets = [("fd00::1", 443, 1), ("x.example.org", 1, 3)].map(|(host, port, weight)| L4Target {
            host: host.to_owned(),
            port,
            weight,
        });
        assert_eq!(listed.to, L4Destination::Targets(targets.into()));
        assert_eq!(one.to, L4Destination::Server { name: "bbb1".into(), port: 8443 });
        assert!(l4.servers().eq(["bbb1", "bbb1"]));
    }

    #[test]
    fn the_examples_of_the_documentation_are_good() {
        let page = include_str!("../../docs/layer-4.md");
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let whole: Vec<&str> = blocks.filter(|block| block.contains("listen = ")).collect();
        assert_eq!(whole.len(), 4);
        for example in whole {
            assert_eq!(parse(example).map(|l4| l4.listeners.len()), Ok(1), "{example}");
        }
        let shipped = include_str!("../../conf/usher.toml");
        let commented: String = shipped
            .lines()
            .skip_while(|line| *line != "# [[l4.listener]]")
            .map_while(|line| Some(format!("{}\n", line.strip_prefix("# ")?)))
            .collect();
        assert_eq!(parse(&commented).map(|l4| l4.listeners[0].routes.len()), Ok(1), "{commented}");
    }

    #[test]
    fn problems_have_key_and_line() {
        let listener = "[[l4.listener]]\nlisten = [\"0.0.0.0:443\"]\n";
        let cases = [
            ("target = \"a\"", "line 3: l4.listener[1].target: \"a\" is no target"),
            ("target = \"a:0\"", "line 3: l4.listener[1].target: \"a:0\" is no target"),
            ("target = \"::1:5\"", "line 3: l4.listener[1].target: \"::1:5\" is no target"),
            ("target = []", "line 3: l4.listener[1].target: write at least one"),
            ("target = [\"a:1\", \"A:1\"]", "line 3: l4.listener[1].target: write each target once"),
            ("target = [{ to = \"a:1\", weight = 0 }]", "line 3: l4.listener[1].target: write a weight"),
            ("target = [{ to = \"a:1\", wieght = 2 }]", "line 3: l4.listener[1].target: write targets as"),
            ("target = \"a:1\"\nserver = \"b\"", "line 4: l4.listener[1].server: cannot stand beside target"),
            ("target = \"a:1\"\nport = 2", "line 4: l4.listener[1].port: belongs to a server"),
            ("target = \"a:1\"\nlisten_on = 2", "line 4: l4.listener[1].listen_on: is no known key"),
            ("target = \"a:1\"\nconnections = 0", "line 4: l4.listener[1].connections: write a number"),
            ("target = \"a:1\"\nidle_timeout = \"0s\"", "line 4: l4.listener[1].idle_timeout: write a duration"),
            ("target = \"a:1\"\nname = \"a b\"", "line 4: l4.listener[1].name: write a name"),
            ("target = \"a:1\"\nproxy_protocol_out = \"v3\"", "line 4: l4.listener[1].proxy_protocol_out: \"v3\""),
            ("", "line 1: l4.listener[1]: says nowhere to go"),
            ("route = 5\ntarget = \"a:1\"", "line 3: l4.listener[1].route: write sections"),
            ("[[l4.listener.route]]\ntarget = \"a:1\"", "line 3: l4.listener[1].route[1]: has neither sni nor alpn"),
            ("[[l4.listener.route]]\nsni = [\"a\"]", "line 3: l4.listener[1].route[1]: says nowhere to go"),
            (
                "[[l4.listener.route]]\nsni = [\"a*.b\"]\ntarget = \"a:1\"",
                "line 4: l4.listener[1].route[1].sni: \"a*.b\"",
            ),
            ("[[l4.listener.route]]\nsni = [\"1.2.3.4\"]\ntarget = \"a:1\"", "line 4: l4.listener[1].route[1].sni:"),
            (
                "[[l4.listener.route]]\nsni = \"server\"\ntarget = \"a:1\"",
                "line 4: l4.listener[1].route[1].sni: leads to",
            ),
            (
                "[[l4.listener.route]]\nsni = [\"a\", \"A\"]\ntarget = \"a:1\"",
                "line 4: l4.listener[1].route[1].sni: a is in",
            ),
            ("[[l4.listener.route]]\nalpn = [\"\"]\ntarget = \"a:1\"", "line 4: l4.listener[1].route[1].alpn: write"),
        ];
        for (rest, expected) in cases {
            let told = parse(&format!("{listener}{rest}\n")).unwrap_err();
            assert!(told.len() == 1 && told[0].starts_with(expected), "{rest}: {told:?}");
        }
        let told = parse("[[l4.listener]]\n").unwrap_err();
        assert!(told.len() == 1 && told[0].starts_with("line 1: l4.listener[1].listen: write"), "{told:?}");
        for text in ["[l4]\nlistener = 5", "[l4]\nlisteners = 5", "l4 = 5", "[l4.listener]\nlisten = []"] {
            let told = parse(text).unwrap_err();
            assert!(told.len() == 1 && told[0].contains("[[l4.listener]]"), "{text}: {told:?}");
        }
        assert_eq!(parse("[l4]\nlistener = []\n").unwrap(), L4::default());
    }

    #[test]
    fn listeners_do_not_get_into_each_others_way() {
        let two = |one: &str, other: &str| {
            parse(&format!("[[l4.listener]]\ntarget = \"a:1\"\n{one}\n[[l4.listener]]\ntarget = \"a:1\"\n{other}\n"))
        };
        assert!(two("listen = [\"0.0.0.0:1\"]", "listen = [\"0.0.0.0:2\"]").is_ok());
        let told = two("listen = [\"0.0.0.0:1\"]", "listen = [\"0.0.0.0:1\"]\nname = \"x\"").unwrap_err();
        assert!(told.len() == 1 && told[0].contains("0.0.0.0:1 is listened on twice"), "{told:?}");
        let told = two("listen = [\"0.0.0.0:1\"]\nname = \"x\"", "name = \"x\"\nlisten = [\"0.0.0.0:2\"]").unwrap_err();
        assert!(told.len() == 1 && told[0].starts_with("line 7: l4.listener[2].name"), "{told:?}");
        let told = two("listen = [\"127.0.0.1:8080\"]", "listen = [\"127.0.0.1:8081\"]").unwrap_err();
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
