//! Newtypes for everything that identifies something, and `Secret`, the string that cannot be printed.
//!
//! Two ids of one meeting must never be mixed up: `MeetingId` is the tenant's own word, `BbbMeetingId` is what the
//! server knows (the same for the default tenant, scoped for all others). The server's `InternalId` is
//! `sha1(BbbMeetingId)-createTime` and also names the recording (bbb-api.md section 0).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub i64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }
        impl $name {
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

number_id!(
    /// Row id of a BBB server in the store; never used again after removal.
    ServerId
);
number_id!(
    /// Row id of a tenant in the store; never used again after removal.
    TenantId
);
text_id!(
    /// A meeting's id as its tenant's front end knows it.
    MeetingId
);
text_id!(
    /// A meeting's id as its BBB server knows it: scoped, unless the tenant is the default one.
    BbbMeetingId
);
text_id!(
    /// BBB's `internalMeetingID`; also the recording's id.
    InternalId
);

impl BbbMeetingId {
    /// BBB takes an id for the beginning of an internal id before it looks for the id itself (bbb-api.md section 3.5):
    /// true if by this id of the meeting `own` it may find `other` instead.
    pub fn may_mean(&self, own: &InternalId, other: &InternalId) -> bool {
        other != own && other.as_str().starts_with(self.as_str())
    }

    /// Whether it has the shape of the beginning of an internal id: up to 40 hex digits, a dash, digits. Most front ends'
    /// ids have not, so that nobody need look at other meetings for them.
    pub fn may_begin_internal(&self) -> bool {
        const HASH_DIGITS: usize = 40;
        let (hash, rest) = self.0.as_bytes().split_at(self.0.len().min(HASH_DIGITS));
        let is_hash = hash.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash && rest.split_first().is_none_or(|(dash, time)| *dash == b'-' && time.iter().all(u8::is_ascii_digit))
    }
}

/// A meeting among all tenants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeetingKey {
    pub tenant: TenantId,
    pub meeting: MeetingId,
}

/// A shared secret or password. Has no `Display`, and `Debug` prints dots; compared in constant time.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
    /// The secret itself; each caller answers for where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}
impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_an_internal_id() {
        let hash = "cd2ba3add6da5251b431d853ae201fccce8e877b";
        for (id, expected) in [
            ("ab", true),
            (hash, true),
            (&format!("{hash}-"), true),
            (&format!("{hash}-1700000000000"), true),
            (&format!("{hash}-2-3"), false),
            (&format!("{hash}7"), false),
            ("123e4567-e89b-12d3-a456-426614174000", false),
            ("AB", false),
            ("room", false),
            ("ü".repeat(30).as_str(), false),
        ] {
            assert_eq!(BbbMeetingId::new(id).may_begin_internal(), expected, "{id}");
        }
    }
}
