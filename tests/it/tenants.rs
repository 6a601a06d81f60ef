//! Tenants (issue point 4): who calls, that tenants never meet, and what each may do.

use std::collections::HashSet;

use usher::sim::{SimMeeting, SimRecording, SimServer};

use crate::harness::{Answer, Builder, FrontEnd, Pool, TenantBuilder, eventually};

/// A default tenant and two with a host each.
fn three() -> Vec<TenantBuilder> {
    vec![
        TenantBuilder::new("main", "secret-of-main", &[]),
        TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"]),
        TenantBuilder::new("beta", "secret-of-beta", &["--host", "beta.test"]),
    ]
}

fn by_path(pool: &Pool, tenant: &str, secret: &str) -> FrontEnd {
    FrontEnd::new(format!("{}/t/{tenant}/bigbluebutton/api", pool.http), secret)
}

fn by_host(pool: &Pool, host: &str, secret: &str) -> FrontEnd {
    FrontEnd::new(format!("{}/bigbluebutton/api", pool.http), secret).with_host(host)
}

fn ids(answer: &Answer) -> Vec<String> {
    answer.xml().all("meetings", "meeting").iter().map(|meeting| meeting.text("meetingID")).collect()
}

fn named(server: &SimServer, name: &str) -> SimMeeting {
    server.meetings().into_iter().find(|meeting| meeting.name == name).expect("the server has the meeting")
}

