//! How the browser's side of a server is set up: what an operator sets in BBB's own files for a proxy in front of it.
//!
//! Separate from the other settings because it may change while the server runs (`SimServer::set_up_client`): the
//! address browsers use is often known only after the server has started.

use std::time::Duration;

/// Settings of the client plane; `SimClient::default()` is a stock server (bbb-http-surface.md sections 2 and 3.3).
#[derive(Clone, Debug)]
pub struct SimClient {
    /// What stands before `/html5client/`, `/graphql`, `/bbb-webrtc-sfu` and the rest in the URLs browsers get, such as
    /// `https://bbb.example.org/bbb-01`; the server's own origin if absent.
    pub base: Option<String>,
    /// `bigbluebutton.web.serverURL`: what bbb-web's own addresses begin with, join links it makes among them; the server's
    /// own origin if absent.
    pub server_url: Option<String>,
    /// A second place for `/html5client/`, such as `/bbb-01`, for a proxy that keeps the prefix there (section 3.2).
    pub mount: Option<String>,
    /// Whether `JSESSIONID` is `Secure`, as it is behind TLS.
    pub secure_cookie: bool,
    /// The one foreign origin that may ask (`$bbb_cors_origin`, `HASURA_GRAPHQL_CORS_DOMAIN`): with its scheme.
    pub cors_origin: Option<String>,
    /// A foreign host whose pages may open `/graphql`: without scheme.
    pub authorized_cross_origin: Option<String>,
    /// Decides the names of the hashed client files: servers with the same build have the same files.
    pub build: String,
    /// Slides need a session of their meeting, and the query they were given with (3.0.27 and later).
    pub protects_slides: bool,
    /// Largest presentation, bytes (`maxFileSizeUpload`).
    pub upload_limit: u64,
    /// GraphQL sockets that one session token may have.
    pub sockets_per_token: usize,
    /// Between two `ping` messages on a GraphQL socket.
    pub graphql_ping: Duration,
    /// A GraphQL socket that said nothing for so long is dropped.
    pub graphql_idle: Duration,
    /// A silent SFU socket is pinged after this time.
    pub sfu_ping: Duration,
    /// How long it then has for its pong.
    pub sfu_pong: Duration,
    /// Between two `rtt-check` of the client page.
    pub rtt_interval: Duration,
    /// Between two questions of the lobby's page up to 2.7 whether the guest may come in.
    pub guest_poll: Duration,
    /// How long the client page waits before it opens a lost GraphQL socket again.
    pub retry_interval: Duration,
}

impl Default for SimClient {
    fn default() -> Self {
        Self {
            base: None,
            server_url: None,
            mount: None,
            secure_cookie: false,
            cors_origin: None,
            authorized_cross_origin: None,
            build: "3.0.19".to_owned(),
            protects_slides: true,
            upload_limit: 30_000_000,
            sockets_per_token: 3,
            graphql_ping: Duration::from_secs(5),
            graphql_idle: Duration::from_secs(60),
            sfu_ping: Duration::from_secs(20),
            sfu_pong: Duration::from_secs(2),
            rtt_interval: Duration::from_secs(10),
            guest_poll: Duration::from_secs(5),
            retry_interval: Duration::from_secs(10),
        }
    }
}
