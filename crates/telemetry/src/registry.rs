//! The registry: every family of every shard, for a scrape and for sweeping.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::expose::{self, Exposition};
use crate::family::{AnyTable, Desc, Family, Metric, Table};
use crate::metric::{Counter, Gauge, Histogram, Point};

/// Why a family cannot be declared. A mistake of the program, not of its user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// The name, or a label's name, is not one that Prometheus allows.
    #[error("metric `{family}`: `{name}` is not a name: expected letters, digits and `_`, not beginning with a digit")]
    Name {
        /// The family.
        family: String,
        /// The name in question.
        name: String,
    },
    /// Declared before with another type, other labels or other bounds.
    #[error(
        "metric `{family}` is declared twice with different types, labels or bounds: declare it once, alike in every shard"
    )]
    Conflict {
        /// The family.
        family: String,
    },
    /// The bounds of a histogram do not ascend.
    #[error("metric `{family}`: the bounds do not ascend: list each upper bound once, smallest first")]
    Bounds {
        /// The family.
        family: String,
    },
}

/// All families. Cheap to clone; clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry(Arc<Shared>);

/// The part of a registry that one worker counts in. Cheap to clone.
#[derive(Clone)]
pub struct Shard {
    shared: Arc<Shared>,
    id: u64,
}

#[derive(Default)]
pub(crate) struct Shared {
    families: Mutex<BTreeMap<String, Declared>>,
    labels: Mutex<HashSet<Arc<str>>>,
    shards: AtomicU64,
    /// The time of the last sweep: new series begin their idleness there.
    now: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family as all shards declare it.
pub(crate) struct Declared {
    pub(crate) kind: Kind,
    pub(crate) desc: Desc,
    bounds: Arc<[f64]>,
    tables: Vec<(u64, Arc<dyn AnyTable>, Arc<dyn Any + Send + Sync>)>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new shard. Take one per worker and keep it as long as the worker lives.
    pub fn shard(&self) -> Shard {
        Shard { shared: self.0.clone(), id: self.0.shards.fetch_add(1, Relaxed) }
    }

    /// All series as text, in the order of names and labels.
    pub fn expose(&self, wanted: &Exposition) -> String {
        expose::write(&self.0.families(), wanted)
    }

    /// The same, and behind it what stands in another registry: of this moment, and of no family of this one.
    pub fn expose_with(&self, momentary: &Registry, wanted: &Exposition) -> String {
        let mut text = expose::families(&self.0.families(), wanted);
        text.push_str(&expose::write(&momentary.0.families(), wanted));
        text
    }

    /// What counters or gauges of this family stand at, by their label values. Nothing for a family that is not declared or
    /// is one of histograms.
    pub fn values(&self, family: &str) -> Vec<(Arc<[Arc<str>]>, i64)> {
        let families = self.0.families();
        let points = families.get(family).map(Declared::points).unwrap_or_default();
        let value = |point| match point {
            Point::Count(count) => i64::try_from(count).ok(),
            Point::Level(level) => Some(level),
            Point::Buckets { .. } => None,
        };
        points.into_iter().filter_map(|(labels, point)| Some((labels, value(point)?))).collect()
    }

    /// Notices which series changed since the last sweep. One that did not for longer than `max_idle` is no longer
    /// shown until it changes again, and is forgotten once no handle of it is left. `now` is any clock that only moves
    /// forward (seconds matter); sweep a few times within `max_idle`. Series without labels stay, and so do gauges that are
    /// not zero or that somebody holds.
    pub fn sweep(&self, now: Duration, max_idle: Duration) {
        self.0.now.store(now.as_secs(), Relaxed);
        for family in self.0.families().values() {
            for (_, table, _) in &family.tables {
                table.sweep(now.as_secs(), max_idle.as_secs());
            }
        }
        self.0.labels().retain(|label| Arc::strong_count(label) > 1);
    }
}

impl Shard {
    /// Declares a family of counters; declared again, it is the same family.
    pub fn counters(&self, desc: Desc) -> Result<Family<Counter>, DeclareError> {
        self.declare(Kind::Counter, desc)
    }

