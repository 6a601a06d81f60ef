//! Faults: what goes wrong, for which calls, how often.
//!
//! A fault for all calls holds until `heal` and also takes hold of connections that are already open. A fault for one
//! call wins over it and may be counted down. `Refuse`, `Unreachable` and `BlackHole` for all calls act on the sockets
//! themselves; for one call they can only act once its request has been read: `Refuse` then closes the connection, the
//! others are `Silent`.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// A way to fail. "Works" means that the call takes effect (a meeting is created, a user joins).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens: connecting is refused, open connections are closed.
    Refuse,
    /// Connecting is never answered, as behind a firewall that drops packets; open connections fall silent.
    Unreachable,
    /// Connections are accepted; nothing is ever read or answered.
    BlackHole,
    /// The request is read, nothing happens, no answer comes.
    Silent,
    /// Works; the connection is reset (RST) in the middle of the answer's body.
    Reset,
    /// Works; the whole length is promised, half of it sent, then the connection is closed.
    HalfAnswer,
    /// Works at once; the answer comes after this time.
    Slow(Duration),
    /// Works only after this time, then answers.
    Late(Duration),
    /// Works; the header comes at once, then one byte of the body per interval.
    Trickle(Duration),
    /// An HTML page with this status (500 if it is none).
    Status(u16),
    /// Works; the right answer comes with this status (500 if it is none).
    WorkThenStatus(u16),
    /// HTTP 200 with an HTML page, as a captive portal or maintenance page would.
    Html200,
    /// HTTP 200, `text/xml`, bytes that are no XML.
    Garbage,
    /// Works; the XML says UTF-8 and contains bytes that are not.
    WrongEncoding,
    /// Well-formed XML of at least this many bytes, without a length in the header.
    Huge(usize),
    /// XML with entities that would expand to gigabytes.
    XmlBomb,
    /// XML whose text is an entity to be fetched from this address (`file:` or `http:`).
    ExternalEntity(String),
    /// Works; the server's clock is so many seconds ahead, or behind if negative: its `Date` and the times it gives to
    /// new meetings.
    ClockOff(i64),
    /// Works, never answers.
    WorkButNoAnswer,
    /// Works; the connection is reset before the first byte of the answer.
    WorkThenReset,
    /// FAILED with this messageKey, e.g. `checksumError`.
    FailedKey(String),
    /// The list of a server without meetings, as after it has lost touch with its own memory.
    NoMeetings,
}

impl Fault {
    /// How far the server's clock is off, milliseconds.
    pub(super) fn clock_off(&self) -> i64 {
        match self {
            Self::ClockOff(seconds) => seconds.saturating_mul(1000),
            _ => 0,
        }
    }

    /// Whether the call takes effect although its answer is spoiled.
    pub(super) fn works(&self) -> bool {
        matches!(
            self,
            Self::Reset
                | Self::HalfAnswer
                | Self::Slow(_)
                | Self::Late(_)
                | Self::Trickle(_)
                | Self::WrongEncoding
                | Self::ClockOff(_)
                | Self::WorkButNoAnswer
                | Self::WorkThenReset
                | Self::WorkThenStatus(_)
        )
    }
}

/// What the sockets do, whichever call comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    Serving,
    /// Accept, then neither read nor write.
    BlackHole,
    /// Nobody accepts, and the kernel's queue is full.
    Unreachable,
    /// Not listening, no connection open.
    Closed,
}

struct Planned {
    fault: Fault,
    /// Calls left; `None` = until healed.
    left: Option<u32>,
}

struct Plan {
    running: bool,
    everywhere: Option<Fault>,
    by_call: HashMap<String, Planned>,
}

/// The plan of faults, and the socket state that follows from it.
pub(super) struct Faults {
    plan: Mutex<Plan>,
    sockets: watch::Sender<SocketState>,
}

impl Faults {
    pub(super) fn none() -> Self {
        let plan = Plan { running: true, everywhere: None, by_call: HashMap::new() };
        Self { plan: Mutex::new(plan), sockets: watch::Sender::new(SocketState::Serving) }
    }

    pub(super) fn sockets(&self) -> watch::Receiver<SocketState> {
        self.sockets.subscribe()
    }

    pub(super) fn set_running(&self, running: bool) -> SocketState {
        self.change(|plan| plan.running = running)
    }

    pub(super) fn set_everywhere(&self, fault: Fault) -> SocketState {
        self.change(|plan| plan.everywhere = Some(fault))
    }

    pub(super) fn set_for(&self, call: &str, fault: Fault, times: Option<u32>) {
        let planned = Planned { fault, left: times };
        self.plan.lock().by_call.insert(call.to_owned(), planned);
    }

    pub(super) fn heal(&self) -> SocketState {
        self.change(|plan| {
            plan.everywhere = None;
            plan.by_call.clear();
        })
    }

    /// The fault for the next request of that call, counted down.
    pub(super) fn take(&self, call: &str) -> Option<Fault> {
        let mut plan = self.plan.lock();
        let Some(planned) = plan.by_call.get_mut(call) else { return plan.everywhere.clone() };
        let fault = match &mut planned.left {
            None => return Some(planned.fault.clone()),
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(planned.fault.clone())
            }
        };
        fault.or_else(|| plan.everywhere.clone())
    }

    /// Wakes whoever watches the sockets, though the state is the same: the listening socket was opened or closed.
    pub(super) fn announce(&self) {
        self.sockets.send_modify(|_| ());
    }

    fn change(&self, edit: impl FnOnce(&mut Plan)) -> SocketState {
        let mut plan = self.plan.lock();
        edit(&mut plan);
        let state = match (plan.running, &plan.everywhere) {
            (false, _) | (true, Some(Fault::Refuse)) => SocketState::Closed,
            (true, Some(Fault::BlackHole)) => SocketState::BlackHole,
            (true, Some(Fault::Unreachable)) => SocketState::Unreachable,
            (true, _) => SocketState::Serving,
        };
        // Sent under the lock, so that two changes cannot arrive in the wrong order.
        self.sockets.send_replace(state);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_fault_gives_way_to_the_general_one() {
        let faults = Faults::none();
        faults.set_for("create", Fault::Garbage, Some(2));
        assert_eq!(faults.take("join"), None);
        assert_eq!(faults.take("create"), Some(Fault::Garbage));
        faults.set_everywhere(Fault::Html200);
        assert_eq!(faults.take("create"), Some(Fault::Garbage));
        assert_eq!(faults.take("create"), Some(Fault::Html200));
        faults.heal();
        assert_eq!(faults.take("create"), None);
    }

    #[test]
    fn a_stopped_server_stays_closed_when_healed() {
        let faults = Faults::none();
        assert_eq!(faults.set_everywhere(Fault::BlackHole), SocketState::BlackHole);
        assert_eq!(faults.set_running(false), SocketState::Closed);
        assert_eq!(faults.heal(), SocketState::Closed);
        assert_eq!(faults.set_running(true), SocketState::Serving);
    }
}
