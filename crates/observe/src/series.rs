//! Figures over time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::book::{Kind, Outcome};
use crate::documents::{Series, SeriesAnswer, Traffic};
use crate::flow::{self, Flow, Told};
use crate::moment;
use crate::names::Peer;
use crate::row::Cell;
use crate::stat::Direction;
use crate::table::Step;
use crate::tally::{Latency, Tally};
use crate::window::{Measure, Past, Span, Sums, Window};

/// What a series is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    Mesh,
    Namespace(String),
    Workload(String, String),
    App(String, String),
    Service(String, String),
    /// Source's namespace and name, destination's namespace and name: a workload or a service.
    Edge([String; 4]),
}

/// What lines are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    Code,
    Source,
    Destination,
    Version,
    Route,
}

impl Split {
    pub const WORDS: [(&'static str, Self); 5] = [
        ("code", Self::Code),
        ("source", Self::Source),
        ("destination", Self::Destination),
        ("version", Self::Version),
        ("route", Self::Route),
    ];
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct SeriesQuery {
    pub of: Of,
    pub direction: Direction,
    /// Keys of [`Traffic`].
    pub metrics: Vec<String>,
    pub split: Option<Split>,
    pub span: Span,
    pub points: u64,
}

/// Lines beyond so many are those that had least.
const MOST_LINES: usize = 20;
/// What is wider than this many groups is read in five-minute steps where it is long.
const FEW_GROUPS: usize = 16;

/// Every figure of [`Traffic`] by its name in JSON.
pub(crate) const METRICS: [(&str, fn(&Traffic) -> Option<f64>); 17] = [
    ("requests", |it| Some(it.requests as f64)),
    ("rps", |it| Some(it.rps)),
    ("success", |it| it.success),
    ("rps4xx", |it| Some(it.rps4xx)),
    ("rps5xx", |it| Some(it.rps5xx)),
    ("noResponse", |it| Some(it.no_response)),
    ("grpcErrors", |it| Some(it.grpc_errors)),
    ("p50", |it| it.p50),
    ("p95", |it| it.p95),
    ("p99", |it| it.p99),
    ("mean", |it| it.mean),
    ("requestBytes", |it| Some(it.request_bytes)),
    ("responseBytes", |it| Some(it.response_bytes)),
    ("tcpSent", |it| Some(it.tcp_sent)),
    ("tcpReceived", |it| Some(it.tcp_received)),
    ("tcpOpened", |it| Some(it.tcp_opened)),
    ("tcpOpen", |it| Some(it.tcp_open as f64)),
];

/// The step that gives no more than so many points: a whole number of the steps in which that time is kept.
pub(crate) fn step_ms(span: Span, points: u64, finest: Step) -> u64 {
    let wanted = (span.to.saturating_sub(span.from)).div_ceil(points.max(1)).max(1);
    wanted.div_ceil(finest.ms()) * finest.ms()
}

/// What passed in a step, by label.
type Tallies = BTreeMap<String, (Tally, Latency)>;
type Key = (String, u64, u64);

/// Steps that are over, as they were told before.
#[derive(Default)]
pub(crate) struct SeriesCache(Mutex<(HashMap<Key, Arc<Tallies>>, usize)>);

/// The cache holds no more lines.
const MOST_CACHED: usize = 8_000;

impl SeriesCache {
    fn get(&self, key: &Key) -> Option<Arc<Tallies>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(key).cloned()
    }

    fn put(&self, key: Key, tallies: Arc<Tallies>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.1 > MOST_CACHED {
            *cache = Default::default();
        }
        cache.1 += 1 + tallies.len();
        cache.0.insert(key, tallies);
    }
}

/// What was told of the steps of a series: none where nothing is known. With what counts are divided by.
struct Steps {
    step: u64,
    ends: Vec<u64>,
    told: Vec<Option<(Arc<Tallies>, Measure)>>,
    notices: Vec<String>,
}

/// Answers from what we keep.
pub(crate) fn series(past: &Past, query: &SeriesQuery, cache: &SeriesCache) -> SeriesAnswer {
    let flows = flow::flows(&past.shot.outcomes, |outcome| query.wants(outcome));
    let groups = flow::groups(&flows);
    let asked = Span { to: query.span.to.min(past.shot.now), ..query.span };
    let start = asked.from.max(past.since()).min(asked.to);
    let mut finest = past.finest(start);
    if groups.len() > FEW_GROUPS && past.history.is_some() && asked.to - start > 3_600_000 {
        finest = Step::Coarse;
    }
    let step = step_ms(asked, query.points, finest);
    let mut sums = Sums::default();
    let mut told = Vec::new();
    for part in parts(asked, step) {
        if part.to <= past.since() {
            told.push(None);
            continue;
        }
        let covered = past.covered(part);
        let key = (query.key(), part.from, part.to);
        // What is over stays as it is: who asks every second for an hour waits for the last step alone.
        let is_over = part.to + Step::Medium.ms() <= past.shot.slot && past.since() <= part.from;
        let tallies = cache.get(&key).filter(|_| is_over).unwrap_or_else(|| {
            past.sum(covered, Some(&groups), &mut sums);
            let tallies = Arc::new(query.tallies(&flows, &sums));
            if is_over {
                cache.put(key, tallies.clone());
            }
            tallies
        });
        told.push(Some((tallies, Measure::of(covered.seconds()))));
    }
    let ends = parts(asked, step).map(|part| part.to).collect();
    query.document(asked, Steps { step, ends, told, notices: past.notices(asked, &[]) })
}

/// The parts of a span, with borders at whole steps.
pub(crate) fn parts(span: Span, step: u64) -> impl Iterator<Item = Span> {
    let first = span.from - span.from % step;
    (first..span.to).step_by(step as usize).map(move |from| Span { from, to: from + step })
}

/// Answers from windows that somebody else kept: one for each of [`parts`].
pub(crate) fn series_of(windows: &[Window], asked: Span, step: u64, query: &SeriesQuery) -> SeriesAnswer {
    let mut steps = Steps { step, ends: Vec::new(), told: Vec::new(), notices: Vec::new() };
    // All have the same outcomes.
    let outcomes = windows.first().map_or(&[][..], |window| &window.outcomes);
    let flows = flow::flows(outcomes, |outcome| query.wants(outcome));
    for window in windows {
        steps.ends.push(window.to);
        steps.told.push(Some((Arc::new(query.tallies(&flows, &window.sums)), window.measure)));
        steps.notices.extend(window.notices.iter().cloned());
    }
    query.document(asked, steps)
}

impl SeriesQuery {
    /// What tells it from others, but for its time.
    fn key(&self) -> String {
        format!("{:?} {:?} {:?}", self.of, self.direction, self.split)
    }

