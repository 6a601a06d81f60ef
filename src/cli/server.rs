//! `usher server …`: the BBB servers of the pool as the operator describes them.
//!
//! Every change is one write to the store. A change that would lose something (removing a server with meetings,
//! pointing it to another address under running meetings) is refused without `--force`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::address::{api_address, name_from};
use super::check::too_old;
use super::context::Context;
use super::drain;
use super::name::{parse_name, parse_tag, refuse_own_path};
use super::node_config::{self, parse_mode};
use super::outcome::CliError;
use super::output::{Report, count};
use super::reach::{self, ReachArgs};
use super::secret::SecretArgs;
use super::server_view::{details, overview, server_json};
use super::status;
use super::value::{Change, parse_algorithm, parse_cap, parse_region, parse_version, parse_weight};
use crate::bbb::{Algorithm, Generation};
use crate::config::EdgeMode;
use crate::ids::ServerId;
use crate::store::{Reach, ServerRecord, ServerState};

#[derive(Subcommand)]
pub enum ServerCommand {
    /// Add a BBB server to the pool
    Add(AddServer),
    /// List all servers
    List,
    /// Show one server
    Show { name: String },
    /// Print what a server must be told so that browsers reach it through Usher (edge.mode)
    NodeConfig {
        name: String,
        /// BBB version of the server, if it has not been told otherwise
        #[arg(long, value_name = "VERSION")]
        bbb_version: Option<String>,
        /// For this edge.mode, if it shall become another
        #[arg(long, value_parser = parse_mode)]
        mode: Option<EdgeMode>,
    },
    /// Change properties of a server
    Set(SetServer),
    /// Let a server take new meetings
    Enable {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// No new meetings; running ones go on and people may join them
    Cordon {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Like cordon, and the server becomes disabled when its last meeting has ended
    Drain {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Return when their last meetings have ended; says on standard error what is left
        #[arg(long)]
        wait: bool,
        /// Wait no longer than this, for example `2h`, and fail then
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "wait")]
        timeout: Option<Duration>,
    },
    /// No new meetings and no joins
    Disable {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove servers from the pool
    Remove {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Remove it although it has meetings; Usher forgets them
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
pub struct AddServer {
    /// Host (https://bbb1.example.org), base (…/bigbluebutton/) or API address (…/bigbluebutton/api)
    pub url: String,
    #[command(flatten)]
    pub secret: SecretArgs,
    /// Name in lists, metrics and paths; the first label of the host if absent
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// Speed of one core against a usual one
    #[arg(long, default_value = "1", value_parser = parse_weight)]
    pub weight: f64,
    /// Cores of the machine
    #[arg(long, default_value_t = ServerRecord::DEFAULT_CORES, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub cores: u32,
    /// Network limit in Mbit/s
    #[arg(long, default_value_t = ServerRecord::DEFAULT_NIC_MBIT, value_name = "MBIT", value_parser = clap::value_parser!(u32).range(1..))]
    pub nic_mbit: u32,
    /// Tag that meta_server-tag and tenants' pools refer to; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_tag)]
    pub tags: Vec<String>,
    /// Where it stands; tenants may prefer a region
    #[arg(long, value_parser = parse_region)]
    pub region: Option<Change<String>>,
    /// How calls to this server are signed
    #[arg(long, default_value = "sha256", value_name = "ALGORITHM", value_parser = parse_algorithm)]
    pub checksum: Algorithm,
    /// BBB version, if the server does not reveal it
    #[arg(long = "version", value_name = "VERSION", value_parser = parse_version)]
    pub bbb_version: Option<Change<String>>,
    /// Most meetings this server takes
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_meetings: Option<Change<u32>>,
    /// Most people on this server
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_people: Option<Change<u32>>,
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Add it without letting it take meetings
    #[arg(long)]
    pub disabled: bool,
}

#[derive(Args)]
pub struct SetServer {
    pub server: String,
    /// New URL; refused while the server has meetings
    #[arg(long)]
    pub url: Option<String>,
    #[command(flatten)]
    pub secret: SecretArgs,
    /// New name
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    #[arg(long, value_parser = parse_weight)]
    pub weight: Option<f64>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub cores: Option<u32>,
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u32).range(1..))]
    pub nic_mbit: Option<u32>,
    /// Replaces all tags; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_tag, conflicts_with = "no_tags")]
    pub tags: Vec<String>,
    /// Removes all tags
    #[arg(long)]
    pub no_tags: bool,
    /// A region, or `none`
    #[arg(long, value_parser = parse_region)]
    pub region: Option<Change<String>>,
    #[arg(long, value_name = "ALGORITHM", value_parser = parse_algorithm)]
    pub checksum: Option<Algorithm>,
    /// A BBB version, or `none`
    #[arg(long = "version", value_name = "VERSION", value_parser = parse_version)]
    pub bbb_version: Option<Change<String>>,
    /// A number, or `none`
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_meetings: Option<Change<u32>>,
    /// A number, or `none`
    #[arg(long, value_name = "N", value_parser = parse_cap)]
    pub max_people: Option<Change<u32>>,
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Change the URL although the server has meetings
    #[arg(long)]
    pub force: bool,
}

