//! How a process ends: open requests are finished, within `process.grace_stop`, then everything stops.
//!
//! Pingora's own graceful stop sleeps the whole grace period even when idle, so the waiting is done here and Pingora
//! is then told to stop fast.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::info;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::process::{Process, Shared};

/// How long relays may take to end when they are told to.
const RELAYS_END: Duration = Duration::from_millis(500);

/// What ends the process.
pub struct Stop {
    signals: bool,
    asked: Arc<Notify>,
}

impl Stop {
    /// SIGTERM and SIGINT.
    pub fn on_signals() -> Self {
        Self { signals: true, asked: Arc::default() }
    }

    /// Only `notify_one` on the returned handle; for a server inside another program.
    pub fn on_request() -> (Self, Arc<Notify>) {
        let asked = Arc::<Notify>::default();
        (Self { signals: false, asked: asked.clone() }, asked)
    }

    pub(super) fn watch(self, shared: Arc<Shared>) -> Watch {
        Watch { stop: self, shared }
    }
}

pub(super) struct Watch {
    stop: Stop,
    shared: Arc<Shared>,
}

impl Watch {
    async fn wait(&self) {
        if !self.stop.signals {
            return self.stop.asked.notified().await;
        }
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return self.stop.asked.notified().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// What is still relayed ends in order: counted, and with a line in the log.
async fn end_relays(process: &Process) {
    process.drain.begin();
    let deadline = Instant::now() + RELAYS_END;
    while process.in_flight() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[async_trait]
impl ShutdownSignalWatch for Watch {
    async fn recv(&self) -> ShutdownSignal {
        self.wait().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let process = &self.shared.process;
        process.start_draining();
        let grace = self.shared.config.load().process.grace_stop;
        info!(open = process.in_flight(), limit_ms = grace.as_millis() as u64; "stopping");
        let finished = async {
            while process.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = finished => {}
            () = self.wait() => {} // asked twice: now
            () = tokio::time::sleep_until(Instant::now() + grace) => {}
        }
        end_relays(process).await;
        ShutdownSignal::FastShutdown
    }
}
