//! How exchanges become spans.

use std::sync::Arc;
use std::time::Duration;

use model::matcher::Fraction;
use model::tracing::{Collector, HttpService, SpanSink, Tag, TagValue, Tail, Tracing};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::limits::service;
use super::{header_name, header_value, name};

pub fn tracing() -> impl Strategy<Value = Arc<Tracing>> {
    let share = || (0..=1_000_000u32).prop_map(Fraction::millionths);
    let value = prop_oneof![
        name().prop_map(TagValue::Literal),
        (name(), of(name())).prop_map(|(variable, or)| TagValue::Environment(variable, or)),
        (header_name(), of(name())).prop_map(|(header, or)| TagValue::RequestHeader(header, or)),
        "%[A-Z]{1,6}% [a-z]{0,4}".prop_map(|text| TagValue::Format(text.into())),
    ];
    let tag = (name(), value).prop_map(|(name, value)| Tag { name, value });
    let tail = (any::<bool>(), of(1..10_000_000u64))
        .prop_map(|(errors, micros)| Tail { errors, slower_than: micros.map(Duration::from_micros) });
    let collector = prop_oneof![
        service().prop_map(Collector::Otlp),
        http_service().prop_map(Collector::OtlpHttp),
        http_service().prop_map(Collector::Zipkin),
    ];
    let sink = (collector, name(), of(tail)).prop_map(|(collector, service_name, tail)| match collector {
        Collector::Zipkin(_) => SpanSink { collector, service_name: "".into(), tail: None },
        _ => SpanSink { collector, service_name, tail },
    });
    (share(), share(), share(), vec(tag, 0..3), 1..1000u32, vec(sink, 0..3)).prop_map(
        |(random, client, overall, tags, most_path, sinks)| {
            Arc::new(Tracing { random, client, overall, tags, most_path, sinks })
        },
    )
}

fn http_service() -> impl Strategy<Value = HttpService> {
    let path =
        "/([a-z0-9]{1,4}/){0,3}[a-z0-9]{0,4}(\\?[a-z]{1,4}=[0-9])?".prop_map(|path: String| path.parse().unwrap());
    let headers = vec((header_name(), header_value()), 0..3);
    (name(), of(name()), path, 1..10_000u64, headers).prop_map(|(cluster, authority, path, millis, headers)| {
        HttpService { cluster, authority, path, timeout: Duration::from_millis(millis), headers }
    })
}
