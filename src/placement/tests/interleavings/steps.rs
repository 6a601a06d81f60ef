//! What can happen. Small numbers, so that a shrunken case can be read.

use proptest::prelude::*;

use crate::pool::Health;
use crate::store::ServerState;

/// Meetings 0 to 3 belong to tenant 1, 4 and 5 to tenant 2; 5 is called like 0 towards the servers.
pub const MEETINGS: u8 = 6;
pub const SERVERS: u8 = 3;

#[derive(Clone, Debug)]
pub enum Step {
    /// A create arrives: chosen and reserved, or held if the meeting has its server.
    Create {
        meeting: u8,
        hint: Option<u32>,
        limit: Option<u32>,
    },
    /// The request of the oldest create under way reaches its server.
    Work {
        meeting: u8,
    },
    /// The server's SUCCESS for the first or the last of them arrives.
    Success {
        meeting: u8,
        last: bool,
    },
    /// Refused, or known not to have happened.
    GiveUp {
        meeting: u8,
    },
    /// Nobody knows how it went; the server is asked and has it, or it is left to the polls.
    Unclear {
        meeting: u8,
        asked: bool,
    },
    /// It failed: the next best server.
    NextServer {
        meeting: u8,
    },
    /// A create for a meeting on a lost server.
    Failover {
        meeting: u8,
    },
    /// A create ends without a word.
    BreakOff {
        meeting: u8,
    },
    Join {
        meeting: u8,
        limit: Option<u32>,
    },
    /// `end` works on the server; its answer is still to come.
    End {
        meeting: u8,
    },
    /// The oldest of those answers arrives.
    EndAnswer,
    /// People on the server.
    People {
        meeting: u8,
        people: u32,
        rooms: u8,
    },
    /// The server ends the meeting by itself.
    Over {
        meeting: u8,
    },
    /// Meetings that are over are no longer listed.
    Bury {
        server: u8,
    },
    RestartEmpty {
        server: u8,
    },
    SendPoll {
        server: u8,
    },
    /// The server writes its list for the oldest poll that has none.
    ListForPoll,
    /// A poll arrives, in any order, perhaps with an entry that cannot be read.
    PollArrives {
        nth: u8,
        unreadable: bool,
    },
    /// A meeting that a poll found is taken over.
    Adopt,
    /// Another process created it, or moved it.
    PutByOther {
        meeting: u8,
        server: u8,
        confirmed: bool,
    },
    /// Another process believes it over.
    ForgetByOther {
        meeting: u8,
    },
    Health {
        server: u8,
        health: Health,
    },
    State {
        server: u8,
        state: ServerState,
    },
    Version {
        server: u8,
        new: bool,
    },
    /// So many people's clients are carried to it now.
    Carried {
        server: u8,
        people: u32,
    },
    Remove {
        server: u8,
    },
    /// Under a new id, with what runs there.
    AddAgain {
        server: u8,
    },
    Wait {
        ms: u64,
    },
    Tick,
}

pub fn step() -> impl Strategy<Value = Step> {
    let meeting = || 0..MEETINGS;
    let server = || 0..SERVERS;
    let option = |range| proptest::option::weighted(0.2, range);
    let life = prop_oneof![
        6 => (meeting(), option(0u32..500), option(0u32..4))
            .prop_map(|(meeting, hint, limit)| Step::Create { meeting, hint, limit }),
        6 => meeting().prop_map(|meeting| Step::Work { meeting }),
        6 => (meeting(), any::<bool>()).prop_map(|(meeting, last)| Step::Success { meeting, last }),
        1 => meeting().prop_map(|meeting| Step::GiveUp { meeting }),
        2 => (meeting(), any::<bool>()).prop_map(|(meeting, asked)| Step::Unclear { meeting, asked }),
        2 => meeting().prop_map(|meeting| Step::NextServer { meeting }),
        1 => meeting().prop_map(|meeting| Step::Failover { meeting }),
        1 => meeting().prop_map(|meeting| Step::BreakOff { meeting }),
        5 => (meeting(), option(0u32..4)).prop_map(|(meeting, limit)| Step::Join { meeting, limit }),
        2 => meeting().prop_map(|meeting| Step::End { meeting }),
        2 => Just(Step::EndAnswer),
    ];
    let truth = prop_oneof![
        4 => (meeting(), 0u32..300, 0u8..3).prop_map(|(meeting, people, rooms)| Step::People { meeting, people, rooms }),
        1 => meeting().prop_map(|meeting| Step::Over { meeting }),
        2 => server().prop_map(|server| Step::Bury { server }),
        1 => server().prop_map(|server| Step::RestartEmpty { server }),
    ];
    let polls = prop_oneof![
        4 => server().prop_map(|server| Step::SendPoll { server }),
        3 => Just(Step::ListForPoll),
        4 => (0u8..3, proptest::bool::weighted(0.1))
            .prop_map(|(nth, unreadable)| Step::PollArrives { nth, unreadable }),
        2 => Just(Step::Adopt),
    ];
    let pool = prop_oneof![
        2 => (meeting(), server(), any::<bool>())
            .prop_map(|(meeting, server, confirmed)| Step::PutByOther { meeting, server, confirmed }),
        1 => meeting().prop_map(|meeting| Step::ForgetByOther { meeting }),
        3 => (server(), 0usize..4).prop_map(|(server, nth)| Step::Health { server, health: Health::ALL[nth] }),
        3 => (server(), 0usize..4).prop_map(|(server, nth)| Step::State { server, state: ServerState::ALL[nth] }),
        1 => (server(), any::<bool>()).prop_map(|(server, new)| Step::Version { server, new }),
        3 => (server(), 0u32..400).prop_map(|(server, people)| Step::Carried { server, people }),
        1 => server().prop_map(|server| Step::Remove { server }),
        2 => server().prop_map(|server| Step::AddAgain { server }),
    ];
    let time = prop_oneof![
        3 => (0u64..15_000).prop_map(|ms| Step::Wait { ms }),
        1 => (0u64..1_800_000).prop_map(|ms| Step::Wait { ms }),
        3 => Just(Step::Tick),
    ];
    prop_oneof![5 => life, 2 => truth, 4 => polls, 2 => pool, 3 => time]
}
