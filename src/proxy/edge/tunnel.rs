//! A WebSocket between a browser and its server: after the 101 bytes only, frames are nobody's business here.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::find::{Place, Way};
use super::reply::Head;
use super::upstream::Wire;
use crate::config::Config;
use crate::process::Purpose;
use crate::relay::{Counters, End, Reason, Side};
use crate::stream::Stream;

/// A WebSocket that the server has agreed to.
pub struct Tunnel {
    head: BytesMut,
    wire: Wire,
    /// What the server sent right behind its 101.
    early: BytesMut,
    place: Arc<Place>,
    purpose: Purpose,
    idle: Duration,
    patience: Duration,
}

impl Tunnel {
    pub(super) fn new(head: Head, wire: Wire, mut bytes: BytesMut, way: &Way<'_>, config: &Config) -> Self {
        let _read = bytes.split_to(head.length);
        Self {
            head: head.text,
            wire,
            early: bytes,
            place: way.place.clone(),
            purpose: purpose(way),
            idle: config.edge.tunnel_idle,
            patience: config.limits.body_timeout,
        }
    }

    pub fn place(&self) -> &Arc<Place> {
        &self.place
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Answers the browser; then bytes may go both ways between the two ends given, until nothing comes for the time given.
    /// `sent` is what the browser has sent already; `counters` are told of what was handed on.
    pub async fn begin(
        self,
        mut browser: Stream,
        mut sent: BytesMut,
        counters: &Counters,
    ) -> Result<(End, End, Duration), Reason> {
        let Self { mut head, mut wire, early, idle, patience, .. } = self;
        head.extend_from_slice(b"\r\n\r\n");
        head.extend_from_slice(&early);
        counters.to_client.inc_by(early.len() as u64);
        let begin = async {
            browser.write_all(&head).await.map_err(|error| Reason::Broken(Side::Client, error))?;
            browser.flush().await.map_err(|error| Reason::Broken(Side::Client, error))?;
            let (client, more) = browser.into_end().map_err(|error| Reason::Broken(Side::Client, error))?;
            sent.extend_from_slice(&more);
            wire.write_all(&sent).await.map_err(|error| Reason::Broken(Side::Server, error))?;
            wire.flush().await.map_err(|error| Reason::Broken(Side::Server, error))?;
            counters.to_server.inc_by(sent.len() as u64);
            let server = wire.into_end().map_err(|error| Reason::Broken(Side::Server, error))?;
            Ok((client, server, idle))
        };
        tokio::time::timeout(patience, begin).await.unwrap_or(Err(Reason::Idle))
    }
}

/// The client's own connection is GraphQL's from 3.0 on and Meteor's up to 2.7 (bbb-http-surface.md section 1.2).
fn purpose(way: &Way<'_>) -> Purpose {
    let path = way.prefix.and_then(|prefix| way.path.strip_prefix(prefix)).unwrap_or(way.path);
    let is_client = path == "/graphql" || path.starts_with("/html5client/sockjs/");
    if is_client { Purpose::Client } else { Purpose::Other }
}
