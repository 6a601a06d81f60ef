//! Front ends at work: create, join, ask, end, and create again, as Moodle and Greenlight do, a few dozen calls a second.
//!
//! Every answer is looked at when it comes: BBB's form, within the promised time, and never a word that would make a
//! front end believe a running meeting gone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::REQUEST_TIMEOUT;
use crate::harness::{Answer, FrontEnd};

const WORKERS: usize = 4;
/// Between two calls of a worker.
const PAUSE: Duration = Duration::from_millis(60);
/// Creates at once in the moment in which a fault begins, so that some meet it before any probe does.
const RUSH: usize = 9;
/// What a busy machine may add to the promised time.
const SLACK: Duration = Duration::from_secs(2);

/// What goes on.
pub const BEFORE: usize = 0;
pub const DURING: usize = 1;
pub const AFTER: usize = 2;

/// A meeting made before the fault, with somebody in it.
#[derive(Clone, Debug)]
pub struct Standing {
    pub id: String,
    pub internal_id: String,
    pub server: usize,
}

/// A meeting made by the load.
#[derive(Clone, Debug, Default)]
pub struct Room {
    pub id: String,
    /// What the successful create answered.
    pub internal_id: Option<String>,
    pub end_asked: bool,
    pub ended: bool,
}

struct Seen {
    phase: usize,
    call: &'static str,
    outcome: String,
    took: Duration,
}

pub struct Load {
    case: String,
    front: FrontEnd,
    /// The servers' API addresses as Usher knows them.
    urls: Vec<String>,
    pub standing: Vec<Standing>,
    stop: AtomicBool,
    phase: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    pub rooms: Mutex<BTreeMap<String, Room>>,
    /// Ids whose meeting its own server has lost.
    pub lost: Mutex<HashSet<String>>,
    /// A server loses meetings in this case.
    pub may_lose: bool,
}

impl Load {
    pub fn new(case: String, front: FrontEnd, urls: Vec<String>, standing: Vec<Standing>, may_lose: bool) -> Arc<Self> {
        Arc::new(Self {
            case,
            front,
            urls,
            standing,
            stop: AtomicBool::new(false),
            phase: AtomicUsize::new(BEFORE),
            seen: Mutex::default(),
            rooms: Mutex::default(),
            lost: Mutex::default(),
            may_lose,
        })
    }

