//! What BBB's client does after `join`, step by step (bbb-http-surface.md section 2.3).
//!
//! It believes only what the server told it: the addresses come from the page's own path, the index and the settings.
//! So the same steps run directly against a server and through Usher in each mode.

use serde_json::{Value, json};
use url::Url;

use super::Answer;
use super::browser::{Browser, Socket};

/// A browser in a meeting.
pub struct Session {
    pub browser: Browser,
    /// Where the client page is.
    pub page: Url,
    pub token: String,
    /// What precedes `/html5client/` in the page's address.
    pub prefix: Url,
    pub api: Url,
    pub socket: Url,
    /// `public` of the client's settings, once they were read.
    pub settings: Value,
}

/// An open GraphQL socket.
pub struct Graphql {
    pub socket: Socket,
    last: u32,
}

impl Session {
    /// Follows a join link to the client page.
    pub async fn join(browser: &Browser, link: &str) -> Session {
        let (page, answer) = browser.follow(link).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        let (before, _) = page.path().split_once("/html5client/").unwrap_or_else(|| panic!("no client page: {page}"));
        let token =
            page.query_pairs().find(|(name, _)| name == "sessionToken").expect("a session token").1.into_owned();
        assert!(answer.body.contains("<script"), "{page}: {}", answer.body);
        let prefix = page.join(&format!("{before}/")).unwrap();
        let nowhere = prefix.clone();
        Session {
            browser: browser.clone(),
            token,
            prefix,
            api: nowhere.clone(),
            socket: nowhere,
            page,
            settings: json!({}),
        }
    }

    /// All steps up to the SFU socket; the sockets stay open with what is given back.
    pub async fn walk(&mut self) -> (Graphql, Socket) {
        self.assets().await;
        self.index().await;
        self.facts().await;
        self.locales().await;
        let mut graphql = self.graphql().await;
        graphql.enter().await;
        self.round_trip(&mut graphql).await;
        for address in self.slides(&mut graphql).await {
            let slide = self.browser.get(&address).await;
            assert_eq!(slide.status, 200, "{address}: {}", slide.body);
            assert!(slide.body.contains("<svg"), "{}", slide.body);
        }
        let turn = self.get_json("media", "stunTurnServersFetchAddress", "").await;
        assert!(turn["stunServers"].is_array(), "{turn}");
        let sfu = self.sfu().await;
        (graphql, sfu)
    }

    /// Step 2: every file the page names.
    pub async fn assets(&self) -> Vec<(Url, Answer)> {
        let page = self.browser.get(&self.page).await.body;
        let named = page.split("src=\"").chain(page.split("href=\"")).filter(|part| !part.starts_with('<'));
        let mut files = Vec::new();
        for name in named.filter_map(|part| part.split('"').next()).filter(|name| name.contains('.')) {
            let address = self.page.join(name).unwrap();
            let answer = self.browser.get(&address).await;
            assert_eq!(answer.status, 200, "{address}: {}", answer.body);
            files.push((address, answer));
        }
        assert!(files.len() >= 2, "a script and a style sheet: {page}");
        files
    }

