//! Behind the scenes: look at the server's state and change it without the API, for tests and for the demo.
//!
//! Methods that name a meeting take its external ID (any ID `getMeetingInfo` would take) and say `false` or `None` if
//! there is no such meeting.

use super::meetings::{SimAttendee, SimMeeting, SimRole};
use super::recordings::SimRecording;
use super::server::SimServer;
use super::world::{GuestStatus, Session, internal_id, random_text};

impl SimServer {
    /// All meetings, those that linger after their end included.
    pub fn meetings(&self) -> Vec<SimMeeting> {
        let mut world = self.shared.world.lock();
        world.sweep(self.shared.options.end_lingers);
        world.meetings.clone()
    }

    pub fn meeting(&self, meeting_id: &str) -> Option<SimMeeting> {
        self.with_meeting(meeting_id, |meeting| meeting.clone())
    }

    /// Somebody comes in; gives the internal user ID.
    pub fn add_user(&self, meeting_id: &str, full_name: &str, role: SimRole) -> Option<String> {
        self.with_meeting(meeting_id, |meeting| {
            let internal_id = format!("w_{}", random_text(12));
            meeting.has_user_joined = true;
            meeting.attendees.push(SimAttendee {
                internal_id: internal_id.clone(),
                user_id: internal_id.clone(),
                full_name: full_name.to_owned(),
                role,
                is_guest: false,
                custom: Vec::new(),
            });
            internal_id
        })
    }

    /// People who are counted but not listed.
    pub fn set_unlisted_people(&self, meeting_id: &str, people: u64) -> bool {
        self.with_meeting(meeting_id, |meeting| {
            meeting.has_user_joined |= people > 0;
            meeting.unlisted_people = people;
        })
        .is_some()
    }

    /// Somebody leaves, named by internal ID, user ID or full name; the first that fits.
    pub fn remove_user(&self, meeting_id: &str, user: &str) -> bool {
        let removed = self.with_meeting(meeting_id, |meeting| {
            let is_meant = |it: &SimAttendee| it.internal_id == user || it.user_id == user || it.full_name == user;
            let place = meeting.attendees.iter().position(is_meant)?;
            Some(meeting.attendees.remove(place).internal_id)
        });
        let Some(internal_id) = removed.flatten() else { return false };
        self.shared.world.lock().sessions.retain(|_, session| session.internal_user_id != internal_id);
        self.shared.trouble.sessions_changed();
        true
    }

    /// A moderator lets the waiting guests of a meeting in; how many.
    pub fn let_guests_in(&self, meeting_id: &str) -> usize {
        let mut world = self.shared.world.lock();
        let Some(index) = world.find(meeting_id, self.shared.options.generation) else { return 0 };
        let world = &mut *world;
        let meeting = &mut world.meetings[index];
        let is_waiting = |session: &&mut Session| {
            session.internal_meeting_id == meeting.internal_id && session.guest_status == GuestStatus::Wait
        };
        let mut let_in = 0;
        for session in world.sessions.values_mut().filter(is_waiting) {
            session.guest_status = GuestStatus::Allow;
            let_in += 1;
            meeting.attendees.push(SimAttendee {
                internal_id: session.internal_user_id.clone(),
                user_id: session.internal_user_id.clone(),
                full_name: session.full_name.clone(),
                role: session.role,
                is_guest: true,
                custom: Vec::new(),
            });
        }
        meeting.has_user_joined |= let_in > 0;
        self.shared.trouble.sessions_changed();
        let_in
    }

    /// How many talk, listen only, and share a camera.
    pub fn set_media(&self, meeting_id: &str, voice: u64, listeners: u64, videos: u64) -> bool {
        self.with_meeting(meeting_id, |meeting| {
            (meeting.voice, meeting.listeners, meeting.videos) = (voice, listeners, videos);
        })
        .is_some()
    }

    /// Opens so many breakout rooms, as a moderator in the client would; gives their external IDs.
    pub fn add_breakout(&self, parent_id: &str, rooms: u64) -> Option<Vec<String>> {
        let mut world = self.shared.world.lock();
        let parent = world.find(parent_id, self.shared.options.generation)?;
        let first = world.meetings[parent].breakout_rooms.len() as u64 + 1;
        let opened = (first..first + rooms).map(|sequence| {
            let room = world.add_breakout(parent, sequence);
            world.meetings[room].meeting_id.clone()
        });
        Some(opened.collect())
    }

    /// A meeting that nobody's balancer knows; gives the internal ID. An existing one is left alone.
    pub fn create_directly(&self, meeting_id: &str, name: &str) -> String {
        let mut world = self.shared.world.lock();
        if let Some(existing) = world.same_meeting(meeting_id) {
            return world.meetings[existing].internal_id.clone();
        }
        let create_time = world.next_create_time();
        let mut meeting = SimMeeting::new(meeting_id, internal_id(meeting_id, create_time), create_time);
        name.clone_into(&mut meeting.name);
        meeting.voice_bridge = world.free_voice_bridge();
        let internal_id = meeting.internal_id.clone();
        world.meetings.push(meeting);
        internal_id
    }

    /// Ends a meeting as its moderator in the client would.
    pub fn end_directly(&self, meeting_id: &str) -> bool {
        let options = &self.shared.options;
        let mut world = self.shared.world.lock();
        let Some(index) = world.find(meeting_id, options.generation) else { return false };
        world.end(index, options.end_lingers);
        self.shared.trouble.sessions_changed();
        true
    }

    pub fn add_recording(&self, recording: SimRecording) {
        self.shared.world.lock().recordings.push(recording);
    }

    pub fn recordings(&self) -> Vec<SimRecording> {
        self.shared.world.lock().recordings.clone()
    }

    /// As after a restart of the machine: no meetings, no sessions; recordings lie on disk and stay.
    pub fn forget_everything(&self) {
        let mut world = self.shared.world.lock();
        world.meetings.clear();
        world.sessions.clear();
    }

    fn with_meeting<T>(&self, meeting_id: &str, use_it: impl FnOnce(&mut SimMeeting) -> T) -> Option<T> {
        let mut world = self.shared.world.lock();
        world.sweep(self.shared.options.end_lingers);
        let index = world.find(meeting_id, self.shared.options.generation)?;
        Some(use_it(&mut world.meetings[index]))
    }
}
