//! A family: one metric name, its label names, and its series in one shard.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::metric::{Buckets, Counter, Gauge, Histogram, Point, Series, Value};
use crate::registry::Shared;

/// The value of a label that a series does not have.
pub const NO_LABEL: &str = "\0";

/// The value that every label of the overflow series has.
pub(crate) const OVERFLOW: &str = "_overflow";

const DEFAULT_LIMIT: usize = 10_000;

/// How a family is declared.
#[derive(Debug, Clone)]
pub struct Desc {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) unit: Option<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) bounds: Vec<f64>,
    pub(crate) limit: usize,
}

impl Desc {
    /// A family of this name (counters by convention end in `_total`), explained by `help`.
    pub fn new(name: &str, help: &str) -> Self {
        Self {
            name: name.to_owned(),
            help: help.to_owned(),
            unit: None,
            labels: Vec::new(),
            bounds: crate::metric::DEFAULT_BUCKETS.to_vec(),
            limit: DEFAULT_LIMIT,
        }
    }

    /// The names of its labels.
    #[must_use]
    pub fn labels(mut self, names: &[&str]) -> Self {
        self.labels = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The unit, which the name must end in (`milliseconds`, `bytes`).
    #[must_use]
    pub fn unit(mut self, unit: &str) -> Self {
        self.unit = Some(unit.to_owned());
        self
    }

    /// The upper bounds of a histogram's buckets, ascending. Without it: [`DEFAULT_BUCKETS`](crate::DEFAULT_BUCKETS).
    #[must_use]
    pub fn bounds(mut self, bounds: &[f64]) -> Self {
        self.bounds = bounds.to_vec();
        self
    }

    /// Most series of the family in one shard; what comes beyond is counted in one series whose labels all read
    /// `_overflow`. 10,000.
    #[must_use]
    pub fn limit(mut self, series: usize) -> Self {
        self.limit = series;
        self
    }
}

/// The series of one metric in one shard. Cheap to clone.
pub struct Family<M: Metric> {
    pub(crate) table: Arc<Table<M::Value>>,
}

impl<M: Metric> Clone for Family<M> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone() }
    }
}

impl<M: Metric> Family<M> {
    /// The handle of the series with these label values, in the order of the label names; made if it is new.
    /// Not for the hot path: resolve once and keep the handle.
    ///
    /// # Panics
    /// If the number of values is not the number of label names.
    pub fn with(&self, labels: &[&str]) -> M {
        assert_eq!(labels.len(), self.table.label_count, "one value per label name");
        M::from_series(self.table.series(labels))
    }

    /// The same with further labels, name and value, in one order. Of the family's own, [`NO_LABEL`] stands for those that this
    /// series does not have.
    ///
    /// # Panics
    /// As [`Self::with`].
    pub fn with_more(&self, labels: &[&str], more: &[(&str, &str)]) -> M {
        assert_eq!(labels.len(), self.table.label_count, "one value per label name");
        let flat: Vec<&str> =
            labels.iter().copied().chain(more.iter().flat_map(|(name, value)| [*name, *value])).collect();
        M::from_series(self.table.series(&flat))
    }

    /// The family with these series, of its one label, from the beginning: a scraper that never saw a series at zero does
    /// not see its first count as an increase.
    ///
    /// # Panics
    /// If the family has not one label.
    #[must_use]
    pub fn shown(self, values: &[&str]) -> Self {
        values.iter().for_each(|value| drop(self.with(&[value])));
        self
    }

    /// Series held now, hidden ones included.
    pub fn len(&self) -> usize {
        self.table.lock().count
    }

    /// Is there no series?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a series was refused because of the limit.
    pub fn overflowed(&self) -> u64 {
        self.table.overflowed.load(Relaxed)
    }
}

/// A kind of handle: [`Counter`], [`Gauge`] or [`Histogram`]. Not to be implemented elsewhere.
pub trait Metric: Sized + sealed::Sealed {
    #[doc(hidden)]
    type Value: Value;
    #[doc(hidden)]
    fn from_series(series: Arc<Series<Self::Value>>) -> Self;
    #[doc(hidden)]
    fn empty(bounds: &Arc<[f64]>) -> Self::Value;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Counter {}
    impl Sealed for super::Gauge {}
    impl Sealed for super::Histogram {}
}

