//! How Usher calls BBB servers: signed, bounded in time and size, and honest about what may have happened.
//!
//! Every parameter goes into the URL, for GET and POST alike, which is valid in all three signature eras of BBB
//! (bbb-api.md section 2.4); but for a form that is too long for that. The bytes that are signed are the bytes that are sent. Nothing here retries: whether a
//! call may be repeated is the caller's knowledge, `CallError` tells it whether the server can have seen the call.

mod answer;
mod elsewhere;
mod said;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use url::Url;

pub use answer::{Answer, CallError};
pub use said::{Era, Said};
pub use typed::ok;

use elsewhere::{Elsewhere, addressed};

use crate::bbb::{self, Params};
use crate::store::{ServerRecord, Trust};
use crate::tls;

const FORM: &str = "application/x-www-form-urlencoded";

/// Limits of all calls.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub connect_timeout: Duration,
    /// Largest answer read, bytes.
    pub max_answer: u64,
}

/// What a call carries besides its URL.
pub enum Body {
    None,
    /// Content type and bytes; cheap to clone for another try.
    Bytes(&'static str, Bytes),
    /// Content type as the caller gave it, length if known, and a stream; one try only.
    Stream(String, Option<u64>, reqwest::Body),
}

/// A pooled HTTP client for BBB servers; clones share the pool.
#[derive(Clone)]
pub struct BbbClient {
    pools: Pools,
    elsewhere: Arc<Elsewhere>,
    max_answer: u64,
}

/// Connections by purpose.
#[derive(Clone)]
struct Pools {
    calls: reqwest::Client,
    /// What is asked every few seconds has connections of its own: the thread that opens one drives it, and a call that
    /// somebody waits for should not have to wake the thread of the polls.
    polls: reqwest::Client,
}

impl BbbClient {
    /// `tls` says whom we believe. Fails only if the system's certificate roots cannot be used.
    pub fn new(settings: &ClientSettings, tls: Arc<tls::Servers>) -> Result<Self, String> {
        let usual = tls.settings(None, false)?;
        let pool = || built(builder(settings).tls_backend_preconfigured((*usual).clone()));
        let pools = Pools { calls: pool()?, polls: pool()? };
        Ok(Self { pools, elsewhere: Arc::new(Elsewhere::new(settings, tls)), max_answer: settings.max_answer })
    }

    /// Calls `name` with `query` (without checksum), at most `limit` in all.
    pub async fn call(
        &self,
        server: &ServerRecord,
        name: &str,
        query: &str,
        body: Body,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let method = if matches!(body, Body::None) { Method::GET } else { Method::POST };
        let request = self.request(server, method, signed_url(server, name, query)?, |pools| &pools.calls)?;
        let request = match body {
            Body::None => request,
            Body::Bytes(content_type, bytes) => request.header(CONTENT_TYPE, content_type).body(bytes),
            Body::Stream(content_type, length, stream) => {
                let request = request.header(CONTENT_TYPE, content_type).body(stream);
                match length {
                    Some(length) => request.header(CONTENT_LENGTH, length),
                    None => request,
                }
            }
        };
        self.send(request, limit).await
    }

    /// Calls `name` with a form, for parameters that are too long for a URL. BBB signs a form in one of two ways, by its
    /// version: `rebuilt` from the sorted parameters, or not at all (bbb-api.md section 2.4).
    pub async fn post_form(
        &self,
        server: &ServerRecord,
        name: &str,
        params: &Params,
        rebuilt: bool,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let signed = if rebuilt { bbb::form_signature_base(params) } else { Vec::new() };
        let checksum = bbb::sign(name, &String::from_utf8_lossy(&signed), &server.secret, server.checksum);
        let mut form = params.to_query();
        form.push_str("&checksum=");
        form.push_str(&checksum);
        let url = Url::parse(&format!("{}{name}", server.url));
        let url = url.map_err(|error| CallError::NotSent(format!("bad server URL: {error}")))?;
        let request = self.request(server, Method::POST, url, |pools| &pools.calls)?;
        self.send(request.header(CONTENT_TYPE, FORM).body(form), limit).await
    }

    /// The version call, which needs no checksum.
    pub async fn index(&self, server: &ServerRecord, limit: Duration) -> Result<Answer, CallError> {
        let base = server.url.trim_end_matches('/');
        let url = Url::parse(base).map_err(|error| CallError::NotSent(format!("bad server URL: {error}")))?;
        self.send(self.request(server, Method::GET, url, |pools| &pools.polls)?, limit).await
    }

    /// A call without parameters that polls make, on their connections.
    async fn poll(&self, server: &ServerRecord, name: &str, limit: Duration) -> Result<Answer, CallError> {
        let request = self.request(server, Method::GET, signed_url(server, name, "")?, |pools| &pools.polls)?;
        self.send(request, limit).await
    }

    /// A request to where the server is.
    fn request(
        &self,
        server: &ServerRecord,
        method: Method,
        url: Url,
        pool: impl Fn(&Pools) -> &reqwest::Client,
    ) -> Result<reqwest::RequestBuilder, CallError> {
        if server.reach.address.is_none() && server.reach.trust == Trust::default() {
            return Ok(pool(&self.pools).request(method, url));
        }
        let (way, url, host) = addressed(url, &server.reach);
        let request = pool(&self.elsewhere.pools(way)?).request(method, url);
        Ok(match host {
            Some(host) => request.header(HOST, host),
            None => request,
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder, limit: Duration) -> Result<Answer, CallError> {
        match tokio::time::timeout(limit, answer::read(request, self.max_answer)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Silent(format!("no complete answer within {} ms", limit.as_millis()))),
        }
    }
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, String> {
    builder.build().map_err(|error| format!("cannot build the HTTP client: {}", answer::causes(&error)))
}

fn builder(settings: &ClientSettings) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("Usher/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        // Below nginx' keep-alive of 75 s, so that a pooled connection is rarely a dead one.
        .pool_idle_timeout(Duration::from_secs(50))
        .pool_max_idle_per_host(64)
        .tcp_nodelay(true)
        .no_proxy()
}

/// The URL of a signed call, with the checksum last. `Url` may percent-encode a byte that BBB would take raw; then the
/// query is signed as `Url` prints it.
fn signed_url(server: &ServerRecord, name: &str, query: &str) -> Result<Url, CallError> {
    let checksum = bbb::sign(name, query, &server.secret, server.checksum);
    let ampersand = if query.is_empty() { "" } else { "&" };
    let signed = format!("{query}{ampersand}checksum={checksum}");
    let mut url = Url::parse(&format!("{}{name}?{signed}", server.url))
        .map_err(|error| CallError::NotSent(format!("bad server URL: {error}")))?;
    let printed = url.query().unwrap_or_default();
    if printed != signed {
        let length = printed.len().saturating_sub("&checksum=".len() + checksum.len());
        let query = printed.get(..length).unwrap_or_default().to_owned();
        let checksum = bbb::sign(name, &query, &server.secret, server.checksum);
        url.set_query(Some(&format!("{query}&checksum={checksum}")));
    }
    Ok(url)
}
