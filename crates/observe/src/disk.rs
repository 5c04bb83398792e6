//! The history on disk: frames of 15 s for hours and of five minutes for days, in rows by group, and the book of names.
//!
//! One row is the figures of the edges of one group in one step, as [`crate::row`] writes them, compressed. Keys ascend
//! with time, so that writing appends; a question about few edges reads the rows of their groups alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::book::{Book, Edge, Kind, Outcome};
use crate::file::{File, ObserveError};
use crate::names::{EdgeNames, Peer, Protocol, Reporter, Security, Service};
use crate::table::{Frame, MEDIUM_KEPT, Step};
use crate::window::Span;

const LAYOUT: u64 = 1;
/// Steps of 15 s are kept for 6 h, those of 5 minutes for 14 days.
const MEDIUM_DAYS_MS: u64 = 6 * 3_600_000;
const COARSE_DAYS_MS: u64 = 14 * 24 * 3_600_000;
/// A row is never larger than this when it is read.
const MOST_ROW: usize = 16 << 20;
/// Pages are not full, and their tree takes room too: the file is larger than what is in it by about this.
const OVERHEAD: f64 = 1.5;
/// zstd's quickest level but one: rows are small.
const LEVEL: i32 = 1;
/// A clock that goes on by more than that has jumped: nothing is taken for old for a while.
const JUMP: u64 = 3_600_000;
const CALM: u64 = 600_000;

type Key = (u8, u64, u32);
const ROWS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("rows");
/// Bytes by step and start.
const STEPS: TableDefinition<'_, (u8, u64), u64> = TableDefinition::new("steps");
const EDGES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("edges");
const OUTCOMES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("outcomes");
/// Numbers of edges and outcomes that were given so far.
const GIVEN: TableDefinition<'_, &str, u32> = TableDefinition::new("given");

/// The history. Cheap to clone.
#[derive(Clone)]
pub(crate) struct History(Arc<Inner>);

struct Inner {
    file: File,
    most_bytes: u64,
    index: Mutex<Index>,
}

/// What is on the disk.
#[derive(Default)]
struct Index {
    steps: BTreeMap<(u8, u64), u64>,
    bytes: u64,
    last_now: u64,
    calm_until: u64,
}

/// What the disk had when it was opened.
#[derive(Default)]
pub(crate) struct Kept {
    /// Frames of the last minutes.
    pub medium: Vec<Frame>,
    /// Starts of the coarse steps of the last hour.
    pub coarse: BTreeSet<u64>,
}

/// What is written at once.
#[derive(Default)]
pub(crate) struct Write {
    pub fresh: Vec<Arc<Outcome>>,
    pub frames: Vec<(Step, Arc<Frame>)>,
    pub gone_edges: Vec<u32>,
    pub gone_outcomes: Vec<u32>,
}

impl History {
    /// Opens the file and takes its names up into the book.
    pub fn open(dir: &Path, most_bytes: u64, book: &mut Book, now: u64) -> Result<(Self, Kept), ObserveError> {
        Ok(Self::with(File::open(dir, "history.redb", LAYOUT, now)?, most_bytes, book, now))
    }

    pub(crate) fn with(file: File, most_bytes: u64, book: &mut Book, now: u64) -> (Self, Kept) {
        let history = Self(Arc::new(Inner { file, most_bytes, index: Mutex::default() }));
        history.lock().last_now = now;
        let kept = history.0.file.with_database(now, |database| history.load(database, book, now));
        (history, kept.unwrap_or_default())
    }