macro_rules! metric {
    ($handle:ident, $value:ty, $bounds:ident => $empty:expr) => {
        impl Metric for $handle {
            type Value = $value;
            fn from_series(series: Arc<Series<$value>>) -> Self {
                Self(series)
            }
            fn empty($bounds: &Arc<[f64]>) -> $value {
                $empty
            }
        }
    };
}
metric!(Counter, AtomicU64, _bounds => AtomicU64::new(0));
metric!(Gauge, std::sync::atomic::AtomicI64, _bounds => std::sync::atomic::AtomicI64::new(0));
metric!(Histogram, Buckets, bounds => Buckets::new(bounds.clone()));

/// All series of a family in one shard.
pub(crate) struct Table<V> {
    shared: Arc<Shared>,
    label_count: usize,
    limit: usize,
    bounds: Arc<[f64]>,
    empty: fn(&Arc<[f64]>) -> V,
    hasher: RandomState,
    overflowed: AtomicU64,
    rows: Mutex<Rows<V>>,
}

pub(crate) struct Rows<V> {
    /// By the hash of the labels, so that looking up needs no copy of them.
    series: HashMap<u64, Vec<Arc<Series<V>>>>,
    count: usize,
}

impl<V: Value> Table<V> {
    pub(crate) fn new(shared: Arc<Shared>, desc: &Desc, bounds: Arc<[f64]>, empty: fn(&Arc<[f64]>) -> V) -> Self {
        Self {
            shared,
            label_count: desc.labels.len(),
            limit: desc.limit,
            bounds,
            empty,
            hasher: RandomState::new(),
            overflowed: AtomicU64::new(0),
            rows: Mutex::new(Rows { series: HashMap::new(), count: 0 }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rows<V>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn series(&self, labels: &[&str]) -> Arc<Series<V>> {
        let mut rows = self.lock();
        if let Some(found) = find(&rows, self.hash(labels), labels) {
            return found;
        }
        if rows.count < self.limit {
            return self.add(&mut rows, labels);
        }
        self.overflowed.fetch_add(1, Relaxed);
        let overflow = vec![OVERFLOW; self.label_count];
        find(&rows, self.hash(&overflow), &overflow).unwrap_or_else(|| self.add(&mut rows, &overflow))
    }

    fn add(&self, rows: &mut Rows<V>, labels: &[&str]) -> Arc<Series<V>> {
        let names = labels.iter().map(|label| self.shared.intern(label)).collect();
        let series = Arc::new(Series::new(names, (self.empty)(&self.bounds), self.shared.now()));
        rows.series.entry(self.hash(labels)).or_default().push(series.clone());
        rows.count += 1;
        series
    }

    fn hash(&self, labels: &[&str]) -> u64 {
        self.hasher.hash_one(labels)
    }
}

fn find<V>(rows: &Rows<V>, hash: u64, labels: &[&str]) -> Option<Arc<Series<V>>> {
    let bucket = rows.series.get(&hash)?;
    bucket.iter().find(|series| series.labels.iter().map(|l| &**l).eq(labels.iter().copied())).cloned()
}

/// A table whose kind of value does not matter.
pub(crate) trait AnyTable: Send + Sync {
    /// Adds every series that is shown to `points`.
    fn collect(&self, points: &mut Vec<(Arc<[Arc<str>]>, Point)>, zero: &Point);
    /// Hides what is idle and forgets what is idle and no longer held by anyone.
    fn sweep(&self, now: u64, max_idle: u64);
}

impl<V: Value> AnyTable for Table<V> {
    fn collect(&self, points: &mut Vec<(Arc<[Arc<str>]>, Point)>, zero: &Point) {
        for series in self.lock().series.values().flatten().filter(|series| series.is_shown()) {
            let mut point = zero.clone();
            series.value.add_to(&mut point);
            points.push((series.labels.clone(), point));
        }
    }

    fn sweep(&self, now: u64, max_idle: u64) {
        let mut rows = self.lock();
        rows.series.retain(|_, bucket| {
            bucket.retain(|series| {
                let is_held = Arc::strong_count(series) > 1;
                !series.sweep(now, max_idle, is_held) || is_held
            });
            !bucket.is_empty()
        });
        rows.count = rows.series.values().map(Vec::len).sum();
    }
}
