//! Killed with -9 at random moments, again and again, under load: what was promised stays true.
//!
//! `KILLS` says how often (20 in the ordinary suite; `make kill-test` takes 500), `KILL_SEED` repeats a run's choices.
//! Two of the servers dawdle a random time before and after their work, so that kills fall between claim, server call,
//! confirmation and answer; where they fell is counted. `Books` hold what front ends were told, and every check
//! compares them with the books of the simulated servers and with the store's rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use usher::sim::Fault;

use crate::harness::{Builder, FrontEnd, Pool, Xml, eventually};
use crate::reliability::KILLS;

/// Longest time that a server takes before its work, and again before its answer.
const JITTER: Duration = Duration::from_millis(12);
const WORKERS: usize = 6;
/// Kills between two full looks at everything.
const BATCH: usize = 10;

/// What front ends were told.
#[derive(Default)]
pub struct Books {
    /// Created with SUCCESS and not ended: the internal id.
    pub alive: BTreeMap<String, String>,
    /// Ended with SUCCESS: the internal id it had.
    pub ended: BTreeMap<String, String>,
    /// Creates without an answer yet, by worker.
    in_flight: BTreeMap<usize, String>,
    creates: u64,
    joins: u64,
    ends: u64,
}

/// Where kills hit the creates that were under way.
#[derive(Default)]
struct Hits {
    before_claim: u64,
    claimed: u64,
    on_server: u64,
    confirmed: u64,
}

/// A call to an Usher that may be dead; `None` if no whole answer came.
async fn attempt(moodle: &FrontEnd, call: &str, query: &str) -> Option<(u16, String, String)> {
    let response = moodle.http.get(moodle.url(call, query)).send().await.ok()?;
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    Some((status, location, response.text().await.ok()?))
}

/// Front ends that create, join and end as fast as it goes.
pub struct Torment {
    stop: Arc<AtomicBool>,
    /// Calls that were answered.
    pub progress: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
}

struct Worker {
    number: usize,
    moodle: FrontEnd,
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    books: Arc<Mutex<Books>>,
}

