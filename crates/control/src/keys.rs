//! Key sets of those who sign tokens: fetched from where RequestAuthentications say, fetched again in time, and given to the
//! store; and beside them what LoginPolicies need. What a fetch that fails leaves are the keys that were there before.

mod client;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::istio::KeysAt;
use futures_util::future::join_all;
use telemetry::{Counter, Desc, Family, Shard};
use tokio::time::Instant;
use translate::{FetchedKeys, KeySets};

use crate::schedule::{Schedule, until_due};
use crate::store::Store;

pub use client::Client;

/// When keys are fetched again.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// After a fetch that brought them.
    pub refresh: Duration,
    /// After one that did not; twice as long after the next, up to [`Times::refresh`].
    pub retry: Duration,
}

/// Istio's time, and a second to begin with where it waits as long.
pub const TIMES: Times = Times { refresh: Duration::from_secs(20 * 60), retry: Duration::from_secs(1) };

/// After this time a secret that cookies are signed with is made anew: everybody has to log in again then.
const SECRET_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// A set that is asked for.
#[derive(Debug, Default)]
struct Known {
    keys: FetchedKeys,
    schedule: Schedule,
}

/// What is counted.
#[derive(Clone)]
pub struct Metrics(Family<Counter>);

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let fetches =
            Desc::new("halcyon_keys_fetches_total", "Attempts to fetch a key set of tokens, by what came of it.");
        Ok(Self(shard.counters(fetches.labels(&["result"]))?.shown(&["ok", "failed"])))
    }
}

/// Keeps the keys of the store's documents, for as long as it runs.
pub async fn follow(store: Store, client: Client, times: Times, metrics: Metrics) {
    let mut versions = store.watch();
    let mut known = BTreeMap::<KeysAt, Known>::new();
    loop {
        let world = versions.borrow_and_update().world.clone();
        let asked = world.keys_asked();
        known.retain(|at, _| asked.contains_key(at));
        for at in asked.keys().filter(|at| world.key_sets.contains_key(at.uri())) {
            // What an earlier control plane had counts until there is something newer.
            known.entry(at.clone()).or_insert_with(|| Known::had(at, &world.key_sets[at.uri()]));
        }
        let now = Instant::now();
        let is_due = |at: &KeysAt| known.get(at).is_none_or(|known| known.schedule.is_due(now));
        let due = asked.iter().filter(|(at, _)| is_due(at));
        let fetched = join_all(due.map(async |(at, timeout)| (at.clone(), client.keys(at, *timeout).await))).await;
        for (at, result) in fetched {
            metrics.0.with(&[if result.is_ok() { "ok" } else { "failed" }]).inc();
            known.entry(at.clone()).or_default().take(&at, result, times);
        }
        let sets: KeySets =
            Arc::new(known.iter().map(|(at, known)| (at.uri().to_owned(), known.keys.clone())).collect());
        if sets != world.key_sets
            && let Err(error) = store.key_sets(sets).await
        {
            tracing::error!("keys of tokens: {error}");
        }
        if !until_due(known.values().map(|known| &known.schedule), &mut versions).await {
            return;
        }
    }
}

impl Known {
    /// What an earlier control plane had. A secret that was made is not made anew before its time.
    fn had(at: &KeysAt, keys: &FetchedKeys) -> Self {
        let made = keys.set.as_ref().filter(|_| matches!(at, KeysAt::Made(_)));
        let made = made.and_then(|set| Some(UNIX_EPOCH + Duration::from_secs(set.split_once(' ')?.0.parse().ok()?)));
        let left = made.map(|made| (made + SECRET_LIFE).duration_since(SystemTime::now()).unwrap_or_default());
        Self { keys: keys.clone(), schedule: left.map_or_else(Schedule::default, Schedule::after) }
    }

    fn take(&mut self, at: &KeysAt, result: Result<String, String>, times: Times) {
        match result {
            Ok(set) => {
                self.keys = FetchedKeys { set: Some(set.into()), failure: None };
                self.schedule.fetched(if matches!(at, KeysAt::Made(_)) { SECRET_LIFE } else { times.refresh });
            }
            Err(reason) => {
                tracing::warn!("keys at {}: {reason}", at.uri());
                self.keys.failure = Some(reason);
                self.schedule.failed(times.retry, times.refresh);
            }
        }
    }
}
