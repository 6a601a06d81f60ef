//! Path tricks: the API answers at one spelling. A front proxy that guards a path by its text must not be led round.

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
        "//bigbluebutton/api/create",
        "/bigbluebutton//api/create",
        "/bigbluebutton/api//create",
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
        "/bigbluebutton/api/CREATE",
        "/BigBlueButton/api/create",
        "/bigbluebutton\\api\\create",
        "/t//bigbluebutton/api/create",
        "/t/ALPHA/bigbluebutton/api/create",
        "/t/%61lpha/bigbluebutton/api/create",
        "/t/alpha%2f/bigbluebutton/api/create",
        "/t/alpha;x/bigbluebutton/api/create",
        "/t/alpha//bigbluebutton/api/create",
        "/t/alpha/t/main/bigbluebutton/api/create",
        "/t/alpha/../main/bigbluebutton/api/create",
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
    for path in ["/metrics", "/api/v1/status", "/../metrics", "//metrics", "/admin", "/debug/pprof"] {
        let answer = get_raw(&pool.http, path.as_bytes()).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    still_well(&pool, pid).await;
}
