//! Files of the client page, kept in memory in path mode: hundreds of people fetch the same megabytes when a lecture begins.
//!
//! Only what is the same for everybody: files below `/html5client/` by their endings, asked for under our own name and
//! without anything that says who asks. Never the page itself, a slide, `rtt-check`, or an answer that sets a cookie or
//! does not want to be kept. A file belongs to one server and its build, and to what the browser can decompress. BBB servers
//! send validators and no lifetimes, so a file is asked for again after a minute, one whose name is made from its
//! content after an hour. Whoever asks while it is being fetched waits for that.

mod file;
mod wish;

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use prometheus::{IntCounter, IntGauge};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::Semaphore;

use file::File;
use wish::{Key, Wish, wish};

use super::exchange::Failure;
use super::{Admit, Edge, Reply, Way};
use crate::bbb::Method;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::proxy::body::Inbound;
use crate::proxy::request::Request;

/// How long it is remembered that an answer cannot be kept.
const PASSED: Duration = Duration::from_secs(10);
/// How long to wait for one who fetches the same.
const WAIT: Duration = Duration::from_secs(10);
/// Bytes. The largest of BBB 3.0 has 6 MB uncompressed.
const LARGEST: u64 = 8 << 20;
/// Of the whole, so that one file never displaces most of the others.
const LARGEST_SHARE: u64 = 8;
/// Files being fetched at once, each held until it is complete; more are passed on as they come.
const FETCHES: usize = 16;
/// What an entry takes beside its body and its key.
const OVERHEAD: u64 = 512;
/// A file has to fit into one of them.
const SHARDS: usize = 4;

/// The files kept, and those who wait for one.
pub struct Assets {
    now: ArcSwapOption<Generation>,
    fetches: Semaphore,
    hits: IntCounter,
    misses: IntCounter,
    passed: IntCounter,
    bytes: IntGauge,
}

/// All that was kept under one configuration: headers and compression are part of what is kept.
struct Generation {
    config: Arc<Config>,
    files: Files,
}

type Files = Cache<Key, Kept, Bytewise, RandomState, DefaultLifecycle<Key, Kept>>;

#[derive(Clone)]
enum Kept {
    File(Arc<File>),
    /// It cannot be kept: nobody has to wait for it.
    Not {
        until: Instant,
    },
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<Key, Kept> for Bytewise {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        let body = match kept {
            Kept::File(file) => file.body.len() + file.lines.text.len() * 3,
            Kept::Not { .. } => 0,
        };
        (body + key.target.len()) as u64 + OVERHEAD
    }
}

impl Kept {
    fn is_fresh(&self, now: Instant) -> bool {
        match self {
            Self::File(file) => file.is_fresh(now),
            Self::Not { until } => now < *until,
        }
    }
}

impl Assets {
    pub fn new(metrics: &Metrics) -> Self {
        let count = |result| metrics.asset_cache.with_label_values(&[result]);
        Self {
            now: ArcSwapOption::empty(),
            fetches: Semaphore::new(FETCHES),
            hits: count("hit"),
            misses: count("miss"),
            passed: count("passed"),
            bytes: metrics.asset_cache_bytes.clone(),
        }
    }

    /// What is kept under this configuration.
    fn of(&self, config: &Arc<Config>) -> Option<Arc<Generation>> {
        let now = self.now.load_full();
        if let Some(now) = now.filter(|now| Arc::ptr_eq(&now.config, config)) {
            return Some(now);
        }
        let capacity = config.edge.asset_cache;
        let options = OptionsBuilder::new()
            .estimated_items_capacity((capacity >> 14) as usize + 64)
            .weight_capacity(capacity)
            .shards(SHARDS)
            .build()
            .ok()?;
        let files = Cache::with_options(options, Bytewise, RandomState::new(), DefaultLifecycle::default());
        let now = Arc::new(Generation { config: config.clone(), files });
        self.now.store(Some(now.clone()));
        self.bytes.set(0);
        Some(now)
    }
}

