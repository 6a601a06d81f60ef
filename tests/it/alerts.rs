//! The rules that are shipped for Prometheus: each by its cause with `promtool`, and their names against a real scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use usher::clock::{Clock, SystemClock};

use crate::harness::Builder;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/prometheus-alerts.yml");
const CASES: &str = include_str!("alerts.yml");

/// `make test` installs promtool; without it this is skipped and says so.
#[test]
fn each_alert_fires_by_its_cause_and_is_silent_without() {
    let folder = tempfile::tempdir().unwrap();
    let cases = folder.path().join("cases.yml");
    std::fs::write(&cases, CASES.replace("RULES", RULES)).unwrap();
    let done = match Command::new("promtool").args(["test", "rules"]).arg(&cases).output() {
        Ok(done) => done,
        Err(error) => return eprintln!("skipped, there is no promtool: {error}"),
    };
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    let rules = std::fs::read_to_string(RULES).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(CASES.contains(&format!("        alertname: {alert}\n        exp_alerts:\n")), "{alert} has no cause");
    }
}

/// Metrics of a scrape: name → label → values.
fn read(scrape: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = found.entry(name.to_owned()).or_default();
        let Some((inside, _)) = rest.split_once('}').filter(|_| line.contains('{')) else { continue };
        for pair in inside.split("\",") {
            let (label, value) = pair.split_once("=\"").unwrap();
            labels.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_name_is_in_a_scrape() {
    let pool = Builder::new(2).start().await;
    let moodle = pool.front_end();
    pool.cli_ok(&["server", "disable", "bbb2"]);
    moodle.get("create", "name=Room&meetingID=m").await;
    pool.servers[0].fault(usher::sim::Fault::Status(500));
    pool.wait_health("bbb1", "down").await;
    let failed = moodle.get("create", "name=Room&meetingID=other").await;
    assert_eq!(failed.returncode(), "FAILED");
    let scrape = read(&pool.metrics().await);
    let rules = std::fs::read_to_string(RULES).unwrap();
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names: BTreeSet<&str> = words.filter(|word| word.starts_with("usher_")).collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        // Without HTTPS there is no certificate.
        assert!(scrape.contains_key(name) || name == "usher_certificate_expiry_timestamp_seconds", "{name}");
    }
    let states = &scrape["usher_server_state"];
    assert!(
        states["state"].contains("disabled") && states["state"].contains("enabled") && states.contains_key("server")
    );
    for name in ["usher_server_up", "usher_server_utilisation"] {
        assert!(scrape[name].contains_key("server"), "{name}");
    }
    let calls = &scrape["usher_api_requests_total"];
    assert!(calls["call"].contains("create"));
    let alarming = ["internalError", "serverUnavailable", "serversFull"];
    assert!(alarming.iter().any(|key| calls["result"].contains(*key)), "{calls:?}");
}

/// What Prometheus expects of every process.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_tells_of_itself() {
    let pool = Builder::new(1).start().await;
    let text = pool.metrics().await;
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing:\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    let open = value("process_open_fds");
    assert!(open > 3.0 && open <= value("process_max_fds"));
    let now = SystemClock.now().0 as f64 / 1e3;
    let started = value("process_start_time_seconds");
    assert!(started <= now + 2.0 && started > now - 600.0, "{started} {now}");
}
