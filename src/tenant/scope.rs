//! Meeting ids of tenants: two tenants using the same id must never meet on a server.
//!
//! The default tenant's ids go to BBB unchanged. Every other tenant has a random scope key that nobody else knows;
//! its ids become `t<tenant>-<keyed hash>`, which another tenant can neither guess nor collide with, and which stays
//! inside BBB's 256 characters however long the tenant's own id is. The tenant's own id travels as metadata, so that
//! meetings and recordings can be given back to their owner even when the store has forgotten them; that metadata
//! is proof of ownership because the hash has to match.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Tenant;
use crate::ids::{BbbMeetingId, MeetingId, Secret};

/// Metadata whose name starts so is Usher's own: never taken from a caller, never shown to one.
pub const HIDDEN_META_PREFIX: &str = "usher-";
const MEETING_ID_META: &str = "usher-meeting-id";

impl Tenant {
    /// What the server shall call this tenant's meeting.
    pub fn bbb_id(&self, meeting: &MeetingId) -> BbbMeetingId {
        match &self.record.scope {
            None => BbbMeetingId::new(meeting.as_str()),
            Some(scope) => BbbMeetingId::new(scoped(self.record.id.0, scope, meeting.as_str())),
        }
    }

    /// The metadata parameter that `create` adds for a scoped meeting.
    pub fn scope_parameter(&self, meeting: &MeetingId) -> Option<(String, String)> {
        self.record.scope.as_ref()?;
        Some((format!("meta_{MEETING_ID_META}"), meeting.as_str().to_owned()))
    }

    /// This tenant's own id of a meeting or recording found on a server, `None` if it is not this tenant's.
    pub fn own_id(&self, found: &str, metadata: &[(String, String)]) -> Option<MeetingId> {
        let original = metadata.iter().find(|(name, _)| name == MEETING_ID_META).map(|(_, value)| value.as_str());
        match (&self.record.scope, original) {
            (None, None) => Some(MeetingId::new(found)),
            (Some(scope), Some(original)) if scoped(self.record.id.0, scope, original) == found => {
                Some(MeetingId::new(original))
            }
            _ => None,
        }
    }
}

fn scoped(tenant: i64, scope: &Secret, meeting: &str) -> String {
    use std::fmt::Write;
    let mut id = format!("t{tenant}-");
    // A key of any length is accepted, so this cannot fail.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(scope.reveal().as_bytes()) {
        mac.update(meeting.as_bytes());
        for byte in &mac.finalize().into_bytes()[..20] {
            let _ = write!(id, "{byte:02x}");
        }
    }
    id
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ids::TenantId;
    use crate::store::TenantRecord;

    fn tenant(id: i64, scope: Option<&str>) -> Tenant {
        Tenant::new(TenantRecord {
            id: TenantId(id),
            name: format!("tenant{id}"),
            is_default: scope.is_none(),
            scope: scope.map(Secret::new),
            hosts: vec![],
            secrets: vec![],
            params: vec![],
            max_meetings: None,
            max_people: None,
            pool: vec![],
            region: None,
        })
    }

    #[test]
    fn the_default_tenant_keeps_its_ids() {
        let tenant = tenant(1, None);
        assert_eq!(tenant.bbb_id(&MeetingId::new("room 1")).as_str(), "room 1");
        assert_eq!(tenant.scope_parameter(&MeetingId::new("room 1")), None);
        assert_eq!(tenant.own_id("room 1", &[]), Some(MeetingId::new("room 1")));
    }

    #[test]
    fn the_same_id_of_two_tenants_differs_and_stays_short() {
        let (one, two) = (tenant(2, Some("key-one")), tenant(3, Some("key-two")));
        let meeting = MeetingId::new("x".repeat(256));
        assert_ne!(one.bbb_id(&meeting), two.bbb_id(&meeting));
        assert!(one.bbb_id(&meeting).as_str().len() < 64);
    }

    #[test]
    fn only_the_owner_recognises_its_meeting() {
        let (one, two, plain) = (tenant(2, Some("key-one")), tenant(3, Some("key-two")), tenant(1, None));
        let found = one.bbb_id(&MeetingId::new("room"));
        let (name, value) = one.scope_parameter(&MeetingId::new("room")).unwrap();
        let metadata = vec![(name.strip_prefix("meta_").unwrap().to_owned(), value)];
        assert_eq!(one.own_id(found.as_str(), &metadata), Some(MeetingId::new("room")));
        assert_eq!(two.own_id(found.as_str(), &metadata), None);
        assert_eq!(plain.own_id(found.as_str(), &metadata), None);
        let forged = vec![("usher-meeting-id".to_owned(), "other".to_owned())];
        assert_eq!(one.own_id(found.as_str(), &forged), None, "the hash has to match");
    }
}
