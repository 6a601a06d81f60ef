//! The truth: what runs on the simulated servers. As simple as BBB is about ids; it knows nothing of Usher.

use super::super::*;
use super::steps::SERVERS;

/// A meeting that runs on a server, or is over and still listed.
#[derive(Clone, Debug)]
pub struct Running {
    pub bbb_id: BbbMeetingId,
    /// Counts all meetings ever made; part of the internal id.
    pub serial: u64,
    pub people: u32,
    pub rooms: u8,
    pub is_over: bool,
}

/// One machine, whatever its id in the table.
#[derive(Debug, Default)]
pub struct Machine {
    pub meetings: Vec<Running>,
}

#[derive(Debug)]
pub struct Machines {
    pub all: Vec<Machine>,
    serial: u64,
}

impl Machines {
    pub fn new() -> Self {
        Self { all: (0..SERVERS).map(|_| Machine::default()).collect(), serial: 0 }
    }

    /// `create`: the meeting that runs there, or a new one; its serial.
    pub fn create(&mut self, machine: usize, bbb_id: &BbbMeetingId) -> u64 {
        if let Some(running) = self.running(machine, bbb_id) {
            return running.serial;
        }
        self.serial += 1;
        let (bbb_id, serial) = (bbb_id.clone(), self.serial);
        self.all[machine].meetings.push(Running { bbb_id, serial, people: 0, rooms: 0, is_over: false });
        serial
    }

    pub fn running(&self, machine: usize, bbb_id: &BbbMeetingId) -> Option<&Running> {
        self.all[machine].meetings.iter().find(|one| one.bbb_id == *bbb_id && !one.is_over)
    }

    /// Every copy of the meeting on one machine, or on all.
    pub fn change(&mut self, machine: Option<usize>, bbb_id: &BbbMeetingId, change: impl Fn(&mut Running)) {
        let chosen = self.all.iter_mut().enumerate().filter(|(index, _)| machine.is_none_or(|one| one == *index));
        let meetings = chosen.flat_map(|(_, machine)| &mut machine.meetings);
        meetings.filter(|one| one.bbb_id == *bbb_id && !one.is_over).for_each(change);
    }

    /// Whether that very meeting runs there.
    pub fn lives(&self, machine: usize, serial: u64) -> bool {
        self.all[machine].meetings.iter().any(|one| one.serial == serial && !one.is_over)
    }

    /// The answer to `getMeetings`.
    pub fn list(&self, machine: usize) -> Vec<bbb::Meeting> {
        let mut list = Vec::new();
        for one in &self.all[machine].meetings {
            let meeting = one.listed();
            for room in 0..one.rooms {
                let name = format!("room-{}-{room}", one.serial);
                list.push(bbb::Meeting {
                    is_breakout: true,
                    parent: Some(meeting.internal_id.clone()),
                    ..listed(&name, one.people / 2)
                });
            }
            list.push(meeting);
        }
        list
    }
}

impl Running {
    fn listed(&self) -> bbb::Meeting {
        bbb::Meeting {
            internal_id: internal_id(self.serial),
            create_time: create_time(self.serial),
            forcibly_ended: self.is_over,
            ..listed(self.bbb_id.as_str(), self.people)
        }
    }
}

pub fn internal_id(serial: u64) -> InternalId {
    InternalId::new(format!("internal-{serial}"))
}

/// Later meetings have later times.
pub fn create_time(serial: u64) -> u64 {
    QUARTER + serial
}

pub fn confirmation(serial: u64) -> Confirmation {
    Confirmation {
        internal_id: internal_id(serial),
        create_time: create_time(serial),
        attendee_pw: None,
        moderator_pw: None,
    }
}

pub fn serial_of(internal_id: &InternalId) -> u64 {
    internal_id.as_str().rsplit('-').next().unwrap().parse().unwrap()
}
