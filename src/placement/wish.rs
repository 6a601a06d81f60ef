//! What a `create` wishes for, what it gets, and the explanation that `usher meeting why` shows.
//!
//! Plain values. The grammar of `meta_server-tag` is read in `bbb`; here a wish is already parsed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::bbb::TagWish;
use crate::config::WhenFull;
use crate::ids::{BbbMeetingId, MeetingKey, ServerId};
use crate::tenant::TenantLimits;

/// A meeting that looks for a server.
#[derive(Clone, Debug)]
pub struct Wish {
    pub key: MeetingKey,
    pub bbb_id: BbbMeetingId,
    pub tags: TagWish,
    /// Preferred region: served if a server there is below 0.8.
    pub region: Option<String>,
    /// If not empty: only servers that carry one of these tags.
    pub pool: Vec<String>,
    /// Expected people, by the caller.
    pub size_hint: Option<u32>,
    /// `maxParticipants`; 0 is unlimited.
    pub max_participants: Option<u32>,
    /// Recording is possible (`record=true`).
    pub recorded: bool,
    pub webcams_only_for_moderator: bool,
    pub limits: TenantLimits,
    /// Servers that have been tried in vain.
    pub exclude: Vec<ServerId>,
    /// The parent's server, for a breakout room created by a front end: nowhere else will do.
    pub pinned: Option<ServerId>,
    pub when_full: WhenFull,
}

impl Wish {
    /// The wish of a caller who asks for nothing special.
    pub fn new(key: MeetingKey, bbb_id: BbbMeetingId) -> Self {
        Self {
            key,
            bbb_id,
            tags: TagWish::untagged(),
            region: None,
            pool: Vec::new(),
            size_hint: None,
            max_participants: None,
            recorded: false,
            webcams_only_for_moderator: false,
            limits: TenantLimits::default(),
            exclude: Vec::new(),
            pinned: None,
            when_full: WhenFull::default(),
        }
    }
}

/// The server found; its load is reserved already.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub server: ServerId,
    pub why: Why,
    /// Label of `usher_placements_total`: `least_load`, `only_candidate`, `pinned`, `retry`, `failover` or `over_full`.
    pub reason: &'static str,
}

/// No server; nothing was reserved.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The meeting has a server already.
    Exists,
    /// No server is usable for it.
    NoServer {
        why: Why,
    },
    /// None of the required tag; the text is the list as wished, without `!`.
    NoTaggedServer {
        tag: String,
    },
    /// All that are usable are full, by their own caps or by prediction.
    Full {
        why: Why,
    },
    TenantMeetings {
        limit: u32,
    },
    TenantPeople {
        limit: u32,
    },
}

/// The explanation of a choice, kept as JSON with the placement. Lists are cut to the first few; `omitted` counts the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub reason: Cow<'static, str>,
    /// What else mattered, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Cow<'static, str>>,
    /// People that the meeting was expected to bring.
    pub expected_people: f64,
    /// Best first.
    pub candidates: Vec<Candidate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
    #[serde(default)]
    pub omitted: usize,
}

/// A server that could have taken the meeting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub server: String,
    /// Utilisation with the meeting on it; 1.0 is full.
    pub utilisation: f64,
    /// What was compared; its unit depends on the profile.
    pub score: f64,
    pub chosen: bool,
    /// People whose client is carried there, beyond those that polls, joins and forecasts know; part of the utilisation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen_people: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A server that could not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    pub server: String,
    pub because: Cow<'static, str>,
}

impl Why {
    /// The form in which it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
