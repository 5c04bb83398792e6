//! What is kept over a restart, what goes, and what happens when the disk does not do as it should.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use redb::StorageBackend;
use redb::backends::FileBackend;
use serde_json::{Value, json};

use super::*;
use crate::options::Options;
use crate::simulated::{Line, Simulated, T0, line};

const HOUR: u64 = 3_600_000;

async fn series(mesh: &Simulated, query: &str) -> Value {
    let (status, answer) = mesh.get(&format!("/v1/series?of=service/default/api&metrics=rps,p50&{query}")).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn rps(answer: &Value) -> Vec<Option<f64>> {
    answer["series"][0]["values"].as_array().unwrap().iter().map(Value::as_f64).collect()
}

#[tokio::test]
async fn a_restart_forgets_nothing_that_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut mesh = Simulated::new(Some(dir.path()));
    for _ in 0..40 {
        mesh.tell(line(false, "web-v1", "api-v1", 15));
        mesh.tell(Line { code: 503, flags: "UF", ..line(true, "web-v1", "api-v1", 15) });
        mesh.pass(15);
    }
    let before = series(&mesh, "from=2026-01-01T00:00:00Z&to=2026-01-01T00:10:00Z&points=10").await;
    assert_eq!(rps(&before), [Some(2.0); 10]);
    drop(mesh);
    // Two minutes nobody was there.
    let mesh = Simulated::at(Some(dir.path()), T0 + 720_000, Options::default());
    let after = series(&mesh, "from=2026-01-01T00:00:00Z&to=2026-01-01T00:10:00Z&points=10").await;
    assert_eq!((rps(&after), &after["series"][1], &after["notices"]), (rps(&before), &before["series"][1], &json!([])));
    let (_, graph) = mesh.get("/v1/graph?window=600&at=2026-01-01T00:10:00Z").await;
    assert_eq!(graph["edges"][0]["traffic"]["rps"], 2.0);
    assert_eq!(graph["edges"][0]["traffic"]["success"], 0.5);
    let mut mesh = mesh;
    mesh.tell(line(false, "web-v1", "api-v1", 15));
    mesh.pass(15);
    let (_, status) = mesh.get("/v1/observe").await;
    assert_eq!((&status["edges"], &status["outcomes"]), (&json!(2), &json!(2)), "names keep their numbers");
    assert_eq!(status["history"]["from"], "2026-01-01T00:00:00.000Z");
    assert!(status["history"]["bytes"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_coarse_step_that_ended_while_nobody_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut mesh = Simulated::new(Some(dir.path()));
    for _ in 0..16 {
        mesh.tell(line(false, "web-v1", "api-v1", 15));
        mesh.pass(15);
    }
    drop(mesh);
    let mesh = Simulated::at(Some(dir.path()), T0 + 400_000, Options::default());
    mesh.pass(1);
    drop(mesh);
    let mesh = Simulated::at(Some(dir.path()), T0 + 8 * HOUR, Options::default());
    let answer = series(&mesh, "from=2026-01-01T00:00:00Z&to=2026-01-01T00:05:00Z&points=1").await;
    assert_eq!(rps(&answer), [Some(0.8)], "240 requests in five minutes");
}

#[tokio::test]
async fn fine_steps_go_first_then_days() {
    let dir = tempfile::tempdir().unwrap();
    let mut mesh = Simulated::new(Some(dir.path()));
    mesh.tell(line(false, "web-v1", "api-v1", 300));
    mesh.pass(301);
    let since = |mesh: &Simulated| mesh.observe.0.history.as_ref().unwrap().since();
    assert_eq!(since(&mesh), (Some(T0), Some(T0)));
    drop(mesh);
    for (ahead, expected) in [(7 * HOUR, (None, Some(T0))), (15 * 24 * HOUR, (None, None))] {
        let mut mesh = Simulated::at(Some(dir.path()), T0 + ahead, Options::default());
        mesh.tell(line(false, "web-v1", "api-v1", 1));
        mesh.pass(16);
        let (medium, coarse) = since(&mesh);
        assert_eq!((medium.filter(|it| *it < T0 + HOUR), coarse), expected);
    }
}

#[test]
fn a_clock_that_jumps_ahead_is_not_believed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut mesh = Simulated::new(Some(dir.path()));
    mesh.tell(line(false, "web-v1", "api-v1", 300));
    mesh.pass(301);
    mesh.clock.advance(std::time::Duration::from_millis(365 * 24 * HOUR));
    let coarse = |mesh: &Simulated| mesh.observe.0.history.as_ref().unwrap().since().1;
    for (seconds, expected) in [(300, Some(T0)), (900, None)] {
        mesh.pass(seconds);
        mesh.tell(line(false, "web-v1", "api-v1", 1));
        mesh.pass(16);
        assert_eq!(coarse(&mesh).filter(|it| *it == T0), expected, "after {seconds} s");
    }
}

#[test]
fn no_more_bytes_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { history_bytes: 200_000, ..Options::default() };
    let mut mesh = Simulated::at(Some(dir.path()), T0, options);
    let names: Vec<&'static str> = (0..40).map(|n| &*Box::leak(format!("w{n}-v1").into_boxed_str())).collect();
    for round in 0..500u64 {
        for (n, name) in names.iter().enumerate() {
            mesh.tell(line(false, "web-v1", name, 1 + round * 7919 % (n as u64 + 100)));
        }
        mesh.pass(15);
        // Names are told anew with every line: streams are bounded too.
        if round % 50 == 49 {
            mesh.hang_up();
        }
    }
    let history = mesh.observe.0.history.as_ref().unwrap();
    let index = history.lock();
    assert!(index.bytes <= 182_000, "{}", index.bytes);
    assert_eq!(index.bytes, index.steps.values().sum::<u64>());
    let of = |code| index.steps.range((code, 0)..(code + 1, 0)).map(|(_, bytes)| *bytes).sum::<u64>();
    let (medium, coarse) = (of(1), of(2));
    drop(index);
    assert!(medium > 50_000 && coarse > 10_000, "both are kept: {medium} {coarse}");
}

