//! `usher meeting why ID`: the placement's own account, in words.
//!
//! `placement` writes the account as JSON when it chooses (candidates, predicted use, why others were left out, the
//! reason). It is read here without a type of its own: an account written by an older or newer Usher must still be
//! shown, so unknown keys are printed and missing ones left out.

use serde_json::{Map, Value, json};

use super::output::{Report, Table, fields};
use super::tenant_view::moment;
use crate::store::Placement;

/// Keys under which a list of servers may stand in the account.
const LISTS: [&str; 2] = ["candidates", "excluded"];
/// Keys that come first, in this order; all others follow in the account's own.
const FIRST: [&str; 6] = ["reason", "name", "server", "chosen", "utilisation", "score"];

/// The account of `placement`, which is on `server`.
pub fn explain(placement: &Placement, server: &str, tenant: &str) -> Report {
    let account: Value = serde_json::from_str(&placement.why).unwrap_or(Value::Null);
    let mut facts = vec![
        ("meeting".to_string(), placement.meeting.to_string()),
        ("tenant".into(), tenant.to_string()),
        ("server".into(), server.to_string()),
        ("placed".into(), moment(placement.claimed_at)),
    ];
    let empty = Map::new();
    let entries = account.as_object().unwrap_or(&empty);
    let mut keys: Vec<&str> = entries.keys().map(String::as_str).filter(|key| !LISTS.contains(key)).collect();
    keys.sort_by_key(|key| rank(key));
    for key in keys.into_iter().filter(|key| entries[*key] != json!(0)) {
        facts.push((key.replace('_', " "), in_words(&entries[key])));
    }
    let pairs: Vec<(&str, String)> = facts.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let mut text = fields(&pairs);
    for list in LISTS {
        if let Some(rows) = entries.get(list).and_then(Value::as_array).filter(|rows| !rows.is_empty()) {
            text.push_str(&format!("\n\n{}", table(rows)));
        }
    }
    if entries.is_empty() {
        text.push_str("\n\nno account was kept: the meeting was found on the server, or placed by hand");
    }
    let json = json!({
        "meeting_id": placement.meeting,
        "tenant": tenant,
        "server": server,
        "claimed_at": placement.claimed_at,
        "why": account,
    });
    Report::new(text, json)
}

/// Objects as a table: the columns are their keys, in the order they first appear.
fn table(rows: &[Value]) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        for key in row.keys().filter(|key| *key != "id") {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
    }
    keys.sort_by_key(|key| rank(key));
    let titles: Vec<String> = keys.iter().map(|key| key.replace('_', " ").to_uppercase()).collect();
    let mut table = Table::new(&titles.iter().map(String::as_str).collect::<Vec<&str>>());
    for row in rows.iter().filter_map(Value::as_object) {
        table.row(keys.iter().map(|key| row.get(*key).map(in_words).unwrap_or_default()).collect());
    }
    table.to_string()
}

/// Position in `FIRST`, behind all of them if absent.
fn rank(key: &str) -> usize {
    FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len())
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::Number(number) => match number.as_f64() {
            Some(real) if !number.is_i64() && !number.is_u64() => format!("{real:.2}"),
            _ => number.to_string(),
        },
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<String>>().join(", "),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| format!("{key} {}", in_words(value))).collect::<Vec<String>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;
    use crate::ids::{BbbMeetingId, MeetingId, ServerId, TenantId};
    use crate::store::{Phase, Version};

    fn placement(why: &str) -> Placement {
        Placement {
            tenant: TenantId(1),
            meeting: MeetingId::new("room"),
            bbb_id: BbbMeetingId::new("room"),
            server: ServerId(1),
            phase: Phase::Confirmed,
            internal_id: None,
            create_time: 0,
            attendee_pw: None,
            moderator_pw: None,
            claimed_at: Millis(1_700_000_000_000),
            why: why.into(),
            version: Version::default(),
        }
    }

    #[test]
    fn candidates_become_a_table_led_by_the_name() {
        let why = r#"{"expected_people":12.5,"omitted":0,"reason":"least_load","candidates":[{"utilisation":0.25,"server":"bbb1","chosen":true}],"excluded":[{"server":"bbb2","because":"cordoned"}]}"#;
        let report = explain(&placement(why), "bbb1", "demo");
        let lines: Vec<&str> = report.text.lines().collect();
        assert_eq!(&lines[4..6], ["reason:           least_load", "expected people:  12.50"]);
        assert_eq!(&lines[6..9], ["", "SERVER  CHOSEN  UTILISATION", "bbb1    yes     0.25"]);
        assert_eq!(&lines[9..], ["", "SERVER  BECAUSE", "bbb2    cordoned"]);
        assert_eq!(report.json["why"]["reason"], "least_load");
    }

    #[test]
    fn a_placement_without_account_still_explains_itself() {
        for why in ["", "{}", "not json"] {
            assert!(explain(&placement(why), "bbb1", "demo").text.contains("no account was kept"), "{why}");
        }
    }
}
