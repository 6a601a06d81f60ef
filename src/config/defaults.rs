//! Every default and limit with its name, unit and reason.
//!
//! `conf/usher.toml` shows the same values to operators; a test in `mod.rs` keeps the two equal. Values of the load
//! formula come from load-model.md section 9, where they are derived.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::l4::L4;
use super::load::{Audio, Choose, Joins, Load, LoadLimits, NetWeights, Profile, Reserve, Tlo, Video, Weights};
use super::sections::{
    Admin, Api, ClientPrefix, Edge, EdgeMode, GetMeetingInfo, GetMeetings, Health, IsRunning, Limits, Listen, Log,
    LogFormat, Pacing, Process, StoreConfig, StoreUrl, Tls, WhenFull,
};
use super::site::{Compression, Headers};
use super::{Config, Sources};
use crate::bbb::Algorithm;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Public port, loopback only: nothing is reachable from outside until the operator says so.
pub const HTTP_PORT: u16 = 8080;
/// Admin port, loopback only: metrics and readiness are not for the public.
pub const ADMIN_PORT: u16 = 8081;
/// Database, below the directory Usher is started in: a newcomer needs no root.
pub const STORE_FILE: &str = "./usher-data/usher.db";

/// Bytes. Form bodies and metadata stay far below; BBB's own servlet container takes 2 MB.
pub const MAX_BODY: u64 = 2 * MIB;
/// Bytes. Slides inside the XML are base64: 64 MiB carry BBB's default upload limit of 30 MB with room to spare.
pub const MAX_SLIDES: u64 = 64 * MIB;
/// Bytes. Four of the biggest bodies at once; a machine with 1 GiB survives it.
pub const MAX_BUFFERED: u64 = 256 * MIB;
/// Parameters. BBB knows fewer than 200 and metadata is a few dozen; more is an attack on sorting.
pub const MAX_PARAMS: usize = 512;
/// Bytes. Welcome texts and client settings in a query reach a few KiB; servers in front of BBB stop at 64 KiB or less,
/// and so does the HTTP library.
pub const MAX_QUERY: usize = 64 * KIB as usize;
/// Bytes of a request's line and header. The longest query, and as much again for cookies and the rest.
pub const MAX_HEAD: usize = 2 * MAX_QUERY;
/// `create` with slides answers after BBB has fetched them; front ends wait 30 s or more.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A server lists thousands of recordings in a second or two; front ends ask while a page is made.
pub const RECORDINGS_TIMEOUT: Duration = Duration::from_secs(5);
/// One lost SYN is repeated after 1 s; what has not connected after 3 s is better tried elsewhere.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A create takes BBB a fraction of a second. Front ends give up after 10 s (Greenlight): a server that hangs for this long,
/// the second in which it is asked whether it did the work, and as long for the next one stay below that.
pub const CREATE_ATTEMPT: Duration = Duration::from_secs(4);
/// Bytes. `getMeetings` of a server with 2 000 people is about 2 MiB; `getRecordings` of a large one reaches ten times that.
pub const MAX_ANSWER: u64 = 32 * MIB;