#[tokio::test]
async fn a_file_that_is_torn_is_set_aside() {
    for (name, content) in [("history.redb", &b"no database at all"[..]), ("traces.redb", &[0u8; 5000][..])] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), content).unwrap();
        let mesh = Simulated::new(Some(dir.path()));
        assert_eq!(mesh.get("/v1/observe").await.1["history"]["state"], "ok");
        assert_eq!(fs::read(dir.path().join(format!("{name}.set-aside"))).unwrap(), content);
    }
    // Of another layout.
    let dir = tempfile::tempdir().unwrap();
    drop(File::open(dir.path(), "history.redb", LAYOUT + 1, T0).unwrap());
    drop(Simulated::new(Some(dir.path())));
    assert!(dir.path().join("history.redb.set-aside").exists());
    // Cut in the middle.
    let dir = tempfile::tempdir().unwrap();
    let mut mesh = Simulated::new(Some(dir.path()));
    mesh.tell(line(false, "web-v1", "api-v1", 300));
    mesh.pass(301);
    drop(mesh);
    let path = dir.path().join("history.redb");
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    let mesh = Simulated::new(Some(dir.path()));
    mesh.pass(16);
    assert_eq!(mesh.get("/v1/graph").await.0, 200);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _mesh = Simulated::new(Some(dir.path()));
    let shard = telemetry::Registry::new().shard();
    let second = crate::Observe::open(Some(dir.path()), Options::default(), base::Clock::system(), &shard);
    assert!(matches!(second.err(), Some(ObserveError::Locked { .. })));
}

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

fn frame(start: u64) -> (Step, Arc<Frame>) {
    (Step::Medium, Arc::new(Frame { start, rows: vec![(3, b"figures"[..].into())] }))
}

#[test]
fn a_full_disk_stops_history_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (full, path) = (Arc::new(AtomicBool::new(false)), dir.path().join("history.redb"));
    let (switch, at) = (full.clone(), path.clone());
    let open = move || {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&at);
        let backend = FileBackend::new(file.map_err(redb::StorageError::from)?)?;
        redb::Database::builder().create_with_backend(Failing(backend, switch.clone()))
    };
    let file = File::with(path, LAYOUT, Box::new(open), T0).unwrap();
    let (history, _) = History::with(file, 1 << 20, &mut Book::new(10, true), T0);
    let write = |start, now| history.write(&Write { frames: vec![frame(start)], ..Write::default() }, now);
    let count = || {
        let mut rows = 0;
        let span = Span { from: T0, to: T0 + HOUR };
        history.read(Step::Medium, span, None, &[], &mut |row| rows += usize::from(row == b"figures"));
        rows
    };
    assert!(write(T0, T0 + 15_000) && history.trouble().is_none());
    full.store(true, Ordering::Relaxed);
    assert!(!write(T0 + 15_000, T0 + 30_000));
    assert_eq!(history.trouble().as_deref(), Some("no space left on the disk"));
    full.store(false, Ordering::Relaxed);
    assert!(!write(T0 + 15_000, T0 + 60_000), "tried again after a minute");
    assert!(write(T0 + 15_000, T0 + 91_000) && history.trouble().is_none());
    assert_eq!(count(), 2);
    // What is measured again counts instead.
    assert!(write(T0 + 15_000, T0 + 92_000));
    assert_eq!(count(), 2);
    let mut only = 0;
    let groups = BTreeSet::from([3]);
    history.read(Step::Medium, Span { from: T0, to: T0 + HOUR }, Some(&groups), &[T0], &mut |_| only += 1);
    assert_eq!(only, 1);
}

#[test]
fn the_file_is_no_larger_than_allowed() {
    const MOST: u64 = 16 << 20;
    // Rows of a small mesh, of a large one, and such that do not fit into a page.
    for (groups, bytes, steps) in [(1, 40, 40_000), (7, 300, 8_000), (100, 2_200, 400), (20, 9_000, 400)] {
        let dir = tempfile::tempdir().unwrap();
        let (history, _) = History::open(dir.path(), MOST, &mut Book::new(10, true), T0).unwrap();
        let mut random = 42u64;
        let mut row = || -> Box<[u8]> {
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            };
            (0..bytes).map(|_| next()).collect()
        };
        let mut largest = 0;
        for batch in 0..steps / 4 {
            let frames = (0..4).map(|n| {
                let start = T0 + (batch * 4 + n) * 15_000;
                (Step::Medium, Arc::new(Frame { start, rows: (0..groups).map(|group| (group, row())).collect() }))
            });
            let write = Write { frames: frames.collect(), ..Write::default() };
            // All in one moment, so that it is the room alone that counts.
            assert!(history.write(&write, T0 + 1));
            largest = largest.max(history.bytes().0);
        }
        assert!(largest <= MOST, "rows of {bytes} bytes: {largest}");
        let since = history.since().0.unwrap();
        let kept = (T0 + steps * 15_000 - since) / 15_000 * u64::from(groups) * bytes;
        assert!(kept * 3 >= MOST || since == T0, "rows of {bytes} bytes: {kept} are kept");
    }
}
