//! The file of `usher apply`: TOML in, checked records out.
//!
//! Unknown keys are errors, as in the configuration. Secrets may stand in the file, in another file (relative to this
//! one) or in the environment, so that the file itself can be kept in version control.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::address::{api_address, name_from};
use super::super::name::{parse_host, parse_name, parse_tag, refuse_own_path};
use super::super::outcome::CliError;
use super::super::reach::{self, parse_client_prefix, parse_send_proxy};
use super::super::secret::{from_environment, from_file};
use super::super::server::sorted;
use super::super::tenant_param::checked_rule;
use super::super::trust;
use super::super::value::parse_weight;
use crate::bbb::Algorithm;
use crate::config::ProxyOut;
use crate::ids::Secret;
use crate::store::{ParamRule, Reach, ServerRecord, ServerState, Trust};

/// Largest file read, bytes; ten thousand servers fit.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// A server as the file wants it.
pub struct ServerWish {
    pub name: String,
    /// Whether the file gave the name; if not, it was made of the address.
    pub is_named: bool,
    pub url: String,
    pub secret: Secret,
    /// `None` leaves the state as it is.
    pub state: Option<ServerState>,
    pub weight: f64,
    pub cores: u32,
    pub nic_mbit: u32,
    pub tags: Vec<String>,
    pub region: Option<String>,
    pub checksum: Algorithm,
    pub version: Option<String>,
    pub max_meetings: Option<u32>,
    pub max_people: Option<u32>,
    pub reach: Reach,
}

/// A tenant as the file wants it.
pub struct TenantWish {
    pub name: String,
    pub hosts: Vec<String>,
    /// `None` leaves it as it is; a new tenant follows the rule of `tenant add`.
    pub default: Option<bool>,
    /// Empty leaves the secrets as they are.
    pub secrets: Vec<Secret>,
    pub params: Vec<ParamRule>,
    pub max_meetings: Option<u32>,
    pub max_people: Option<u32>,
    pub max_requests: Option<u32>,
    pub pool: Vec<String>,
    pub region: Option<String>,
}

