//! The command line against a real store, with the server stopped and running.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;
use usher::sim::Fault;

use crate::harness::{Builder, FrontEnd, Pool, eventually, eventually_within};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(pool: &Pool, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&pool.cli_ok(&words)).unwrap()
}

/// A command that must fail: its one sentence.
fn fails(pool: &Pool, expected: i32, words: &[&str]) -> String {
    let output = pool.cli(words);
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(code(&output), expected, "usher {words:?}: {errors}");
    assert!(output.stdout.is_empty(), "usher {words:?} prints although it failed");
    if expected != 2 || errors.starts_with("usher: ") {
        assert!(errors.starts_with("usher: ") && errors.trim_end().lines().count() == 1, "usher {words:?}: {errors}");
    }
    errors
}

async fn empty() -> Pool {
    Builder::new(0).tenants(Vec::new()).prepare().await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_added_shown_changed_and_removed_with_the_server_stopped() {
    let pool = empty().await;
    for url in ["https://a.example.org", "http://b.example.org/bigbluebutton/", "c.example.org/bigbluebutton/api"] {
        pool.cli_ok(&["server", "add", url, "--secret", "secret-of-a-server"]);
    }
    for wrong in ["ftp://d.example.org", "https://", "https://d.example.org/elsewhere?x=1"] {
        fails(&pool, 2, &["server", "add", wrong, "--secret", "s"]);
    }
    let listed = json(&pool, &["server", "list"]);
    let urls: Vec<&str> = listed.as_array().unwrap().iter().map(|server| server["url"].as_str().unwrap()).collect();
    let hosts = ["https://a.example.org", "http://b.example.org", "https://c.example.org"];
    assert_eq!(urls, hosts.map(|host| format!("{host}/bigbluebutton/api/")));
    for key in ["name", "url", "state", "weight", "cores", "tags", "region", "checksum", "version", "meetings"] {
        assert!(listed[0].get(key).is_some(), "{key}");
    }
    assert!(fails(&pool, 1, &["server", "add", "https://a.example.org/", "--secret", "s"]).contains("a.example.org"));
    for state in ["cordon", "drain", "disable", "enable"] {
        pool.cli_ok(&["server", state, "a"]);
        let shown = json(&pool, &["server", "show", "a"])["state"].as_str().unwrap().to_owned();
        assert!(shown.starts_with(state.trim_end_matches('e')), "{state}: {shown}");
    }
    pool.cli_ok(&["server", "set", "a", "--name", "z", "--weight", "2", "--tag", "big", "--cores", "16"]);
    let shown = json(&pool, &["server", "show", "z"]);
    assert_eq!((&shown["weight"], &shown["cores"], &shown["tags"][0]), (&2.0.into(), &16.into(), &"big".into()));
    for words in [["server", "list"].as_slice(), &["server", "show", "z"]] {
        assert!(!pool.cli_ok(words).contains("secret-of-a-server"));
        assert!(!json(&pool, words).to_string().contains("secret-of-a-server"));
    }
    assert!(fails(&pool, 1, &["server", "show", "nobody"]).contains("usher server list"));
    pool.cli_ok(&["server", "remove", "z"]);
    fails(&pool, 1, &["server", "remove", "z"]);
    fails(&pool, 2, &["server", "explode"]);
    fails(&pool, 2, &["server", "add", "https://d.example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_standard_input_a_file_or_the_environment_and_really_sign() {
    let pool = Builder::new(1).start().await;
    let file = pool.dir.path().join("secret");
    std::fs::write(&file, "from-a-file-1\n").unwrap();
    let mut child = pool
        .command(&["tenant", "add", "piped", "--secret", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from-standard-input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("from-standard-input"), "the operator knows it already");
    pool.cli_ok(&["tenant", "add", "filed", "--secret-file", file.to_str().unwrap()]);
    let environment = pool
        .command(&["tenant", "add", "env", "--secret-env", "OUR_SECRET"])
        .env("OUR_SECRET", "from-the-env")
        .output();
    assert_eq!(code(&environment.unwrap()), 0);
    let made = json(&pool, &["tenant", "add", "made"]);
    let made_secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(made["api_url"], format!("{}/t/made/bigbluebutton/api", pool.http));
    let text = pool.cli_ok(&["tenant", "add", "told"]);
    assert!(text.contains("API address: ") && text.contains("tenant secret list told --reveal"), "{text}");

    for (name, secret) in [
        ("piped", "from-standard-input"),
        ("filed", "from-a-file-1"),
        ("env", "from-the-env"),
        ("made", made_secret.as_str()),
    ] {
        let shown = json(&pool, &["tenant", "show", name]);
        let front_end = FrontEnd::new(shown["api_url"].as_str().unwrap(), secret);
        eventually(&format!("the running server knows {name}"), || async {
            (front_end.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
        })
        .await;
        for words in [["tenant", "show", name].as_slice(), &["tenant", "list"], &["tenant", "secret", "list", name]] {
            assert!(!pool.cli_ok(words).contains(secret), "{words:?}");
            assert!(!json(&pool, words).to_string().contains(secret), "{words:?}");
        }
    }
    assert!(pool.cli_ok(&["tenant", "secret", "list", "filed", "--reveal"]).contains("from-a-file-1"));
    fails(&pool, 2, &["tenant", "add", "two", "--secret", "a", "--secret-env", "OUR_SECRET"]);

    // Rollover: both hold, then only the new one. The last one is not given up by accident.
    let added = json(&pool, &["tenant", "secret", "add", "filed"]);
    let (old, new) = ("from-a-file-1", added["secret"].as_str().unwrap().to_owned());
    let api = format!("{}/t/filed/bigbluebutton/api", pool.http);
    let (old, new) = (FrontEnd::new(&api, old), FrontEnd::new(&api, new));
    eventually("the new secret holds", || async {
        (new.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    assert_eq!(old.get("getMeetings", "").await.returncode(), "SUCCESS");
    let listed = json(&pool, &["tenant", "secret", "list", "filed"]);
    let first = listed[0]["id"].to_string();
    pool.cli_ok(&["tenant", "secret", "retire", "filed", &first]);
    eventually("the old secret is refused", || async {
        (old.get("getMeetings", "").await.key() == "checksumError").then_some(())
    })
    .await;
    let last = added["id"].to_string();
    assert!(fails(&pool, 3, &["tenant", "secret", "retire", "filed", &last]).contains("--force"));

    pool.cli_ok(&["tenant", "param", "set", "filed", "--help"]);
    pool.cli_ok(&["tenant", "limit", "set", "filed", "--max-meetings", "3"]);
    assert_eq!(json(&pool, &["tenant", "show", "filed"])["max_meetings"], 3);
    pool.cli_ok(&["tenant", "set", "filed", "--name", "renamed"]);
    pool.cli_ok(&["tenant", "remove", "renamed"]);
    assert!(fails(&pool, 1, &["tenant", "show", "renamed"]).contains("usher tenant list"));
}

#[tokio::test(flavor = "multi_thread")]
async fn meetings_are_listed_explained_ended_and_forgotten() {
    let pool = Builder::new(2).start().await;
    let front_end = pool.front_end();
    for room in ["one", "two"] {
        front_end.create(room, "&moderatorPW=PwModerator7").await;
    }
    let listed = json(&pool, &["meeting", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let shown = json(&pool, &["meeting", "show", "one"]);
    for key in ["meeting_id", "tenant", "server", "phase", "bbb_id", "internal_id", "claimed_at"] {
        assert!(!shown[key].is_null(), "{key}: {shown}");
    }
    assert!(!shown.to_string().contains("PwModerator7") && !listed.to_string().contains("PwModerator7"));
    let holder = pool.holders("one")[0];
    assert_eq!(shown["server"], format!("bbb{}", holder + 1));
    let on_it = json(&pool, &["meeting", "list", "--server", &format!("bbb{}", holder + 1)]);
    assert!(on_it.as_array().unwrap().iter().any(|meeting| meeting["meeting_id"] == "one"));
    let why = pool.cli_ok(&["meeting", "why", "one"]);
    for word in ["reason", "bbb1", "bbb2"] {
        assert!(why.contains(word), "{why}");
    }
    assert!(json(&pool, &["meeting", "why", "one"])["why"]["reason"].is_string());

    assert!(fails(&pool, 3, &["server", "remove", &format!("bbb{}", holder + 1)]).contains("--force"));
    assert!(fails(&pool, 3, &["tenant", "remove", "main"]).contains("--force"));
    assert!(fails(&pool, 3, &["meeting", "forget", "two"]).contains("usher meeting end"));
    pool.cli_ok(&["meeting", "end", "one"]);
    assert!(pool.holders("one").iter().all(|index| pool.servers[*index].meeting("one").unwrap().has_ended()));
    eventually("the running server knows that it is over", || async {
        (pool.cli(&["meeting", "show", "one"]).status.code() == Some(1)).then_some(())
    })
    .await;
    pool.cli_ok(&["meeting", "forget", "two", "--force"]);
    for command in ["show", "end", "forget", "why"] {
        assert!(fails(&pool, 1, &["meeting", command, "nowhere"]).contains("usher meeting list"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_shows_its_difference_changes_nothing_twice_and_refuses_to_lose_meetings() {
    let pool = Builder::new(2).start().await;
    let file = pool.dir.path().join("pool.toml");
    let path = file.to_str().unwrap();
    let [one, two] =
        [0, 1].map(|index: usize| (pool.servers[index].url(), pool.servers[index].secret().reveal().to_owned()));
    let server = |name: &str, url: &str, secret: &str, more: &str| {
        format!("[[server]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{secret}\"\n{more}\n")
    };
    let tenant = "[[tenant]]\nname = \"main\"\n[[tenant]]\nname = \"school\"\nhosts = [\"s.example.org\"]\nsecret = \"secret-of-school\"\n";
    let both = server("bbb1", &one.0, &one.1, "weight = 2.0") + &server("bbb2", &two.0, &two.1, "") + tenant;
    std::fs::write(&file, &both).unwrap();

    let dry = pool.cli_ok(&["apply", path, "--dry-run"]);
    for line in ["~ server bbb1", "weight: 1 → 2", "+ tenant school", "dry run"] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert!(!dry.contains("secret-of-school"), "{dry}");
    assert_eq!(json(&pool, &["server", "show", "bbb1"])["weight"], 1.0);
    pool.cli_ok(&["apply", path]);
    assert_eq!(json(&pool, &["server", "show", "bbb1"])["weight"], 2.0);
    let again = json(&pool, &["apply", path]);
    assert_eq!(again["changes"], Value::Array(Vec::new()), "{again}");
    let school = FrontEnd::new(pool.front_end().api, "secret-of-school").with_host("s.example.org");
    eventually("the running server follows", || async {
        (school.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
    })
    .await;

    pool.front_end().create("room", "").await;
    let holder = pool.holders("room")[0];
    let keeps =
        if holder == 0 { server("bbb2", &two.0, &two.1, "") } else { server("bbb1", &one.0, &one.1, "weight = 2.0") };
    std::fs::write(&file, keeps + tenant).unwrap();
    assert!(pool.cli_ok(&["apply", path]).contains("nothing to change"), "without --prune nothing is removed");
    let gone = format!("bbb{}", holder + 1);
    assert!(fails(&pool, 3, &["apply", path, "--prune"]).contains(&gone));
    assert_eq!(json(&pool, &["server", "list"]).as_array().unwrap().len(), 2, "refused as a whole");
    assert!(pool.cli_ok(&["apply", path, "--prune", "--force"]).contains(&format!("- server {gone}")));
    assert_eq!(json(&pool, &["server", "list"]).as_array().unwrap().len(), 1);

    std::fs::write(&file, "[[server]]\nurl = \"https://x.example.org\"\nsecrt = \"a\"\n").unwrap();
    assert!(fails(&pool, 1, &["apply", path]).contains("nothing was changed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_to_a_store_that_serves() {
    let mut pool = Builder::new(2).start().await;
    let front_end = pool.front_end();
    front_end.create("before", "").await;
    let load = tokio::spawn({
        let front_end = front_end.clone();
        async move {
            for number in 0.. {
                front_end.create(&format!("load{number}"), "").await;
            }
        }
    });
    eventually("load", || async { (pool.servers[0].count_calls("create") > 5).then_some(()) }).await;
    let file = pool.dir.path().join("backup.db");
    let path = file.to_str().unwrap();
    let written = json(&pool, &["backup", path]);
    assert!(
        written["meetings"].as_u64().unwrap() > 1 && written["servers"] == 2 && written["tenants"] == 1,
        "{written}"
    );
    assert!(fails(&pool, 3, &["backup", path]).contains("--force"));
    load.abort();
    fails(&pool, 3, &["restore", path]);
    fails(&pool, 3, &["restore", path, "--force"]);
    pool.signal("TERM");
    assert_eq!(pool.wait_exit().await, Some(0));

    let broken = pool.dir.path().join("broken.db");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    assert!(fails(&pool, 1, &["restore", broken.to_str().unwrap(), "--force"]).contains("nothing was changed"));
    pool.cli_ok(&["tenant", "add", "later"]);
    assert!(fails(&pool, 3, &["restore", path]).contains("--force"));
    pool.cli_ok(&["restore", path, "--force"]);
    assert_eq!(json(&pool, &["tenant", "list"]).as_array().unwrap().len(), 1);
    pool.serve().await;
    front_end.join("before", "Ada").await;
    front_end.create("after", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_all_problems_at_once_and_tries_every_server() {
    let pool = Builder::new(3).prepare().await;
    assert!(pool.cli_ok(&["check"]).contains("configuration ok"));
    let good = json(&pool, &["check", "--online"]);
    assert_eq!((&good["ok"], good["servers"].as_array().unwrap().len()), (&true.into(), 3));
    pool.cli_ok(&["server", "set", "bbb2", "--secret", "wrong"]);
    pool.servers[2].fault(Fault::Refuse);
    let output = pool.cli(&["check", "--online"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(code(&output), 1, "{text}");
    assert!(text.contains("bbb2: ") && text.contains("secret") && text.contains("bbb3: no answer"), "{text}");
    assert!(!text.contains("bbb1: "), "{text}");

    std::fs::write(pool.config_path(), "[listen]\nhttp = \"nowhere\"\n\n[health]\nintervall = \"5s\"\ntimeout = 4\n")
        .unwrap();
    let output = pool.command(&["check", "--json"]).env_remove("USHER_HEALTH__TIMEOUT").output().unwrap();
    assert_eq!(code(&output), 1);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines: Vec<&Value> = told["problems"].as_array().unwrap().iter().map(|problem| &problem["line"]).collect();
    assert_eq!(lines, [2, 5, 6], "{told}");
    let sentence = fails(&pool, 1, &["server", "list"]);
    assert!(sentence.contains("usher check"), "{sentence}");
    let output = pool.cli(&["--config", "/nowhere/usher.toml", "check"]);
    assert_ne!(code(&output), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_speaks_with_and_without_a_running_server() {
    let mut pool = Builder::new(2).prepare().await;
    let output = pool.cli(&["status"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 1, "it does not run");
    assert!(text.contains("not running") && text.contains("bbb1") && text.contains("bbb2"), "{text}");
    let stopped: Value = serde_json::from_slice(&pool.cli(&["--json", "status"]).stdout).unwrap();
    assert_eq!((&stopped["running"], &stopped["servers"][0]["health"]), (&false.into(), &Value::Null));
    pool.serve().await;
    pool.front_end().create("room", "").await;
    let text = pool.cli_ok(&["status"]);
    assert!(text.contains("running and ready: 1 meeting"), "{text}");
    let running = json(&pool, &["status"]);
    assert_eq!((&running["running"], &running["ready"]), (&true.into(), &true.into()));
    for key in ["name", "state", "health", "meetings", "participants", "utilisation", "placements"] {
        assert!(!running["servers"][0][key].is_null(), "{key}: {running}");
    }
    pool.servers[0].fault(Fault::Refuse);
    pool.wait_health("bbb1", "down").await;
    let text = pool.cli_ok(&["status"]);
    assert!(text.contains("store: ") && text.contains("usher.db"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("bbb1") && line.contains("down (")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_follows_commands_within_a_second_or_so() {
    let pool = Builder::new(1).start().await;
    pool.cli_ok(&["server", "cordon", "bbb1"]);
    eventually_within(std::time::Duration::from_secs(3), "the cordon is followed", || async {
        (pool.server_status("bbb1").await["state"] == "cordoned").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_help_name_every_command_and_need_no_store() {
    let pool = empty().await;
    let help = pool.cli_ok(&["--help"]);
    let nouns = [
        "serve",
        "check",
        "demo",
        "server",
        "tenant",
        "meeting",
        "apply",
        "backup",
        "restore",
        "status",
        "completions",
    ];
    let proposed = complete(&pool, &["usher", ""]);
    for noun in nouns {
        assert!(proposed.contains(&noun.to_owned()) && help.contains(noun), "{noun}: {proposed:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(pool.cli_ok(&["completions", shell]).contains("_USHER_COMPLETE"), "{shell}");
    }
    assert_eq!(code(&pool.cli(&[])), 2);
    assert_eq!(code(&pool.cli(&["nonsense"])), 2);
    assert!(pool.cli_ok(&["--version"]).starts_with("usher "));
}

/// What bash is proposed at the end of a line.
fn complete(pool: &Pool, words: &[&str]) -> Vec<String> {
    let mut command = pool.command(&[&["--"], words].concat());
    command.env("_USHER_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    let output = command.env("_CLAP_IFS", "\n").output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_written_is_a_failure() {
    let pool = Builder::new(1).prepare().await;
    let commands: [&[&str]; 9] = [
        &["server", "list"],
        &["server", "show", "bbb1"],
        &["tenant", "list"],
        &["meeting", "list"],
        &["status"],
        &["check"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ];
    for words in commands {
        for json in [false, true] {
            let words = if json { [words, &["--json"]].concat() } else { words.to_vec() };
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = pool.command(&words).stdout(full).output().unwrap();
            let errors = String::from_utf8(output.stderr.clone()).unwrap();
            assert_eq!(code(&output), 1, "{words:?}: {errors}");
            assert!(errors.starts_with("usher: ") && errors.contains("cannot be written"), "{words:?}: {errors}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_takes_several_names_and_changes_all_or_none() {
    let pool = Builder::new(3).prepare().await;
    let states = || -> Vec<String> {
        let listed = json(&pool, &["server", "list"]);
        listed.as_array().unwrap().iter().map(|server| server["state"].as_str().unwrap().to_owned()).collect()
    };
    assert!(fails(&pool, 1, &["server", "cordon", "bbb1", "nobody"]).contains("nobody"));
    assert_eq!(states(), ["enabled", "enabled", "enabled"]);
    let told = json(&pool, &["server", "cordon", "bbb1", "bbb3"]);
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
    assert_eq!(states(), ["cordoned", "enabled", "cordoned"]);
    assert!(json(&pool, &["server", "enable", "bbb1"]).is_object());
    pool.cli_ok(&["server", "remove", "bbb1", "bbb2"]);
    assert_eq!(states(), ["cordoned"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_until_the_last_meeting_has_ended() {
    let pool = Builder::new(1).start().await;
    pool.front_end().create("room", "").await;
    let late = pool.cli(&["server", "drain", "bbb1", "--wait", "--timeout", "300ms"]);
    let errors = String::from_utf8(late.stderr.clone()).unwrap();
    assert_eq!(code(&late), 1, "{errors}");
    assert!(errors.contains("waiting: bbb1: 1 meeting") && errors.contains("not drained in time"), "{errors}");
    pool.cli_ok(&["meeting", "end", "room"]);
    assert!(pool.cli_ok(&["server", "drain", "bbb1", "--wait", "--timeout", "30s"]).contains("bbb1 drained"));
    assert_eq!(json(&pool, &["server", "show", "bbb1"])["state"], "disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_typed_is_not_shown() {
    let pool = empty().await;
    let line =
        format!("{} -c {} tenant add typed --secret -", env!("CARGO_BIN_EXE_usher"), pool.config_path().display());
    let mut child = std::process::Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("not shown") {
        let mut bytes = [0; 256];
        let read = std::io::Read::read(&mut out, &mut bytes).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend(&bytes[..read]);
    }
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"typed-by-hand-1\n").unwrap();
    std::io::Read::read_to_end(&mut out, &mut shown).unwrap();
    drop(stdin);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success() && shown.contains("tenant typed added"), "{shown}");
    assert!(!shown.contains("typed-by-hand"), "{shown}");
    assert!(pool.cli_ok(&["tenant", "secret", "list", "typed", "--reveal"]).contains("typed-by-hand-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_propose_names_of_the_store() {
    let pool = Builder::new(2).prepare().await;
    let config = pool.config_path().display().to_string();
    let servers = complete(&pool, &["usher", "-c", &config, "server", "drain", ""]);
    assert!(["bbb1", "bbb2"].iter().all(|name| servers.contains(&(*name).to_owned())), "{servers:?}");
    let tenants = complete(&pool, &["usher", "-c", &config, "tenant", "show", ""]);
    assert!(tenants.contains(&"main".to_owned()), "{tenants:?}");
    let algorithms = complete(&pool, &["usher", "server", "set", "x", "--checksum", ""]);
    assert!(algorithms.contains(&"sha256".to_owned()), "{algorithms:?}");
}
