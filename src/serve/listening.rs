//! A service of Pingora's whose accept loops are ours: what they accept is a plain socket with nothing around it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::warn;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::stream::Stream;

/// How long no connection is taken after the machine had nothing left for one.
const BREATH: Duration = Duration::from_millis(100);

/// What happens to a connection that was accepted.
pub trait Door: Send + Sync + 'static {
    /// Until its end, or until it has a task of its own.
    fn enter(self: Arc<Self>, stream: Stream) -> impl Future<Output = ()> + Send;
}

/// One door with its listening sockets.
pub struct Listening<D> {
    pub(super) name: String,
    pub(super) door: Arc<D>,
    pub(super) sockets: Vec<(SocketAddr, OwnedFd)>,
    /// Turns true when no further connection is to be taken.
    pub(super) closing: watch::Receiver<bool>,
    /// Threads, if not as many as everywhere.
    pub(super) threads: Option<usize>,
}

#[async_trait]
impl<D: Door> Service for Listening<D> {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let mut loops = Vec::new();
        for (address, socket) in std::mem::take(&mut self.sockets) {
            // Ready made sockets that do not block: this asks the kernel for a place in its queue of events, no more.
            match TcpListener::from_std(socket.into()) {
                Ok(listener) => loops.push(tokio::spawn(accept(listener, self.door.clone(), self.closing.clone()))),
                Err(error) => log::error!(address:% = address, error:% = error; "cannot take connections"),
            }
        }
        for one in loops {
            let _ = one.await;
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

async fn accept<D: Door>(listener: TcpListener, door: Arc<D>, mut closing: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closing.wait_for(|is_closing| *is_closing) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => _ = tokio::spawn(door.clone().enter(Stream::new(tcp, peer))),
            // Of one connection, which its client has given up.
            Err(error) if is_of_connection(&error) => {}
            // Others have to give something back first.
            Err(error) => {
                warn!(error:% = error; "no connection can be taken for a moment");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
