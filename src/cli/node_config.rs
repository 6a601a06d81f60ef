//! `usher server node-config`: what one BBB server has to be told so that browsers reach it through Usher.
//!
//! The keys are those of BBB's own cluster set-up (bbb-http-surface.md section 3.3), but all addresses are ours: the whole
//! client plane is of one origin, so none of its settings for cookies and foreign origins is needed (section 3.4 B).

use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::Report;
use crate::config::{ClientPrefix, EdgeMode, ProxyOut};
use crate::store::ServerRecord;

const WEB: &str = "/etc/bigbluebutton/bbb-web.properties";
/// Its texts stand in quotation marks.
const APPS: &str = "/etc/bigbluebutton/bbb-apps-akka.conf";
const CLIENT: &str = "/etc/bigbluebutton/bbb-html5.yml";
const UNITS: &str = "systemctl edit bbb-html5-frontend@.service, and the same for bbb-html5-backend@.service";
const NGINX_CLIENT: &str = "/usr/share/bigbluebutton/nginx/bbb-html5.nginx";
const NGINX_REAL_IP: &str = "/etc/bigbluebutton/nginx/usher.nginx";

/// One line to write.
struct Setting {
    file: &'static str,
    key: &'static str,
    value: String,
}

/// The generation that a setting is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// Up to 2.7: a Meteor client.
    Meteor,
    /// From 3.0: static files and GraphQL.
    Graphql,
}

pub fn parse_mode(text: &str) -> Result<EdgeMode, String> {
    let known = EdgeMode::WORDS.into_iter().find(|(word, _)| *word == text);
    known.map(|(_, mode)| mode).ok_or_else(|| "write redirect, host or path".to_owned())
}

/// `mode`: another than the configuration's.
pub async fn run(
    context: &Context,
    name: &str,
    version: Option<&str>,
    mode: Option<EdgeMode>,
) -> Result<Report, CliError> {
    let server = context.server(name).await?;
    let config = &context.config;
    match mode.unwrap_or(config.edge.mode) {
        EdgeMode::Redirect => {
            let text = "edge.mode is \"redirect\": browsers go to the server itself, nothing is to be set on it";
            Ok(Report::new(text, json!({ "mode": "redirect", "settings": [] })))
        }
        EdgeMode::Host => Ok(for_host(&server)),
        EdgeMode::Path => {
            let told = version.map(str::to_owned).or_else(|| server.version.clone());
            let wanted = told.as_deref().and_then(ClientPrefix::of_version);
            // As the edge goes by it: the operator's word, then the version, then the setting for all.
            let by_version = server.version.as_deref().map_or(wanted, ClientPrefix::of_version);
            let prefix = server.reach.client_prefix.or(by_version).unwrap_or(config.edge.client_prefix);
            let generation = Generation::of(wanted.unwrap_or(prefix));
            Ok(for_path(&server, config.listen.public_base(), told.as_deref(), generation, prefix))
        }
    }
}

impl Generation {
    /// That of a server which treats its prefix so.
    fn of(prefix: ClientPrefix) -> Self {
        match prefix {
            ClientPrefix::Keep => Self::Meteor,
            ClientPrefix::Strip => Self::Graphql,
        }
    }
}

fn for_host(server: &ServerRecord) -> Report {
    let host = host_of(server);
    let second = match &server.reach.address {
        Some(address) => format!("Usher itself connects to {address} (usher server set {} --address)", server.name),
        None => format!("Tell Usher where the server really is: usher server set {} --address ADDRESS", server.name),
    };
    let mut text = format!(
        "edge.mode is \"host\": nothing is to be set on the server.\n\
         1. Let {host} point to Usher in the DNS that browsers and the server itself ask.\n\
         2. {second}.\n\
         3. Give Usher a certificate for {host}."
    );
    let settings = proxied(server);
    for setting in &settings {
        text.push_str(&format!("\nFor PROXY headers, {}: {} {};", setting.file, setting.key, setting.value));
    }
    Report::new(text, json!({ "mode": "host", "host": host, "settings": in_json(&settings) }))
}

