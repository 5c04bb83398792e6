//! The history on disk: frames of 15 s for hours and of five minutes for days, on [`sheets`], and the book of names.
//!
//! Keys ascend with time, so that writing appends; a question about few edges reads the sheets with the rows of their
//! groups alone.

mod sheets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::book::{Book, Edge, Kind, Outcome};
use crate::file::{File, ObserveError};
use crate::names::{EdgeNames, Peer, Protocol, Reporter, Security, Service};
use crate::row::Torn;
use crate::table::{Frame, MEDIUM_KEPT, Step};
use crate::window::Span;
use sheets::{Packer, Reader};

const LAYOUT: u64 = 2;
/// Steps of 15 s are kept for 6 h, those of 5 minutes for 14 days.
const MEDIUM_DAYS_MS: u64 = 6 * 3_600_000;
const COARSE_DAYS_MS: u64 = 14 * 24 * 3_600_000;
/// The file is larger than what lies in it: by its trees, by names, and by pages that were let go and wait to be used.
const OVERHEAD: f64 = 1.1;
/// A clock that goes on by more than that has jumped: nothing is taken for old for a while.
const JUMP: u64 = 3_600_000;
const CALM: u64 = 600_000;

/// Step, start, number of the sheet.
type Key = (u8, u64, u32);
const SHEETS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("sheets");
/// The room that it takes by step and start.
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
        writing.open_table(SHEETS)?;
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
            kept.medium.push(Frame { start, rows: Vec::new() });
        }
        let sheets = reading.open_table(SHEETS)?;
        show_all(&sheets, Step::Medium, recent, &[], &mut |start, group, row| {
            if let Ok(at) = kept.medium.binary_search_by_key(&start, |frame| frame.start) {
                kept.medium[at].rows.push((group, row.into()));
            }
        })?;
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
        let (mut table, mut steps) = (writing.open_table(SHEETS)?, writing.open_table(STEPS)?);
        let mut packer = Packer::new()?;
        let mut written = Vec::new();
        for (step, frame) in &write.frames {
            let key = (code(*step), frame.start);
            // After a clock that went back: what is measured now counts.
            if steps.get(key)?.is_some() {
                remove_sheets(&mut table, key)?;
            }
            let (sheets, room) = packer.sheets(frame)?;
            for (number, sheet) in (0..).zip(sheets) {
                table.insert((key.0, key.1, number), sheet)?;
            }
            steps.insert(key, room)?;
            written.push((key, room));
        }
        Ok(written)
    }

    fn let_go(&self, writing: &WriteTransaction, index: &mut Index, now: u64) -> Result<(), redb::Error> {
        let (mut table, mut steps) = (writing.open_table(SHEETS)?, writing.open_table(STEPS)?);
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
            remove_sheets(&mut table, key)?;
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
        let table = match database.begin_read()?.open_table(SHEETS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(groups) = groups else {
            return show_all(&table, step, span, skip, &mut |_, _, row| show(row));
        };
        let mut reader = Reader::new()?;
        for start in self.starts(step, span).into_iter().filter(|start| !skip.contains(start)) {
            show_groups(&table, &mut reader, (code(step), start), groups, show)?;
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

/// Shows start, group and row of all that there is in a span.
fn show_all(
    table: &ReadOnlyTable<Key, &'static [u8]>,
    step: Step,
    span: Span,
    skip: &[u64],
    show: &mut impl FnMut(u64, u32, &[u8]),
) -> Result<(), redb::Error> {
    let mut reader = Reader::new()?;
    let mut show_step = |reader: &mut Reader, start: Option<u64>| {
        let Some(start) = start else { return };
        for listed in reader.list().unwrap_or_default() {
            if let Some(row) = reader.row(&listed) {
                show(start, listed.group, row);
            }
        }
        reader.begin();
    };
    let (code, mut open) = (code(step), None);
    for sheet in table.range((code, span.from, 0)..(code, span.to, 0))? {
        let (key, sheet) = sheet?;
        let (_, start, number) = key.value();
        if open != Some(start) {
            show_step(&mut reader, open.take());
        }
        if !skip.contains(&start) {
            open = Some(start);
            reader.take(number, sheet.value());
        }
    }
    show_step(&mut reader, open);
    Ok(())
}

/// Shows the rows of these groups in a step.
fn show_groups(
    table: &ReadOnlyTable<Key, &'static [u8]>,
    reader: &mut Reader,
    (code, start): (u8, u64),
    groups: &BTreeSet<u32>,
    show: &mut impl FnMut(&[u8]),
) -> Result<(), redb::Error> {
    reader.begin();
    let take = |reader: &mut Reader, number: u32| -> Result<bool, redb::Error> {
        let sheet = table.get((code, start, number))?;
        Ok(sheet.map(|sheet| reader.take(number, sheet.value())).is_some())
    };
    let mut next = 0;
    let list = loop {
        if !take(reader, next)? {
            return Ok(());
        }
        match reader.list() {
            Ok(list) => break list,
            Err(Torn) => next += 1,
        }
    };
    for listed in list.iter().filter(|it| groups.contains(&it.group)) {
        for number in listed.sheets() {
            if !reader.has(number) {
                take(reader, number)?;
            }
        }
        if let Some(row) = reader.row(listed) {
            show(row);
        }
    }
    Ok(())
}

fn remove_sheets(table: &mut redb::Table<'_, Key, &'static [u8]>, (code, start): (u8, u64)) -> Result<(), redb::Error> {
    table.retain_in((code, start, 0)..=(code, start, u32::MAX), |_, _| false)?;
    Ok(())
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
