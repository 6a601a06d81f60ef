//! Every input that fuzzing kept or that once failed, through the properties that the fuzz targets check
//! (fuzz/README.md). A failure here is `cargo fuzz run <target> <file>` there.

#[path = "../../fuzz/properties/answer.rs"]
mod answer;
#[path = "../../fuzz/properties/checksum.rs"]
mod checksum;
#[path = "../../fuzz/properties/chunks.rs"]
mod chunks;
#[path = "../../fuzz/properties/client_hello.rs"]
mod client_hello;
#[path = "../../fuzz/properties/config.rs"]
mod config;
#[path = "../../fuzz/properties/growth.rs"]
mod growth;
#[path = "../../fuzz/properties/head.rs"]
mod head;
#[path = "../../fuzz/properties/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../../fuzz/properties/query.rs"]
mod query;
#[path = "../../fuzz/properties/reply.rs"]
mod reply;
#[path = "../../fuzz/properties/rewriting.rs"]
mod rewriting;
#[path = "../../fuzz/properties/route.rs"]
mod route;
#[path = "../../fuzz/properties/tag.rs"]
mod tag;

use std::path::{Path, PathBuf};

fn inputs(target: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let folders = ["corpus", "regressions"].map(|kind| fuzz.join(kind).join(target));
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    files.map(|entry| entry.unwrap().path()).collect()
}

fn all_hold(target: &str, check: fn(&[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() > 10, "the corpus of {target} is found");
    let failed: Vec<PathBuf> = inputs
        .into_iter()
        .filter(|file| {
            let input = std::fs::read(file).unwrap();
            std::panic::catch_unwind(|| check(&input)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn queries_and_forms() {
    all_hold("query", query::check);
}

#[test]
fn checksums() {
    all_hold("checksum", checksum::check);
}

#[test]
fn answers_of_servers() {
    all_hold("answer", answer::check);
}

#[test]
fn heads_and_lanes() {
    all_hold("head", head::check);
}

#[test]
fn request_heads() {
    all_hold("route", route::check);
}

#[test]
fn tags() {
    all_hold("tag", tag::check);
}

#[test]
fn configurations() {
    all_hold("config", config::check);
}

#[test]
fn first_words_of_tls_clients() {
    all_hold("client_hello", client_hello::check);
}

#[test]
fn proxy_headers() {
    all_hold("proxy_protocol", proxy_protocol::check);
}

#[test]
fn answers_that_are_carried() {
    all_hold("reply", reply::check);
}

#[test]
fn redirects_and_cookies() {
    all_hold("rewriting", rewriting::check);
}

#[test]
fn chunked_bodies() {
    all_hold("chunks", chunks::check);
}

/// Without a look at the clock: what costs too much here takes minutes.
#[test]
fn long_texts() {
    all_hold("growth", growth::check_short);
}
