//! `usher meeting …`: the meetings that are placed, and why they are where they are.
//!
//! The list is the store's: every confirmed or claimed placement, with the server stopped as well. `end` asks the BBB
//! server and leaves the placement to the running Usher, whose next poll sees that the meeting is gone; `forget` is for
//! placements whose meeting is known to be gone although its server cannot say so.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, Table, fields, or_dash};
use super::status;
use super::tenant_view::moment;
use super::why;
use crate::client::{BbbClient, ClientSettings};
use crate::ids::{BbbMeetingId, ServerId, TenantId};
use crate::store::{Known, Placement};
use crate::tls::Servers;

#[derive(Subcommand)]
pub enum MeetingCommand {
    /// List placed meetings
    List {
        /// Only those of a tenant
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Only those on a server
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
    },
    /// Show one meeting
    Show(Which),
    /// End meetings on their BBB servers, for everybody in them
    End(Several),
    /// Forget where meetings are; they may still run there
    Forget {
        #[command(flatten)]
        which: Several,
        /// Forget it although it may still run
        #[arg(long)]
        force: bool,
    },
    /// Explain why a meeting is on its server
    Why(Which),
}

#[derive(Args)]
pub struct Which {
    /// The meeting's id as the front end knows it, or its internal id
    pub id: String,
    /// Needed only if several tenants use the same id
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

#[derive(Args)]
pub struct Several {
    /// Ids as the front end knows them, or internal ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Needed only if several tenants use the same id
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

impl Several {
    /// All are known before the first one is touched.
    async fn find(&self, context: &Context) -> Result<Vec<Placement>, CliError> {
        let mut found: Vec<Placement> = Vec::new();
        for id in &self.ids {
            let placement = context.placement(id, self.tenant.as_deref()).await?;
            if found.iter().all(|known| known.key() != placement.key()) {
                found.push(placement);
            }
        }
        Ok(found)
    }
}

pub async fn run(context: &Context, command: MeetingCommand) -> Result<Report, CliError> {
    match command {
        MeetingCommand::List { tenant, server } => list(context, tenant.as_deref(), server.as_deref()).await,
        MeetingCommand::Show(which) => show(context, &which).await,
        MeetingCommand::End(which) => {
            let mut reports = Vec::new();
            for placement in which.find(context).await? {
                reports.push(end(context, placement).await?);
            }
            Ok(Report::of_each(reports))
        }
        MeetingCommand::Forget { which, force } => {
            let mut reports = Vec::new();
            for placement in which.find(context).await? {
                reports.push(forget(context, placement, force).await?);
            }
            Ok(Report::of_each(reports))
        }
        MeetingCommand::Why(which) => {
            let placement = context.placement(&which.id, which.tenant.as_deref()).await?;
            let names = Names::read(context).await?;
            Ok(why::explain(&placement, &names.server(placement.server), &names.tenant(placement.tenant)))
        }
    }
}

async fn list(context: &Context, tenant: Option<&str>, server: Option<&str>) -> Result<Report, CliError> {
    let only_tenant = match tenant {
        Some(name) => Some(context.tenant(name).await?.id),
        None => None,
    };
    let only_server = match server {
        Some(name) => Some(context.server(name).await?.id),
        None => None,
    };
    let names = Names::read(context).await?;
    let mut placements = context.store.placements().await?;
    placements.retain(|placement| {
        only_tenant.is_none_or(|tenant| placement.tenant == tenant)
            && only_server.is_none_or(|server| placement.server == server)
    });
    placements.sort_by(|a, b| (a.claimed_at, &a.meeting).cmp(&(b.claimed_at, &b.meeting)));
    let mut table = Table::new(&["MEETING", "TENANT", "SERVER", "PHASE", "PEOPLE", "CREATED"]);
    let people = status::people(&context.config).await;
    let of = |placement: &Placement| {
        let key = (names.tenant(placement.tenant), placement.meeting.to_string());
        people.as_ref().and_then(|people| people.get(&key))
    };
    for placement in &placements {
        table.row(vec![
            placement.meeting.to_string(),
            names.tenant(placement.tenant),
            names.server(placement.server),
            placement.phase.as_str().into(),
            or_dash(of(placement)),
            moment(placement.claimed_at),
        ]);
    }
    let row = |placement| {
        let mut row = names.meeting_json(placement);
        row["people"] = json!(of(placement));
        row
    };
    let rows: Vec<Value> = placements.iter().map(row).collect();
    let mut text = table.or("no meetings");
    if people.is_none() && !rows.is_empty() {
        text.push_str(&format!("\n\n{}", status::UNKNOWN));
    }
    Ok(Report::new(text, Value::Array(rows)))
}

async fn show(context: &Context, which: &Which) -> Result<Report, CliError> {
    let placement = context.placement(&which.id, which.tenant.as_deref()).await?;
    let names = Names::read(context).await?;
    let text = fields(&[
        ("meeting", placement.meeting.to_string()),
        ("tenant", names.tenant(placement.tenant)),
        ("server", names.server(placement.server)),
        ("phase", placement.phase.as_str().into()),
        ("placed", moment(placement.claimed_at)),
        ("id on the server", placement.bbb_id.to_string()),
        ("internal id", or_dash(placement.internal_id.as_ref())),
    ]);
    Ok(Report::new(text, names.meeting_json(&placement)))
}

/// The id that means this meeting and no other: the internal one where BBB would take the other for the beginning of
/// another meeting's internal id.
async fn name_on_server(context: &Context, placement: &Placement) -> Result<BbbMeetingId, CliError> {
    let Some(own) = &placement.internal_id else { return Ok(placement.bbb_id.clone()) };
    let others = context.store.placements().await?;
    let is_taken = others
        .iter()
        .filter(|other| other.server == placement.server)
        .filter_map(|other| other.internal_id.as_ref())
        .any(|other| placement.bbb_id.may_mean(own, other));
    Ok(if is_taken { BbbMeetingId::new(own.as_str()) } else { placement.bbb_id.clone() })
}

async fn end(context: &Context, placement: Placement) -> Result<Report, CliError> {
    let servers = context.store.servers().await?;
    let Some(server) = servers.into_iter().find(|server| server.id == placement.server) else {
        return Err(CliError::Failed(format!(
            "the server of meeting {} is gone; forget the meeting",
            placement.meeting
        )));
    };
    let api = &context.config.api;
    let settings = ClientSettings { connect_timeout: api.connect_timeout, max_answer: api.max_answer };
    let tls = Servers::load(context.config.tls.server_ca.as_deref()).map_err(CliError::Failed)?;
    let client = BbbClient::new(&settings, tls.into()).map_err(CliError::Failed)?;
    let password = placement.moderator_pw.as_ref();
    let called = name_on_server(context, &placement).await?;
    let reply = client.end(&server, &called, password, api.request_timeout).await.map_err(|error| {
        CliError::Failed(format!("server {} did not end the meeting: {error}; try again when it answers", server.name))
    })?;
    if !reply.success {
        return Err(CliError::Failed(format!(
            "server {} refused to end the meeting ({}: {}); `usher meeting show` tells whether it is the right one",
            server.name, reply.key, reply.message
        )));
    }
    let text = format!("server {} is ending meeting {}", server.name, placement.meeting);
    Ok(Report::new(text, json!({ "meeting_id": placement.meeting, "server": server.name, "ended": true })))
}

async fn forget(context: &Context, placement: Placement, force: bool) -> Result<Report, CliError> {
    let server = Names::read(context).await?.server(placement.server);
    if !force {
        return Err(CliError::Refused(format!(
            "meeting {} may still run on server {server}, and its people could not be joined there any more; end it with `usher meeting end`, or add --force",
            placement.meeting
        )));
    }
    let gone = context.store.release(&placement.key(), placement.server, Known::Version(placement.version)).await?;
    if !gone {
        return Err(CliError::Failed(format!(
            "meeting {} has just been moved or ended; look again",
            placement.meeting
        )));
    }
    let text = format!("meeting {} on server {server} forgotten", placement.meeting);
    Ok(Report::new(text, json!({ "meeting_id": placement.meeting, "server": server, "forgotten": true })))
}

/// Names of the rows a placement refers to.
struct Names {
    servers: HashMap<ServerId, String>,
    tenants: HashMap<TenantId, String>,
}

impl Names {
    async fn read(context: &Context) -> Result<Self, CliError> {
        let servers = context.store.servers().await?.into_iter().map(|server| (server.id, server.name)).collect();
        let tenants = context.store.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
        Ok(Self { servers, tenants })
    }

    fn server(&self, id: ServerId) -> String {
        self.servers.get(&id).cloned().unwrap_or_else(|| format!("#{id}"))
    }

    fn tenant(&self, id: TenantId) -> String {
        self.tenants.get(&id).cloned().unwrap_or_else(|| format!("#{id}"))
    }

    /// Stable keys; passwords are never part of it.
    fn meeting_json(&self, placement: &Placement) -> Value {
        json!({
            "meeting_id": placement.meeting,
            "tenant": self.tenant(placement.tenant),
            "server": self.server(placement.server),
            "phase": placement.phase.as_str(),
            "bbb_id": placement.bbb_id,
            "internal_id": placement.internal_id,
            "create_time": placement.create_time,
            "claimed_at": placement.claimed_at,
        })
    }
}