impl Torment {
    pub fn start(moodle: &FrontEnd, prefix: &str, books: &Arc<Mutex<Books>>) -> Self {
        let (stop, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let workers = (0..WORKERS).map(|number| {
            let worker = Worker {
                number,
                moodle: moodle.clone(),
                stop: stop.clone(),
                progress: progress.clone(),
                books: books.clone(),
            };
            let prefix = format!("{prefix}-{number}");
            tokio::spawn(async move {
                for count in 0.. {
                    if worker.run(&format!("{prefix}-{count}"), count % 5 < 3).await.is_none() {
                        return;
                    }
                }
            })
        });
        let workers = workers.collect();
        Self { stop, progress, workers }
    }

    pub fn answered(&self) -> u64 {
        self.progress.load(Ordering::Acquire)
    }

    pub async fn wait_for(&self, more: u64) {
        let goal = self.answered() + more;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.answered() < goal {
            assert!(Instant::now() < deadline, "usher answers again after a kill");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

impl Worker {
    /// Asks until `read` takes the answer; `None` when told to stop.
    async fn insist<T>(
        &self,
        call: &str,
        query: &str,
        read: impl Fn(&(u16, String, String)) -> Option<T>,
    ) -> Option<T> {
        while !self.stop.load(Ordering::Acquire) {
            if let Some(answer) = attempt(&self.moodle, call, query).await.as_ref().and_then(&read) {
                self.progress.fetch_add(1, Ordering::AcqRel);
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None
    }

    /// The life of one meeting.
    async fn run(&self, id: &str, ends: bool) -> Option<()> {
        let is_success = |body: &str| body.contains("<returncode>SUCCESS</returncode>");
        self.books.lock().unwrap().in_flight.insert(self.number, id.to_owned());
        let query = format!("name=Room&meetingID={id}&attendeePW=ap&moderatorPW=mp");
        let created = self.insist("create", &query, |(_, _, body)| is_success(body).then(|| body.clone())).await;
        let internal_id = Xml::parse(&created?).text("internalMeetingID");
        {
            let mut books = self.books.lock().unwrap();
            books.in_flight.remove(&self.number);
            books.alive.insert(id.to_owned(), internal_id.clone());
            books.creates += 1;
        }
        let query = format!("fullName=Ann&meetingID={id}&role=VIEWER");
        let join = self.insist("join", &query, |(status, location, _)| (*status == 302).then(|| location.clone()));
        let location = join.await?;
        let _ = self.moodle.http.get(location).send().await;
        self.books.lock().unwrap().joins += 1;
        if !ends {
            return Some(());
        }
        // From now on nobody knows whether it lives, until the answer.
        self.books.lock().unwrap().alive.remove(id);
        let is_over = |(_, _, body): &(u16, String, String)| {
            (is_success(body) || body.contains("<messageKey>notFound</messageKey>")).then_some(())
        };
        self.insist("end", &format!("meetingID={id}&password=mp"), is_over).await?;
        let mut books = self.books.lock().unwrap();
        books.ended.insert(id.to_owned(), internal_id);
        books.ends += 1;
        Some(())
    }
}

/// What the servers have: id → (server, internal id) of each meeting that has not ended.
fn on_servers(pool: &Pool) -> BTreeMap<String, Vec<(usize, String)>> {
    let mut found: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for (index, server) in pool.servers.iter().enumerate() {
        for meeting in server.meetings().into_iter().filter(|meeting| !meeting.has_ended()) {
            found.entry(meeting.meeting_id.clone()).or_default().push((index, meeting.internal_id.clone()));
        }
    }
    found
}

/// What the store has: id → (server, internal id). Opened so that a file that was just left behind stays as it is.
fn in_store(file: &Path) -> BTreeMap<String, (usize, Option<String>)> {
    let database = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let dangling = database.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
    assert!(!dangling, "every row that is pointed to exists");
    let sql = "SELECT meeting_id, name, internal_id FROM placements JOIN servers ON servers.id = server_id";
    let mut statement = database.prepare(sql).unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let server: String = row.get(1)?;
        Ok((row.get(0)?, (server.trim_start_matches("bbb").parse::<usize>().unwrap() - 1, row.get(2)?)))
    };
    statement.query_map([], read).unwrap().map(|row| row.unwrap()).collect()
}

impl Books {
    /// With Usher dead: what was promised is on the servers and in the store. `calm`: no server failed a create.
    fn check_dead(&self, pool: &Pool, file: Option<&Path>, calm: bool, hits: &mut Hits) {
        let servers = on_servers(pool);
        let rows = file.map(in_store);
        for (id, internal_id) in &self.alive {
            let held = servers.get(id).and_then(|held| held.iter().find(|(_, internal)| internal == internal_id));
            let (server, _) = held.unwrap_or_else(|| panic!("{id} ({internal_id}) was created, and is on no server"));
            if let Some(rows) = &rows {
                let (row_server, row_internal) = rows.get(id).unwrap_or_else(|| panic!("{id} is not in the store"));
                assert_eq!(row_server, server, "{id} is stored where it is");
                assert_eq!(row_internal.as_ref(), Some(internal_id), "{id} was stored before it was told");
            }
        }
        for (id, internal_id) in &self.ended {
            let lives = servers.get(id).is_some_and(|held| held.iter().any(|(_, internal)| internal == internal_id));
            assert!(!lives, "{id} was ended, and is running");
        }
        if calm {
            for (id, held) in &servers {
                assert_eq!(held.len(), 1, "{id} is on two servers: {held:?}");
            }
        }
        let Some(rows) = rows else { return };
        for id in self.in_flight.values() {
            match (rows.get(id), servers.contains_key(id)) {
                (None, is_there) => {
                    assert!(!is_there || !calm, "{id} was sent to a server before its claim was durable");
                    hits.before_claim += 1;
                }
                (Some((_, None)), false) => hits.claimed += 1,
                (Some((_, None)), true) => hits.on_server += 1,
                (Some((_, Some(_))), _) => hits.confirmed += 1,
            }
        }
    }

    /// With a running Usher and no load: everything is where it was promised, once, and counted right.
    pub async fn check_alive(&self, pool: &Pool, moodle: &FrontEnd, file: &Path) {
        pool.wait_ready().await;
        pool.wait_polls().await;
        let servers = eventually("no meeting is on two servers", || async {
            let servers = on_servers(pool);
            servers.values().all(|held| held.len() == 1).then_some(servers)
        })
        .await;
        for (id, internal_id) in &self.alive {
            let held = servers.get(id).unwrap_or_else(|| panic!("{id} was created, and is on no server"));
            assert_eq!(&held[0].1, internal_id, "{id} is the meeting that was promised");
        }
        for id in self.ended.keys() {
            assert!(!servers.contains_key(id), "{id} was ended, and is running");
        }
        eventually("getMeetings lists what the servers have, under the same internal ids", || async {
            let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
            let listed = listed.iter().map(|one| (one.text("meetingID"), one.text("internalMeetingID")));
            let listed: BTreeMap<String, String> = listed.collect();
            let held = servers.iter().map(|(id, held)| (id.clone(), held[0].1.clone()));
            (listed == held.collect()).then_some(())
        })
        .await;
        eventually("people are counted as they are there", || async {
            let status = pool.status().await?;
            let mut all = 0;
            for (server, told) in pool.servers.iter().zip(status["servers"].as_array()?) {
                let people: u64 = server.meetings().iter().map(|meeting| meeting.attendees.len() as u64).sum();
                (told["participants"].as_u64()? == people).then_some(())?;
                all += people;
            }
            (status["tenants"][0]["people"].as_u64()? == all).then_some(())
        })
        .await;
        for (id, (server, internal_id)) in in_store(file) {
            if let Some(held) = servers.get(&id) {
                assert_eq!((server, internal_id.as_ref()), (held[0].0, Some(&held[0].1)), "{id} is stored where it is");
            }
        }
        // Joins go there, and a further create means the same meeting.
        for (id, internal_id) in self.alive.iter().take(5) {
            let location = moodle.join(id, "Bob").await;
            assert!(location.starts_with(&pool.servers[servers[id][0].0].url()), "{id}: {location}");
            let again = moodle.create(id, "&attendeePW=ap&moderatorPW=mp").await;
            assert_eq!(&again.xml().text("internalMeetingID"), internal_id, "{id} is created again");
        }
    }

    /// Before the first poll: what was promised is listed from the store alone, and joins go there.
    async fn check_unpolled(&self, pool: &Pool, moodle: &FrontEnd) {
        eventually("usher is back", || async { attempt(moodle, "getMeetings", "").await }).await;
        let listed = moodle.get("getMeetings", "").await.xml().all("meetings", "meeting");
        let listed: BTreeMap<String, String> =
            listed.iter().map(|meeting| (meeting.text("meetingID"), meeting.text("internalMeetingID"))).collect();
        let servers = on_servers(pool);
        for (id, internal_id) in &self.alive {
            assert_eq!(listed.get(id), Some(internal_id), "{id} is listed before the first poll");
            assert!(servers[id].iter().any(|(_, internal)| internal == internal_id));
        }
    }
}

struct Run {
    pool: Pool,
    moodle: FrontEnd,
    books: Arc<Mutex<Books>>,
    random: StdRng,
    hits: Hits,
    kills: usize,
}

impl Run {
    fn file(&self) -> std::path::PathBuf {
        self.pool.dir.path().join("usher.db")
    }

    /// Starts Usher, kills it at some moment of its life, and looks at what it left.
    async fn round(&mut self, torment: &Torment, calm: bool) {
        if !calm {
            let (victim, asked) = (self.random.random_range(0..self.pool.servers.len()), self.random.random_bool(0.5));
            self.pool.servers[victim].fault_on("create", Fault::WorkThenReset, Some(1));
            if asked {
                self.pool.servers[victim].fault_on("getMeetingInfo", Fault::Status(500), Some(1));
            }
        }
        self.pool.start_process();
        if self.random.random_ratio(1, 4) {
            // While it starts, or soon after.
            tokio::time::sleep(Duration::from_micros(self.random.random_range(0..150_000))).await;
        } else {
            torment.wait_for(self.random.random_range(1..20)).await;
            // At once in half of the rounds: what has just been answered must be on disk already.
            let wait = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(0..30_000) };
            tokio::time::sleep(Duration::from_micros(wait)).await;
        }
        self.pool.kill();
        self.kills += 1;
        // Half of the starts find the file exactly as the kill left it.
        let file = self.random.random_bool(0.5).then(|| self.file());
        self.books.lock().unwrap().check_dead(&self.pool, file.as_deref(), calm, &mut self.hits);
    }

    async fn batch(&mut self, number: usize, kills: usize) {
        let calm = number.is_multiple_of(2);
        let torment = Torment::start(&self.moodle, &format!("b{number}"), &self.books);
        for _ in 0..kills {
            self.round(&torment, calm).await;
        }
        torment.stop().await;
        let mut books = std::mem::take(&mut *self.books.lock().unwrap());
        books.in_flight.clear();
        for server in &self.pool.servers {
            server.heal();
            server.fault_on("getMeetings", Fault::Silent, None);
        }
        self.pool.start_process();
        books.check_unpolled(&self.pool, &self.moodle).await;
        for server in &self.pool.servers {
            server.heal();
        }
        books.check_alive(&self.pool, &self.moodle, &self.file()).await;
        // All that is left, answered or not, is ended, and must stay so.
        for (id, held) in on_servers(&self.pool) {
            assert_eq!(self.moodle.get("end", &format!("meetingID={id}&password=mp")).await.returncode(), "SUCCESS");
            books.alive.remove(&id);
            books.ended.insert(id, held[0].1.clone());
        }
        self.pool.kill();
        *self.books.lock().unwrap() = books;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_promised_is_lost_by_kills() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("KILLS").unwrap_or(20) as usize;
    let seed = number("KILL_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    eprintln!("KILLS={kills} KILL_SEED={seed}");
    let mut builder = Builder::new(3).set("USHER_HEALTH__HEALTHY_AFTER", "1");
    // The first answers at once, so that a kill right after an answer hits as little time as there is.
    for index in 1..3 {
        builder = builder.sim(index, |options| options.jitter = JITTER);
    }
    let pool = builder.prepare().await;
    let moodle = pool.front_end();
    let random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    let mut run = Run { pool, moodle, books: Arc::default(), random, hits: Hits::default(), kills: 0 };
    let batch = BATCH.max(kills / 20);
    for number in 0..kills.div_ceil(batch) {
        run.batch(number, batch.min(kills - run.kills)).await;
    }
    let (took, hits) = (started.elapsed(), &run.hits);
    let books = run.books.lock().unwrap();
    let told = format!("{} creates, {} joins, {} ends answered", books.creates, books.joins, books.ends);
    let hits = format!(
        "{} times before the claim, {} after it, {} after the server's work, {} after the confirmation",
        hits.before_claim, hits.claimed, hits.on_server, hits.confirmed
    );
    eprintln!("{} kills in {took:.1?}: {told}; creates under way were hit {hits}", run.kills);
    assert!(books.creates as usize >= kills, "the load was real: {told}");
    KILLS.write(
        run.kills,
        &[
            &format!("`usher serve` killed with -9 {} times at random moments and started again", run.kills),
            &format!("{told}; creates under way were hit {hits}"),
            "a closed connection; answers again when it is started",
            "each found again on its server with its internal id, listed before the first poll; what was ended stays \
             ended; none on two servers; people counted as they are; the database sound",
        ],
    );
}
