//! A front end as Moodle or Greenlight is one: builds queries, signs them by itself, reads XML.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// One front end with its address and secret.
#[derive(Clone)]
pub struct FrontEnd {
    pub api: String,
    pub secret: String,
    pub host: Option<String>,
    pub http: reqwest::Client,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl FrontEnd {
    pub fn new(api: impl Into<String>, secret: impl Into<String>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .unwrap();
        Self { api: api.into(), secret: secret.into(), host: None, http }
    }

    /// The same caller under another host name.
    pub fn with_host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub fn checksum(&self, call: &str, query: &str) -> String {
        let digest = Sha256::digest(format!("{call}{query}{}", self.secret));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The signed query of a call, from a raw query.
    pub fn signed(&self, call: &str, query: &str) -> String {
        let checksum = self.checksum(call, query);
        if query.is_empty() { format!("checksum={checksum}") } else { format!("{query}&checksum={checksum}") }
    }

    pub fn url(&self, call: &str, query: &str) -> String {
        format!("{}/{call}?{}", self.api, self.signed(call, query))
    }

    /// GET of a signed call with a raw query (without checksum).
    pub async fn get(&self, call: &str, query: &str) -> Answer {
        self.fetch(&self.url(call, query)).await
    }

    /// POST of a signed call with a body.
    pub async fn post(&self, call: &str, query: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.post(self.url(call, query)).header("content-type", content_type).body(body);
        self.send(request).await
    }

    /// GET of any address.
    pub async fn fetch(&self, url: &str) -> Answer {
        self.send(self.http.get(url)).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = match &self.host {
            Some(host) => request.header("host", host),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned())).collect();
        Answer { status, headers, body: response.text().await.unwrap() }
    }

    /// `create` with a name and whatever else; fails the test unless SUCCESS.
    pub async fn create(&self, meeting: &str, more: &str) -> Answer {
        let answer = self.get("create", &format!("name=Room+{meeting}&meetingID={meeting}{more}")).await;
        assert_eq!(answer.returncode(), "SUCCESS", "{}", answer.body);
        answer
    }

    /// `join`, returns the Location.
    pub async fn join(&self, meeting: &str, name: &str) -> String {
        let answer = self.get("join", &format!("fullName={name}&meetingID={meeting}&role=VIEWER")).await;
        assert_eq!(answer.status, 302, "{}", answer.body);
        answer.headers["location"].clone()
    }
}

impl Answer {
    pub fn xml(&self) -> Xml {
        Xml::parse(&self.body)
    }

    pub fn returncode(&self) -> String {
        self.xml().text("returncode")
    }

    pub fn key(&self) -> String {
        self.xml().text("messageKey")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An element of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Xml {
    pub name: String,
    pub own_text: String,
    pub children: Vec<Xml>,
}

impl Xml {
    /// Strict: anything that is not well-formed fails the test.
    pub fn parse(text: &str) -> Xml {
        use quick_xml::events::Event;
        let mut reader = quick_xml::Reader::from_str(text);
        let mut open = vec![Xml::default()];
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("not XML: {error}: {text}")) {
                Event::Start(tag) => {
                    let name = tag.name().as_ref().to_owned();
                    open.push(Xml { name, ..Xml::default() });
                }
                Event::Empty(tag) => {
                    let name = tag.name().as_ref().to_owned();
                    open.last_mut().unwrap().children.push(Xml { name, ..Xml::default() });
                }
                Event::End(_) => {
                    let done = open.pop().unwrap();
                    open.last_mut().unwrap().children.push(done);
                }
                Event::Text(text) => open.last_mut().unwrap().own_text.push_str(&text),
                Event::CData(text) => open.last_mut().unwrap().own_text.push_str(&text),
                Event::GeneralRef(entity) => {
                    let text = match entity.resolve_char_ref().unwrap() {
                        Some(c) => c.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&entity).unwrap().to_owned(),
                    };
                    open.last_mut().unwrap().own_text.push_str(&text);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(open.len(), 1, "unclosed element: {text}");
        let mut document = open.pop().unwrap();
        assert_eq!(document.children.len(), 1, "one root: {text}");
        document.children.pop().unwrap()
    }

    pub fn child(&self, name: &str) -> Option<&Xml> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Text of a child; empty if there is none.
    pub fn text(&self, name: &str) -> String {
        self.child(name).map(|child| child.own_text.clone()).unwrap_or_default()
    }

    /// Children called `name` of the child `list`: `all("meetings", "meeting")`.
    pub fn all(&self, list: &str, name: &str) -> Vec<Xml> {
        let list = self.child(list).map(|list| list.children.clone()).unwrap_or_default();
        list.into_iter().filter(|child| child.name == name).collect()
    }
}
