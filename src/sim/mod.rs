//! A simulated BigBlueButton server, for `usher demo` and for tests over real sockets.
//!
//! Written from bbb-api.md alone and sharing nothing with our own reader, signer or client of the BBB protocol: a
//! mistake there must not be mirrored here. It keeps state, verifies checksums, answers element for element, and fails
//! on request in every way that networks and servers fail. It serves browsers too (`client`, from bbb-http-surface.md),
//! WebSockets included. It carries no media, no timer ends a meeting, and it sends no callbacks.
//!
//! ```text
//! accept (sockets) → call (one request) → api (routes, checks) → create, join, meeting_calls, … → answer → spoil (faults)
//!                                                             ↘ client (the browser's side) ↗
//! ```

mod accept;
mod announced;
mod answer;
mod api;
mod call;
mod checksum;
mod client;
mod create;
mod describe;
mod fault;
mod join;
mod meeting_calls;
mod meetings;
mod modules;
mod recording_calls;
mod recordings;
mod seen;
mod server;
mod spoil;
mod stage;
mod text_tracks;
mod version;
mod world;
mod xml;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use checksum::HashName;
pub use client::SimClient;
pub use client::trouble::SocketFault;
pub use fault::Fault;
pub use meetings::{SimAttendee, SimChatMessage, SimDocument, SimMeeting, SimRole};
pub use recordings::{SimFormat, SimRecording, SimRecordingState, SimTextTrack};
pub use seen::{SeenCall, SeenSocket, SeenUpload};
pub use server::SimServer;
pub use version::SimVersion;

use crate::ids::Secret;

/// How a simulated server is set up; `SimOptions::new` gives the stock settings of BBB.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The shared secret; an empty one switches checksums off (bbb-api.md section 2.1).
    pub secret: Secret,
    /// Loopback address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whose manners to have (bbb-api.md section 7).
    pub generation: SimVersion,
    /// `supportedChecksumAlgorithms` (2.5+); what the generation cannot do stays impossible.
    pub algorithms: Vec<HashName>,
    /// Between doing the work and answering, for every call.
    pub latency: Duration,
    /// A random time up to this one before doing the work, and another before answering, for every call.
    pub jitter: Duration,
    /// What the client page calls this server.
    pub name: String,
    /// Origin (`https://bbb1.example.org`) of the client, logout and playback URLs; the listening address if absent.
    pub public_host: Option<String>,
    /// How long a meeting goes on after its `end`, as if nothing had happened.
    pub end_takes: Duration,
    /// How long an ended meeting stays visible with `hasBeenForciblyEnded=true`.
    pub end_lingers: Duration,
    /// `allowRevealOfBBBVersion`: without it `bbbVersion` is empty.
    pub reveal_version: bool,
    /// `allowFetchAllRecordings`.
    pub allow_fetch_all_recordings: bool,
    /// `allowRequestsWithoutSession`: session-scoped calls need the token only, not the cookie.
    pub allow_requests_without_session: bool,
    /// What browsers are told after `join`.
    pub client: SimClient,
    /// Largest request body in bytes; above it HTTP 413, as nginx in front of BBB answers (1 MiB there).
    pub body_limit: usize,
}

impl SimOptions {
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            generation: SimVersion::V3_0,
            algorithms: HashName::ALL.to_vec(),
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            name: "simulated BigBlueButton".to_owned(),
            public_host: None,
            end_takes: Duration::ZERO,
            end_lingers: Duration::ZERO,
            reveal_version: false,
            allow_fetch_all_recordings: true,
            allow_requests_without_session: false,
            client: SimClient::default(),
            body_limit: 64 * 1024 * 1024,
        }
    }
}
