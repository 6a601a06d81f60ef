//! The people of the demo: rooms fill, empty, end and begin again, a few steps each.
//!
//! Rooms are created, joined and ended through the API, as a front end and its browsers do. Leaving and media happen on
//! the simulated server, because with a real one they happen inside the client. One room, the lobby, never ends: the
//! join link that the demo prints leads to it.

use std::sync::Arc;

use super::super::output::count;
use super::front_end::FrontEnd;
use crate::sim::SimServer;

/// Meeting ID of the room that is always open.
pub const LOBBY: &str = "demo-lobby";
const ROOMS: usize = 9;
/// People of one room at its fullest: at least, at most.
const PEOPLE: (u32, u32) = (3, 24);
/// Steps a full room goes on before people begin to leave: at least, at most.
const LESSON: (u32, u32) = (20, 60);
/// Steps a room stays closed: at least, at most.
const PAUSE: (u32, u32) = (4, 30);
/// Steps between two looks at the lobby.
const LOBBY_EVERY: u64 = 10;

const SUBJECTS: [&str; ROOMS] =
    ["Algebra", "Botany", "Chemistry", "Drama", "Economics", "French", "Geography", "History", "Informatics"];
const NAMES: [&str; 12] =
    ["Ada", "Bruno", "Chen", "Dana", "Emil", "Fatima", "Goran", "Hanna", "Ivo", "Jana", "Kofi", "Lena"];

/// Where a room stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Closed for so many steps.
    Closed(u32),
    Filling,
    /// Full for so many steps.
    Full(u32),
    Emptying,
}

struct Room {
    subject: &'static str,
    id: String,
    lessons: u32,
    stage: Stage,
    planned: u32,
    present: Vec<String>,
}

pub struct Crowd {
    front_end: FrontEnd,
    servers: Arc<Vec<SimServer>>,
    rooms: Vec<Room>,
    steps: u64,
}

impl Crowd {
    pub fn new(front_end: FrontEnd, servers: Arc<Vec<SimServer>>) -> Self {
        let rooms = SUBJECTS.iter().zip(0..).map(|(subject, number)| Room::closed(subject, number)).collect();
        Self { front_end, servers, rooms, steps: 0 }
    }

    /// A little happens in every room. What fails is simply tried again: Usher may still be starting.
    pub async fn step(&mut self) {
        if self.steps.is_multiple_of(LOBBY_EVERY) && !self.front_end.create(LOBBY, "Lobby").await {
            return;
        }
        self.steps += 1;
        for room in &mut self.rooms {
            room.step(&self.front_end, &self.servers).await;
        }
    }

    /// `7 meetings with 61 people: 3/20 2/25 2/16`, meetings and people of each server.
    pub fn in_words(&self) -> String {
        let mut parts = Vec::new();
        let (mut meetings, mut people) = (0, 0);
        for server in self.servers.iter() {
            let here: Vec<_> = server.meetings().into_iter().filter(|meeting| !meeting.has_ended()).collect();
            let people_here: u64 = here.iter().map(|meeting| meeting.people()).sum();
            meetings += here.len() as u64;
            people += people_here;
            parts.push(format!("{} {} with {people_here}", server.options().name, here.len()));
        }
        format!("{} with {people} people  ({})", count(meetings, "meeting"), parts.join(", "))
    }
}

impl Room {
    fn closed(subject: &'static str, pause: u32) -> Self {
        let stage = Stage::Closed(pause);
        Self { subject, id: String::new(), lessons: 0, stage, planned: 0, present: Vec::new() }
    }

    async fn step(&mut self, front_end: &FrontEnd, servers: &[SimServer]) {
        match self.stage {
            Stage::Closed(0) => self.open(front_end).await,
            Stage::Closed(left) => self.stage = Stage::Closed(left - 1),
            Stage::Filling => self.fill(front_end, servers).await,
            Stage::Full(0) => self.stage = Stage::Emptying,
            Stage::Full(left) => self.stage = Stage::Full(left - 1),
            Stage::Emptying => self.empty(front_end, servers).await,
        }
    }

    async fn open(&mut self, front_end: &FrontEnd) {
        let id = format!("demo-{}-{}", self.subject.to_lowercase(), self.lessons + 1);
        if front_end.create(&id, self.subject).await {
            self.lessons += 1;
            self.id = id;
            self.planned = between(PEOPLE);
            self.stage = Stage::Filling;
        }
    }

    async fn fill(&mut self, front_end: &FrontEnd, servers: &[SimServer]) {
        let number = self.present.len();
        let name = format!("{} {}", NAMES[number % NAMES.len()], number / NAMES.len() + 1);
        if !front_end.join(&self.id, &name).await {
            // Most likely somebody ended it from the command line.
            front_end.end(&self.id).await;
            self.close();
            return;
        }
        self.present.push(name);
        self.show_media(servers);
        if self.present.len() as u32 >= self.planned {
            self.stage = Stage::Full(between(LESSON));
        }
    }

    async fn empty(&mut self, front_end: &FrontEnd, servers: &[SimServer]) {
        match self.present.pop() {
            Some(name) => {
                for server in servers {
                    server.remove_user(&self.id, &name);
                }
                self.show_media(servers);
            }
            None => {
                front_end.end(&self.id).await;
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.present.clear();
        self.stage = Stage::Closed(between(PAUSE));
    }

    /// Half of the people listen only, every eighth shows a camera.
    fn show_media(&self, servers: &[SimServer]) {
        let people = self.present.len() as u64;
        for server in servers {
            server.set_media(&self.id, people - people / 2, people / 2, people / 8);
        }
    }
}

fn between((least, most): (u32, u32)) -> u32 {
    rand::random_range(least..=most)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ids::Secret;
    use crate::sim::SimOptions;

    /// A simulated server speaks the same API as Usher, so the crowd can be tried on it directly.
    #[tokio::test]
    async fn rooms_fill_empty_end_and_begin_again() {
        crate::cli::tests::install_crypto();
        let server = SimServer::start(SimOptions::new(Secret::new("s"))).await.unwrap();
        let front_end = FrontEnd::new(server.url(), server.secret().clone()).unwrap();
        let mut crowd = Crowd::new(front_end, Arc::new(vec![server]));
        crowd.rooms.truncate(2);
        let server = crowd.servers.clone();
        crowd.step().await;
        assert!(server[0].meeting(LOBBY).is_some());
        let second_lesson = "demo-algebra-2";
        let longest = 4 * (PEOPLE.1 + LESSON.1 + PAUSE.1);
        for _ in 0..longest {
            crowd.step().await;
            if server[0].meeting(second_lesson).is_some() {
                break;
            }
        }
        assert!(server[0].meeting(second_lesson).is_some(), "{}", crowd.in_words());
        assert!(server[0].meeting("demo-algebra-1").is_none_or(|meeting| meeting.has_ended()));
        assert!(server[0].count_calls("join") >= u64::from(PEOPLE.0));
    }
}
