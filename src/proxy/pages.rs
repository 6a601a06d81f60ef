//! Pages for people: waiting for a server to come back, and the page that join errors lead to.
//!
//! No foreign text gets into a page: unknown error keys show a general sentence. No scripts, no outside resources.

use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, HTML};
use crate::pacing::Waiting;

/// Seconds after which the waiting page tries again by itself.
const RETRY_SECONDS: u32 = 5;

/// Shown for a join while the meeting's server does not answer; loads the same address again by itself.
pub fn waiting() -> Answer {
    let text = "The server of your meeting does not answer at the moment. \
        This page tries again by itself every few seconds; you need not do anything.";
    let head = format!("<meta http-equiv=\"refresh\" content=\"{RETRY_SECONDS}\">");
    Answer { status: 503, ..Answer::new(200, HTML, page("One moment, please", text, &head)) }
        .with("Retry-After", RETRY_SECONDS.to_string())
        .with("Cache-Control", "no-store")
}

/// Shown for a join that has to wait for its turn; loads the same address again by itself. Without a place it says so.
pub fn queue(place: Option<Waiting>, pause: Duration) -> Answer {
    let text = match place {
        Some(place) => {
            let (position, expected) = (place.position, in_words(place.expected));
            let ahead = match position {
                1 => "You are the next one.".to_owned(),
                position => format!("You are number {position} in the queue."),
            };
            format!(
                "Many people are joining at this moment. {ahead} You will be let in by yourself {expected}; you need not do \
                 anything. If you load this page again you keep your place."
            )
        }
        None => "Very many people are joining at this moment. This page tries again by itself every few seconds; \
            you need not do anything."
            .to_owned(),
    };
    let seconds = pause.as_secs().max(1);
    let head = format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">");
    Answer::new(200, HTML, page("One moment, please", &text, &head))
        .with("Retry-After", seconds.to_string())
        .with("Cache-Control", "no-store")
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0..10 => "in a few seconds".to_owned(),
        seconds @ 10..90 => format!("in about {} seconds", seconds.div_ceil(10) * 10),
        seconds => format!("in about {} minutes", seconds.div_ceil(60)),
    }
}

/// Shown when the server of a browser's session gives no answer; loads the same address again by itself.
pub fn unreachable() -> Answer {
    let text = "The server of your meeting does not answer at the moment. \
        This page tries again by itself every few seconds.";
    let head = format!("<meta http-equiv=\"refresh\" content=\"{RETRY_SECONDS}\">");
    Answer::new(502, HTML, page("One moment, please", text, &head)).with("Cache-Control", "no-store")
}

/// Shown for a join that came too often; loads the same address again by itself.
pub fn too_many() -> Answer {
    let text = "There are too many requests from your network at the moment. \
        This page tries again by itself in a few seconds; you need not do anything.";
    let head = format!("<meta http-equiv=\"refresh\" content=\"{RETRY_SECONDS}\">");
    Answer::new(429, HTML, page("One moment, please", text, &head)).with("Cache-Control", "no-store")
}

/// `/`: says what an `errors` parameter of ours means, or what this address is.
pub fn landing(query: &[u8]) -> Answer {
    let errors = crate::bbb::first_value(query, "errors").unwrap_or_default();
    let key = serde_json::from_str::<serde_json::Value>(&errors).ok().and_then(|list| {
        let key = list.get(0)?.get("key")?.as_str()?;
        Some(key.to_owned())
    });
    let (title, text) = match key.as_deref() {
        None => ("BigBlueButton", "This address is for the front ends of BigBlueButton. Please enter your room there."),
        Some("invalidMeetingIdentifier") => {
            ("This meeting is not running", "It has not been started yet, or it is over. Please go back and try again.")
        }
        Some("meetingForciblyEnded") => ("This meeting is over", "You can close this page."),
        Some("participantLimitReached" | "maxParticipantsReached") => {
            ("This meeting is full", "No more people can join at the moment. Please try again later.")
        }
        Some("checksumError") => {
            ("This link is not valid", "Please open the meeting once more from where you found the link.")
        }
        Some("missingParamFullName" | "missingParamMeetingID" | "validationError") => {
            ("This link is incomplete", "Please open the meeting once more from where you found the link.")
        }
        Some(_) => ("You could not join", "Please go back and try again in a moment."),
    };
    Answer::new(200, HTML, page(title, text, "")).with("Cache-Control", "no-store")
}

fn page(title: &str, text: &str, head: &str) -> Bytes {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">{head}<title>{title}</title>\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem;\
         color:#1c2733;background:#fff}}h1{{font-size:1.5rem}}\
         @media(prefers-color-scheme:dark){{body{{color:#e6e9ec;background:#14191f}}}}</style></head>\
         <body><h1>{title}</h1><p>{text}</p></body></html>"
    )
    .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(answer: &Answer) -> String {
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    #[test]
    fn nothing_of_the_query_gets_into_the_page() {
        let query = b"errors=[{\"key\":\"<script>alert(1)</script>\",\"message\":\"<img>\"}]";
        let page = text(&landing(query));
        assert!(page.contains("You could not join"));
        assert!(!page.contains("script>") && !page.contains("<img"));
    }

    #[test]
    fn known_errors_have_words() {
        let page = text(&landing(b"errors=%5B%7B%22key%22%3A%22invalidMeetingIdentifier%22%7D%5D"));
        assert!(page.contains("not running"));
    }

    #[test]
    fn the_waiting_page_retries() {
        let answer = waiting();
        assert_eq!(answer.status, 503);
        assert!(text(&answer).contains("http-equiv=\"refresh\""));
    }
}
