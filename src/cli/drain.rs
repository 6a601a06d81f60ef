//! `usher server drain --wait`: until the servers have no meetings any more.
//!
//! A running Usher disables a drained server when its last meeting has ended. Where none runs, the store's placements
//! are all there is to go by.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, count, progress};
use super::server_view::server_json;
use crate::store::{ServerRecord, ServerState};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long without meetings a server counts as drained although nobody disables it: a running Usher has followed the
/// command by then, and what was under way has been placed.
const EMPTY_FOR: Duration = Duration::from_secs(10);

pub async fn wait(context: &Context, names: &[String], limit: Option<Duration>) -> Result<Report, CliError> {
    let begun = Instant::now();
    let mut told = String::new();
    let mut empty_since = vec![None; names.len()];
    loop {
        let mut left = Vec::new();
        let mut servers = Vec::new();
        for (name, since) in names.iter().zip(&mut empty_since) {
            let server = context.server(name).await?;
            let meetings = context.meetings_by_server().await?.get(&server.id).copied().unwrap_or(0);
            if !is_drained(&server, meetings, since)? {
                left.push(format!("{name}: {}", count(meetings, "meeting")));
            }
            servers.push(server_json(&server, meetings));
        }
        if left.is_empty() {
            let text = format!("{} drained", names.join(", "));
            let json = if servers.len() == 1 { servers.remove(0) } else { Value::Array(servers) };
            return Ok(Report::new(text, json));
        }
        let now = left.join(", ");
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            return Err(CliError::Failed(format!(
                "not drained in time ({now}); they go on draining, and `usher meeting list` shows what is there"
            )));
        }
        if now != told {
            progress(&format!("waiting: {now}"));
            told = now;
        }
        sleep(LOOK_EVERY.min(limit.map_or(LOOK_EVERY, |limit| limit.saturating_sub(begun.elapsed())))).await;
    }
}

fn is_drained(server: &ServerRecord, meetings: u64, empty_since: &mut Option<Instant>) -> Result<bool, CliError> {
    match server.state {
        ServerState::Disabled => Ok(true),
        ServerState::Draining if meetings > 0 => {
            *empty_since = None;
            Ok(false)
        }
        ServerState::Draining => Ok(empty_since.get_or_insert_with(Instant::now).elapsed() >= EMPTY_FOR),
        state => {
            Err(CliError::Failed(format!("server {} has become {state} meanwhile, it is not drained", server.name)))
        }
    }
}
