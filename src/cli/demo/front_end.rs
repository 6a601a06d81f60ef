//! A front end such as Moodle, as small as it can be: signs calls with the tenant's secret and reads the answers.
//!
//! It knows one address and one secret, exactly what `usher tenant add` prints, and talks to Usher over the network.

use std::time::Duration;

use http::header::LOCATION;
use reqwest::redirect::Policy;

use super::super::outcome::CliError;
use crate::bbb::{self, Algorithm, Params};
use crate::ids::Secret;

/// Longest a call of the demo may take.
const TIMEOUT: Duration = Duration::from_secs(10);

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
            .redirect(Policy::none())
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

    /// What a browser does with a join link: follows it to the BBB server. Whether somebody came in.
    pub async fn join(&self, id: &str, full_name: &str) -> bool {
        let Some(server) = self.location(&self.join_link(id, full_name)).await else { return false };
        self.location(&server).await.is_some()
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

    /// Where the answer sends the browser.
    async fn location(&self, url: &str) -> Option<String> {
        let answer = self.http.get(url).send().await.ok()?;
        Some(answer.headers().get(LOCATION)?.to_str().ok()?.to_owned())
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
