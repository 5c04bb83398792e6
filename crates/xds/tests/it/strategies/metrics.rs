//! How metrics are counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use expression::Expression;
use model::metrics::{Metric, MetricRule, MetricRules};
use proptest::collection::btree_map;
use proptest::prelude::*;

/// Rules that say something, or none.
pub fn rules() -> impl Strategy<Value = Option<Arc<MetricRules>>> {
    let expression = prop::sample::select(vec!["request.host", "response.code >= 500", "'always'"]);
    let value = prop::option::of(expression.prop_map(|text| Expression::parse(text).unwrap()));
    let labels = btree_map("[a-z][a-z_]{0,8}".prop_map(Arc::from), value, 0..3);
    let rule = (any::<bool>(), labels).prop_map(|(dropped, labels)| MetricRule { dropped, labels });
    let metric = prop::sample::select(Metric::ALL.to_vec());
    btree_map(metric, rule, 0..3)
        .prop_map(|rules: BTreeMap<_, _>| Some(Arc::new(rules)).filter(|rules| !rules.is_empty()))
}
