//! The suite that each back end must pass: every method, the unique rules, and what two processes may do to each other.
//!
//! Generic over where the store lives: a `Place` opens any number of `Store` values over the same rows, as several
//! processes would.

use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::bbb::Algorithm;
use crate::clock::Millis;
use crate::config::{ClientPrefix, ProxyOut};
use crate::ids::{BbbMeetingId, MeetingId, Secret};

/// An empty store's home.
#[async_trait]
pub trait Place: Send + Sync {
    /// Another value over the same rows, as another process would have.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Runs everything, each case in a fresh place.
pub async fn run<P: Place>(fresh: impl Fn() -> P) {
    servers_are_kept_as_given(&fresh()).await;
    server_names_are_unique(&fresh()).await;
    server_ids_are_never_used_again(&fresh()).await;
    servers_with_meetings_are_removed_by_force_only(&fresh()).await;
    tenants_are_kept_as_given(&fresh()).await;
    tenant_names_hosts_and_default_are_unique(&fresh()).await;
    tenant_secrets_keep_their_ids(&fresh()).await;
    tenants_with_meetings_are_removed_by_force_only(&fresh()).await;
    a_claim_is_won_once(&fresh()).await;
    claims_need_server_tenant_and_a_free_bbb_id(&fresh()).await;
    one_of_fifty_claims_wins(&fresh()).await;
    confirm_needs_the_server_in_force(&fresh()).await;
    move_compares_and_sets(&fresh()).await;
    a_refused_move_changes_nothing(&fresh()).await;
    release_compares(&fresh()).await;
    evictions_are_kept_once(&fresh()).await;
    changes_of_others_are_told(&fresh()).await;
    the_feed_starts_where_the_reader_stands(&fresh()).await;
    everything_outlives_the_process(&fresh()).await;
    ping_works(&fresh()).await;
}

pub fn server(name: &str) -> ServerRecord {
    ServerRecord {
        id: ServerId(77),
        name: name.to_owned(),
        url: format!("https://{name}.example.org/bigbluebutton/api/"),
        secret: Secret::new(format!("geheim-{name}")),
        state: ServerState::Cordoned,
        weight: 1.25,
        cores: 16,
        nic_mbit: 10_000,
        tags: vec!["a".to_owned(), "ü;\"b".to_owned()],
        region: Some("north".to_owned()),
        checksum: Algorithm::Sha384,
        version: Some("3.0.19".to_owned()),
        max_meetings: Some(5),
        max_people: Some(u32::MAX),
        reach: Reach {
            address: Some("[fd00::5]:8443".parse().unwrap()),
            send_proxy: ProxyOut::V2,
            send_proxy_port: Some(u16::MAX),
            client_prefix: Some(ClientPrefix::Keep),
            trust: Trust { ca: Some(Authorities::new("PEM")), name: Some("bbb.example".to_owned()), insecure: true },
        },
    }
}

pub fn tenant(name: &str, host: &str) -> TenantRecord {
    let secret = |text: &str, retired_at| TenantSecret {
        id: 99,
        secret: Secret::new(text),
        created_at: Millis(1_700_000_000_000),
        retired_at,
    };
    let rule =
        |call, kind, name: &str, value: &str| ParamRule { call, kind, name: name.to_owned(), value: value.to_owned() };
    TenantRecord {
        id: TenantId(77),
        name: name.to_owned(),
        is_default: false,
        scope: Some(Secret::new("scope-key")),
        hosts: vec![host.to_owned(), format!("also-{host}")],
        secrets: vec![secret("geheim-old", Some(Millis(1_800_000_000_000))), secret("geheim-new", None)],
        params: vec![
            rule(ParamCall::Join, ParamKind::Override, "userdata-x", "1"),
            rule(ParamCall::Create, ParamKind::Block, "record", ""),
            rule(ParamCall::Create, ParamKind::Default, "welcome", "Grüß Gott"),
        ],
        max_meetings: Some(3),
        max_people: None,
        max_requests: Some(40),
        pool: vec!["a".to_owned()],
        region: None,
    }
}

pub fn placement(tenant: TenantId, meeting: &str, server: ServerId) -> Placement {
    Placement {
        tenant,
        meeting: MeetingId::new(meeting),
        bbb_id: BbbMeetingId::new(format!("{tenant}-{meeting}")),
        server,
        phase: Phase::Claimed,
        internal_id: None,
        create_time: 0,
        attendee_pw: None,
        moderator_pw: None,
        claimed_at: Millis(1_700_000_000_000),
        why: "{\"reason\":\"test\"}".to_owned(),
        version: Version::default(),
    }
}

fn confirmation() -> Confirmation {
    Confirmation {
        internal_id: InternalId::new("abc-1700000000001"),
        create_time: 1_700_000_000_001,
        attendee_pw: Some(Secret::new("ap")),
        moderator_pw: Some(Secret::new("mp")),
    }
}

fn eviction(server: ServerId, internal_id: Option<&str>) -> Eviction {
    Eviction {
        server,
        bbb_id: BbbMeetingId::new("1-m"),
        internal_id: internal_id.map(InternalId::new),
        moderator_pw: Some(Secret::new("mp")),
        since: Millis(5),
    }
}

/// A store with two servers and a tenant.
async fn furnished(place: &impl Place) -> (Arc<dyn Store>, ServerId, ServerId, TenantId) {
    let store = place.open().await;
    let first = store.add_server(server("one")).await.unwrap().id;
    let second = store.add_server(server("two")).await.unwrap().id;
    let tenant = store.add_tenant(tenant("uni", "uni.example.org")).await.unwrap().id;
    (store, first, second, tenant)
}

async fn servers_are_kept_as_given(place: &impl Place) {
    let store = place.open().await;
    let added = store.add_server(server("one")).await.unwrap();
    assert_eq!(added, ServerRecord { id: added.id, ..server("one") });
    assert_eq!(store.servers().await.unwrap(), std::slice::from_ref(&added));

    let changed = ServerRecord { state: ServerState::Draining, region: None, tags: Vec::new(), ..added };
    store.update_server(changed.clone()).await.unwrap();
    assert_eq!(store.servers().await.unwrap(), std::slice::from_ref(&changed));
    let address = Some("bbb1.internal".parse().unwrap());
    for reach in [Reach { address, ..Reach::default() }, Reach::default()] {
        let changed = ServerRecord { reach, ..changed.clone() };
        store.update_server(changed.clone()).await.unwrap();
        assert_eq!(store.servers().await.unwrap(), [changed]);
    }

    assert_eq!(store.remove_server(changed.id, false).await.unwrap(), 0);
    assert_eq!(store.servers().await.unwrap(), []);
    assert!(matches!(store.update_server(changed.clone()).await, Err(StoreError::NotFound(_))));
    assert!(matches!(store.remove_server(changed.id, true).await, Err(StoreError::NotFound(_))));
}

async fn server_names_are_unique(place: &impl Place) {
    let (store, _, second, _) = furnished(place).await;
    let Err(StoreError::Conflict(text)) = store.add_server(server("one")).await else { panic!("a second `one`") };
    assert!(text.contains("`one`") && !text.contains("geheim"), "{text}");
    let renamed = ServerRecord { id: second, ..server("one") };
    assert!(matches!(store.update_server(renamed).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.servers().await.unwrap().len(), 2);
}

async fn server_ids_are_never_used_again(place: &impl Place) {
    let store = place.open().await;
    let first = store.add_server(server("one")).await.unwrap().id;
    store.remove_server(first, false).await.unwrap();
    assert!(store.add_server(server("one")).await.unwrap().id > first);
}

async fn servers_with_meetings_are_removed_by_force_only(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    for meeting in ["a", "b", "c"] {
        won(&store, placement(tenant, meeting, first)).await;
    }
    store.claim(placement(tenant, "d", second)).await.unwrap();
    store.add_eviction(eviction(first, None)).await.unwrap();
    let Err(StoreError::Refused(text)) = store.remove_server(first, false).await else { panic!("removed") };
    assert!(text.contains('3') && text.contains("`one`"), "{text}");
    assert_eq!(store.placements().await.unwrap().len(), 4);

    assert_eq!(store.remove_server(first, true).await.unwrap(), 3);
    let left = store.placements().await.unwrap();
    assert_eq!(left.iter().map(|one| one.meeting.as_str()).collect::<Vec<_>>(), ["d"]);
    assert_eq!(store.evictions().await.unwrap(), []);
}

async fn tenants_are_kept_as_given(place: &impl Place) {
    let store = place.open().await;
    let added = store.add_tenant(tenant("uni", "uni.example.org")).await.unwrap();
    let ids: Vec<i64> = added.secrets.iter().map(|secret| secret.id).collect();
    let mut expected = TenantRecord { id: added.id, ..tenant("uni", "uni.example.org") };
    expected.secrets[0].id = ids[0];
    expected.secrets[1].id = ids[1];
    assert_eq!(added, expected);
    assert_eq!(store.tenants().await.unwrap(), std::slice::from_ref(&added));

    let bare = TenantRecord {
        scope: None,
        is_default: true,
        hosts: Vec::new(),
        secrets: Vec::new(),
        params: Vec::new(),
        pool: Vec::new(),
        region: Some("south".to_owned()),
        max_people: Some(9),
        max_requests: None,
        ..added
    };
    assert_eq!(store.update_tenant(bare.clone()).await.unwrap(), bare);
    assert_eq!(store.tenants().await.unwrap(), std::slice::from_ref(&bare));

    assert_eq!(store.remove_tenant(bare.id, false).await.unwrap(), 0);
    assert_eq!(store.tenants().await.unwrap(), []);
    assert!(matches!(store.update_tenant(bare.clone()).await, Err(StoreError::NotFound(_))));
    assert!(matches!(store.remove_tenant(bare.id, false).await, Err(StoreError::NotFound(_))));
}

async fn tenant_names_hosts_and_default_are_unique(place: &impl Place) {
    let store = place.open().await;
    let first = store.add_tenant(TenantRecord { is_default: true, ..tenant("a", "a.example") }).await.unwrap();
    let second = store.add_tenant(tenant("b", "b.example")).await.unwrap();
    let clashes = [
        tenant("a", "c.example"),
        tenant("c", "a.example"),
        TenantRecord { is_default: true, ..tenant("c", "c.example") },
        TenantRecord { hosts: vec!["c.example".to_owned(), "c.example".to_owned()], ..tenant("c", "c.example") },
    ];
    for clash in clashes {
        assert!(matches!(store.add_tenant(clash.clone()).await, Err(StoreError::Conflict(_))), "{clash:?}");
        let update = TenantRecord { id: second.id, secrets: second.secrets.clone(), ..clash };
        assert!(matches!(store.update_tenant(update).await, Err(StoreError::Conflict(_))));
    }
    // A refused change leaves nothing behind.
    assert_eq!(store.tenants().await.unwrap(), [first, second]);
}

async fn tenant_secrets_keep_their_ids(place: &impl Place) {
    let store = place.open().await;
    let mut uni = store.add_tenant(tenant("uni", "uni.example.org")).await.unwrap();
    let other = store.add_tenant(tenant("other", "other.example.org")).await.unwrap();
    let kept = uni.secrets.remove(1);
    uni.secrets = vec![TenantSecret { id: 0, ..kept.clone() }, kept.clone()];
    let updated = store.update_tenant(uni.clone()).await.unwrap();
    assert_eq!(updated.secrets[0], kept);
    assert!(updated.secrets[1].id > kept.id);
    assert_eq!(store.tenants().await.unwrap(), [updated.clone(), other.clone()]);

    let foreign = TenantRecord { secrets: other.secrets.clone(), ..updated.clone() };
    assert!(matches!(store.update_tenant(foreign).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.tenants().await.unwrap(), [updated, other]);
}

async fn tenants_with_meetings_are_removed_by_force_only(place: &impl Place) {
    let (store, first, _, tenant) = furnished(place).await;
    store.claim(placement(tenant, "a", first)).await.unwrap();
    assert!(matches!(store.remove_tenant(tenant, false).await, Err(StoreError::Refused(_))));
    assert_eq!(store.remove_tenant(tenant, true).await.unwrap(), 1);
    assert_eq!(store.placements().await.unwrap(), []);
    assert_eq!(store.tenants().await.unwrap(), []);
}

/// Claims and returns the placement as the store has it.
async fn won(store: &Arc<dyn Store>, placement: Placement) -> Placement {
    match store.claim(placement.clone()).await.unwrap() {
        Claim::Won(version) => Placement { version, ..placement },
        taken => panic!("{taken:?}"),
    }
}

fn made(change: Change) -> Version {
    match change {
        Change::Made(version) => version,
        lost => panic!("{lost:?}"),
    }
}

async fn a_claim_is_won_once(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    let won = won(&store, placement(tenant, "Kurs 1", first)).await;
    assert_eq!(store.claim(placement(tenant, "Kurs 1", second)).await.unwrap(), Claim::Taken(won.clone()));
    assert_eq!(store.claim(won.clone()).await.unwrap(), Claim::Taken(won.clone()));
    assert_eq!(store.placement(&won.key()).await.unwrap(), Some(won.clone()));
    assert_eq!(store.placements().await.unwrap(), [won]);
    // Meeting ids are compared byte by byte.
    assert!(matches!(store.claim(placement(tenant, "kurs 1", second)).await.unwrap(), Claim::Won(_)));
}

async fn claims_need_server_tenant_and_a_free_bbb_id(place: &impl Place) {
    let (store, first, _, uni) = furnished(place).await;
    let other = store.add_tenant(tenant("other", "other.example.org")).await.unwrap().id;
    store.claim(placement(uni, "m", first)).await.unwrap();
    let same_bbb_id = Placement { bbb_id: placement(uni, "m", first).bbb_id, ..placement(other, "m", first) };
    assert!(matches!(store.claim(same_bbb_id).await, Err(StoreError::Conflict(_))));

    let Err(StoreError::Refused(text)) = store.claim(placement(uni, "x", ServerId(4711))).await else { panic!() };
    assert!(text.contains("server"), "{text}");
    let Err(StoreError::Refused(text)) = store.claim(placement(TenantId(4711), "x", first)).await else { panic!() };
    assert!(text.contains("tenant"), "{text}");
    assert_eq!(store.placements().await.unwrap().len(), 1);
}

async fn one_of_fifty_claims_wins(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    let other = place.open().await;
    for round in 0..5 {
        let meeting = format!("rush-{round}");
        let mut claims = tokio::task::JoinSet::new();
        for index in 0..50 {
            let store = if index % 2 == 0 { Arc::clone(&store) } else { Arc::clone(&other) };
            let wanted = placement(tenant, &meeting, if index % 3 == 0 { first } else { second });
            claims.spawn(async move { (wanted.clone(), store.claim(wanted).await.unwrap()) });
        }
        let outcomes = claims.join_all().await;
        let winners: Vec<Placement> = outcomes
            .iter()
            .filter_map(|(wanted, claim)| match claim {
                Claim::Won(version) => Some(Placement { version: *version, ..wanted.clone() }),
                Claim::Taken(_) => None,
            })
            .collect();
        assert_eq!(winners.len(), 1);
        let in_force = Claim::Taken(winners[0].clone());
        assert_eq!(outcomes.iter().filter(|(_, claim)| *claim == in_force).count(), 49);
    }
    assert_eq!(store.placements().await.unwrap().len(), 5);
}

async fn confirm_needs_the_server_in_force(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    let key = placement(tenant, "m", first).key();
    assert_eq!(store.confirm(&key, first, confirmation()).await.unwrap(), Change::Lost(None));
    let claimed = won(&store, placement(tenant, "m", first)).await;
    let lost = Change::Lost(Some(claimed.clone()));
    assert_eq!(store.confirm(&key, second, confirmation()).await.unwrap(), lost);
    assert_eq!(store.placement(&key).await.unwrap(), Some(claimed.clone()));
    let version = made(store.confirm(&key, first, confirmation()).await.unwrap());
    assert!(version > claimed.version);
    let answered = confirmation();
    let expected = Placement {
        phase: Phase::Confirmed,
        internal_id: Some(answered.internal_id),
        create_time: answered.create_time,
        attendee_pw: answered.attendee_pw,
        moderator_pw: answered.moderator_pw,
        version,
        ..claimed
    };
    assert_eq!(store.placement(&key).await.unwrap(), Some(expected));
    // Once more, as another process may do for the same meeting.
    assert!(made(store.confirm(&key, first, confirmation()).await.unwrap()) > version);
}

async fn move_compares_and_sets(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    let claimed = won(&store, placement(tenant, "m", first)).await;
    let key = claimed.key();
    let confirmed = made(store.confirm(&key, first, confirmation()).await.unwrap());

    // The server has answered somebody since: whoever believes it lost does not know.
    let left = eviction(first, Some("abc-1700000000001"));
    let late = store.move_placement(&key, claimed.version, second, "no".to_owned(), Some(left.clone())).await.unwrap();
    let Change::Lost(Some(in_force)) = late else { panic!("{late:?}") };
    assert_eq!((in_force.server, in_force.version), (first, confirmed));
    assert_eq!(store.evictions().await.unwrap(), []);

    let why = || "failover".to_owned();
    let moved = made(store.move_placement(&key, confirmed, second, why(), Some(left.clone())).await.unwrap());
    let found = store.placement(&key).await.unwrap().unwrap();
    assert!(found.claimed_at > claimed.claimed_at && moved > confirmed);
    let expected =
        Placement { server: second, why: why(), claimed_at: found.claimed_at, version: moved, ..claimed.clone() };
    assert_eq!(found, expected);
    assert_eq!(store.evictions().await.unwrap(), [left]);

    // The late answer of the first server no longer counts.
    let lost = Change::Lost(Some(found));
    assert_eq!(store.confirm(&key, first, confirmation()).await.unwrap(), lost);
    assert!(!store.release(&key, first, Known::Version(claimed.version)).await.unwrap());
    // There and back again is not where it was.
    let back = made(store.move_placement(&key, moved, first, why(), None).await.unwrap());
    let stale = store.move_placement(&key, confirmed, second, why(), None).await.unwrap();
    assert!(matches!(stale, Change::Lost(Some(in_force)) if in_force.version == back));
}

async fn a_refused_move_changes_nothing(place: &impl Place) {
    let (store, first, _, tenant) = furnished(place).await;
    let claimed = won(&store, placement(tenant, "m", first)).await;
    let (key, known) = (claimed.key(), claimed.version);
    let to_nowhere =
        store.move_placement(&key, known, ServerId(4711), String::new(), Some(eviction(first, None))).await;
    assert!(matches!(to_nowhere, Err(StoreError::Refused(_))));
    let evict_nowhere = Some(eviction(ServerId(4711), None));
    let refused = store.move_placement(&key, known, first, String::new(), evict_nowhere).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
    assert_eq!(store.placement(&key).await.unwrap(), Some(claimed));
    assert_eq!(store.evictions().await.unwrap(), []);
}

async fn release_compares(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    let claimed = won(&store, placement(tenant, "m", first)).await;
    let key = claimed.key();
    let internal = Known::Internal(confirmation().internal_id);
    assert!(!store.release(&key, first, internal.clone()).await.unwrap());
    let confirmed = made(store.confirm(&key, first, confirmation()).await.unwrap());
    assert!(!store.release(&key, first, Known::Version(claimed.version)).await.unwrap(), "confirmed since");
    assert!(!store.release(&key, second, Known::Version(confirmed)).await.unwrap());
    assert!(!store.release(&key, first, Known::Internal(InternalId::new("abc-1"))).await.unwrap());
    assert!(store.release(&key, first, internal.clone()).await.unwrap());
    assert!(!store.release(&key, first, internal).await.unwrap());
    assert_eq!(store.placement(&key).await.unwrap(), None);

    let again = won(&store, placement(tenant, "m", first)).await;
    assert!(again.version > confirmed, "never used again");
    assert!(!store.release(&key, first, Known::Version(claimed.version)).await.unwrap());
    assert!(store.release(&key, first, Known::Version(again.version)).await.unwrap());
}

async fn evictions_are_kept_once(place: &impl Place) {
    let (store, first, second, _) = furnished(place).await;
    let whatever = Eviction { moderator_pw: None, ..eviction(first, None) };
    let that_one = eviction(first, Some("abc-1"));
    for one in [&whatever, &that_one, &whatever] {
        store.add_eviction(one.clone()).await.unwrap();
    }
    let mut found = store.evictions().await.unwrap();
    found.sort_by_key(|one| one.internal_id.clone());
    assert_eq!(found, [whatever.clone(), that_one.clone()]);

    // A later note keeps the time and adds the password.
    store.add_eviction(Eviction { since: Millis(9), ..eviction(first, None) }).await.unwrap();
    let found = store.evictions().await.unwrap();
    assert!(found.contains(&eviction(first, None)), "{found:?}");

    assert!(matches!(store.add_eviction(eviction(ServerId(4711), None)).await, Err(StoreError::Refused(_))));
    store.remove_eviction(&eviction(second, None)).await.unwrap();
    store.remove_eviction(&whatever).await.unwrap();
    store.remove_eviction(&whatever).await.unwrap();
    assert_eq!(store.evictions().await.unwrap(), [that_one]);
}

async fn changes_of_others_are_told(place: &impl Place) {
    let (store, first, second, tenant) = furnished(place).await;
    let other = place.open().await;
    let mut cursor = other.cursor().await.unwrap();
    assert_eq!(other.changes(cursor).await.unwrap(), Changes { cursor, ..Changes::default() });

    let key = won(&store, placement(tenant, "m", first)).await.key();
    let known = made(store.confirm(&key, first, confirmation()).await.unwrap());
    let told = other.changes(cursor).await.unwrap();
    assert_eq!(told, Changes { cursor: told.cursor, placements: vec![key.clone()], ..Changes::default() });
    assert!(told.cursor.0 > cursor.0);
    cursor = told.cursor;
    assert_eq!(other.changes(cursor).await.unwrap(), Changes { cursor, ..Changes::default() });

    store.update_server(ServerRecord { id: second, ..server("three") }).await.unwrap();
    let told = other.changes(cursor).await.unwrap();
    assert_eq!(told, Changes { cursor: told.cursor, configuration: true, ..Changes::default() });
    cursor = told.cursor;

    store.move_placement(&key, known, second, String::new(), Some(eviction(first, None))).await.unwrap();
    let told = other.changes(cursor).await.unwrap();
    assert!(told.configuration && told.placements == [key.clone()], "{told:?}");
    cursor = told.cursor;

    store.remove_server(second, true).await.unwrap();
    let told = other.changes(cursor).await.unwrap();
    assert!(told.configuration && told.placements == [key.clone()], "{told:?}");
    cursor = told.cursor;

    // What changes nothing, and what one does oneself, is not told.
    assert!(!store.release(&key, first, Known::Version(known)).await.unwrap());
    other.add_server(server("four")).await.unwrap();
    let told = other.changes(cursor).await.unwrap();
    assert_eq!(told, Changes { cursor: told.cursor, ..Changes::default() });
    // The first value has not asked yet; its own work is not in its answer, the other's is.
    let told = store.changes(cursor).await.unwrap();
    assert!(told.configuration && told.placements.is_empty(), "{told:?}");
}

async fn the_feed_starts_where_the_reader_stands(place: &impl Place) {
    let (store, first, _, tenant) = furnished(place).await;
    let other = place.open().await;
    let start = store.cursor().await.unwrap();
    for meeting in ["a", "b"] {
        other.claim(placement(tenant, meeting, first)).await.unwrap();
    }
    let middle = store.changes(start).await.unwrap();
    assert_eq!(middle.placements.len(), 2);
    other.claim(placement(tenant, "c", first)).await.unwrap();
    assert_eq!(store.changes(middle.cursor).await.unwrap().placements.len(), 1);
    // Going back tells it all again.
    assert_eq!(store.changes(start).await.unwrap().placements.len(), 3);
    // A cursor beyond the end belongs to another store.
    assert!(store.changes(Cursor(start.0 + 1_000_000)).await.unwrap().everything);
}

async fn everything_outlives_the_process(place: &impl Place) {
    let (store, first, _, tenant) = furnished(place).await;
    store.claim(placement(tenant, "m", first)).await.unwrap();
    store.add_eviction(eviction(first, None)).await.unwrap();
    let before = (store.servers().await.unwrap(), store.tenants().await.unwrap(), store.placements().await.unwrap());
    drop(store);
    let store = place.open().await;
    let after = (store.servers().await.unwrap(), store.tenants().await.unwrap(), store.placements().await.unwrap());
    assert_eq!(before, after);
    assert_eq!(store.evictions().await.unwrap(), [eviction(first, None)]);
}

async fn ping_works(place: &impl Place) {
    let store = place.open().await;
    let cursor = store.cursor().await.unwrap();
    for _ in 0..3 {
        store.ping().await.unwrap();
    }
    assert_eq!(store.cursor().await.unwrap(), cursor);
}
