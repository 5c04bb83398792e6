//! How Istio's metrics are counted where a Telemetry says that they are counted otherwise: without some labels, with others, or
//! not at all.
//!
//! A label that is set is an expression about the exchange, so it is evaluated for each; labels with one text are one
//! series. A text that is not there is `unknown`, as in Istio.

use std::sync::Arc;

use expression::Expression;
use model::metrics::{Metric, MetricRule, MetricRules};
use telemetry::{Family, NO_LABEL};

use super::ends::ENDS;
use crate::attributes::Attributes;

/// The labels of requests that stand behind those of both ends.
pub(super) const OF_REQUESTS: [&str; 3] = ["response_code", "grpc_response_status", "response_flags"];
/// The labels of connections that do.
pub(super) const OF_CONNECTIONS: [&str; 1] = ["response_flags"];

const UNKNOWN: &str = "unknown";

/// What differs from the default on a filter chain, compiled.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Each once, whatever how many metrics have it as a label.
    expressions: Vec<Expression>,
    metrics: Vec<(Metric, Labels)>,
}

/// How a metric is counted.
#[derive(Debug)]
struct Labels {
    dropped: bool,
    /// Labels of its own that are taken away or set, by their place.
    own: Vec<(usize, Option<usize>)>,
    /// Further labels, with the expression of each.
    more: Vec<(Arc<str>, usize)>,
}

/// What the expressions of a shape come to for an exchange.
pub(super) type Said = Box<[Box<str>]>;

impl Shape {
    /// Compiles rules; none where nothing is said.
    pub(crate) fn new(rules: Option<&MetricRules>) -> Option<Arc<Self>> {
        let mut shape = Self { expressions: Vec::new(), metrics: Vec::new() };
        for (metric, rule) in rules? {
            let labels = shape.labels(*metric, rule);
            shape.metrics.push((*metric, labels));
        }
        Some(Arc::new(shape))
    }

    fn labels(&mut self, metric: Metric, rule: &MetricRule) -> Labels {
        let behind: &[&str] = match metric {
            Metric::TcpOpened | Metric::TcpClosed | Metric::TcpSent | Metric::TcpReceived => &OF_CONNECTIONS,
            _ => &OF_REQUESTS,
        };
        let mut labels = Labels { dropped: rule.dropped, own: Vec::new(), more: Vec::new() };
        for (name, value) in &rule.labels {
            let place = ENDS.iter().chain(behind).position(|own| **own == **name);
            let value = value.as_ref().map(|expression| self.expression(expression));
            match (place, value) {
                (Some(place), value) => labels.own.push((place, value)),
                (None, Some(value)) => labels.more.push((name.clone(), value)),
                (None, None) => {}
            }
        }
        labels
    }

    fn expression(&mut self, expression: &Expression) -> usize {
        self.expressions.iter().position(|known| known == expression).unwrap_or_else(|| {
            self.expressions.push(expression.clone());
            self.expressions.len() - 1
        })
    }

    /// Is something of the exchange itself read, which is not kept otherwise?
    pub(crate) fn reads(&self) -> bool {
        !self.expressions.is_empty()
    }

    /// What its expressions come to.
    pub(super) fn said(&self, attributes: &Attributes<'_>) -> Said {
        let text = |expression: &Expression| expression.text_of(attributes).unwrap_or_else(|| UNKNOWN.to_owned());
        self.expressions.iter().map(|expression| text(expression).into_boxed_str()).collect()
    }

    fn of(&self, metric: Metric) -> Option<&Labels> {
        self.metrics.iter().find(|(known, _)| *known == metric).map(|(_, labels)| labels)
    }
}

/// The handle of a metric with these labels, as a shape has it; none if it is not counted.
pub(super) fn handle<M: telemetry::Metric>(
    family: &Family<M>,
    metric: Metric,
    labels: &[&str],
    shaped: Option<(&Shape, &Said)>,
) -> Option<M> {
    let Some((rules, said)) = shaped.and_then(|(shape, said)| Some((shape.of(metric)?, said))) else {
        return Some(family.with(labels));
    };
    if rules.dropped {
        return None;
    }
    let mut own = labels.to_vec();
    for (place, value) in &rules.own {
        own[*place] = value.map_or(NO_LABEL, |value| &said[value]);
    }
    let more: Vec<(&str, &str)> = rules.more.iter().map(|(name, value)| (&**name, &*said[*value])).collect();
    Some(family.with_more(&own, &more))
}
