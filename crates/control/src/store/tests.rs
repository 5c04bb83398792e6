//! The store at its borders: sets, restarts, files, and everything that can be wrong with a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::source::Change;
use api::{Kind, Level};
use redb::StorageBackend;
use redb::backends::FileBackend;
use telemetry::Registry;

use super::*;
use crate::registration::{NodeMetadata, RegisteredCapture, RegisteredRole, Registration};
use crate::v1::Outcome;

const T0: SystemTime = SystemTime::UNIX_EPOCH;

fn start(clock: &Clock, shard: &Shard, has_files: bool) -> (Start<'static>, Clock) {
    // The shard outlives the test.
    let shard: &'static Shard = Box::leak(Box::new(shard.clone()));
    let start = Start {
        settings: MeshSettings::default(),
        trust: translate::MeshTrust::roots(*b"roots"),
        has_files,
        clock: clock.clone(),
        shard,
    };
    (start, clock.clone())
}

fn open_on(disk: Disk, has_files: bool) -> (Store, Kept, Clock) {
    let clock = Clock::fixed(T0 + Duration::from_secs(1_000_000));
    let (start, clock) = start(&clock, &Registry::new().shard(), has_files);
    let (store, kept) = Store::open(disk, start).unwrap();
    (store, kept, clock)
}

fn open(dir: &Path) -> (Store, Kept, Clock) {
    open_on(Disk::open(dir).unwrap(), false)
}

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n---\n")
}

fn rule(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec: {{hosts: [{name}], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}\n---\n"
    )
}

fn set(text: &str) -> Set {
    let parsed = api::parse("demo.yaml", text);
    assert!(!parsed.has_errors(), "{:?}", parsed.problems);
    Set { resources: parsed.resources, ..Set::default() }
}

fn outcomes(done: &Done) -> Vec<(String, Outcome)> {
    done.results.iter().map(|applied| (applied.key.name.clone(), applied.outcome)).collect()
}

fn key(kind: Kind, name: &str) -> ResourceKey {
    ResourceKey { kind, namespace: Some("default".to_owned()), name: name.to_owned() }
}

fn stored(store: &Store, name: &str) -> Arc<Stored> {
    store.now().resources[&key(Kind::Service, name)].clone()
}

fn registered(name: &str) -> Arc<Registered> {
    let registration = Registration {
        proxy_version: None,
        instance: name.to_owned(),
        role: RegisteredRole::Sidecar {
            service: Some(name.to_owned()),
            ports: Vec::new(),
            capture: RegisteredCapture::Upstreams(Vec::new()),
        },
        address: [127, 64, 0, 2].into(),
        weight: 1,
        tells_readiness: false,
        on_demand: false,
        admin: None,
        metrics: None,
    };
    let metadata =
        NodeMetadata { namespace: "default".to_owned(), halcyon: Some(registration), ..NodeMetadata::default() };
    Arc::new(Registered { node: name.to_owned(), locality: Default::default(), metadata, ready: true })
}

#[tokio::test]
async fn created_configured_unchanged_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, clock) = open(dir.path());
    let done = store.apply(set(&(service("a", 80) + &service("b", 80)))).await.unwrap();
    assert_eq!(outcomes(&done), [("a".to_owned(), Outcome::Created), ("b".to_owned(), Outcome::Created)]);
    assert_eq!((done.version, store.now().version), (1, 1));
    let created = stored(&store, "a").created;
    clock.advance(Duration::from_secs(60));

    let done = store.apply(set(&(service("a", 81) + &service("b", 80)))).await.unwrap();
    // `b` moved down by nothing and says the same: the version is of `a`.
    assert_eq!(outcomes(&done), [("a".to_owned(), Outcome::Configured), ("b".to_owned(), Outcome::Unchanged)]);
    let a = stored(&store, "a");
    assert_eq!((a.created, a.generation, a.resource.meta.created), (created, 2, Some(created)));
    assert_eq!(stored(&store, "b").generation, 1);
    let done = store.apply(set(&(service("a", 81) + &service("b", 80)))).await.unwrap();
    assert_eq!((done.version, store.now().version), (2, 2), "nothing changed");

    let dry = Set { dry_run: true, ..set(&service("c", 80)) };
    assert_eq!(outcomes(&store.apply(dry).await.unwrap()), [("c".to_owned(), Outcome::Created)]);
    assert_eq!((store.now().version, store.now().resources.size()), (2, 2));
    let done =
        store.delete(vec![key(Kind::Service, "a"), key(Kind::Service, "x")], false, Author::default()).await.unwrap();
    assert_eq!(outcomes(&done), [("a".to_owned(), Outcome::Deleted), ("x".to_owned(), Outcome::NotFound)]);
    assert_eq!(store.now().resources.size(), 1);
}

