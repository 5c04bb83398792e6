//! Traces: spans of many senders put together, bounded, searchable, kept over a restart.

pub(crate) mod digest;
mod disk;
pub(crate) mod doors;
pub(crate) mod otlp;
pub(crate) mod otlp_json;
pub(crate) mod span;
pub(crate) mod waterfall;
pub(crate) mod zipkin;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use telemetry::{Counter, Family};

use crate::documents::{Trace, TraceList};
use crate::file::ObserveError;
use crate::moment;
use crate::options::Options;
use digest::{Digest, TraceQuery};
use disk::Shelf;
use span::Span;

/// A trace has no more spans.
const MOST_SPANS: usize = 2_000;
/// A trace to which nothing came for so long is packed.
const REST_MS: u64 = 10_000;
/// What came is on the disk after this.
const WRITE_EVERY_MS: u64 = 5_000;

/// All traces.
pub(crate) struct Traces {
    most_bytes: u64,
    most: usize,
    spans: Family<Counter>,
    shelf: Option<Shelf>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    traces: HashMap<u128, Entry>,
    /// By the order in which they first came.
    order: BTreeMap<u64, u128>,
    next: u64,
    bytes: u64,
    dropped: u64,
    /// What the disk does not have as it is.
    dirty: BTreeSet<u128>,
    gone: BTreeSet<u128>,
    written: u64,
}

struct Entry {
    number: u64,
    /// How often spans were added.
    version: u64,
    touched: u64,
    bytes: u64,
    digest: Digest,
    spans: Body,
}

/// Spans as they came, or at rest.
enum Body {
    Open(Vec<Span>),
    Packed(Box<[u8]>),
}

/// How many there are.
pub(crate) struct TraceState {
    pub kept: usize,
    pub bytes: u64,
    pub dropped: u64,
}

impl Traces {
    pub fn open(dir: Option<&Path>, options: &Options, spans: Family<Counter>, now: u64) -> Result<Self, ObserveError> {
        let shelf = dir.map(|dir| Shelf::open(dir, now)).transpose()?;
        let mut kept = Kept { written: now, ..Kept::default() };
        for (trace, packed) in shelf.iter().flat_map(|shelf| shelf.all(now)) {
            let Some(spans) = disk::unpack(&packed) else { continue };
            kept.number(trace, Entry::packed(&spans, packed.into(), now));
        }
        let traces =
            Self { most_bytes: options.trace_bytes, most: options.most_traces, spans, shelf, kept: Mutex::new(kept) };
        traces.make_room(&mut traces.lock());
        Ok(traces)
    }

    /// Takes in spans; `malformed` were none. How many were kept.
    pub fn take(&self, spans: Vec<Span>, malformed: usize, now: u64) -> usize {
        let mut of: BTreeMap<u128, Vec<Span>> = BTreeMap::new();
        let all = spans.len();
        spans.into_iter().for_each(|span| of.entry(span.trace).or_default().push(span));
        let mut kept = self.lock();
        let mut dropped = 0;
        for (trace, spans) in of {
            dropped += kept.add(trace, spans, now);
        }
        kept.dropped += dropped as u64;
        self.make_room(&mut kept);
        for (count, result) in [(all - dropped, "kept"), (malformed, "malformed"), (dropped, "dropped")] {
            if count > 0 {
                self.spans.with(&[result]).add(count as u64);
            }
        }
        all - dropped
    }

    fn make_room(&self, kept: &mut Kept) {
        while kept.traces.len() > self.most || kept.bytes > self.most_bytes {
            let Some((_, trace)) = kept.order.pop_first() else { return };
            if let Some(entry) = kept.traces.remove(&trace) {
                kept.bytes -= entry.bytes;
                kept.dirty.remove(&trace);
                kept.gone.insert(trace);
            }
        }
    }

