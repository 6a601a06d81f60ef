//! What Pingora's sessions want to know of a connection, most of it for logs that we do not use.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream as Boxed, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::AsyncWriteExt;

use super::Stream;

impl Stream {
    /// For a session of Pingora's.
    pub fn into_boxed(self) -> Boxed {
        Box::new(self)
    }

    /// Back from one.
    pub fn from_boxed(boxed: Boxed) -> Option<Self> {
        boxed.into_any().downcast().ok().map(|stream| *stream)
    }
}

#[async_trait]
impl Shutdown for Stream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Stream {
    fn id(&self) -> UniqueIDType {
        self.plain().tcp().as_raw_fd()
    }
}

impl Ssl for Stream {}

impl Peek for Stream {}

impl GetTimingDigest for Stream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Stream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Stream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
