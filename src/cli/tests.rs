//! Commands end to end on a real SQLite store, from arguments to report, and the grammar itself.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::clock::Millis;
use crate::config::{StoreConfig, StoreUrl};
use crate::ids::{BbbMeetingId, MeetingId, Secret, ServerId};
use crate::sim::{SimOptions, SimServer};
use crate::store::{Claim, Known, Phase, Placement, ServerRecord, Version};

/// A plain server for tests of pure functions.
pub fn server(name: &str) -> ServerRecord {
    ServerRecord {
        id: ServerId(1),
        ..ServerRecord::new(name, format!("https://{name}.example.org/bigbluebutton/api/"), Secret::new("secret"))
    }
}

/// As `main` does; a second call changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A store in a folder of its own, and commands as somebody would type them.
struct Desk {
    folder: tempfile::TempDir,
    config: Config,
}

impl Desk {
    fn new() -> Self {
        install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::builtin();
        config.store = StoreConfig { url: StoreUrl::Sqlite(folder.path().join("usher.db")) };
        config.admin.listen = None;
        Self { folder, config }
    }

    async fn context(&self) -> Context {
        Context::open(self.config.clone()).await.unwrap()
    }

    async fn type_in(&self, line: &str) -> Result<Report, CliError> {
        let words = std::iter::once("usher").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| CliError::Usage(error.to_string()))?;
        on_store(&self.context().await, cli.command).await
    }

    async fn done(&self, line: &str) -> Report {
        let report = self.type_in(line).await.unwrap_or_else(|error| unreachable!("{line}: {error}"));
        assert_eq!(report.exit, Exit::Done, "{line}");
        report
    }

    async fn exit(&self, line: &str) -> Exit {
        self.type_in(line).await.map_or_else(|error| error.exit(), |report| report.exit)
    }

    /// Places a meeting as the running server would.
    async fn place(&self, tenant: &str, server: &str, meeting: &str) {
        let context = self.context().await;
        let tenant = context.tenant(tenant).await.unwrap();
        let placement = Placement {
            tenant: tenant.id,
            meeting: MeetingId::new(meeting),
            bbb_id: BbbMeetingId::new(format!("{}-{meeting}", tenant.name)),
            server: context.server(server).await.unwrap().id,
            phase: Phase::Claimed,
            internal_id: None,
            create_time: 0,
            attendee_pw: Some(Secret::new("attendee-pw")),
            moderator_pw: Some(Secret::new("moderator-pw")),
            claimed_at: Millis(1_700_000_000_000),
            why: r#"{"reason":"least_load","candidates":[{"name":"bbb1","utilisation":0.1}]}"#.into(),
            version: Version::default(),
        };
        assert!(matches!(context.store.claim(placement).await.unwrap(), Claim::Won(_)));
    }
}

const ADD_SERVER: &str = "server add https://bbb1.example.org --secret top-secret-1";

#[test]
fn the_grammar_is_sound() {
    grammar().debug_assert();
}

#[test]
fn wrong_usage_is_exit_2_and_help_is_not() {
    let exit = |line: &str| run(line.split_whitespace().map(OsString::from));
    assert_eq!(exit("usher server frobnicate"), Exit::Usage);
    assert_eq!(exit("usher --help"), Exit::Done);
    assert_eq!(exit("usher --version"), Exit::Done);
    assert_eq!(exit("usher server add https://a.org --secret x --secret-env Y"), Exit::Usage);
    // A negative number is a wrong value, not an option that does not exist.
    for line in
        ["server add https://a.org --weight -1", "server set a --cores -2", "tenant limit set t --max-people -1"]
    {
        let words = format!("usher {line}");
        let error = grammar().try_get_matches_from(words.split_whitespace()).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation, "{error}");
    }
}

#[test]
fn completions_ask_this_program() {
    for shell in ["bash", "zsh", "fish"] {
        let report = completion::script(shell.parse().unwrap()).unwrap();
        assert!(report.text.contains("_USHER_COMPLETE") && report.text.contains("usher"), "{shell}: {}", report.text);
    }
    let nouns: Vec<String> = grammar().get_subcommands().map(|noun| noun.get_name().to_owned()).collect();
    assert!(["tenant", "server", "man"].iter().all(|noun| nouns.iter().any(|known| known == noun)), "{nouns:?}");
}

