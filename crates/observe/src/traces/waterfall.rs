//! A trace as people read it: every span below its parent, brothers by their start.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::span::{Span, SpanKind};
use crate::documents::{Attribute, Trace, TraceEvent, TraceSpan};
use crate::moment;
use crate::tally::significant;

/// Clocks that differ by no more are as good as the same.
const SKEW_US: u64 = 1_000;

/// The document of a trace.
pub(crate) fn of(trace: u128, mut spans: Vec<Span>) -> Trace {
    spans.sort_by_key(|span| (span.start_us, span.kind != SpanKind::Client, span.id));
    let start = spans.iter().map(|span| span.start_us).min().unwrap_or(0);
    let end = spans.iter().map(Span::end_us).max().unwrap_or(0);
    let tree = Tree::of(&spans);
    let mut notices = Vec::new();
    if tree.missing > 0 {
        notices.push(format!(
            "{} of the spans have a parent that nobody told: it is late, or who is in between sends no spans",
            tree.missing
        ));
    }
    let early = (0..spans.len()).filter(|at| {
        let parent = tree.parent[*at].map(|parent| spans[parent].start_us);
        parent.is_some_and(|parent| spans[*at].start_us + SKEW_US < parent)
    });
    if early.count() > 0 {
        notices.push("some spans begin before their parents: clocks of the senders differ".to_owned());
    }
    let (order, circles) = tree.order();
    if circles > 0 {
        notices.push(format!("{circles} of the spans are their own ancestors; they stand at the end"));
    }
    Trace {
        trace_id: format!("{trace:032x}"),
        start: moment::shown(start / 1000),
        duration_ms: significant(end.saturating_sub(start) as f64 / 1000.0),
        spans: order.into_iter().map(|at| tree.document(at, start)).collect(),
        notices,
    }
}

/// Who is below whom, by place.
struct Tree<'a> {
    spans: &'a [Span],
    parent: Vec<Option<usize>>,
    /// The client's span, where a server's has the same id.
    shared: HashSet<usize>,
    missing: usize,
}

impl<'a> Tree<'a> {
    /// `spans` by start; of one id the client first.
    fn of(spans: &'a [Span]) -> Self {
        let mut outer: HashMap<u64, usize> = HashMap::new();
        let mut inner: HashMap<u64, usize> = HashMap::new();
        let mut by_rank: Vec<usize> = (0..spans.len()).collect();
        by_rank.sort_by_key(|at| (spans[*at].kind != SpanKind::Client, *at));
        for at in by_rank {
            outer.entry(spans[at].id).or_insert(at);
            inner.insert(spans[at].id, at);
        }
        let mut tree = Self { spans, parent: vec![None; spans.len()], shared: HashSet::new(), missing: 0 };
        for (at, span) in spans.iter().enumerate() {
            // Of two with one id the server's is below the client's, and what is below them is below the server's.
            if outer[&span.id] != at {
                tree.shared.insert(at);
                tree.parent[at] = Some(outer[&span.id]);
            } else if span.parent != 0 {
                tree.parent[at] = inner.get(&span.parent).copied().filter(|parent| *parent != at);
                tree.missing += usize::from(tree.parent[at].is_none());
            }
        }
        tree
    }

    /// Parents before children, and how many are in circles.
    fn order(&self) -> (Vec<usize>, usize) {
        let mut below: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        (0..self.spans.len()).for_each(|at| below.entry(self.parent[at]).or_default().push(at));
        let mut order = Vec::with_capacity(self.spans.len());
        let mut next: Vec<usize> = below.get(&None).into_iter().flatten().rev().copied().collect();
        let mut seen = vec![false; self.spans.len()];
        while let Some(at) = next.pop() {
            seen[at] = true;
            order.push(at);
            next.extend(below.get(&Some(at)).into_iter().flatten().rev().copied());
        }
        let circles: Vec<usize> = (0..self.spans.len()).filter(|at| !seen[*at]).collect();
        let count = circles.len();
        order.extend(circles);
        (order, count)
    }

    fn id(&self, at: usize) -> String {
        let id = format!("{:016x}", self.spans[at].id);
        if self.shared.contains(&at) { format!("{id}-{}", self.spans[at].kind.word()) } else { id }
    }

    fn document(&self, at: usize, start: u64) -> TraceSpan {
        let span = &self.spans[at];
        let list = |attributes: &[(String, String)]| {
            let attribute = |(key, value): &(String, String)| Attribute { key: key.clone(), value: value.clone() };
            attributes.iter().map(attribute).collect()
        };
        let told = (span.parent != 0).then(|| format!("{:016x}", span.parent));
        TraceSpan {
            span_id: self.id(at),
            parent_id: self.parent[at].map(|parent| self.id(parent)).or(told),
            service: span.service.clone(),
            name: span.name.clone(),
            kind: span.kind.word().into(),
            offset_us: span.start_us - start,
            duration_us: span.duration_us,
            error: span.error,
            message: (!span.message.is_empty()).then(|| span.message.clone()),
            attributes: list(&span.attributes),
            events: span
                .events
                .iter()
                .map(|event| TraceEvent {
                    offset_us: event.at_us.saturating_sub(start),
                    name: event.name.clone(),
                    attributes: list(&event.attributes),
                })
                .collect(),
        }
    }
}
