//! (being written)
use serde::{Deserialize, Serialize};
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

use bytes::Bytes;

use crate::ids::{BbbMeetingId, InternalId, Secret};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    Named(String),
    Untagged,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagWish {
    pub any_of: Vec<Tag>,
    pub required: bool,
}

impl TagWish {
    pub fn untagged() -> TagWish {
        TagWish { any_of: vec![Tag::Untagged], required: false }
    }
}

#[derive(Clone, Debug)]
pub struct Meeting {
    pub meeting_id: BbbMeetingId,
    pub internal_id: InternalId,
    pub name: String,
    pub create_time: u64,
    pub running: bool,
    pub recording: bool,
    pub forcibly_ended: bool,
    pub has_user_joined: bool,
    pub participants: u32,
    pub moderators: u32,
    pub voice: u32,
    pub listeners: u32,
    pub videos: u32,
    pub max_users: u32,
    pub is_breakout: bool,
    pub parent: Option<InternalId>,
    pub attendee_pw: Option<Secret>,
    pub moderator_pw: Option<Secret>,
    pub metadata: Vec<(String, String)>,
    pub xml: Bytes,
}