#[test]
fn a_broken_configuration_fails_with_one_sentence_and_check_lists_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.toml");
    std::fs::write(&file, "[listen]\nhttp = \"nowhere\"\ncolour = 1\n").unwrap();
    let error = load(Some(&file)).unwrap_err();
    assert_eq!((error.exit(), error.to_string().lines().count()), (Exit::Failed, 1));
    let report = in_runtime(check::run(Some(file), false)).unwrap();
    assert_eq!(report.exit, Exit::Failed);
    assert_eq!(report.json["problems"].as_array().unwrap().len(), 2, "{}", report.text);
}

#[tokio::test]
async fn servers_are_added_listed_changed_and_removed() {
    let desk = Desk::new();
    let added = desk.done(ADD_SERVER).await;
    assert_eq!(added.json["name"], "bbb1");
    assert_eq!(added.json["url"], "https://bbb1.example.org/bigbluebutton/api/");
    assert_eq!((&added.json["state"], &added.json["cores"]), (&"enabled".into(), &8.into()));
    let second = desk
        .done("server add http://bbb1.example.com:8090/bigbluebutton/ --secret s --tag b --tag a --region north --weight 1.5 --cores 16 --max-people 300 --disabled")
        .await;
    assert_eq!(second.json["name"], "bbb1-2");
    assert_eq!(second.json["tags"], json!(["a", "b"]));
    assert_eq!((&second.json["state"], &second.json["max_people"]), (&"disabled".into(), &300.into()));
    desk.done("server set bbb1-2 --name north --tag c --max-people none --region none --version 2.7.8").await;
    let shown = desk.done("server show north").await;
    assert_eq!((&shown.json["tags"], &shown.json["max_people"]), (&json!(["c"]), &json!(null)));
    assert_eq!((&shown.json["region"], &shown.json["version"]), (&json!(null), &"2.7.8".into()));
    let list = desk.done("server list").await;
    assert_eq!(list.json.as_array().unwrap().len(), 2);
    assert!(!format!("{} {} {}", list.text, list.json, shown.text).contains("top-secret-1"));
    desk.done("server remove north").await;
    assert_eq!(desk.exit("server show north").await, Exit::Failed);
}

#[tokio::test]
async fn the_four_states_can_be_set() {
    let desk = Desk::new();
    desk.done(ADD_SERVER).await;
    for (verb, state) in [("cordon", "cordoned"), ("drain", "draining"), ("disable", "disabled"), ("enable", "enabled")]
    {
        assert_eq!(desk.done(&format!("server {verb} bbb1")).await.json["state"], state);
        assert_eq!(desk.done("server show bbb1").await.json["state"], state);
    }
}

#[tokio::test]
async fn mistakes_have_their_exit_codes() {
    let desk = Desk::new();
    desk.done(ADD_SERVER).await;
    for (line, exit) in [
        ("server add https://bbb2.example.org", Exit::Usage),
        ("server add https://bbb2.example.org/moodle --secret x", Exit::Usage),
        ("server add https://bbb2.example.org --secret x --name Big_One", Exit::Usage),
        ("server add https://bbb2.example.org --secret x --weight 0", Exit::Usage),
        ("server add https://bbb1.example.org/bigbluebutton/api --secret x", Exit::Failed),
        ("server add https://bbb2.example.org --secret x --name bbb1", Exit::Failed),
        ("server enable nobody", Exit::Failed),
        ("tenant limit set nobody --max-people 3", Exit::Failed),
        ("tenant limit set nobody", Exit::Usage),
        ("meeting why nothing", Exit::Failed),
    ] {
        assert_eq!(desk.exit(line).await, exit, "{line}");
    }
}