impl Edge {
    /// The file that a request asks for, from memory or from the server; `None` if the request is none for a file.
    pub(super) async fn asset(
        &self,
        request: &Request<'_>,
        way: &Way<'_>,
        config: &Arc<Config>,
        admit: Admit<'_>,
    ) -> Option<Result<Reply, Failure>> {
        let wish = wish(request, way, config)?;
        let kept = self.assets.of(config)?;
        // On the heap: other requests do without the room.
        Some(Box::pin(self.file(request, way, wish, &kept.files, config, admit)).await)
    }

    async fn file(
        &self,
        request: &Request<'_>,
        way: &Way<'_>,
        wish: Wish<'_>,
        files: &Files,
        config: &Config,
        admit: Admit<'_>,
    ) -> Result<Reply, Failure> {
        let assets = &self.assets;
        let now = Instant::now();
        if let Some(kept) = files.get(&wish.key) {
            if kept.is_fresh(now) {
                return match kept {
                    Kept::File(file) => {
                        assets.hits.inc();
                        Ok(Reply::Kept(file.answer(&wish, &way.place.record, now)))
                    }
                    Kept::Not { .. } => self.pass(request, way, config, admit).await,
                };
            }
            files.remove_if(&wish.key, |kept| !kept.is_fresh(now));
        }
        // A browser that has it mostly has the right one: the server says so in a few bytes.
        let is_conditional = wish.none_match.is_some() || wish.modified_since.is_some();
        if is_conditional || request.method == Method::Head {
            return self.pass(request, way, config, admit).await;
        }
        let place = match tokio::time::timeout(WAIT, files.get_value_or_guard_async(&wish.key)).await {
            Ok(Ok(Kept::File(file))) => {
                assets.hits.inc();
                return Ok(Reply::Kept(file.answer(&wish, &way.place.record, now)));
            }
            Ok(Ok(Kept::Not { .. })) | Err(_) => return self.pass(request, way, config, admit).await,
            Ok(Err(place)) => place,
        };
        let Ok(_fetch) = assets.fetches.try_acquire() else {
            drop(place);
            return self.pass(request, way, config, admit).await;
        };
        admit().map_err(Failure::Limited)?;
        let not = Kept::Not { until: now + PASSED };
        let mut passing = self.carry(request, way, &mut Inbound::none(), config).await?;
        let limit = LARGEST.min(config.edge.asset_cache / LARGEST_SHARE);
        let Some(mut file) = File::begin(&passing, &wish, limit) else {
            let _ = place.insert(not);
            assets.passed.inc();
            return Ok(Reply::passing(passing));
        };
        let mut body = BytesMut::with_capacity(usize::try_from(passing.body_length().unwrap_or(0)).unwrap_or(0));
        while let Some(piece) =
            passing.next().await.map_err(|_| Failure::Broken(std::io::ErrorKind::UnexpectedEof.into()))?
        {
            body.extend_from_slice(&piece);
            if body.len() as u64 > limit {
                // It has not said so before; it is asked for once more and passed on this time.
                let _ = place.insert(not);
                return self.pass(request, way, config, admit).await;
            }
        }
        self.keep(passing, config);
        // No more memory than its length says.
        file.body = if body.capacity() == body.len() { body.freeze() } else { Bytes::copy_from_slice(&body) };
        let file = Arc::new(file);
        let _ = place.insert(Kept::File(file.clone()));
        assets.misses.inc();
        assets.bytes.set(i64::try_from(files.weight()).unwrap_or(i64::MAX));
        Ok(Reply::Kept(file.answer(&wish, &way.place.record, now)))
    }

    async fn pass(
        &self,
        request: &Request<'_>,
        way: &Way<'_>,
        config: &Config,
        admit: Admit<'_>,
    ) -> Result<Reply, Failure> {
        admit().map_err(Failure::Limited)?;
        self.assets.passed.inc();
        self.carry(request, way, &mut Inbound::none(), config).await.map(Reply::passing)
    }
}

/// The entries of a list.
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty())
}
