//! `insertDocument` and `sendChatMessage`: calls that go to the meeting's server as they are.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;

use super::Caller;
use super::forward::Target;
use crate::client::Body;
use crate::error::ApiError;
use crate::pool::Health;
use crate::proxy::answer::Answer;
use crate::proxy::body::{BodyFailure, Inbound};

/// Pieces of a body on their way to the server.
const PIECES: usize = 4;
/// Share of `api.request_timeout` that is kept for the server's answer once it has the whole body.
const ANSWER_SHARE: f64 = 0.25;

/// Streams the slides through; nothing of them is kept.
pub async fn insert_document(caller: &Caller<'_>, inbound: &mut Inbound<'_>) -> Result<Answer, ApiError> {
    let target = reachable(caller)?;
    let (sender, pieces) = mpsc::channel::<Result<Bytes, std::io::Error>>(PIECES);
    let stream = reqwest::Body::wrap_stream(ReceiverStream::new(pieces));
    let body = Body::Stream("application/xml".to_owned(), inbound.announced(), stream);
    let max = caller.config.api.max_slides;
    // A slow caller must run out of time before the server seems to: the server is not to blame.
    let upload_by = caller.deadline() - caller.config.api.request_timeout.mul_f64(ANSWER_SHARE);
    let pump = pin!(async move {
        loop {
            let next = timeout_at(upload_by.into(), inbound.next(max)).await;
            match next.unwrap_or(Err(BodyFailure::TooSlow)) {
                Ok(Some(piece)) => {
                    if sender.send(Ok(piece)).await.is_err() {
                        return Ok(()); // the server has answered or gone without reading on
                    }
                }
                Ok(None) => return Ok(()),
                Err(failure) => {
                    // An error in the stream breaks the call off, so the server cannot take half a body for a whole.
                    let _ = sender.send(Err(std::io::Error::other("the caller's body broke off"))).await;
                    return Err(failure);
                }
            }
        }
    });
    let call = pin!(caller.forward(&target, body));
    let outcome: Result<_, BodyFailure> = match select(pump, call).await {
        Either::Left((Ok(()), call)) => Ok(call.await),
        Either::Left((Err(failure), _)) => Err(failure),
        Either::Right((answered, _)) => Ok(answered),
    };
    match outcome {
        Ok(answered) => answered.map(|(_, answer)| answer.no_cache()),
        Err(failure) => Ok(Answer::body_failure(failure)),
    }
}

/// BBB has a key of its own for a meeting that is unknown, or in which nobody is.
pub async fn send_chat_message(caller: &Caller<'_>) -> Result<Answer, ApiError> {
    let target = reachable(caller).map_err(|error| match error.key.as_ref() {
        "notFound" => ApiError::client("meetingNotFound", "No running meeting was found with that meeting ID"),
        _ => error,
    })?;
    Ok(caller.forward(&target, Body::None).await?.1.no_cache())
}

/// The meeting's server, if it is worth calling.
fn reachable(caller: &Caller<'_>) -> Result<Target, ApiError> {
    let key = caller.meeting_key()?;
    let view = caller.shared.placer.ledger.find(&key).ok_or_else(ApiError::not_found)?;
    if view.health == Health::Down {
        return Err(super::forward::no_answer());
    }
    Ok(Target { server: view.record, bbb_id: view.bbb_id, called: view.called, meeting: key.meeting })
}