/// Seconds between probes: with three failures a dead server is `down` after 15 s at most.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// `getMeetings` costs BBB more than a probe; joins through us are counted without it.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Below the probe interval, so that probes of one server never overlap.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// A single lost packet must not make a server `down`.
pub const UNHEALTHY_AFTER: u32 = 3;
/// One success may be luck while a server restarts.
pub const HEALTHY_AFTER: u32 = 2;
/// Longer than a restart of BBB's web application; moving a live meeting splits it.
pub const FAILOVER_AFTER: Duration = Duration::from_secs(60);
/// BBB lists a meeting at once after `create`; this covers a slow `getMeetings` on a busy server.
pub const ENDED_GRACE: Duration = Duration::from_secs(5);
/// A server that returns is seen within this time.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Connections. About 1 GiB of memory when all are in use.
pub const CONNECTIONS: usize = 65_536;
/// Connections to the admin listener. A few monitors and people; more is a fault, and theirs would not stop the public side.
pub const ADMIN_CONNECTIONS: usize = 256;
/// Just above the 60 s of common front-end proxies, so that they close first.
pub const KEEPALIVE: Duration = Duration::from_secs(75);
/// Two or three round trips; ten seconds are for a phone at the edge of its network. Pingora alone would wait for 60.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A quarter of all connections, each of some 20 KiB until it is through: a crowd that says nothing leaves the others room.
pub const HANDSHAKES: usize = CONNECTIONS / 4;
/// A header is one packet or a few; slower is a slow-loris.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a change of networks or a lift takes; the six hours of a silent WebSocket would be too long for a laptop that
/// was closed, and the kernel alone repeats unanswered bytes for a quarter of an hour.
pub const DEAD_AFTER: Duration = Duration::from_secs(120);
/// 64 MiB within it need 18 Mbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What nginx in front of the servers would wait; uploads of slides are answered after their conversion has begun.
pub const EDGE_READ_TIMEOUT: Duration = Duration::from_secs(90);
/// BBB's own limit for audio over `/ws`; its other WebSockets are never silent for a minute.
pub const TUNNEL_IDLE: Duration = Duration::from_secs(6 * 3600);
/// Idle connections to one server that are kept however quiet it is: as many as a class of 30 uses in the first seconds of a
/// meeting.
pub const EDGE_IDLE_CONNECTIONS: usize = 64;
/// Idle connections to one server that are kept while they are needed again and again. A server's nginx takes 768 by default, and
/// each costs some 20 KiB with TLS; what comes back beyond it is closed.
pub const IDLE_IN_USE: usize = 1024;
/// Lets connections of a front-end proxy be spread anew from time to time.
pub const REQUESTS_PER_CONNECTION: u32 = 10_000;
/// A rush at the full hour is a few hundred; more waits would outlive the callers' patience.
pub const CONCURRENT_CREATES: usize = 512;
/// Each asks every server for a list that BBB reads from disk; a server has 200 threads for everything.
pub const CONCURRENT_FANOUTS: usize = 64;

/// One laptop can open tens of thousands of connections, and must not get near the limit of all: a thirty-second of it. Those
/// of signed calls and of accepted sessions do not count, so these are the silent, the new and strangers'; over half of
/// this number they are closed after each answer.
pub const CONNECTIONS_PER_ADDRESS: usize = CONNECTIONS / 32;
/// In a minute, all of which may come at once. What nobody signed is a page, a probe or a mistake: a school whose links
/// have all expired makes two such requests for each pupil, while a laptop is held to 50 a second, a few thousandths of a
/// core.
pub const UNSIGNED_PER_ADDRESS: u32 = 3_000;
/// In a second, ten times as many at once, for what belongs to no session that a server has accepted: the first requests of
/// people, pages without cookies, and strangers. Carrying so much costs a twentieth of a core.
pub const CARRIED_PER_ADDRESS: u32 = 1_000;
/// In a second, ten times as many at once; what is more counts for the address. A page loads some 200 files, and twice that
/// after a reload; a lecture then needs one in a second.
pub const CARRIED_PER_SESSION: u32 = 50;
/// In a second, ten times as many at once: what each session that a server has accepted from an address adds to
/// `CARRIED_PER_ADDRESS`, for files and pages that do not say whose they are.
pub const CARRIED_UNTOLD_OF_SESSION: u32 = 5;
/// Connections of one session that do not count for its address: six of a browser, its WebSockets, and as many again in a
/// second tab.
pub const CONNECTIONS_OF_SESSION: usize = 24;
/// Connections that each session adds to what its address may have: the client's WebSocket up to 2.7 says nothing of a session.
pub const UNTOLD_OF_SESSION: usize = 4;
/// Marks of sessions that are remembered, two for each: as many sessions as there may be connections. 8 MiB when all are in use.
pub const SESSION_KEYS: usize = 2 * CONNECTIONS;
/// In a minute, all of which may come at once. Each join counts as a person until a poll knows better, so one link must
/// not count as a lecture. A browser uses its link once or twice; a class with one common link gets in within seconds.
pub const SAME_JOIN_PER_ADDRESS: u32 = 30;
/// Off: a guess would refuse the rush of an honest university. Whoever has several customers sets it.
pub const REQUESTS_PER_TENANT: u32 = 0;
/// Half of all: a tenant whose front end has gone mad leaves the other half to the others.
pub const CREATES_PER_TENANT: usize = CONCURRENT_CREATES / 2;
/// A quarter of all.
pub const FANOUTS_PER_TENANT: usize = CONCURRENT_FANOUTS / 4;