fn for_path(
    server: &ServerRecord,
    public: &str,
    version: Option<&str>,
    generation: Generation,
    prefix: ClientPrefix,
) -> Report {
    let mut settings = match generation {
        Generation::Graphql => for_graphql(server, public),
        Generation::Meteor => for_meteor(server, public),
    };
    settings.extend(match server.reach.send_proxy {
        ProxyOut::Off => vec![real_ip("X-Forwarded-For")],
        ProxyOut::V1 | ProxyOut::V2 => proxied(server),
    });
    let mut lines = vec![match version {
        Some(version) => format!("# {}, BigBlueButton {version}, reached at {public}/{}/", server.name, server.name),
        None => {
            let line = if generation == Generation::Meteor { "2.7" } else { "3.0" };
            format!(
                "# {}, reached at {public}/{}/. Its version is not known; this is for {line} (--bbb-version says another)",
                server.name, server.name
            )
        }
    }];
    if Generation::of(prefix) != generation {
        let (word, why) = match generation {
            Generation::Meteor => ("keep", "up to 2.7 the server mounts its client under the prefix"),
            Generation::Graphql => ("strip", "from 3.0 on the server serves its client without the prefix"),
        };
        lines.push(format!("# On Usher: usher server set {} --client-prefix {word}, because {why}", server.name));
    }
    for group in settings.chunk_by(|one, next| one.file == next.file) {
        lines.push(format!("\n# {}", group[0].file));
        lines.push(in_its_format(group));
    }
    lines.push(
        "\n# Then: bbb-conf --restart, which ends the meetings on it. TURN stays as it is: its name must go on leading to \
         this server."
            .to_owned(),
    );
    Report::new(lines.join("\n"), json!({ "mode": "path", "settings": in_json(&settings) }))
}

