//! What a newcomer sees: `usher demo`, and what a real browser makes of a join link.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use usher::sim::Fault;

use crate::harness::{ARGUMENTS, BROWSER_LIMIT, Builder, Chromium, FrontEnd, eventually, eventually_within};

/// The page behind `url` as Chromium sees it, after `seconds` of the page's own time.
async fn browse(url: &str, seconds: u32) -> String {
    let profile = tempfile::tempdir().unwrap();
    let page = profile.path().join("page.html");
    let mut command = Command::new("chromium");
    command.args(ARGUMENTS);
    // What it leaves goes with the profile.
    command.env("TMPDIR", profile.path());
    command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
    if seconds > 0 {
        command.arg(format!("--virtual-time-budget={}", seconds * 1000));
    }
    command.args(["--dump-dom", url]);
    command.stdin(Stdio::null()).stdout(File::create(&page).unwrap()).stderr(Stdio::null());
    let child = command.spawn().expect("the tests need the program `chromium`; `make test` installs it");
    let mut child = Ended(child);
    let exit = eventually_within(BROWSER_LIMIT, "the browser shows the page", || {
        let exit = child.0.try_wait().unwrap();
        async move { exit }
    })
    .await;
    assert!(exit.success(), "chromium: {exit}");
    std::fs::read_to_string(&page).unwrap()
}

/// Demos take the same ports if they are free, so one runs after the other.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running demo whose temporary folders are all below `folder`.
struct Demo {
    process: Ended,
    lines: BufReader<std::process::ChildStdout>,
}

impl Demo {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command.arg("demo").args(more).env("TMPDIR", folder).current_dir(folder);
        let errors = File::create(folder.with_extension("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { process: Ended(child), lines }
    }

    /// The next line that is not empty. A demo that says nothing is ended by the limit of the whole test.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the demo has ended");
            if !line.trim().is_empty() {
                return line;
            }
        }
    }

    /// Ctrl-C; then nothing is left, neither a process nor a file.
    async fn interrupt(&mut self, folder: &Path) {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let exit = eventually("the demo ends", || {
            let exit = self.process.0.try_wait().unwrap();
            async move { exit }
        })
        .await;
        assert_eq!(exit.code(), Some(0));
        let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        // Nothing holds the other end of its output any more, so no process of it is left.
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_a_whole_installation_and_ctrl_c_removes_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("demo");
    std::fs::create_dir(&folder).unwrap();
    let mut demo = Demo::start(&folder, &[]);
    assert!(demo.line().contains("three simulated BigBlueButton servers"));
    let mut told = |name: &str| {
        let line = demo.line();
        let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{name} is expected: {line}")).trim().to_owned()
    };
    let (api, secret) = (told("API address"), told("secret"));
    let (metrics, join, look) = (told("metrics"), told("join link"), told("look around"));
    assert!(demo.line().contains("Ctrl-C"));

    let front_end = FrontEnd::new(&api, &secret);
    let page = eventually("the join link lets somebody in", || async {
        let answer = front_end.http.get(&join).send().await.ok()?;
        let location = answer.headers().get("location")?.to_str().ok()?.to_owned();
        location.contains("/bigbluebutton/api/join?").then_some(join.clone())
    })
    .await;
    assert!(front_end.fetch(&api).await.body.contains("<returncode>SUCCESS</returncode>"));
    eventually("meetings fill", || async {
        let answer = front_end.get("getMeetings", "").await.xml();
        let people = |meeting: &crate::harness::Xml| meeting.text("participantCount").parse::<u32>().unwrap_or(0);
        answer.all("meetings", "meeting").iter().any(|meeting| people(meeting) > 0).then_some(())
    })
    .await;
    let shown = front_end.fetch(&metrics).await.body;
    for server in ["bbb1", "bbb2", "bbb3"] {
        assert!(shown.contains(&format!("usher_server_up{{server=\"{server}\"}} 1")), "{shown}");
    }
    let words: Vec<&str> = look.split(' ').collect();
    let program = std::fs::canonicalize(words[0]).expect("a command that can be copied as it stands");
    assert_eq!(program, std::fs::canonicalize(env!("CARGO_BIN_EXE_usher")).unwrap());
    let status = Command::new(program).args(&words[1..]).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("running and ready"), "{status}");

    let chromium = Chromium::start(&[]).await;
    let mut tab = chromium.open(&page).await;
    tab.wait_state("connected").await;
    let text = tab.text().await;
    assert!(text.contains("You are in Lobby on bbb") && text.contains("Hello Newcomer"), "{text}");
    drop((tab, chromium));
    demo.interrupt(&folder).await;
    assert!(front_end.http.get(&api).send().await.is_err(), "nothing listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_right_after_the_first_line_leaves_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("demo");
    std::fs::create_dir(&folder).unwrap();
    let mut demo = Demo::start(&folder, &["--json"]);
    let welcome: serde_json::Value = serde_json::from_str(&demo.line()).unwrap();
    for key in ["api_url", "secret", "metrics_url", "join_url", "config"] {
        assert!(welcome[key].as_str().is_some_and(|text| text.len() > 10), "{key}: {welcome}");
    }
    demo.interrupt(&folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_waits_for_a_server_that_is_down_and_tries_again_by_itself() {
    let pool = Builder::new(2).set("USHER_HEALTH__FAILOVER_AFTER", "60s").start().await;
    let front_end = pool.front_end();
    front_end.create("room", "").await;
    let holder = pool.holders("room")[0];
    pool.servers[holder].fault(Fault::Refuse);
    pool.wait_health(&format!("bbb{}", holder + 1), "down").await;
    let link = front_end.url("join", "fullName=Ada&meetingID=room&role=VIEWER");
    let waiting = front_end.fetch(&link).await;
    assert_eq!((waiting.status, waiting.header("retry-after")), (503, Some("5")));
    assert!(browse(&link, 0).await.contains("One moment, please"));

    // In the page's own time, which Chromium lets fly, it loads again and again until somebody answers.
    let tries = || pool.log().lines().filter(|line| line.contains("call=join") && line.contains("status=503")).count();
    let before = tries();
    let browser = tokio::spawn({
        let link = link.clone();
        async move { browse(&link, 6).await }
    });
    eventually_within(BROWSER_LIMIT, "the page has tried again by itself", || async {
        (tries() >= before + 3).then_some(())
    })
    .await;
    pool.servers[holder].heal();
    let dom = browser.await.unwrap();
    assert!(dom.contains("data-state=") && dom.contains("This is a simulated BigBlueButton server"), "{dom}");
    let attendees = pool.servers[holder].meeting("room").unwrap().attendees;
    assert!(attendees.iter().any(|attendee| attendee.full_name == "Ada"), "{attendees:?}");
}