#[tokio::test]
async fn what_has_meetings_is_removed_only_with_force() {
    let desk = Desk::new();
    desk.done(ADD_SERVER).await;
    desk.done("tenant add moodle --secret x").await;
    desk.place("moodle", "bbb1", "room").await;
    assert_eq!(desk.exit("server remove bbb1").await, Exit::Refused);
    assert_eq!(desk.exit("tenant remove moodle").await, Exit::Refused);
    assert_eq!(desk.exit("server set bbb1 --url https://other.example.org").await, Exit::Refused);
    let removed = desk.done("server remove bbb1 --force").await;
    assert_eq!(removed.json["forgotten_meetings"], 1);
    assert_eq!(desk.done("meeting list").await.json, json!([]));
    desk.done("tenant remove moodle").await;
}

#[tokio::test]
async fn the_first_tenant_is_the_default_and_a_made_secret_is_shown_once() {
    let desk = Desk::new();
    let first = desk.done("tenant add moodle").await;
    let secret = first.json["secret"].as_str().unwrap().to_string();
    assert!(secret.len() >= 40 && first.text.contains(&secret));
    assert_eq!((&first.json["default"], &first.json["scoped"]), (&true.into(), &false.into()));
    assert_eq!(first.json["api_url"], "http://127.0.0.1:8080/bigbluebutton/api");
    let second = desk.done("tenant add greenlight --secret given").await;
    assert_eq!((&second.json["default"], &second.json["scoped"]), (&false.into(), &true.into()));
    assert_eq!(second.json["api_url"], "http://127.0.0.1:8080/t/greenlight/bigbluebutton/api");
    assert!(!format!("{}{}", second.text, second.json).contains("given"));
    let hosted = desk.done("tenant add nextcloud --host Rooms.example.org").await;
    assert_eq!(hosted.json["api_url"], "http://rooms.example.org:8080/bigbluebutton/api");
    let later = format!("{0}{1}", desk.done("tenant list").await.json, desk.done("tenant show moodle").await.json);
    assert!(!later.contains(&secret));
    let masked = desk.done("tenant secret list moodle").await;
    assert!(!masked.text.contains(&secret) && masked.json[0]["secret"] == "***");
    assert_eq!(desk.done("tenant secret list moodle --reveal").await.json[0]["secret"], secret.as_str());
}

#[tokio::test]
async fn the_default_moves_only_when_given_up_and_then_ids_are_scoped() {
    let desk = Desk::new();
    desk.done(ADD_SERVER).await;
    desk.done("tenant add a --secret x").await;
    desk.done("tenant add b --secret y").await;
    assert_eq!(desk.exit("tenant set b --default true").await, Exit::Failed);
    desk.place("a", "bbb1", "room").await;
    assert_eq!(desk.exit("tenant set a --default false").await, Exit::Refused);
    let given_up = desk.done("tenant set a --default false --force").await;
    assert_eq!((&given_up.json["default"], &given_up.json["scoped"]), (&false.into(), &true.into()));
    assert_eq!(desk.done("tenant set b --default true").await.json["default"], true);
}

#[tokio::test]
async fn secrets_roll_over_and_the_last_one_is_kept() {
    let desk = Desk::new();
    desk.done("tenant add a --secret old").await;
    let old = desk.done("tenant secret list a").await.json[0]["id"].as_i64().unwrap();
    assert_eq!(desk.exit(&format!("tenant secret retire a {old}")).await, Exit::Refused);
    assert_eq!(desk.exit("tenant secret add a --secret old").await, Exit::Failed);
    let new = desk.done("tenant secret add a --secret new").await.json["id"].as_i64().unwrap();
    assert_ne!(old, new);
    desk.done(&format!("tenant secret retire a {old} --after 7d")).await;
    assert_eq!(desk.done("tenant secret list a").await.json[0]["in_force"], true);
    desk.done(&format!("tenant secret retire a {old}")).await;
    assert_eq!(desk.done("tenant secret list a").await.json[0]["in_force"], false);
    assert_eq!(desk.exit("tenant secret retire a 999").await, Exit::Failed);
}

