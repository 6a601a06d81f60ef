//! A presentation on its way to the server (bbb-http-surface.md section 1.1).
//!
//! bbb-web decides by the header alone, before the body: by the token in the path and the *declared* length. Who hides
//! the length behind chunks is refused. The bytes are counted as they come, so that a test can see them come before the
//! client has sent the last one; nothing is kept.

use std::io;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request;
use hyper::{Method, StatusCode};

use super::super::answer::Answer;
use super::super::call::{MULTIPART, media_type};
use super::super::seen::SeenUpload;
use super::super::server::{Shared, SimServer};
use super::super::world::random_text;
use crate::clock::{Clock, SystemClock};

/// The token of an upload's path.
fn token_of(path: &str) -> Option<&str> {
    let token = path.strip_prefix("/bigbluebutton/presentation/")?.strip_suffix("/upload")?;
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    (!token.is_empty() && token.chars().all(is_good)).then_some(token)
}

pub(in crate::sim) fn is_upload(path: &str) -> bool {
    token_of(path).is_some()
}

/// A token for one upload.
pub(super) fn new_token(shared: &Shared) -> String {
    let token = format!("pres_{}-{}", random_text(20), random_text(6));
    shared.world.lock().upload_tokens.push(token.clone());
    token
}

/// Decides, then takes the body or lets it go by; the answer and how many bytes were taken.
pub(in crate::sim) async fn receive(
    shared: &Arc<Shared>,
    head: &request::Parts,
    body: Incoming,
) -> io::Result<(Answer, usize)> {
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let length: Option<u64> = header(CONTENT_LENGTH.as_str()).and_then(|value| value.parse().ok());
    let token = token_of(head.uri.path()).unwrap_or_default();
    let status = decide(shared, &head.method, token, length);
    let number = shared.seen.lock().begin_upload(SeenUpload {
        token: token.to_owned(),
        content_length: length,
        is_chunked: head.headers.contains_key("transfer-encoding"),
        asked_at: SystemClock.now(),
        status: status.as_u16(),
        ..SeenUpload::default()
    });
    if status != StatusCode::OK {
        if header(EXPECT.as_str()).is_none() {
            // nginx answers at once and lets the rest go by for a while, so that the client can read the answer.
            tokio::spawn(ignore(body));
        }
        return Ok((Answer::status_page(status), 0));
    }
    let taken = count(shared, number, body).await?;
    let is_form = media_type(header("content-type")) == MULTIPART;
    if !is_form || Some(taken) != length {
        return Ok((Answer::status_page(StatusCode::BAD_REQUEST), usize::try_from(taken).unwrap_or(usize::MAX)));
    }
    // One token, one presentation.
    shared.world.lock().upload_tokens.retain(|known| known != token);
    let answer = Answer::of_type(StatusCode::OK, "text/plain;charset=utf-8", "upload-success");
    Ok((answer, usize::try_from(taken).unwrap_or(usize::MAX)))
}

fn decide(shared: &Shared, method: &Method, token: &str, length: Option<u64>) -> StatusCode {
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let is_known = shared.world.lock().upload_tokens.iter().any(|known| known == token);
    match length {
        _ if !is_known => StatusCode::FORBIDDEN,
        None | Some(0) => StatusCode::FORBIDDEN,
        Some(length) if length > shared.client().upload_limit => StatusCode::PAYLOAD_TOO_LARGE,
        Some(_) => StatusCode::OK,
    }
}

async fn count(shared: &Shared, number: u64, mut body: Incoming) -> io::Result<u64> {
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(io::Error::other)?.into_data() else { continue };
        taken += piece.len() as u64;
        shared.seen.lock().on_upload(number, |upload| {
            upload.bytes = taken;
            upload.pieces += 1;
            upload.first_byte_at.get_or_insert(SystemClock.now());
        });
    }
    shared.seen.lock().on_upload(number, |upload| upload.complete_at = Some(SystemClock.now()));
    Ok(taken)
}

async fn ignore(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

impl SimServer {
    /// A token as the client gets it over GraphQL, for one upload.
    pub fn new_upload_token(&self) -> String {
        new_token(&self.shared)
    }
}