    fn load(&self, database: &Database, book: &mut Book, now: u64) -> Result<Kept, redb::Error> {
        let writing = database.begin_write()?;
        for table in [EDGES, OUTCOMES] {
            writing.open_table(table)?;
        }
        writing.open_table(ROWS)?;
        writing.open_table(STEPS)?;
        writing.open_table(GIVEN)?;
        writing.commit()?;
        let reading = database.begin_read()?;
        let mut edges: HashMap<u32, Arc<Edge>> = HashMap::new();
        for row in reading.open_table(EDGES)?.iter()? {
            let (id, stored) = row?;
            if let Ok(stored) = serde_json::from_slice::<StoredEdge>(stored.value()) {
                edges.insert(id.value(), book.restore_edge(id.value(), stored.group, stored.names(), now));
            }
        }
        for row in reading.open_table(OUTCOMES)?.iter()? {
            let (id, stored) = row?;
            let Ok(stored) = serde_json::from_slice::<StoredOutcome>(stored.value()) else { continue };
            if let Some(edge) = edges.get(&stored.edge) {
                book.restore_outcome(id.value(), edge, stored.kind());
            }
        }
        let given = reading.open_table(GIVEN)?;
        let number = |of: &str| Ok::<_, redb::Error>(given.get(of)?.map_or(0, |it| it.value()));
        book.skip_to(number("outcomes")?, number("edges")?);
        {
            let mut index = self.lock();
            for row in reading.open_table(STEPS)?.iter()? {
                let (key, bytes) = row?;
                index.steps.insert(key.value(), bytes.value());
                index.bytes += bytes.value();
            }
        }
        let mut kept = Kept::default();
        let recent = Span { from: now.saturating_sub(MEDIUM_KEPT), to: now };
        for start in self.starts(Step::Medium, recent) {
            let mut frame = Frame { start, rows: Vec::new() };
            for row in reading.open_table(ROWS)?.range((1, start, 0)..=(1, start, u32::MAX))? {
                let (key, packed) = row?;
                if let Some(raw) = unpack(&mut zstd::bulk::Decompressor::new()?, packed.value()) {
                    frame.rows.push((key.value().2, raw.into()));
                }
            }
            kept.medium.push(frame);
        }
        kept.coarse = self.starts(Step::Coarse, Span { from: now.saturating_sub(JUMP), to: now }).into_iter().collect();
        Ok(kept)
    }

    /// Is there any use in writing now?
    pub fn may_write(&self, now: u64) -> bool {
        self.0.file.may_write(now)
    }

    /// Writes all of it, and lets go what is too old or too much. False if the disk did not take it.
    pub fn write(&self, write: &Write, now: u64) -> bool {
        let done = self.0.file.with_database(now, |database| {
            let mut writing = database.begin_write()?;
            // A file of hundreds of megabytes is open at once after a crash.
            writing.set_quick_repair(true);
            let steps = self.put(&writing, write)?;
            let mut index = self.lock();
            let mut after = Index { steps: index.steps.clone(), bytes: index.bytes, ..Index::default() };
            for (key, bytes) in steps {
                let before = after.steps.insert(key, bytes).unwrap_or(0);
                after.bytes = (after.bytes + bytes).saturating_sub(before);
            }
            (after.last_now, after.calm_until) = (now, index.calm_until);
            if now > index.last_now + JUMP {
                after.calm_until = now + CALM;
            }
            self.let_go(&writing, &mut after, now)?;
            writing.commit()?;
            *index = after;
            Ok(())
        });
        done.is_some()
    }

    fn put(&self, writing: &WriteTransaction, write: &Write) -> Result<Vec<((u8, u64), u64)>, redb::Error> {
        if !write.fresh.is_empty() {
            let (mut edges, mut outcomes) = (writing.open_table(EDGES)?, writing.open_table(OUTCOMES)?);
            let mut given = writing.open_table(GIVEN)?;
            for outcome in &write.fresh {
                let edge = &outcome.edge;
                if edges.get(edge.id)?.is_none() {
                    edges.insert(edge.id, json(&StoredEdge::of(edge)).as_slice())?;
                }
                outcomes.insert(outcome.id, json(&StoredOutcome::of(outcome)).as_slice())?;
            }
            let mut most = |of: &str, number: Option<u32>| -> Result<(), redb::Error> {
                let known = given.get(of)?.map_or(0, |it| it.value());
                given.insert(of, known.max(number.map_or(0, |number| number + 1)))?;
                Ok(())
            };
            most("outcomes", write.fresh.iter().map(|it| it.id).max())?;
            most("edges", write.fresh.iter().map(|it| it.edge.id).max())?;
        }
        if !write.gone_edges.is_empty() {
            let (mut edges, mut outcomes) = (writing.open_table(EDGES)?, writing.open_table(OUTCOMES)?);
            for id in &write.gone_edges {
                edges.remove(id)?;
            }
            for id in &write.gone_outcomes {
                outcomes.remove(id)?;
            }
        }
        let (mut rows, mut steps) = (writing.open_table(ROWS)?, writing.open_table(STEPS)?);
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        let mut written = Vec::new();
        for (step, frame) in &write.frames {
            let key = (code(*step), frame.start);
            // After a clock that went back: what is measured now counts.
            if steps.get(key)?.is_some() {
                remove_rows(&mut rows, key)?;
            }
            let mut bytes = 0;
            for (group, raw) in &frame.rows {
                let mut packed = (raw.len() as u32).to_le_bytes().to_vec();
                packed.extend(compressor.compress(raw)?);
                bytes += packed.len() as u64 + 13;
                rows.insert((key.0, key.1, *group), packed.as_slice())?;
            }
            steps.insert(key, bytes)?;
            written.push((key, bytes));
        }
        Ok(written)
    }

