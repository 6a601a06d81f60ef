#![no_main]

#[path = "../properties/rewriting.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::check(data));