/// Connections or calls. More than one machine can hold; a semaphore that is told to count further panics.
pub const MAX_COUNT: usize = 1_000_000;

/// Name and connection together; more than one lost packet on the way, less than browsers wait.
pub const L4_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is relayed may be a WebSocket or a TURN connection, which only its two ends understand, and BBB's own limits are
/// there: this must not be the shortest one. Dead peers are found by the kernel's probes long before.
pub const L4_IDLE_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
/// A ClientHello is one packet or a few.
pub const L4_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of one listener. Each takes two sockets, so as many files as `CONNECTIONS`.
pub const L4_CONNECTIONS: usize = CONNECTIONS / 2;

/// Bytes. What fits into one packet is not there any sooner if it is shorter.
pub const COMPRESSED_FROM: u64 = 1024;
/// Threads. More than any machine has cores worth using; a slip of the finger must not start a million.
pub const MAX_THREADS: usize = 1024;
/// Bytes. What a handful of servers' client pages take, compressed.
pub const ASSET_CACHE: u64 = 64 << 20;
pub const SMALLEST_ASSET_CACHE: u64 = 1 << 20;
pub const LARGEST_ASSET_CACHE: u64 = 64 << 30;
/// Longer than any ordinary call on the way, shorter than systemd's 90 s.
pub const GRACE_STOP: Duration = Duration::from_secs(10);
/// Longer than a lecture: whoever is in a meeting during an upgrade stays in it to its end.
pub const GRACE_UPGRADE: Duration = Duration::from_secs(4 * 3600);

