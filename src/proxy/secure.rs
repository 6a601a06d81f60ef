//! What HTTPS changes in an answer: plain HTTP is sent there if the operator wants it, and browsers are told to stay. And
//! what the site adds.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::answer::{Answer, TEXT};
use super::challenge;
use super::request::Request;
use super::route::Route;
use crate::bbb::Method;
use crate::config::Config;
use crate::process::Shared;

const HTTPS_PORT: u16 = 443;
/// What has no place in a `Location`; everything else stays as it came, since a checksum is made over it.
pub(super) const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\');

/// The answer to a plain request if plain HTTP is not served: where the same thing is over HTTPS. Probes and certificate
/// authorities come without TLS and are left alone.
pub fn redirect(shared: &Shared, config: &Config, request: &Request<'_>, route: Route<'_>) -> Option<Answer> {
    let is_probe = matches!(route, Route::Livez | Route::Readyz) || request.path.starts_with(challenge::PREFIX);
    if !config.listen.redirect_to_https || request.is_secure || is_probe {
        return None;
    }
    let Some(authority) = authority(shared, config, &request.host) else {
        return Some(Answer::new(421, TEXT, "This host is not served here. Use the address you were given.\n"));
    };
    let target = percent_encode(request.path.as_bytes(), UNSAFE);
    let query = percent_encode(request.query, UNSAFE);
    let mark = if request.query.is_empty() { "" } else { "?" };
    let location = format!("https://{authority}{target}{mark}{query}");
    // A POST stays a POST only with 308; old clients know nothing but 301 for the rest.
    let status = if matches!(request.method, Method::Get | Method::Head) { 301 } else { 308 };
    Some(Answer::new(status, TEXT, "This is served over HTTPS.\n").with("Location", location))
}

/// Host and port to send a client to. Its own host only if it is ours: a redirect to anywhere would be a gift to those
/// who write links for others.
fn authority(shared: &Shared, config: &Config, host: &str) -> Option<String> {
    let public = &config.listen.public_url;
    let is_public_secure = public.scheme() == "https";
    let public_port = public.port().filter(|_| is_public_secure);
    let port = match is_public_secure {
        true => public_port,
        false => config.https_addresses().next().map(|address| address.port()).filter(|port| *port != HTTPS_PORT),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let is_public = is_public_secure && public.host_str() == Some(host);
    if !host.is_empty() && (is_public || shared.tls.public.certificates.cover(host)) {
        return Some(format!("{host}{port}"));
    }
    public.host_str().filter(|_| is_public_secure).map(|host| format!("{host}{port}"))
}

/// Adds what the site wants in its answers, and tells browsers that have come by HTTPS to come by nothing else.
pub fn dress(config: &Config, request: &Request<'_>, answer: &mut Answer) {
    answer.site = config.headers.lines.clone();
    if let Some(value) = config.tls.hsts.as_ref().filter(|_| request.is_secure) {
        answer.headers.push(("Strict-Transport-Security", value.clone().into()));
    }
}
