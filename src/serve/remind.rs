//! What stays wrong is said again, every few minutes and not with every attempt: servers that do not answer, and servers
//! whose certificate is not checked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use crate::clock::Millis;
use crate::ids::ServerId;
use crate::placement::ServerView;
use crate::pool::Health;
use crate::process::Shared;
use crate::store::ServerState;

/// How often all servers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two lines about one server that stays as it is.
const AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);
/// Between two lines about a certificate that is not checked.
const INSECURE_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Goes on as long as the process.
pub async fn remind(shared: Arc<Shared>) {
    let mut book = Book::default();
    loop {
        let placer = &shared.placer;
        let servers = placer.ledger.servers();
        for line in book.look(&servers, |id| placer.monitor.reason(id), placer.clock.now()) {
            match line {
                Line::Failing { id, name, health, reason, for_s, again } => {
                    warn!(server = name.as_str(), health = health.as_str(), reason = reason.as_str(), for_s = for_s,
                        failures = placer.monitor.failures(id), reminder = again; "server still fails");
                }
                Line::Otherwise { name, reason } => {
                    warn!(server = name.as_str(), reason = reason.as_str(); "server fails for another reason now");
                }
                Line::Insecure { name } => {
                    warn!(server = name.as_str(); "the certificate of this server is NOT checked (--insecure): whoever is on the way can read secrets and meetings");
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[derive(Debug, PartialEq)]
enum Line {
    Failing { id: ServerId, name: String, health: Health, reason: String, for_s: u64, again: u32 },
    Otherwise { name: String, reason: String },
    Insecure { name: String },
}

/// What was said of each server.
#[derive(Default)]
struct Book {
    failing: HashMap<ServerId, Failing>,
    insecure: HashMap<ServerId, Millis>,
}

struct Failing {
    since: Millis,
    said: Millis,
    reason: String,
    again: u32,
}

impl Book {
    fn look(&mut self, servers: &[ServerView], reason: impl Fn(ServerId) -> Option<String>, now: Millis) -> Vec<Line> {
        let of = |id: &ServerId| servers.iter().find(|view| view.record.id == *id);
        // A server that nobody wants to answer is no news.
        let fails = |view: &ServerView| {
            matches!(view.health, Health::Down | Health::Suspect) && view.record.state != ServerState::Disabled
        };
        self.failing.retain(|id, _| of(id).is_some_and(fails));
        self.insecure.retain(|id, _| of(id).is_some_and(|view| view.record.reach.trust.insecure));
        let mut lines = Vec::new();
        for view in servers {
            let (id, name) = (view.record.id, view.record.name.clone());
            if view.record.reach.trust.insecure
                && self.insecure.get(&id).is_none_or(|said| now.since(*said) >= INSECURE_AGAIN_AFTER)
            {
                self.insecure.insert(id, now);
                lines.push(Line::Insecure { name: name.clone() });
            }
            if !fails(view) {
                continue;
            }
            let why = reason(id).unwrap_or_default();
            // The change itself has its own line.
            let book = self.failing.entry(id).or_insert_with(|| Failing {
                since: now,
                said: now,
                reason: why.clone(),
                again: 0,
            });
            if now.since(book.said) < AGAIN_AFTER {
                continue;
            }
            (book.said, book.again) = (now, book.again + 1);
            if book.reason != why {
                book.reason.clone_from(&why);
                lines.push(Line::Otherwise { name, reason: why });
                continue;
            }
            let for_s = now.since(book.since).as_secs();
            lines.push(Line::Failing { id, name, health: view.health, reason: why, for_s, again: book.again });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Secret;
    use crate::placement::{Ledger, LedgerSettings};
    use crate::store::ServerRecord;

    #[test]
    fn a_line_every_few_minutes_and_none_of_what_nobody_wants() {
        let ledger = Ledger::new(LedgerSettings::default());
        let mut record = ServerRecord::new("bbb1", "https://bbb1.example/bigbluebutton/api/", Secret::new("s"));
        record.id = ServerId(1);
        record.reach.trust.insecure = true;
        ledger.set_servers(vec![record.clone()], Millis(0));
        ledger.set_health(record.id, Health::Down, Millis(0));
        let mut book = Book::default();
        let mut lines: Vec<Line> = Vec::new();
        for second in 0..=1200 {
            let now = Millis(second * 1000);
            lines.extend(book.look(&ledger.servers(), |_| Some("TLS: expired".to_owned()), now));
        }
        let insecure = lines.iter().filter(|line| matches!(line, Line::Insecure { .. })).count();
        let counts: Vec<(u64, u32)> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Failing { for_s, again, .. } => Some((*for_s, *again)),
                _ => None,
            })
            .collect();
        assert_eq!((insecure, counts), (1, vec![(300, 1), (600, 2), (900, 3), (1200, 4)]), "{lines:?}");
        record.state = ServerState::Disabled;
        ledger.set_servers(vec![record], Millis(1_300_000));
        let quiet = book.look(&ledger.servers(), |_| None, Millis(9_000_000));
        assert!(quiet.iter().all(|line| matches!(line, Line::Insecure { .. })), "{quiet:?}");
    }
}
