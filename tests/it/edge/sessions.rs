//! A person's whole session through Usher, in each mode: what the client asks of a server after `join`
//! (bbb-http-surface.md section 2.3), on two servers at once in one browser.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use url::Url;

use crate::harness::{Browser, Builder, Chromium, Pool, Session, eventually};

/// Hosts of the servers in host mode; Usher listens there too, as it does when their names lead to it.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(127, 0, 0, 12)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Redirect,
    Host,
    Path,
}

/// Two servers with a meeting each, `room1` and `room2`.
async fn pool(mode: Mode) -> Pool {
    let word = format!("{mode:?}").to_lowercase();
    let mut builder = Builder::new(2).config(&format!("[edge]\nmode = \"{word}\"\n"));
    if mode == Mode::Host {
        builder = builder.also_listen(&HOSTS.map(IpAddr::from));
    }
    // On one host their cookies would collide (trap 3); path mode is to keep even those apart.
    if mode != Mode::Path {
        for (index, host) in HOSTS.into_iter().enumerate() {
            builder = builder.sim(index, |options| options.listen = (host, 0).into());
        }
    }
    let pool = builder.start().await;
    let port = Url::parse(&pool.http).unwrap().port().unwrap();
    for (index, server) in pool.servers.iter().enumerate() {
        let base = match mode {
            Mode::Redirect => None,
            Mode::Host => Some(format!("http://{}:{port}", HOSTS[index])),
            Mode::Path => Some(format!("{}/bbb{}", pool.http, index + 1)),
        };
        server.set_up_client(|client| {
            client.base = base;
            client.rtt_interval = Duration::from_millis(100);
        });
    }
    let front = pool.front_end();
    for room in ["room1", "room2"] {
        front.create(room, "").await;
    }
    pool
}

/// The join link as the browser gets it. In host mode names lead to Usher, which has the servers' port in real life.
async fn link(pool: &Pool, mode: Mode, room: &str, name: &str) -> String {
    let location = pool.front_end().join(room, name).await;
    if mode != Mode::Host {
        return location;
    }
    let mut url = Url::parse(&location).unwrap();
    url.set_port(Url::parse(&pool.http).unwrap().port()).unwrap();
    url.into()
}

async fn walk_on_two_servers(mode: Mode) {
    let pool = pool(mode).await;
    let browser = Browser::new();
    let mut sessions = Vec::new();
    for room in ["room1", "room2"] {
        let mut session = Session::join(&browser, &link(&pool, mode, room, "Ada").await).await;
        let sockets = session.walk().await;
        sessions.push((session, sockets));
    }
    assert_eq!(pool.servers.iter().filter(|server| server.open_sockets() == 2).count(), 2, "one meeting on each");
    // The first is still who it was: the second server's cookie has not taken its place.
    for (session, (graphql, _)) in &mut sessions {
        assert_eq!(session.rest("userMetadata").await.status, 200);
        session.notes().await;
        assert_eq!(session.upload(graphql, 300_000).await.body, "upload-success");
    }
    for server in &pool.servers {
        let upload = server.uploads().remove(0);
        assert_eq!((Some(upload.bytes), upload.is_chunked), (upload.content_length, false));
    }
    if mode != Mode::Redirect {
        let port = Url::parse(&pool.http).unwrap().port();
        assert!(sessions.iter().all(|(session, _)| session.page.port() == port && session.api.port() == port));
        for name in ["bbb1", "bbb2"] {
            eventually("the sockets are counted", || async {
                let wanted = format!("usher_websocket_connections{{server=\"{name}\"}} 2");
                pool.metrics().await.contains(&wanted).then_some(())
            })
            .await;
        }
    }
    for (_, (mut graphql, mut sfu)) in sessions {
        assert_eq!(graphql.socket.close(1000).await, Some(1000));
        assert_eq!(sfu.close(4001).await, Some(4001));
    }
    eventually("close codes have passed", || async {
        let codes: Vec<_> =
            pool.servers.iter().flat_map(|server| server.sockets()).map(|socket| socket.close_code).collect();
        let count = |code| codes.iter().filter(|seen| **seen == Some(code)).count();
        (count(1000) == 2 && count(4001) == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn by_redirect() {
    walk_on_two_servers(Mode::Redirect).await;
}

#[tokio::test]
async fn by_host() {
    walk_on_two_servers(Mode::Host).await;
}

#[tokio::test]
async fn by_path() {
    walk_on_two_servers(Mode::Path).await;
}

async fn chromium_on_two_servers(mode: Mode) {
    let pool = pool(mode).await;
    let chromium = Chromium::start(&[]).await;
    let mut tabs = Vec::new();
    for room in ["room1", "room2"] {
        let mut tab = chromium.open(&link(&pool, mode, room, "Ada").await).await;
        let data = tab.wait_state("connected").await;
        assert_eq!(
            data["steps"],
            "api meetingStaticData userMetadata locales locale graphql join rtt slides stuns sfu"
        );
        tabs.push(tab);
    }
    for mut tab in tabs {
        assert_eq!(tab.data().await["state"], "connected");
        let address = tab.address().await;
        assert_eq!(Url::parse(&address).unwrap().port(), Url::parse(&pool.http).unwrap().port(), "{address}");
    }
}

#[tokio::test]
async fn chromium_by_host() {
    chromium_on_two_servers(Mode::Host).await;
}

#[tokio::test]
async fn chromium_by_path() {
    chromium_on_two_servers(Mode::Path).await;
}
