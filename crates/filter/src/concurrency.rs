//! Refuses requests beyond as many at once as their latency allows (Envoy's `envoy.filters.http.adaptive_concurrency`).
//!
//! All workers share one controller. A request on its way in takes a place by two atomic reads and a write; on its way
//! out it adds its latency to a histogram of atomics. The one lock is around the controller's state, which is asked at
//! the ends of windows only. Controllers live on through changes of the configuration that do not touch their settings.

mod gradient;
mod samples;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use mesh_http::Body;
use model::AdaptiveConcurrency;
use telemetry::{Counter, Gauge, ResponseFlags};
use tokio::time::Instant;

use crate::chain::{Facts, Flow, HttpFilter};
use crate::draw::Draws;
use crate::local::LocalResponse;
use crate::stats::Stats;
use gradient::Gradient;
use samples::Samples;

/// The adaptive concurrency filter.
#[derive(Debug)]
pub(crate) struct ConcurrencyFilter {
    controller: Arc<Controller>,
}

impl ConcurrencyFilter {
    /// A filter over this controller.
    pub(crate) fn new(controller: Arc<Controller>) -> Self {
        Self { controller }
    }

    /// Its controller.
    pub(crate) fn controller(&self) -> &Arc<Controller> {
        &self.controller
    }
}

impl HttpFilter for ConcurrencyFilter {
    async fn on_request(&self, _request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let settings = &*self.controller.settings;
        if !settings.enabled {
            return Flow::Continue;
        }
        match self.controller.enter() {
            Some(place) => {
                facts.left.get_or_insert_default().places.add(place);
                Flow::Continue
            }
            None => Flow::Respond(Box::new(refusal(settings.status))),
        }
    }
}

fn refusal(status: u16) -> LocalResponse {
    LocalResponse {
        // Discovery has checked the range.
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        grpc_status: None,
        body: "reached concurrency limit".into(),
        headers: HeaderMap::new(),
        details: "reached_concurrency_limit".into(),
        why: None,
        flags: ResponseFlags::NONE,
    }
}

/// The places that an exchange has under limits. Most have none, and hold room for none.
///
/// Dropped, they are given back; whoever has answered the exchange to its end says so, by [`Places::complete`].
#[derive(Debug, Default)]
pub struct Places(Option<Box<(Place, Places)>>);

impl Places {
    fn add(&mut self, place: Place) {
        let others = std::mem::take(self);
        self.0 = Some(Box::new((place, others)));
    }

    /// The exchange was answered to its end: how long that took counts.
    pub fn complete(self) {
        let mut places = self;
        while let Some(held) = places.0 {
            let (place, others) = *held;
            place.controller.sample(place.begun);
            places = others;
        }
    }
}

/// A request's place under a limit.
#[derive(Debug)]
struct Place {
    controller: Arc<Controller>,
    begun: Duration,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.controller.under_way.fetch_sub(1, Relaxed);
    }
}

/// Settings, with the state that belongs to them.
pub(crate) struct Controller {
    settings: Arc<AdaptiveConcurrency>,
    /// Times count from here on.
    born: Instant,
    under_way: AtomicU32,
    samples: Samples,
    gradient: Mutex<Gradient>,
    /// What requests need to know of the state.
    limit: AtomicU32,
    /// Samples that end the present measuring; if there is none, no number of them does.
    needed: AtomicU32,
    /// In nanoseconds.
    due: AtomicU64,
    since: AtomicU64,
    blocked: Counter,
    gauges: Arc<Gauges>,
}

impl Controller {
    /// A controller for the settings, which begins anew.
    fn new(settings: Arc<AdaptiveConcurrency>, stats: &Stats, gauges: Arc<Gauges>) -> Arc<Self> {
        // Controllers that are born together should not all measure at the same moment.
        let draws = Draws::new(RandomState::new().hash_one(0));
        let gradient = Gradient::new(settings.clone(), draws);
        let controller = Self {
            born: Instant::now(),
            under_way: AtomicU32::new(0),
            samples: Samples::new(),
            limit: AtomicU32::new(0),
            needed: AtomicU32::new(u32::MAX),
            due: AtomicU64::new(0),
            since: AtomicU64::new(0),
            blocked: stats.concurrency_blocked.with(&[&stats.prefix]),
            gauges,
            settings,
            gradient: Mutex::new(gradient),
        };
        controller.publish(&controller.lock());
        Arc::new(controller)
    }

    /// A place for a request, if there is one.
    fn enter(self: &Arc<Self>) -> Option<Place> {
        let now = self.born.elapsed();
        self.advance(now);
        let limit = self.limit.load(Relaxed);
        let taken = self.under_way.fetch_update(Relaxed, Relaxed, |count| (count < limit).then_some(count + 1));
        if taken.is_err() {
            self.blocked.inc();
            return None;
        }
        Some(Place { controller: self.clone(), begun: now })
    }

