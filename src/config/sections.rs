//! The sections of the configuration as typed values, all but `[load]`: what the rest of Usher reads.
//!
//! Everything here has been checked; nobody behind this module looks at text, at files or at the environment. Field
//! names are the key names of the file, so `config.health.failover_after` is `health.failover_after`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::bbb::{Algorithm, Generation};

/// `[listen]`: the public side.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Plain HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// HTTPS listeners; with `http` at least one.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP only says where HTTPS is, except for probes and certificate authorities.
    pub redirect_to_https: bool,
    /// Networks whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Trusted proxies begin each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// How browsers and BBB servers reach us: scheme and host, no path.
    pub public_url: Url,
}

impl Listen {
    /// `public_url` as text without a trailing slash, ready to have a path appended.
    pub fn public_base(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }
}

/// `[admin]`: metrics, liveness, readiness.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// `None` when switched off.
    pub listen: Option<SocketAddr>,
    /// HTTPS with this certificate instead of HTTP.
    pub tls: Option<CertificateFiles>,
    /// Only clients with a certificate of this authority may ask; needs `tls`.
    pub client_ca: Option<PathBuf>,
}

/// `[tls]`: what the HTTPS listeners show.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Picked by the name that the client asks for; the first one for whoever names none, or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// Value of `Strict-Transport-Security` on answers over HTTPS.
    pub hsts: Option<String>,
    /// The folder of an ACME client's HTTP-01 tokens: what certbot calls webroot.
    pub challenge_webroot: Option<PathBuf>,
    /// PEM file of authorities whose BBB servers are believed, beside those that this machine knows.
    pub server_ca: Option<PathBuf>,
}

/// A certificate with its chain, and its key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `[edge]`: how browsers reach the server of their meeting.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    pub mode: EdgeMode,
    pub client_prefix: ClientPrefix,
    /// Longest connecting to a server may take, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence of a server from which an answer, or more of one, is due.
    pub read_timeout: Duration,
    /// Longest silence of a WebSocket.
    pub tunnel_idle: Duration,
    /// Idle connections that are kept open to each server.
    pub idle_connections: usize,
    pub join_pacing: Pacing,
    /// Bytes of memory for files of client pages in path mode; 0 keeps none.
    pub asset_cache: u64,
}

/// Whether people wait for their turn to join a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    Off,
    /// Nobody waits, and metrics show who would.
    Observe,
    On,
}

/// Which way the browsers' traffic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMode {
    /// To the server itself: a join is a redirect there.
    Redirect,
    /// Through Usher, under the server's own host name.
    Host,
    /// Through Usher, under our own name and a path that begins with the server's name.
    Path,
}

impl EdgeMode {
    /// As the configuration and commands have them.
    pub const WORDS: [(&str, Self); 3] = [("redirect", Self::Redirect), ("host", Self::Host), ("path", Self::Path)];
}

/// Whether a server sees `/<server name>` in front of `/html5client` (bbb-http-surface.md section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPrefix {
    Strip,
    Keep,
}

impl ClientPrefix {
    pub const ALL: [ClientPrefix; 2] = [Self::Strip, Self::Keep];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strip => "strip",
            Self::Keep => "keep",
        }
    }

    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|prefix| prefix.as_str() == word)
    }

    /// What servers of this version (`2.7.8`, `3.0`) do: up to 2.7 they mount their client under the prefix, from 3.0 on
    /// it is plain files (section 3.2). `None` if it is no version.
    pub fn of_version(version: &str) -> Option<Self> {
        let generation = Generation::parse(version)?;
        Some(if generation < Generation::V3_0 { Self::Keep } else { Self::Strip })
    }
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    pub url: StoreUrl,
}

/// Which back end keeps servers, tenants and placements.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreUrl {
    /// A database file; made, with its directory, if missing.
    Sqlite(PathBuf),
}

/// `[api]`: limits and choices of the BBB API.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// Biggest request body of an ordinary call, bytes.
    pub max_body: u64,
    /// Biggest XML body with slides (`create`, `insertDocument`) or text track, bytes.
    pub max_slides: u64,
    /// Sum of all request bodies held in memory at once, bytes.
    pub max_buffered: u64,
    /// Most parameters in one call.
    pub max_params: usize,
    /// Longest query string, bytes.
    pub max_query: usize,
    /// Longest a call to a BBB server may take, connecting included.
    pub request_timeout: Duration,
    /// Longest a server is waited for that is asked for recordings, within `request_timeout`.
    pub recordings_timeout: Duration,
    /// Longest connecting to a BBB server may take.
    pub connect_timeout: Duration,
    /// How long a server may take for a create while another one could have it.
    pub create_attempt: Duration,
    /// Biggest answer read from a BBB server, bytes.
    pub max_answer: u64,
    /// What front ends may sign with (bbb-api.md section 2).
    pub checksum_algorithms: Vec<Algorithm>,
    /// Accept the era of BBB in which the body of a form POST is not signed.
    pub unsigned_form_bodies: bool,
    pub get_meetings: GetMeetings,
    pub is_meeting_running: IsRunning,
    pub get_meeting_info: GetMeetingInfo,
    pub when_full: WhenFull,
    /// Where a failed `join` sends the browser when the call names no `logoutURL`; `None` answers with the error itself.
    pub logout_url: Option<Url>,
}

