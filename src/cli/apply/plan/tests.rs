//! The difference between files and records, as tables.

use std::path::Path;

use super::super::wish::parse;
use super::*;
use crate::ids::Secret;

const NOW: Millis = Millis(1_000_000);
const TWO_SERVERS: &str = r#"
[[server]]
url = "https://bbb1.example.org"
secret = "s1"
tags = ["big"]
[[server]]
name = "bbb2"
url = "https://bbb2.example.org"
secret = "s2"
"#;

fn plan(text: &str, servers: &[ServerRecord], tenants: &[TenantRecord], prune: bool) -> Result<Plan, CliError> {
    make(&parse(text, Path::new(".")).unwrap(), servers, tenants, prune, NOW)
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| format!("{} {} {:?}", action.sign(), action.subject(), action.changes)).collect()
}

/// The servers that `text` makes in an empty store, with ids from 1.
fn servers_of(text: &str) -> Vec<ServerRecord> {
    let writes = plan(text, &[], &[], false).unwrap().actions;
    let added = writes.into_iter().filter_map(|action| match action.write {
        Write::AddServer(server) => Some(*server),
        _ => None,
    });
    added.zip(1..).map(|(server, id)| ServerRecord { id: ServerId(id), ..server }).collect()
}

/// The same for tenants; their secrets get ids from 1.
fn tenants_of(text: &str) -> Vec<TenantRecord> {
    let writes = plan(text, &[], &[], false).unwrap().actions;
    let added = writes.into_iter().filter_map(|action| match action.write {
        Write::AddTenant(tenant) => Some(*tenant),
        _ => None,
    });
    let mut tenants: Vec<TenantRecord> =
        added.zip(1..).map(|(tenant, id)| TenantRecord { id: TenantId(id), ..tenant }).collect();
    for tenant in &mut tenants {
        for (secret, id) in tenant.secrets.iter_mut().zip(1..) {
            secret.id = id;
        }
    }
    tenants
}

#[test]
fn applying_twice_changes_nothing() {
    let text = format!("{TWO_SERVERS}[[tenant]]\nname = \"moodle\"\nsecrets = [\"a\"]\n");
    let again = plan(&text, &servers_of(&text), &tenants_of(&text), true).unwrap();
    assert_eq!(lines(&again), Vec::<String>::new());
}

#[test]
fn changes_additions_and_removals_are_told_apart() {
    let mut servers = servers_of(TWO_SERVERS);
    servers[0].tags = vec!["small".into()];
    servers[0].secret = Secret::new("old");
    servers.remove(1);
    servers.push(ServerRecord {
        id: ServerId(9),
        name: "bbb9".into(),
        url: "https://bbb9.example.org/bigbluebutton/api/".into(),
        ..servers[0].clone()
    });
    let kept = plan(TWO_SERVERS, &servers, &[], false).unwrap();
    let expected = ["~ server bbb1 [\"secret changed\", \"tags: small → big\"]", "+ server bbb2 []"];
    assert_eq!(lines(&kept), expected);
    let pruned = plan(TWO_SERVERS, &servers, &[], true).unwrap();
    assert_eq!(lines(&pruned)[2], "- server bbb9 []");
    assert_eq!(pruned.actions[2].loss(), Some(Loss::OfServer(ServerId(9))));
    assert_eq!(pruned.actions[0].loss(), None);
}

#[test]
fn the_state_stays_unless_the_file_names_one() {
    let mut servers = servers_of(TWO_SERVERS);
    servers[0].state = ServerState::Cordoned;
    assert!(plan(TWO_SERVERS, &servers, &[], false).unwrap().actions.is_empty());
    let named = TWO_SERVERS.replace("tags = ", "state = \"enabled\"\ntags = ");
    let plan = plan(&named, &servers, &[], false).unwrap();
    assert_eq!(lines(&plan), ["~ server bbb1 [\"state: cordoned → enabled\"]"]);
}

#[test]
fn a_server_is_recognised_by_its_address_when_the_file_gives_no_name() {
    let mut servers = servers_of(TWO_SERVERS);
    servers[0].name = "north".into();
    assert!(plan(TWO_SERVERS, &servers, &[], true).unwrap().actions.is_empty());
}

#[test]
fn another_address_under_the_same_name_may_lose_meetings() {
    let servers = servers_of(TWO_SERVERS);
    let moved = TWO_SERVERS.replace("https://bbb2", "https://other");
    let plan = plan(&moved, &servers, &[], false).unwrap();
    assert_eq!(plan.actions[0].loss(), Some(Loss::OfServer(servers[1].id)));
}

#[test]
fn two_servers_never_share_an_address() {
    let mut servers = servers_of(TWO_SERVERS);
    servers[1].name = "bbb3".into();
    servers[1].url = "https://bbb3.example.org/bigbluebutton/api/".into();
    servers.push(ServerRecord { id: ServerId(3), name: "bbb2".into(), ..servers[1].clone() });
    servers[2].url = "https://bbb4.example.org/bigbluebutton/api/".into();
    let text = TWO_SERVERS.replace("https://bbb2", "https://bbb3");
    assert!(plan(&text, &servers, &[], false).unwrap_err().to_string().contains("same name or address"));
    assert!(plan(&text, &servers, &[], true).is_ok());
}