#[tokio::test]
async fn rules_and_limits_are_set_and_unset() {
    let desk = Desk::new();
    desk.done("tenant add a --secret x").await;
    desk.done("tenant param set a record false --kind override").await;
    desk.done("tenant param set a guest=true --call join").await;
    desk.done("tenant param set a logo --kind block").await;
    let list = desk.done("tenant param list a").await;
    assert_eq!(list.json.as_array().unwrap().len(), 3);
    desk.done("tenant param unset a record").await;
    assert_eq!(desk.exit("tenant param unset a record").await, Exit::Failed);
    assert_eq!(desk.done("tenant param list a").await.json.as_array().unwrap().len(), 2);
    let limited = desk.done("tenant limit set a --max-people 500 --max-meetings 20").await;
    assert_eq!((&limited.json["max_people"], &limited.json["max_meetings"]), (&500.into(), &20.into()));
    let slowed = desk.done("tenant limit set a --max-requests 50").await;
    assert_eq!((&slowed.json["max_requests"], &slowed.json["max_people"]), (&50.into(), &500.into()));
    let freed = desk.done("tenant limit set a --max-people none").await;
    assert_eq!((&freed.json["max_people"], &freed.json["max_meetings"]), (&json!(null), &20.into()));
}

#[tokio::test]
async fn meetings_are_found_explained_and_forgotten() {
    let desk = Desk::new();
    desk.done(ADD_SERVER).await;
    desk.done("tenant add a --secret x").await;
    desk.done("tenant add b --secret y").await;
    desk.place("a", "bbb1", "room").await;
    desk.place("b", "bbb1", "room").await;
    desk.place("a", "bbb1", "other").await;
    assert_eq!(desk.done("meeting list").await.json.as_array().unwrap().len(), 3);
    assert_eq!(desk.done("meeting list --tenant a").await.json.as_array().unwrap().len(), 2);
    assert_eq!(desk.exit("meeting show room").await, Exit::Usage);
    assert_eq!(desk.done("meeting show room --tenant b").await.json["bbb_id"], "b-room");
    assert_eq!(desk.done("meeting show b-room").await.json["tenant"], "b");
    let why = desk.done("meeting why other").await;
    assert!(why.text.contains("least_load") && why.text.contains("bbb1  0.10"), "{}", why.text);
    let everything = format!("{why:?}{:?}", desk.done("meeting show other").await);
    assert!(!everything.contains("moderator-pw") && !everything.contains("attendee-pw"));
    assert_eq!(desk.exit("meeting forget other").await, Exit::Refused);
    desk.done("meeting forget other --force").await;
    assert_eq!(desk.exit("meeting show other").await, Exit::Failed);
}

