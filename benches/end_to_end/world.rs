//! The pool that is measured: its servers, meetings and signatures, the same for the store, the stub and the callers.
//!
//! Everything follows from a few numbers, so that the programs need not tell each other anything.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use usher::bbb::{self, Algorithm};
use usher::clock::{Clock, SystemClock};
use usher::ids::{BbbMeetingId, InternalId, MeetingId, MeetingKey, Secret, ServerId, TenantId};
use usher::store::{
    Confirmation, Phase, Placement, ServerRecord, SqliteStore, Store, TenantRecord, TenantSecret, Version,
};

use crate::Failure;

const TENANT_SECRET: &str = "kHk2uZ8V0mBq3xT7nR5wYc1LpJd9sGfA4eQ6";
const SERVER_SECRET: &str = "b7Nf2XwQz4Lk8Rm1Ty5Vc9Hs3Gd6Jp0Ae8U2";
const CREATE_TIME: u64 = 1_700_000_000_000;
/// Claims on their way at once while the store is filled; they share their commits.
const CLAIMS_AT_ONCE: usize = 256;
/// People in each meeting that a server lists.
pub const PEOPLE: usize = 3;

/// How big a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub servers: usize,
    pub meetings: usize,
}

/// The address of a simulated server: one of its own in 127.0.0.0/8, all on one port.
pub fn server_address(server: usize, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 84, (server / 250) as u8, (server % 250 + 1) as u8), port)
}

pub fn meeting_id(number: usize) -> String {
    format!("room-{number}")
}

pub fn internal_id(meeting_id: &str) -> String {
    format!("{}-{CREATE_TIME}", bbb::internal_prefix(meeting_id))
}

impl Size {
    /// The meetings of one server.
    pub fn meetings_of(self, server: usize) -> impl Iterator<Item = usize> {
        (server..self.meetings).step_by(self.servers.max(1))
    }

    /// Makes the store: servers, one default tenant, and a confirmed placement for each meeting.
    pub fn fill_store(self, file: &Path, port: u16) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure(format!("cannot make a runtime: {error}")))?;
        let filled = runtime.block_on(self.fill(file, port));
        filled.map_err(|error| Failure(format!("cannot fill the store: {error}")))
    }

    async fn fill(self, file: &Path, port: u16) -> Result<(), Box<dyn std::error::Error>> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file).await?);
        let mut servers = Vec::new();
        for number in 0..self.servers {
            servers.push(store.add_server(server(number, port)).await?.id);
        }
        let tenant = store.add_tenant(tenant()).await?.id;
        for first in (0..self.meetings).step_by(CLAIMS_AT_ONCE) {
            let mut tasks = tokio::task::JoinSet::new();
            for number in first..(first + CLAIMS_AT_ONCE).min(self.meetings) {
                let (store, server) = (store.clone(), servers[number % servers.len()]);
                tasks.spawn(async move { place(&*store, tenant, server, number).await });
            }
            while let Some(placed) = tasks.join_next().await {
                placed??;
            }
        }
        Ok(())
    }
}

async fn place(
    store: &dyn Store,
    tenant: TenantId,
    server: ServerId,
    number: usize,
) -> Result<(), usher::store::StoreError> {
    let id = meeting_id(number);
    let key = MeetingKey { tenant, meeting: MeetingId::new(id.as_str()) };
    let placement = Placement {
        tenant,
        meeting: key.meeting.clone(),
        bbb_id: BbbMeetingId::new(id.as_str()),
        server,
        phase: Phase::Claimed,
        internal_id: None,
        create_time: 0,
        attendee_pw: None,
        moderator_pw: None,
        claimed_at: SystemClock.now(),
        why: "{}".to_owned(),
        version: Version::default(),
    };
    store.claim(placement).await?;
    let confirmation = Confirmation {
        internal_id: InternalId::new(internal_id(&id)),
        create_time: CREATE_TIME,
        attendee_pw: Some(Secret::new("ap")),
        moderator_pw: Some(Secret::new("mp")),
    };
    store.confirm(&key, server, confirmation).await?;
    Ok(())
}

fn server(number: usize, port: u16) -> ServerRecord {
    ServerRecord::new(
        format!("bbb{number}"),
        format!("http://{}/bigbluebutton/api/", server_address(number, port)),
        Secret::new(SERVER_SECRET),
    )
}

fn tenant() -> TenantRecord {
    let secret =
        TenantSecret { id: 0, secret: Secret::new(TENANT_SECRET), created_at: SystemClock.now(), retired_at: None };
    TenantRecord {
        id: TenantId(0),
        name: "main".to_owned(),
        is_default: true,
        scope: None,
        hosts: Vec::new(),
        secrets: vec![secret],
        params: Vec::new(),
        max_meetings: None,
        max_people: None,
        max_requests: None,
        pool: Vec::new(),
        region: None,
    }
}

