//! Which route takes a connection: the one that names it most exactly, whatever the order in the file.
//!
//! An exact name is before a known server's, that before a pattern (the longest first), and last comes a route for any
//! name; of two that are equal in this, one that asks for a protocol. TURN is never spread over several targets: its
//! credentials are for one server (bbb-http-surface.md section 4.3).

use super::client_hello::Hello;
use crate::config::{L4Destination, L4Listener, L4Name, L4Names, L4Route, ProxyOut};

/// ALPN of TURN over TLS (RFC 7443).
const TURN: &[u8] = b"stun.turn";

/// What a connection gets.
pub struct Picked<'a> {
    pub to: &'a L4Destination,
    pub proxy: ProxyOut,
    /// Of several targets only the first one.
    pub is_single: bool,
}

/// `None`: nothing here takes it.
pub fn pick<'a>(listener: &'a L4Listener, hello: &Hello, is_server: impl Fn(&str) -> bool) -> Option<Picked<'a>> {
    let name = hello.name.as_deref();
    let is_single = hello.offers(TURN);
    let mut best: Option<(Fit, &L4Route)> = None;
    for route in &listener.routes {
        let Some(fit) = fit(route, name, hello, &is_server) else { continue };
        if best.as_ref().is_none_or(|(other, _)| fit > *other) {
            best = Some((fit, route));
        }
    }
    let own = listener.proxy_protocol_out;
    match best {
        Some((_, route)) => Some(Picked { to: &route.to, proxy: route.proxy_protocol_out.unwrap_or(own), is_single }),
        None => listener.rest.as_ref().map(|to| Picked { to, proxy: own, is_single }),
    }
}

/// How exactly a route names a connection; the greater the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    kind: Kind,
    /// Of the pattern.
    length: usize,
    asks_for_protocol: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Any,
    Pattern,
    Server,
    Exact,
}

fn fit(route: &L4Route, name: Option<&str>, hello: &Hello, is_server: &impl Fn(&str) -> bool) -> Option<Fit> {
    let asks_for_protocol = !route.alpn.is_empty();
    if asks_for_protocol && !route.alpn.iter().any(|protocol| hello.offers(protocol.as_bytes())) {
        return None;
    }
    let (kind, length) = match &route.names {
        L4Names::Any => (Kind::Any, 0),
        L4Names::Servers => is_server(name?).then_some((Kind::Server, 0))?,
        L4Names::Listed(patterns) => patterns.iter().filter_map(|pattern| matched(pattern, name?)).max()?,
    };
    Some(Fit { kind, length, asks_for_protocol })
}

fn matched(pattern: &L4Name, name: &str) -> Option<(Kind, usize)> {
    match pattern {
        L4Name::Exact(exact) => (exact == name).then_some((Kind::Exact, 0)),
        L4Name::Below(parent) => {
            let label = name.strip_suffix(parent.as_str())?;
            (label.len() > 1 && label.ends_with('.')).then_some((Kind::Pattern, parent.len()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::client_hello::{Reader, Reading};
    use super::*;
    use crate::config::Config;

    /// What a client says that asks for `name` and offers `alpn`.
    fn hello(name: &str, alpn: &[&str]) -> Hello {
        let list = |content: &[u8]| [&(content.len() as u16).to_be_bytes()[..], content].concat();
        let mut extensions = Vec::new();
        if !name.is_empty() {
            let entry = [&[0][..], &list(name.as_bytes())].concat();
            extensions.extend([&[0, 0][..], &list(&list(&entry))].concat());
        }
        if !alpn.is_empty() {
            let names: Vec<u8> = alpn.iter().flat_map(|one| [&[one.len() as u8], one.as_bytes()].concat()).collect();
            extensions.extend([&[0, 16][..], &list(&list(&names))].concat());
        }
        let body = [&[3, 3][..], &[0; 32], &[0, 0, 2, 0x13, 1, 1, 0], &list(&extensions)].concat();
        let message = [&[1, 0][..], &list(&body)].concat();
        match Reader::default().read(&[&[22, 3, 1][..], &list(&message)].concat()) {
            Reading::Hello(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    /// The port of the target that is picked, or the server's name; and whether it is the only one.
    fn picked(listener: &L4Listener, name: &str, alpn: &[&str]) -> Option<(String, bool)> {
        let hello = hello(name, alpn);
        let picked = pick(listener, &hello, |name| name.ends_with("server.example.org"))?;
        let to = match picked.to {
            L4Destination::Targets(targets) => targets[0].port.to_string(),
            L4Destination::Server { name, .. } => name.clone(),
            L4Destination::NamedServer { .. } => "named".to_owned(),
            L4Destination::Https => "https".to_owned(),
        };
        Some((to, picked.is_single))
    }

    fn listener(rest: &str) -> L4Listener {
        let route = |sni: &str, alpn: &str, port: u16| {
            format!("[[l4.listener.route]]\nsni = [\"{sni}\"]\nalpn = [{alpn}]\ntarget = \"a:{port}\"\n")
        };
        let text = format!(
            "[[l4.listener]]\nlisten = [\"0.0.0.0:443\"]\n{rest}\n{}{}{}{}\
             [[l4.listener.route]]\nsni = \"server\"\n[[l4.listener.route]]\nalpn = [\"special\"]\nserver = \"any\"\n",
            route("*.example.org", "", 1),
            route("*.b.example.org", "", 2),
            route("x.b.example.org", "", 3),
            route("x.b.example.org", "\"h2\"", 4),
        );
        Config::parse(&text, std::iter::empty()).unwrap().l4.listeners.remove(0)
    }

    #[test]
    fn the_most_exact_name_wins() {
        let listener = listener("");
        let to = |name: &str, alpn: &[&str]| picked(&listener, name, alpn).map(|(to, _)| to);
        assert_eq!(to("a.example.org", &[]).as_deref(), Some("1"));
        assert_eq!(to("A.EXAMPLE.ORG", &["h2"]).as_deref(), Some("1"));
        assert_eq!(to("y.b.example.org", &[]).as_deref(), Some("2"));
        assert_eq!(to("c.y.b.example.org", &[]).as_deref(), Some("2"));
        assert_eq!(to("x.b.example.org", &["http/1.1"]).as_deref(), Some("3"));
        assert_eq!(to("x.b.example.org", &["http/1.1", "h2"]).as_deref(), Some("4"));
        assert_eq!(to("server.example.org", &[]).as_deref(), Some("named"));
        assert_eq!(to("a.example.org", &["special"]).as_deref(), Some("1"));
        assert_eq!(to("", &["special"]).as_deref(), Some("any"));
        for name in ["example.org", "badexample.org", "other", ""] {
            assert_eq!(to(name, &["h2"]), None, "{name}");
        }
    }

    #[test]
    fn what_no_route_takes_goes_to_the_rest() {
        let listener = listener("target = [\"a:7\", \"a:8\"]");
        assert_eq!(picked(&listener, "other", &[]), Some(("7".to_owned(), false)));
        assert_eq!(picked(&listener, "", &[]), Some(("7".to_owned(), false)));
    }

    #[test]
    fn turn_is_not_spread() {
        let listener = listener("target = [\"a:7\", \"a:8\"]");
        assert_eq!(picked(&listener, "other", &["stun.turn"]), Some(("7".to_owned(), true)));
        assert_eq!(picked(&listener, "other", &["stun.nat-discovery"]), Some(("7".to_owned(), false)));
    }
}
