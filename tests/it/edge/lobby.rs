//! What belongs to a session beside its client: the guest lobby up to 2.7, and the calls of the API that need a session,
//! in path mode, each through a whole session.

use serde_json::Value;
use url::Url;
use usher::sim::SimVersion;

use crate::harness::{Browser, Builder, Chromium, Pool, Session};

async fn pool(generation: SimVersion) -> Pool {
    let builder = Builder::new(1).generation(generation).config("[edge]\nmode = \"path\"\n").sim(0, |options| {
        options.reveal_version = true;
        options.client.guest_poll = std::time::Duration::from_millis(100);
        if generation < SimVersion::V3_0 {
            options.client.mount = Some("/bbb1".to_owned());
        }
    });
    let pool = builder.start().await;
    crate::harness::eventually("its version is known", || async {
        pool.server_status("bbb1").await["version"].as_str().map(str::to_owned)
    })
    .await;
    let base = format!("{}/bbb1", pool.http);
    pool.servers[0].set_up_client(|client| (client.base, client.server_url) = (Some(base.clone()), Some(base)));
    pool
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

async fn call(browser: &Browser, base: &str, name: &str, query: &str) -> Value {
    let address = Url::parse(&format!("{base}/bigbluebutton/api/{name}?{query}")).unwrap();
    json(&browser.get(&address).await.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_waits_in_the_lobby_of_2_7_and_comes_in() {
    let pool = pool(SimVersion::V2_7).await;
    let front = pool.front_end();
    front.create("room", "&guestPolicy=ASK_MODERATOR").await;
    let chromium = Chromium::start(&[]).await;
    let link = front.url("join", "fullName=Gus&meetingID=room&role=VIEWER&guest=true");
    let mut guest = chromium.open(&link).await;
    let data = guest.wait("it polls", |data| data["state"] == "failed" || data["polls"].is_string()).await;
    assert_eq!(data["state"], "waiting", "{data}");
    assert!(guest.address().await.starts_with(&format!("{}/bbb1/html5client/guestWait?", pool.http)));
    // What the page asks for at our root is brought under its prefix, where its cookie is.
    let polls = |call: &usher::sim::SeenCall| call.call == "guestWait" && call.header("x-usher-hop").is_some();
    assert!(pool.servers[0].calls().iter().filter(|call| polls(call)).all(|call| call.cookies == ["JSESSIONID"]));
    assert_eq!(pool.servers[0].let_guests_in("room"), 1);
    let data = guest.wait_state("connected").await;
    assert_eq!(data["steps"], "enter ddp stuns sfu sip");
    assert!(guest.address().await.starts_with(&format!("{}/bbb1/html5client/join?", pool.http)));
    let paths: Vec<String> = pool.servers[0].sockets().into_iter().map(|socket| socket.path).collect();
    assert!(paths.contains(&"/bbb1/html5client/sockjs/000/simulated/websocket".to_owned()), "{paths:?}");
    let status = crate::harness::eventually("the person is counted", || async {
        let status = pool.server_status("bbb1").await;
        (status["carried"] == 1).then_some(status)
    })
    .await;
    assert_eq!(status["connections"], 3, "the client's own, audio and telephone: {status}");
}

#[tokio::test]
async fn the_lobbys_answers_stay_on_our_name() {
    let pool = pool(SimVersion::V2_7).await;
    let front = pool.front_end();
    front.create("room", "&guestPolicy=ASK_MODERATOR").await;
    let browser = Browser::new();
    let (page, _) = browser.follow(&front.url("join", "fullName=Gus&meetingID=room&role=VIEWER&guest=true")).await;
    assert_eq!(page.path(), "/bbb1/html5client/guestWait");
    let (base, query) = (format!("{}/bbb1", pool.http), page.query().unwrap().to_owned());
    let told = call(&browser, &base, "guestWait", &format!("{query}&redirect=false")).await;
    assert_eq!(told["response"]["guestStatus"], "WAIT", "{told}");
    assert_eq!(call(&browser.another(), &base, "guestWait", &query).await["response"]["returncode"], "FAILED");
    pool.servers[0].let_guests_in("room");
    let told = call(&browser, &base, "guestWait", &format!("{query}&redirect=false")).await;
    let client = format!("{base}/html5client/join?{query}");
    assert_eq!(told["response"]["url"], client.as_str());
    // Without `redirect=false` bbb-web redirects, and the browser stays here, too.
    let (page, answer) = browser.follow(&format!("{base}/bigbluebutton/api/guestWait?{query}")).await;
    assert_eq!((page.as_str(), answer.status), (client.as_str(), 200));
    let entered = call(&browser, &base, "enter", &query).await;
    assert_eq!(entered["response"]["fullname"], "Gus", "{entered}");
    assert!(call(&browser, &base, "stuns", &query).await["stunServers"].is_array());

    // At our root: only with a page of a server behind it, and never as a call of a front end.
    let root = Url::parse(&format!("{}/bigbluebutton/api/guestWait?{query}&redirect=false", pool.http)).unwrap();
    let brought = browser.get_with(&root, &[("referer", page.as_str())]).await;
    let wanted = format!("/bbb1/bigbluebutton/api/guestWait?{query}&redirect=false");
    assert_eq!((brought.status, brought.header("location")), (307, Some(wanted.as_str())));
    for referer in [format!("{}/other/", pool.http), format!("{}/", pool.http), String::new()] {
        assert_eq!(browser.get_with(&root, &[("referer", &referer)]).await.status, 200, "{referer}: BBB's own failure");
    }
    let lobby = Url::parse(&format!("{}/html5client/guestWait?{query}", pool.http)).unwrap();
    let brought = browser.get_with(&lobby, &[("referer", page.as_str())]).await;
    assert_eq!(
        (brought.status, brought.header("location")),
        (307, Some(&*format!("/bbb1/html5client/guestWait?{query}")))
    );
    assert_eq!(browser.get(&lobby).await.status, 404);
}

/// `node-config` says what decides its address: `bigbluebutton.web.serverURL`.
#[tokio::test]
async fn a_join_link_of_the_servers_own_leads_here() {
    for generation in [SimVersion::V2_7, SimVersion::V3_0] {
        let pool = pool(generation).await;
        let told = pool.cli_ok(&["server", "node-config", "bbb1"]);
        let base = format!("{}/bbb1", pool.http);
        assert!(told.lines().any(|line| line == format!("bigbluebutton.web.serverURL={base}")), "{told}");
        let front = pool.front_end();
        front.create("room", "").await;
        let browser = Browser::new();
        let (page, _) = browser.follow(&front.url("join", "fullName=Ada+B&meetingID=room&role=MODERATOR")).await;
        let query = page.query().unwrap().to_owned();
        let told = call(&browser, &base, "getJoinUrl", &query).await;
        let link = told["response"]["url"].as_str().unwrap_or_else(|| panic!("{told}"));
        assert!(link.starts_with(&format!("{base}/bigbluebutton/api/join?")), "{link}");
        // Another device: nothing of the first one's session is there.
        let other = browser.another();
        let (again, answer) = other.follow(link).await;
        assert_eq!(answer.status, 200, "{again}: {}", answer.body);
        assert!(again.as_str().starts_with(&format!("{base}/html5client/")), "{again}");
        assert!(other.jar.named("JSESSIONID").iter().all(|cookie| cookie.path == "/bbb1/"));
        let dashboard = call(&browser, &base, "learningDashboard", &query).await;
        let inner = json(dashboard["response"]["data"].as_str().unwrap_or_else(|| panic!("{dashboard}")));
        assert_eq!(inner["extId"], "room");
        assert!(call(&browser, &base, "stuns", &query).await["turnServers"].is_array());
        if generation == SimVersion::V3_0 {
            let mut session = Session::join(&other, link).await;
            session.walk().await;
        }
    }
}
