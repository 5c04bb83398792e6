//! Everything that was seen, behind one handle: what comes in, what is asked, and the ticks between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Clock;
use proto::halcyon::observe::v1 as wire;
use telemetry::Shard;
use tokio::sync::{Notify, watch};

use crate::book::Book;
use crate::disk::{History, Kept, Write};
use crate::documents::{ClusterList, ClusterRow, HistoryStatus, ObserveStatus, TracesStatus, UnhealthyEndpoint};
use crate::file::ObserveError;
use crate::ingest::{Stream, Teller};
use crate::metrics::Metrics;
use crate::moment;
use crate::options::Options;
use crate::prometheus::Prometheus;
use crate::series::SeriesCache;
use crate::table::Table;
use crate::taps::{TapFilter, Tapped, Taps, TooManyTaps};
use crate::traces::Traces;
use crate::window::Past;

/// Somebody watches for so long after a question.
const WATCHED_MS: u64 = 15_000;
/// How often proxies report, in ms: while somebody watches, and while nobody does.
const OFTEN: u32 = 1_000;
const SELDOM: u32 = 5_000;
/// Names that had no traffic for so long are forgotten; sooner where there are nearly too many.
const FORGET_MS: u64 = 14 * 24 * 3_600_000;
const SOONER_MS: u64 = 3_600_000;
const FORGET_EVERY_MS: u64 = 600_000;

/// What the mesh saw. Cheap to clone.
#[derive(Clone)]
pub struct Observe(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub clock: Clock,
    pub options: Options,
    pub metrics: Metrics,
    pub table: Mutex<Table>,
    pub history: Option<History>,
    pub traces: Traces,
    pub series: SeriesCache,
    pub prometheus: Option<Prometheus>,
    pub taps: Taps,
    pub tellers: Mutex<Tellers>,
    wanted: watch::Sender<wire::ReportResponse>,
    /// Streams of proxies end: the drain has begun.
    over: watch::Sender<bool>,
    watched: AtomicU64,
    forgot: AtomicU64,
    /// One writes to the disk at a time.
    writing: Mutex<()>,
}

/// Who tells now, by node.
#[derive(Default)]
pub(crate) struct Tellers {
    next: u64,
    pub seats: HashMap<String, Seat>,
}

/// The stream of one node.
pub(crate) struct Seat {
    number: u64,
    pub stream: Arc<Mutex<Stream>>,
    replaced: Arc<Notify>,
}

impl Observe {
    /// Opens what was kept in a directory, or keeps all in memory. Starts nothing: see [`Self::run`].
    ///
    /// # Errors
    /// [`ObserveError`] if another process has the files open, or this one may not. Files that are torn or of another
    /// layout are set aside, and a full disk stops history alone.
    pub fn open(dir: Option<&Path>, options: Options, clock: Clock, shard: &Shard) -> Result<Self, ObserveError> {
        let now = moment::millis(clock.now());
        let prometheus = options.prometheus.clone().map(Prometheus::new).transpose()?;
        let for_disk = dir.is_some() && options.prometheus.is_none();
        let mut book = Book::new(options.most_edges, for_disk);
        let (history, kept) = match dir.filter(|_| for_disk) {
            Some(dir) => {
                let (history, kept) = History::open(dir, options.history_bytes, &mut book, now)?;
                (Some(history), kept)
            }
            None => (None, Kept::default()),
        };
        let mut table = Table::new(book, now, for_disk);
        table.restore(kept.medium, &kept.coarse);
        let metrics = Metrics::new(shard)?;
        let traces = Traces::open(dir, &options, metrics.spans.clone(), now)?;
        Ok(Self(Arc::new(Inner {
            metrics,
            table: Mutex::new(table),
            history,
            traces,
            series: SeriesCache::default(),
            prometheus,
            taps: Taps::new(options.most_taps),
            tellers: Mutex::default(),
            wanted: watch::Sender::new(wire::ReportResponse { every_ms: SELDOM, taps: Vec::new() }),
            over: watch::Sender::new(false),
            watched: AtomicU64::new(0),
            forgot: AtomicU64::new(now),
            writing: Mutex::default(),
            clock,
            options,
        })))
    }

