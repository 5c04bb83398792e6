//! How metrics are counted on a filter chain.

use model::metrics::{MetricRule, MetricRules};
use prost::Message as _;
use proto::envoy::config::core::v3::Metadata;
use proto::google::protobuf::Any;
use proto::halcyon::stats::v1 as wire;

use crate::decode::STATS;

/// As metadata of the chain.
pub(super) fn rules(rules: &MetricRules) -> Metadata {
    let rule = |(metric, rule): (&model::metrics::Metric, &MetricRule)| wire::MetricRule {
        metric: metric.name().to_owned(),
        dropped: rule.dropped,
        labels: rule
            .labels
            .iter()
            .filter_map(|(name, value)| {
                let expression = value.as_ref()?.text().to_owned();
                Some(wire::Label { name: name.to_string(), expression })
            })
            .collect(),
        removed: rule.labels.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.to_string()).collect(),
    };
    let value = wire::MetricRules { rules: rules.iter().map(rule).collect() }.encode_to_vec();
    let config = Any { type_url: "type.googleapis.com/halcyon.stats.v1.MetricRules".to_owned(), value };
    Metadata { typed_filter_metadata: [(STATS.to_owned(), config)].into_iter().collect(), ..Metadata::default() }
}