    /// A request that began then is answered.
    fn sample(&self, begun: Duration) {
        let now = self.born.elapsed();
        self.advance(now);
        if nanos(begun) < self.since.load(Relaxed) {
            return;
        }
        self.samples.add(now.saturating_sub(begun).as_micros() as u64);
        if self.samples.count() >= self.needed.load(Relaxed) {
            let mut gradient = self.lock();
            gradient.sampled(now, &self.samples);
            self.publish(&gradient);
        }
    }

    /// Does what is due. Whoever comes while another is at it goes on without.
    fn advance(&self, now: Duration) {
        if nanos(now) < self.due.load(Relaxed) {
            return;
        }
        let mut gradient = match self.gradient.try_lock() {
            Ok(gradient) => gradient,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        gradient.advance(now, &self.samples);
        self.publish(&gradient);
    }

    fn lock(&self) -> MutexGuard<'_, Gradient> {
        // Nothing in there panics; and if it did, the state would still be one.
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody else.
    fn publish(&self, gradient: &Gradient) {
        self.limit.store(gradient.limit(), Relaxed);
        self.needed.store(gradient.needed().unwrap_or(u32::MAX), Relaxed);
        self.since.store(nanos(gradient.since()), Relaxed);
        self.due.store(nanos(gradient.due()), Relaxed);
        self.gauges.show(gradient);
    }
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, under_way) = (&self.limit, &self.under_way);
        f.debug_struct("Controller").field("limit", limit).field("under_way", under_way).finish_non_exhaustive()
    }
}

/// The controllers that a chain had before, for the filters of the next.
pub(crate) struct Controllers<'a> {
    left: Vec<&'a Arc<Controller>>,
    gauges: Option<Arc<Gauges>>,
}

impl<'a> Controllers<'a> {
    /// Those that there were.
    pub(crate) fn before(left: Vec<&'a Arc<Controller>>) -> Self {
        Self { gauges: left.first().map(|controller| controller.gauges.clone()), left }
    }

    /// The one for these settings: as before, or a new one.
    pub(crate) fn next(&mut self, settings: &Arc<AdaptiveConcurrency>, stats: &Stats) -> Arc<Controller> {
        let is_same = |own: &&Arc<Controller>| *own.settings == **settings && own.gauges.prefix == stats.prefix;
        if let Some(same) = self.left.iter().position(is_same) {
            return self.left.remove(same).clone();
        }
        // Who comes after another shows in its place what there is to show.
        let known = self.gauges.take().filter(|gauges| gauges.prefix == stats.prefix);
        let gauges = self.gauges.insert(known.unwrap_or_else(|| Gauges::new(stats)));
        Controller::new(settings.clone(), stats, gauges.clone())
    }
}

/// What is shown of a controller: Envoy's gauges. The last that wrote counts, where several have one prefix.
struct Gauges {
    prefix: Box<str>,
    limit: Gauge,
    is_measuring: Gauge,
    baseline: Gauge,
    sample: Gauge,
    gradient: Gauge,
    headroom: Gauge,
}

impl Gauges {
    /// The gauges under the prefix of `stats`.
    fn new(stats: &Stats) -> Arc<Self> {
        let gauge = |family: &telemetry::Family<Gauge>| family.with(&[&stats.prefix]);
        Arc::new(Self {
            prefix: stats.prefix.clone(),
            limit: gauge(&stats.concurrency_limit),
            is_measuring: gauge(&stats.concurrency_measuring),
            baseline: gauge(&stats.concurrency_baseline),
            sample: gauge(&stats.concurrency_sample),
            gradient: gauge(&stats.concurrency_gradient),
            headroom: gauge(&stats.concurrency_headroom),
        })
    }

    fn show(&self, gradient: &Gradient) {
        let last = gradient.last();
        self.limit.set(gradient.limit().into());
        self.is_measuring.set(gradient.needed().is_some().into());
        // In milliseconds.
        self.baseline.set((gradient.baseline() / 1000) as i64);
        self.sample.set((last.sample / 1000) as i64);
        // In thousandths.
        self.gradient.set((last.gradient * 1000.0) as i64);
        self.headroom.set(last.headroom as i64);
    }
}

impl Drop for Gauges {
    /// No filter is left that they would tell of.
    fn drop(&mut self) {
        let Self { prefix: _, limit, is_measuring, baseline, sample, gradient, headroom } = self;
        for gauge in [limit, is_measuring, baseline, sample, gradient, headroom] {
            gauge.set(0);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
