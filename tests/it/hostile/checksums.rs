//! Guessing, cutting, moving and replaying checksums.

use std::time::Instant;

use usher::bbb::{self, Algorithm};
use usher::ids::Secret;

use super::still_well;
use crate::harness::{Builder, FrontEnd, TenantBuilder};

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_is_good_for_its_call_its_query_and_its_tenant_alone() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
    ];
    let pool = Builder::new(1).tenants(tenants).start().await;
    let (front, pid) = (pool.front_end(), pool.pid());
    let query = "name=Room&meetingID=guess";
    let good = front.checksum("create", query);
    let with = |secret: &str| FrontEnd::new(&front.api, secret).checksum("create", query);
    let bare = |text: &str| FrontEnd::new(&front.api, "").checksum(text, "");
    let mut tries = vec![
        ("another call's", front.checksum("getMeetings", query)),
        ("another query's", front.checksum("create", "name=Room&meetingID=other")),
        ("no query's", front.checksum("create", "")),
        ("another tenant's", with("secret-of-alpha")),
        ("the empty secret's", with("")),
        ("of the secret alone", bare("secret-of-main")),
        ("of the call alone", bare("create")),
        ("of nothing", bare("")),
        ("of a server's secret", with("server-secret-1")),
        ("too long", format!("{good}00")),
        ("doubled", format!("{good}{good}")),
        ("quoted", format!("%22{good}%22")),
        ("with a NUL", format!("{good}%00")),
        ("with a blank", format!("%20{good}")),
        ("zeros", "0".repeat(64)),
        ("zeros of SHA-1", "0".repeat(40)),
        ("empty", String::new()),
        ("an array", "[]".to_owned()),
        ("null", "null".to_owned()),
        ("in another script", good.replace('a', "%EF%BD%81")),
    ];
    tries.extend((1..good.len()).map(|length| ("cut off", good[..length].to_owned())));
    tries.extend((0..good.len()).map(|index| {
        let other = if &good[index..=index] == "0" { "1" } else { "0" };
        ("one digit off", format!("{}{other}{}", &good[..index], &good[index + 1..]))
    }));
    for (what, checksum) in &tries {
        let answer = front.fetch(&format!("{}/create?{query}&checksum={checksum}", front.api)).await;
        assert_eq!((answer.status, answer.key().as_str()), (200, "checksumError"), "{what}: {checksum}");
    }
    // The right one beside a wrong one, on a changed query, or in another case of its name.
    for target in [
        format!("{query}&checksum={}&checksum={good}", "0".repeat(64)),
        format!("{query}&record=true&checksum={good}"),
        format!("{query}&checksum={good}&record=true"),
        format!("record=true&{query}&checksum={good}"),
        format!("meetingID=guess&name=Room&checksum={good}"),
        format!("{query}&&checksum={good}"),
        format!("{}&checksum={good}", query.replace("guess", "gues%73")),
        format!("{query}&CHECKSUM={good}"),
        format!("{query}&checksum[]={good}"),
    ] {
        let answer = front.fetch(&format!("{}/create?{target}", front.api)).await;
        assert_eq!(answer.key(), "checksumError", "{target}");
    }
    assert!(pool.servers[0].meetings().is_empty());
    // Replayed as it was: the same meeting, not another one. BBB's protocol knows no moment and no use-once.
    for expected in ["", "duplicateWarning", "duplicateWarning"] {
        assert_eq!(front.get("create", query).await.key(), expected);
    }
    assert_eq!(pool.servers[0].meetings().len(), 1);
    still_well(&pool, pid).await;
}

/// The comparison looks at all bytes of all secrets, whatever it finds: by construction, since it is `subtle`'s on two
/// arrays of one length. Read here, so that nobody makes it shorter by accident.
#[test]
fn checksums_are_compared_in_constant_time() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bbb/checksum.rs")).unwrap();
    let (_, verify) = source.split_once("pub fn verify").unwrap();
    let (verify, _) = verify.split_once("\n}\n").unwrap();
    let (_, comparing) = verify.split_once("for secret in secrets").unwrap();
    assert!(comparing.contains("same(&digest, &wanted)"), "{comparing}");
    let (_, same) = source.split_once("fn same(").unwrap();
    let (same, _) = same.split_once("\n}\n").unwrap();
    assert!(same.contains(".ct_eq("), "{same}");
    for early in ["return", "break", "==", "?;", ".any(", ".all("] {
        assert!(!comparing.contains(early) && !same.contains(early), "`{early}` in {comparing} or {same}");
    }
    assert!(verify.contains("[0; LONGEST_DIGEST]"), "both sides have one length");
    let ids = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ids.rs")).unwrap();
    assert!(ids.contains("ct_eq(other.0.as_bytes())"), "secrets are compared so too");
}

/// Looks for a difference in time between a checksum wrong in its first and in its last byte. Not in the ordinary suite:
/// a busy machine says anything. `cargo nextest run --release --run-ignored only checksums_take_the_same_time`
#[test]
#[ignore = "measures time; for a quiet machine"]
fn checksums_take_the_same_time() {
    let secrets = [Secret::new("a-secret-of-usual-length-0123456789"), Secret::new("another-secret")];
    let query = "meetingID=room-1&name=Room&attendeePW=ap&moderatorPW=mp";
    let good = bbb::sign("create", query, &secrets[0], Algorithm::Sha256);
    let flip = |index: usize| {
        let mut wrong = good.clone().into_bytes();
        wrong[index] = if wrong[index] == b'0' { b'1' } else { b'0' };
        wrong
    };
    let wrongs = [flip(0), flip(63)];
    let mut times: [Vec<u128>; 2] = [Vec::new(), Vec::new()];
    for round in 0..4000 {
        for which in [round % 2, 1 - round % 2] {
            let started = Instant::now();
            for _ in 0..50 {
                let held = bbb::verify(
                    "create",
                    query.as_bytes(),
                    std::hint::black_box(&wrongs[which]),
                    secrets.iter(),
                    &[Algorithm::Sha256],
                );
                assert!(!held);
            }
            times[which].push(started.elapsed().as_nanos());
        }
    }
    let median = |times: &mut Vec<u128>| {
        times.sort_unstable();
        times[times.len() / 2] as f64 / 50.0
    };
    let [first, last] = &mut times;
    let (first, last) = (median(first), median(last));
    eprintln!("wrong in the first byte {first:.1} ns, in the last {last:.1} ns");
    assert!((first / last - 1.0).abs() < 0.01, "{first} against {last}");
}
