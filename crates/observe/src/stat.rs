//! Figures in rows: by service, workload, app, namespace, route or edge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::book::{Kind, Outcome};
use crate::documents::{Stat, StatRow};
use crate::flow::{self, Flow, Told};
use crate::moment;
use crate::names::Security;
use crate::row::Cell;
use crate::tally::{Latency, Tally};
use crate::window::{Measure, Span, Window};

/// Which side of flows counts: calls that come in, or go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

/// What makes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Service,
    Workload,
    App,
    Namespace,
    Route,
    Edge,
}

impl By {
    pub const WORDS: [(&'static str, Self); 6] = [
        ("service", Self::Service),
        ("workload", Self::Workload),
        ("app", Self::App),
        ("namespace", Self::Namespace),
        ("route", Self::Route),
        ("edge", Self::Edge),
    ];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, by)| *by == self).map_or("", |(word, _)| word)
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct StatQuery {
    pub by: By,
    pub direction: Direction,
    /// Of rows of this namespace, this name (of routes: of this service); empty: any.
    pub namespace: String,
    pub name: String,
    /// Of flows from this workload, to this workload or service.
    pub from: Option<(String, String)>,
    pub to: Option<(String, String)>,
    pub at: Option<u64>,
    pub window_s: u64,
}

/// Namespace and name of a row, and what else tells it from others: caller and called of edges, service of routes.
type Key = (Arc<str>, Arc<str>, String, String);

#[derive(Default)]
struct Row {
    tally: Tally,
    latency: Latency,
    workloads: BTreeSet<(Arc<str>, Arc<str>)>,
    source_principal: Option<Arc<str>>,
    destination_principal: Option<Arc<str>>,
    security: Option<Security>,
}

/// Answers.
pub(crate) fn stat(window: &Window, query: &StatQuery) -> Stat {
    let flows = flow::flows(&window.outcomes, |outcome| query.wants(outcome));
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for told in flow::told(&flows, &window.sums) {
        query.add(&told, &mut rows);
    }
    let measure = window.measure;
    let rows = rows.into_iter().filter(|(_, row)| !row.tally.is_idle()).map(|(key, row)| query.row(key, row, measure));
    Stat {
        at: moment::shown(window.to),
        window_s: query.window_s,
        by: query.by.word().into(),
        rows: rows.collect(),
        notices: window.notices.clone(),
    }
}

impl StatQuery {
    /// The span that is asked for.
    pub fn span(&self, now: u64) -> Span {
        let to = self.at.unwrap_or(now).min(now);
        Span { from: to.saturating_sub(self.window_s * 1000), to }
    }

    fn wants(&self, outcome: &Outcome) -> bool {
        let names = &outcome.edge.names;
        let is = |wanted: &Option<(String, String)>, found: &[(&Arc<str>, &Arc<str>)]| {
            let Some((namespace, name)) = wanted else { return true };
            found.iter().any(|(ns, n)| ***ns == **namespace && ***n == **name)
        };
        is(&self.from, &[(&names.source.namespace, &names.source.name)])
            && is(
                &self.to,
                &[
                    (&names.destination.namespace, &names.destination.name),
                    (&names.service.namespace, &names.service.name),
                ],
            )
    }

    /// The row of a flow's outcome; none where it belongs to nobody.
    fn key(&self, flow: &Flow, outcome: &Outcome) -> Option<Key> {
        let outbound = self.direction == Direction::Outbound;
        let peer = if outbound { &flow.source } else { &flow.destination };
        let none = || (String::new(), String::new());
        let of = |namespace: &Arc<str>, name: &Arc<str>, (a, b): (String, String)| {
            Some((namespace.clone(), name.clone(), a, b)).filter(|(_, name, ..)| !name.is_empty())
        };
        match self.by {
            By::Service => of(&flow.service.namespace, &flow.service.name, none()),
            By::Workload => of(&peer.namespace, &peer.name, none()),
            By::App => of(&peer.namespace, peer.app(), none()),
            By::Namespace => {
                // What never arrived was for the service's namespace.
                let namespace = if peer.is_known() || outbound { &peer.namespace } else { &flow.service.namespace };
                of(namespace, namespace, none())
            }
            By::Route => {
                let Kind::Exchanges { route, .. } = &outcome.kind else { return None };
                of(&flow.service.namespace, route, (flow.service.name.to_string(), String::new()))
            }
            By::Edge => {
                let called = match flow.destination.is_known() {
                    true => flow.destination.shown(),
                    false if flow.service.is_known() => format!("{}/{}", flow.service.namespace, flow.service.name),
                    false => "unknown".to_owned(),
                };
                let caller = if flow.source.is_known() { flow.source.shown() } else { "unknown".to_owned() };
                let namespace =
                    if flow.destination.is_known() || outbound { &peer.namespace } else { &flow.service.namespace };
                Some((namespace.clone(), "".into(), caller, called))
            }
        }
    }

