//! The faults: how each is brought about, and how it is taken away again.

use std::time::Duration;

use usher::sim::Fault;

use super::REQUEST_TIMEOUT;
use super::names::Names;
use super::stage::Stage;
use super::tls::Certificate;

/// One line of the tables.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub how: How,
}

#[derive(Clone)]
pub enum How {
    /// Every call to the server, probes included.
    Every(Fault),
    /// An entity that points to another address, which must never be asked.
    OutsideEntity,
    /// Every signed call says so; the version call, which has no signature, goes on.
    WrongSecret,
    /// Stopped, all its meetings gone, started again.
    Emptied,
    Certificate(Certificate),
    Names(Names),
}

impl How {
    /// Whether Usher must notice: what front ends ask for does not work.
    pub fn is_noticed(&self) -> bool {
        !matches!(self, Self::Emptied | Self::Every(Fault::ClockOff(_)))
    }

    /// Whether the servers say in BBB's form what is wrong, which proves the network.
    pub fn is_told_by_servers(&self) -> bool {
        matches!(self, Self::WrongSecret | Self::Every(Fault::FailedKey(_)))
    }

    /// Whether the servers' names are looked up by a resolver of the test's own.
    pub fn needs_names(&self) -> bool {
        matches!(self, Self::Names(_))
    }

    pub fn needs_tls(&self) -> bool {
        matches!(self, Self::Certificate(_))
    }

    /// Begins the fault on these servers; gives the ids of meetings that are lost with it.
    pub async fn begin(&self, stage: &mut Stage, targets: &[usize]) -> Vec<String> {
        let mut lost = Vec::new();
        let outside = stage.outside();
        for target in targets {
            let server = &stage.pool.servers[*target];
            match self {
                Self::Every(fault) => server.fault(fault.clone()),
                Self::OutsideEntity => server.fault(Fault::ExternalEntity(outside.clone())),
                Self::WrongSecret => {
                    for call in ["create", "join", "end", "isMeetingRunning", "getMeetingInfo", "getMeetings"] {
                        server.fault_on(call, Fault::FailedKey("checksumError".to_owned()), None);
                    }
                }
                Self::Emptied => {
                    server.stop().await;
                    lost.extend(server.meetings().into_iter().map(|meeting| meeting.meeting_id));
                }
                Self::Certificate(certificate) => stage.fronts[*target].present(*certificate),
                Self::Names(_) => {}
            }
        }
        match self {
            Self::Names(names) => stage.resolver().set(*names, targets),
            Self::Emptied => {}
            _ => return lost,
        }
        // Connections that are open already would hide both; a restart closes them.
        for target in targets {
            let server = &stage.pool.servers[*target];
            server.stop().await;
            if matches!(self, Self::Emptied) {
                server.forget_everything();
            }
            server.restart().await;
        }
        lost
    }

    pub fn end(&self, stage: &mut Stage, targets: &[usize]) {
        for target in targets {
            match self {
                Self::Certificate(_) => stage.fronts[*target].present(Certificate::Good),
                _ => stage.pool.servers[*target].heal(),
            }
        }
        if self.needs_names() {
            stage.resolver().set(Names::Known, &[]);
        }
    }
}

/// All faults, grouped so that each group is one test.
pub fn silent() -> Vec<Case> {
    let late = REQUEST_TIMEOUT + Duration::from_millis(300);
    vec![
        every("connecting is never answered (black hole)", Fault::Unreachable),
        every("accepts connections, never reads", Fault::BlackHole),
        every("reads the call, never answers", Fault::Silent),
        every("works, never answers", Fault::WorkButNoAnswer),
        every("slow by 30 s", Fault::Slow(Duration::from_secs(30))),
        every("works, answers after the client's time-out", Fault::Slow(late)),
        every("trickles one byte per 0.1 s", Fault::Trickle(Duration::from_millis(100))),
    ]
}

pub fn broken_connections() -> Vec<Case> {
    vec![
        every("connection refused", Fault::Refuse),
        every("works, resets before the answer", Fault::WorkThenReset),
        every("works, resets in the middle of the answer", Fault::Reset),
        every("works, answer truncated", Fault::HalfAnswer),
    ]
}

pub fn wrong_answers() -> Vec<Case> {
    vec![
        every("HTTP 500", Fault::Status(500)),
        every("HTTP 502", Fault::Status(502)),
        every("HTTP 404", Fault::Status(404)),
        every("works, HTTP 500 around the right answer", Fault::WorkThenStatus(500)),
        every("HTTP 200 with an HTML page", Fault::Html200),
        every("bytes that are no XML", Fault::Garbage),
        every("works, wrong encoding in the XML", Fault::WrongEncoding),
        every("FAILED, internalError", Fault::FailedKey("internalError".to_owned())),
        Case { name: "FAILED, checksumError (secret changed)", how: How::WrongSecret },
    ]
}

pub fn hostile_answers() -> Vec<Case> {
    vec![
        every("answers of 100 MB", Fault::Huge(100 << 20)),
        every("XML bomb", Fault::XmlBomb),
        Case { name: "XML with an external entity", how: How::OutsideEntity },
    ]
}

pub fn wrong_state() -> Vec<Case> {
    vec![
        every("clock 5 h ahead", Fault::ClockOff(5 * 3600)),
        every("clock 5 h behind", Fault::ClockOff(-5 * 3600)),
        Case { name: "restarted empty", how: How::Emptied },
    ]
}

pub fn certificates() -> Vec<Case> {
    vec![
        Case { name: "certificate expired", how: How::Certificate(Certificate::Expired) },
        Case { name: "certificate for another name", how: How::Certificate(Certificate::OtherName) },
        Case { name: "certificate of an unknown authority", how: How::Certificate(Certificate::Unknown) },
    ]
}

pub fn names() -> Vec<Case> {
    vec![
        Case { name: "name does not exist (DNS)", how: How::Names(Names::Unknown) },
        Case { name: "name server never answers (DNS)", how: How::Names(Names::Silent) },
    ]
}

fn every(name: &'static str, fault: Fault) -> Case {
    Case { name, how: How::Every(fault) }
}
