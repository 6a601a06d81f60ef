//! The simulated server over real sockets, one server per test.
//!
//! Signs on its own and reads answers by plain string search: what our client would forgive must show here.
#![allow(clippy::unwrap_used, clippy::panic)]

mod calls;
mod creates;
mod faults;
mod joins;
mod recordings;

use std::time::Duration;

use hyper::header::HeaderMap;

use super::{HashName, SimOptions, SimServer, SimVersion};
use crate::ids::Secret;

const SECRET: &str = "s3cr3t-Rust-LB-0001";
const GENEROUS: Duration = Duration::from_secs(20);

pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// Text of the first element of that name; `-` if there is none.
    pub fn element(&self, name: &str) -> &str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let Some(start) = self.body.find(&open) else { return "-" };
        let rest = &self.body[start + open.len()..];
        rest.find(&close).map_or("-", |end| &rest[..end])
    }
    pub fn key(&self) -> &str {
        self.element("messageKey")
    }
    pub fn is_success(&self) -> bool {
        self.status == 200 && self.element("returncode") == "SUCCESS"
    }
    /// Names of the elements directly under `parent`, in order.
    pub fn children(&self, parent: &str) -> Vec<String> {
        use quick_xml::events::Event;
        let mut reader = quick_xml::Reader::from_str(&self.body);
        let (mut path, mut names) = (Vec::<String>::new(), Vec::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    let name = start.name().as_ref().to_owned();
                    if path.last().is_some_and(|last| last == parent) {
                        names.push(name.clone());
                    }
                    path.push(name);
                }
                Event::Empty(start) if path.last().is_some_and(|last| last == parent) => {
                    names.push(start.name().as_ref().to_owned());
                }
                Event::End(_) => drop(path.pop()),
                Event::Eof => return names,
                _ => {}
            }
        }
    }
    /// The key in an error redirect.
    pub fn redirected_key(&self) -> String {
        assert_eq!(self.status, 302, "{}", self.body);
        let (_, errors) = self.header("location").split_once("errors=").unwrap();
        let json = percent_encoding::percent_decode_str(errors).decode_utf8().unwrap().into_owned();
        let list: serde_json::Value = serde_json::from_str(&json).unwrap();
        list[0]["key"].as_str().unwrap().to_owned()
    }
}

pub(super) fn client(timeout: Duration) -> reqwest::Client {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.timeout(timeout).build().unwrap()
}

pub(super) async fn start(generation: SimVersion) -> SimServer {
    start_with(generation, |_| ()).await
}

pub(super) async fn start_with(generation: SimVersion, edit: impl FnOnce(&mut SimOptions)) -> SimServer {
    let mut options = SimOptions::new(Secret::new(SECRET));
    options.generation = generation;
    edit(&mut options);
    SimServer::start(options).await.unwrap()
}

/// `call?query&checksum=…`, signed with SHA-256.
pub(super) fn signed(sim: &SimServer, call: &str, query: &str) -> String {
    let checksum = HashName::Sha256.hex(&format!("{call}{query}{SECRET}"));
    let separator = if query.is_empty() { "" } else { "&" };
    format!("{}{call}?{query}{separator}checksum={checksum}", sim.url())
}

pub(super) async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, body: response.text().await.unwrap() }
}

/// A signed GET.
pub(super) async fn get(sim: &SimServer, call: &str, query: &str) -> Reply {
    reply(client(GENEROUS).get(signed(sim, call, query))).await
}

/// A signed POST; the checksum covers the query only.
pub(super) async fn post(sim: &SimServer, call: &str, query: &str, content_type: &str, body: &str) -> Reply {
    let request = client(GENEROUS).post(signed(sim, call, query)).body(body.to_owned());
    reply(if content_type.is_empty() { request } else { request.header("content-type", content_type) }).await
}