pub async fn run(context: &Context, command: ServerCommand) -> Result<Report, CliError> {
    match command {
        ServerCommand::Add(wish) => add(context, wish).await,
        ServerCommand::List => list(context).await,
        ServerCommand::Show { name } => show(context, &name).await,
        ServerCommand::NodeConfig { name, bbb_version, mode } => {
            node_config::run(context, &name, bbb_version.as_deref(), mode).await
        }
        ServerCommand::Set(wish) => set(context, wish).await,
        ServerCommand::Enable { names } => change_states(context, &names, ServerState::Enabled).await,
        ServerCommand::Cordon { names } => change_states(context, &names, ServerState::Cordoned).await,
        ServerCommand::Drain { names, wait, timeout } => {
            let changed = change_states(context, &names, ServerState::Draining).await?;
            if wait { drain::wait(context, &names, timeout).await } else { Ok(changed) }
        }
        ServerCommand::Disable { names } => change_states(context, &names, ServerState::Disabled).await,
        ServerCommand::Remove { names, force } => remove_all(context, &names, force).await,
    }
}

async fn add(context: &Context, wish: AddServer) -> Result<Report, CliError> {
    let url = api_address(&wish.url).map_err(CliError::Usage)?;
    let servers = context.store.servers().await?;
    refuse_same_address(&servers, url.as_str(), None)?;
    let taken: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let name = wish.name.unwrap_or_else(|| name_from(&url, &taken));
    if taken.contains(&name.as_str()) {
        return Err(CliError::Failed(format!(
            "there is a server `{name}` already; choose another --name, or change it with `usher server set {name}`"
        )));
    }
    refuse_own_path(&name).map_err(CliError::Usage)?;
    let mut reach = Reach::default();
    wish.reach.apply(&mut reach);
    reach::check(&reach, url.as_str()).map_err(CliError::Usage)?;
    let secret = wish.secret.required()?;
    let stored = context
        .store
        .add_server(ServerRecord {
            id: ServerId(0),
            name,
            url: url.into(),
            secret,
            state: if wish.disabled { ServerState::Disabled } else { ServerState::Enabled },
            weight: wish.weight,
            cores: wish.cores,
            nic_mbit: wish.nic_mbit,
            tags: sorted(wish.tags),
            region: wish.region.and_then(|region| region.value()),
            checksum: wish.checksum,
            version: wish.bbb_version.and_then(|version| version.value()),
            max_meetings: wish.max_meetings.and_then(|cap| cap.value()),
            max_people: wish.max_people.and_then(|cap| cap.value()),
            reach,
        })
        .await?;
    let text = format!(
        "server {} added ({}), state {}\n`usher check --online` tests its address and secret",
        stored.name, stored.url, stored.state
    );
    let told = stored.version.as_deref().and_then(Generation::parse);
    let note = told.and_then(too_old).map_or_else(String::new, |note| format!("\nnote: {note}"));
    Ok(Report::new(text + &note, server_json(&stored, 0)))
}

async fn list(context: &Context) -> Result<Report, CliError> {
    let meetings = context.meetings_by_server().await?;
    let healths = status::healths(&context.config).await;
    Ok(overview(&context.store.servers().await?, &meetings, healths.as_ref()))
}

async fn show(context: &Context, name: &str) -> Result<Report, CliError> {
    let server = context.server(name).await?;
    Ok(details(&server, meetings_on(context, server.id).await?))
}