#[tokio::test]
async fn apply_shows_makes_and_prunes() {
    let desk = Desk::new();
    let file = desk.folder.path().join("pool.toml");
    let text = r#"
[[server]]
url = "https://bbb1.example.org"
secret = "one"
[[server]]
url = "https://bbb2.example.org"
secret = "two"
[[tenant]]
name = "moodle"
hosts = ["rooms.example.org"]
secrets = ["abc"]
limits = { max_people = 100 }
"#;
    std::fs::write(&file, text).unwrap();
    let line = format!("apply {}", file.display());
    let dry = desk.done(&format!("{line} --dry-run")).await;
    assert_eq!(dry.json["changes"].as_array().unwrap().len(), 3);
    assert_eq!(desk.done("server list").await.json, json!([]));
    desk.done(&line).await;
    assert_eq!(desk.done("server list").await.json.as_array().unwrap().len(), 2);
    assert_eq!(desk.done("tenant show moodle").await.json["max_people"], 100);
    assert_eq!(desk.done(&format!("{line} --prune")).await.json["changes"], json!([]));

    desk.place("moodle", "bbb2", "room").await;
    std::fs::write(&file, text.replace("rooms.", "new.").replacen("bbb2", "bbb3", 1)).unwrap();
    assert_eq!(desk.exit(&format!("{line} --prune")).await, Exit::Refused);
    assert_eq!(desk.done("tenant show moodle").await.json["hosts"], json!(["rooms.example.org"]));
    desk.done(&format!("{line} --prune --force")).await;
    let names: Vec<String> = desk
        .done("server list")
        .await
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["name"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(names, ["bbb1", "bbb3"]);
}

#[tokio::test]
async fn apply_moves_a_host_between_tenants_whatever_the_order() {
    let desk = Desk::new();
    desk.done("tenant add a --host x.example.org --secret s").await;
    desk.done("tenant add b --host y.example.org --secret s").await;
    let file = desk.folder.path().join("pool.toml");
    let text = "[[tenant]]\nname = \"b\"\nhosts = [\"x.example.org\"]\n[[tenant]]\nname = \"a\"\nhosts = [\"z.example.org\"]\n";
    std::fs::write(&file, text).unwrap();
    desk.done(&format!("apply {}", file.display())).await;
    assert_eq!(desk.done("tenant show b").await.json["hosts"], json!(["x.example.org"]));
}

#[tokio::test]
async fn a_backup_comes_back_and_rubbish_does_not() {
    let desk = Desk::new();
    desk.done(ADD_SERVER).await;
    let file = desk.folder.path().join("copy.db");
    desk.done(&format!("backup {}", file.display())).await;
    assert_eq!(desk.exit(&format!("backup {}", file.display())).await, Exit::Refused);
    desk.done(&format!("backup {} --force", file.display())).await;
    desk.done("server remove bbb1").await;
    desk.done("tenant add later --secret x").await;

    let restore =
        |file: &Path, force: bool| backup::restore(&desk.config, &backup::RestoreArgs { file: file.into(), force });
    let rubbish = desk.folder.path().join("rubbish");
    std::fs::write(&rubbish, "no database").unwrap();
    assert_eq!(restore(&rubbish, true).unwrap_err().exit(), Exit::Failed);
    assert_eq!(restore(&file, false).unwrap_err().exit(), Exit::Refused);
    restore(&file, true).unwrap();
    assert_eq!(desk.done("server list").await.json[0]["name"], "bbb1");
    assert_eq!(desk.done("tenant list").await.json, json!([]));
}

#[tokio::test]
async fn status_says_in_words_that_nothing_runs() {
    let mut desk = Desk::new();
    desk.done(ADD_SERVER).await;
    // Port 9 of loopback: nobody answers there.
    desk.config.admin.listen = Some(([127, 0, 0, 1], 9).into());
    let status = desk.type_in("status").await.unwrap();
    assert_eq!(status.exit, Exit::Failed);
    assert!(status.text.contains("not running"), "{}", status.text);
    assert_eq!((&status.json["running"], &status.json["servers"][0]["name"]), (&false.into(), &"bbb1".into()));
}

#[tokio::test]
async fn status_shows_what_the_running_server_says() {
    let mut desk = Desk::new();
    desk.done(ADD_SERVER).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    desk.config.admin.listen = Some(listener.local_addr().unwrap());
    let body = r#"{"servers":[{"name":"bbb1","health":"suspect","reason":"timeout","meetings":4,"participants":31,"utilisation":0.42,"version":"3.0.19"}],"tenants":[{"name":"moodle","meetings":4,"people":31}],"ready":false,"reasons":["no server is up"]}"#;
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0u8; 1024];
        let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut request).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        tokio::io::AsyncWriteExt::write_all(&mut socket, format!("{head}{body}").as_bytes()).await.unwrap();
    });
    let status = desk.type_in("status").await.unwrap();
    assert_eq!(status.exit, Exit::Failed, "not ready");
    for part in ["suspect (timeout)", "31", "42 %", "3.0.19", "NOT ready (no server is up)"] {
        assert!(status.text.contains(part), "{part} in {}", status.text);
    }
    assert_eq!((&status.json["running"], &status.json["servers"][0]["participants"]), (&true.into(), &31.into()));
    assert_eq!(status.json["tenants"][0]["name"], "moodle");
}

