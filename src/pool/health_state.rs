//! The four words for a server's health (interface.md section 5), independent of what the operator wants of it.
//!
//! Only the words: how a server gets from one to the other is `health.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Health of a server as its probes, polls and real calls show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Answers; takes new meetings.
    Up,
    /// Failed just now: no new meetings, everything else goes on.
    Suspect,
    /// Failed repeatedly: browsers that want to join wait. Its meetings are remembered.
    Down,
    /// Never answered since it was added or since we started.
    Unknown,
}

impl Health {
    pub const ALL: [Health; 4] = [Self::Up, Self::Suspect, Self::Down, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