    /// Step 3.
    pub async fn index(&mut self) {
        let address = self.prefix.join("bigbluebutton/api").unwrap();
        let answer = self.browser.get_with(&address, &[("content-type", "application/json")]).await;
        let index: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.body));
        let url = |name: &str| Url::parse(index["response"][name].as_str().expect(name)).unwrap();
        (self.api, self.socket) = (url("graphqlApiUrl"), url("graphqlWebsocketUrl"));
    }

    /// A GraphQL REST call, with the token in its header.
    pub async fn rest(&self, name: &str) -> Answer {
        let address = Url::parse(&format!("{}/{name}", self.api)).unwrap();
        let origin = self.page.origin().ascii_serialization();
        self.browser.get_with(&address, &[("x-session-token", &self.token), ("origin", &origin)]).await
    }

    /// Steps 4 and 5; the meeting's static data.
    pub async fn facts(&mut self) -> Value {
        let answer = self.rest("meetingStaticData").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let facts: Value = serde_json::from_str(&answer.body).unwrap();
        let meeting = facts["meeting"][0].clone();
        self.settings = meeting["clientSettings"]["clientSettingsJson"]["public"].clone();
        assert_eq!(self.rest("userMetadata").await.status, 200);
        meeting
    }

    /// Step 6.
    pub async fn locales(&self) {
        let listing = self.page.join("locales/").unwrap();
        let names: Value = serde_json::from_str(&self.browser.get(&listing).await.body).unwrap();
        let name = names[0]["name"].as_str().unwrap();
        assert_eq!(self.browser.get(&listing.join(name).unwrap()).await.status, 200);
    }

    /// Step 7, up to the acknowledgement.
    pub async fn graphql(&self) -> Graphql {
        let mut socket = self.raw_graphql().await.expect("the GraphQL socket opens");
        assert_eq!(socket.protocol.as_deref(), Some("graphql-transport-ws"));
        socket.say_json(&self.init()).await;
        assert_eq!(socket.hear_json().await["type"], "connection_ack");
        Graphql { socket, last: 0 }
    }

    /// The GraphQL socket before its first message.
    pub async fn raw_graphql(&self) -> Result<Socket, u16> {
        self.browser.socket(&self.socket, &self.page, Some("graphql-transport-ws")).await
    }

    /// The first message on it.
    pub fn init(&self) -> Value {
        json!({"type": "connection_init", "payload": {"headers": {
            "X-Session-Token": self.token, "X-ClientSessionUUID": "0000-1", "X-ClientType": "HTML5",
            "X-ClientIsMobile": "false",
        }}})
    }

    /// Step 9.
    pub async fn round_trip(&self, graphql: &mut Graphql) {
        let base = self.setting("app", "bbbWebBase");
        let address = Url::parse(&format!("{base}/rtt-check")).unwrap();
        let answer = self.browser.get(&address).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        graphql.ask("mutation UpdateConnectionRtt { userSetConnectionRtt(rttInMs: 1) }").await;
    }

    /// Step 10: the addresses of the slides, with their queries.
    pub async fn slides(&self, graphql: &mut Graphql) -> Vec<Url> {
        let pages = graphql.ask("subscription { pres_page { urlsJson } }").await;
        let pages = pages["pres_page"].as_array().expect("pages").clone();
        pages.iter().map(|page| Url::parse(page["urlsJson"]["svg"].as_str().unwrap()).unwrap()).collect()
    }

    /// Step 12.
    pub async fn sfu(&self) -> Socket {
        let address = self.with_token(&self.setting("kurento", "wsUrl"));
        let mut socket = self.browser.socket(&address, &self.page, None).await.expect("the SFU socket opens");
        socket.say_json(&json!({"id": "ping"})).await;
        assert_eq!(socket.hear_json().await["id"], "pong");
        socket
    }

    /// Step 13: a presentation of so many bytes, its length declared.
    pub async fn upload(&self, graphql: &mut Graphql, bytes: usize) -> Answer {
        let address = self.upload_address(graphql).await;
        let (content_type, body) = form(bytes);
        let request = self.browser.request(reqwest::Method::POST, &address).header("content-type", content_type);
        self.browser.send(&address, request.body(body)).await
    }

    /// Where one presentation may go, with a fresh token.
    pub async fn upload_address(&self, graphql: &mut Graphql) -> Url {
        let data = graphql.ask("mutation { presentationRequestUploadToken }").await;
        let token = data["pres_presentation_uploadToken"][0]["uploadToken"].as_str().unwrap().to_owned();
        let endpoint = self.setting("presentation", "uploadEndpoint");
        let base = endpoint.strip_suffix("/upload").unwrap();
        Url::parse(&format!("{base}/{token}/upload")).unwrap()
    }

    /// Step 13: the shared notes, from the session's redirect to a message on its socket.
    pub async fn notes(&self) {
        let pads = self.setting("pads", "url");
        let query = format!("padName=notes&sessionID=s.1&sessionToken={}", self.token);
        let (page, answer) = self.browser.follow(&format!("{pads}/auth_session?{query}")).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        assert!(answer.body.contains("data-session=\"true\""), "the notes' cookie arrives: {}", answer.body);
        for name in ["../static/css/pad.css", "/static/js/pad.js"] {
            assert!(answer.body.contains(name));
            let address = page.join(name).unwrap();
            let file = self.browser.get_with(&address, &[("referer", page.as_str())]).await;
            assert_eq!(file.status, 200, "{address}");
        }
        let sockets = pads.replacen("http", "ws", 1);
        let address = self.with_token(&format!("{sockets}/socket.io/?EIO=4&transport=websocket"));
        let mut socket = self.browser.socket(&address, &page, None).await.expect("the notes' socket opens");
        assert!(socket.hear_text().await.starts_with("0{"));
        socket.say(tokio_tungstenite::tungstenite::Message::text("42[\"hello\"]")).await;
        assert_eq!(socket.hear_text().await, "42[\"hello\"]");
    }

    /// GET of an address among the settings, with the token in the query; the JSON it answers.
    pub async fn get_json(&self, group: &str, name: &str, more: &str) -> Value {
        let address = self.with_token(&format!("{}{more}", self.setting(group, name)));
        let answer = self.browser.get(&address).await;
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{address}: {} {}", answer.status, answer.body))
    }

    pub fn setting(&self, group: &str, name: &str) -> String {
        self.settings[group][name].as_str().unwrap_or_else(|| panic!("no setting {group}.{name}")).to_owned()
    }

    /// An address with the session token as its last parameter.
    pub fn with_token(&self, address: &str) -> Url {
        let separator = if address.contains('?') { '&' } else { '?' };
        Url::parse(&format!("{address}{separator}sessionToken={}", self.token)).unwrap()
    }
}

impl Graphql {
    /// The join mutation.
    pub async fn enter(&mut self) {
        self.ask("mutation UserJoin { userJoinMeeting }").await;
    }

    /// The first data of an operation.
    pub async fn ask(&mut self, query: &str) -> Value {
        self.last += 1;
        let id = self.last.to_string();
        self.socket.say_json(&json!({"id": id, "type": "subscribe", "payload": {"query": query}})).await;
        loop {
            let heard = self.socket.hear_json().await;
            match heard["type"].as_str() {
                Some("ping") => self.socket.say_json(&json!({"type": "pong"})).await,
                Some("next") if heard["id"] == id.as_str() => return heard["payload"]["data"].clone(),
                Some("next" | "complete") => {}
                _ => panic!("{query}: {heard}"),
            }
        }
    }
}

/// A multipart form with a file of `bytes` bytes, and its content type.
pub fn form(bytes: usize) -> (&'static str, Vec<u8>) {
    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"fileUpload\"; filename=\"a.pdf\"\r\n\
                     Content-Type: application/pdf\r\n\r\n"
        .to_vec();
    body.resize(body.len() + bytes, b'x');
    body.extend_from_slice(b"\r\n--edge--\r\n");
    ("multipart/form-data; boundary=edge", body)
}
