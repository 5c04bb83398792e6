//! What workers count for the control plane: how exchanges ended, by who talked to whom.
//!
//! Each worker has a ledger of its own and resolves a line of it once; counting is a few relaxed additions. Whoever
//! reports takes the counts away and leaves zero, so that no difference has to be remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::halcyon::observe::v1 as wire;
use telemetry::spread::{self, BUCKETS};

/// So many outcomes are told apart by one worker; of edges as many.
const MOST: usize = 10_000;

/// The ledgers of all workers.
#[derive(Default)]
pub(crate) struct Tally {
    ledgers: Mutex<Vec<Arc<Ledger>>>,
}

/// What one worker counts.
#[derive(Default)]
pub(crate) struct Ledger {
    edges: Mutex<HashMap<wire::Edge, Arc<EdgeLine>>>,
    outcomes: Mutex<HashMap<(usize, wire::Outcome), Arc<OutcomeLine>>>,
    untold: AtomicU64,
}

/// Who talks to whom, and what connections of raw bytes did there.
pub(crate) struct EdgeLine {
    /// The names; their number is not set.
    pub names: wire::Edge,
    /// Its number in the stream of reports.
    pub number: Number,
    /// Connections of raw bytes.
    pub connections: ConnectionCounts,
}

/// How exchanges of an edge ended.
pub(crate) struct OutcomeLine {
    /// Of this edge.
    pub edge: Arc<EdgeLine>,
    /// The names; their numbers are not set.
    pub names: wire::Outcome,
    /// Its number in the stream of reports.
    pub number: Number,
    buckets: [AtomicU32; BUCKETS],
    micros: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    request_messages: AtomicU64,
    response_messages: AtomicU64,
}

/// What connections of raw bytes did since it was last told.
#[derive(Default)]
pub(crate) struct ConnectionCounts {
    opened: AtomicU64,
    closed: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// Those that stand.
    open: AtomicU64,
}

/// An exchange that ended.
pub(crate) struct Ended {
    /// How long it took.
    pub duration: Duration,
    /// Of both bodies.
    pub bytes: [u64; 2],
    /// Messages of gRPC in both.
    pub messages: [u64; 2],
}

/// The number under which a stream of reports knows a line: that of the stream, and the line's in it.
#[derive(Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    /// The number in this stream, if it has one there.
    pub(crate) fn in_stream(&self, stream: u32) -> Option<u32> {
        let both = self.0.load(Relaxed);
        (both >> 32 == u64::from(stream)).then_some(both as u32)
    }

    /// From now on it has this one.
    pub(crate) fn set(&self, stream: u32, number: u32) {
        self.0.store(u64::from(stream) << 32 | u64::from(number), Relaxed);
    }
}

impl Tally {
    /// The ledger of a new worker.
    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        let ledger = Arc::<Ledger>::default();
        lock(&self.ledgers).push(ledger.clone());
        ledger
    }

    /// Every line of every ledger.
    pub(crate) fn lines(&self) -> (Vec<Arc<EdgeLine>>, Vec<Arc<OutcomeLine>>) {
        let (mut edges, mut outcomes) = (Vec::new(), Vec::new());
        for ledger in lock(&self.ledgers).iter() {
            edges.extend(lock(&ledger.edges).values().cloned());
            outcomes.extend(lock(&ledger.outcomes).values().cloned());
        }
        (edges, outcomes)
    }

    /// Takes away how many were not told apart from others, and so are told nowhere.
    pub(crate) fn take_untold(&self) -> u64 {
        lock(&self.ledgers).iter().map(|ledger| ledger.untold.swap(0, Relaxed)).sum()
    }

    /// Forgets lines that nobody counts on any more. What they counted must have been told.
    pub(crate) fn sweep(&self) {
        for ledger in lock(&self.ledgers).iter() {
            lock(&ledger.outcomes).retain(|_, line| Arc::strong_count(line) > 1 || !line.is_empty());
            lock(&ledger.edges).retain(|_, line| Arc::strong_count(line) > 1 || !line.connections.is_empty());
        }
    }
}

