//! What `usher server node-config` prints does what it says, read as BBB reads its files.

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader, yaml::Hash};

use crate::harness::Builder;

/// As BBB's own settings of the client are written; the values are those of a fresh server.
const BBBS_OWN: &str = r#"
public:
  app:
    instanceId: ""
    bbbWebBase: /bigbluebutton
    basename: /html5client
    learningDashboardBase: /learning-analytics-dashboard
    askForFeedbackOnLogout: false
  media:
    sip_ws_host: ''
    stunTurnServersFetchAddress: /bigbluebutton/api/stuns
    livekit:
      url: wss://HOST/livekit
      selectiveSubscription: false
  kurento:
    wsUrl: wss://HOST/bbb-webrtc-sfu
    cameraTimeouts:
      baseTimeout: 30000
  presentation:
    allowDownloadOriginal: true
    uploadEndpoint: /bigbluebutton/presentation/upload
  pads:
    url: https://HOST/pad
    cookie:
      path: /
private:
  app:
    host: 127.0.0.1
"#;

fn parsed(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

/// As BBB lays the operator's file over its own.
fn merge(own: &mut Hash, over: &Hash) {
    for (key, value) in over {
        match (own.get_mut(key), value) {
            (Some(Yaml::Hash(own)), Yaml::Hash(over)) => merge(own, over),
            _ => {
                own.insert(key.clone(), value.clone());
            }
        }
    }
}

fn at<'a>(yaml: &'a Yaml, path: &str) -> Option<&'a Yaml> {
    path.split('.').try_fold(yaml, |yaml, key| yaml.as_hash()?.get(&Yaml::String(key.to_owned())))
}

#[tokio::test]
async fn what_is_printed_for_the_client_changes_bbbs_own_settings_and_nothing_else() {
    let pool = Builder::new(0).config("[edge]\nmode = \"path\"\n");
    let pool = pool.set("USHER_LISTEN__PUBLIC_URL", "https://p.example").prepare().await;
    pool.cli_ok(&["server", "add", "https://bbb1.example.org", "--secret", "s"]);
    for version in ["2.4", "2.7.3", "3.0.4"] {
        let words = ["server", "node-config", "bbb1", "--bbb-version", version];
        let text = pool.cli_ok(&words);
        let file = text.split("\n\n").find(|part| part.starts_with("# /etc/bigbluebutton/bbb-html5.yml")).unwrap();
        let over = parsed(file);
        let json: Value = serde_json::from_str(&pool.cli_ok(&[&words[..], &["--json"]].concat())).unwrap();
        let settings = json["settings"].as_array().unwrap();
        let told: Vec<(&str, &str)> = settings
            .iter()
            .filter(|one| one["file"] == "/etc/bigbluebutton/bbb-html5.yml")
            .map(|one| (one["key"].as_str().unwrap(), one["value"].as_str().unwrap()))
            .collect();
        assert!(told.len() >= 7, "{json}");

        let before = parsed(BBBS_OWN);
        let mut own = before.clone().into_hash().unwrap();
        merge(&mut own, over.as_hash().unwrap());
        let after = Yaml::Hash(own);
        for (key, value) in &told {
            assert!(at(&before, key).is_some(), "{key} is a key of BBB's");
            assert_eq!(at(&after, key).and_then(Yaml::as_str), Some(*value), "{key}: {text}");
        }
        for kept in ["public.app.askForFeedbackOnLogout", "public.pads.cookie.path", "private.app.host"] {
            assert_eq!(at(&after, kept), at(&before, kept), "{kept}");
        }
        assert_eq!(after.as_hash().unwrap().len(), 2, "no key beside public and private: {text}");
    }
}

#[tokio::test]
async fn every_other_file_is_printed_in_its_own_form() {
    let pool = Builder::new(0).config("[edge]\nmode = \"path\"\n").prepare().await;
    pool.cli_ok(&["server", "add", "https://bbb1.example.org", "--secret", "s"]);
    let text = pool.cli_ok(&["server", "node-config", "bbb1", "--bbb-version", "2.7.3"]);
    let unit = text.split("\n\n").find(|part| part.contains("systemctl edit")).unwrap();
    assert_eq!(unit.lines().nth(1), Some("[Service]"), "{text}");
    assert!(unit.lines().skip(2).all(|line| line.starts_with("Environment=")), "{text}");
    for part in text.split("\n\n").filter(|part| part.starts_with("# /etc/bigbluebutton/")) {
        let (name, lines) = part.split_once('\n').unwrap();
        let is_right = |line: &str| match name.rsplit('.').next().unwrap() {
            "properties" => line.contains("=http") || line.contains("=ws"),
            "conf" => line.contains("=\"http"),
            "nginx" => line.ends_with(';'),
            _ => line.starts_with("public:") || line.starts_with("  ") || line.starts_with('#'),
        };
        assert!(lines.lines().all(is_right), "{part}");
    }
}