/// The whole file.
pub struct Wish {
    pub servers: Vec<ServerWish>,
    pub tenants: Vec<TenantWish>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: Vec<RawServer>,
    #[serde(default)]
    tenant: Vec<RawTenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    name: Option<String>,
    url: String,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    state: Option<ServerState>,
    weight: Option<f64>,
    cores: Option<u32>,
    nic_mbit: Option<u32>,
    #[serde(default)]
    tags: Vec<String>,
    region: Option<String>,
    checksum: Option<Algorithm>,
    version: Option<String>,
    max_meetings: Option<u32>,
    max_people: Option<u32>,
    address: Option<String>,
    send_proxy: Option<String>,
    send_proxy_port: Option<u16>,
    client_prefix: Option<String>,
    ca: Option<PathBuf>,
    tls_name: Option<String>,
    #[serde(default)]
    insecure: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTenant {
    name: String,
    #[serde(default)]
    hosts: Vec<String>,
    default: Option<bool>,
    #[serde(default)]
    secrets: Vec<RawSecret>,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    #[serde(default)]
    params: Vec<RawParam>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    pool: Vec<String>,
    region: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawSecret {
    Plain(String),
    File { file: PathBuf },
    Env { env: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParam {
    call: crate::store::ParamCall,
    kind: crate::store::ParamKind,
    name: String,
    value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    max_meetings: Option<u32>,
    max_people: Option<u32>,
    max_requests: Option<u32>,
}

/// Reads and checks the file.
pub fn read(file: &Path) -> Result<Wish, CliError> {
    let shown = file.display();
    let cannot = |error: std::io::Error| CliError::Failed(format!("cannot read {shown}: {error}"));
    if std::fs::metadata(file).map_err(cannot)?.len() > MAX_FILE {
        return Err(CliError::Failed(format!("{shown} is larger than {MAX_FILE} bytes; split it")));
    }
    let text = std::fs::read_to_string(file).map_err(cannot)?;
    parse(&text, file.parent().unwrap_or(Path::new(".")))
        .map_err(|problem| CliError::Failed(format!("{shown}: {problem}; nothing was changed")))
}

/// The same for text; secret files are looked up from `folder`.
pub fn parse(text: &str, folder: &Path) -> Result<Wish, String> {
    let file: File = toml::from_str(text).map_err(|error| position(text, &error))?;
    let mut wish = Wish { servers: Vec::new(), tenants: Vec::new() };
    for raw in file.server {
        let taken: Vec<&str> = wish.servers.iter().map(|server| server.name.as_str()).collect();
        let server = checked_server(raw, &taken, folder)?;
        if wish.servers.iter().any(|other| other.name == server.name || other.url == server.url) {
            return Err(format!("server {} ({}) is listed twice", server.name, server.url));
        }
        wish.servers.push(server);
    }
    for raw in file.tenant {
        let tenant = checked_tenant(raw, folder)?;
        if wish.tenants.iter().any(|other| other.name == tenant.name) {
            return Err(format!("tenant {} is listed twice", tenant.name));
        }
        wish.tenants.push(tenant);
    }
    if wish.tenants.iter().filter(|tenant| tenant.default == Some(true)).count() > 1 {
        return Err("only one tenant can be the default".into());
    }
    Ok(wish)
}

fn checked_server(raw: RawServer, taken: &[&str], folder: &Path) -> Result<ServerWish, String> {
    let url = api_address(&raw.url)?;
    let is_named = raw.name.is_some();
    let name = match &raw.name {
        Some(name) => parse_name(name)?,
        None => name_from(&url, taken),
    };
    if is_named {
        refuse_own_path(&name)?;
    }
    let within = |problem: String| format!("server {name}: {problem}");
    let reach = checked_reach(&raw, url.as_str(), folder).map_err(within)?;
    let secret = one_secret(raw.secret, raw.secret_file, raw.secret_env, folder)
        .and_then(|secret| secret.ok_or_else(|| "give secret, secret_file or secret_env".into()))
        .map_err(within)?;
    let weight = raw.weight.unwrap_or(1.0);
    parse_weight(&weight.to_string()).map_err(within)?;
    for number in [raw.cores, raw.nic_mbit, raw.max_meetings, raw.max_people].into_iter().flatten() {
        if number == 0 {
            return Err(within("numbers must be above 0; leave a limit out to have none".into()));
        }
    }
    Ok(ServerWish {
        url: url.into(),
        secret,
        state: raw.state,
        weight,
        cores: raw.cores.unwrap_or(ServerRecord::DEFAULT_CORES),
        nic_mbit: raw.nic_mbit.unwrap_or(ServerRecord::DEFAULT_NIC_MBIT),
        tags: checked_all(&raw.tags, parse_tag).map_err(within)?,
        region: raw.region.as_deref().map(parse_tag).transpose().map_err(within)?,
        checksum: raw.checksum.unwrap_or(Algorithm::Sha256),
        version: raw.version,
        max_meetings: raw.max_meetings,
        max_people: raw.max_people,
        reach,
        name,
        is_named,
    })
}

fn checked_reach(raw: &RawServer, url: &str, folder: &Path) -> Result<Reach, String> {
    let reach = Reach {
        address: raw.address.as_deref().map(str::parse).transpose()?,
        send_proxy: raw.send_proxy.as_deref().map_or(Ok(ProxyOut::Off), parse_send_proxy)?,
        send_proxy_port: raw.send_proxy_port,
        client_prefix: raw.client_prefix.as_deref().map(parse_client_prefix).transpose()?.and_then(|word| word.value()),
        trust: Trust {
            ca: raw.ca.as_deref().map(|file| trust::authorities(&folder.join(file))).transpose()?,
            name: raw.tls_name.as_deref().map(trust::tls_name).transpose()?,
            insecure: raw.insecure,
        },
    };
    if reach.send_proxy_port == Some(0) {
        return Err("send_proxy_port must be above 0; leave it out to have none".into());
    }
    reach::check(&reach, url)?;
    Ok(reach)
}

fn checked_tenant(raw: RawTenant, folder: &Path) -> Result<TenantWish, String> {
    let name = parse_name(&raw.name)?;
    let within = |problem: String| format!("tenant {name}: {problem}");
    let mut secrets = Vec::new();
    for source in raw.secrets {
        let (plain, file, env) = match source {
            RawSecret::Plain(text) => (Some(text), None, None),
            RawSecret::File { file } => (None, Some(file), None),
            RawSecret::Env { env } => (None, None, Some(env)),
        };
        secrets.extend(one_secret(plain, file, env, folder).map_err(within)?);
    }
    secrets.extend(one_secret(raw.secret, raw.secret_file, raw.secret_env, folder).map_err(within)?);
    let mut params = Vec::new();
    for param in raw.params {
        let rule = checked_rule(param.call, param.kind, &param.name, param.value);
        params.push(rule.map_err(|error| within(error.to_string()))?);
    }
    params.sort_by(|a, b| (a.call, &a.name, a.kind).cmp(&(b.call, &b.name, b.kind)));
    if params
        .windows(2)
        .any(|pair| (pair[0].call, pair[0].kind, &pair[0].name) == (pair[1].call, pair[1].kind, &pair[1].name))
    {
        return Err(within("two rules for the same call, kind and parameter".into()));
    }
    if [raw.limits.max_meetings, raw.limits.max_people, raw.limits.max_requests].contains(&Some(0)) {
        return Err(within("limits must be above 0; leave one out to have none".into()));
    }
    Ok(TenantWish {
        hosts: checked_all(&raw.hosts, parse_host).map_err(within)?,
        default: raw.default,
        secrets,
        params,
        max_meetings: raw.limits.max_meetings,
        max_people: raw.limits.max_people,
        max_requests: raw.limits.max_requests,
        pool: checked_all(&raw.pool, parse_tag).map_err(within)?,
        region: raw.region.as_deref().map(parse_tag).transpose().map_err(within)?,
        name,
    })
}

fn checked_all(words: &[String], check: fn(&str) -> Result<String, String>) -> Result<Vec<String>, String> {
    let checked: Result<Vec<String>, String> = words.iter().map(|word| check(word)).collect();
    checked.map(sorted)
}

/// At most one of the three sources; `None` if there is none.
fn one_secret(
    plain: Option<String>,
    file: Option<PathBuf>,
    env: Option<String>,
    folder: &Path,
) -> Result<Option<Secret>, String> {
    match (plain, file, env) {
        (None, None, None) => Ok(None),
        (Some(text), None, None) if !text.trim().is_empty() => Ok(Some(Secret::new(text.trim()))),
        (Some(_), None, None) => Err("the secret is empty".into()),
        (None, Some(file), None) => from_file(&folder.join(file)).map(Some).map_err(|error| error.to_string()),
        (None, None, Some(variable)) => from_environment(&variable).map(Some).map_err(|error| error.to_string()),
        _ => Err("give only one of secret, secret_file and secret_env".into()),
    }
}

/// TOML's own error shows the line, which may hold a secret: only its number and the message are kept.
fn position(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        parse(text, Path::new(".")).err().unwrap()
    }

    #[test]
    fn a_short_file_gets_defaults() {
        let text = "[[server]]\nurl = \"https://bbb1.example.org\"\nsecret = \"s\"\n[[tenant]]\nname = \"moodle\"\n";
        let wish = parse(text, Path::new(".")).unwrap();
        let server = &wish.servers[0];
        assert_eq!((server.name.as_str(), server.cores, server.weight), ("bbb1", ServerRecord::DEFAULT_CORES, 1.0));
        assert_eq!(server.url, "https://bbb1.example.org/bigbluebutton/api/");
        assert!(wish.tenants[0].secrets.is_empty());
    }

    #[test]
    fn secrets_come_from_files_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("moodle.secret"), "abc\n").unwrap();
        let text = "[[tenant]]\nname = \"moodle\"\nsecrets = [\"plain\", { file = \"moodle.secret\" }]\n";
        let wish = parse(text, folder.path()).unwrap();
        let secrets: Vec<&str> = wish.tenants[0].secrets.iter().map(Secret::reveal).collect();
        assert_eq!(secrets, ["plain", "abc"]);
    }

    #[test]
    fn mistakes_name_their_place_and_never_show_a_secret() {
        assert!(problem("[[server]]\nurl = \"x\"\nsecret = \"hidden\"\ncolour = 1").starts_with("line 4"));
        assert!(!problem("[[server]]\nurl = \"x\"\nsecret = \"hidden").contains("hidden"));
        assert!(problem("[[server]]\nurl = \"https://a.org\"").contains("server a: give secret"));
        let twice = "[[server]]\nurl = \"https://a.org\"\nsecret = \"x\"\n".repeat(2);
        assert!(problem(&twice).contains("twice"));
        assert!(problem("[[tenant]]\nname = \"A B\"").contains("a name has"));
        let defaults = "[[tenant]]\nname = \"a\"\ndefault = true\n[[tenant]]\nname = \"b\"\ndefault = true\n";
        assert!(problem(defaults).contains("only one tenant"));
    }
}