/// A desk whose `bbb1` is a simulated server, with `secret` in the store.
async fn with_simulated_server(secret: &str) -> (Desk, SimServer) {
    let desk = Desk::new();
    let server =
        SimServer::start(SimOptions { reveal_version: true, ..SimOptions::new(Secret::new("right")) }).await.unwrap();
    desk.done(&format!("server add {} --secret {secret} --name bbb1", server.url())).await;
    (desk, server)
}

#[tokio::test]
async fn end_ends_the_meeting_on_its_server() {
    let (desk, server) = with_simulated_server("right").await;
    desk.done("tenant add a --secret x").await;
    desk.place("a", "bbb1", "room").await;
    server.create_directly("a-room", "Room");
    assert_eq!(desk.exit("meeting end room").await, Exit::Failed, "the password is not that of the meeting");
    assert!(!server.meeting("a-room").unwrap().has_ended());
    let password = server.meeting("a-room").unwrap().moderator_password;
    let context = desk.context().await;
    let placed = context.placement("room", None).await.unwrap();
    context.store.release(&placed.key(), placed.server, Known::Version(placed.version)).await.unwrap();
    context.store.claim(Placement { moderator_pw: Some(Secret::new(password)), ..placed }).await.unwrap();
    assert_eq!(desk.done("meeting end room").await.json["ended"], true);
    assert!(server.meeting("a-room").is_none_or(|meeting| meeting.has_ended()));
    server.stop().await;
    assert_eq!(desk.exit("meeting end room").await, Exit::Failed);
}

#[tokio::test]
async fn check_online_tells_a_good_server_from_a_wrong_secret_and_a_dead_one() {
    for (secret, good) in [("right", true), ("wrong", false)] {
        let (desk, server) = with_simulated_server(secret).await;
        let report = check::try_online(desk.config.clone(), "test", "configuration ok".into()).await;
        assert_eq!(report.exit == Exit::Done, good, "{}", report.text);
        assert_eq!(report.json["servers"][0]["ok"], good);
        assert_eq!(report.text.contains("the secret is wrong"), !good);
        server.stop().await;
        let report = check::try_online(desk.config.clone(), "test", "configuration ok".into()).await;
        assert!(report.exit == Exit::Failed && report.text.contains("no answer from"), "{}", report.text);
    }
}

#[tokio::test]
async fn how_a_server_is_reached_is_added_changed_and_shown() {
    let desk = Desk::new();
    let report = desk.done(&format!("{ADD_SERVER} --address 10.0.0.5:8443 --send-proxy v2 --send-proxy-port 81")).await;
    assert_eq!(report.json["address"], "10.0.0.5:8443");
    assert_eq!((&report.json["send_proxy"], &report.json["send_proxy_port"]), (&"v2".into(), &81.into()));
    assert_eq!(report.json["client_prefix"], "auto");
    let report = desk.done("server set bbb1 --client-prefix keep --send-proxy off").await;
    assert_eq!(report.json["client_prefix"], "keep");
    assert_eq!(
        (&report.json["send_proxy"], &report.json["send_proxy_port"]),
        (&"off".into(), &serde_json::Value::Null)
    );
    let report = desk.done("server set bbb1 --address none --client-prefix auto").await;
    assert_eq!((&report.json["address"], &report.json["client_prefix"]), (&serde_json::Value::Null, &"auto".into()));
    let text = desk.done("server show bbb1").await.text;
    assert!(text.contains("https://bbb1.example.org") && text.contains("client prefix"), "{text}");
    for wrong in [
        "server set bbb1 --address https://10.0.0.5",
        "server set bbb1 --address 10.0.0.5:0",
        "server set bbb1 --send-proxy v3",
        "server set bbb1 --send-proxy-port 81",
        "server set bbb1 --send-proxy v1 --send-proxy-port 0",
        "server set bbb1 --client-prefix maybe",
        "server add https://10.0.0.9 --secret s --address 10.0.0.5",
    ] {
        assert_eq!(desk.exit(wrong).await, Exit::Usage, "{wrong}");
    }
    assert_eq!(desk.done("server list").await.json[0]["send_proxy"], "off");
}