    fn wants(&self, outcome: &Outcome) -> bool {
        let names = &outcome.edge.names;
        let inbound = self.direction == Direction::Inbound;
        let peer = if inbound { &names.destination } else { &names.source };
        let is = |peer: &Peer, namespace: &str, name: &str| *peer.namespace == *namespace && *peer.name == *name;
        let serves =
            |namespace: &str, name: &str| *names.service.namespace == *namespace && *names.service.name == *name;
        match &self.of {
            Of::Mesh => true,
            Of::Namespace(namespace) => {
                *peer.namespace == **namespace
                    || (inbound && !peer.is_known() && *names.service.namespace == **namespace)
            }
            Of::Workload(namespace, name) => is(peer, namespace, name),
            Of::App(namespace, app) => *peer.namespace == **namespace && **peer.app() == **app,
            Of::Service(namespace, name) => serves(namespace, name),
            Of::Edge([source_namespace, source, namespace, name]) => {
                let from =
                    is(&names.source, source_namespace, source) || (source == "unknown" && !names.source.is_known());
                let to = match names.destination.is_known() {
                    true => is(&names.destination, namespace, name),
                    false => serves(namespace, name),
                };
                from && to
            }
        }
    }

    fn tallies(&self, flows: &[Flow], sums: &Sums) -> Tallies {
        let mut tallies = Tallies::new();
        for told in flow::told(flows, sums) {
            self.add(&told, &mut tallies);
        }
        tallies
    }

