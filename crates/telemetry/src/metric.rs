//! What is counted, and the handles that count. One series is one allocation that one worker writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// Envoy's default histogram bounds, for milliseconds and for bytes alike; so Istio's.
pub const DEFAULT_BUCKETS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A number that only grows. Cheap to clone; clones count the same series.
#[derive(Clone)]
pub struct Counter(pub(crate) Arc<Series<AtomicU64>>);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.value.fetch_add(n, Relaxed);
    }

    /// The count in this shard.
    pub fn get(&self) -> u64 {
        self.0.value.load(Relaxed)
    }
}

/// A number that goes up and down. Shards are summed: each worker counts its own part.
#[derive(Clone)]
pub struct Gauge(pub(crate) Arc<Series<AtomicI64>>);

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one away.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds `n`, which may be negative.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.value.fetch_add(n, Relaxed);
    }

    /// Sets this shard's part.
    #[inline]
    pub fn set(&self, n: i64) {
        self.0.value.store(n, Relaxed);
    }

    /// This shard's part.
    pub fn get(&self) -> i64 {
        self.0.value.load(Relaxed)
    }
}

/// Counts observations in buckets with fixed upper bounds, and sums them.
#[derive(Clone)]
pub struct Histogram(pub(crate) Arc<Series<Buckets>>);

impl Histogram {
    /// Counts `value`, in the unit of the family. What is not a number is left out.
    #[inline]
    pub fn observe(&self, value: f64) {
        if !value.is_nan() {
            self.0.value.observe(value);
        }
    }
}

/// One series in one shard. Alone on its cache lines, so that no other worker's counting slows this one.
#[repr(align(64))]
pub struct Series<V> {
    pub(crate) labels: Arc<[Arc<str>]>,
    pub(crate) value: V,
    /// What [`Value::mark`] was when the value was last seen to change, and when that was, in seconds.
    seen: AtomicU64,
    seen_at: AtomicU64,
    /// Not shown until the value changes again.
    idle: AtomicBool,
}

impl<V: Value> Series<V> {
    pub(crate) fn new(labels: Arc<[Arc<str>]>, value: V, now: u64) -> Self {
        let seen = AtomicU64::new(value.mark());
        Self { labels, value, seen, seen_at: AtomicU64::new(now), idle: AtomicBool::new(false) }
    }

    pub(crate) fn is_shown(&self) -> bool {
        !self.idle.load(Relaxed) || self.value.mark() != self.seen.load(Relaxed)
    }

    /// Notices activity since the last sweep; idle longer than `max_idle` seconds it is hidden. True if hidden. A series
    /// without labels stays: it is the only one of its family.
    pub(crate) fn sweep(&self, now: u64, max_idle: u64, is_held: bool) -> bool {
        let mark = self.value.mark();
        if mark != self.seen.swap(mark, Relaxed) {
            self.seen_at.store(now, Relaxed);
        }
        let idle = now.saturating_sub(self.seen_at.load(Relaxed)) > max_idle;
        let idle = idle && !self.labels.is_empty() && self.value.may_rest(is_held);
        self.idle.store(idle, Relaxed);
        idle
    }
}

/// What a series holds.
pub trait Value: Send + Sync + 'static {
    /// Changes whenever the value does.
    fn mark(&self) -> u64;
    /// May the series be hidden when nothing happens? A gauge still says something, and so does its zero as long as
    /// somebody holds it.
    fn may_rest(&self, _is_held: bool) -> bool {
        true
    }
    fn add_to(&self, point: &mut Point);
}

/// A series' value as summed over the shards.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    Count(u64),
    Level(i64),
    Buckets { counts: Vec<u64>, sum: f64 },
}

impl Point {
    pub(crate) fn is_used(&self) -> bool {
        match self {
            Self::Count(n) => *n != 0,
            Self::Level(n) => *n != 0,
            Self::Buckets { counts, .. } => counts.iter().any(|n| *n != 0),
        }
    }
}

impl Value for AtomicU64 {
    fn mark(&self) -> u64 {
        self.load(Relaxed)
    }
    fn add_to(&self, point: &mut Point) {
        if let Point::Count(sum) = point {
            *sum = sum.wrapping_add(self.load(Relaxed));
        }
    }
}

impl Value for AtomicI64 {
    fn mark(&self) -> u64 {
        self.load(Relaxed) as u64
    }
    fn may_rest(&self, is_held: bool) -> bool {
        !is_held && self.load(Relaxed) == 0
    }
    fn add_to(&self, point: &mut Point) {
        if let Point::Level(sum) = point {
            *sum = sum.wrapping_add(self.load(Relaxed));
        }
    }
}

/// Counts per bucket, not cumulative; the last is for what exceeds every bound.
pub struct Buckets {
    bounds: Arc<[f64]>,
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Buckets {
    pub(crate) fn new(bounds: Arc<[f64]>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    #[inline]
    fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }
}

impl Value for Buckets {
    fn mark(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).fold(0, u64::wrapping_add)
    }
    fn add_to(&self, point: &mut Point) {
        if let Point::Buckets { counts, sum } = point {
            for (total, count) in counts.iter_mut().zip(&self.counts) {
                *total = total.wrapping_add(count.load(Relaxed));
            }
            *sum += f64::from_bits(self.sum.load(Relaxed));
        }
    }
}
