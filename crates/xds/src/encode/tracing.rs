//! How exchanges become spans (`HttpConnectionManager.Tracing`, `envoy.config.trace.v3`).

use model::matcher::Fraction;
use model::tracing::{SpanSink, Tag, TagValue, Tail, Tracing};
use prost::Message as _;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::trace::v3::OpenTelemetryConfig;
use proto::envoy::config::trace::v3::tracing::Http;
use proto::envoy::config::trace::v3::tracing::http::ConfigType;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as wire;
use proto::envoy::r#type::tracing::v3::CustomTag;
use proto::envoy::r#type::tracing::v3::custom_tag::{Environment, Header, Literal, Type};
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::{Any, UInt32Value};
use proto::halcyon::tracing::v1::{Providers, TailSampler};

use super::grpc_service::grpc_service;
use super::pack;

pub(super) fn tracing(tracing: &Tracing) -> wire::Tracing {
    let share = |share: Fraction| {
        (share != Fraction::ALL).then(|| Percent { value: f64::from(share.as_millionths()) / 10_000.0 })
    };
    wire::Tracing {
        client_sampling: share(tracing.client),
        random_sampling: share(tracing.random),
        overall_sampling: share(tracing.overall),
        max_path_tag_length: (tracing.most_path != Tracing::MOST_PATH)
            .then_some(UInt32Value { value: tracing.most_path }),
        custom_tags: tracing.tags.iter().map(tag).collect(),
        provider: provider(&tracing.sinks),
        ..wire::Tracing::default()
    }
}

fn tag(tag: &Tag) -> CustomTag {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let value = match &tag.value {
        TagValue::Literal(value) => Type::Literal(Literal { value: value.to_string() }),
        TagValue::Environment(name, or) => {
            Type::Environment(Environment { name: name.to_string(), default_value: text(or) })
        }
        TagValue::RequestHeader(name, or) => {
            Type::RequestHeader(Header { name: name.to_string(), default_value: text(or) })
        }
    };
    CustomTag { tag: tag.name.to_string(), r#type: Some(value) }
}

fn provider(sinks: &[SpanSink]) -> Option<Http> {
    let (name, config) = match sinks {
        [] => return None,
        [only] => ("envoy.tracers.opentelemetry", pack(&sink(only))),
        several => {
            let providers = Providers { open_telemetry: several.iter().map(|it| sink(it).encode_to_vec()).collect() };
            ("halcyon.tracers.providers", own(crate::decode::PROVIDERS, &providers))
        }
    };
    Some(Http { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) })
}

fn sink(sink: &SpanSink) -> OpenTelemetryConfig {
    OpenTelemetryConfig {
        grpc_service: Some(grpc_service(&sink.service)),
        service_name: sink.service_name.to_string(),
        sampler: sink.tail.as_ref().map(tail),
        ..OpenTelemetryConfig::default()
    }
}

/// A message of ours.
fn own(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn tail(tail: &Tail) -> TypedExtensionConfig {
    let slower_than_us = tail.slower_than.map_or(0, |least| u64::try_from(least.as_micros()).unwrap_or(u64::MAX));
    let config = own(crate::decode::TAIL, &TailSampler { errors: tail.errors, slower_than_us });
    TypedExtensionConfig { name: "halcyon.tracers.samplers.tail".to_owned(), typed_config: Some(config) }
}
