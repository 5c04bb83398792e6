//! Keys that are fetched: kept for a while, for all workers.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use model::jwt::RemoteKeys;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::around::{Around, Get};
use crate::jwt::keys::{KeySet, Origin};
use crate::stats::Stats;

/// Keys that are fetched.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    held: ArcSwapOption<Held>,
    /// Who has it fetches; others wait for what comes of it.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Held {
    /// None: the last fetch failed.
    keys: Option<Arc<KeySet>>,
    until: Instant,
}

impl Fetched {
    /// The keys, fetched already or now. None: they cannot be had.
    pub async fn keys(
        self: &Arc<Self>,
        remote: &RemoteKeys,
        around: &dyn Around,
        stats: &Stats,
    ) -> Option<Arc<KeySet>> {
        match self.held.load_full() {
            Some(held) if Instant::now() < held.until => return held.keys.clone(),
            Some(held) if remote.beside.is_some() && held.keys.is_some() => {
                self.refresh(&held, remote, around, stats);
                return held.keys.clone();
            }
            _ => {}
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have fetched them meanwhile.
        if let Some(held) = self.held.load_full().filter(|held| Instant::now() < held.until) {
            return held.keys.clone();
        }
        let got = around.get(Get::of(remote)).await;
        self.keep(got, remote, stats)
    }

    /// Fetches them anew, while those that are there serve on.
    fn refresh(self: &Arc<Self>, held: &Held, remote: &RemoteKeys, around: &dyn Around, stats: &Stats) {
        // For as long as that may last, nobody else does.
        let meanwhile = Held { keys: held.keys.clone(), until: Instant::now() + remote.timeout };
        self.held.store(Some(Arc::new(meanwhile)));
        let (own, settings, stats) = (self.clone(), remote.clone(), stats.clone());
        around.get_beside(Get::of(remote), Box::new(move |got| drop(own.keep(got, &settings, &stats))));
    }

    fn keep(&self, got: Result<Bytes, String>, remote: &RemoteKeys, stats: &Stats) -> Option<Arc<KeySet>> {
        let read = got.ok().and_then(|body| KeySet::read(&body, Origin::Published)).map(Arc::new);
        let counter = if read.is_some() { &stats.keys_fetched } else { &stats.keys_failed };
        counter.with(&[&stats.prefix]).inc();
        let (keys, long) = match read {
            Some(keys) => (Some(keys), remote.cache_duration),
            // What was there before holds on where that is asked for, and only there.
            None => {
                let before = self.held.load_full().and_then(|held| held.keys.clone());
                (before.filter(|_| remote.beside.is_some()), remote.beside.unwrap_or(RemoteKeys::RETRY_AFTER))
            }
        };
        self.held.store(Some(Arc::new(Held { keys: keys.clone(), until: later(long) })));
        keys
    }
}

fn later(long: Duration) -> Instant {
    const LONGEST: Duration = Duration::from_secs(86_400 * 365);
    Instant::now() + long.min(LONGEST)
}
