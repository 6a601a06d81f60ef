//! A browser without pictures: cookies, redirects, WebSockets with `Cookie` and `Origin`, and no knowledge of BBB.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

use super::Answer;
use super::jar::Jar;

/// Longest a browser waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const MOST_REDIRECTS: usize = 10;

/// Where names lead and whom to trust.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Addresses of host names; the port of the URL counts, not that of the address. Other hosts are addresses.
    pub names: Vec<(String, SocketAddr)>,
    /// The authority that signed the test's certificates.
    pub authority: Option<CertificateDer<'static>>,
}

/// One browser profile: everything in it shares its cookies.
#[derive(Clone)]
pub struct Browser {
    pub jar: Arc<Jar>,
    network: Network,
    http: reqwest::Client,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open WebSocket.
pub struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
    pub protocol: Option<String>,
}

impl Browser {
    pub fn new() -> Self {
        Self::on(Network::default())
    }

    pub fn on(network: Network) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).no_proxy();
        for (name, address) in &network.names {
            http = http.resolve(name, *address);
        }
        if let Some(authority) = &network.authority {
            http = http.tls_certs_only([reqwest::Certificate::from_der(authority).unwrap()]);
        }
        Self { jar: Arc::default(), network, http: http.build().unwrap() }
    }

    /// Another profile on the same network.
    pub fn another(&self) -> Self {
        Self { jar: Arc::default(), ..self.clone() }
    }

    pub fn request(&self, method: reqwest::Method, url: &Url) -> reqwest::RequestBuilder {
        self.http.request(method, url.clone())
    }

    /// Sends a request with the cookies of its address, and keeps those of the answer.
    pub async fn send(&self, url: &Url, request: reqwest::RequestBuilder) -> Answer {
        let request = match self.jar.header(url) {
            Some(cookies) => request.header("cookie", cookies),
            None => request,
        };
        let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        for cookie in response.headers().get_all("set-cookie") {
            self.jar.set(url, cookie.to_str().unwrap());
        }
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or("?").to_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = response.bytes().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// One GET, redirects not followed.
    pub async fn get(&self, url: &Url) -> Answer {
        self.send(url, self.request(reqwest::Method::GET, url)).await
    }

    pub async fn get_with(&self, url: &Url, headers: &[(&str, &str)]) -> Answer {
        let request = self.request(reqwest::Method::GET, url);
        self.send(url, headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// Follows redirects as navigation does; the last address and its answer.
    pub async fn follow(&self, url: &str) -> (Url, Answer) {
        let mut url = Url::parse(url).unwrap();
        for _ in 0..MOST_REDIRECTS {
            let answer = self.get(&url).await;
            if !(300..400).contains(&answer.status) || answer.status == 304 {
                return (url, answer);
            }
            url = url.join(answer.header("location").expect("a redirect says where to")).unwrap();
        }
        panic!("too many redirects, the last to {url}");
    }

    /// Opens a WebSocket as a script of a page at `page` does; `Err` is the status of a refused handshake.
    pub async fn socket(&self, url: &Url, page: &Url, protocol: Option<&str>) -> Result<Socket, u16> {
        self.socket_with(url, &page.origin().ascii_serialization(), protocol, &[]).await
    }

    /// The same with any origin and further headers, which no browser would let a script send.
    pub async fn socket_with(
        &self,
        url: &Url,
        origin: &str,
        protocol: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, u16> {
        let mut request = url.as_str().into_client_request().unwrap();
        let mut add = |name: &'static str, value: &str| {
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        };
        add("origin", origin);
        if let Some(cookies) = self.jar.header(url) {
            add("cookie", &cookies);
        }
        if let Some(protocol) = protocol {
            add("sec-websocket-protocol", protocol);
        }
        headers.iter().for_each(|(name, value)| add(name, value));
        let stream = self.connect(url).await;
        let handshake = tokio_tungstenite::client_async(request, stream);
        match tokio::time::timeout(PATIENCE, handshake).await.expect("the handshake is answered") {
            Ok((stream, answer)) => {
                let protocol = answer.headers().get("sec-websocket-protocol");
                Ok(Socket { stream, protocol: protocol.map(|value| value.to_str().unwrap().to_owned()) })
            }
            Err(Error::Http(refusal)) => Err(refusal.status().as_u16()),
            Err(error) => panic!("{url}: {error}"),
        }
    }

    async fn connect(&self, url: &Url) -> Box<dyn Stream> {
        let host = url.host_str().unwrap();
        let port = url.port_or_known_default().unwrap();
        let named = self.network.names.iter().find(|(name, _)| name == host);
        let ip = named.map_or_else(|| host.trim_matches(['[', ']']).parse().unwrap(), |(_, address)| address.ip());
        let stream = TcpStream::connect(SocketAddr::new(ip, port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        if url.scheme() != "wss" {
            return Box::new(stream);
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.network.authority.clone().expect("an authority for TLS")).unwrap();
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Box::new(connector.connect(ServerName::try_from(host.to_owned()).unwrap(), stream).await.unwrap())
    }
}

impl Default for Browser {
    fn default() -> Self {
        Self::new()
    }
}

impl Socket {
    pub async fn say(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    pub async fn say_json(&mut self, message: &Value) {
        self.say(Message::text(message.to_string())).await;
    }

    /// The next message or error; `None` when the connection has ended. Pings are answered meanwhile and given too.
    pub async fn hear(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("the server says something")
    }

    /// The next text.
    pub async fn hear_text(&mut self) -> String {
        loop {
            match self.hear().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a text is expected: {other:?}"),
            }
        }
    }

    pub async fn hear_json(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    /// Reads on until the end; the code of the close frame, if there was one.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.hear().await {
                Some(Ok(Message::Close(frame))) => return Some(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Closes with a code and waits for the answer; its code.
    pub async fn close(&mut self, code: u16) -> Option<u16> {
        let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame { code: code.into(), reason: "".into() };
        self.say(Message::Close(Some(frame))).await;
        self.closed().await
    }
}