/// Settings of one file as that file has them.
fn in_its_format(settings: &[Setting]) -> String {
    let line = |one: &Setting| match one.file {
        NGINX_REAL_IP => format!("{} {};", one.key, one.value),
        UNITS => format!("Environment={}={}", one.key, one.value),
        NGINX_CLIENT => format!("# {} {}", one.key, one.value),
        _ => format!("{}={}", one.key, one.value),
    };
    match settings[0].file {
        CLIENT => nested(settings),
        UNITS => format!("[Service]\n{}", settings.iter().map(line).collect::<Vec<_>>().join("\n")),
        _ => settings.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// Keys with dots as nested YAML; keys with a common beginning stand together.
fn nested(settings: &[Setting]) -> String {
    let mut lines =
        vec!["# What stands there already keeps its place: these keys go below the same public:".to_owned()];
    let mut open: Vec<&str> = Vec::new();
    for setting in settings {
        let path: Vec<&str> = setting.key.split('.').collect();
        let depth = open.iter().zip(&path).take_while(|(open, wanted)| open == wanted).count();
        let (last, parents) = path.split_last().unwrap_or((&"", &[]));
        for (level, parent) in parents.iter().enumerate().skip(depth) {
            lines.push(format!("{}{parent}:", "  ".repeat(level)));
        }
        // A string of JSON is one of YAML.
        lines.push(format!("{}{last}: {}", "  ".repeat(parents.len()), Value::from(setting.value.as_str())));
        open = parents.to_vec();
    }
    lines.join("\n")
}

fn in_json(settings: &[Setting]) -> Vec<Value> {
    settings.iter().map(|one| json!({ "file": one.file, "key": one.key, "value": one.value })).collect()
}

fn for_graphql(server: &ServerRecord, public: &str) -> Vec<Setting> {
    let name = &server.name;
    let base = format!("{public}/{name}");
    let socket = as_socket(&base);
    let web = |key, value| Setting { file: WEB, key, value };
    let client = |key, value| Setting { file: CLIENT, key, value };
    vec![
        // The join links that the server makes itself begin with it (getJoinUrl), and the address of default.pdf.
        web("bigbluebutton.web.serverURL", base.clone()),
        web("defaultHTML5ClientUrl", format!("{base}/html5client/")),
        web("presentationBaseURL", format!("{base}/bigbluebutton/presentation")),
        web("graphqlWebsocketUrl", format!("{socket}/graphql")),
        web("graphqlApiUrl", format!("{base}/api/rest")),
        web("apiUrl", format!("{base}/bigbluebutton")),
        breakouts(&base),
        client("public.app.basename", format!("/{name}/html5client")),
        client("public.app.bbbWebBase", format!("{base}/bigbluebutton")),
        client("public.app.learningDashboardBase", format!("{base}/learning-analytics-dashboard")),
        client("public.media.stunTurnServersFetchAddress", format!("{base}/bigbluebutton/api/stuns")),
        client("public.media.livekit.url", format!("{socket}/livekit")),
        client("public.kurento.wsUrl", format!("{socket}/bbb-webrtc-sfu")),
        client("public.presentation.uploadEndpoint", format!("{base}/bigbluebutton/presentation/upload")),
        client("public.pads.url", format!("{base}/pad")),
    ]
}

fn for_meteor(server: &ServerRecord, public: &str) -> Vec<Setting> {
    let name = &server.name;
    let base = format!("{public}/{name}");
    let socket = as_socket(&base);
    let web = |key, value| Setting { file: WEB, key, value };
    let client = |key, value| Setting { file: CLIENT, key, value };
    let unit = |key, value| Setting { file: UNITS, key, value };
    vec![
        web("bigbluebutton.web.serverURL", base.clone()),
        web("defaultHTML5ClientUrl", format!("{base}/html5client/join")),
        web("defaultGuestWaitURL", format!("{base}/html5client/guestWait")),
        web("presentationBaseURL", format!("{base}/bigbluebutton/presentation")),
        breakouts(&base),
        client("public.app.basename", format!("/{name}/html5client")),
        client("public.app.bbbWebBase", format!("{base}/bigbluebutton")),
        client("public.app.learningDashboardBase", format!("{base}/learning-analytics-dashboard")),
        client("public.media.stunTurnServersFetchAddress", format!("{base}/bigbluebutton/api/stuns")),
        client("public.kurento.wsUrl", format!("{socket}/bbb-webrtc-sfu")),
        client("public.presentation.uploadEndpoint", format!("{base}/bigbluebutton/presentation/upload")),
        client("public.pads.url", format!("{base}/pad")),
        unit("ROOT_URL", format!("https://127.0.0.1/{name}/html5client")),
        unit("DDP_DEFAULT_CONNECTION_URL", format!("{base}/html5client")),
        Setting {
            file: NGINX_CLIENT,
            key: "put this in front of every location but @html5client:",
            value: format!("/{name}/html5client"),
        },
    ]
}

/// What the join links of breakout rooms begin with.
fn breakouts(base: &str) -> Setting {
    Setting { file: APPS, key: "services.bbbWebAPI", value: format!("\"{base}/bigbluebutton/api\"") }
}

/// People's addresses instead of Usher's, in logs and in limits per address.
fn real_ip(header: &str) -> Setting {
    Setting {
        file: NGINX_REAL_IP,
        key: "set_real_ip_from",
        value: format!("<Usher's address>; real_ip_header {header}"),
    }
}

/// What a server needs whose connections begin with a PROXY header; nothing if they do not.
fn proxied(server: &ServerRecord) -> Vec<Setting> {
    let reach = &server.reach;
    let url = url::Url::parse(&server.url).ok();
    let is_tls = url.as_ref().is_some_and(|url| url.scheme() == "https");
    let there = reach.address.as_ref().and_then(|address| address.port);
    let port = reach.send_proxy_port.or(there).or_else(|| url?.port_or_known_default());
    let Some(port) = port.filter(|_| reach.send_proxy != ProxyOut::Off) else { return Vec::new() };
    let value = format!("{port}{} proxy_protocol", if is_tls { " ssl" } else { "" });
    vec![Setting { file: NGINX_REAL_IP, key: "listen", value }, real_ip("proxy_protocol")]
}

/// `https://…` as `wss://…`.
fn as_socket(base: &str) -> String {
    base.replacen("http", "ws", 1)
}

fn host_of(server: &ServerRecord) -> String {
    let url = url::Url::parse(&server.url).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| server.name.clone())
}