    fn document(&self, asked: Span, steps: Steps) -> SeriesAnswer {
        let Steps { step, ends, told, mut notices } = steps;
        let mut lines: BTreeMap<&str, BTreeMap<usize, Traffic>> = BTreeMap::new();
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for (at, told) in told.iter().enumerate() {
            let Some((tallies, measure)) = told else { continue };
            for (label, (tally, latency)) in &**tallies {
                *totals.entry(label).or_default() += tally.requests.max(tally.tcp_opened).max(1);
                lines.entry(label).or_default().insert(at, tally.traffic(latency, *measure));
            }
        }
        if lines.len() > MOST_LINES {
            let mut order: Vec<(u64, &str)> = totals.into_iter().map(|(label, total)| (total, label)).collect();
            order.sort_unstable();
            let small = order.len() - MOST_LINES;
            order.iter().take(small).for_each(|(_, label)| drop(lines.remove(label)));
            notices.push(format!("the {MOST_LINES} with most traffic are shown; {small} more are not"));
        }
        if lines.is_empty() && self.split.is_none() {
            lines.insert("", BTreeMap::new());
        }
        let quiet = Tally::default().traffic(&Latency::default(), Measure::of(1.0));
        let mut series = Vec::new();
        for metric in &self.metrics {
            let Some((_, figure)) = METRICS.iter().find(|(name, _)| name == metric) else { continue };
            for (label, line) in &lines {
                let value = |at: usize| told[at].as_ref().and_then(|_| figure(line.get(&at).unwrap_or(&quiet)));
                let label = self.split.map(|_| (*label).to_owned());
                series.push(Series { metric: metric.clone(), label, values: (0..ends.len()).map(value).collect() });
            }
        }
        SeriesAnswer {
            from: moment::shown(asked.from),
            to: moment::shown(asked.to),
            step_s: step / 1000,
            times: ends.iter().map(|end| end / 1000).collect(),
            series,
            notices,
        }
    }

    fn add(&self, told: &Told<'_>, tallies: &mut Tallies) {
        let once = self.direction == Direction::Inbound && !matches!(self.of, Of::Edge(_));
        let counted: Vec<(&Outcome, &Cell)> =
            if once { told.counted_once().collect() } else { told.counted().collect() };
        if counted.is_empty() {
            return;
        }
        for (outcome, cell) in counted {
            tallies.entry(self.label(outcome)).or_default().0.add(outcome, cell);
        }
        let caller = self.direction == Direction::Outbound || matches!(self.of, Of::Edge(_));
        for &(outcome, cell) in if caller { told.as_caller() } else { told.as_called() } {
            if let Some((_, latency)) = tallies.get_mut(&self.label(outcome)) {
                latency.add_all(&[(outcome, cell)]);
            }
        }
    }

    fn label(&self, outcome: &Outcome) -> String {
        let names = &outcome.edge.names;
        let shown = |peer: &Peer| if peer.is_known() { peer.shown() } else { "unknown".to_owned() };
        match (self.split, &outcome.kind) {
            (None, _) => String::new(),
            (Some(Split::Code), Kind::Exchanges { code: 0, .. }) => "-".to_owned(),
            (Some(Split::Code), Kind::Exchanges { code, .. }) => code.to_string(),
            (Some(Split::Route), Kind::Exchanges { route, .. }) => route.to_string(),
            (Some(Split::Code | Split::Route), Kind::Connections) => "tcp".to_owned(),
            (Some(Split::Source), _) => shown(&names.source),
            (Some(Split::Destination), _) => shown(&names.destination),
            (Some(Split::Version), _) => {
                let peer = if self.direction == Direction::Inbound { &names.destination } else { &names.source };
                if peer.version.is_empty() { shown(peer) } else { peer.version.to_string() }
            }
        }
    }
}