/// What Usher does without a configuration file.
pub fn config() -> Config {
    Config {
        listen: listen(),
        admin: Admin { listen: Some(loopback(ADMIN_PORT)), tls: None, client_ca: None },
        tls: Tls { certificates: Vec::new(), hsts: None, challenge_webroot: None, server_ca: None },
        store: StoreConfig { url: StoreUrl::Sqlite(PathBuf::from(STORE_FILE)) },
        api: api(),
        edge: Edge {
            mode: EdgeMode::Redirect,
            client_prefix: ClientPrefix::Strip,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: EDGE_READ_TIMEOUT,
            tunnel_idle: TUNNEL_IDLE,
            idle_connections: EDGE_IDLE_CONNECTIONS,
            // Nobody shall meet a waiting page that the operator has not asked for.
            join_pacing: Pacing::Off,
            asset_cache: ASSET_CACHE,
        },
        health: Health {
            interval: PROBE_INTERVAL,
            poll_interval: POLL_INTERVAL,
            timeout: PROBE_TIMEOUT,
            unhealthy_after: UNHEALTHY_AFTER,
            healthy_after: HEALTHY_AFTER,
            failover_after: FAILOVER_AFTER,
            ended_grace: ENDED_GRACE,
            max_backoff: MAX_BACKOFF,
        },
        load: load(),
        l4: L4::default(),
        headers: Headers::default(),
        // BBB servers compress most of what they send by themselves.
        compression: Compression { algorithms: Vec::new(), min_length: COMPRESSED_FROM },
        limits: Limits {
            connections: CONNECTIONS,
            http_connections: 0,
            https_connections: 0,
            keepalive: KEEPALIVE,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            handshakes: HANDSHAKES,
            header_timeout: HEADER_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            dead_after: DEAD_AFTER,
            requests_per_connection: REQUESTS_PER_CONNECTION,
            concurrent_creates: CONCURRENT_CREATES,
            concurrent_fanouts: CONCURRENT_FANOUTS,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            unsigned_per_address: UNSIGNED_PER_ADDRESS,
            carried_per_address: CARRIED_PER_ADDRESS,
            carried_per_session: CARRIED_PER_SESSION,
            same_join_per_address: SAME_JOIN_PER_ADDRESS,
            requests_per_tenant: REQUESTS_PER_TENANT,
            creates_per_tenant: CREATES_PER_TENANT,
            fanouts_per_tenant: FANOUTS_PER_TENANT,
            exempt: exempt(),
        },
        log: Log { format: LogFormat::Text, level: log::LevelFilter::Info, access: true, libraries: false },
        process: Process { threads: 0, grace_stop: GRACE_STOP, grace_upgrade: GRACE_UPGRADE, upgrade_socket: None },
        sources: Sources(BTreeMap::new()),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// This machine: with a proxy on it that nobody has declared, all the world comes from loopback; and whoever is on the
/// machine has simpler ways to hurt.
fn exempt() -> Vec<IpNet> {
    let loopback: [(IpAddr, u8); 2] = [(Ipv4Addr::new(127, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
    loopback.into_iter().map(|(address, bits)| IpNet::new_assert(address, bits)).collect()
}

#[allow(clippy::expect_used)] // a constant; every test of this module would fail
fn listen() -> Listen {
    Listen {
        http: vec![loopback(HTTP_PORT)],
        https: Vec::new(),
        redirect_to_https: false,
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        public_url: Url::parse(&format!("http://127.0.0.1:{HTTP_PORT}")).expect("the default public_url is a URL"),
    }
}

fn api() -> Api {
    Api {
        max_body: MAX_BODY,
        max_slides: MAX_SLIDES,
        max_buffered: MAX_BUFFERED,
        max_params: MAX_PARAMS,
        max_query: MAX_QUERY,
        request_timeout: REQUEST_TIMEOUT,
        recordings_timeout: RECORDINGS_TIMEOUT,
        connect_timeout: CONNECT_TIMEOUT,
        create_attempt: CREATE_ATTEMPT,
        max_answer: MAX_ANSWER,
        checksum_algorithms: vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512],
        unsigned_form_bodies: false,
        get_meetings: GetMeetings::Live,
        is_meeting_running: IsRunning::Live,
        get_meeting_info: GetMeetingInfo::Ask,
        when_full: WhenFull::Accept,
        logout_url: None,
    }
}

pub(super) fn load() -> Load {
    Load {
        profile: Profile::Balanced,
        weights: Weights {
            meeting: 20.0,
            user: 8.0,
            voice: 45.0,
            listen: 2.0,
            cam_in: 3.0,
            cam_out: 2.0,
            share_out: 4.0,
            record: 5.0,
            square: 0.01,
        },
        net: NetWeights { cam: 0.25, voice: 0.04, share: 0.5 },
        limits: LoadLimits { cpu: 0.80, net: 0.70, big_room: 100 },
        audio: Audio { tlo: Tlo::ByVersion, tlo_floor: 3.0, tlo_share: 0.15 },
        video: Video { page: 5 },
        reserve: Reserve {
            prior: 25.0,
            prior_strength: 1.5,
            hint_strength: 0.5,
            cv_unknown: 1.2,
            tau: Duration::from_secs(270),
            temper: 0.3,
            bell_lead: Duration::from_secs(120),
            max_age: Duration::from_secs(30 * 60),
            quantile: 0.75,
            admit: 0.95,
            ghost: 33.0,
            ghost_big: 20.0,
            // A class of 25 with four webcams, spread over its people.
            ghost_net: 1.0,
            grid: Duration::from_secs(15 * 60),
        },
        // More wait for one server only if something is wrong; 48 kB of places.
        joins: Joins { per_core: 2.5, max: 50.0, queue_max: 2000 },
        choose: Choose { tie: 0.005 },
    }
}
