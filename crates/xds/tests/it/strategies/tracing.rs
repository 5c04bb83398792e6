//! How exchanges become spans.

use std::sync::Arc;
use std::time::Duration;

use model::matcher::Fraction;
use model::tracing::{SpanSink, Tag, TagValue, Tail, Tracing};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::limits::service;
use super::{header_name, name};

pub fn tracing() -> impl Strategy<Value = Arc<Tracing>> {
    let share = || (0..=1_000_000u32).prop_map(Fraction::millionths);
    let value = prop_oneof![
        name().prop_map(TagValue::Literal),
        (name(), of(name())).prop_map(|(variable, or)| TagValue::Environment(variable, or)),
        (header_name(), of(name())).prop_map(|(header, or)| TagValue::RequestHeader(header, or)),
    ];
    let tag = (name(), value).prop_map(|(name, value)| Tag { name, value });
    let tail = (any::<bool>(), of(1..10_000_000u64))
        .prop_map(|(errors, micros)| Tail { errors, slower_than: micros.map(Duration::from_micros) });
    let sink = (service(), name(), of(tail)).prop_map(|(service, service_name, tail)| SpanSink {
        service,
        service_name,
        tail,
    });
    (share(), share(), share(), vec(tag, 0..3), 1..1000u32, vec(sink, 0..3)).prop_map(
        |(random, client, overall, tags, most_path, sinks)| {
            Arc::new(Tracing { random, client, overall, tags, most_path, sinks })
        },
    )
}