    /// Ticks until the drain begins: closes slots, writes to the disk, lets old things go. Then ends taps and proxies'
    /// streams, which would else hold their doors open. Holds the drain until what it has is written.
    pub async fn run(self, drain: base::drain::Watch) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut started = drain.started();
        loop {
            let last = tokio::select! {
                _ = ticks.tick() => false,
                () = &mut started => true,
            };
            let observe = self.clone();
            // The disk makes others wait, and rolling up a large mesh takes a moment.
            let _ = tokio::task::spawn_blocking(move || observe.tick()).await;
            if last {
                self.0.taps.close_all();
                self.0.over.send_replace(true);
                return;
            }
        }
    }

    /// What [`Self::run`] does once a second, for those who keep time themselves. Waits for the disk.
    pub fn tick(&self) {
        let now = self.now();
        let inner = &self.0;
        let _one = inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut write, pending, edges) = {
            let mut table = self.table();
            table.roll(now);
            let mut write = Write::default();
            let due = now.abs_diff(inner.forgot.load(Relaxed)) >= FORGET_EVERY_MS;
            if due {
                inner.forgot.store(now, Relaxed);
                (write.gone_edges, write.gone_outcomes) =
                    table.book.forget(now.saturating_sub(FORGET_MS), now.saturating_sub(SOONER_MS));
            }
            write.fresh = table.book.fresh();
            (write, table.pending(), table.book.len().0)
        };
        inner.metrics.edges.set(edges as i64);
        if let Some(history) = &inner.history
            && (!pending.is_empty() || !write.gone_edges.is_empty())
            && history.may_write(now)
        {
            write.frames = pending.iter().map(|it| (it.step, it.frame())).collect();
            if history.write(&write, now) {
                let mut table = self.table();
                table.written(&pending);
                table.book.written(write.fresh.len());
            }
            transport::memory::give_back();
        }
        inner.traces.tick(now);
        inner.metrics.traces.set(inner.traces.state().kept as i64);
        if let Some(history) = &inner.history {
            inner.metrics.history_stopped.set(i64::from(history.trouble().is_some()));
            inner.metrics.history_bytes.set(history.bytes().0 as i64);
        }
        self.tell_proxies();
    }

    /// Somebody asks: proxies report more often for a while.
    pub(crate) fn watched(&self) {
        self.0.watched.store(self.now() + WATCHED_MS, Relaxed);
        self.tell_proxies();
    }

    fn tell_proxies(&self) {
        let taps = self.0.taps.wire();
        let watched = self.now() < self.0.watched.load(Relaxed);
        let every_ms = if watched || !taps.is_empty() { OFTEN } else { SELDOM };
        let wanted = wire::ReportResponse { every_ms, taps };
        self.0.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            *now = wanted;
            changed
        });
    }

    /// What proxies are to tell, as it changes.
    pub(crate) fn wanted(&self) -> watch::Receiver<wire::ReportResponse> {
        self.0.wanted.subscribe()
    }

    /// Becomes true when proxies' streams are to end.
    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.0.over.subscribe()
    }

    /// Looks at single exchanges until the answer is dropped.
    ///
    /// # Errors
    /// [`TooManyTaps`].
    pub fn tap(&self, filter: &TapFilter) -> Result<Tapped, TooManyTaps> {
        let observe = Arc::downgrade(&self.0);
        let ended = move |id: &str| {
            if let Some(observe) = observe.upgrade().map(Self) {
                observe.0.taps.close(id);
                observe.tell_proxies();
            }
        };
        let tapped = self.0.taps.open(filter, Box::new(ended))?;
        self.tell_proxies();
        Ok(tapped)
    }

    /// A teller begins to tell; what its node told before is replaced. None if there are too many. Streams of proxies do
    /// so by themselves ([`Self::service`]): this is for tellers in this process, such as simulations.
    pub fn sit(&self, teller: Teller) -> Option<Sitting> {
        let mut tellers = self.tellers();
        let node = teller.node.clone();
        if tellers.seats.len() >= self.0.options.most_tellers && !tellers.seats.contains_key(&node) {
            return None;
        }
        tellers.next += 1;
        let number = tellers.next;
        let (stream, replaced) = (Arc::new(Mutex::new(Stream::new(teller))), Arc::<Notify>::default());
        let seat = Seat { number, stream: stream.clone(), replaced: replaced.clone() };
        if let Some(old) = tellers.seats.insert(node.clone(), seat) {
            old.replaced.notify_one();
        }
        self.0.metrics.tellers.set(tellers.seats.len() as i64);
        Some(Sitting { observe: self.clone(), node, number, stream, replaced, named: false })
    }

    /// What is known of the past now.
    pub(crate) fn past(&self) -> Past {
        let now = self.now();
        let shot = {
            let mut table = self.table();
            table.roll(now);
            table.snapshot(now)
        };
        Past::new(Arc::new(shot), self.0.history.clone())
    }

    /// How observing itself is.
    pub(crate) fn status(&self) -> ObserveStatus {
        let proxies = self.tellers().seats.len();
        let (edges, outcomes) = self.table().book.len();
        let past = self.past();
        let (reason, (bytes, most_bytes)) = match &self.0.history {
            Some(history) => (history.trouble(), history.bytes()),
            None => (None, (0, 0)),
        };
        let state = match (&self.0.options.prometheus, &reason) {
            (Some(_), _) => "prometheus",
            (None, Some(_)) => "stopped",
            (None, None) => "ok",
        };
        let traces = self.0.traces.state();
        ObserveStatus {
            proxies,
            edges,
            outcomes,
            history: HistoryStatus {
                state: state.into(),
                reason,
                from: Some(moment::shown(past.since())),
                bytes,
                most_bytes,
            },
            traces: TracesStatus {
                kept: traces.kept,
                bytes: traces.bytes,
                most_bytes: self.0.options.trace_bytes,
                dropped: traces.dropped,
            },
        }
    }

    /// Clusters as proxies see them: of a workload (`NAMESPACE/NAME`), a node, a service's host; empty: any.
    pub(crate) fn clusters(&self, workload: &str, node: &str, service: &str) -> ClusterList {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let mut clusters = Vec::new();
        for (of, seat) in &self.tellers().seats {
            let stream = seat.stream.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = format!("{}/{}", stream.teller.namespace, stream.teller.workload);
            if !is(node, of) || !is(workload, &shown) {
                continue;
            }
            let wanted = stream.clusters.values().filter(|(it, _)| is(service, &it.service_host));
            clusters.extend(wanted.map(|(it, at)| ClusterRow::of(of, &shown, it, *at)));
        }
        clusters.sort_by(|a, b| (&a.workload, &a.node, &a.name).cmp(&(&b.workload, &b.node, &b.name)));
        ClusterList { clusters }
    }

    pub(crate) fn now(&self) -> u64 {
        moment::millis(self.0.clock.now())
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tellers(&self) -> MutexGuard<'_, Tellers> {
        self.0.tellers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A teller's place; what stands because of it ends when it is dropped.
pub struct Sitting {
    observe: Observe,
    node: String,
    number: u64,
    stream: Arc<Mutex<Stream>>,
    replaced: Arc<Notify>,
    /// An edge of which it may not tell was named in the log.
    named: bool,
}

impl Sitting {
    /// Takes in a report.
    pub fn take(&mut self, report: &wire::ReportRequest) {
        let (observe, metrics) = (&self.observe, &self.observe.0.metrics);
        let now = observe.now();
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = {
            let mut table = observe.table();
            table.roll(now);
            stream.take(&mut table, report, now)
        };
        metrics.reports.inc();
        for (count, reason) in
            [(verdict.foreign, "foreign"), (verdict.malformed, "malformed"), (verdict.overflowed, "overflow")]
        {
            if count > 0 {
                metrics.refused.with(&[reason]).add(count);
            }
        }
        if let Some(edge) = verdict.such_as.filter(|_| !self.named) {
            let teller = &stream.teller;
            tracing::warn!(
                "{} (of {}/{}) tells of traffic that is not its own: {edge}; that is not taken, and not said again",
                teller.node,
                teller.namespace,
                teller.workload
            );
            self.named = true;
        }
        for told in &report.tapped {
            let names = told.edge.as_ref().and_then(|edge| stream.own(edge).ok());
            let Some(names) = names else {
                metrics.tapped.with(&["foreign"]).inc();
                continue;
            };
            let (shown, dropped) = observe.0.taps.give(&names, told);
            metrics.tapped.with(&["shown"]).add(shown);
            metrics.tapped.with(&["dropped"]).add(dropped);
        }
        report.losses.iter().for_each(|loss| observe.0.taps.lost(loss));
    }

    /// Notified when another stream of the same node has begun.
    pub(crate) fn replaced(&self) -> Arc<Notify> {
        self.replaced.clone()
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        {
            let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            stream.end(&mut self.observe.table());
        }
        let mut tellers = self.observe.tellers();
        if tellers.seats.get(&self.node).is_some_and(|seat| seat.number == self.number) {
            tellers.seats.remove(&self.node);
        }
        self.observe.0.metrics.tellers.set(tellers.seats.len() as i64);
    }
}

impl ClusterRow {
    fn of(node: &str, workload: &str, it: &wire::ClusterState, at: u64) -> Self {
        Self {
            node: node.to_owned(),
            workload: workload.to_owned(),
            name: it.name.clone(),
            service: it.service_host.clone(),
            subset: (!it.subset.is_empty()).then(|| it.subset.clone()),
            endpoints: it.endpoints,
            healthy: it.healthy,
            ejected: it.ejected,
            unhealthy: it
                .unhealthy
                .iter()
                .map(|out| UnhealthyEndpoint { address: out.address.clone(), flags: out.flags.clone() })
                .collect(),
            open_circuits: it.open_circuits.clone(),
            active_requests: it.active_requests,
            active_connections: it.active_connections,
            pending_requests: it.pending_requests,
            retries: it.retries,
            timeouts: it.timeouts,
            overflows: it.overflows,
            connect_failures: it.connect_failures,
            ejections: it.ejections,
            at: moment::shown(at),
        }
    }
}
