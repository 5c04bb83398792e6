//! How exchanges become spans (`HttpConnectionManager.Tracing`, `envoy.config.trace.v3`).

use std::sync::Arc;
use std::time::Duration;

use model::matcher::Fraction;
use model::tracing::{Collector, HttpService, SpanSink, Tag, TagValue, Tail, Tracing};
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::trace::v3::tracing::Http;
use proto::envoy::config::trace::v3::tracing::http::ConfigType;
use proto::envoy::config::trace::v3::zipkin_config::CollectorEndpointVersion;
use proto::envoy::config::trace::v3::{OpenTelemetryConfig, ZipkinConfig};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as wire;
use proto::envoy::r#type::tracing::v3::CustomTag;
use proto::envoy::r#type::tracing::v3::custom_tag::{Environment, Header, Literal, Type};
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::Any;
use proto::halcyon::tracing::v1::{Provider, Providers, TailSampler};

use super::{At, Decoded, each, grpc_service, headers, http_service, parse, percent, take, type_name, unpack};

/// Our own sampler.
pub(crate) const TAIL: &str = "halcyon.tracing.v1.TailSampler";
/// Several providers.
pub(crate) const PROVIDERS: &str = "halcyon.tracing.v1.Providers";

const OPEN_TELEMETRY: &str = "envoy.config.trace.v3.OpenTelemetryConfig";
const ZIPKIN: &str = "envoy.config.trace.v3.ZipkinConfig";
/// How long Zipkin may take where nothing can be said of it (Envoy `tracing.zipkin.request_timeout`).
pub(crate) const ZIPKIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn tracing(value: wire::Tracing, at: &At<'_>) -> Decoded<Tracing> {
    // Envoy's `verbose` writes events of streams that are its own; the operation's name is that of the route here.
    take!(value, at, wire::Tracing {
        used { client_sampling, random_sampling, overall_sampling, max_path_tag_length, custom_tags, provider }
        harmless { verbose }
        refused { spawn_upstream_span, operation, upstream_operation, no_context_propagation }
    });
    let share = |value: Option<Percent>, name: &'static str| match value {
        Some(value) => percent(value, &at.field(name)).map(Fraction::percent),
        None => Ok(Fraction::ALL),
    };
    Ok(Tracing {
        random: share(random_sampling, "random_sampling")?,
        client: share(client_sampling, "client_sampling")?,
        overall: share(overall_sampling, "overall_sampling")?,
        tags: each(custom_tags, &at.field("custom_tags"), tag)?,
        most_path: max_path_tag_length.map_or(Tracing::MOST_PATH, |most| most.value),
        sinks: provider.map_or_else(|| Ok(Vec::new()), |value| sinks(value, &at.field("provider")))?,
    })
}

