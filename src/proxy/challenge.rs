//! Tokens for certificate authorities (HTTP-01, RFC 8555 section 8.3), from the folder that an ACME client puts them into.
//!
//! A token is letters, digits, `-` and `_`, so its name leads to nowhere else. In host mode a server's own name is not
//! answered here: that server renews its own certificate.

use std::path::Path;

use tokio::io::AsyncReadExt;

use super::answer::{Answer, TEXT};

/// Where authorities look.
pub const PREFIX: &str = "/.well-known/acme-challenge/";
/// Longest name of a token; they have 43 characters.
const LONGEST: usize = 128;
/// Bytes of the longest answer: a token and the thumbprint of an account's key are below 200.
const MOST: u64 = 1024;

/// What the ACME client has put there for `token`.
pub async fn answer(token: &str, webroot: Option<&Path>) -> Answer {
    let found = match webroot {
        Some(webroot) if is_token(token) => read(&webroot.join(&PREFIX[1..]).join(token)).await,
        _ => None,
    };
    match found {
        // An authority asks for no type; a browser must not take it for a page.
        Some(text) => Answer::new(200, "application/octet-stream", text).no_cache(),
        None => Answer::new(404, TEXT, "There is no such token here.\n"),
    }
}

fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_letter)
}

async fn read(path: &Path) -> Option<Vec<u8>> {
    // Links could lead out of the folder.
    let is_file = tokio::fs::symlink_metadata(path).await.ok()?.is_file();
    let file = tokio::fs::File::open(path).await.ok().filter(|_| is_file)?;
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text).await.ok()?;
    (text.len() as u64 <= MOST).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_nowhere_else() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"));
        for bad in ["", ".", "..", "a/b", "../x", "a.b", "%2e%2e", "a b", "ä", &"a".repeat(129)] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