#[test]
fn the_first_new_tenant_without_hosts_is_the_default() {
    let text = r#"
[[tenant]]
name = "hosted"
hosts = ["rooms.example.org"]
secret = "a"
[[tenant]]
name = "first"
secret = "b"
[[tenant]]
name = "second"
secret = "c"
"#;
    let tenants = tenants_of(text);
    let defaults: Vec<(bool, bool)> =
        tenants.iter().map(|tenant| (tenant.is_default, tenant.scope.is_some())).collect();
    assert_eq!(defaults, [(false, true), (true, false), (false, true)]);
}

#[test]
fn the_default_is_handed_over_only_explicitly() {
    let tenants = tenants_of("[[tenant]]\nname = \"a\"\nsecret = \"x\"\n");
    let both = "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\ndefault = true\nsecret = \"y\"\n";
    assert!(plan(both, &[], &tenants, false).unwrap_err().to_string().contains("default = false"));
    let handed = both.replacen("name = \"a\"", "name = \"a\"\ndefault = false", 1);
    let plan = plan(&handed, &[], &tenants, false).unwrap();
    assert_eq!(plan.actions[0].loss(), Some(Loss::OfTenant(tenants[0].id)));
    assert_eq!(lines(&plan)[0], "~ tenant a [\"meeting ids become scoped\", \"default: true → false\"]");
}

#[test]
fn secrets_of_the_file_are_in_force_and_all_others_retired() {
    let tenants = tenants_of("[[tenant]]\nname = \"a\"\nsecrets = [\"x\", \"y\"]\n");
    assert!(plan("[[tenant]]\nname = \"a\"\n", &[], &tenants, false).unwrap().actions.is_empty());
    let plan = plan("[[tenant]]\nname = \"a\"\nsecrets = [\"y\", \"z\"]\n", &[], &tenants, false).unwrap();
    assert_eq!(lines(&plan), ["~ tenant a [\"secret 1 retired\", \"one more secret\"]"]);
    let Write::ChangeTenant { new, .. } = &plan.actions[0].write else { unreachable!() };
    let retired: Vec<Option<Millis>> = new.secrets.iter().map(|secret| secret.retired_at).collect();
    assert_eq!(retired, [Some(NOW), None, None]);
}

#[test]
fn a_new_tenant_needs_a_secret() {
    assert!(plan("[[tenant]]\nname = \"a\"\n", &[], &[], false).unwrap_err().to_string().contains("tenant add a"));
}

#[test]
fn rules_are_compared_one_by_one() {
    let tenants = tenants_of(
        "[[tenant]]\nname = \"a\"\nsecret = \"x\"\nparams = [{ call = \"create\", kind = \"default\", name = \"duration\", value = \"60\" }]\n",
    );
    let text = "[[tenant]]\nname = \"a\"\nparams = [{ call = \"join\", kind = \"block\", name = \"role\" }]\nlimits = { max_people = 5 }\n";
    let plan = plan(text, &[], &tenants, false).unwrap();
    let expected = ["max_people: none → 5", "param + join role blocked", "param - create duration default = 60"];
    assert_eq!(plan.actions[0].changes, expected);
}

#[test]
fn how_a_server_is_reached_is_compared() {
    let reached = r#"
[[server]]
url = "https://bbb1.example.org"
secret = "s1"
tags = ["big"]
address = "[FD00::5]:8443"
send_proxy = "v1"
send_proxy_port = 81
client_prefix = "keep"
[[server]]
name = "bbb2"
url = "https://bbb2.example.org"
secret = "s2"
client_prefix = "auto"
"#;
    let changed = plan(reached, &servers_of(TWO_SERVERS), &[], false).unwrap();
    let expected = "~ server bbb1 [\"address: none → [fd00::5]:8443\", \"send_proxy: off → v1\", \
                    \"send_proxy_port: none → 81\", \"client_prefix: auto → keep\"]";
    assert_eq!(lines(&changed), [expected]);
    assert_eq!(lines(&plan(reached, &servers_of(reached), &[], false).unwrap()), Vec::<String>::new());
    let back = plan(TWO_SERVERS, &servers_of(reached), &[], false).unwrap();
    assert_eq!(back.actions[0].changes.len(), 4, "what the file does not say is as it was in the beginning");
    for wrong in ["address = \"https://x\"", "send_proxy = \"yes\"", "send_proxy_port = 81", "client_prefix = \"no\""] {
        let text = format!("[[server]]\nurl = \"https://a.org\"\nsecret = \"s\"\n{wrong}\n");
        assert!(parse(&text, Path::new(".")).err().unwrap().starts_with("server a: "), "{wrong}");
    }
}
