//! Host confusion: every way to name a host, and which tenant it is. Nobody gets to a tenant whose host was not named in
//! the place where a proxy in front would look too.

use std::time::Duration;

use super::still_well;
use crate::harness::{Builder, FrontEnd, TenantBuilder, say};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_one_name_or_none() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
        TenantBuilder::new("beta", "secret-of-beta", &["--host", "beta.test"]),
    ];
    let pool = Builder::new(1).tenants(tenants).start().await;
    let pid = pool.pid();
    let api = format!("{}/bigbluebutton/api", pool.http);
    let front_of = |tenant: &str| FrontEnd::new(&api, format!("secret-of-{tenant}"));
    for (tenant, host) in [("main", "any.test"), ("alpha", "alpha.test"), ("beta", "beta.test")] {
        front_of(tenant).with_host(host).create(&format!("of-{tenant}"), "").await;
    }
    // Target's beginning, header lines, and whose request it is; `None`: refused with 400.
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("", "Host: alpha.test", Some("alpha")),
        ("", "Host: ALPHA.Test", Some("alpha")),
        ("", "Host: alpha.test:8443", Some("alpha")),
        ("", "Host: alpha.test.", Some("alpha")),
        ("", "Host:   alpha.test  ", Some("alpha")),
        ("", "Host: other.test\r\nX-Forwarded-Host: alpha.test", Some("main")),
        ("", "Host: other.test\r\nForwarded: host=alpha.test", Some("main")),
        ("", "Host: other.test\r\nX-Host: alpha.test\r\nX-Original-Host: alpha.test", Some("main")),
        ("", "Host: xalpha.test", Some("main")),
        ("", "Host: alpha.test.evil.test", Some("main")),
        ("", "Host: [::1]:80", Some("main")),
        ("http://alpha.test", "Host: alpha.test", Some("alpha")),
        ("", "Host: alpha.test\r\nHost: beta.test", None),
        ("", "Host: alpha.test\r\nHost: alpha.test", None),
        ("", "Host: alpha.test, beta.test", None),
        ("", "Host: beta.test@alpha.test", None),
        ("", "Host: alpha.test/beta", None),
        ("", "Host: alpha.test#beta", None),
        ("", "Host: alpha.test beta.test", None),
        ("", "Host: alpha.test\tx", None),
        ("", "Host: alpha.test:beta.test", None),
        ("", "Host: alpha.test:443:beta.test", None),
        ("", "Host: [alpha.test]", None),
        ("http://alpha.test", "Host: beta.test", None),
        ("http://beta.test@alpha.test", "Host: alpha.test", None),
    ];
    let mut wrong = Vec::new();
    for (prefix, fields, expected) in cases {
        for tenant in ["main", "alpha", "beta"] {
            let query = front_of(tenant).signed("getMeetings", "");
            let request = format!(
                "GET {prefix}/bigbluebutton/api/getMeetings?{query} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n"
            );
            let said = say(&pool.http, request.as_bytes(), Duration::from_secs(4)).await;
            let served = said.text.contains(&format!("of-{tenant}"));
            let good = match expected {
                Some(owner) => said.statuses() == [200] && served == (*owner == tenant),
                None => said.statuses() == [400] && !served,
            };
            if !good {
                wrong.push(format!("{prefix} {fields:?} signed by {tenant}: {said:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    still_well(&pool, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_is_the_default_tenants_or_refused() {
    let pool = Builder::new(1).start().await;
    let pid = pool.pid();
    let query = pool.front_end().signed("getMeetings", "");
    for (version, fields, status) in [("1.0", "", 200), ("1.1", "", 400), ("1.1", "Host:\r\n", 200)] {
        let request =
            format!("GET /bigbluebutton/api/getMeetings?{query} HTTP/{version}\r\n{fields}Connection: close\r\n\r\n");
        let said = say(&pool.http, request.as_bytes(), Duration::from_secs(4)).await;
        assert_eq!(said.statuses(), [status], "HTTP/{version} {fields:?}: {said:?}");
    }
    still_well(&pool, pid).await;
}
