//! From an accepted connection to one with both ends: who it is, what it asks for, where it goes.
//!
//! Everything here has a deadline and a bound, because nothing is known yet about who is there. What the client has said
//! so far is handed on byte for byte. Whether a PROXY header comes first is settled by who connects and by nothing else:
//! a trusted peer must send one, anybody else cannot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client_hello::{self, Hello};
use super::targets::{Held, Target};
use super::{L4App, Opened, connect, route};
use crate::config::{Config, L4Destination, L4Listener, ProxyOut};
use crate::limit::{Crowd, Reason};
use crate::proxy_protocol::{self, Peer, Said};
use crate::relay::End;
use crate::stream::Stream;

/// Bytes to read at once; a ClientHello fits.
const PIECE: usize = 2048;
/// A TLS alert: fatal, unrecognized_name.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// How long what the client still sends is thrown away, so that it gets to read the alert.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// The two ends of the client's connection.
#[derive(Clone, Copy, Debug)]
struct Ends {
    client: Option<SocketAddr>,
    /// What the client has connected to.
    own: Option<SocketAddr>,
    /// There is no client: the proxy speaks for itself.
    is_proxy: bool,
}

/// What becomes of a connection.
#[allow(clippy::large_enum_variant)] // moved once for each connection; a box would cost each an allocation
pub enum Opening {
    HandedOn(Box<Opened>),
    /// TLS ends here. Nothing of what the client has said is missing in the stream; who it is, is known already.
    Here(Stream, Peer, Option<Hello>),
}

/// Reads, decides, connects. `None`: the connection is closed, counted, and logged if somebody should know.
pub async fn open(app: &Arc<L4App>, mut stream: Stream) -> Option<Opening> {
    if app.shared.process.is_stopping() {
        return None;
    }
    let config = app.shared.config.load_full();
    let listener = app.listener(&config);
    let Some(place) = app.take_place(listener.connections) else {
        app.refuse("connections");
        app.shared.limiter.tell(Reason::AllConnections, None, None);
        return None;
    };
    let since = Instant::now();
    let socket = Ends { client: Some(stream.peer()), own: stream.own().ok(), is_proxy: false };
    let mut bytes = Vec::new();
    let heard = timeout(listener.hello_timeout, async {
        let ends = read_ends(&mut stream, &mut bytes, socket, listener, &config).await?;
        let hello = match listener.routes.is_empty() {
            true => None,
            false => match read_hello(&mut stream, &mut bytes).await {
                // It is told so where TLS would have ended.
                Err(Unheard::NotTls) if listener.rest == Some(L4Destination::Https) => None,
                heard => Some(heard?),
            },
        };
        Ok::<_, Unheard>((ends, hello))
    });
    let (ends, hello) = match heard.await.unwrap_or(Err(Unheard::Silent)) {
        Ok(heard) => heard,
        Err(unheard) => {
            tell_unheard(app, &unheard, socket);
            return None;
        }
    };
    let client = ends.client.map(|client| client.ip());
    let counted = app.shared.limiter.connect(client, &config, Instant::now());
    if counted.crowd() == Crowd::Over {
        app.refuse("connections_of_address");
        app.shared.limiter.tell(Reason::Connections, ends.client.map(|client| client.ip()), None);
        return None;
    }
    let name = hello.as_ref().and_then(|hello| hello.name.clone());
    let (targets, proxy) = match find(app, listener, hello.as_ref()) {
        Found::Targets(targets, proxy) => (targets, proxy),
        Found::Here => {
            stream.rewind(&bytes);
            let address = ends.client.unwrap_or_else(|| stream.peer());
            let peer = Peer { address, is_proxys_own: ends.is_proxy };
            return Some(Opening::Here(stream, peer, hello));
        }
        Found::Nobody => {
            refuse_name(app, &mut stream, name.as_deref()).await;
            return None;
        }
    };
    let (mut server, held) = reach(app, listener, config.limits.dead_after, &targets).await?;
    let (client, more) = stream.into_end().ok()?;
    bytes.extend_from_slice(&more);
    let mut first = header(proxy, ends);
    let sent = bytes.len() as u64;
    first.append(&mut bytes);
    let written = timeout(listener.connect_timeout, server.write_all(&first)).await;
    if !matches!(written, Ok(Ok(()))) {
        held.failed();
        return None;
    }
    let (peer, idle) = (ends.client, listener.idle_timeout);
    let server = End::plain(server).ok()?;
    let opened = Opened { client, server, peer, name, held, idle, since, sent, _counted: counted, _place: place };
    Some(Opening::HandedOn(Box::new(opened)))
}

/// Where a connection goes.
enum Found {
    /// Equal targets, and how they are told of the client.
    Targets(Vec<Target>, ProxyOut),
    Here,
    Nobody,
}

/// Why nothing is known of what the client wants.
enum Unheard {
    /// It went away.
    Gone,
    /// It took too long.
    Silent,
    NotTls,
    Header(proxy_protocol::Fault),
}

fn tell_unheard(app: &L4App, unheard: &Unheard, socket: Ends) {
    match unheard {
        Unheard::Gone => app.refuse("gone"),
        Unheard::Silent => app.refuse("timeout"),
        Unheard::NotTls => app.refuse("not_tls"),
        Unheard::Header(fault) => {
            app.refuse("proxy_header");
            let peer = socket.client.map_or_else(|| "-".to_owned(), |peer| peer.ip().to_canonical().to_string());
            if app.told.may_tell(&peer) {
                warn!(listener = app.started.name.as_str(), proxy = peer.as_str(), error:% = fault;
                    "connection of a trusted proxy closed; it must send PROXY headers here");
            }
        }
    }
}