    fn let_go(&self, writing: &WriteTransaction, index: &mut Index, now: u64) -> Result<(), redb::Error> {
        let (mut rows, mut steps) = (writing.open_table(ROWS)?, writing.open_table(STEPS)?);
        let mut gone: Vec<(u8, u64)> = Vec::new();
        if now >= index.calm_until {
            for (step, kept) in [(Step::Medium, MEDIUM_DAYS_MS), (Step::Coarse, COARSE_DAYS_MS)] {
                let code = code(step);
                let old = index.steps.range((code, 0)..(code, now.saturating_sub(kept))).map(|(key, _)| *key);
                gone.extend(old);
            }
        }
        let most = (self.0.most_bytes as f64 / OVERHEAD) as u64;
        let mut bytes = index.bytes - gone.iter().map(|key| index.steps[key]).sum::<u64>();
        let of = |step| index.steps.range((code(step), 0)..=(code(step), u64::MAX));
        let mut coarse_bytes = of(Step::Coarse).map(|(_, bytes)| *bytes).sum::<u64>();
        let taken: BTreeSet<(u8, u64)> = gone.iter().copied().collect();
        let (mut medium, mut coarse) =
            [Step::Medium, Step::Coarse].map(|step| of(step).filter(|(key, _)| !taken.contains(key))).into();
        // The oldest goes first; but of days a quarter of the room is left.
        while bytes > most {
            let from_coarse = if coarse_bytes > most / 4 { coarse.next() } else { None };
            let is_coarse = from_coarse.is_some();
            let Some((key, size)) = from_coarse.or_else(|| medium.next()).or_else(|| coarse.next()) else { break };
            gone.push(*key);
            bytes = bytes.saturating_sub(*size);
            coarse_bytes = coarse_bytes.saturating_sub(if is_coarse { *size } else { 0 });
        }
        for key in gone {
            remove_rows(&mut rows, key)?;
            steps.remove(key)?;
            index.bytes -= index.steps.remove(&key).unwrap_or(0);
        }
        Ok(())
    }

    /// Shows the rows of a span, of these groups or of all, but for starts that are to be skipped.
    pub fn read(
        &self,
        step: Step,
        span: Span,
        groups: Option<&BTreeSet<u32>>,
        skip: &[u64],
        show: &mut impl FnMut(&[u8]),
    ) {
        let Some(database) = self.0.file.for_reading() else { return };
        // What cannot be read is a gap: writing finds out what is wrong, and says it.
        let _ = self.try_read(&database, step, span, groups, skip, show);
    }

    fn try_read(
        &self,
        database: &Database,
        step: Step,
        span: Span,
        groups: Option<&BTreeSet<u32>>,
        skip: &[u64],
        show: &mut impl FnMut(&[u8]),
    ) -> Result<(), redb::Error> {
        let rows = match database.begin_read()?.open_table(ROWS) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut unpacker = zstd::bulk::Decompressor::new()?;
        let mut show_row = |packed: &[u8]| {
            if let Some(raw) = unpack(&mut unpacker, packed) {
                show(&raw);
            }
        };
        let code = code(step);
        let Some(groups) = groups else {
            for row in rows.range((code, span.from, 0)..(code, span.to, 0))? {
                let (key, packed) = row?;
                if !skip.contains(&key.value().1) {
                    show_row(packed.value());
                }
            }
            return Ok(());
        };
        for start in self.starts(step, span).into_iter().filter(|start| !skip.contains(start)) {
            for group in groups {
                if let Some(packed) = rows.get((code, start, *group))? {
                    show_row(packed.value());
                }
            }
        }
        Ok(())
    }

