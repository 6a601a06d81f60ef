//! Certificates change while connections are open.

use std::sync::Arc;

use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::client::{config, connect, get, shown, shown_for};
use super::maker::{Files, Maker, certificates, params, secure};
use crate::harness::{Pool, eventually};

fn leaf(files: &Files) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.cert).unwrap().to_vec()
}

fn times(pool: &Pool, text: &str) -> usize {
    pool.log().matches(text).count()
}

async fn wait_shown(maker: &Maker, address: &str, expected: &[u8]) {
    eventually("the new certificate is shown", || async {
        (shown_for(maker, address, "bbb.example.test").await == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.start().await;
    let old = leaf(&files);
    let mut kept = connect(&address, "bbb.example.test", &Arc::new(config(&maker, &[]))).await.unwrap();
    assert_eq!(shown(&kept), old);

    // Renewed, as certbot does it: certificate and key, one after the other.
    let mut renewed = params(&["bbb.example.test"]);
    renewed.not_after = date_time_ymd(2061, 5, 6);
    maker.signed("bbb", renewed);
    let new = leaf(&files);
    assert_ne!(old, new);
    wait_shown(&maker, &address, &new).await;
    assert!(get(&mut kept, "/livez").await.ends_with("alive\n"), "an open connection goes on");
    let metric = "usher_certificate_expiry_timestamp_seconds{name=\"bbb.example.test\"} 2882563200";
    eventually("the metric follows", || async { pool.metrics().await.contains(metric).then_some(()) }).await;
    eventually("the log says so, once", || async {
        (times(&pool, "certificate taken up name=bbb.example.test") == 1).then_some(())
    })
    .await;

    // The key of another one; said once, however often the files are looked at.
    let good_key = std::fs::read_to_string(&files.key).unwrap();
    let other = maker.good("other", &["other.example.test"]);
    maker.write("bbb.key", &std::fs::read_to_string(&other.key).unwrap());
    let told = "certificate cannot be used, what was in use stays";
    eventually("the log says so", || async { (times(&pool, told) > 0).then_some(()) }).await;
    assert!(pool.log().contains("is not the key of"), "{}", pool.log());
    assert!(pool.metrics().await.contains("usher_certificates_refused 1"));
    assert_eq!(shown_for(&maker, &address, "bbb.example.test").await, new);
    assert!(get(&mut kept, "/livez").await.ends_with("alive\n"));

    // Clients would refuse it while they take the old one.
    maker.write("bbb.key", &good_key);
    eventually("all is well again", || async {
        pool.metrics().await.contains("usher_certificates_refused 0").then_some(())
    })
    .await;
    assert_eq!(times(&pool, told), 1, "{}", pool.log());
    let mut expired = params(&["bbb.example.test"]);
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    maker.signed("bbb", expired);
    eventually("the log says so", || async {
        pool.log().contains("certificate is wrong, a better one stays in use").then_some(())
    })
    .await;
    assert_eq!(shown_for(&maker, &address, "bbb.example.test").await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_up_files_and_settings_at_once() {
    let maker = Maker::new();
    let files = maker.good("bbb", &["bbb.example.test"]);
    let (builder, address) = secure(1, &[&files]);
    let pool = builder.start().await;
    let mut kept = connect(&address, "bbb.example.test", &Arc::new(config(&maker, &[]))).await.unwrap();
    let base = std::fs::read_to_string(pool.config_path()).unwrap();
    let second = maker.good("second", &["second.example.test"]);
    maker.good("bbb", &["bbb.example.test"]);
    std::fs::write(pool.config_path(), base.replace(&certificates(&[&files]), &certificates(&[&files, &second])))
        .unwrap();
    pool.signal("HUP");
    wait_shown(&maker, &address, &leaf(&files)).await;
    assert_eq!(shown_for(&maker, &address, "second.example.test").await, leaf(&second));
    assert!(get(&mut kept, "/livez").await.ends_with("alive\n"));

    // A setting that names nothing keeps what there is, the rest of the file takes effect.
    let missing = Files { cert: maker.path("none.pem"), key: maker.path("none.key") };
    let third = maker.good("third", &["third.example.test"]);
    std::fs::write(
        pool.config_path(),
        base.replace(&certificates(&[&files]), &certificates(&[&files, &missing, &third])),
    )
    .unwrap();
    pool.signal("HUP");
    eventually("the third is shown", || async {
        (shown_for(&maker, &address, "third.example.test").await == leaf(&third)).then_some(())
    })
    .await;
    assert_eq!(
        shown_for(&maker, &address, "second.example.test").await,
        leaf(&files),
        "it is not in the file any more"
    );
    // The certificates are shown a moment before the log and the metrics say so.
    eventually("log and metrics say so", || async {
        let metrics = pool.metrics().await;
        let is_told =
            pool.log().contains("none.pem cannot be read") && metrics.contains("usher_certificates_refused 1");
        (is_told && !metrics.contains("name=\"second.example.test\"")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_near_is_told() {
    let maker = Maker::new();
    let now = std::time::Duration::from_millis(usher::clock::Clock::now(&usher::clock::SystemClock).0);
    let soon = std::time::UNIX_EPOCH + now + std::time::Duration::from_secs(5 * 24 * 3600 + 60);
    let mut ending = params(&["bbb.example.test"]);
    ending.not_after = soon.into();
    let ending = maker.signed("ending", ending);
    let mut expired = params(&["old.example.test"]);
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let expired = maker.signed("expired", expired);
    let (builder, address) = secure(1, &[&ending, &expired]);
    // What has expired is served all the same: a restart must not make things worse.
    let pool = builder.start().await;
    assert_eq!(shown_for(&maker, &address, "old.example.test").await, leaf(&expired));
    eventually("the log tells both", || async {
        let log = pool.log();
        let ends = log.contains("certificate ends soon: renew it name=bbb.example.test days=5");
        (ends && log.contains("certificate has expired, clients refuse it: renew it name=old.example.test"))
            .then_some(())
    })
    .await;
    let metrics = pool.metrics().await;
    assert!(
        metrics.contains("usher_certificate_expiry_timestamp_seconds{name=\"old.example.test\"} 1609459200"),
        "{metrics}"
    );
}
