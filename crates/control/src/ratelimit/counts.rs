//! Counts that this control plane keeps: in memory, those of long windows in the store too.
//!
//! They are written every few seconds and at the end. What came since is lost at a crash, and counts of windows of a minute
//! and less at every end: by the time that a control plane is back they are nearly over.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use base::Clock;
use serde::{Deserialize, Serialize};

use super::windows::Counter;
use crate::store::{Changes, Store, Table};

/// How often counts are written, and those of windows that are over forgotten.
const INTERVAL: Duration = Duration::from_secs(5);
/// Windows longer than this are kept over restarts.
const KEPT: u64 = 60;
/// A count takes some 200 bytes. With more than these somebody makes up values.
const MOST: usize = 1_000_000;

/// The counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    by_key: HashMap<String, Count>,
    /// Those of long windows that are not written yet.
    changed: HashSet<String>,
    /// Those of long windows that are over, and still written.
    over: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    hits: u64,
    ends: u64,
    is_kept: bool,
}

/// A count as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CountRow {
    /// How many came.
    pub hits: u64,
    /// When its window ends, in seconds since 1970.
    pub ends: u64,
}

/// There are so many counts that no more are taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} counts are kept already, and no more are taken until windows end")]
pub(crate) struct Full;

impl Counts {
    /// Those that were kept.
    pub fn new(rows: Vec<(String, CountRow)>, now: u64) -> Self {
        let counts = Self::default();
        let mut state = counts.state();
        for (key, CountRow { hits, ends }) in rows {
            match ends > now {
                true => _ = state.by_key.insert(key, Count { hits, ends, is_kept: true }),
                false => state.over.push(key),
            }
        }
        drop(state);
        counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics; and if it did, the counts would still be some that came.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to counts, and says how they are then.
    ///
    /// # Errors
    /// [`Full`]; nothing is added then.
    pub fn add<'c>(&self, counters: impl Iterator<Item = &'c Counter> + Clone) -> Result<Vec<u64>, Full> {
        let mut state = self.state();
        let State { by_key, changed, .. } = &mut *state;
        let fresh = counters.clone().filter(|counter| !by_key.contains_key(&counter.key)).count();
        if fresh > 0 && by_key.len() + fresh > MOST {
            return Err(Full);
        }
        let add = |counter: &Counter| {
            let is_kept = counter.window.seconds() > KEPT;
            let fresh = Count { hits: 0, ends: counter.ends, is_kept };
            let count = by_key.entry(counter.key.clone()).or_insert(fresh);
            count.hits = count.hits.saturating_add(counter.hits);
            if is_kept && counter.hits > 0 && !changed.contains(&counter.key) {
                changed.insert(counter.key.clone());
            }
            count.hits
        };
        Ok(counters.map(add).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state().by_key.len()
    }

    /// Forgets those whose windows are over, and gives what has to be written.
    fn changes(&self, now: u64) -> Option<Changes> {
        let mut state = self.state();
        let State { by_key, changed, over } = &mut *state;
        let mut changes = Changes::default();
        by_key.retain(|key, count| {
            let is_over = count.ends <= now;
            if is_over && count.is_kept {
                over.push(key.clone());
            }
            !is_over
        });
        let is_empty = over.is_empty() && changed.is_empty();
        over.drain(..).for_each(|key| changes.remove(Table::Counts, key));
        for key in changed.drain() {
            if let Some(count) = by_key.get(&key) {
                let row = CountRow { hits: count.hits, ends: count.ends };
                changes.put(Table::Counts, key, serde_json::to_vec(&row).unwrap_or_default());
            }
        }
        (!is_empty).then_some(changes)
    }

    /// Writes what is not written yet.
    pub async fn write(&self, store: &Store, clock: &Clock) {
        let Some(changes) = self.changes(seconds(clock)) else { return };
        if let Err(error) = store.keep(changes, Vec::new()).await {
            tracing::error!("counts of rate limits are not kept: {error}");
        }
    }
}

/// Seconds since 1970.
pub(super) fn seconds(clock: &Clock) -> u64 {
    clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Writes counts for as long as it runs.
pub(crate) async fn keep(counts: Counts, store: Store, clock: Clock) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        counts.write(&store, &clock).await;
    }
}

#[cfg(test)]
mod tests {
    use api::halcyon::Window;

    use super::*;

    fn counter(key: &str, window: Window, ends: u64) -> Counter {
        Counter { key: key.to_owned(), hits: 1, ends, window }
    }

    #[test]
    fn what_is_written_and_what_comes_back() {
        let counts = Counts::default();
        let day = counter("day", Window::Day, 100);
        let all = [day.clone(), counter("minute", Window::Minute, 60), counter("hour", Window::Hour, 50)];
        assert_eq!(counts.add(all.iter()), Ok(vec![1, 1, 1]));
        assert_eq!(counts.add([&day].into_iter()), Ok(vec![2]));
        let written = counts.changes(10).expect("some").of(Table::Counts);
        let mut rows: Vec<(String, CountRow)> =
            written.into_iter().map(|(key, row)| (key, serde_json::from_slice(&row).unwrap())).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let row = |hits, ends| CountRow { hits, ends };
        assert_eq!(rows, [("day".to_owned(), row(2, 100)), ("hour".to_owned(), row(1, 50))]);
        assert!(counts.changes(10).is_none(), "nothing is written twice");
        let back = Counts::new(rows, 55);
        assert_eq!(back.len(), 1, "what was over is not taken");
        assert_eq!(back.add([&day].into_iter()), Ok(vec![3]));
        assert_eq!(counts.len(), 3);
        assert!(counts.changes(60).is_some());
        assert_eq!(counts.len(), 1);
    }

    #[test]
    fn each_request_counts_once_whoever_asks_at_the_same_time() {
        let counts = Counts::default();
        let one = counter("k", Window::Day, 100);
        let ask = || (0..2000).filter(|_| counts.add([&one].into_iter()).unwrap()[0] <= 3000).count();
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 3000);
    }
}
