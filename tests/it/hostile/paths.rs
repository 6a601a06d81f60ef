//! Path tricks: the API answers at one spelling, in which several slashes are one, as for BBB. A front proxy that guards a
//! path by its text must not be led round.

use super::still_well;
use crate::harness::{Builder, FrontEnd, TenantBuilder, get_raw};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_has_one_spelling() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
    ];
    let pool = Builder::new(1).tenants(tenants).start().await;
    let pid = pool.pid();
    let signed = |secret: &str| FrontEnd::new(&pool.http, secret).signed("create", "name=Room&meetingID=side-door");
    for path in [
        "/%62igbluebutton/api/create",
        "/bigbluebutton/%61pi/create",
        "/bigbluebutton/api/%63reate",
        "/bigbluebutton/api/crea%74e",
        "/bigbluebutton/api/./create",
        "/bigbluebutton/./api/create",
        "/bigbluebutton/api/../api/create",
        "/bigbluebutton/x/../api/create",
        "/bigbluebutton/api/%2e%2e/api/create",
        "/bigbluebutton/api%2fcreate",
        "/bigbluebutton/api/create%2f",
        "/bigbluebutton/api/create;jsessionid=1",
        "/bigbluebutton;x/api/create",
        "/bigbluebutton/api/create%00",
        "/bigbluebutton/api/create%20",
        "/bigbluebutton/api/create/.",
        "/bigbluebutton/api/create//..//create",
        "/bigbluebutton/api/%2fcreate",
        "//./bigbluebutton/api/create",
        "/.//bigbluebutton/api/create",
        "//livez/bigbluebutton/api/create",
        "/bigbluebutton/api/CREATE",
        "/BigBlueButton/api/create",
        "/bigbluebutton\\api\\create",
        "/t//bigbluebutton/api/create",
        "/t/ALPHA/bigbluebutton/api/create",
        "/t/%61lpha/bigbluebutton/api/create",
        "/t/alpha%2f/bigbluebutton/api/create",
        "/t/alpha;x/bigbluebutton/api/create",
        "/t/alpha//t/main/bigbluebutton/api/create",
        "/t/alpha/t/main/bigbluebutton/api/create",
        "/t/alpha/../main/bigbluebutton/api/create",
        "//t//bigbluebutton//api//create",
        "/t/../bigbluebutton/api/create",
        "/t/alpha/bigbluebutton/api/../../../main/bigbluebutton/api/create",
        "/livez/../bigbluebutton/api/create",
    ] {
        for secret in ["secret-of-main", "secret-of-alpha"] {
            let answer = get_raw(&pool.http, format!("{path}?{}", signed(secret)).as_bytes()).await;
            assert!(matches!(answer.status, 200 | 400 | 404), "{path}: {answer:?}");
            assert!(!answer.body.contains("SUCCESS"), "{path}: {answer:?}");
        }
    }
    assert!(pool.servers[0].meetings().is_empty());
    // A tenant's path needs that tenant's secret, whatever the host says.
    for (secret, key) in [("secret-of-main", "checksumError"), ("secret-of-alpha", "")] {
        let target = format!("/t/alpha/bigbluebutton/api/create?{}", signed(secret));
        assert_eq!(get_raw(&pool.http, target.as_bytes()).await.key(), key);
    }
    // What belongs to the admin listener is not on the public one.
    for path in
        ["/metrics", "/api/v1/status", "/../metrics", "//metrics", "//api//v1//status", "/admin", "/debug/pprof"]
    {
        let answer = get_raw(&pool.http, path.as_bytes()).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    still_well(&pool, pid).await;
}

/// Greenlight 3.0.0 to 3.0.2 joins `…/api/` and `/create`; others write `host//bigbluebutton`, or end a call with a slash.
#[tokio::test(flavor = "multi_thread")]
async fn several_slashes_are_one_as_for_bbb() {
    let tenants = vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
    ];
    let pool = Builder::new(1).tenants(tenants).start().await;
    let pid = pool.pid();
    let plain = ["//bigbluebutton/api/", "/bigbluebutton//api/", "/bigbluebutton/api//", "///bigbluebutton///api///"];
    let of_tenant = ["/t/alpha//bigbluebutton/api/", "//t/alpha/bigbluebutton/api//", "/t//alpha/bigbluebutton/api/"];
    let bases =
        plain.iter().map(|base| (base, "secret-of-main")).chain(of_tenant.iter().map(|base| (base, "secret-of-alpha")));
    for (number, (base, secret)) in bases.enumerate() {
        for end in ["", "/", "//"] {
            let id = format!("slashes-{number}-{}", end.len());
            let call = |secret: &str, call: &str, query: &str| {
                let query = FrontEnd::new(&pool.http, secret).signed(call, query);
                let target = format!("{base}{call}{end}?{query}");
                let http = pool.http.clone();
                async move { get_raw(&http, target.as_bytes()).await }
            };
            assert_eq!(call("wrong", "create", &format!("meetingID={id}")).await.key(), "checksumError", "{base}{end}");
            let answer = call(secret, "create", &format!("name=Room&meetingID={id}")).await;
            assert!(answer.body.contains("SUCCESS"), "{base}create{end}: {answer:?}");
            let answer = call(secret, "getMeetingInfo", &format!("meetingID={id}")).await;
            assert!(answer.body.contains("SUCCESS"), "{base}getMeetingInfo{end}: {answer:?}");
            let answer = call(secret, "join", &format!("meetingID={id}&fullName=Ann&role=VIEWER")).await;
            assert_eq!(answer.status, 302, "{base}join{end}: {answer:?}");
        }
        let index = get_raw(&pool.http, base.as_bytes()).await;
        assert!(index.status == 200 && index.body.contains("<apiVersion>"), "{base}: {index:?}");
    }
    let log = pool.log();
    assert!(!log.contains("call=unknown"), "{log}");
    still_well(&pool, pid).await;
}