#[tokio::test]
async fn all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path());
    let mut twice = set(&service("a", 80));
    twice.resources.extend(set(&service("a", 81)).resources);
    twice.resources.extend(set(&service("b", 81)).resources);
    let Err(ChangeError::Refused(problems)) = store.apply(twice).await else { panic!("a double is refused") };
    assert!(problems[0].message.contains("written twice"), "{problems:?}");
    assert_eq!((store.now().version, store.now().resources.size()), (0, 0));
}

#[tokio::test]
async fn warnings_are_of_the_set_and_of_what_it_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path());
    let words = |done: &Done| {
        let mut names: Vec<_> = done.problems.iter().map(|p| p.resource.clone().unwrap().name).collect();
        names.dedup();
        names
    };
    let strict = Set { strict: true, ..set(&rule("a", "a")) };
    assert!(matches!(store.apply(strict).await, Err(ChangeError::Refused(_))));
    assert_eq!(store.now().version, 0);
    assert_eq!(words(&store.apply(set(&rule("a", "a"))).await.unwrap()), ["a"]);
    assert!(!store.now().problems.is_empty());
    // The standing problem of `a` is not told again with another set.
    assert_eq!(words(&store.apply(set(&service("b", 80))).await.unwrap()), [""; 0]);
    assert_eq!(words(&store.apply(set(&(rule("b", "b") + &service("a", 80)))).await.unwrap()), [""; 0]);
    assert!(store.now().problems.is_empty(), "it went away by itself");
    let done = store.delete(vec![key(Kind::Service, "b")], false, Author::default()).await.unwrap();
    assert_eq!(words(&done), ["b"], "the rule of `b` leads nowhere now");
    assert!(done.problems.iter().all(|p| p.level == Level::Warning));
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path());
    store.apply(set(&(service("a", 80) + &rule("a", "nowhere")))).await.unwrap();
    store.workloads(vec![WorkloadChange::Put(registered("w"))]).await.unwrap();
    let token = |id: &str| TokenRow {
        id: id.to_owned(),
        hash: [7; 32],
        namespace: "default".to_owned(),
        service_account: "a".to_owned(),
        expires_ms: 5,
        created_ms: 1,
        state: TokenState::Used(2),
    };
    let mut rows = Changes::default();
    for id in ["1", "2"] {
        rows.put(Table::Tokens, id, serde_json::to_vec(&token(id)).unwrap());
    }
    store.keep(rows, Vec::new()).await.unwrap();
    let mut rows = Changes::default();
    rows.remove(Table::Tokens, "1");
    store.keep(rows, Vec::new()).await.unwrap();
    let before = store.now();
    assert!(before.world.services().any(|s| &*s.host == "w.default.svc.cluster.local"));
    store.stop().await;

    let (store, kept, _) = open(dir.path());
    let after = store.now();
    assert_eq!((after.version, after.workloads), (before.version, 1));
    assert_eq!((&after.world.vips, after.problems.len()), (&before.world.vips, before.problems.len()));
    let (old, new) = (&before.resources[&key(Kind::Service, "a")], stored(&store, "a"));
    assert_eq!((old.created, old.generation, &old.resource), (new.created, new.generation, &new.resource));
    assert_eq!(new.resource.origin.to_string(), "demo.yaml:1");
    assert_eq!((kept.workloads, kept.tokens), (vec![registered("w")], vec![token("2")]));
    store
        .workloads(vec![WorkloadChange::Remove { namespace: "default".to_owned(), instance: "w".to_owned() }])
        .await
        .unwrap();
    assert_eq!(store.now().workloads, 0);
}

