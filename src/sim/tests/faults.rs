//! Every fault as a caller meets it, on sockets of its own where a client library would hide it.
//!
//! Hanging faults are met by a client that waits 150 ms; nothing sleeps.

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::sim::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for an answer on loopback, short enough to wait for one that never comes.
const IMPATIENT: Duration = Duration::from_millis(150);
const CREATE: &str = "meetingID=m1&name=Biology";

/// Everything the server sends on one connection until it ends it, and how it ends.
async fn raw(sim: &SimServer, call: &str, query: &str) -> (String, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let url = signed(sim, call, query);
    let path = url.split_once("//").unwrap().1.split_once('/').unwrap().1;
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: sim\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

#[tokio::test]
async fn refuse_closes_the_port_and_open_connections_and_healing_opens_it() {
    let sim = start(SimVersion::V3_0).await;
    let mut open = TcpStream::connect(sim.addr()).await.unwrap();
    sim.fault(Fault::Refuse);
    let refused = TcpStream::connect(sim.addr()).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    // The end of the stream or a reset; never a byte.
    assert_eq!(open.read(&mut [0; 16]).await.unwrap_or(0), 0);
    sim.heal();
    assert_eq!(get(&sim, "getMeetings", "").await.key(), "noMeetings");
}

#[tokio::test]
async fn a_black_hole_accepts_and_is_silent_on_live_connections_too() {
    let sim = start(SimVersion::V3_0).await;
    let impatient = client(IMPATIENT);
    assert!(reply(impatient.get(sim.url())).await.is_success());
    sim.fault(Fault::BlackHole);
    assert!(impatient.get(sim.url()).send().await.unwrap_err().is_timeout());
    assert!(TcpStream::connect(sim.addr()).await.is_ok());
    let mut patient = TcpStream::connect(sim.addr()).await.unwrap();
    patient.write_all(b"GET /bigbluebutton/api/ HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    assert!(tokio::time::timeout(IMPATIENT, patient.read_exact(&mut start)).await.is_err());
    assert_eq!(sim.count_calls("index"), 1, "nothing was read");
    sim.heal();
    tokio::time::timeout(GENEROUS, patient.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK", "what was sent meanwhile is answered at last");
    assert!(get(&sim, "getMeetings", "").await.is_success());
}

#[tokio::test]
async fn an_unreachable_server_answers_no_attempt_to_connect() {
    let sim = start(SimVersion::V3_0).await;
    let mut open = TcpStream::connect(sim.addr()).await.unwrap();
    assert!(get(&sim, "getMeetings", "").await.is_success());
    sim.fault(Fault::Unreachable);
    assert!(tokio::time::timeout(IMPATIENT, TcpStream::connect(sim.addr())).await.is_err());
    open.write_all(b"GET /bigbluebutton/api/ HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    assert!(tokio::time::timeout(IMPATIENT, open.read_exact(&mut start)).await.is_err(), "open ones fall silent");
    sim.heal();
    tokio::time::timeout(GENEROUS, open.read_exact(&mut start)).await.unwrap().unwrap();
    assert!(get(&sim, "getMeetings", "").await.is_success());
}

#[tokio::test]
async fn a_clock_that_is_off_shows_in_dates_and_new_meetings() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault(Fault::ClockOff(-5 * 3600));
    let created = get(&sim, "create", CREATE).await;
    let told: u64 = created.element("createTime").parse().unwrap();
    let now = SystemClock.now().0;
    assert!((now - told).abs_diff(5 * 3_600_000) < 60_000, "{told} at {now}");
    assert!(created.header("date").ends_with(" GMT") && created.headers.get_all("date").iter().count() == 1);
    sim.heal();
    let later = get(&sim, "create", "meetingID=m2&name=Biology").await;
    assert!(later.element("createTime").parse::<u64>().unwrap() >= now);
    assert_ne!(later.header("date"), created.header("date"));
}

#[tokio::test]
async fn silence_reads_the_request_and_does_nothing() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault_on("create", Fault::Silent, Some(1));
    assert!(client(IMPATIENT).get(signed(&sim, "create", CREATE)).send().await.unwrap_err().is_timeout());
    assert_eq!((sim.count_calls("create"), sim.meetings().len()), (1, 0));
    assert!(get(&sim, "create", CREATE).await.is_success(), "once was said");
}

#[tokio::test]
async fn work_without_an_answer_leaves_the_meeting() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault_on("create", Fault::WorkButNoAnswer, None);
    assert!(client(IMPATIENT).get(signed(&sim, "create", CREATE)).send().await.unwrap_err().is_timeout());
    assert!(sim.meeting("m1").is_some());
    sim.end_directly("m1");
    sim.fault_on("create", Fault::WorkThenReset, None);
    let (text, end) = raw(&sim, "create", CREATE).await;
    assert_eq!((text.as_str(), end.unwrap_err().kind()), ("", std::io::ErrorKind::ConnectionReset));
    assert!(sim.meeting("m1").is_some());
}

#[tokio::test]
async fn late_work_is_done_after_its_time_and_a_wrong_status_changes_nothing_else() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault_on("create", Fault::Late(Duration::from_millis(200)), Some(1));
    let (created, ()) = tokio::join!(get(&sim, "create", CREATE), async {
        while sim.count_calls("create") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(sim.meeting("m1").is_none(), "it is asked, and has not begun");
    });
    assert!(created.is_success() && sim.meeting("m1").is_some());
    sim.end_directly("m1");
    sim.fault_on("create", Fault::WorkThenStatus(500), None);
    let response = client(IMPATIENT).get(signed(&sim, "create", CREATE)).send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(response.text().await.unwrap().contains("<returncode>SUCCESS"));
    assert!(sim.meeting("m1").is_some());
}