fn tag(value: CustomTag, at: &At<'_>) -> Decoded<Tag> {
    take!(value, at, CustomTag { used { tag, r#type } harmless {} refused {} });
    if tag.is_empty() {
        return Err(at.field("tag").error("is empty", "the tag's key"));
    }
    let or = |text: String| Some(text).filter(|text| !text.is_empty()).map(Arc::from);
    let value = match r#type {
        Some(Type::Literal(Literal { value })) => TagValue::Literal(value.into()),
        Some(Type::Environment(Environment { name, default_value })) => {
            TagValue::Environment(name.into(), or(default_value))
        }
        Some(Type::RequestHeader(Header { name, default_value })) => {
            TagValue::RequestHeader(headers::name(&name, &at.field("request_header"))?, or(default_value))
        }
        Some(Type::Value(text)) => TagValue::Format(text.into()),
        Some(Type::Metadata(_)) => {
            let expected = "a literal, an environment variable, a request header or a text with operators";
            return Err(at.field("metadata").unsupported(expected));
        }
        None => return Err(at.field("type").error("is missing", "where the tag's value comes from")),
    };
    Ok(Tag { name: tag.into(), value })
}

fn sinks(value: Http, at: &At<'_>) -> Decoded<Vec<SpanSink>> {
    let at = at.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = value.config_type else {
        return Err(at.error("is missing", "who is told of spans"));
    };
    if type_name(&config.type_url) != PROVIDERS {
        return Ok(vec![sink(&config, &at)?]);
    }
    let Providers { providers } = parse(&config.value, &at)?;
    each(providers, &at.field("providers"), |Provider { type_url, value }, at| sink(&Any { type_url, value }, at))
}

fn sink(config: &Any, at: &At<'_>) -> Decoded<SpanSink> {
    match type_name(&config.type_url) {
        ZIPKIN => zipkin(unpack(config, at)?, at),
        OPEN_TELEMETRY => open_telemetry(unpack(config, at)?, at),
        _ => Err(at.error(format!("is of type `{}`", config.type_url), "a tracer that speaks OTLP or Zipkin's API")),
    }
}

fn open_telemetry(value: OpenTelemetryConfig, at: &At<'_>) -> Decoded<SpanSink> {
    // How many spans wait and for how long is ours to say.
    take!(value, at, OpenTelemetryConfig {
        used { grpc_service, http_service, service_name, sampler }
        harmless { max_cache_size }
        refused {
            exporter, resource_detectors, set_telemetry_sdk_resource_attributes,
            set_service_name_resource_attribute, set_instrumentation_scope,
        }
    });
    let (at_grpc, at_http) = (at.field("grpc_service"), at.field("http_service"));
    let collector = match (grpc_service, http_service) {
        (Some(grpc), None) => Collector::Otlp(grpc_service::grpc_service(grpc, &at_grpc)?.0),
        (None, Some(http)) => Collector::OtlpHttp(http_service::http_service(http, &at_http)?),
        (None, None) => return Err(at_grpc.error("is missing", "a service that speaks OTLP")),
        (Some(_), Some(_)) => return Err(at_http.error("is set beside `grpc_service`", "one of them")),
    };
    let tail = sampler.map(|value| tail(value, &at.field("sampler"))).transpose()?;
    Ok(SpanSink { collector, service_name: service_name.into(), tail })
}

fn zipkin(value: ZipkinConfig, at: &At<'_>) -> Decoded<SpanSink> {
    // Ids of new traces have 128 bits, spans are nobody else's, and contexts are read and written in all forms.
    take!(value, at, ZipkinConfig {
        used {
            collector_cluster, collector_endpoint, collector_hostname, collector_endpoint_version, collector_service,
        }
        harmless {
            trace_id_128bit, shared_span_context, split_spans_for_request, trace_context_option, timestamp_trace_ids,
        }
        refused {}
    });
    if collector_endpoint_version != CollectorEndpointVersion::HttpJson as i32 {
        let at = at.field("collector_endpoint_version");
        return Err(at.error(format!("is {collector_endpoint_version}"), "HTTP_JSON (1)"));
    }
    let service = match collector_service {
        Some(service) => http_service::http_service(service, &at.field("collector_service"))?,
        None => HttpService {
            cluster: grpc_service::cluster(collector_cluster, &at.field("collector_cluster"))?,
            authority: http_service::authority(&collector_hostname, &at.field("collector_hostname"))?,
            path: http_service::path(&collector_endpoint, &at.field("collector_endpoint"))?,
            timeout: ZIPKIN_TIMEOUT,
            headers: Vec::new(),
        },
    };
    Ok(SpanSink { collector: Collector::Zipkin(service), service_name: "".into(), tail: None })
}

fn tail(value: TypedExtensionConfig, at: &At<'_>) -> Decoded<Tail> {
    let at = at.field("typed_config");
    let Some(config) = value.typed_config.filter(|config| type_name(&config.type_url) == TAIL) else {
        return Err(at.unsupported(&format!("`{TAIL}`, or none")));
    };
    let TailSampler { errors, slower_than_us } = parse(&config.value, &at)?;
    let slower_than = (slower_than_us > 0).then(|| Duration::from_micros(slower_than_us));
    Ok(Tail { errors, slower_than })
}
