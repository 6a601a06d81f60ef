//! A front end such as Moodle, as small as it can be: signs calls with the tenant's secret and reads the answers.
//!
//! It knows one address and one secret, exactly what `usher tenant add` prints, and talks to Usher over the network.

use std::time::Duration;

use reqwest::redirect::Policy;

use super::super::outcome::CliError;
use crate::bbb::{self, Algorithm, Params};
use crate::ids::Secret;

/// Longest a call of the demo may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Usher to the server's join, the server's join to the client page; one to spare.
const HOPS: usize = 3;
/// Path of BBB's client in every version (bbb-http-surface.md).
const CLIENT_PAGE: &str = "/html5client";

#[derive(Clone)]
pub struct FrontEnd {
    http: reqwest::Client,
    /// API address with a trailing slash.
    api: String,
    secret: Secret,
}

impl FrontEnd {
    pub fn new(api: String, secret: Secret) -> Result<Self, CliError> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::limited(HOPS))
            .no_proxy()
            .build()
            .map_err(|error| CliError::Failed(format!("cannot build the HTTP client: {error}")))?;
        Ok(Self { http, api, secret })
    }

    /// Whether the meeting exists now.
    pub async fn create(&self, id: &str, name: &str) -> bool {
        let fields = [("meetingID", id), ("name", name), ("record", "false")];
        self.succeeds("create", &fields).await
    }

    pub async fn end(&self, id: &str) -> bool {
        self.succeeds("end", &[("meetingID", id)]).await
    }

    /// What a browser does with a join link: follows it to the client page of a BBB server. Whether it got there.
    pub async fn join(&self, id: &str, full_name: &str) -> bool {
        let Ok(page) = self.http.get(self.join_link(id, full_name)).send().await else { return false };
        page.status().is_success() && page.url().path().starts_with(CLIENT_PAGE)
    }

    /// A signed link that lets `full_name` in.
    pub fn join_link(&self, id: &str, full_name: &str) -> String {
        self.signed("join", &[("meetingID", id), ("fullName", full_name), ("role", "VIEWER")])
    }

    async fn succeeds(&self, call: &str, fields: &[(&str, &str)]) -> bool {
        let Ok(answer) = self.http.get(self.signed(call, fields)).send().await else { return false };
        let Ok(body) = answer.bytes().await else { return false };
        bbb::read_reply(&body).is_ok_and(|reply| reply.success)
    }

    fn signed(&self, call: &str, fields: &[(&str, &str)]) -> String {
        let mut params = Params::default();
        for (name, value) in fields {
            params.set(name, value);
        }
        let query = params.to_query();
        let checksum = bbb::sign(call, &query, &self.secret, Algorithm::Sha256);
        format!("{}{call}?{query}&checksum={checksum}", self.api)
    }
}