#[tokio::test]
async fn answers_are_cut_by_a_close_or_a_reset() {
    let sim = start(SimVersion::V3_0).await;
    let whole = get(&sim, "getMeetings", "").await.body.len();
    for (fault, kind) in [(Fault::HalfAnswer, None), (Fault::Reset, Some(std::io::ErrorKind::ConnectionReset))] {
        sim.fault(fault.clone());
        let (text, end) = raw(&sim, "getMeetings", "").await;
        assert_eq!(end.err().map(|error| error.kind()), kind, "{fault:?}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains(&format!("content-length: {whole}")), "{head}");
        assert_eq!(body.len(), whole / 2, "{fault:?}");
    }
}

#[tokio::test]
async fn slow_and_trickled_answers_arrive_in_the_end() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault_on("getMeetings", Fault::Slow(Duration::from_millis(300)), Some(2));
    assert!(client(IMPATIENT).get(signed(&sim, "getMeetings", "")).send().await.unwrap_err().is_timeout());
    assert!(get(&sim, "getMeetings", "").await.is_success());
    sim.fault(Fault::Trickle(Duration::from_micros(100)));
    assert_eq!(get(&sim, "getMeetings", "").await.key(), "noMeetings");
    sim.fault(Fault::Trickle(Duration::from_secs(3600)));
    let response = client(IMPATIENT).get(signed(&sim, "getMeetings", "")).send().await.unwrap();
    assert_eq!(response.status(), 200, "the header comes at once");
    assert!(response.text().await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn replaced_answers_are_what_they_say() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault(Fault::Status(502));
    let status = get(&sim, "create", CREATE).await;
    assert_eq!((status.status, status.header("content-type")), (502, "text/html;charset=utf-8"));
    sim.fault(Fault::Html200);
    let html = get(&sim, "create", CREATE).await;
    assert!(html.status == 200 && html.body.starts_with("<!DOCTYPE html>"));
    sim.fault(Fault::FailedKey("checksumError".to_owned()));
    assert_eq!(get(&sim, "create", CREATE).await.key(), "checksumError");
    sim.fault(Fault::XmlBomb);
    let bomb = get(&sim, "create", CREATE).await;
    assert!(bomb.body.len() < 2048 && bomb.body.contains("<!ENTITY e9"));
    sim.fault(Fault::ExternalEntity("file:///etc/hostname".to_owned()));
    let outside = get(&sim, "getMeetings", "").await.body;
    assert!(outside.contains("SYSTEM \"file:///etc/hostname\"") && outside.contains("&outside;"), "{outside}");
    sim.fault(Fault::Huge(3_000_000));
    let huge = get(&sim, "create", CREATE).await;
    assert!(huge.body.len() >= 3_000_000 && huge.body.ends_with("</meetings></response>"));
    assert_eq!(huge.header("content-length"), "");
    sim.fault(Fault::Garbage);
    let garbage = client(GENEROUS).get(sim.url()).send().await.unwrap().bytes().await.unwrap();
    assert!(std::str::from_utf8(&garbage).is_err());
    assert!(sim.meetings().is_empty(), "none of these works");

    sim.fault(Fault::WrongEncoding);
    let wrong = client(GENEROUS).get(signed(&sim, "create", CREATE)).send().await.unwrap();
    assert_eq!(wrong.headers()["content-type"], "text/xml;charset=utf-8");
    let wrong = wrong.bytes().await.unwrap();
    assert!(std::str::from_utf8(&wrong).is_err());
    assert!(sim.meeting("m1").is_some());
}

#[tokio::test]
async fn a_fault_on_one_call_leaves_the_others_alone() {
    let sim = start(SimVersion::V3_0).await;
    sim.fault_on("create", Fault::Refuse, None);
    assert!(client(GENEROUS).get(signed(&sim, "create", CREATE)).send().await.is_err());
    assert!(get(&sim, "getMeetings", "").await.is_success());
    sim.fault_on("index", Fault::Status(500), None);
    assert_eq!(reply(client(GENEROUS).get(sim.url())).await.status, 500);
}

#[tokio::test]
async fn stop_and_restart_keep_port_and_state_even_with_hanging_calls() {
    let sim = start(SimVersion::V3_0).await;
    assert!(get(&sim, "create", CREATE).await.is_success());
    sim.fault_on("getMeetings", Fault::Silent, None);
    let hanging = tokio::spawn(client(GENEROUS).get(signed(&sim, "getMeetings", "")).send());
    while sim.count_calls("getMeetings") == 0 {
        tokio::task::yield_now().await;
    }
    sim.stop().await;
    assert!(hanging.await.unwrap().is_err());
    let refused = TcpStream::connect(sim.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    sim.restart().await;
    assert!(get(&sim, "getMeetingInfo", "meetingID=m1").await.is_success());
    let addr = sim.addr();
    drop(sim);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn latency_holds_every_answer_back() {
    let sim = start_with(SimVersion::V3_0, |options| options.latency = Duration::from_secs(3600)).await;
    assert!(client(IMPATIENT).get(signed(&sim, "create", CREATE)).send().await.unwrap_err().is_timeout());
    assert!(sim.meeting("m1").is_some(), "the work is done first");
}
