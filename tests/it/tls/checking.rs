//! `usher check`, and a start, with every kind of bad certificate.

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::maker::{Files, Maker, certificates, params};
use crate::harness::{Builder, Pool, free_port};

async fn pool() -> Pool {
    let mut pool = Builder::new(0).set("USHER_LISTEN__PUBLIC_URL", "https://bbb.example.test").prepare().await;
    pool.set("USHER_LISTEN__HTTPS", &format!("127.0.0.1:{}", free_port()));
    pool
}

/// Exit code and words of `usher check` with these certificates.
fn check(pool: &Pool, base: &str, files: &[&Files]) -> (Option<i32>, String) {
    std::fs::write(pool.config_path(), format!("{base}\n[tls]\n{}", certificates(files))).unwrap();
    let output = pool.cli(&["check"]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_trouble_is_found_and_named() {
    let maker = Maker::new();
    let pool = pool().await;
    let base = std::fs::read_to_string(pool.config_path()).unwrap();
    let good = maker.good("good", &["bbb.example.test"]);
    let text = |files: &Files| std::fs::read_to_string(&files.cert).unwrap();
    let with = |name: &str, chain: String, key: &Files| {
        let cert = maker.write(&format!("{name}.pem"), &chain);
        Files { cert, key: key.key.clone() }
    };
    let blocks: Vec<String> = text(&good).split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect();
    let normal = text(&good).replace("\r\n", "\n");
    let (first, second) = normal.split_at(normal.rfind("-----BEGIN").unwrap());
    assert!(blocks.len() <= 3);
    let root = maker.root.pem();
    let params_of = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = params(&["bbb.example.test"]);
        change(&mut params);
        params
    };
    let expired = maker.signed(
        "expired",
        params_of(&|params| {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }),
    );
    let future = maker.signed(
        "future",
        params_of(&|params| {
            (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
        }),
    );
    let for_clients = maker.signed(
        "clients",
        params_of(&|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
    );
    let nameless = maker.signed("nameless", params_of(&|params| params.subject_alt_names.clear()));
    let other = maker.good("other", &["bbb.example.test"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let missing = Files { cert: maker.path("nothing.pem"), key: maker.path("nothing.key") };
    let bad: [(&str, Files, &str); 12] = [
        ("missing", missing, "tls.certificates[0].cert: "),
        ("missing key", Files { key: maker.path("nothing.key"), ..good.clone() }, "nothing.key cannot be read"),
        ("no certificate", with("empty", "hello\n".into(), &good), "holds no certificate"),
        ("broken PEM", with("broken", first.replacen("-----END", "-----FIN", 1), &good), "tls.certificates[0].cert: "),
        ("no key", Files { key: good.cert.clone(), ..good.clone() }, "holds no private key"),
        ("password", Files { key: maker.write("enc.key", encrypted), ..good.clone() }, "has a password"),
        ("wrong key", Files { key: other.key.clone(), ..good.clone() }, "is not the key of"),
        ("leaf second", with("order", format!("{second}{first}"), &good), "the key belongs to certificate 2"),
        ("chain out of order", with("order2", format!("{first}{root}{second}"), &good), "in the wrong order"),
        ("expired", expired, "expired on "),
        ("not yet valid", future, "is not valid before "),
        ("for clients", for_clients, "is not meant for servers"),
    ];
    for (kind, files, words) in &bad {
        let (code, told) = check(&pool, &base, &[files]);
        assert!(code == Some(1) && told.contains(words), "{kind}: {code:?} {told}");
        assert!(told.contains("line "), "{kind}: {told}");
    }
    let (code, told) = check(&pool, &base, &[&nameless]);
    assert!(code == Some(1) && told.contains("names no host"), "{told}");

    // Doubts do not fail it.
    let key = KeyPair::generate().unwrap();
    let own = params(&["bbb.example.test"]).self_signed(&key).unwrap();
    let own = Files { cert: maker.write("own.pem", &own.pem()), key: maker.write("own.key", &key.serialize_pem()) };
    let elsewhere = maker.good("elsewhere", &["elsewhere.example.test"]);
    let loose = with("loose", format!("{normal}{}", text(&elsewhere)), &good);
    let open = Files { key: maker.write("open.key", &std::fs::read_to_string(&good.key).unwrap()), ..good.clone() };
    std::fs::set_permissions(&open.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    for (files, words) in [
        (&own, "is signed by itself"),
        (&with("short", first.to_owned(), &good), "lacks"),
        (&good, "the chain ends at CN=test root"),
        (&loose, "does not belong to the chain"),
        (&elsewhere, "listen.public_url: no certificate in tls.certificates has the name bbb.example.test"),
        (&open, "everybody on this machine can read"),
    ] {
        let (code, told) = check(&pool, &base, &[files]);
        assert!(code == Some(0) && told.contains("warning: ") && told.contains(words), "{code:?} {told}");
    }

    // Names of tenants are in the store.
    check(&pool, &base, &[&good]);
    pool.cli_ok(&["tenant", "add", "physics", "--secret", "x-very-secret-y", "--host", "physics.example.test"]);
    let told = pool.cli_ok(&["check", "--online"]);
    assert!(
        told.contains("warning: tls.certificates: none has the name physics.example.test of tenant physics"),
        "{told}"
    );

    // And of servers, if their names lead here.
    pool.cli_ok(&["server", "add", "https://bbb9.example.test", "--name", "bbb9", "--secret", "s", "--disabled"]);
    for (mode, is_told) in [("host", true), ("redirect", false)] {
        let output = pool.command(&["check", "--online"]).env("USHER_EDGE__MODE", mode).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.contains("none has the name bbb9.example.test of server bbb9"), is_told, "{mode}: {told}");
    }

    // All at once, each with its place; and a start says the same.
    let (code, told) = check(&pool, &base, &[&good, &bad[0].1, &bad[6].1]);
    assert!(code == Some(1), "{told}");
    for words in ["certificates[1].cert: ", "certificates[1].key: ", "certificates[2].key: "] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let json: serde_json::Value = serde_json::from_slice(&pool.cli(&["check", "--json"]).stdout).unwrap();
    assert_eq!((json["ok"].as_bool(), json["problems"].as_array().unwrap().len()), (Some(false), 3), "{json}");
    let output = pool.cli(&["serve"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("cannot use the certificates: "), "{told}");
}