/// Path and query of a call as a front end signs it.
pub fn signed(call: &str, query: &str) -> String {
    let checksum = bbb::sign(call, query, &Secret::new(TENANT_SECRET), Algorithm::Sha256);
    let separator = if query.is_empty() { "" } else { "&" };
    format!("/bigbluebutton/api/{call}?{query}{separator}checksum={checksum}")
}

/// The `number`th person's way into a meeting.
pub fn join(number: usize, meeting: usize) -> String {
    let query = format!(
        "fullName=J%C3%BCrgen+M%C3%BCller+{number:05}&meetingID={}&role=VIEWER&userID=user-{number:05}&redirect=true",
        meeting_id(meeting)
    );
    signed("join", &query)
}

/// A new meeting as Moodle asks for it, roughly.
pub fn create(id: &str) -> String {
    let query = format!(
        "name=Physics+101&meetingID={id}&attendeePW=ap&moderatorPW=mp&record=false&welcome=Welcome%21&duration=90\
         &logoutURL=https%3A%2F%2Fmoodle.example.org%2Fmod%2Fbigbluebuttonbn%2Fview.php&meta_bbb-origin=Moodle"
    );
    signed("create", &query)
}

/// What a simulated server answers to getMeetings.
pub fn list_of(size: Size, server: usize) -> String {
    let mut xml = String::from("<response><returncode>SUCCESS</returncode>");
    if size.meetings_of(server).next().is_none() {
        xml.push_str("<meetings/><messageKey>noMeetings</messageKey><message>none</message></response>");
        return xml;
    }
    xml.push_str("<meetings>");
    for number in size.meetings_of(server) {
        let _ = write!(xml, "<meeting>{}</meeting>", fields_of(number));
    }
    xml.push_str("</meetings></response>");
    xml
}

/// What a simulated server answers to getMeetingInfo.
pub fn info_of(number: usize) -> String {
    format!("<response><returncode>SUCCESS</returncode>{}</response>", fields_of(number))
}

/// A meeting with the fields of BBB 3.0.
fn fields_of(number: usize) -> String {
    let id = meeting_id(number);
    let internal = internal_id(&id);
    let mut people = String::new();
    for person in 0..PEOPLE {
        let _ = write!(
            people,
            "<attendee><userID>w_{number:08}{person:04}</userID><fullName>Person {person}</fullName><role>VIEWER</role>\
             <isPresenter>false</isPresenter><isListeningOnly>false</isListeningOnly>\
             <hasJoinedVoice>true</hasJoinedVoice><hasVideo>false</hasVideo><clientType>HTML5</clientType></attendee>"
        );
    }
    format!(
        "<meetingName>Room {number}</meetingName><meetingID>{id}</meetingID>\
         <internalMeetingID>{internal}</internalMeetingID><createTime>{CREATE_TIME}</createTime>\
         <createDate>Tue Nov 14 22:13:20 UTC 2023</createDate><voiceBridge>71234</voiceBridge>\
         <dialNumber>613-555-1234</dialNumber><attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW>\
         <running>true</running><duration>90</duration><hasUserJoined>true</hasUserJoined><recording>false</recording>\
         <hasBeenForciblyEnded>false</hasBeenForciblyEnded><startTime>1700000001000</startTime><endTime>0</endTime>\
         <participantCount>{PEOPLE}</participantCount><listenerCount>0</listenerCount>\
         <voiceParticipantCount>{PEOPLE}</voiceParticipantCount><videoCount>0</videoCount><maxUsers>0</maxUsers>\
         <moderatorCount>0</moderatorCount><attendees>{people}</attendees>\
         <metadata><bbb-origin>Moodle</bbb-origin></metadata><isBreakout>false</isBreakout>"
    )
}

/// What a simulated server answers to create, for any meeting.
pub fn created(id: &str) -> String {
    let internal = internal_id(id);
    format!(
        "<response><returncode>SUCCESS</returncode><meetingID>{id}</meetingID>\
         <internalMeetingID>{internal}</internalMeetingID><parentMeetingID>bbb-none</parentMeetingID>\
         <attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW><createTime>{CREATE_TIME}</createTime>\
         <voiceBridge>71234</voiceBridge><dialNumber>613-555-1234</dialNumber>\
         <createDate>Tue Nov 14 22:13:20 UTC 2023</createDate><hasUserJoined>false</hasUserJoined>\
         <duration>90</duration><hasBeenForciblyEnded>false</hasBeenForciblyEnded><messageKey></messageKey>\
         <message></message></response>"
    )
}

pub const VERSION: &str = "<response><returncode>SUCCESS</returncode><version>2.0</version><apiVersion>2.0</apiVersion>\
     <bbbVersion>3.0.19</bbbVersion><graphqlWebsocketUrl>wss://bbb.example.org/graphql</graphqlWebsocketUrl>\
     </response>";
