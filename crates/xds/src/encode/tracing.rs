//! How exchanges become spans (`HttpConnectionManager.Tracing`, `envoy.config.trace.v3`).

use model::matcher::Fraction;
use model::tracing::{Collector, HttpService, SpanSink, Tag, TagValue, Tail, Tracing};
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::trace::v3::tracing::Http;
use proto::envoy::config::trace::v3::tracing::http::ConfigType;
use proto::envoy::config::trace::v3::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
use proto::envoy::config::trace::v3::{OpenTelemetryConfig, ZipkinConfig};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as wire;
use proto::envoy::r#type::tracing::v3::CustomTag;
use proto::envoy::r#type::tracing::v3::custom_tag::{Environment, Header, Literal, Type};
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::{Any, BoolValue, UInt32Value};
use proto::halcyon::tracing::v1::{Provider, Providers, TailSampler};

use super::grpc_service::grpc_service;
use super::http_service::http_service;
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
        TagValue::Format(text) => Type::Value(text.to_string()),
    };
    CustomTag { tag: tag.name.to_string(), r#type: Some(value) }
}

fn provider(sinks: &[SpanSink]) -> Option<Http> {
    let (name, config) = match sinks {
        [] => return None,
        [only] => sink(only),
        several => {
            let provider = |it| {
                let (_, Any { type_url, value }) = sink(it);
                Provider { type_url, value }
            };
            let providers = Providers { providers: several.iter().map(provider).collect() };
            ("halcyon.tracers.providers", own(crate::decode::PROVIDERS, &providers))
        }
    };
    Some(Http { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) })
}

/// A tracer's name and settings.
fn sink(sink: &SpanSink) -> (&'static str, Any) {
    let otlp = OpenTelemetryConfig {
        service_name: sink.service_name.to_string(),
        sampler: sink.tail.as_ref().map(tail),
        ..OpenTelemetryConfig::default()
    };
    let otlp = match &sink.collector {
        Collector::Otlp(service) => OpenTelemetryConfig { grpc_service: Some(grpc_service(service)), ..otlp },
        Collector::OtlpHttp(service) => OpenTelemetryConfig { http_service: Some(http_service(service)), ..otlp },
        Collector::Zipkin(service) => return ("envoy.tracers.zipkin", pack(&zipkin(service))),
    };
    ("envoy.tracers.opentelemetry", pack(&otlp))
}

/// In the older words, which every Envoy knows, where they say everything.
fn zipkin(service: &HttpService) -> ZipkinConfig {
    let config = ZipkinConfig {
        trace_id_128bit: true,
        // Each proxy's span is its own, as with our proxies.
        shared_span_context: Some(BoolValue { value: false }),
        collector_endpoint_version: CollectorEndpointVersion::HttpJson as i32,
        trace_context_option: TraceContextOption::UseB3WithW3cPropagation as i32,
        ..ZipkinConfig::default()
    };
    if service.headers.is_empty() && service.timeout == crate::decode::ZIPKIN_TIMEOUT {
        return ZipkinConfig {
            collector_cluster: service.cluster.to_string(),
            collector_endpoint: service.path.to_string(),
            collector_hostname: service.authority.as_deref().unwrap_or_default().to_owned(),
            ..config
        };
    }
    ZipkinConfig { collector_service: Some(http_service(service)), ..config }
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
