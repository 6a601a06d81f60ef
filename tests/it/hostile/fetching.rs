//! Usher calls the servers it was told of, and nobody else: no address in a request, and no redirect, makes it open a
//! connection. BigBlueButton itself fetches slides and calls back; that is its servers' business and their firewall's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::still_well;
use crate::harness::{Builder, eventually};

/// Counts who connects; answers nothing.
async fn trap() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let caught = Arc::new(AtomicU64::new(0));
    let counter = caught.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (format!("http://{address}/"), caught)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_in_a_request_is_fetched() {
    let pool = Builder::new(1).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let (url, caught) = trap().await;
    let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let names = [
        "meta_endCallbackUrl",
        "meta_bbb-recording-ready-url",
        "meta_analytics-callback-url",
        "logoutURL",
        "preUploadedPresentation",
        "logo",
        "darklogo",
        "bannerText",
        "guestPolicyUrl",
        "clientSettingsOverride",
        "presentationUploadExternalUrl",
        "learningDashboardURL",
        "pluginManifests",
        "pluginManifestsFetchUrl",
        "errorRedirectUrl",
        "avatarURL",
        "webcamBackgroundURL",
        "callbackURL",
        "redirectClient",
    ];
    let everywhere: String = names.iter().map(|name| format!("&{name}={encoded}")).collect();
    front.create("room", &everywhere).await;
    let slides = format!(
        "<!DOCTYPE modules [<!ENTITY x SYSTEM \"{url}\">]><modules><module name=\"presentation\">\
         <document url=\"{url}a.pdf\"/></module></modules>"
    );
    let plain = slides.split_once("]>").unwrap().1.to_owned();
    for body in [slides, plain] {
        front.post("create", "name=Room&meetingID=with-slides", "application/xml", body.clone()).await;
        front.post("insertDocument", "meetingID=room", "application/xml", body).await;
    }
    front.get("join", &format!("fullName=Ann&meetingID=room&role=VIEWER{everywhere}")).await;
    front.get("join", &format!("fullName=Ann&meetingID=none&role=VIEWER{everywhere}")).await;
    front.get("sendChatMessage", &format!("meetingID=room&message={encoded}{everywhere}")).await;
    for call in ["hooks/create", "hooks/list", "getMeetingInfo", "getRecordings", "updateRecordings", "end"] {
        front.get(call, &format!("meetingID=room&recordID=x{everywhere}")).await;
    }
    // Addresses where the server's own would stand.
    for fields in [
        format!("Host: {}", url.trim_start_matches("http://").trim_end_matches('/')),
        format!("X-Forwarded-Host: {url}"),
    ] {
        let (name, value) = fields.split_once(": ").unwrap();
        front.send(front.http.get(front.url("getMeetings", "")).header(name, value)).await;
    }
    pool.wait_polls().await;
    still_well(&pool, pid).await;
    assert_eq!(caught.load(Ordering::SeqCst), 0);
    // The trap works.
    let _open = tokio::net::TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).await.unwrap();
    eventually("the trap counts", || async { (caught.load(Ordering::SeqCst) == 1).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_cannot_send_usher_elsewhere() {
    let pool = Builder::new(1).start().await;
    let pid = pool.pid();
    let (url, caught) = trap().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (url, counter) = (url.clone(), counter.clone());
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while stream.read(&mut piece).await.is_ok_and(|length| length > 0) {
                    let status = [301, 302, 303, 307, 308][counter.fetch_add(1, Ordering::SeqCst) as usize % 5];
                    let answer = format!(
                        "HTTP/1.1 {status} Elsewhere\r\nLocation: {url}\r\nRefresh: 0;url={url}\r\nLink: <{url}>; rel=preload\r\n\
                         Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    pool.cli_ok(&["server", "add", &format!("http://{address}"), "--name", "elsewhere", "--secret", "x"]);
    eventually("it has been asked often", || async { (asked.load(Ordering::SeqCst) >= 10).then_some(()) }).await;
    assert_eq!(caught.load(Ordering::SeqCst), 0);
    // And it never counts as a server that works.
    assert_ne!(pool.server_status("elsewhere").await["health"], "up");
    still_well(&pool, pid).await;
}