async fn set(context: &Context, wish: SetServer) -> Result<Report, CliError> {
    let old = context.server(&wish.server).await?;
    let meetings = meetings_on(context, old.id).await?;
    let mut new = old.clone();
    if let Some(url) = &wish.url {
        new.url = api_address(url).map_err(CliError::Usage)?.into();
        refuse_same_address(&context.store.servers().await?, &new.url, Some(old.id))?;
        if new.url != old.url && meetings > 0 && !wish.force {
            return Err(CliError::Refused(format!(
                "server {} has {} that the new address may not know; drain it first, or add --force if it is the same machine",
                old.name,
                count(meetings, "meeting")
            )));
        }
    }
    if let Some(secret) = wish.secret.read()? {
        new.secret = secret;
    }
    if let Some(name) = wish.name {
        refuse_own_path(&name).map_err(CliError::Usage)?;
        new.name = name;
    }
    new.weight = wish.weight.unwrap_or(new.weight);
    new.cores = wish.cores.unwrap_or(new.cores);
    new.nic_mbit = wish.nic_mbit.unwrap_or(new.nic_mbit);
    if wish.no_tags || !wish.tags.is_empty() {
        new.tags = sorted(wish.tags);
    }
    new.region = wish.region.map_or(new.region, |region| region.value());
    new.checksum = wish.checksum.unwrap_or(new.checksum);
    new.version = wish.bbb_version.map_or(new.version, |version| version.value());
    new.max_meetings = wish.max_meetings.map_or(new.max_meetings, |cap| cap.value());
    new.max_people = wish.max_people.map_or(new.max_people, |cap| cap.value());
    wish.reach.apply(&mut new.reach);
    reach::check(&new.reach, &new.url).map_err(CliError::Usage)?;
    if new == old {
        return Ok(Report::new(format!("server {} is as it was", old.name), server_json(&old, meetings)));
    }
    context.store.update_server(new.clone()).await?;
    Ok(Report::new(format!("server {} changed", new.name), server_json(&new, meetings)))
}

/// All names are known before the first one is changed.
async fn change_states(context: &Context, names: &[String], state: ServerState) -> Result<Report, CliError> {
    let mut servers = Vec::new();
    for name in names {
        servers.push(context.server(name).await?);
    }
    let mut reports = Vec::new();
    for server in servers {
        reports.push(change_state(context, server, state).await?);
    }
    Ok(Report::of_each(reports))
}

async fn change_state(context: &Context, mut server: ServerRecord, state: ServerState) -> Result<Report, CliError> {
    let name = server.name.clone();
    let meetings = meetings_on(context, server.id).await?;
    if server.state != state {
        server.state = state;
        context.store.update_server(server.clone()).await?;
    }
    let mut text = format!("server {name} is {state}");
    if meetings > 0 {
        let running = count(meetings, "meeting");
        match state {
            ServerState::Enabled => {}
            ServerState::Cordoned => text.push_str(&format!("; its {running} go on")),
            ServerState::Draining => text.push_str(&format!("; it becomes disabled when its {running} have ended")),
            ServerState::Disabled => text.push_str(&format!(
                "; nobody can join its {running} any more (`usher server drain {name}` would let them finish)"
            )),
        }
    }
    Ok(Report::new(text, server_json(&server, meetings)))
}

/// All may go before the first one does.
async fn remove_all(context: &Context, names: &[String], force: bool) -> Result<Report, CliError> {
    let mut servers = Vec::new();
    for name in names {
        let server = context.server(name).await?;
        let meetings = meetings_on(context, server.id).await?;
        if meetings > 0 && !force {
            return Err(CliError::Refused(format!(
                "server {name} still has {}; `usher server drain {name}` lets them finish, --force forgets them",
                count(meetings, "meeting")
            )));
        }
        if servers.iter().all(|known: &ServerRecord| known.id != server.id) {
            servers.push(server);
        }
    }
    let mut reports = Vec::new();
    for server in servers {
        reports.push(remove(context, &server, force).await?);
    }
    Ok(Report::of_each(reports))
}

async fn remove(context: &Context, server: &ServerRecord, force: bool) -> Result<Report, CliError> {
    let name = &server.name;
    let forgotten = context.store.remove_server(server.id, force).await?;
    let text = format!("server {name} removed{}", forgotten_note(forgotten));
    Ok(Report::new(text, serde_json::json!({ "name": name, "removed": true, "forgotten_meetings": forgotten })))
}

/// `; 2 meetings forgotten`, or nothing.
pub fn forgotten_note(meetings: u64) -> String {
    if meetings == 0 { String::new() } else { format!("; {} forgotten", count(meetings, "meeting")) }
}

/// The same server twice in the pool would be loaded twice: each entry believes itself to be alone.
fn refuse_same_address(servers: &[ServerRecord], url: &str, own: Option<ServerId>) -> Result<(), CliError> {
    match servers.iter().find(|server| server.url == url && Some(server.id) != own) {
        None => Ok(()),
        Some(server) => Err(CliError::Failed(format!(
            "{url} is server `{0}` already; change that one with `usher server set {0}`",
            server.name
        ))),
    }
}

async fn meetings_on(context: &Context, server: ServerId) -> Result<u64, CliError> {
    Ok(context.meetings_by_server().await?.get(&server).copied().unwrap_or(0))
}

/// Tags in one order and once each.
pub fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words.dedup();
    words
}
