//! The names of BBB's calls, and which HTTP methods each of them takes (bbb-api.md section 1).
//!
//! A path segment becomes a `Call` once, at the edge. `name` gives BBB's own spelling, which is also what the checksum
//! covers, and is bounded: anything we do not know is `unknown`, so metrics cannot grow with what callers invent.

/// HTTP methods as far as BBB tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Other,
}

impl Method {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Other => "other",
        }
    }
}

macro_rules! named_calls {
    ($(#[$meta:meta])* $type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($variant),+ }
        impl $type {
            /// Every one of them.
            pub const ALL: &'static [$type] = &[$(Self::$variant),+];
            /// BBB's spelling.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

named_calls!(
    /// Calls that the browser sends to the meeting's own server, with a session token instead of a checksum
    /// (section 1.3).
    SessionCall {
        Enter = "enter",
        GuestWait = "guestWait",
        Stuns = "stuns",
        SignOut = "signOut",
        LearningDashboard = "learningDashboard",
        GetJoinUrl = "getJoinUrl",
        Feedback = "feedback",
    }
);

named_calls!(
    /// Calls that BBB dropped with 2.4 (`setPollXML` with 2.5).
    RemovedCall {
        GetDefaultConfigXml = "getDefaultConfigXML",
        SetConfigXml = "setConfigXML",
        SetPollXml = "setPollXML",
        ConfigXml = "configXML",
    }
);

impl SessionCall {
    /// BBB answers these in JSON, the others in XML (section 3.9).
    pub fn answers_in_json(self) -> bool {
        !matches!(self, Self::SignOut | Self::Feedback)
    }
}

/// What stands after `/bigbluebutton/api/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// The bare API address: the version answer.
    Index,
    Create,
    Join,
    End,
    IsMeetingRunning,
    GetMeetingInfo,
    GetMeetings,
    GetSessions,
    InsertDocument,
    SendChatMessage,
    GetRecordings,
    PublishRecordings,
    DeleteRecordings,
    UpdateRecordings,
    GetRecordingTextTracks,
    PutRecordingTextTrack,
    SessionBound(SessionCall),
    Removed(RemovedCall),
    /// bbb-webhooks (`hooks/create` and so on, section 1.6).
    Hooks,
    Unknown,
}

/// The calls that have neither parameters of their own in `Call` nor a special place in the path.
const PLAIN: [Call; 15] = [
    Call::Create,
    Call::Join,
    Call::End,
    Call::IsMeetingRunning,
    Call::GetMeetingInfo,
    Call::GetMeetings,
    Call::GetSessions,
    Call::InsertDocument,
    Call::SendChatMessage,
    Call::GetRecordings,
    Call::PublishRecordings,
    Call::DeleteRecordings,
    Call::UpdateRecordings,
    Call::GetRecordingTextTracks,
    Call::PutRecordingTextTrack,
];

impl Call {
    /// The call that a path segment names. Case counts, as in BBB. `hooks` may be followed by more segments.
    pub fn from_segment(segment: &str) -> Call {
        if segment.is_empty() {
            return Call::Index;
        }
        if segment == "hooks" || segment.starts_with("hooks/") {
            return Call::Hooks;
        }
        if let Some(call) = PLAIN.into_iter().find(|call| call.name() == segment) {
            return call;
        }
        if let Some(call) = SessionCall::ALL.iter().find(|call| call.name() == segment) {
            return Call::SessionBound(*call);
        }
        RemovedCall::ALL.iter().find(|call| call.name() == segment).map_or(Call::Unknown, |call| Call::Removed(*call))
    }

    /// Number of values of `slot`.
    pub const SLOTS: usize = PLAIN.len() + 1;

    /// Stands for the call in tables; those that are only refused share one place.
    pub fn slot(self) -> usize {
        PLAIN.iter().position(|call| *call == self).unwrap_or(PLAIN.len())
    }

    /// BBB's spelling; `index`, `hooks` and `unknown` for what has none.
    pub fn name(self) -> &'static str {
        match self {
            Call::Index => "index",
            Call::Create => "create",
            Call::Join => "join",
            Call::End => "end",
            Call::IsMeetingRunning => "isMeetingRunning",
            Call::GetMeetingInfo => "getMeetingInfo",
            Call::GetMeetings => "getMeetings",
            Call::GetSessions => "getSessions",
            Call::InsertDocument => "insertDocument",
            Call::SendChatMessage => "sendChatMessage",
            Call::GetRecordings => "getRecordings",
            Call::PublishRecordings => "publishRecordings",
            Call::DeleteRecordings => "deleteRecordings",
            Call::UpdateRecordings => "updateRecordings",
            Call::GetRecordingTextTracks => "getRecordingTextTracks",
            Call::PutRecordingTextTrack => "putRecordingTextTrack",
            Call::SessionBound(call) => call.name(),
            Call::Removed(call) => call.name(),
            Call::Hooks => "hooks",
            Call::Unknown => "unknown",
        }
    }

    /// True if BBB takes this call by `method` (section 1.1, 1.2). HEAD counts as GET. Calls that we only explain or
    /// refuse take every method, so that the caller reads the explanation.
    ///
    /// `publishRecordings` and `deleteRecordings` take POST too: older BBB did, and front ends of then still send it.
    pub fn allows(self, method: Method) -> bool {
        match self {
            Call::Index | Call::SessionBound(_) | Call::Removed(_) | Call::Hooks | Call::Unknown => true,
            Call::Join | Call::SendChatMessage => matches!(method, Method::Get | Method::Head),
            Call::InsertDocument | Call::PutRecordingTextTrack => method == Method::Post,
            _ => method != Method::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_call() {
        let sessions = SessionCall::ALL.iter().map(|call| Call::SessionBound(*call));
        let removed = RemovedCall::ALL.iter().map(|call| Call::Removed(*call));
        for call in PLAIN.into_iter().chain(sessions).chain(removed).chain([Call::Hooks]) {
            assert_eq!(Call::from_segment(call.name()), call);
        }
    }

    #[test]
    fn spelling_counts() {
        assert_eq!(Call::from_segment(""), Call::Index);
        assert_eq!(Call::from_segment("Create"), Call::Unknown);
        assert_eq!(Call::from_segment("create/"), Call::Unknown);
        assert_eq!(Call::from_segment("index"), Call::Unknown);
        assert_eq!(Call::from_segment("hooks/destroy"), Call::Hooks);
        assert_eq!(Call::from_segment("hooksX"), Call::Unknown);
        assert_eq!(Call::from_segment("getDefaultConfigXML"), Call::Removed(RemovedCall::GetDefaultConfigXml));
    }

    #[test]
    fn methods_are_those_of_bbb() {
        assert!(Call::Join.allows(Method::Get) && !Call::Join.allows(Method::Post));
        assert!(!Call::InsertDocument.allows(Method::Get) && Call::InsertDocument.allows(Method::Post));
        assert!(!Call::SendChatMessage.allows(Method::Post));
        assert!(!Call::PutRecordingTextTrack.allows(Method::Get));
        assert!(Call::Create.allows(Method::Post) && !Call::Create.allows(Method::Other));
        assert!(Call::Index.allows(Method::Other) && Call::Unknown.allows(Method::Other));
    }
}