    fn fits(&self, key: &Key) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        // Edges have no name, and routes are asked for by their service.
        let name = match self.by {
            By::Edge => &self.name,
            By::Route => key.2.as_str(),
            _ => &key.1,
        };
        is(&self.namespace, &key.0) && is(&self.name, name)
    }

    fn add(&self, told: &Told<'_>, rows: &mut BTreeMap<Key, Row>) {
        // A sum over a service's callers counts what arrived once; a caller's own calls, and edges, stand for themselves.
        let once = self.direction == Direction::Inbound && self.by != By::Edge;
        let counted: Vec<(&Outcome, &Cell)> =
            if once { told.counted_once().collect() } else { told.counted().collect() };
        for &(outcome, cell) in &counted {
            if let Some(key) = self.key(told.flow, outcome).filter(|key| self.fits(key)) {
                rows.entry(key).or_default().count(told, outcome, cell);
            }
        }
        let caller = self.direction == Direction::Outbound || self.by == By::Edge;
        let seen = if caller { told.as_caller() } else { told.as_called() };
        for &(outcome, cell) in seen.iter().filter(|_| !counted.is_empty()) {
            if let Some(row) = self.key(told.flow, outcome).and_then(|key| rows.get_mut(&key)) {
                row.latency.add_all(&[(outcome, cell)]);
            }
        }
        if self.by == By::Edge {
            for (outcome, _) in told.all() {
                if let Some(row) = self.key(told.flow, outcome).and_then(|key| rows.get_mut(&key)) {
                    row.learn(outcome);
                }
            }
        }
    }

    fn row(&self, (namespace, name, a, b): Key, row: Row, measure: Measure) -> StatRow {
        let edge = self.by == By::Edge;
        let counts_workloads = matches!(self.by, By::Service | By::Namespace | By::App);
        let some = |text: Option<Arc<str>>| text.filter(|_| edge).map(|it| it.to_string());
        StatRow {
            namespace: namespace.to_string(),
            name: name.to_string(),
            service: (self.by == By::Route).then(|| a.clone()),
            from: edge.then_some(a),
            to: edge.then_some(b),
            source_principal: some(row.source_principal),
            destination_principal: some(row.destination_principal),
            security: row.security.filter(|_| edge).map(|it| it.word().into()),
            workloads: counts_workloads.then_some(row.workloads.len()),
            health: row.tally.health("").0,
            traffic: row.tally.traffic(&row.latency, measure),
        }
    }
}

impl Row {
    fn count(&mut self, told: &Told<'_>, outcome: &Outcome, cell: &Cell) {
        self.tally.add(outcome, cell);
        let peer = &told.flow.destination;
        if peer.is_known() {
            self.workloads.insert((peer.namespace.clone(), peer.name.clone()));
        }
    }

    fn learn(&mut self, outcome: &Outcome) {
        let names = &outcome.edge.names;
        for (known, told) in [
            (&mut self.source_principal, &names.source.principal),
            (&mut self.destination_principal, &names.destination.principal),
        ] {
            if !told.is_empty() {
                known.get_or_insert_with(|| told.clone());
            }
        }
        // The weakest counts; who does not know says nothing.
        let rank = |security| match security {
            Security::Unknown => 0,
            Security::MutualTls => 1,
            Security::None => 2,
        };
        if self.security.is_none_or(|known| rank(known) < rank(names.security)) {
            self.security = Some(names.security);
        }
    }
}
