//! A browser's connection that has become a WebSocket, with its books.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use prometheus::IntGauge;

use super::tunnel::Tunnel;
use crate::process::{self, Shared};
use crate::proxy::Place;
use crate::relay::Counters;
use crate::stream::Stream;

/// Everything that a WebSocket needs for its hours, and nothing else.
pub struct Socket {
    stream: Stream,
    /// What the browser has sent behind its request already.
    sent: BytesMut,
    tunnel: Tunnel,
    /// Of the request that opened it.
    id: String,
    open: process::Open,
}

impl Socket {
    pub fn new(stream: Stream, sent: BytesMut, tunnel: Tunnel, id: String, open: process::Open) -> Self {
        Self { stream, sent, tunnel, id, open }
    }

    /// Carries it until one side ends; the connection's `place` is its own until then.
    pub async fn run(self: Box<Self>, shared: Arc<Shared>, place: Place) {
        let Self { stream, sent, tunnel, id, open: _open } = *self;
        let server = tunnel.place().record.clone();
        let name = server.name.as_str();
        let metrics = &shared.metrics;
        let _carrying = shared.process.carried.begin(server.id, tunnel.purpose());
        let _open = Open::one_more(metrics.websocket_connections.with_label_values(&[name]));
        let started = Instant::now();
        let bytes = |direction| metrics.websocket_bytes.with_label_values(&[name, direction]);
        let counters = Counters { to_server: bytes("in"), to_client: bytes("out") };
        // On the heap, because its room is not needed for hours.
        let reason = match Box::pin(tunnel.begin(stream, sent, &counters)).await {
            Ok((browser, wire, idle)) => shared.process.relays.relay(browser, wire, idle, counters).await.reason,
            Err(reason) => reason,
        };
        place.leave(&shared);
        let lasted = started.elapsed();
        metrics.websocket_duration.with_label_values(&[name]).observe(lasted.as_secs_f64());
        if shared.config.load().log.access {
            log::info!(target: "usher::access", request_id = id.as_str(), server = name, end = reason.as_str(),
                seconds = lasted.as_secs(); "websocket closed");
        }
    }
}

/// Counted as open as long as it lives.
struct Open(IntGauge);

impl Open {
    fn one_more(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
