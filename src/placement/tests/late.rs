//! A placer whose store was changed by somebody else: what comes late must neither be promised nor left running.

use std::sync::Arc;

use super::*;
use crate::client::{BbbClient, ClientSettings};
use crate::clock::{Clock, SystemClock};
use crate::metrics::Metrics;
use crate::placement::unwritten::{Unwritten, Written};
use crate::pool::HealthSettings;
use crate::store::{Change, Claim, Eviction, Known, SqliteStore, Store, TenantRecord};

struct House {
    placer: Placer,
    _directory: tempfile::TempDir,
}

impl House {
    /// A placer over a fresh store with servers 1 and 2 and tenant 1.
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("usher.db")).await.unwrap();
        for id in [1, 2] {
            store.add_server(record(id)).await.unwrap();
        }
        let tenant = TenantRecord {
            id: TenantId(1),
            name: "main".to_owned(),
            is_default: true,
            scope: None,
            hosts: Vec::new(),
            secrets: Vec::new(),
            params: Vec::new(),
            max_meetings: None,
            max_people: None,
            max_requests: None,
            pool: Vec::new(),
            region: None,
        };
        store.add_tenant(tenant).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().unwrap());
        let ledger = Arc::new(Ledger::new(LedgerSettings::default()));
        let settings = HealthSettings { unhealthy_after: 3, healthy_after: 2, window: Duration::from_secs(5) };
        let monitor = Arc::new(Monitor::new(settings, ledger.clone(), metrics.clone(), clock.clone()));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client_settings = ClientSettings { connect_timeout: Duration::from_secs(1), max_answer: 1 << 20 };
        let client = BbbClient::new(&client_settings, Arc::default()).unwrap();
        let placer_settings =
            PlacerSettings { failover_after: Duration::from_secs(1), create_attempt: Duration::from_secs(4) };
        let placer = Placer::new(clock, ledger, Arc::new(store), client, monitor, metrics, placer_settings);
        placer.load().await.unwrap();
        Self { placer, _directory: directory }
    }

    async fn claim(&self, name: &str, server: i64) -> Version {
        let claimed = placement(name, server, Phase::Claimed);
        let Claim::Won(version) = self.placer.store.claim(claimed.clone()).await.unwrap() else { panic!("taken") };
        self.placer.ledger.put(Placement { version, ..claimed }, self.placer.clock.now());
        version
    }

    async fn confirm_late(&self, name: &str, server: i64) -> Written {
        let late = Unwritten::Confirmed(key(name), ServerId(server), confirmation(name));
        self.placer.write_or_keep(late).await
    }

    async fn evicted(&self) -> Vec<(ServerId, Option<InternalId>)> {
        let evictions = self.placer.store.evictions().await.unwrap();
        evictions.into_iter().map(|eviction| (eviction.server, eviction.internal_id)).collect()
    }
}

fn confirmation(name: &str) -> Confirmation {
    Confirmation { internal_id: internal(name), create_time: QUARTER, attendee_pw: None, moderator_pw: None }
}

#[tokio::test]
async fn a_meeting_moved_by_another_process_is_not_promised_on_its_old_server() {
    let house = House::fresh().await;
    let version = house.claim("a", 1).await;
    let moved = house.placer.store.move_placement(&key("a"), version, ServerId(2), String::new(), None).await.unwrap();
    assert!(matches!(moved, Change::Made(_)));
    assert_eq!(house.confirm_late("a", 1).await, Written::Elsewhere);
    assert_eq!(house.evicted().await, [(ServerId(1), Some(internal("a")))]);
    assert_eq!(house.placer.ledger.find(&key("a")).unwrap().server, ServerId(2));
}

#[tokio::test]
async fn a_late_copy_is_noted_though_the_row_is_gone_and_the_picture_has_the_meeting_elsewhere() {
    let house = House::fresh().await;
    let version = house.claim("a", 2).await;
    assert!(house.placer.store.release(&key("a"), ServerId(2), Known::Version(version)).await.unwrap());
    assert_eq!(house.confirm_late("a", 1).await, Written::Elsewhere);
    assert_eq!(house.evicted().await, [(ServerId(1), Some(internal("a")))]);
    assert_eq!(house.placer.ledger.find(&key("a")).unwrap().server, ServerId(2));
}

#[tokio::test]
async fn a_change_about_a_removed_server_does_not_hold_up_the_others() {
    let house = House::fresh().await;
    house.claim("a", 1).await;
    let gone = Eviction {
        server: ServerId(77),
        bbb_id: BbbMeetingId::new("x"),
        internal_id: None,
        moderator_pw: None,
        since: second(0),
    };
    house.placer.write_or_keep(Unwritten::Evicted(gone)).await;
    assert_eq!(house.confirm_late("a", 1).await, Written::Here);
    let row = house.placer.store.placement(&key("a")).await.unwrap().unwrap();
    assert_eq!((row.phase, row.internal_id), (Phase::Confirmed, Some(internal("a"))));
}

#[tokio::test]
async fn an_older_row_never_replaces_what_was_written_since() {
    let house = House::fresh().await;
    let version = house.claim("a", 1).await;
    let read_before = house.placer.store.placement(&key("a")).await.unwrap().unwrap();
    let moved = house.placer.store.move_placement(&key("a"), version, ServerId(2), String::new(), None).await.unwrap();
    let Change::Made(newer) = moved else { panic!("{moved:?}") };
    house.placer.reread(&key("a")).await;
    house.placer.ledger.put(read_before, house.placer.clock.now());
    let view = house.placer.ledger.find(&key("a")).unwrap();
    assert_eq!((view.server, view.version), (ServerId(2), newer));
}