fn parameter(meeting: &SimMeeting, name: &str) -> Option<String> {
    meeting.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn error_of(join: &Answer) -> String {
    assert_eq!(join.status, 302, "{}", join.body);
    join.headers["location"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_found_by_host_by_path_and_by_default() {
    let pool = Builder::new(1).tenants(three()).start().await;
    let (main, alpha) = (pool.front_end(), by_host(&pool, "alpha.test", "secret-of-alpha"));
    alpha.create("by-host", "").await;
    by_path(&pool, "alpha", "secret-of-alpha").create("by-path", "").await;
    by_host(&pool, "ALPHA.test:8443", "secret-of-alpha").create("by-port", "").await;
    main.create("by-default", "").await;
    by_host(&pool, "anything.test", "secret-of-main").create("any-host", "").await;

    assert_eq!(ids(&alpha.get("getMeetings", "").await), ["by-host", "by-path", "by-port"]);
    assert_eq!(ids(&main.get("getMeetings", "").await), ["by-default", "any-host"]);
    // The path wins over the host.
    let both = by_path(&pool, "main", "secret-of-main").with_host("alpha.test");
    assert_eq!(ids(&both.get("getMeetings", "").await), ["by-default", "any-host"]);

    for stranger in [
        by_host(&pool, "alpha.test", "secret-of-beta"),
        by_host(&pool, "alpha.test", "secret-of-main"),
        by_host(&pool, "anything.test", "secret-of-alpha"),
        by_path(&pool, "alpha", "secret-of-main"),
        by_path(&pool, "nobody", "secret-of-main"),
        by_path(&pool, "Alpha", "secret-of-alpha"),
    ] {
        for call in ["create", "getMeetings", "getMeetingInfo", "end", "isMeetingRunning", "getRecordings"] {
            let answer = stranger.get(call, "name=xy&meetingID=by-host").await;
            assert_eq!((answer.status, answer.key().as_str()), (200, "checksumError"), "{call}: {}", answer.body);
        }
        let join = stranger.get("join", "fullName=Eve&meetingID=by-host&role=VIEWER").await;
        assert!(error_of(&join).contains("checksumError"));
    }
    assert_eq!(pool.servers[0].meetings().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_tenant_an_unknown_host_is_refused() {
    let alone = vec![TenantBuilder::new("alpha", "secret-of-alpha", &["--host", "alpha.test"])];
    let pool = Builder::new(1).tenants(alone).start().await;
    by_host(&pool, "alpha.test", "secret-of-alpha").create("room", "").await;
    for stranger in [pool.front_end(), by_host(&pool, "beta.test", "secret-of-alpha")] {
        assert_eq!(stranger.get("getMeetings", "").await.key(), "checksumError");
        assert_eq!(stranger.get("create", "name=xy&meetingID=room").await.key(), "checksumError");
        let join = stranger.get("join", "fullName=Eve&meetingID=room&role=VIEWER").await;
        assert!(error_of(&join).contains("checksumError"));
        // The version document needs no tenant.
        assert_eq!(stranger.fetch(&stranger.api).await.xml().text("version"), "2.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_of_several_tenants_is_several_meetings_and_each_sees_its_own() {
    let pool = Builder::new(2).tenants(three()).start().await;
    let main = pool.front_end();
    let alpha = by_host(&pool, "alpha.test", "secret-of-alpha");
    let beta = by_host(&pool, "beta.test", "secret-of-beta");
    let fronts = [("main", &main), ("alpha", &alpha), ("beta", &beta)];
    let mut answers: Vec<(&str, Answer)> = Vec::new();
    for (who, front) in fronts {
        let more = format!("&moderatorPW=mp-{who}&attendeePW=ap-{who}&meta_Course={who}");
        let query = format!("name=Room+of+{who}&meetingID=room%2F1+x{more}");
        let created = front.get("create", &query).await;
        assert_eq!(created.returncode(), "SUCCESS", "{}", created.body);
        answers.push((who, created));
        // Fresh, before any poll has brought the server's own words.
        answers.push((who, front.get("getMeetings", "").await));
    }
    let on_servers: Vec<SimMeeting> = pool.servers.iter().flat_map(SimServer::meetings).collect();
    let bbb_ids: HashSet<String> = on_servers.iter().map(|meeting| meeting.meeting_id.clone()).collect();
    assert_eq!((on_servers.len(), bbb_ids.len()), (3, 3), "{bbb_ids:?}");
    assert!(bbb_ids.contains("room/1 x"), "the default tenant's id goes unchanged");
    let scoped: Vec<String> = bbb_ids.into_iter().filter(|id| id != "room/1 x").collect();

    for server in &pool.servers {
        for meeting in server.meetings() {
            let of_alpha = SimRecording::new(&meeting.internal_id, &meeting.meeting_id, &meeting.name);
            let metadata = of_alpha.metadata.into_iter().chain(meeting.metadata.clone()).collect();
            server.add_recording(SimRecording {
                metadata,
                ..SimRecording::new(&meeting.internal_id, &meeting.meeting_id, &meeting.name)
            });
        }
    }
    for (who, front) in fronts {
        let location = front.get("join", &format!("fullName=Ann+{who}&meetingID=room%2F1+x&role=VIEWER")).await;
        assert_eq!(front.fetch(&error_of(&location)).await.status, 302);
    }
    pool.wait_polls().await;
    for (who, front) in fronts {
        for call in ["getMeetings", "getMeetingInfo", "isMeetingRunning", "getSessions", "getRecordings"] {
            answers.push((who, front.get(call, "meetingID=room%2F1+x").await));
        }
        answers.push((who, front.get("getRecordings", "").await));
        answers.push((who, front.get("create", "name=again&meetingID=room%2F1+x").await));
    }
    for (who, answer) in &answers {
        assert_eq!(answer.returncode(), "SUCCESS", "{who}: {}", answer.body);
        assert!(!answer.body.contains("usher"), "{who}: {}", answer.body);
        for id in &scoped {
            assert!(!answer.body.contains(id.as_str()), "{who}: {}", answer.body);
        }
        for (other, _) in fronts.iter().filter(|(other, _)| other != who) {
            for private in [format!("mp-{other}"), format!("Room of {other}"), format!("Ann {other}")] {
                assert!(!answer.body.contains(&private), "{who}: {}", answer.body);
            }
        }
    }
    for (who, front) in fronts {
        let listed = front.get("getMeetings", "").await.xml().all("meetings", "meeting");
        assert_eq!(listed.len(), 1);
        let info = front.get("getMeetingInfo", "meetingID=room%2F1+x").await.xml();
        for meeting in [&listed[0], &info] {
            assert_eq!(meeting.text("meetingID"), "room/1 x");
            assert_eq!(meeting.text("meetingName"), format!("Room of {who}"));
            assert_eq!(meeting.text("moderatorPW"), format!("mp-{who}"));
            assert_eq!(meeting.text("participantCount"), "1");
            let metadata = meeting.child("metadata").unwrap();
            let names: Vec<&str> = metadata.children.iter().map(|child| child.name.as_str()).collect();
            assert_eq!((names, metadata.text("course")), (vec!["course"], who.to_owned()));
        }
        let sessions = front.get("getSessions", "").await;
        assert!(sessions.body.contains(&format!("Ann {who}")), "{}", sessions.body);
        for filter in ["", "meetingID=room%2F1+x"] {
            let recordings = front.get("getRecordings", filter).await.xml().all("recordings", "recording");
            assert_eq!(recordings.len(), 1, "{who}");
            assert_eq!(recordings[0].text("meetingID"), "room/1 x");
            assert_eq!(recordings[0].text("name"), format!("Room of {who}"));
        }
    }
    // The end of one is not the end of the others.
    assert_eq!(alpha.get("end", "meetingID=room%2F1+x&password=mp-beta").await.returncode(), "FAILED");
    let ended = alpha.get("end", "meetingID=room%2F1+x&password=mp-alpha").await;
    assert_eq!(ended.key(), "sentEndMeetingRequest");
    eventually("alpha's meeting is over", || async {
        (alpha.get("getMeetings", "").await.key() == "noMeetings").then_some(())
    })
    .await;
    assert_eq!(
        (ids(&main.get("getMeetings", "").await), ids(&beta.get("getMeetings", "").await)),
        (vec!["room/1 x".to_owned()], vec!["room/1 x".to_owned()],)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_anothers_meeting_even_by_its_inner_names() {
    let pool = Builder::new(1).tenants(three()).start().await;
    let (main, server) = (pool.front_end(), &pool.servers[0]);
    let alpha = by_host(&pool, "alpha.test", "secret-of-alpha");
    let beta = by_host(&pool, "beta.test", "secret-of-beta");
    alpha.create("target", "&moderatorPW=mp&attendeePW=ap").await;
    main.create("of-main", "&moderatorPW=mp&attendeePW=ap").await;
    main.create("mine", "&moderatorPW=mp&attendeePW=ap").await;
    beta.create("mine", "&moderatorPW=mp&attendeePW=ap").await;
    let (of_alpha, of_main) = (named(server, "Room target"), named(server, "Room of-main"));
    let rooms = server.add_breakout(&of_alpha.meeting_id, 1).unwrap();
    pool.wait_polls().await;
    assert_eq!(alpha.get("getMeetingInfo", &format!("meetingID={}", rooms[0])).await.returncode(), "SUCCESS");

    let before = server.meetings().len();
    let names_of_alpha = [&of_alpha.meeting_id, &of_alpha.internal_id, &rooms[0], &"target".to_owned()];
    let attempts = names_of_alpha.iter().flat_map(|id| [(&main, (*id).clone()), (&beta, (*id).clone())]).chain([
        (&alpha, of_main.meeting_id.clone()),
        (&beta, of_main.internal_id.clone()),
        (&beta, of_main.meeting_id.clone()),
    ]);
    for (front, id) in attempts {
        // A second `meetingID` must not slip past the first.
        let smuggled = format!("meetingID=mine&meetingID={id}");
        assert_eq!(front.get("getMeetingInfo", &format!("meetingID={id}")).await.key(), "notFound", "{id}");
        assert_eq!(front.get("end", &format!("meetingID={id}&password=mp")).await.key(), "notFound", "{id}");
        let running = front.get("isMeetingRunning", &format!("meetingID={id}")).await;
        assert_eq!(running.xml().text("running"), "false", "{id}");
        let chat = front.get("sendChatMessage", &format!("meetingID={id}&message=x")).await;
        assert_eq!(chat.returncode(), "FAILED", "{id}");
        let modules =
            "<modules><module name=\"presentation\"><document url=\"http://x.test/a.pdf\"/></module></modules>";
        let slides = front.post("insertDocument", &format!("meetingID={id}"), "application/xml", modules).await;
        assert_eq!(slides.returncode(), "FAILED", "{id}");
        let join = front.get("join", &format!("fullName=Eve&meetingID={id}&role=MODERATOR")).await;
        assert!(error_of(&join).contains("invalidMeetingIdentifier"), "{}", error_of(&join));
        let join = front.get("join", &format!("fullName=Eve&{smuggled}&role=MODERATOR")).await;
        assert!(!error_of(&join).contains(&id), "{}", error_of(&join));
        let info = front.get("getMeetingInfo", &smuggled).await.xml();
        assert!(info.text("meetingName") != "Room target" && info.text("meetingName") != "Room of-main", "{id}");
        // Nor may a breakout room be hung under a foreign meeting.
        let room = format!("name=Spy&meetingID=spy&isBreakout=true&sequence=1&freeJoin=true&parentMeetingID={id}");
        let spy = front.get("create", &room).await;
        assert_eq!(spy.returncode(), "FAILED", "{id}: {}", spy.body);
    }
    assert_eq!(server.meetings().len(), before);
    let after = named(server, "Room target");
    assert_eq!((after.attendees.len(), after.breakout_rooms.len(), after.chat.len()), (0, 1, 0));

    // The default tenant cannot take a name that another tenant's meeting has on the servers.
    let taken = main.get("create", &format!("name=Squat&meetingID={}", of_alpha.meeting_id)).await;
    assert_eq!(taken.key(), "idNotUnique", "{}", taken.body);
    assert_eq!(alpha.get("getMeetingInfo", "meetingID=target").await.xml().text("meetingName"), "Room target");
}

/// BBB takes a prefix of an internal id for the meeting, before it looks at external ids.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_a_prefix_of_anothers_inner_id_still_means_its_own_meeting() {
    let pool = Builder::new(1).tenants(three()).start().await;
    let (main, server) = (pool.front_end(), &pool.servers[0]);
    let alpha = by_host(&pool, "alpha.test", "secret-of-alpha");
    alpha.create("target", "&moderatorPW=mp").await;
    let inner = named(server, "Room target").internal_id;
    for id in [inner.clone(), inner[..2].to_owned(), inner[..40].to_owned()] {
        main.create(&id, "&moderatorPW=mp").await;
        let info = main.get("getMeetingInfo", &format!("meetingID={id}")).await.xml();
        assert_eq!((info.text("meetingName"), info.text("meetingID")), (format!("Room {id}"), id.clone()));
        let location = main.join(&id, "Ann").await;
        assert_eq!(main.fetch(&location).await.status, 302);
        let (mine, theirs) = (named(server, &format!("Room {id}")), named(server, "Room target"));
        assert_eq!((mine.attendees.len(), theirs.attendees.len()), (1, 0), "{location}");
        let ended = main.get("end", &format!("meetingID={id}&password=mp")).await;
        assert_eq!(ended.returncode(), "SUCCESS");
        assert!(server.meetings().iter().all(|meeting| meeting.name != format!("Room {id}")));
    }
    // The command line means the same meeting as the front end does.
    main.create(&inner[..2], "&moderatorPW=mp").await;
    pool.cli_ok(&["meeting", "end", &inner[..2]]);
    assert_eq!(server.meetings().len(), 1, "the other tenant's meeting goes on");
    assert_eq!(server.meetings()[0].name, "Room target");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_for_parameters_are_applied_to_create_and_join() {
    let mut pool = Builder::new(1).tenants(three()).prepare().await;
    let set = |words: &[&str]| {
        let mut all = vec!["tenant", "param", "set", "alpha"];
        all.extend(words);
        pool.cli_ok(&all);
    };
    set(&["welcome", "Hello & good day"]);
    set(&["duration", "60"]);
    set(&["record", "false", "--kind", "override"]);
    set(&["meta_origin", "usher & co", "--kind", "override"]);
    set(&["logo", "--kind", "block"]);
    set(&["meta_private*", "--kind", "block"]);
    set(&["guest", "true", "--call", "join"]);
    set(&["role", "VIEWER", "--call", "join", "--kind", "override"]);
    set(&["userdata-*", "--call", "join", "--kind", "block"]);
    pool.serve().await;
    let alpha = by_host(&pool, "alpha.test", "secret-of-alpha");
    let more = "&record=true&duration=90&logo=http%3A%2F%2Fx.test%2Fa.png&meta_private-note=1&meta_Course=phy&\
                meta_usher-meeting-id=forged&META_USHER-tenant=1&meta_origin=me&meta_origin=you";
    alpha.create("rules", more).await;
    let meeting = named(&pool.servers[0], "Room rules");
    let given = |name: &str| parameter(&meeting, name);
    assert_eq!(given("welcome").as_deref(), Some("Hello & good day"), "default, because absent");
    assert_eq!(given("duration").as_deref(), Some("90"), "the caller's value wins over the default");
    assert_eq!(given("record").as_deref(), Some("false"));
    assert_eq!((given("logo"), given("meta_private-note"), given("META_USHER-tenant")), (None, None, None));
    assert_eq!(given("meta_Course").as_deref(), Some("phy"));
    let origins = meeting.parameters.iter().filter(|(name, _)| name == "meta_origin").count();
    assert_eq!((given("meta_origin").as_deref(), origins), (Some("usher & co"), 1), "an override leaves no second");
    assert_eq!(given("meta_usher-meeting-id").as_deref(), Some("rules"), "ours, not the forged one");

    let query =
        "fullName=Ann&meetingID=rules&role=MODERATOR&userdata-bbb_custom_style=x&avatarURL=http%3A%2F%2Fx.test%2Fa";
    let location = alpha.get("join", query).await.headers["location"].clone();
    assert!(location.contains("guest=true") && location.contains("role=VIEWER"), "{location}");
    assert!(!location.contains("MODERATOR") && !location.contains("userdata"), "{location}");
    assert!(location.contains("avatarURL=http%3A%2F%2Fx.test%2Fa"), "{location}");
    assert_eq!(alpha.fetch(&location).await.status, 302, "signed over what is left");

    // No rule of one tenant touches another's calls; forged metadata of ours is dropped for everybody.
    let main = pool.front_end();
    main.create("free", "&record=true&logo=http%3A%2F%2Fx.test%2Fa.png&meta_usher-meeting-id=forged").await;
    let free = named(&pool.servers[0], "Room free");
    assert_eq!(parameter(&free, "record").as_deref(), Some("true"));
    assert!(parameter(&free, "logo").is_some() && parameter(&free, "welcome").is_none());
    assert_eq!(parameter(&free, "meta_usher-meeting-id"), None);

    // A rule that is taken back is not applied any more.
    pool.cli_ok(&["tenant", "param", "unset", "alpha", "record"]);
    eventually("the rule is gone", || async {
        let id = format!("again-{}", pool.servers[0].meetings().len());
        alpha.create(&id, "&record=true").await;
        let again = named(&pool.servers[0], &format!("Room {id}"));
        (parameter(&again, "record").as_deref() == Some("true")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_at_create_and_at_join_and_are_counted() {
    let mut tenants = three();
    let limits = ["--max-meetings", "2", "--max-people", "3"].map(str::to_owned);
    tenants[1].args.extend(limits);
    let pool = Builder::new(2).tenants(tenants).start().await;
    let alpha = by_host(&pool, "alpha.test", "secret-of-alpha");
    let hits = || async {
        let metrics = pool.metrics().await;
        let line = metrics.lines().find(|line| line.starts_with("usher_tenant_limit_hits_total{tenant=\"alpha\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };

    // Ten at once: no rush slips past the limit.
    let creates = (0..10).map(|number| {
        let alpha = alpha.clone();
        tokio::spawn(async move { alpha.get("create", &format!("name=xy&meetingID=room-{number}")).await.key() })
    });
    let mut refused = 0;
    for create in creates.collect::<Vec<_>>() {
        let key = create.await.unwrap();
        refused += usize::from(key == "meetingLimitReached");
        assert!(key.is_empty() || key == "meetingLimitReached", "{key}");
    }
    assert_eq!(refused, 8);
    let made = ids(&alpha.get("getMeetings", "").await);
    assert_eq!(made.len(), 2);
    assert_eq!(alpha.create(&made[0], "").await.key(), "duplicateWarning", "a repeated create is no new meeting");
    assert_eq!(hits().await, 8.0);
    // Other tenants are not concerned.
    for number in 0..3 {
        pool.front_end().create(&format!("main-{number}"), "").await;
    }

    // Joins count at once, without any poll: of eight, three get in, spread over two meetings.
    let joins = (0..8).map(|number| {
        let (alpha, id) = (alpha.clone(), made[number % 2].clone());
        tokio::spawn(async move {
            let query = format!("fullName=P{number}&meetingID={id}&role=VIEWER");
            alpha.get("join", &query).await.headers["location"].clone()
        })
    });
    let mut admitted = Vec::new();
    for join in joins.collect::<Vec<_>>() {
        let location = join.await.unwrap();
        if !location.contains("participantLimitReached") {
            admitted.push(location);
        }
    }
    assert_eq!(admitted.len(), 3);
    assert_eq!(hits().await, 13.0);
    let join = pool.front_end().join("main-0", "Free").await;
    assert!(join.contains("meetingID=main-0"), "{join}");

    // They stay counted when polls show them in the meeting, and no meeting is created beyond the limit of people.
    for location in &admitted {
        assert_eq!(alpha.fetch(location).await.status, 302);
    }
    pool.wait_polls().await;
    let full = alpha.get("join", &format!("fullName=Late&meetingID={}&role=VIEWER", made[0])).await;
    assert!(error_of(&full).contains("participantLimitReached"), "{}", error_of(&full));
    pool.cli_ok(&["tenant", "limit", "set", "alpha", "--max-meetings", "none"]);
    eventually("people are the limit that is left", || async {
        let key = alpha.get("create", "name=xy&meetingID=third").await.key();
        assert_ne!(key, "");
        (key == "participantLimitReached").then_some(())
    })
    .await;

    // Somebody leaves: room for one.
    for server in &pool.servers {
        for meeting in server.meetings() {
            let leaving: Vec<_> =
                meeting.attendees.iter().filter(|attendee| attendee.full_name.starts_with('P')).collect();
            for attendee in leaving {
                server.remove_user(&meeting.meeting_id, &attendee.internal_id);
            }
        }
    }
    eventually("there is room again", || async {
        let join = alpha.get("join", &format!("fullName=Next&meetingID={}&role=VIEWER", made[0])).await;
        (!error_of(&join).contains("participantLimitReached")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_usher_follows_changes_of_tenants() {
    let pool = Builder::new(1).tenants(three()).start().await;
    let alpha = by_host(&pool, "alpha.test", "secret-of-alpha");
    alpha.create("lesson", "").await;

    // Rollover: both secrets work, then only the new one.
    let fresh = by_host(&pool, "alpha.test", "fresh-secret");
    assert_eq!(fresh.get("getMeetings", "").await.key(), "checksumError");
    pool.cli_ok(&["tenant", "secret", "add", "alpha", "--secret", "fresh-secret"]);
    eventually("the new secret is accepted", || async {
        (fresh.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    assert_eq!(ids(&alpha.get("getMeetings", "").await), ["lesson"]);
    let listed = pool.cli_ok(&["tenant", "secret", "list", "alpha", "--reveal", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let old = listed.as_array().unwrap().iter().find(|secret| secret["secret"] == "secret-of-alpha").unwrap();
    pool.cli_ok(&["tenant", "secret", "retire", "alpha", &old["id"].to_string()]);
    eventually("the old secret is refused", || async {
        (alpha.get("getMeetings", "").await.key() == "checksumError").then_some(())
    })
    .await;
    assert_eq!(ids(&fresh.get("getMeetings", "").await), ["lesson"]);

    // A new tenant, a moved host.
    pool.cli_ok(&["tenant", "add", "gamma", "--host", "gamma.test", "--secret", "secret-of-gamma"]);
    let gamma = by_host(&pool, "gamma.test", "secret-of-gamma");
    eventually("gamma may call", || async { (gamma.get("getMeetings", "").await.key() == "noMeetings").then_some(()) })
        .await;
    gamma.create("lesson", "").await;
    pool.cli_ok(&["tenant", "set", "gamma", "--host", "moved.test"]);
    let moved = by_host(&pool, "moved.test", "secret-of-gamma");
    eventually("gamma has moved", || async {
        (moved.get("getMeetings", "").await.returncode() == "SUCCESS").then_some(())
    })
    .await;
    assert_eq!(ids(&moved.get("getMeetings", "").await), ["lesson"]);
    assert_eq!(gamma.get("getMeetings", "").await.key(), "checksumError", "that host is the default tenant's now");

    // Removal would lose a meeting: refused, unless forced; then the tenant and its placements are gone.
    let refused = pool.cli(&["tenant", "remove", "gamma"]);
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(ids(&moved.get("getMeetings", "").await), ["lesson"]);
    pool.cli_ok(&["tenant", "remove", "gamma", "--force"]);
    eventually("gamma is unknown", || async {
        (moved.get("getMeetings", "").await.key() == "checksumError").then_some(())
    })
    .await;
    let listed: serde_json::Value = serde_json::from_str(&pool.cli_ok(&["meeting", "list", "--json"])).unwrap();
    let tenants: Vec<_> = listed.as_array().unwrap().iter().map(|meeting| meeting["tenant"].clone()).collect();
    assert_eq!(tenants, ["alpha"]);
    eventually("its meetings are not counted any more", || async {
        let status = pool.status().await?;
        let named = |tenant: &serde_json::Value| tenant["name"] == "gamma";
        (!status["tenants"].as_array()?.iter().any(named)).then_some(())
    })
    .await;
}