#[tokio::test]
async fn a_file_holds_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open_on(Disk::open(dir.path()).unwrap(), true);
    let batch = |text: &str, is_complete| Batch {
        changes: api::parse("/etc/mesh/a.yaml", text).resources.into_iter().map(Change::Applied).collect(),
        problems: vec![Problem::warning("odd")],
        is_complete,
    };
    store.apply(set(&service("mine", 80))).await.unwrap();
    store.deliver(batch(&(service("a", 80) + &service("b", 80)), true));
    store.settled().await.unwrap();
    assert_eq!((store.now().resources.size(), store.now().source_problems.len()), (3, 1));
    for refused in [
        store.apply(set(&service("a", 81))).await.unwrap_err(),
        store.delete(vec![key(Kind::Service, "a")], false, Author::default()).await.unwrap_err(),
    ] {
        let ChangeError::Refused(problems) = refused else { panic!("{refused}") };
        assert!(problems[0].to_string().contains("held by the file /etc/mesh/a.yaml:1"), "{problems:?}");
    }
    let created = stored(&store, "a").created;
    store.stop().await;

    // The next run's directory has lost `b`; `a` is as old as it was.
    let (store, ..) = open_on(Disk::open(dir.path()).unwrap(), true);
    store.deliver(batch(&service("a", 80), true));
    store.settled().await.unwrap();
    assert_eq!((store.now().resources.size(), stored(&store, "a").created), (2, created));
    store.stop().await;
    let (store, ..) = open(dir.path());
    assert_eq!(store.now().resources.size(), 1, "without a directory nothing of it stays");
}

#[test]
fn what_cannot_be_opened_is_said_in_one_line() {
    let check = |result: Result<Disk, StoreError>, expected: &str| {
        let error = result.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    };
    let dir = tempfile::tempdir().unwrap();
    let held = Disk::open(dir.path()).unwrap();
    check(Disk::open(dir.path()), "another control plane");
    drop(held);
    let file = dir.path().join("store.redb");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "not a store").unwrap();
    check(Disk::open(dir.path()), "damaged");
    std::fs::write(&file, vec![0xa5; good.len()]).unwrap();
    check(Disk::open(dir.path()), "damaged");
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    check(Disk::open(dir.path()), "damaged");
    std::fs::write(&file, &good).unwrap();
    drop(Disk::open(dir.path()).unwrap());
    check(Disk::open(&file), "store.redb");
    let denied = StoreError::io(Path::new("/x"), io::ErrorKind::PermissionDenied.into());
    assert!(denied.to_string().contains("permission denied"), "{denied}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path());
    store.apply(set(&service("a", 80))).await.unwrap();
    store.stop().await;
    let mut disk = Disk::open(dir.path()).unwrap();
    let mut changes = disk::Changes::default();
    changes.put(disk::Table::Resources, "Service/default/b", b"{}".to_vec());
    disk.write(&changes).unwrap();
    drop(disk);
    let (store, ..) = open(dir.path());
    assert_eq!((store.now().resources.size(), store.now().source_problems.len()), (1, 1));
    store.stop().await;
    let rows = Disk::open(dir.path()).unwrap().read(disk::Table::Resources).unwrap();
    assert_eq!(rows.len(), 2, "nothing is lost");
}

/// A file on a disk that can be full.
#[derive(Debug)]
struct Failing(FileBackend, Arc<AtomicBool>);

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let path: PathBuf = dir.path().join("store.redb");
    let (file, switch) = (path.clone(), full.clone());
    let disk = Disk::with(path, move || {
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
        let backend = FileBackend::new(file.map_err(redb::StorageError::from)?)?;
        redb::Database::builder().create_with_backend(Failing(backend, switch.clone()))
    });
    let (store, ..) = open_on(disk.unwrap(), false);
    store.apply(set(&service("a", 80))).await.unwrap();
    full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = store.apply(set(&service("b", 80))).await.unwrap_err();
        assert!(error.to_string().contains("no space left"), "{error}");
        assert_eq!((store.now().version, store.now().resources.size()), (1, 1), "memory has what the disk has");
    }
    full.store(false, Ordering::Relaxed);
    assert_eq!(store.apply(set(&service("b", 80))).await.unwrap().version, 2);
    store.stop().await;
    let (store, ..) = open(dir.path());
    assert_eq!((store.now().version, store.now().resources.size()), (2, 2));
}