    /// Declares a family of gauges.
    pub fn gauges(&self, desc: Desc) -> Result<Family<Gauge>, DeclareError> {
        self.declare(Kind::Gauge, desc)
    }

    /// Declares a family of histograms.
    pub fn histograms(&self, desc: Desc) -> Result<Family<Histogram>, DeclareError> {
        self.declare(Kind::Histogram, desc)
    }

    fn declare<M: Metric>(&self, kind: Kind, desc: Desc) -> Result<Family<M>, DeclareError> {
        check(&desc)?;
        let mut families = self.shared.families();
        let declared = families.entry(desc.name.clone()).or_insert_with(|| Declared {
            kind,
            bounds: desc.bounds.clone().into(),
            desc: desc.clone(),
            tables: Vec::new(),
        });
        let alike = declared.kind == kind
            && declared.desc.labels == desc.labels
            && (kind != Kind::Histogram || declared.desc.bounds == desc.bounds);
        let conflict = || DeclareError::Conflict { family: desc.name.clone() };
        if !alike {
            return Err(conflict());
        }
        if let Some((_, _, table)) = declared.tables.iter().find(|(shard, ..)| *shard == self.id) {
            let table = table.clone().downcast::<Table<M::Value>>().map_err(|_| conflict())?;
            return Ok(Family { table });
        }
        let table = Arc::new(Table::new(self.shared.clone(), &desc, declared.bounds.clone(), M::empty));
        declared.tables.push((self.id, table.clone(), table.clone()));
        Ok(Family { table })
    }
}

impl Shared {
    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Declared>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// One copy of each label value, however many series carry it.
    pub(crate) fn intern(&self, label: &str) -> Arc<str> {
        let mut labels = self.labels();
        if let Some(known) = labels.get(label) {
            return known.clone();
        }
        let label: Arc<str> = label.into();
        labels.insert(label.clone());
        label
    }
}

impl Declared {
    /// The family's series, summed over the shards, sorted by label values.
    pub(crate) fn points(&self) -> Vec<(Arc<[Arc<str>]>, Point)> {
        let zero = match self.kind {
            Kind::Counter => Point::Count(0),
            Kind::Gauge => Point::Level(0),
            Kind::Histogram => Point::Buckets { counts: vec![0; self.bounds.len() + 1], sum: 0.0 },
        };
        let mut points = Vec::new();
        for (_, table, _) in &self.tables {
            table.collect(&mut points, &zero);
        }
        points.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        points.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                add(&mut first.1, &later.1);
            }
            same
        });
        points
    }
}

fn add(total: &mut Point, part: &Point) {
    match (total, part) {
        (Point::Count(total), Point::Count(part)) => *total = total.wrapping_add(*part),
        (Point::Level(total), Point::Level(part)) => *total = total.wrapping_add(*part),
        (Point::Buckets { counts: totals, sum: total }, Point::Buckets { counts, sum }) => {
            totals.iter_mut().zip(counts).for_each(|(total, part)| *total = total.wrapping_add(*part));
            *total += sum;
        }
        _ => {}
    }
}

fn check(desc: &Desc) -> Result<(), DeclareError> {
    let family = || desc.name.clone();
    let well_named = |name: &str, colon: bool| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':'))
    };
    if !well_named(&desc.name, true) {
        return Err(DeclareError::Name { family: family(), name: family() });
    }
    if let Some(name) = desc.labels.iter().find(|name| !well_named(name, false)) {
        return Err(DeclareError::Name { family: family(), name: name.clone() });
    }
    if !desc.bounds.windows(2).all(|pair| pair[0] < pair[1]) || desc.bounds.iter().any(|b| !b.is_finite()) {
        return Err(DeclareError::Bounds { family: family() });
    }
    Ok(())
}
