//! What only this back end has: the contract on a file, private modes, group commit, full disks, backup and restore.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::clock::Millis;
use crate::store::Reach;
use crate::store::contract::{self, Place, placement, server, tenant};

struct Directory(TempDir);

impl Directory {
    fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path("usher.db")).await.unwrap()
    }
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }
}

async fn furnished(directory: &Directory) -> (SqliteStore, ServerId, TenantId) {
    let store = directory.store().await;
    let server = store.add_server(server("one")).await.unwrap().id;
    let tenant = store.add_tenant(tenant("uni", "uni.example.org")).await.unwrap().id;
    (store, server, tenant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract_holds() {
    contract::run(Directory::fresh).await;
}

#[tokio::test]
async fn files_are_private() {
    let directory = Directory::fresh();
    let path = directory.path("new/deep/usher.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.add_server(server("one")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path("new/deep/usher.db-wal")), 0o600);
    assert_eq!(mode(&directory.path("new/deep")), 0o700);
    assert_eq!(mode(&directory.path("new")), 0o700);
    store.backup(&directory.path("backup.db")).await.unwrap();
    assert_eq!(mode(&directory.path("backup.db")), 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_may_make_the_file_at_once() {
    for _ in 0..5 {
        let directory = Directory::fresh();
        let path = directory.path("usher.db");
        let mut openings = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let path = path.clone();
            openings.spawn(async move { SqliteStore::open(&path).await.map(drop) });
        }
        for opened in openings.join_all().await {
            opened.unwrap();
        }
    }
}

#[tokio::test]
async fn a_full_disk_fails_whole_and_heals_by_itself() {
    let directory = Directory::fresh();
    let (store, server, tenant) = furnished(&directory).await;
    let cursor = store.cursor().await.unwrap();
    store.pragma("PRAGMA max_page_count = 1").await.unwrap(); // SQLite clamps it to the present size
    let mut wanted = Vec::new();
    let error = loop {
        let one = Placement { why: "x".repeat(3000), ..placement(tenant, &wanted.len().to_string(), server) };
        match store.claim(one.clone()).await {
            Ok(_) => wanted.push(one),
            Err(error) => break error,
        }
        assert!(wanted.len() < 1000, "the disk never filled up");
    };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(store.ping().await.is_err());
    // Nothing of the failed claim is left, neither the row nor its journal entry; reading goes on.
    assert_eq!(store.placements().await.unwrap().len(), wanted.len());
    assert_eq!(store.cursor().await.unwrap().0, cursor.0 + wanted.len() as i64);

    store.pragma("PRAGMA max_page_count = 1000000").await.unwrap();
    store.ping().await.unwrap();
    let again = placement(tenant, &wanted.len().to_string(), server);
    assert!(matches!(store.claim(again).await.unwrap(), Claim::Won(_)));
}

#[tokio::test]
async fn a_locked_file_fails_and_heals_by_itself() {
    let directory = Directory::fresh();
    let (store, server, tenant) = furnished(&directory).await;
    store.pragma("PRAGMA busy_timeout = 1").await.unwrap();
    let blocker = Connection::open(directory.path("usher.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.claim(placement(tenant, "m", server)).await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    assert_eq!(store.servers().await.unwrap().len(), 1);
    blocker.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(store.claim(placement(tenant, "m", server)).await.unwrap(), Claim::Won(_)));
}

/// Runs one batch as the writer thread would, without the thread.
fn batch(connection: Connection, tasks: Vec<Box<dyn writer::Job>>) {
    let (sender, queue) = mpsc::channel(writer::QUEUE);
    for task in tasks {
        assert!(sender.try_send(task).is_ok());
    }
    drop(sender);
    let path = connection.path().unwrap().to_owned();
    let place = Arc::new(super::place::Place::of(std::path::Path::new(&path), &connection).unwrap());
    writer::run(Link::new(connection, &place), "test", queue);
}

#[tokio::test]
async fn a_failed_job_undoes_itself_alone() {
    let directory = Directory::fresh();
    let (store, ..) = furnished(&directory).await;
    let path = directory.path("usher.db");
    let (good, mut good_answer) =
        Task::new(Durability::PowerCut, |writing: &Writing<'_>| servers::add(writing, server("two")).map(drop));
    let (bad, mut bad_answer) = Task::new(Durability::PowerCut, |writing: &Writing<'_>| -> Result<(), StoreError> {
        servers::add(writing, server("three"))?;
        Err(StoreError::Refused("no".to_owned()))
    });
    let connection = file::connect(&path).unwrap();
    tokio::task::spawn_blocking(move || batch(connection, vec![Box::new(bad), Box::new(good)])).await.unwrap();
    assert!(matches!(bad_answer.try_recv().unwrap(), Err(StoreError::Refused(_))));
    assert!(good_answer.try_recv().unwrap().is_ok());
    let names: Vec<String> = store.servers().await.unwrap().into_iter().map(|server| server.name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn a_lost_transaction_fails_every_job_in_it() {
    let directory = Directory::fresh();
    let (store, ..) = furnished(&directory).await;
    let (first, mut first_answer) =
        Task::new(Durability::PowerCut, |writing: &Writing<'_>| servers::add(writing, server("two")).map(drop));
    // Some failures make SQLite give up the transaction in the middle; this job does it by itself.
    let (lost, mut lost_answer) =
        Task::new(Durability::PowerCut, |writing: &Writing<'_>| Ok(writing.connection.execute_batch("ROLLBACK")?));
    let (last, mut last_answer) =
        Task::new(Durability::PowerCut, |writing: &Writing<'_>| servers::add(writing, server("three")).map(drop));
    let connection = file::connect(&directory.path("usher.db")).unwrap();
    let tasks: Vec<Box<dyn writer::Job>> = vec![Box::new(first), Box::new(lost), Box::new(last)];
    tokio::task::spawn_blocking(move || batch(connection, tasks)).await.unwrap();
    for answer in [&mut first_answer, &mut lost_answer, &mut last_answer] {
        assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::Failed(_))));
    }
    assert_eq!(store.servers().await.unwrap().len(), 1);
}

/// What a power cut leaves cannot be tried here; that SQLite is told to flush can.
#[tokio::test]
async fn only_what_the_servers_know_is_left_unflushed() {
    let directory = Directory::fresh();
    let (_store, ..) = furnished(&directory).await;
    let path = directory.path("usher.db");
    let run = |wanted: Vec<Durability>| {
        let path = path.clone();
        move || {
            let (jobs, answers): (Vec<_>, Vec<_>) = wanted
                .into_iter()
                .map(|durability| {
                    let look = |writing: &Writing<'_>| {
                        Ok(writing.connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?)
                    };
                    let (task, answer) = Task::new(durability, look);
                    (Box::new(task) as Box<dyn writer::Job>, answer)
                })
                .unzip();
            batch(file::connect(&path).unwrap(), jobs);
            answers.into_iter().map(|mut answer| answer.try_recv().unwrap().unwrap()).collect::<Vec<i64>>()
        }
    };
    let (normal, full) = (1, 2);
    let (process, power_cut) = (Durability::Process, Durability::PowerCut);
    for (wanted, expected) in [
        (vec![process], vec![normal]),
        (vec![power_cut], vec![full]),
        (vec![process, power_cut, process], vec![full; 3]),
    ] {
        assert_eq!(tokio::task::spawn_blocking(run(wanted)).await.unwrap(), expected);
    }
    let connection = file::connect(&path).unwrap();
    let mut current = power_cut;
    for (wanted, expected) in [(process, normal), (power_cut, full)] {
        writer::set_durability(&connection, &mut current, wanted).unwrap();
        let is: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!((current, is), (wanted, expected), "and back");
    }
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let directory = Directory::fresh();
    let (store, ..) = furnished(&directory).await;
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let blocked = store.write(move |_| {
        let _ = held.recv();
        Ok(())
    });
    tokio::pin!(blocked);
    assert!(futures_util::poll!(blocked.as_mut()).is_pending());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut ping = store.ping();
        match futures_util::poll!(ping.as_mut()) {
            std::task::Poll::Pending => waiting.push(ping),
            std::task::Poll::Ready(result) => break result,
        }
        assert!(waiting.len() <= writer::QUEUE + 256, "the queue has no end");
    };
    assert!(matches!(refused, Err(StoreError::Busy)));
    drop(hold);
    blocked.await.unwrap();
    drop(waiting);
    store.servers().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_fell_behind_reads_everything() {
    let directory = Directory::fresh();
    let (store, server, tenant) = furnished(&directory).await;
    let other = directory.store().await;
    let start = other.cursor().await.unwrap();
    let connection = Connection::open(directory.path("usher.db")).unwrap();
    store.claim(placement(tenant, "m", server)).await.unwrap();

    // Old, but few: kept.
    let hours_later = Millis(u64::MAX / 4);
    journal::prune(&connection, hours_later).unwrap();
    assert!(!other.changes(start).await.unwrap().everything);

    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10500)
                INSERT INTO journal (origin, kind, at) SELECT 'x', 'configuration', 5000 FROM n";
    connection.execute_batch(many).unwrap();
    // Many, but young: kept.
    journal::prune(&connection, Millis(6000)).unwrap();
    assert!(!other.changes(start).await.unwrap().everything);

    journal::prune(&connection, hours_later).unwrap();
    let rows: i64 = connection.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 10_000);
    let told = other.changes(start).await.unwrap();
    assert!(told.everything);
    assert!(!other.changes(told.cursor).await.unwrap().everything);
}

#[tokio::test]
async fn a_backup_is_taken_while_running_and_restored() {
    let directory = Directory::fresh();
    let (store, server_id, tenant_id) = furnished(&directory).await;
    store.claim(placement(tenant_id, "m", server_id)).await.unwrap();
    let copy = directory.path("copy.db");
    store.backup(&copy).await.unwrap();
    let summary = BackupSummary { schema: file::known_schema(), servers: 1, tenants: 1, placements: 1 };
    assert_eq!(verify_backup(&copy).unwrap(), summary);
    assert!(matches!(store.backup(&copy).await, Err(StoreError::Refused(_))));

    store.add_server(server("two")).await.unwrap();
    let target = directory.path("usher.db");
    let Err(StoreError::Refused(text)) = restore(&copy, &target) else { panic!("replaced under a running store") };
    assert!(text.contains("in use"), "{text}");
    assert_eq!(store.servers().await.unwrap().len(), 2);
    drop(store);

    restore(&copy, &target).unwrap();
    let store = directory.store().await;
    assert_eq!(store.servers().await.unwrap().len(), 1);
    assert!(matches!(store.claim(placement(tenant_id, "n", server_id)).await.unwrap(), Claim::Won(_)));
    // Into a place where nothing is yet.
    restore(&copy, &directory.path("other/usher.db")).unwrap();
    assert_eq!(verify_backup(&directory.path("other/usher.db")).unwrap(), summary);
    let left = fs::read_dir(directory.0.path()).unwrap().count();
    assert_eq!(left, 5, "usher.db, -wal, -shm, copy.db and other/; no temporary file");
}

#[tokio::test]
async fn a_restore_ignores_the_log_of_a_killed_process() {
    let directory = Directory::fresh();
    let (store, ..) = furnished(&directory).await;
    let copy = directory.path("copy.db");
    store.backup(&copy).await.unwrap();
    store.add_server(server("two")).await.unwrap();
    // What a kill -9 leaves: the file with its log, and nobody holding them.
    let crashed = directory.path("crashed.db");
    fs::copy(directory.path("usher.db"), &crashed).unwrap();
    fs::copy(directory.path("usher.db-wal"), directory.path("crashed.db-wal")).unwrap();
    let recovered = SqliteStore::open(&crashed).await.unwrap();
    assert_eq!(recovered.servers().await.unwrap().len(), 2);
    drop(recovered);
    fs::copy(directory.path("usher.db"), &crashed).unwrap();
    fs::copy(directory.path("usher.db-wal"), directory.path("crashed.db-wal")).unwrap();
    restore(&copy, &crashed).unwrap();
    assert_eq!(SqliteStore::open(&crashed).await.unwrap().servers().await.unwrap().len(), 1);
    // A file beyond recovery is replaced as well.
    fs::write(&crashed, "this is no database at all, whatever it once was".repeat(50)).unwrap();
    restore(&copy, &crashed).unwrap();
    assert_eq!(SqliteStore::open(&crashed).await.unwrap().servers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn damaged_and_foreign_files_are_refused() {
    let directory = Directory::fresh();
    let (store, server_id, tenant_id) = furnished(&directory).await;
    for index in 0..200 {
        store.claim(placement(tenant_id, &format!("meeting-{index}"), server_id)).await.unwrap();
    }
    let copy = directory.path("copy.db");
    store.backup(&copy).await.unwrap();
    let whole = fs::read(&copy).unwrap();

    let damaged = directory.path("damaged.db");
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    assert!(verify_backup(&damaged).is_err());
    let mut bytes = whole.clone();
    let page = bytes.len() / 4096 * 3 / 4 * 4096;
    bytes[page..page + 4096].fill(0xAA);
    fs::write(&damaged, &bytes).unwrap();
    assert!(verify_backup(&damaged).is_err());
    let before = fs::read(directory.path("copy.db")).unwrap();
    assert!(restore(&damaged, &copy).is_err());
    assert_eq!(fs::read(&copy).unwrap(), before);

    let empty = directory.path("empty.db");
    fs::write(&empty, "").unwrap();
    assert!(verify_backup(&empty).is_err());
    assert!(matches!(verify_backup(&directory.path("missing.db")), Err(StoreError::NotFound(_))));

    let foreign = directory.path("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let before = fs::read(&foreign).unwrap();
    let error = SqliteStore::open(&foreign).await.err().unwrap().to_string();
    assert!(error.contains("another program") && error.contains("foreign.db"), "{error}");
    assert!(verify_backup(&foreign).is_err());
    assert_eq!(fs::read(&foreign).unwrap(), before);

    let text = directory.path("text.db");
    fs::write(&text, "not a database, but long enough to be looked at".repeat(100)).unwrap();
    let error = SqliteStore::open(&text).await.err().unwrap().to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words() {
    let directory = Directory::fresh();
    drop(directory.store().await);
    let path = directory.path("usher.db");
    let later = "INSERT INTO refinery_schema_history SELECT 999, 'later', applied_on, checksum FROM refinery_schema_history \
         LIMIT 1";
    Connection::open(&path).unwrap().execute_batch(later).unwrap();
    let error = SqliteStore::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("newer version of Usher (schema 999"), "{error}");
    assert!(verify_backup(&path).is_err());
}

#[tokio::test]
async fn errors_never_show_secrets() {
    let directory = Directory::fresh();
    let (store, _, tenant_id) = furnished(&directory).await;
    let connection = Connection::open(directory.path("usher.db")).unwrap();
    connection.execute_batch("UPDATE servers SET tags = 'geheim-one', checksum = 'geheim-two'").unwrap();
    connection.execute_batch("UPDATE tenants SET pool = '\"geheim\"'").unwrap();
    let mut texts = vec![format!("{:?}", server("one")), format!("{:?}", tenant("uni", "x"))];
    for error in [store.servers().await.unwrap_err(), store.tenants().await.unwrap_err()] {
        texts.push(format!("{error} {error:?}"));
    }
    let clash = store.add_tenant(tenant("uni", "y")).await.unwrap_err();
    texts.push(format!("{clash} {clash:?}"));
    let dangling = store.claim(placement(tenant_id, "m", ServerId(99))).await.unwrap_err();
    texts.push(format!("{dangling} {dangling:?}"));
    for text in texts {
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_opened_and_goes_on() {
    let directory = Directory::fresh();
    let (store, server_id, tenant_id) = furnished(&directory).await;
    let old = placement(tenant_id, "old", server_id);
    store.claim(old.clone()).await.unwrap();
    drop(store);
    let to_first = "ALTER TABLE placements DROP COLUMN version; ALTER TABLE tenants DROP COLUMN max_requests; \
                    ALTER TABLE servers DROP COLUMN address; ALTER TABLE servers DROP COLUMN send_proxy; \
                    ALTER TABLE servers DROP COLUMN send_proxy_port; ALTER TABLE servers DROP COLUMN client_prefix; \
                    ALTER TABLE servers DROP COLUMN ca; ALTER TABLE servers DROP COLUMN tls_name; \
                    ALTER TABLE servers DROP COLUMN insecure; DROP TABLE store_id; \
                    DELETE FROM refinery_schema_history WHERE version > 1";
    Connection::open(directory.path("usher.db")).unwrap().execute_batch(to_first).unwrap();

    let store = directory.store().await;
    let tenants = store.tenants().await.unwrap();
    assert_eq!((tenants[0].id, tenants[0].max_requests), (tenant_id, None));
    assert_eq!(store.servers().await.unwrap()[0].reach, Reach::default());
    assert_eq!(store.placement(&old.key()).await.unwrap(), Some(old.clone()));
    let why = || "moved".to_owned();
    let moved = store.move_placement(&old.key(), old.version, server_id, why(), None).await.unwrap();
    assert!(matches!(moved, Change::Made(version) if version > old.version));
    let again = store.move_placement(&old.key(), old.version, server_id, why(), None).await.unwrap();
    assert!(matches!(again, Change::Lost(Some(_))));
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_written() {
    let directory = Directory::fresh();
    let (store, server_id, tenant_id) = furnished(&directory).await;
    let other = Connection::open(directory.path("usher.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut claim = store.claim(placement(tenant_id, "given-up", server_id));
    assert!(futures_util::poll!(claim.as_mut()).is_pending());
    drop(claim);
    let later = store.claim(placement(tenant_id, "later", server_id));
    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(later.await.unwrap(), Claim::Won(_)));
    let names: Vec<String> =
        store.placements().await.unwrap().iter().map(|one| one.meeting.as_str().to_owned()).collect();
    assert_eq!(names, ["later"]);
}

#[tokio::test]
async fn a_restore_keeps_away_while_another_process_starts() {
    let directory = Directory::fresh();
    let (store, ..) = furnished(&directory).await;
    let copy = directory.path("copy.db");
    store.backup(&copy).await.unwrap();
    store.add_server(server("two")).await.unwrap();
    drop(store);
    // That process has looked at the file and is about to open it: replaced now, it would go on with one that has lost
    // its name.
    let starting = file::prepare(&directory.path("usher.db")).unwrap();
    let error = restore(&copy, &directory.path("usher.db")).unwrap_err().to_string();
    assert!(error.contains("preparing or restoring"), "{error}");
    drop(starting);
    assert_eq!(directory.store().await.servers().await.unwrap().len(), 2);
    restore(&copy, &directory.path("usher.db")).unwrap();
    assert_eq!(directory.store().await.servers().await.unwrap().len(), 1);
}
