//! Slides, thumbnails, texts and downloads of a presentation (bbb-http-surface.md sections 1.1 and 1.3).
//!
//! Since 3.0.27 they want a session of their meeting, and each page was given away with a query of its own. What is in
//! it is nobody's business: here it holds signs that a careless proxy would encode, decode, sort or drop, and only the
//! same bytes are good.

use hyper::{Method, StatusCode};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::server::Shared;
use super::super::world::sha1_hex;
use super::session::{is_of_meeting, unauthorized};

const ROOT: &str = "/bigbluebutton/presentation/";
/// Pages of the one presentation that every meeting has.
pub(super) const PAGES: u32 = 3;

/// The presentation of a meeting: same shape as a meeting's ID.
pub(super) fn presentation_id(internal_meeting_id: &str) -> String {
    let (_, time) = internal_meeting_id.split_once('-').unwrap_or_default();
    format!("{}-{time}", sha1_hex(&format!("default {internal_meeting_id}")))
}

/// The address of a page as the client gets it: `kind` is `svg`, `thumbnail` or `textfiles`.
pub(super) fn address(shared: &Shared, meeting: &str, kind: &str, page: u32) -> String {
    let (base, presentation) = (shared.client_base(), presentation_id(meeting));
    let query = page_query(shared, meeting, kind, page);
    format!("{base}{ROOT}{meeting}/{meeting}/{presentation}/{kind}/{page}?{query}")
}

/// Unsorted, with both cases of escapes, an escape that is not needed, an empty value and a name without value.
fn page_query(shared: &Shared, meeting: &str, kind: &str, page: u32) -> String {
    let proof = sha1_hex(&format!("{meeting}{kind}{page}{}", shared.options.secret.reveal()));
    format!("z=1&pageToken={}%2b%2F%41~%20{page}==&a=&b", &proof[..24])
}

/// `None` if nothing is at that path.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Answer> {
    let rest = call.path.strip_prefix(ROOT)?;
    let parts: Vec<&str> = rest.split('/').collect();
    if call.method != Method::GET && call.method != Method::HEAD {
        return None;
    }
    match parts.as_slice() {
        ["download", meeting, presentation] => download(shared, call, meeting, presentation),
        [_, meeting, presentation, kind, page] => slide(shared, call, meeting, presentation, kind, page),
        _ => None,
    }
}

fn slide(shared: &Shared, call: &Call, meeting: &str, presentation: &str, kind: &str, page: &str) -> Option<Answer> {
    let number: u32 = page.parse().ok().filter(|number| (1..=PAGES).contains(number))?;
    if presentation != presentation_id(meeting) {
        return None;
    }
    let (content_type, content) = match kind {
        "svg" => ("image/svg+xml", picture(shared, number)),
        "thumbnail" => ("image/png", String::from("\u{89}PNG simulated")),
        "textfiles" => ("text/plain", format!("Text of page {number}")),
        _ => return None,
    };
    let client = shared.client();
    if client.protects_slides {
        if !is_of_meeting(shared, call, meeting) {
            return Some(unauthorized());
        }
        if call.raw_query != page_query(shared, meeting, kind, number) {
            return Some(Answer::status_page(StatusCode::FORBIDDEN));
        }
    }
    let allowed = client.cors_origin.clone().unwrap_or_else(|| "*".to_owned());
    let answer = super::assets::file(call, content_type, &content).with("Access-Control-Allow-Origin", allowed);
    // A wildcard cannot be combined with credentials.
    let with_credentials = client.cors_origin.is_some();
    Some(if with_credentials { answer.with("Access-Control-Allow-Credentials", "true") } else { answer })
}

fn picture(shared: &Shared, page: u32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"320\" height=\"180\"><rect width=\"320\" height=\"180\" \
         fill=\"#eee\"/><text x=\"20\" y=\"90\">Page {page} on {}</text></svg>",
        shared.options.name
    )
}

/// Any other shape is not found.
fn download(shared: &Shared, call: &Call, meeting: &str, presentation: &str) -> Option<Answer> {
    let name = call.text("presFilename")?;
    let is_there = presentation == presentation_id(meeting) && name.strip_prefix(presentation)?.starts_with('.');
    let has_meeting = shared.world.lock().meetings.iter().any(|it| it.internal_id == meeting);
    (is_there && has_meeting).then(|| {
        let answer = super::assets::file(call, "application/pdf", &"%PDF-1.4 simulated\n".repeat(5000));
        answer.with("Content-Disposition", format!("attachment; filename=\"{name}\""))
    })
}