    pub fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let mut tasks: Vec<JoinHandle<()>> =
            (0..WORKERS).map(|worker| tokio::spawn(self.clone().work(worker))).collect();
        tasks.push(tokio::spawn(self.clone().list()));
        tasks
    }

    pub fn enter(&self, phase: usize) {
        self.phase.store(phase, Ordering::Release);
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub fn is_lost(&self, id: &str) -> bool {
        self.lost.lock().contains(id)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    async fn work(self: Arc<Self>, worker: usize) {
        let mut number = worker;
        while self.goes_on() {
            number += 1;
            let id = format!("new-{worker}-{number}");
            let made = self.create(&id).await;
            tokio::time::sleep(PAUSE).await;
            if made {
                self.join(&id, None).await;
                tokio::time::sleep(PAUSE).await;
            }
            let standing = &self.standing[number % self.standing.len()];
            self.join(&standing.id, Some(standing)).await;
            tokio::time::sleep(PAUSE).await;
            self.is_running(standing).await;
            tokio::time::sleep(PAUSE).await;
            self.info(standing).await;
            tokio::time::sleep(PAUSE).await;
            if number.is_multiple_of(2) {
                self.create_again(standing).await;
                tokio::time::sleep(PAUSE).await;
            }
            if made && number.is_multiple_of(2) {
                self.end(&id).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Creates of meetings that nobody has made before, all at once.
    pub async fn rush(&self, word: &str) {
        let ids: Vec<String> = (0..RUSH).map(|number| format!("new-{word}-{number}")).collect();
        join_all(ids.iter().map(|id| self.create(id))).await;
    }

    /// Takes meetings of a rush out of the books; their ids.
    pub fn fleeting(&self, word: &str) -> Vec<String> {
        let mut rooms = self.rooms.lock();
        let ids: Vec<String> = rooms.keys().filter(|id| id.starts_with(&format!("new-{word}-"))).cloned().collect();
        rooms.retain(|id, _| !ids.contains(id));
        ids
    }

    async fn list(self: Arc<Self>) {
        while self.goes_on() {
            let answer = self.call("getMeetings", "").await;
            self.note("getMeetings", &answer, "complete");
            let meetings = answer.1.xml().all("meetings", "meeting");
            for standing in self.standing.iter().filter(|standing| !self.is_lost(&standing.id)) {
                let found = meetings.iter().find(|meeting| meeting.text("meetingID") == standing.id);
                let told = found.map(|meeting| meeting.text("internalMeetingID")).unwrap_or_default();
                assert_eq!(told, standing.internal_id, "{}: getMeetings forgot {}", self.case, standing.id);
            }
            tokio::time::sleep(PAUSE * 3).await;
        }
    }

    /// One call; fails the test if it took longer than promised or has not BBB's form.
    async fn call(&self, call: &'static str, query: &str) -> (Duration, Answer) {
        let started = Instant::now();
        let answer = self.front.get(call, query).await;
        let took = started.elapsed();
        assert!(took <= REQUEST_TIMEOUT + SLACK, "{}: {call} took {took:?}", self.case);
        if call != "join" {
            let xml = answer.xml(); // strict
            assert_eq!((answer.status, xml.name.as_str()), (200, "response"), "{}: {call}", self.case);
            let code = xml.text("returncode");
            let says_why = !answer.key().is_empty() && !xml.text("message").is_empty();
            assert!(code == "SUCCESS" || (code == "FAILED" && says_why), "{}: {call}: {}", self.case, answer.body);
            let key = answer.key();
            assert_ne!(key, "checksumError", "{}: {call}: a server's fault is told as the caller's", self.case);
        }
        (took, answer)
    }

    fn note(&self, call: &'static str, answer: &(Duration, Answer), good: &str) {
        let outcome = match answer.1.returncode().as_str() {
            "SUCCESS" if answer.1.header("x-usher-age-ms").is_some() && call != "getMeetings" => {
                "from memory".to_owned()
            }
            "SUCCESS" => good.to_owned(),
            _ => format!("FAILED `{}`", answer.1.key()),
        };
        self.note_as(call, outcome, answer.0);
    }

    fn note_as(&self, call: &'static str, outcome: String, took: Duration) {
        let phase = self.phase.load(Ordering::Acquire);
        self.seen.lock().push(Seen { phase, call, outcome, took });
    }

    /// A meeting nobody has made before; true if it was made.
    async fn create(&self, id: &str) -> bool {
        self.rooms.lock().insert(id.to_owned(), Room { id: id.to_owned(), ..Room::default() });
        let answer = self.call("create", &create_query(id)).await;
        self.note("create", &answer, "made");
        let made = answer.1.returncode() == "SUCCESS";
        if made {
            let internal_id = answer.1.xml().text("internalMeetingID");
            assert!(!internal_id.is_empty() && answer.1.xml().text("meetingID") == id, "{}", answer.1.body);
            self.rooms.lock().get_mut(id).unwrap().internal_id = Some(internal_id);
        }
        made
    }

    /// Front ends create a running meeting again whenever somebody enters.
    async fn create_again(&self, standing: &Standing) {
        let answer = self.call("create", &create_query(&standing.id)).await;
        self.note("create again", &answer, "same meeting");
        if answer.1.returncode() == "SUCCESS" && !self.is_lost(&standing.id) {
            let told = answer.1.xml().text("internalMeetingID");
            assert_eq!(told, standing.internal_id, "{}: {} got a twin", self.case, standing.id);
        }
    }

    pub async fn join(&self, id: &str, standing: Option<&Standing>) -> &'static str {
        let (took, answer) = self.call("join", &format!("fullName=Ann&meetingID={id}&role=VIEWER")).await;
        let location = answer.header("location").unwrap_or_default();
        let server = self.urls.iter().position(|url| location.starts_with(url.as_str()));
        let outcome = match (answer.status, server) {
            (302, Some(server)) => {
                let expected = standing.map_or(server, |standing| standing.server);
                assert!(server == expected || self.is_lost(id), "{}: {id} led to {location}", self.case);
                self.browse(location).await;
                LED_IN
            }
            (503, None) => {
                assert!(answer.header("content-type").unwrap_or_default().starts_with("text/html"));
                WAITS
            }
            _ => {
                assert!(self.is_lost(id), "{}: join of {id}: {} {location} {}", self.case, answer.status, answer.body);
                "unknown meeting"
            }
        };
        self.note_as("join", outcome.to_owned(), took);
        outcome
    }

    /// The browser goes where the join led; what it finds there is between it and the server.
    async fn browse(&self, location: &str) {
        let _ = self.front.http.get(location).timeout(Duration::from_millis(100)).send().await;
    }

    async fn is_running(&self, standing: &Standing) {
        let answer = self.call("isMeetingRunning", &format!("meetingID={}", standing.id)).await;
        self.note("isMeetingRunning", &answer, "answered");
        let running = answer.1.xml().text("running");
        assert!(running == "true" || self.is_lost(&standing.id), "{}: {} {}", self.case, standing.id, answer.1.body);
    }

    async fn info(&self, standing: &Standing) {
        let answer = self.call("getMeetingInfo", &format!("meetingID={}", standing.id)).await;
        self.note("getMeetingInfo", &answer, "answered");
        if self.is_lost(&standing.id) {
            return;
        }
        assert_ne!(answer.1.key(), "notFound", "{}: {} is forgotten", self.case, standing.id);
        if answer.1.returncode() == "SUCCESS" {
            let told = answer.1.xml().text("internalMeetingID");
            assert_eq!(told, standing.internal_id, "{}: {} is another meeting", self.case, standing.id);
        }
    }

    async fn end(&self, id: &str) {
        self.rooms.lock().get_mut(id).unwrap().end_asked = true;
        let answer = self.call("end", &format!("meetingID={id}&password=mp")).await;
        self.note("end", &answer, "ended");
        assert!(answer.1.key() != "notFound" || self.may_lose, "{}: {id} is forgotten", self.case);
        self.rooms.lock().get_mut(id).unwrap().ended = answer.1.returncode() == "SUCCESS";
    }

    /// Answers of a phase in words, in the order of `CALLS`.
    pub fn summary(&self, phase: usize) -> String {
        let seen = self.seen.lock();
        let mut calls = Vec::new();
        for call in CALLS {
            let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
            for one in seen.iter().filter(|one| one.phase == phase && one.call == call) {
                *outcomes.entry(&one.outcome).or_default() += 1;
            }
            if !outcomes.is_empty() {
                let words: Vec<String> = outcomes.iter().map(|(word, count)| format!("{count} {word}")).collect();
                calls.push(format!("{call}: {}", words.join(", ")));
            }
        }
        calls.join("; ")
    }

    pub fn longest(&self, phase: usize) -> Duration {
        let seen = self.seen.lock();
        seen.iter().filter(|one| one.phase == phase).map(|one| one.took).max().unwrap_or_default()
    }

    pub fn count(&self, phase: usize) -> usize {
        self.seen.lock().iter().filter(|one| one.phase == phase).count()
    }
}

pub const LED_IN: &str = "led in";
pub const WAITS: &str = "page that waits";

const CALLS: [&str; 7] = ["create", "create again", "join", "isMeetingRunning", "getMeetingInfo", "getMeetings", "end"];

pub fn create_query(id: &str) -> String {
    format!("name=Room+{id}&meetingID={id}&attendeePW=ap&moderatorPW=mp")
}
