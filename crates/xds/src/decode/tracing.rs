//! How exchanges become spans (`HttpConnectionManager.Tracing`, `envoy.config.trace.v3`).

use std::sync::Arc;
use std::time::Duration;

use model::matcher::Fraction;
use model::tracing::{SpanSink, Tag, TagValue, Tail, Tracing};
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::trace::v3::OpenTelemetryConfig;
use proto::envoy::config::trace::v3::tracing::Http;
use proto::envoy::config::trace::v3::tracing::http::ConfigType;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as wire;
use proto::envoy::r#type::tracing::v3::CustomTag;
use proto::envoy::r#type::tracing::v3::custom_tag::{Environment, Header, Literal, Type};
use proto::envoy::r#type::v3::Percent;
use proto::halcyon::tracing::v1::{Providers, TailSampler};

use super::{At, Decoded, each, grpc_service, headers, parse, percent, take, type_name, unpack};

/// Our own sampler.
pub(crate) const TAIL: &str = "halcyon.tracing.v1.TailSampler";
/// Several providers.
pub(crate) const PROVIDERS: &str = "halcyon.tracing.v1.Providers";

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
        Some(_) => return Err(at.field("type").unsupported("a literal, an environment variable or a request header")),
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
        return Ok(vec![sink(unpack(&config, &at)?, &at)?]);
    }
    let Providers { open_telemetry } = parse(&config.value, &at)?;
    each(open_telemetry, &at.field("open_telemetry"), |value, at| sink(parse(&value, at)?, at))
}

fn sink(value: OpenTelemetryConfig, at: &At<'_>) -> Decoded<SpanSink> {
    // How many spans wait and for how long is ours to say.
    take!(value, at, OpenTelemetryConfig {
        used { grpc_service, service_name, sampler }
        harmless { max_cache_size }
        refused {
            http_service, exporter, resource_detectors, set_telemetry_sdk_resource_attributes,
            set_service_name_resource_attribute, set_instrumentation_scope,
        }
    });
    let at_service = at.field("grpc_service");
    let Some(service) = grpc_service else { return Err(at_service.error("is missing", "a service that speaks OTLP")) };
    let (service, _) = grpc_service::grpc_service(service, &at_service)?;
    let tail = sampler.map(|value| tail(value, &at.field("sampler"))).transpose()?;
    Ok(SpanSink { service, service_name: service_name.into(), tail })
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
