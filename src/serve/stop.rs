//! How a process ends.
//!
//! Told to stop, it finishes open requests within `process.grace_stop` and ends what would go on for hours. When another
//! Usher has taken over, it goes on with what is open until that has ended, for `process.grace_upgrade` at most, and its
//! connections are closed by nobody but their clients or `limits.keepalive`: a client whose next request is on its way
//! would lose it. Pingora's own graceful stop sleeps the whole grace period even when idle, so the waiting is done here
//! and Pingora is then told to stop fast.

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
/// How often it is looked whether all has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The same while that may take hours.
const LOOK_SELDOM: Duration = Duration::from_millis(200);

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

    /// `notify_one` on it stops the process too.
    pub(super) fn handle(&self) -> Arc<Notify> {
        self.asked.clone()
    }

    /// This process is alone with its signals; a server inside another program leaves them to that.
    pub(super) fn comes_by_signals(&self) -> bool {
        self.signals
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
    /// Waits until the process is told to stop.
    async fn asked(&self) {
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
            () = self.stop.asked.notified() => {}
        }
    }

    /// After another Usher has taken over: waits until everything has ended by itself or time is up.
    async fn outlive(&self) {
        let process = &self.shared.process;
        let grace = self.shared.config.load().process.grace_upgrade;
        let (sockets, connections) = (process.sockets(), process.connections());
        info!(websockets = sockets, connections = connections, relays = process.in_flight(),
            limit_s = grace.as_secs(); "going on with what is open");
        let ended = async {
            while process.connections() + process.in_flight() > 0 || process.has_elder() {
                tokio::time::sleep(LOOK_SELDOM).await;
            }
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            info!(websockets = process.sockets(); "process.grace_upgrade is over");
        }
    }

    async fn stop(&self) {
        let process = &self.shared.process;
        process.stop();
        let grace = self.shared.config.load().process.grace_stop;
        info!(open = process.in_flight(), limit_ms = grace.as_millis() as u64; "stopping");
        let finished = async {
            while process.in_flight() > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = finished => {}
            () = self.asked() => {} // asked twice: now
            () = tokio::time::sleep(grace) => {}
        }
        end_relays(process).await;
    }
}

/// What is still relayed ends in order: counted, and with a line in the log.
async fn end_relays(process: &Process) {
    process.relays.drain();
    let deadline = Instant::now() + RELAYS_END;
    while process.in_flight() + process.sockets() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[async_trait]
impl ShutdownSignalWatch for Watch {
    async fn recv(&self) -> ShutdownSignal {
        let outlived = async {
            self.shared.process.draining().await;
            self.outlive().await;
        };
        tokio::select! {
            () = self.asked() => {
                // To systemd a process that was taken over from is not the service any more.
                if !self.shared.process.is_draining() {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
                }
            }
            () = outlived => {}
        }
        self.stop().await;
        ShutdownSignal::FastShutdown
    }
}