    fn starts(&self, step: Step, span: Span) -> Vec<u64> {
        let code = code(step);
        self.lock().steps.range((code, span.from)..(code, span.to.max(span.from))).map(|(key, _)| key.1).collect()
    }

    /// The oldest start of steps of 15 s, and of 5 minutes.
    pub fn since(&self) -> (Option<u64>, Option<u64>) {
        let index = self.lock();
        let oldest = |step| {
            let code = code(step);
            index.steps.range((code, 0)..=(code, u64::MAX)).next().map(|(key, _)| key.1)
        };
        (oldest(Step::Medium), oldest(Step::Coarse))
    }

    /// Why it is not written, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.0.file.trouble()
    }

    /// The bytes that it takes, and may take.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.file.bytes(), self.0.most_bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn code(step: Step) -> u8 {
    match step {
        Step::Fine => 0,
        Step::Medium => 1,
        Step::Coarse => 2,
    }
}

fn remove_rows(rows: &mut redb::Table<'_, Key, &'static [u8]>, (code, start): (u8, u64)) -> Result<(), redb::Error> {
    let range = (code, start, 0)..=(code, start, u32::MAX);
    let keys: Vec<Key> = rows.range(range)?.map(|row| row.map(|(key, _)| key.value())).collect::<Result<_, _>>()?;
    for key in keys {
        rows.remove(key)?;
    }
    Ok(())
}

/// None if it is not what we packed.
fn unpack(unpacker: &mut zstd::bulk::Decompressor<'_>, packed: &[u8]) -> Option<Vec<u8>> {
    let (length, packed) = packed.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MOST_ROW {
        return None;
    }
    unpacker.decompress(packed, length).ok()
}

fn json(stored: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(stored).unwrap_or_default()
}

#[derive(Serialize, Deserialize)]
struct StoredEdge {
    group: u32,
    by_source: bool,
    protocol: String,
    security: String,
    source: [String; 6],
    destination: [String; 6],
    service: [String; 3],
}

#[derive(Serialize, Deserialize)]
struct StoredOutcome {
    edge: u32,
    /// None: connections.
    exchanges: Option<(String, u16, Option<u16>, String)>,
}

impl StoredEdge {
    fn of(edge: &Edge) -> Self {
        let names = &edge.names;
        let peer = |it: &Peer| {
            [&it.namespace, &it.name, &it.app, &it.version, &it.cluster, &it.principal].map(|text| text.to_string())
        };
        Self {
            group: edge.group,
            by_source: names.reporter == Reporter::Source,
            protocol: names.protocol.word().to_owned(),
            security: names.security.word().to_owned(),
            source: peer(&names.source),
            destination: peer(&names.destination),
            service: [&names.service.host, &names.service.name, &names.service.namespace].map(|text| text.to_string()),
        }
    }

    fn names(self) -> EdgeNames {
        let peer = |texts: [String; 6]| {
            let [namespace, name, app, version, cluster, principal] = texts.map(Arc::from);
            Arc::new(Peer { namespace, name, app, version, cluster, principal })
        };
        let [host, name, namespace] = self.service.map(Arc::from);
        EdgeNames {
            reporter: if self.by_source { Reporter::Source } else { Reporter::Destination },
            source: peer(self.source),
            destination: peer(self.destination),
            service: Arc::new(Service { host, name, namespace }),
            protocol: match &*self.protocol {
                "grpc" => Protocol::Grpc,
                "tcp" => Protocol::Tcp,
                _ => Protocol::Http,
            },
            security: match &*self.security {
                "mutual_tls" => Security::MutualTls,
                "none" => Security::None,
                _ => Security::Unknown,
            },
        }
    }
}

impl StoredOutcome {
    fn of(outcome: &Outcome) -> Self {
        let exchanges = match &outcome.kind {
            Kind::Exchanges { route, code, grpc, flags } => Some((route.to_string(), *code, *grpc, flags.to_string())),
            Kind::Connections => None,
        };
        Self { edge: outcome.edge.id, exchanges }
    }

    fn kind(self) -> Kind {
        match self.exchanges {
            Some((route, code, grpc, flags)) => {
                Kind::Exchanges { route: route.into(), code, grpc, flags: flags.into() }
            }
            None => Kind::Connections,
        }
    }
}

#[cfg(test)]
mod tests;