    /// Packs what rests and writes what is new. Waits for the disk.
    pub fn tick(&self, now: u64) {
        let (mut put, mut gone, mut versions) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut kept = self.lock();
            let kept = &mut *kept;
            for entry in kept.traces.values_mut().filter(|entry| now.abs_diff(entry.touched) >= REST_MS) {
                kept.bytes -= entry.bytes;
                entry.pack();
                kept.bytes += entry.bytes;
            }
            if self.shelf.is_none() {
                kept.dirty.clear();
                kept.gone.clear();
                return;
            }
            if now.abs_diff(kept.written) < WRITE_EVERY_MS || (kept.dirty.is_empty() && kept.gone.is_empty()) {
                return;
            }
            kept.written = now;
            gone.extend(kept.gone.iter().copied());
            for (trace, entry) in kept.dirty.iter().filter_map(|trace| Some((*trace, kept.traces.get(trace)?))) {
                put.push((trace, entry.bytes_packed()));
                versions.push(entry.version);
            }
        }
        let Some(shelf) = &self.shelf else { return };
        if shelf.write(&put, &gone, now) {
            let mut kept = self.lock();
            kept.gone.retain(|trace| !gone.contains(trace));
            for ((trace, _), version) in put.into_iter().zip(versions) {
                // What came since makes it other than what was written.
                if kept.traces.get(&trace).is_none_or(|entry| entry.version == version) {
                    kept.dirty.remove(&trace);
                }
            }
        }
    }

    /// Traces that fit, the newest first.
    pub fn list(&self, query: &TraceQuery) -> TraceList {
        let kept = self.lock();
        let mut found: Vec<(&u128, &Entry)> =
            kept.traces.iter().filter(|(_, entry)| query.fits(&entry.digest)).collect();
        found.sort_by_key(|(trace, entry)| (std::cmp::Reverse(entry.digest.start_us), **trace));
        let mut traces = Vec::new();
        let mut more = false;
        for (trace, entry) in found {
            if query.needs_spans() && !query.fits_spans(&entry.spans()) {
                continue;
            }
            if traces.len() == query.limit {
                more = true;
                break;
            }
            traces.push(entry.digest.summary(*trace));
        }
        let services: BTreeSet<&str> = kept.traces.values().flat_map(|it| it.digest.service_names()).collect();
        TraceList {
            traces,
            more,
            kept: kept.traces.len(),
            oldest: kept.traces.values().map(|it| it.digest.start_us).min().map(|us| moment::shown(us / 1000)),
            services: services.into_iter().take(1_000).map(str::to_owned).collect(),
        }
    }

    /// One trace.
    pub fn get(&self, trace: u128) -> Option<Trace> {
        let spans = self.lock().traces.get(&trace)?.spans();
        Some(waterfall::of(trace, spans))
    }

    pub fn state(&self) -> TraceState {
        let kept = self.lock();
        TraceState { kept: kept.traces.len(), bytes: kept.bytes, dropped: kept.dropped }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn number(&mut self, trace: u128, mut entry: Entry) {
        self.next += 1;
        entry.number = self.next;
        self.bytes += entry.bytes;
        self.order.insert(self.next, trace);
        self.traces.insert(trace, entry);
    }

    /// Adds spans to a trace; gives how many were too many.
    fn add(&mut self, trace: u128, fresh: Vec<Span>, now: u64) -> usize {
        self.dirty.insert(trace);
        self.gone.remove(&trace);
        let Some(entry) = self.traces.get_mut(&trace) else {
            let (mut spans, mut dropped) = (Vec::new(), 0);
            fresh.into_iter().for_each(|span| dropped += put(&mut spans, span));
            self.number(trace, Entry::open(spans, now));
            return dropped;
        };
        let (mut spans, mut dropped) = (entry.spans(), 0);
        fresh.into_iter().for_each(|span| dropped += put(&mut spans, span));
        self.bytes -= entry.bytes;
        let (number, version) = (entry.number, entry.version + 1);
        *entry = Entry { number, version, ..Entry::open(spans, now) };
        self.bytes += entry.bytes;
        dropped
    }
}

/// Adds a span, or puts it in the place of what was told of the same before; gives 1 if it was too many.
fn put(spans: &mut Vec<Span>, span: Span) -> usize {
    // Zipkin's client and server may have one id between them.
    if let Some(known) = spans.iter_mut().find(|it| it.id == span.id && it.kind == span.kind) {
        *known = span;
        return 0;
    }
    if spans.len() >= MOST_SPANS {
        return 1;
    }
    spans.push(span);
    0
}

impl Entry {
    fn open(spans: Vec<Span>, now: u64) -> Self {
        let bytes = spans.iter().map(Span::bytes).sum::<usize>() as u64 + 512;
        Self { number: 0, version: 0, touched: now, bytes, digest: Digest::of(&spans), spans: Body::Open(spans) }
    }

    fn packed(spans: &[Span], packed: Box<[u8]>, now: u64) -> Self {
        let digest = Digest::of(spans);
        Self {
            number: 0,
            version: 0,
            touched: now,
            bytes: packed.len() as u64 + digest.bytes(),
            digest,
            spans: Body::Packed(packed),
        }
    }

    fn pack(&mut self) {
        if let Body::Open(spans) = &self.spans {
            let packed: Box<[u8]> = disk::pack(spans).into();
            self.bytes = packed.len() as u64 + self.digest.bytes();
            self.spans = Body::Packed(packed);
        }
    }

    fn bytes_packed(&self) -> Vec<u8> {
        match &self.spans {
            Body::Open(spans) => disk::pack(spans),
            Body::Packed(packed) => packed.to_vec(),
        }
    }

    fn spans(&self) -> Vec<Span> {
        match &self.spans {
            Body::Open(spans) => spans.clone(),
            Body::Packed(packed) => disk::unpack(packed).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