/// Adds what comes to `bytes`.
async fn more(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), Unheard> {
    bytes.reserve(PIECE);
    match stream.read_buf(bytes).await {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(Unheard::Gone),
    }
}

/// Who is there, by the PROXY header if there has to be one, which is taken out of `bytes`.
async fn read_ends(
    stream: &mut Stream,
    bytes: &mut Vec<u8>,
    socket: Ends,
    listener: &L4Listener,
    config: &Config,
) -> Result<Ends, Unheard> {
    let is_trusted = |peer: SocketAddr| {
        let ip = peer.ip().to_canonical();
        config.listen.trusted_proxies.iter().any(|net| net.contains(&ip))
    };
    if !listener.proxy_protocol_in || !socket.client.is_some_and(is_trusted) {
        return Ok(socket);
    }
    loop {
        match proxy_protocol::read(bytes) {
            proxy_protocol::Reading::NeedsMore => more(stream, bytes).await?,
            proxy_protocol::Reading::Wrong(fault) => return Err(Unheard::Header(fault)),
            proxy_protocol::Reading::Complete { length, said } => {
                bytes.drain(..length);
                return Ok(match said {
                    Said::Proxied { source, destination } => {
                        Ends { client: Some(source), own: Some(destination), is_proxy: false }
                    }
                    Said::Local | Said::Unknown => Ends { is_proxy: true, ..socket },
                });
            }
        }
    }
}

async fn read_hello(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<Hello, Unheard> {
    let mut reader = client_hello::Reader::default();
    loop {
        match reader.read(bytes) {
            client_hello::Reading::NeedsMore => more(stream, bytes).await?,
            client_hello::Reading::Hello(hello) => return Ok(hello),
            client_hello::Reading::NotTls => return Err(Unheard::NotTls),
        }
    }
}

fn find(app: &L4App, listener: &L4Listener, hello: Option<&Hello>) -> Found {
    let servers = app.known.servers(&app.shared.placer);
    let picked = match (hello, &listener.rest) {
        (Some(hello), _) => route::pick(listener, hello, |name| servers.by_host(name).is_some()),
        (None, Some(to)) => Some(route::Picked { to, proxy: listener.proxy_protocol_out, is_single: false }),
        (None, None) => None,
    };
    let Some(picked) = picked else { return Found::Nobody };
    let targets = match picked.to {
        L4Destination::Targets(targets) => {
            let of_all = if picked.is_single { 1 } else { targets.len() };
            targets[..of_all].iter().map(Target::of).collect()
        }
        L4Destination::Server { name, port } => match servers.by_name(name) {
            Some(place) => vec![place.target(*port)],
            None => {
                app.refuse("no_server");
                if app.told.may_tell(name) {
                    warn!(listener = app.started.name.as_str(), server = name.as_str();
                        "no such server; add it with `usher server add`, or change the listener");
                }
                Vec::new()
            }
        },
        L4Destination::NamedServer { port } => {
            let named = hello.and_then(|hello| hello.name.as_deref()).and_then(|host| servers.by_host(host));
            let Some(server) = named else { return Found::Nobody };
            vec![server.target(*port)]
        }
        L4Destination::Https => return Found::Here,
    };
    Found::Targets(targets, picked.proxy)
}

/// Tells the client, in TLS, that nobody here has that name.
async fn refuse_name(app: &L4App, stream: &mut Stream, name: Option<&str>) {
    app.refuse(if name.is_some() { "unknown_name" } else { "no_name" });
    let shown = name.unwrap_or("-");
    if app.told.may_tell(shown) {
        info!(listener = app.started.name.as_str(), name = shown;
            "no route for this name; further connections are only counted for a minute");
    }
    let goodbye = async {
        stream.write_all(&UNRECOGNIZED_NAME).await?;
        AsyncWriteExt::shutdown(stream).await?;
        let mut thrown = [0; 2048];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut thrown).await? {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(LINGER, goodbye).await;
}

/// Connects to the best of `targets`; to the next if that fails, since nothing has been sent yet.
async fn reach(
    app: &L4App,
    listener: &L4Listener,
    dead_after: Duration,
    targets: &[Target],
) -> Option<(TcpStream, Held)> {
    let mut tried = Vec::new();
    while let Some((index, held)) = app.targets.choose(targets, &tried) {
        let target = &targets[index];
        let error = match connect::connect(target, listener.connect_timeout, dead_after, &listener.listen).await {
            Ok(server) => {
                held.worked();
                return Some((server, held));
            }
            Err(error) => error,
        };
        held.failed();
        tried.push(index);
        if app.told.may_tell(&target.label) {
            warn!(listener = app.started.name.as_str(), server = target.label.as_str(), host = target.host.as_str(),
                port = target.port, error:% = error;
                "target cannot be reached; further failures are only counted for a minute");
        }
    }
    None
}

/// A target that awaits a header gets one, whoever the client is.
fn header(proxy: ProxyOut, ends: Ends) -> Vec<u8> {
    match ends.own {
        Some(own) => proxy_protocol::write(proxy, ends.client, own),
        None => proxy_protocol::write(proxy, None, SocketAddr::from(([0, 0, 0, 0], 0))),
    }
}