impl Ledger {
    /// The line of an edge; none if there are too many.
    pub(crate) fn edge(&self, names: wire::Edge) -> Option<Arc<EdgeLine>> {
        self.line(&self.edges, names, |names| EdgeLine {
            names,
            number: Number::default(),
            connections: ConnectionCounts::default(),
        })
    }

    /// The line of an outcome; none if there are too many.
    pub(crate) fn outcome(&self, edge: wire::Edge, names: wire::Outcome) -> Option<Arc<OutcomeLine>> {
        let edge = self.edge(edge)?;
        let key = (Arc::as_ptr(&edge) as usize, names);
        self.line(&self.outcomes, key, |(_, names)| OutcomeLine {
            edge,
            names,
            number: Number::default(),
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            micros: AtomicU64::default(),
            request_bytes: AtomicU64::default(),
            response_bytes: AtomicU64::default(),
            request_messages: AtomicU64::default(),
            response_messages: AtomicU64::default(),
        })
    }

    fn line<K: Hash + Eq + Clone, L>(
        &self,
        lines: &Mutex<HashMap<K, Arc<L>>>,
        key: K,
        make: impl FnOnce(K) -> L,
    ) -> Option<Arc<L>> {
        let mut lines = lock(lines);
        if let Some(line) = lines.get(&key) {
            return Some(line.clone());
        }
        if lines.len() >= MOST {
            return None;
        }
        let line = Arc::new(make(key.clone()));
        lines.insert(key, line.clone());
        Some(line)
    }

    /// Something happened that has no line.
    pub(crate) fn count_untold(&self) {
        self.untold.fetch_add(1, Relaxed);
    }
}

impl OutcomeLine {
    /// Counts an exchange.
    pub(crate) fn count(&self, ended: &Ended) {
        let micros = ended.duration.as_micros() as u64;
        self.buckets[spread::bucket(micros)].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
        for (counter, count) in [
            (&self.request_bytes, ended.bytes[0]),
            (&self.response_bytes, ended.bytes[1]),
            (&self.request_messages, ended.messages[0]),
            (&self.response_messages, ended.messages[1]),
        ] {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.buckets.iter().all(|count| count.load(Relaxed) == 0)
    }

    /// Takes away what was counted; none if that is nothing.
    pub(crate) fn take(&self, number: u32) -> Option<wire::Exchanges> {
        let mut told = wire::Exchanges { outcome: number, ..wire::Exchanges::default() };
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| count.load(Relaxed) > 0) {
            let count = u64::from(count.swap(0, Relaxed));
            told.requests += count;
            told.buckets.push(bucket as u32);
            told.counts.push(count);
        }
        if told.requests == 0 {
            return None;
        }
        told.micros = take(&self.micros);
        told.request_bytes = take(&self.request_bytes);
        told.response_bytes = take(&self.response_bytes);
        told.request_messages = take(&self.request_messages);
        told.response_messages = take(&self.response_messages);
        Some(told)
    }
}

impl ConnectionCounts {
    /// One stands.
    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
    }

    /// One is over.
    pub(crate) fn closed(&self) {
        self.closed.fetch_add(1, Relaxed);
        self.open.fetch_sub(1, Relaxed);
    }

    /// Bytes passed: to the client and from it.
    pub(crate) fn passed(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Relaxed);
        self.received.fetch_add(received, Relaxed);
    }

    fn is_empty(&self) -> bool {
        [&self.opened, &self.closed, &self.sent, &self.received, &self.open].iter().all(|it| it.load(Relaxed) == 0)
    }

    /// Takes away what was counted; none if nothing happened and nothing stands.
    pub(crate) fn take(&self, number: u32) -> Option<wire::Connections> {
        (!self.is_empty()).then(|| wire::Connections {
            edge: number,
            opened: take(&self.opened),
            closed: take(&self.closed),
            sent_bytes: take(&self.sent),
            received_bytes: take(&self.received),
            open: self.open.load(Relaxed),
        })
    }
}

fn take(counter: &AtomicU64) -> u64 {
    counter.swap(0, Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
