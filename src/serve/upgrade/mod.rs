//! A new Usher takes over from a running one, and nobody who is connected notices.
//!
//! Both listen on the same sockets for a moment: the new one gets them only when its configuration, store and
//! certificates are in order, and says that it serves only when it has asked all BBB servers; the old one stops listening
//! only then. A new one that fails before has changed nothing. What is open at the old one goes on there, for
//! `process.grace_upgrade` at most.
//!
//! While requests are answered by both, what one has just made may be missing in the other's picture; so each knows that
//! it has company, and asks the store before it says that there is no such meeting.

mod offer;
mod successor;
mod takeover;
mod wire;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use log::{error, warn};
use parking_lot::Mutex;

pub use successor::detach;
pub use takeover::{Takeover, TakeoverError};

use super::Stop;
use super::sockets::Sockets;
use crate::process::Shared;

/// How long a new process waits for the answers of all BBB servers before it takes over. One that hangs is asked for
/// `health.timeout`; this only ends what should not happen.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// This process between the one before it and the one after it.
pub struct Succession {
    shared: Arc<Shared>,
    sockets: Arc<Sockets>,
    /// The upgrade by which this process begins.
    takeover: Mutex<Option<Takeover>>,
    failure: OnceLock<TakeoverError>,
    /// Ends this process; `None` for a server inside another program, which has no successor.
    stop: Option<Arc<tokio::sync::Notify>>,
}

impl Succession {
    pub fn new(takeover: Option<Takeover>, stop: &Stop, sockets: &Arc<Sockets>, shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            sockets: sockets.clone(),
            takeover: Mutex::new(takeover),
            failure: OnceLock::new(),
            stop: stop.comes_by_signals().then(|| stop.handle()),
        }
    }

    /// Lets the Usher before this one know that it is not needed any more, and waits for the one after it from now on.
    /// The error: it goes on, and this process ends.
    pub async fn take_over(&self) -> Result<(), ()> {
        let Some(stop) = &self.stop else { return Ok(()) };
        let takeover = self.takeover.lock().take();
        if let Some(takeover) = takeover {
            self.shared.placer.look_at_all(LOOK_LIMIT).await;
            let process = self.shared.process.clone();
            let finished = tokio::task::spawn_blocking(move || takeover.finish(process)).await;
            match finished {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    let _ = self.failure.set(failure);
                    stop.notify_one();
                    return Err(());
                }
                Err(failure) => error!(reason:% = failure; "the last step of the upgrade failed, this Usher serves"),
            }
        }
        let path = self.shared.config.load().upgrade_socket();
        if let Err(error) = offer::offer(&path, self.sockets.clone(), self.shared.clone()) {
            warn!(path:% = path.display(), error:% = error; "this Usher cannot be upgraded while it runs");
        }
        Ok(())
    }

    /// Ends this process, which cannot begin to serve.
    pub fn give_up(&self) {
        let _ = self.failure.set(TakeoverError::Broken("this process failed before it served".to_owned()));
        if let Some(stop) = &self.stop {
            stop.notify_one();
        }
    }

    /// Starts a successor whenever SIGUSR2 comes.
    pub async fn follow_signal(&self) {
        match self.stop {
            Some(_) => successor::follow_signal(&self.shared.process).await,
            None => std::future::pending().await,
        }
    }

    /// Why the Usher before this one did not let go.
    pub fn failure(&self) -> Option<TakeoverError> {
        self.failure.get().cloned()
    }
}
