//! The BBB protocol as pure functions on bytes: no socket, no clock, no store.
//!
//! | file | holds |
//! |---|---|
//! | `call`, `params`, `checksum` | what a caller asks: the call's name, its ordered parameters, its signature |
//! | `xml`, `fields`, `read`, `repair`, `meeting`, `version`, `recording` | what a BBB server answers, bounded and typed |
//! | `xml_write`, `rewrite`, `answer`, `new_meeting`, `join_error` | what we answer |
//! | `recording_filter`, `tag` | what callers may write: pages and lists of ids, Scalelite's server tags |
//!
//! Everything keeps the sender's bytes where it can: queries are re-signed, not re-encoded, and XML fragments are
//! cut out, not printed anew.

pub mod answer;
pub mod call;
pub mod checksum;
mod fields;
pub mod join_error;
pub mod meeting;
pub mod modules;
pub mod new_meeting;
pub mod params;
pub mod read;
pub mod recording;
pub mod recording_filter;
mod repair;
pub mod rewrite;
pub mod tag;
pub mod version;
pub mod xml;
mod xml_write;

pub use answer::{
    Pagination, created_from_meeting, deleted, failed, failed_json, meeting_info, meetings, published, recordings,
    running, sessions, updated, version_json, version_xml,
};
pub use call::{Call, Method, RemovedCall, SessionCall};
pub use checksum::{Algorithm, Stripped, form_signature_base, internal_prefix, sign, strip_checksum, verify};
pub use join_error::error_redirect;
pub use meeting::{Created, Meeting, MeetingList, Session};
pub use modules::is_well_formed;
pub use new_meeting::{NewMeeting, meta_key, new_meeting_fragment};
pub use params::{Params, TooManyParams, first_value};
pub use read::{
    Reply, read_created, read_meeting_info, read_meetings, read_reply, read_running, read_sessions, repair_meeting_info,
};
pub use recording::{Recording, merge, page, read_recordings};
pub use recording_filter::{Page, id_list};
pub use rewrite::{Rewrite, rewrite};
pub use tag::{MAX_TAGS, Tag, TagWish};
pub use version::{Generation, Version, read_version, signs_forms};
pub use xml::BadAnswer;
