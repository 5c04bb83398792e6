//! How metrics are counted on a filter chain: in its metadata, which Envoy has no use for.

use std::sync::Arc;

use model::metrics::{Metric, MetricRule, MetricRules};
use proto::envoy::config::core::v3::Metadata;
use proto::halcyon::stats::v1 as wire;

use super::{At, Decoded, each, expression, parse};

/// Under this name the rules stand in the metadata.
pub(crate) const STATS: &str = "halcyon.stats";

/// What else stands there is for others.
pub(super) fn rules(mut value: Metadata, at: &At<'_>) -> Decoded<Option<Arc<MetricRules>>> {
    let Some(config) = value.typed_filter_metadata.remove(STATS) else { return Ok(None) };
    let at_all = at.field("typed_filter_metadata");
    let at = at_all.key(STATS);
    let wire::MetricRules { rules } = parse(&config.value, &at)?;
    let all: MetricRules = each(rules, &at.field("rules"), rule)?.into_iter().collect();
    Ok(Some(Arc::new(all)).filter(|all| !all.is_empty()))
}

fn rule(value: wire::MetricRule, at: &At<'_>) -> Decoded<(Metric, MetricRule)> {
    let wire::MetricRule { metric, dropped, labels, removed } = value;
    let metric = Metric::named(&metric)
        .ok_or_else(|| at.field("metric").error(format!("is `{metric}`"), "one of Istio's metrics"))?;
    let set = each(labels, &at.field("labels"), |label, at| {
        Ok((label.name.into(), Some(expression(&label.expression, &at.field("expression"))?)))
    })?;
    let removed = removed.into_iter().map(|name| (name.into(), None));
    Ok((metric, MetricRule { dropped, labels: set.into_iter().chain(removed).collect() }))
}
