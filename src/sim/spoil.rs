//! Turns an answer into bytes on the wire: whole, cut short, trickled, or replaced by something no BBB would say.
//!
//! A body that is cut lets hyper flush what it has before it fails, so that the reader really sees half an answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Response, StatusCode};

use super::accept::Body;
use super::answer::Answer;
use super::fault::Fault;

/// The whole answer.
pub(super) fn untouched(answer: Answer) -> io::Result<Response<Body>> {
    let body = Full::new(Bytes::from(answer.body)).map_err(|never| match never {}).boxed_unsync();
    head(answer.status, &answer.headers).body(body).map_err(io::Error::other)
}

/// A real answer, spoiled on its way.
pub(super) fn cut(mut answer: Answer, fault: &Fault, reset: Arc<AtomicBool>) -> io::Result<Response<Body>> {
    match fault {
        Fault::Reset => partial(answer, Some(reset)),
        Fault::HalfAnswer => partial(answer, None),
        Fault::Trickle(interval) => {
            let length = answer.body.len();
            let body = StreamBody::new(trickle(answer.body, *interval)).boxed_unsync();
            head(answer.status, &answer.headers).header(CONTENT_LENGTH, length).body(body).map_err(io::Error::other)
        }
        Fault::WrongEncoding => {
            let spot = answer.body.windows(RETURNCODE_END.len()).position(|window| window == RETURNCODE_END);
            let after = spot.map_or(answer.body.len(), |start| start + RETURNCODE_END.len());
            answer.body.splice(after..after, *b"<encoding>caf\xe9 \xff\xfe</encoding>");
            untouched(answer)
        }
        Fault::WorkThenStatus(code) => untouched(Answer { status: status_of(*code), ..answer }),
        _ => untouched(answer),
    }
}

fn status_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

const RETURNCODE_END: &[u8] = b"</returncode>";

/// An answer that no work preceded.
pub(super) fn replaced(fault: &Fault) -> io::Result<Response<Body>> {
    match fault {
        Fault::Status(code) => untouched(Answer::status_page(status_of(*code))),
        Fault::Garbage => untouched(xml_bytes(b"\x00\x01<response><<>& \xf0\x28\x8c\x28 ]]> not <xml".to_vec())),
        Fault::XmlBomb => untouched(xml_bytes(xml_bomb().into_bytes())),
        Fault::ExternalEntity(address) => untouched(xml_bytes(external_entity(address).into_bytes())),
        Fault::NoMeetings => untouched(xml_bytes(
            b"<response><returncode>SUCCESS</returncode><meetings/><messageKey>noMeetings</messageKey>\
              <message>no meetings were found on this server</message></response>"
                .to_vec(),
        )),
        Fault::FailedKey(key) => untouched(Answer::failed(key, "simulated failure")),
        Fault::Huge(bytes) => {
            let body = StreamBody::new(huge(*bytes)).boxed_unsync();
            let builder = Response::builder().status(StatusCode::OK).header(CONTENT_TYPE, "text/xml;charset=utf-8");
            builder.body(body).map_err(io::Error::other)
        }
        _ => untouched(Answer::html(
            StatusCode::OK,
            "<!DOCTYPE html><html><head><title>Maintenance</title></head><body><p>We will be back soon.<br></body></html>",
        )),
    }
}

fn head(status: StatusCode, headers: &[(&'static str, String)]) -> hyper::http::response::Builder {
    headers.iter().fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, value))
}

fn xml_bytes(body: Vec<u8>) -> Answer {
    let headers = vec![("Content-Type", "text/xml;charset=utf-8".to_owned())];
    Answer { status: StatusCode::OK, headers, body, socket: None }
}

/// Promises the whole length (some even of an empty body, such as a redirect's), sends half, ends the connection.
fn partial(answer: Answer, reset: Option<Arc<AtomicBool>>) -> io::Result<Response<Body>> {
    let promised = answer.body.len().max(64);
    let mut half = Bytes::from(answer.body);
    half.truncate(half.len() / 2);
    let steps = unfold((0_u8, half, reset), |(step, half, reset)| async move {
        match step {
            0 => Some((Ok(Frame::data(half)), (1, Bytes::new(), reset))),
            1 => {
                // Hyper flushes when the body has nothing to give for a moment.
                tokio::task::yield_now().await;
                if let Some(reset) = &reset {
                    reset.store(true, Ordering::Release);
                }
                Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), (2, half, reset)))
            }
            _ => None,
        }
    });
    let body = StreamBody::new(steps).boxed_unsync();
    head(answer.status, &answer.headers).header(CONTENT_LENGTH, promised).body(body).map_err(io::Error::other)
}

fn trickle(body: Vec<u8>, interval: Duration) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    unfold((Bytes::from(body), interval), |(mut rest, interval)| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(interval).await;
        let byte = rest.split_to(1);
        Some((Ok(Frame::data(byte)), (rest, interval)))
    })
}

const HUGE_START: &[u8] = b"<response><returncode>SUCCESS</returncode><meetings>";
const HUGE_MEETING: &[u8] = b"<meeting><meetingName>huge</meetingName><meetingID>huge</meetingID></meeting>";
const HUGE_END: &[u8] = b"</meetings></response>";

fn huge(bytes: usize) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    let block = Bytes::from(HUGE_MEETING.repeat(200));
    // What is sent so far; `None` when the end has been sent.
    unfold((Some(0_usize), block), move |(sent, block)| async move {
        let sent = sent?;
        let chunk = match sent {
            0 => Bytes::from_static(HUGE_START),
            _ if sent < bytes => block.clone(),
            _ => return Some((Ok(Frame::data(Bytes::from_static(HUGE_END))), (None, block))),
        };
        let now = sent + chunk.len();
        Some((Ok(Frame::data(chunk)), (Some(now), block)))
    })
}

/// A reader that follows it would fetch a file or an address for the server, and hand it on as a meeting's name.
fn external_entity(address: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><!DOCTYPE response [<!ENTITY outside SYSTEM \"{address}\">]>\
         <response><returncode>SUCCESS</returncode><messageKey>noMeetings</messageKey>\
         <meetingID>&outside;</meetingID><meetings><meeting><meetingName>&outside;</meetingName>\
         <meetingID>&outside;</meetingID><internalMeetingID>outside-1</internalMeetingID></meeting></meetings></response>"
    )
}

/// Ten entities, each ten times the one before: some kilobytes that mean ten gigabytes.
fn xml_bomb() -> String {
    let mut text = String::from("<?xml version=\"1.0\"?><!DOCTYPE response [<!ENTITY e0 \"aaaaaaaaaa\">");
    for level in 1..10 {
        let previous = format!("&e{};", level - 1).repeat(10);
        text.push_str(&format!("<!ENTITY e{level} \"{previous}\">"));
    }
    text.push_str("]><response><returncode>SUCCESS</returncode><message>&e9;</message></response>");
    text
}
