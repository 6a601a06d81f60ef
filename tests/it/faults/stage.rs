//! Three servers, Usher before them, meetings with people in them; certificates and names of their own where a fault
//! is about those.

use super::case::How;
use super::load::{Standing, create_query};
use super::names::{Names, Resolver};
use super::tls::{Authority, Certificate, TlsFront};
use super::{CONNECT_TIMEOUT, INTERVAL, MAX_BACKOFF, PROBE_TIMEOUT, REQUEST_TIMEOUT};
use crate::harness::{Builder, FrontEnd, Pool, eventually};
use usher::sim::SimRole;

pub const SERVERS: usize = 3;
/// Meetings that were there before.
const STANDING: usize = 6;

pub struct Stage {
    pub pool: Pool,
    pub moodle: FrontEnd,
    /// The servers' addresses as Usher knows them.
    pub urls: Vec<String>,
    pub fronts: Vec<TlsFront>,
    pub standing: Vec<Standing>,
    resolver: Option<Resolver>,
}

/// Intervals short enough for a test; everything else as shipped.
pub fn builder() -> Builder {
    let millis = |time: std::time::Duration| format!("{}ms", time.as_millis());
    Builder::new(SERVERS)
        .set("USHER_HEALTH__INTERVAL", &millis(INTERVAL))
        .set("USHER_HEALTH__POLL_INTERVAL", &millis(INTERVAL))
        .set("USHER_HEALTH__TIMEOUT", &millis(PROBE_TIMEOUT))
        .set("USHER_HEALTH__MAX_BACKOFF", &millis(MAX_BACKOFF))
        .set("USHER_HEALTH__FAILOVER_AFTER", "60s")
        .set("USHER_API__CONNECT_TIMEOUT", &millis(CONNECT_TIMEOUT))
        .set("USHER_API__REQUEST_TIMEOUT", &millis(REQUEST_TIMEOUT))
}

impl Stage {
    pub async fn set(how: &How) -> Stage {
        let authority = Authority::new();
        let mut builder = builder();
        if how.needs_tls() {
            builder = builder.set("SSL_CERT_FILE", authority.roots().to_str().unwrap());
        }
        let mut pool = builder.prepare().await;
        let mut urls: Vec<String> = pool.servers.iter().map(usher::sim::SimServer::url).collect();
        let mut fronts = Vec::new();
        if how.needs_tls() {
            for (number, server) in pool.servers.iter().enumerate() {
                let front = TlsFront::start(authority.clone(), server.addr()).await;
                front.present(Certificate::Good);
                urls[number] = format!("https://{}/bigbluebutton/api/", front.addr());
                fronts.push(front);
            }
        }
        let resolver = how.needs_names().then(|| Resolver::new(pool.dir.path()));
        if let Some(resolver) = &resolver {
            for (number, server) in pool.servers.iter().enumerate() {
                let name = Resolver::name(number);
                urls[number] = format!("http://{name}:{}/bigbluebutton/api/", server.addr().port());
            }
            resolver.set(Names::Known, &[]);
            pool.launcher = resolver.launcher();
        }
        for (number, url) in urls.iter().enumerate() {
            pool.cli_ok(&["server", "set", &format!("bbb{}", number + 1), "--url", url]);
        }
        Self { resolver, fronts, ..Self::serving(pool, urls).await }
    }

    /// Starts Usher and fills the servers.
    pub async fn serving(mut pool: Pool, urls: Vec<String>) -> Stage {
        pool.serve().await;
        let moodle = pool.front_end();
        let mut stage = Stage { pool, moodle, urls, fronts: Vec::new(), standing: Vec::new(), resolver: None };
        stage.fill().await;
        stage
    }

    /// Meetings on every server, each with somebody in it, known to Usher.
    async fn fill(&mut self) {
        for number in 0..STANDING {
            let id = format!("standing-{number}");
            let created = self.moodle.get("create", &create_query(&id)).await;
            assert_eq!(created.returncode(), "SUCCESS", "{}", created.body);
            let holders = self.pool.holders(&id);
            self.pool.servers[holders[0]].add_user(&id, "Eve", SimRole::Viewer).unwrap();
            let internal_id = created.xml().text("internalMeetingID");
            self.standing.push(Standing { id, internal_id, server: holders[0] });
        }
        for server in 0..SERVERS {
            assert!(self.standing.iter().any(|standing| standing.server == server), "meetings on every server");
        }
        eventually("polls have seen the people", || async {
            let listed = self.moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
            listed.iter().all(|meeting| meeting.text("participantCount") == "1").then_some(())
        })
        .await;
    }

    /// An address that nobody may ever ask.
    pub fn outside(&self) -> String {
        format!("http://{}/outside", self.pool.servers[SERVERS - 1].addr())
    }

    pub fn resolver(&self) -> &Resolver {
        self.resolver.as_ref().unwrap()
    }
}