/// Where `getMeetings` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetMeetings {
    /// The picture in memory, at most one poll old.
    Live,
    /// Every server is asked.
    Fanout,
}

/// Where `isMeetingRunning` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsRunning {
    /// The picture in memory, at most one poll old.
    Live,
    /// The meeting's server is asked.
    Ask,
}

/// Where `getMeetingInfo` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetMeetingInfo {
    /// The meeting's server is asked: people appear in it the moment they join.
    Ask,
    /// The picture in memory, at most two polls old.
    Live,
}

/// What a `create` gets when every server is predicted to be over its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The least loaded server; the placement's explanation says that it was full.
    #[default]
    Accept,
    /// An error.
    Refuse,
}

/// `[health]`: probes and polls.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Time between two probes of a server.
    pub interval: Duration,
    /// Time between two `getMeetings` of a server.
    pub poll_interval: Duration,
    /// Longest a probe or a poll may take.
    pub timeout: Duration,
    /// Failures in a row that make a server `down`; the first makes it `suspect`.
    pub unhealthy_after: u32,
    /// Successes in a row that make it `up` again.
    pub healthy_after: u32,
    /// A meeting may be created elsewhere when its server has been `down` for so long.
    pub failover_after: Duration,
    /// A meeting counts as ended when a poll sent so long after its creation does not list it.
    pub ended_grace: Duration,
    /// Longest pause between two probes of a server that stays `down`.
    pub max_backoff: Duration,
}

/// `[limits]`: of the public listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open connections at once.
    pub connections: usize,
    /// Of these, by the HTTP listeners and by the HTTPS listeners; 0 = no limit of their own.
    pub http_connections: usize,
    pub https_connections: usize,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Longest a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// TLS handshakes under way at once.
    pub handshakes: usize,
    /// Longest a request's header may take to arrive.
    pub header_timeout: Duration,
    /// Longest a whole request body may take to arrive.
    pub body_timeout: Duration,
    /// Longest that a machine at the other end of a carried connection may answer nothing, or take nothing of what is sent.
    pub dead_after: Duration,
    pub requests_per_connection: u32,
    /// `create` calls under way at once.
    pub concurrent_creates: usize,
    /// Calls to all servers (`getRecordings` and its like) under way at once.
    pub concurrent_fanouts: usize,
    /// Open connections of one address; 0 = no limit. One IPv6 /64 counts as one address, here and below.
    pub connections_per_address: usize,
    /// Requests of one address in a minute that no tenant has signed; 0 = no limit.
    pub unsigned_per_address: u32,
    /// Requests in a second that are carried to servers and belong to no accepted session; 0 for no limit.
    pub carried_per_address: u32,
    /// The same for one session that a server has accepted; more count for the address, with 0 all do.
    pub carried_per_session: u32,
    /// Uses of the same join link by one address in a minute; 0 = no limit.
    pub same_join_per_address: u32,
    /// Signed requests of one tenant in a second, if it has no limit of its own; 0 = no limit.
    pub requests_per_tenant: u32,
    /// `create` calls of one tenant under way at once.
    pub creates_per_tenant: usize,
    /// Calls to all servers of one tenant under way at once.
    pub fanouts_per_tenant: usize,
    /// Networks that the limits for addresses do not apply to.
    pub exempt: Vec<IpNet>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub format: LogFormat,
    pub level: log::LevelFilter,
    /// Write one line per request.
    pub access: bool,
    /// What libraries say is written, too.
    pub libraries: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `[process]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Worker threads, and at most as many that relay; 0 = one per core.
    pub threads: usize,
    /// How long a stop waits for requests under way.
    pub grace_stop: Duration,
    /// How long a process that another one has taken over from goes on with what is open.
    pub grace_upgrade: Duration,
    /// Where a process hands its listening sockets over; `None`: beside the store.
    pub upgrade_socket: Option<PathBuf>,
}
