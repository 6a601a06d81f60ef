//! Debian's Chromium without a window, driven over its debugging protocol: tabs of one profile, and what their pages say.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::browser::{Browser, Socket};
use super::eventually_within;

/// A browser on a busy machine with two cores needs some seconds for its first page.
pub const BROWSER_LIMIT: Duration = Duration::from_secs(90);

/// The arguments every test's Chromium gets.
pub const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
];

/// A running Chromium with a profile of its own.
pub struct Chromium {
    process: Child,
    /// Removed with it.
    _profile: tempfile::TempDir,
    debugger: Url,
    client: Browser,
}

/// One page of it.
pub struct Tab {
    socket: Socket,
    last: u64,
}

impl Chromium {
    /// `more`: further arguments, such as `--host-resolver-rules=…`.
    pub async fn start(more: &[String]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command.args(ARGUMENTS).args(more).arg("--remote-debugging-port=0");
        // What it leaves goes with the profile.
        command.env("TMPDIR", profile.path());
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the tests need the program `chromium`; `make test` installs it");
        let told: PathBuf = profile.path().join("DevToolsActivePort");
        let nowhere = Url::parse("http://127.0.0.1").unwrap();
        // Made before the wait: if that fails, the process ends with it.
        let mut chromium = Self { process, _profile: profile, debugger: nowhere, client: Browser::new() };
        let port: u16 = eventually_within(BROWSER_LIMIT, "chromium starts", || {
            let text = std::fs::read_to_string(&told).ok();
            async move { text?.lines().next()?.parse().ok() }
        })
        .await;
        chromium.debugger = Url::parse(&format!("http://{}", SocketAddr::from(([127, 0, 0, 1], port)))).unwrap();
        chromium
    }

    /// A new tab at `url`.
    pub async fn open(&self, url: &str) -> Tab {
        let address = self.debugger.join("/json/new?about:blank").unwrap();
        let answer = self.client.send(&address, self.client.request(reqwest::Method::PUT, &address)).await;
        let target: Value = serde_json::from_str(&answer.body).unwrap();
        let address = Url::parse(target["webSocketDebuggerUrl"].as_str().unwrap()).unwrap();
        // Chromium refuses pages that ask for its debugger, so the origin is its own.
        let origin = self.debugger.origin().ascii_serialization();
        let socket = self.client.socket_with(&address, &origin, None, &[]).await.unwrap();
        let mut tab = Tab { socket, last: 0 };
        tab.call("Page.navigate", &json!({"url": url})).await;
        tab
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tab {
    async fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        self.socket.say_json(&json!({"id": self.last, "method": method, "params": parameters})).await;
        loop {
            let heard = self.socket.hear_json().await;
            if heard["id"] == self.last {
                return heard["result"].clone();
            }
        }
    }

    /// The value of an expression in the page; null while the page is not there yet.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        self.call("Runtime.evaluate", &asked).await["result"]["value"].clone()
    }

    /// `data-*` of the page's body.
    pub async fn data(&mut self) -> Value {
        self.eval("Object.assign({}, document.body && document.body.dataset)").await
    }

    /// What a person reads.
    pub async fn text(&mut self) -> String {
        self.eval("document.body ? document.body.innerText : ''").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a person reads that: a navigation that has begun may still show the page before it.
    pub async fn wait_text(&mut self, wished: &str) {
        let deadline = std::time::Instant::now() + BROWSER_LIMIT;
        while !self.text().await.contains(wished) {
            let shown = format!("not shown: {wished}: {}: {}", self.address().await, self.text().await);
            assert!(std::time::Instant::now() < deadline, "{shown}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn address(&mut self) -> String {
        self.eval("location.href").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the client page is in that state; its data. A page that has failed fails the test with its error.
    pub async fn wait_state(&mut self, state: &str) -> Value {
        let data = self.wait(state, |data| data["state"] == state || data["state"] == "failed").await;
        assert_eq!(data["state"], state, "{data} at {}: {}", self.address().await, self.text().await);
        data
    }

    /// Waits until the page's data are as wished; the data.
    pub async fn wait(&mut self, what: &str, is_wished: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + BROWSER_LIMIT;
        loop {
            let data = self.data().await;
            if is_wished(&data) {
                return data;
            }
            if std::time::Instant::now() > deadline {
                panic!("did not happen: {what}: {data} at {}: {}", self.address().await, self.text().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
